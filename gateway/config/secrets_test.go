package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"turnout/adapters"
	"turnout/gateway/config"
)

const canary = "canary-5ad015a3"

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	write("key", canary+"\n", 0o600)
	write("read-only", canary, 0o400)
	write("group", canary, 0o640)
	write("world", canary, 0o604)
	write("empty", "\n", 0o600)
	write("huge", strings.Repeat(canary, 10_000), 0o600)
	if err := os.Symlink("key", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	secrets := config.Secrets{Dir: dir, LookupEnv: func(name string) (string, bool) {
		v, ok := map[string]string{"KEY": canary, "EMPTY": ""}[name]
		return v, ok
	}}
	for _, tc := range []struct {
		ref  adapters.SecretRef
		want string // what the error says; empty: the canary is returned
	}{
		{"env:KEY", ""},
		{"file:key", ""},
		{"file:read-only", ""},
		{"file:link", ""},
		{adapters.SecretRef("file:" + filepath.Join(dir, "key")), ""},
		{"env:NONE", "not set"},
		{"env:EMPTY", "it is empty"},
		{"file:none", "no such file"},
		{"file:empty", "it is empty"},
		{"file:huge", "larger than 64 KiB"},
		{"file:group", "chmod 600"},
		{"file:world", "chmod 600"},
		{"file:pipe", "not a regular file"},
		{"file:.", "not a regular file"},
		{canary, "want a reference"},
		{"env:", "want a reference"},
		{"sealed:bot-token", "sealed in the store"},
		{"sealed:Two Words", "want a reference"},
		{"env:TWO WORDS", "want a reference"},
		{"vault:" + canary, "want a reference"},
		{"", "want a reference"},
	} {
		got, err := secrets.Resolve(tc.ref)
		switch {
		case tc.want == "":
			if err != nil || got.Reveal() != canary {
				t.Errorf("%s: %v", tc.ref, err)
			}
		case err == nil || !strings.Contains(err.Error(), tc.want):
			t.Errorf("%s: got %v, want an error with %q", tc.ref, err, tc.want)
		case strings.Contains(err.Error(), canary):
			t.Errorf("the error for %q holds the secret", tc.want)
		}
	}
	if _, err := (config.Secrets{}).Resolve("env:KEY"); err == nil {
		t.Error("without an environment a variable is set")
	}
}
