package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	for _, name := range Names {
		verifier, err := Make(dir, name, rand.Reader)
		if err != nil || (verifier != "") != (name == Audit) {
			t.Fatalf("%s: %q, %v", name, verifier, err)
		}
		file := filepath.Join(dir, name)
		was, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(was))); err != nil || len(key) != 32 {
			t.Errorf("%s holds %d bytes, %v", name, len(key), err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		if _, err := Make(dir, name, rand.Reader); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), file) {
			t.Errorf("a second %s: %v", name, err)
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(was, now) {
			t.Errorf("%s was replaced", name)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(Names) {
		t.Errorf("%v lie in the folder, %v", entries, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
}

func TestNoRandomnessNoKey(t *testing.T) {
	dir := t.TempDir()
	if _, err := Make(dir, Root, iotest.ErrReader(errors.New("none left"))); err == nil {
		t.Error("a key of nothing")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%v were left behind", entries)
	}
}
