package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/api"
	"turnout/gateway/keys"
)

//go:embed files
var files embed.FS

const (
	settingsFile = "turnout.yaml"
	lockFile     = ".lock"
	// lastFile says who had the folder last, or has it: the process and its address, a line each.
	lastFile = ".last"
)

// mark begins every settings file that the demo writes: it does not write over another's.
const mark = "# The demo of turnout."

// ErrFolder says that a folder is not for a demo.
var ErrFolder = errors.New("the folder is not a demo's")

// take makes the folder this process's own, and returns where the demo listened last time, if that is known.
func (d *Demo) take() (last string, err error) {
	if err := d.ours(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return "", fmt.Errorf("making the folder of the demo: %w", err)
	}
	lock, err := vfs.Default.Lock(filepath.Join(d.dir, lockFile))
	if err != nil {
		if pid, at, ok := d.last(); ok {
			return "", fmt.Errorf("the demo in %s is running, as process %s, at http://%s: use that one, end it with \"kill %s\", or give this one a folder of its own with --folder", d.dir, pid, at, pid)
		}
		return "", fmt.Errorf("taking the folder of the demo, %s: another process may have it; give this one a folder of its own with --folder: %w", d.dir, err)
	}
	d.lock = lock
	_, last, _ = d.last()
	if host, _, err := net.SplitHostPort(last); err != nil || !net.ParseIP(host).IsLoopback() {
		last = ""
	}
	return last, nil
}

// ours looks whether the folder is new, empty or a demo's.
func (d *Demo) ours() error {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the folder of the demo: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile {
			return nil
		}
	}
	return fmt.Errorf("%s holds something else: name an empty or a new folder with --folder: %w", d.dir, ErrFolder)
}

// last returns the process that had the folder last, and its address.
func (d *Demo) last() (pid, at string, ok bool) {
	b, err := os.ReadFile(filepath.Join(d.dir, lastFile))
	if err != nil {
		return "", "", false
	}
	pid, at, ok = strings.Cut(strings.TrimSpace(string(b)), "\n")
	return pid, at, ok
}

// layOut writes the configuration. bot is where the bot listens.
func (d *Demo) layOut(bot string) error {
	settings, err := os.ReadFile(filepath.Join(d.dir, settingsFile))
	if err == nil && !bytes.HasPrefix(settings, []byte(mark)) {
		return fmt.Errorf("%s is not what a demo wrote: move it away, or name another folder with --folder: %w", filepath.Join(d.dir, settingsFile), ErrFolder)
	}
	_, port, err := net.SplitHostPort(d.listen)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		yours bool // whoever tries the demo may change it
	}{{"shop.yaml", true}, {"rules.yaml", true}, {"node.yaml", false}, {settingsFile, false}} {
		if _, err := os.Stat(filepath.Join(d.dir, f.name)); err == nil && f.yours {
			continue
		}
		t, err := template.ParseFS(files, "files/"+f.name)
		if err != nil {
			return err
		}
		var body bytes.Buffer
		if err := t.Execute(&body, map[string]string{"Dir": d.dir, "Listen": d.listen, "Ops": d.ops, "Port": port, "Bot": bot}); err != nil {
			return err
		}
		if err := d.write(f.name, body.Bytes()); err != nil {
			return err
		}
	}
	return d.write(lastFile, fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), d.listen))
}

// write puts a file in the place of the one that is there: whole, or not at all.
func (d *Demo) write(name string, body []byte) error {
	file := filepath.Join(d.dir, name)
	if err := errors.Join(os.WriteFile(file+".new", body, 0o600), os.Rename(file+".new", file)); err != nil {
		return fmt.Errorf("writing the demo: %w", err)
	}
	return nil
}

// makeKeys makes the keys that are not there yet: the node's, and one for programs of each person.
func (d *Demo) makeKeys(random io.Reader) error {
	dir := filepath.Join(d.dir, "data", "keys")
	_, err := os.Stat(filepath.Join(d.dir, "data", "store"))
	begun := err == nil
	for _, name := range keys.Names {
		_, err := os.Stat(filepath.Join(dir, name))
		switch {
		case err == nil:
			continue
		case begun:
			return fmt.Errorf("%s is gone, and nothing in %s can be read without it: put it back, or delete %s and begin anew", filepath.Join(dir, name), filepath.Join(d.dir, "data"), d.dir)
		}
		if _, err := keys.Make(dir, name, random); err != nil {
			return fmt.Errorf("making the demo's keys: %w", err)
		}
	}
	for _, id := range staff {
		file := filepath.Join(dir, id+".key")
		key, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			var made string
			if made, _, err = api.NewKey(random, id+"-1"); err == nil {
				key = []byte(made + "\n")
				err = keys.Write(file, key)
			}
		}
		if err != nil {
			return fmt.Errorf("making the key of %s: %w", id, err)
		}
		digest := sha256.Sum256(bytes.TrimSpace(key))
		if err := d.write(filepath.Join("data", "keys", id+".sha256"), []byte(hex.EncodeToString(digest[:])+"\n")); err != nil {
			return err
		}
	}
	return nil
}
