package conversation_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMutations proves that TestConversation can fail: each file under testdata/mutations is a bug that the package
// could have, and the test must find it. A mutation whose old text is not in the code exactly once, or that does not
// compile, is a failure too: it would prove nothing. With -short only the texts are looked at.
func TestMutations(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "mutations", "*.txt"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d mutations, %v", len(files), err)
	}
	// Beyond the number of processors child processes only wait for each other.
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	run := func(t *testing.T, replaced, by string) error {
		slots <- struct{}{}
		defer func() { <-slots }()
		return runProperty(t, replaced, by)
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		if testing.Short() {
			return
		}
		if err := run(t, "", ""); err != nil {
			t.Fatalf("the code as it stands fails: %v", err)
		}
	})
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			name, source := mutated(t, file)
			if testing.Short() {
				return
			}
			copied := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(copied, []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			if run(t, name, copied) == nil {
				t.Error("the property test does not find this bug")
			}
		})
	}
}

// mutated returns the name of the source file that a mutation is for, and its text with the bug.
func mutated(t *testing.T, file string) (name, source string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	description, rest, ok := strings.Cut(string(b), "\n-- file --\n")
	name, rest, ok2 := strings.Cut(rest, "\n-- old --\n")
	was, is, ok3 := strings.Cut(rest, "\n-- new --\n")
	if !ok || !ok2 || !ok3 || description == "" || was == "" || name != filepath.Base(name) {
		t.Fatalf("%s is no mutation: a description, then the sections file, old and new", file)
	}
	code, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(code), was); n != 1 {
		t.Fatalf("the old text is in %s %d times: bring the mutation up to date", name, n)
	}
	return name, strings.Replace(string(code), was, strings.TrimSuffix(is, "\n"), 1)
}

// needed are the test files that the property test is made of. Without the others a build takes half the time.
var needed = []string{
	"fixture_test.go", "model_test.go", "model_owner_test.go", "trace_test.go", "moves_test.go", "operations_test.go", "property_test.go",
}

// runProperty builds the property test with one source file replaced ("" for none) and runs it. Its error is the failure
// of that test; anything else that goes wrong fails t.
func runProperty(t *testing.T, replaced, by string) error {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for _, file := range tests {
		if !slices.Contains(needed, file) {
			replace[filepath.Join(here, file)] = "" // to the go command: there is no such file
		}
	}
	if replaced != "" {
		replace[filepath.Join(here, replaced)] = by
	}
	dir := t.TempDir()
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "conversation.test")
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	// A fixed seed: that a bug is found must not be a matter of luck.
	test := exec.CommandContext(ctx, binary, "-test.run=^TestConversation$", "-rapid.seed=1", "-rapid.shrinktime=1ns", "-rapid.nofailfile")
	test.Env = append(os.Environ(), "TURNOUT_SCALE=")
	out, err := test.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestConversation"):
		t.Fatalf("running: %v\n%s", err, out)
	}
	return err
}
