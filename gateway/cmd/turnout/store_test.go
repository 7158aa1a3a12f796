package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"turnout/gateway"
)

// customers write to a node without pause until they are stopped, and remember what was acknowledged.
type customers struct {
	url  string
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	acked []string // conversations with an acknowledged message
	seen  chan struct{}
}

func startCustomers(t *testing.T, url string, n int) *customers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &customers{url: url, stop: cancel, seen: make(chan struct{}, 1)}
	for range n {
		c.done.Go(func() {
			for ctx.Err() == nil {
				if err := c.one(ctx); err != nil {
					select { // the node was killed
					case <-ctx.Done():
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *customers) end() {
	c.stop()
	c.done.Wait()
}

func (c *customers) at() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.url
}

// one lets a new customer ask for a person.
func (c *customers) one(ctx context.Context) error {
	post := func(path, token, body string, out any) error {
		req, err := http.NewRequestWithContext(ctx, "POST", c.at()+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode/100 != 2 {
			err = fmt.Errorf("%d", res.StatusCode)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(b, out)
	}
	var session struct{ Token string }
	if err := post("/v1/web/shop.web/session", "", "", &session); err != nil {
		return err
	}
	var answer struct{ Conversation string }
	if err := post("/v1/web/shop.web/messages", session.Token, `{"id":"1","text":"agent"}`, &answer); err != nil {
		return err
	}
	c.mu.Lock()
	c.acked = append(c.acked, answer.Conversation)
	c.mu.Unlock()
	select {
	case c.seen <- struct{}{}:
	default:
	}
	return nil
}

// wait returns when n more were acknowledged.
func (c *customers) wait(n int) {
	for want := len(c.list()) + n; len(c.list()) < want; {
		<-c.seen
	}
}

func (c *customers) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acked[:len(c.acked):len(c.acked)]
}

// kill ends the node as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// open lays out a node without limits of rates.
func openNode(t *testing.T) string {
	dir := audited(t)
	file := filepath.Join(dir, "turnout.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, "limits: {messages_per_minute: {visitor: 1000000, address: 1000000, tenant: 1000000}}\n"...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// answered runs a command that has to end well and decodes its JSON.
func answered[T any](t *testing.T, dir string, args ...string) (out T) {
	t.Helper()
	code, stdout, stderr := ended(t, dir, append(args, "--json")...)
	if err := json.Unmarshal([]byte(stdout), &out); code != 0 || err != nil {
		t.Fatalf("%v: %d %s %s %v", args, code, stdout, stderr, err)
	}
	return out
}

// page returns the operators' page without line breaks in its sentences.
func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documented fails unless the operators' page shows a command in this form.
func documented(t *testing.T, line string) {
	t.Helper()
	if !strings.Contains(page(t), line) {
		t.Errorf("deploy/README.md does not show %q", line)
	}
}

// TestStore backs a node up while customers write, kills it, restores the backup elsewhere and in its place, and looks that
// everything that was acknowledged before the backup is there.
func TestStore(t *testing.T) {
	for _, line := range []string{
		"turnout store backup /var/backups/turnout/monday --config /etc/turnout/turnout.yaml",
		"turnout store check --config /etc/turnout/turnout.yaml",
		"turnout store check --backup /var/backups/turnout/monday --config /etc/turnout/turnout.yaml",
		"turnout store check --repair --config /etc/turnout/turnout.yaml",
		"turnout store restore /var/backups/turnout/monday --config /etc/turnout/turnout.yaml",
	} {
		documented(t, line)
	}
	dir := openNode(t)
	p := serve(t, dir)
	load := startCustomers(t, p.url, 4)
	load.wait(40)
	before := load.list()
	last := answered[gateway.StorageLine](t, dir, "store", "backup", "monday")
	if !last.Done || last.Files == 0 || last.At == nil {
		t.Errorf("%+v", last)
	}
	if code, _, stderr := ended(t, dir, "store", "backup", "monday"); code != 1 || !strings.Contains(stderr, "there already") {
		t.Errorf("over another: %d %s", code, stderr)
	}
	load.wait(10)
	running := answered[gateway.StorageLine](t, dir, "store", "check")
	if running.FaultCount != 0 || running.Conversations < len(before) {
		t.Errorf("the running node: %+v", running)
	}
	if code, _, stderr := ended(t, dir, "store", "check", "--repair"); code != 1 || !strings.Contains(stderr, "stop it") {
		t.Errorf("repairing under a running node: %d %s", code, stderr)
	}
	if code, _, stderr := ended(t, dir, "store", "restore", "monday"); code != 1 || !strings.Contains(stderr, "move it away") {
		t.Errorf("over a store: %d %s", code, stderr)
	}
	p.kill()
	load.end()
	if whole := answered[gateway.StorageLine](t, dir, "store", "check", "--backup", "monday"); whole.Files != last.Files {
		t.Errorf("%+v, it had %+v", whole, last)
	}
	if sound := answered[gateway.StorageLine](t, dir, "store", "check", "--repair"); sound.MendedCount+sound.FaultCount != 0 {
		t.Errorf("a repair of a sound store: %+v", sound)
	}
	if code, _, stderr := ended(t, dir, "store", "check", "--repair", "--backup", "monday"); code != 1 || !strings.Contains(stderr, "a backup is not repaired") {
		t.Errorf("repairing a backup: %d, %s", code, stderr)
	}
	if dead := answered[gateway.StorageLine](t, dir, "store", "check"); dead.FaultCount != 0 || dead.Conversations < len(load.list()) {
		t.Errorf("after the kill: %+v of %d", dead, len(load.list()))
	}
	if off := answered[gateway.StorageLine](t, dir, "store", "backup", "tuesday"); off.Files == 0 {
		t.Errorf("without a node: %+v", off)
	}

	// Another root key is refused before anything is written; a changed byte, too.
	store := filepath.Join(dir, "data", "store")
	if err := os.Rename(store, store+".old"); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "data", "keys", "root.key")
	right, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte(strings.Repeat("0", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := ended(t, dir, "store", "restore", "monday"); code != 1 || !strings.Contains(stderr, "root key") {
		t.Errorf("another root key: %d %s", code, stderr)
	}
	if err := os.WriteFile(key, right, 0o600); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "tuesday", "manifest.jsonl")
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, bytes.Replace(b, []byte(`"size":`), []byte(`"size":1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := ended(t, dir, "store", "restore", "tuesday"); code != 1 || !strings.Contains(stderr, "changed") {
		t.Errorf("a changed list: %d %s", code, stderr)
	}
	if _, err := os.Stat(store); !os.IsNotExist(err) {
		t.Fatalf("there is a store: %v", err)
	}

	// A restore that is killed leaves none; the next one is whole.
	cmd := turnout(t, dir, "store", "restore", "monday")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := os.Stat(store); os.IsNotExist(err) {
		if done := answered[gateway.StorageLine](t, dir, "store", "restore", "monday"); !done.Done || done.Files != last.Files {
			t.Errorf("%+v", done)
		}
	}
	if again := answered[gateway.StorageLine](t, dir, "store", "check"); again.FaultCount != 0 || again.Conversations < len(before) {
		t.Errorf("after the restore: %+v of %d", again, len(before))
	}
	serve(t, dir)
	_, exported, _ := ended(t, dir, "export", "conversations")
	for _, conv := range before {
		if !strings.Contains(exported, conv) {
			t.Fatalf("conversation %s was acknowledged before the backup and is not in it", conv)
		}
	}
}

// TestBackupKilled: a node that is killed over a backup leaves a folder that nobody takes for one, and makes the next.
func TestBackupKilled(t *testing.T) {
	dir := openNode(t)
	p := serve(t, dir)
	load := startCustomers(t, p.url, 2)
	load.wait(20)
	cmd := turnout(t, dir, "store", "backup", "monday")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.kill()
	_ = cmd.Wait()
	load.end()
	if _, err := os.Stat(filepath.Join(dir, "monday")); os.IsNotExist(err) {
		for _, name := range []string{"monday.part"} {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			if code, _, stderr := ended(t, dir, "store", "check", "--backup", name); code != 1 || !strings.Contains(stderr, "not a whole backup") {
				t.Errorf("half a backup: %d %s", code, stderr)
			}
		}
	}
	serve(t, dir)
	answered[gateway.StorageLine](t, dir, "store", "backup", "tuesday")
	if _, err := os.Stat(filepath.Join(dir, "data", "store", "checkpoint")); !os.IsNotExist(err) {
		t.Errorf("links are left: %v", err)
	}
}
