package gateway_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/adaptertest"
	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// connectNode lays out a node that was started once, with its keys in the data folder and a bot that is there.
func connectNode(t *testing.T) (n *node, b *bot) {
	t.Helper()
	b = newBot(t, "legacy")
	n = &node{t: t, dir: t.TempDir(), logs: &logged{}}
	if err := os.MkdirAll(filepath.Join(n.dir, "data", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.write("data/keys/root.key", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	n.write("data/keys/audit.key", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	n.write("turnout.yaml", strings.ReplaceAll(strings.ReplaceAll(nodeSettings, "root_key: file:root.key", "root_key: file:data/keys/root.key"),
		"file:root.key", "file:data/keys/audit.key"))
	n.write("acme.res.yaml", acmeFile+b.resource("legacy"))
	n.start()
	t.Cleanup(n.stop)
	return n, b
}

// connect returns what Connect finds, with the folder and what else differs from run to run taken out.
func (n *node) connect(replace ...string) string {
	n.t.Helper()
	cfg, err := config.Load(filepath.Join(n.dir, "turnout.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	found := gateway.Connect(context.Background(), gateway.Options{Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.DiscardHandler)})
	return strings.NewReplacer(append(replace, n.dir+string(filepath.Separator), "")...).Replace(gateway.ConnectReport(found)) + "\n"
}

// TestConnect makes one mistake each; testdata/connect holds what is said about it.
func TestConnect(t *testing.T) {
	gone := adaptertest.FreeAddr(t)
	chmod := func(n *node, file string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(filepath.Join(n.dir, file), mode); err != nil {
			t.Fatal(err)
		}
	}
	agent := func(n *node, b *bot, password string) {
		n.write("acme.res.yaml", acmeFile+b.resource("legacy")+"---\nkind: agent\nname: ana\nspec: {queues: [support], password: '"+password+"'}\n")
	}
	profile := func(n *node, b *bot, url, more string) {
		n.write("acme.res.yaml", acmeFile+b.resource("legacy")+"---\nkind: profile\nname: crm\nspec: {config: {url: '"+url+"/{subject}', response: {name: body.name}, "+more+"}}\n")
	}
	for name, mistake := range map[string]func(n *node, b *bot){
		"none":                func(*node, *bot) {},
		"node-runs":           func(n *node, _ *bot) { n.start() },
		"root-key-mode":       func(n *node, _ *bot) { chmod(n, "data/keys/root.key", 0o644) },
		"audit-key-mode":      func(n *node, _ *bot) { chmod(n, "data/keys/audit.key", 0o640) },
		"stray-key-mode":      func(n *node, _ *bot) { n.write("data/keys/old.key", "x"); chmod(n, "data/keys/old.key", 0o604) },
		"root-key-of-another": func(n *node, _ *bot) { n.write("data/keys/root.key", strings.Repeat("ab", 32)) },
		"root-key-too-short":  func(n *node, _ *bot) { n.write("data/keys/root.key", "c2hvcnQ=") },
		"root-key-gone":       func(n *node, _ *bot) { _ = os.Remove(filepath.Join(n.dir, "data/keys/root.key")) },
		"secret-not-set":      func(n *node, b *bot) { agent(n, b, "env:TURNOUT_NO_SUCH_VARIABLE") },
		"secret-not-sealed":   func(n *node, b *bot) { agent(n, b, "sealed:nobody") },
		"secret-file-mode":    func(n *node, b *bot) { n.write("ana", "x"); chmod(n, "ana", 0o644); agent(n, b, "file:ana") },
		"bot-gone": func(n *node, b *bot) {
			n.write("acme.res.yaml", acmeFile+strings.Replace(b.resource("legacy"), b.URL, "http://"+gone, 1))
		},
		"bot-not-allowed": func(n *node, _ *bot) {
			n.write("turnout.yaml", strings.Replace(n.read("turnout.yaml"), "limits: {allow_networks: [127.0.0.1/32]}\n", "", 1))
		},
		"data-is-a-file": func(n *node, _ *bot) {
			n.write("turnout.yaml", strings.Replace(n.read("turnout.yaml"), "data: data", "data: acme.res.yaml", 1))
		},
		"data-not-there": func(n *node, _ *bot) {
			n.write("turnout.yaml", strings.Replace(n.read("turnout.yaml"), "data: data", "data: elsewhere", 1))
		},
		"store-is-damaged": func(n *node, _ *bot) { n.damage() },
		"profile":          func(n *node, b *bot) { profile(n, b, newCRM(t, "gold").URL, "probe: check-1") },
		"profile-gone":     func(n *node, b *bot) { profile(n, b, "http://"+gone, "probe: check-1") },
		"profile-garbage": func(n *node, b *bot) {
			c := newCRM(t, "gold")
			c.set("gold", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
			profile(n, b, c.URL, "probe: check-1")
		},
		"profile-secret": func(n *node, b *bot) {
			profile(n, b, newCRM(t, "gold").URL, `headers: {Authorization: "env:TURNOUT_NO_SUCH_VARIABLE"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, b := connectNode(t)
			n.stop()
			mistake(n, b)
			got := n.connect(gone, "GONE", fmt.Sprint("process ", os.Getpid()), "process PID")
			golden := filepath.Join("testdata", "connect", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("what is found differs (-want +got):\n%s", diff)
			}
			if faulty := strings.Contains(got, "FAULT"); faulty != (name != "none" && name != "profile" && name != "node-runs" && name != "data-not-there") {
				t.Errorf("faults: %t\n%s", faulty, got)
			}
		})
	}
}

func (n *node) read(name string) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

// damage overwrites the newest manifest of the store.
func (n *node) damage() {
	n.t.Helper()
	names, err := filepath.Glob(filepath.Join(n.dir, "data", "store", "db", "MANIFEST-*"))
	if err != nil || len(names) == 0 {
		n.t.Fatal(names, err)
	}
	if err := os.WriteFile(names[len(names)-1], []byte("nonsense"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}
