package gateway_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// toolsFolder names the folder with the client generator, ready to run: deploy/testbed/openapi. `make test` sets it; then a
// generator that is missing is a failure.
const toolsFolder = "TURNOUT_OPENAPI"

// TestGeneratedClient lets a generator that knows nothing of the server make types of the document that a node serves, and
// compiles a client against them. The client holds a mistake of its own that must not compile.
func TestGeneratedClient(t *testing.T) {
	folder := os.Getenv(toolsFolder)
	if folder == "" {
		return // not part of "go test" by itself
	}
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	res, err := http.Get("http://" + n.Addr() + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	document, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	client, err := os.ReadFile(filepath.Join(folder, "client.ts"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"openapi.json": document, "client.ts": client} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"openapi-typescript", "openapi.json", "-o", "api.ts"},
		{"tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "client.ts"},
	} {
		cmd := exec.Command(filepath.Join(folder, "node_modules", ".bin", args[0]), args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
