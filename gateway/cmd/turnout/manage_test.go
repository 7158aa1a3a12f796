package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// adminOf runs "turnout admin" in dir and returns what it prints on standard output.
func adminOf(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, ok := runWith(t, dir, stdin, append([]string{"admin"}, args...)...)
	if !ok {
		t.Fatalf("turnout admin %s: %s", strings.Join(args, " "), stderr)
	}
	if stderr != "" {
		t.Errorf("turnout admin %s writes to standard error: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}

// TestManagedNode is the example of a node whose tenants are made over the API, with the commands that its files name.
func TestManagedNode(t *testing.T) {
	example := filepath.Join("..", "..", "..", "deploy", "examples", "managed")
	files := map[string]string{}
	for _, name := range []string{"turnout.yaml", "shop.yaml"} {
		b, err := os.ReadFile(filepath.Join(example, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = strings.NewReplacer("127.0.0.1:8080\n", "127.0.0.1:0\n", "127.0.0.1:8081\n", "127.0.0.1:0\n").Replace(string(b))
	}
	dir := layOut(t, files)
	p := serve(t, dir)
	if _, stderr, ok := run(t, dir, "admin", "resources", "apply", "shop.yaml", "--tenant", "shop"); ok || !strings.Contains(stderr, "Name a tenant") {
		t.Errorf("before the tenant is there: %q", stderr)
	}
	adminOf(t, dir, "", "tenants", "create", "shop", "--title", "The Shop")
	if _, stderr, ok := run(t, dir, "admin", "resources", "apply", "shop.yaml", "--tenant", "shop"); ok || !strings.Contains(stderr, "secrets set bot-key") {
		t.Errorf("before the secret is there: %q", stderr)
	}
	const canary = "canary-77aa01"
	if out := adminOf(t, dir, canary+"\n", "secrets", "set", "bot-key", "--tenant", "shop"); strings.Contains(out, canary) {
		t.Errorf("the secret is printed: %s", out)
	}
	var applied struct{ Version int }
	if err := json.Unmarshal([]byte(adminOf(t, dir, "", "resources", "apply", "shop.yaml", "--tenant", "shop")), &applied); err != nil || applied.Version != 2 {
		t.Errorf("%+v, %v", applied, err)
	}
	for what, want := range map[string][]string{
		"tenants":   {"NAME", "shop", "The Shop"},
		"resources": {"bot", "legacy", "queue", "support"},
		"secrets":   {"bot-key", "bot/legacy"},
		"versions":  {"bot/legacy,channel/web,queue/support"},
	} {
		out := adminOf(t, dir, "", what)
		for _, w := range want {
			if !strings.Contains(out, w) || strings.Contains(out, canary) {
				t.Errorf("%s: no %q in\n%s", what, w, out)
			}
		}
	}
	// What is made once is printed once, to standard output.
	made := adminOf(t, dir, "", "users", "create", "ana", "--name", "Ana", "--queues", "support", "--json")
	var user struct {
		Password string `json:"one_time_password"`
	}
	if err := json.Unmarshal([]byte(made), &user); err != nil || user.Password == "" {
		t.Fatalf("%s, %v", made, err)
	}
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(adminOf(t, dir, "", "keys", "create", "ana", "laptop", "--json")), &key); err != nil || key.Key == "" {
		t.Fatal(err)
	}
	me := func(token string) int {
		t.Helper()
		req, err := http.NewRequest("GET", p.url+"/v1/agent/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.StatusCode
	}
	if me(key.Key) != 200 {
		t.Error("the key does not open")
	}
	old := key.Key
	if err := json.Unmarshal([]byte(adminOf(t, dir, "", "keys", "rotate", "ana", "laptop", "--overlap", "1h", "--json")), &key); err != nil {
		t.Fatal(err)
	}
	if me(old) != 200 || me(key.Key) != 200 {
		t.Error("a rotated key does not overlap")
	}
	adminOf(t, dir, "", "users", "disable", "ana")
	if me(key.Key) != 401 {
		t.Error("somebody who was shut out is in")
	}
	adminOf(t, dir, "", "users", "enable", "ana")
	adminOf(t, dir, "correct horse battery\n", "users", "password", "ana", "--password-stdin")
	adminOf(t, dir, "", "keys", "revoke", "ana", "laptop")
	if me(key.Key) != 401 {
		t.Error("a revoked key opens")
	}
	if out := adminOf(t, dir, "", "users"); !strings.Contains(out, "ana") || !strings.Contains(out, "support") {
		t.Errorf("%s", out)
	}
	if _, stderr, ok := run(t, dir, "admin", "secrets", "remove", "bot-key"); ok || !strings.Contains(stderr, "used by bot/legacy") {
		t.Errorf("a secret in use: %q", stderr)
	}
	adminOf(t, dir, "", "resources", "remove", "channel", "web")
	adminOf(t, dir, "", "tenants", "remove", "shop")
	p.end()
	for _, secret := range []string{canary, user.Password, old, key.Key} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// A node reads its files again on SIGHUP and by command; what is broken is said with its place, and stays out.
func TestReloadCommand(t *testing.T) {
	dir := layOut(t, nil)
	p := serve(t, dir)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(shop + "---\nkind: channel\nname: x\nspec: {adapter: web, bott: legacy}\n")
	want := filepath.Join(dir, "shop.yaml") + ":17:22: unknown field \"bott\"; did you mean \"bot\"?\n"
	if _, stderr, ok := run(t, dir, "admin", "reload"); ok || stderr != want {
		t.Errorf("a broken file: %q", stderr)
	}
	write(shop + "---\nkind: channel\nname: second\nspec: {adapter: web, config: {}}\n")
	if out := adminOf(t, dir, "", "reload"); !strings.Contains(out, `"added":["channel/second"]`) {
		t.Errorf("%s", out)
	}
	write(shop)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if out := adminOf(t, dir, "", "versions"); strings.Contains(out, "3  ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the signal changed nothing")
		}
	}
}
