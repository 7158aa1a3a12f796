// Package keys makes the key files of a node: what its data are sealed with and what its audit log is signed with.
package keys

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"turnout/gateway/audit"
)

// The files in the folder of keys.
const (
	Root  = "root.key"
	Audit = "audit.key"
)

// Names are those of all of them.
var Names = []string{Root, Audit}

// Make writes a new key into dir/name, for its owner only. name is Root or Audit. A file that is there stays as it is: the
// error is then os.ErrExist. The file is there whole or not at all, also when the process or the machine ends meanwhile.
// verifier is what the audit log is verified with, for Audit; it is no secret.
func Make(dir, name string, random io.Reader) (verifier string, err error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	if name == Audit {
		signer, err := audit.NewSigner(key)
		if err != nil {
			return "", err
		}
		verifier = signer.VerifierKey()
	}
	return verifier, Write(filepath.Join(dir, name), []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
}

// Write writes a secret into a file that is not there yet, as Make does.
func Write(file string, secret []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // for its owner only
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(secret)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Link(f.Name(), file); errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists: it is not replaced, what it sealed would be lost: %w", file, os.ErrExist)
	} else if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return syncFolder(filepath.Dir(file))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
