package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asTurnout makes the test binary the program itself.
const asTurnout = "TURNOUT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asTurnout) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// turnout is the program with arguments, to be run in dir.
func turnout(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asTurnout+"=1")
	return cmd
}

// run runs the program and returns what it writes, and whether it ends well.
func run(t *testing.T, dir string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	return runWith(t, dir, "", args...)
}

func runWith(t *testing.T, dir, stdin string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	cmd := turnout(t, dir, args...)
	var out, bad bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &bad
	err := cmd.Run()
	return out.String(), bad.String(), err == nil
}

const settings = `listen: 127.0.0.1:0
ops_listen: 127.0.0.1:0
data: data
root_key: file:data/keys/root.key
audit: {signing_key: file:data/keys/audit.key}
resources: [shop.yaml]
store: {reserve_bytes: 1MiB}
`

const shop = `kind: tenant
name: shop
---
kind: queue
name: support
---
kind: bot
name: legacy
spec: {adapter: webhook, config: {url: "https://192.0.2.1/"}}
---
kind: channel
name: web
spec: {adapter: web, config: {}}
`

// layOut writes the files of a node and makes its keys; files replaces or adds some.
func layOut(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, content := range []map[string]string{{"turnout.yaml": settings, "shop.yaml": shop}, files} {
		for name, text := range content {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, stderr, ok := run(t, dir, "admin", "init", "data"); !ok {
		t.Fatal(stderr)
	}
	return dir
}

// process is a running node.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	log  bytes.Buffer
	done chan struct{}
}

// serve starts a node in dir and returns when it serves. It ends with the test.
func serve(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{t: t, cmd: turnout(t, dir, "serve", "--config", "turnout.yaml"), done: make(chan struct{})}
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_, rest, found := strings.Cut(line, "serving on ")
	go func() {
		defer close(p.done)
		_, _ = io.Copy(io.Discard, out)
		_ = p.cmd.Wait()
	}()
	if err != nil || !found {
		p.end()
		t.Fatalf("the node does not serve: %q %v\n%s", line, err, p.log.String())
	}
	p.url, _, _ = strings.Cut(rest, " ")
	t.Cleanup(p.end)
	return p
}

// end stops the node as an operator does. What it logged can be read after that.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
}

func TestStatus(t *testing.T) {
	dir := layOut(t, nil)
	if _, stderr, ok := run(t, dir, "admin", "status", "--config", "turnout.yaml"); ok || !strings.Contains(stderr, "is it running?") {
		t.Errorf("without a node: %q", stderr)
	}
	p := serve(t, dir)
	info, err := os.Lstat(filepath.Join(dir, "data", "turnout.sock"))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("the socket: %v, %v", info, err)
	}
	for _, how := range [][]string{{"--config", "turnout.yaml"}, {"--data", "data"}, nil, {"--tenant", "shop"}} {
		stdout, stderr, ok := run(t, dir, append([]string{"admin", "status", "--json"}, how...)...)
		var st struct{ Status, Tenant, Durability string }
		if err := json.Unmarshal([]byte(stdout), &st); err != nil || !ok || st.Status != "ok" || st.Tenant != "shop" || st.Durability == "" {
			t.Errorf("%v: %q %q %v", how, stdout, stderr, err)
		}
	}
	if stdout, _, ok := run(t, dir, "admin", "status"); !ok || !strings.Contains(stdout, "durability  embedded") {
		t.Errorf("for people: %q", stdout)
	}
	for says, args := range map[string][]string{
		"which node?":     {"--tenant", "shop"},
		"needs --key":     {"--server", "https://127.0.0.1:1"},
		"over plain HTTP": {"--server", "http://192.0.2.1", "--key", "file:key"},
		"not set":         {"--server", p.url, "--key", "env:TURNOUT_NO_SUCH_KEY"},
		"does not belong": {"--server", p.url, "--key", "tk_literal.secret"},
		"Sign in":         {"--server", p.url, "--key", "file:key"},
	} {
		elsewhere := t.TempDir()
		if err := os.WriteFile(filepath.Join(elsewhere, "key"), []byte("tk_nobody.secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr, ok := run(t, elsewhere, append([]string{"admin", "status"}, args...)...); ok || !strings.Contains(stderr, says) || strings.Contains(stderr, "secret\"") {
			t.Errorf("%v: %q, want %q", args, stderr, says)
		}
	}
	p.end()
	if _, err := os.Lstat(filepath.Join(dir, "data", "turnout.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket after the end: %v", err)
	}
}

// What is read from a terminal or a file in another encoding is refused: as JSON it would be another secret.
func TestSecretsAreText(t *testing.T) {
	for stdin, ok := range map[string]bool{"correct horse käse": true, "correct horse k\xe4se": false, "": false} {
		out, bad, ended := runWith(t, t.TempDir(), stdin, "admin", "password")
		if ended != ok || ok != strings.HasPrefix(out, "$argon2id$") || strings.Contains(bad, "horse") {
			t.Errorf("%q: %v %q %q", stdin, ended, out, bad)
		}
		if !ok && stdin != "" && !strings.Contains(bad, "not UTF-8") {
			t.Errorf("%q: %s", stdin, bad)
		}
	}
}
