package hostile

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/api"
	"turnout/gateway/config"
)

// world is a running gateway with the tenants acme and other. Each has a web channel named web, a bot, the queues support
// and vip, and the agents ann (support) and sue (supervisor).
type world struct {
	t       testing.TB
	gateway *gateway.Gateway
	dir     string // of the configuration
	data    string
	addr    string
	ops     string
	bots    map[string]*bot
	keys    map[string]string // "acme/ann" -> API key
	ahead   atomic.Int64      // how far the gateway's clock is ahead, in nanoseconds
}

// setup is what differs between worlds. The zero value is the usual one.
type setup struct {
	limits   string            // lines of the settings' limits
	channel  string            // lines of the web channels' config
	rules    map[string]string // tenant -> rule file
	registry func(*adapters.Registry)
	extra    string // further resources
}

const settings = `
listen: 127.0.0.1:0
ops_listen: 127.0.0.1:0
data: data
store: {reserve_bytes: 1048576}
root_key: file:keys/root.key
audit: {signing_key: "file:keys/audit.key"}
limits:
  allow_networks: [127.0.0.0/8]
%s
resources: [conf/*.yaml]
`

const resources = `
kind: tenant
name: %[1]s
spec: {default_queue: support, bot: echo}
---
kind: channel
tenant: %[1]s
name: web
spec:
  adapter: web
  config:
    allow_no_origin: true
    identity: {secret: "file:keys/identity.key"}
    limits: {rate: 1000, burst: 1000}
%[3]s
---
kind: bot
tenant: %[1]s
name: echo
spec: {adapter: webhook, deadline: 20s, concurrency: 512, config: {url: "%[2]s"}}
---
{kind: queue, tenant: %[1]s, name: support}
---
{kind: queue, tenant: %[1]s, name: vip}
---
kind: agent
tenant: %[1]s
name: ann
spec: {name: Ann, queues: [support], capacity: 500, keys: [{id: ann, sha256: %[4]s}]}
---
kind: agent
tenant: %[1]s
name: sue
spec: {name: Sue, role: supervisor, queues: ["*"], keys: [{id: sue, sha256: %[5]s}]}
`

// write lays out the configuration of a world and returns the settings file.
func (w *world) write(s setup) string {
	w.t.Helper()
	w.file("turnout.yaml", fmt.Sprintf(settings, s.limits))
	for _, name := range []string{"root", "audit", "identity"} {
		w.file("keys/"+name+".key", watch.keep("the key "+name, secret()))
	}
	for _, tenant := range []string{"acme", "other"} {
		w.bots[tenant] = newBot(w.t)
		text := fmt.Sprintf(resources, tenant, w.bots[tenant].url, s.channel, w.key(tenant, "ann"), w.key(tenant, "sue"))
		if rules := s.rules[tenant]; rules != "" {
			w.file("rules/"+tenant+".yaml", rules)
			text += fmt.Sprintf("---\n{kind: rules, tenant: %s, name: house, spec: {files: [../rules/%[1]s.yaml]}}\n", tenant)
		}
		w.file("conf/"+tenant+".yaml", text)
	}
	if s.extra != "" {
		w.file("conf/extra.yaml", s.extra)
	}
	return filepath.Join(w.dir, "turnout.yaml")
}

func (w *world) file(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// key makes an agent's API key and returns its digest.
func (w *world) key(tenant, agent string) (digest string) {
	w.t.Helper()
	key, digest, err := api.NewKey(rand.Reader, agent)
	if err != nil {
		w.t.Fatal(err)
	}
	w.keys[tenant+"/"+agent] = watch.keep("an API key", key)
	return digest
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), bots: map[string]*bot{}, keys: map[string]string{}}
	w.data = filepath.Join(w.dir, "data")
	return w
}

// start builds and starts a gateway; the test's end stops it.
func start(t testing.TB, s setup) *world {
	t.Helper()
	w := newWorld(t)
	cfg, err := config.Load(w.write(s))
	if err != nil {
		t.Fatal(err)
	}
	if w.gateway, err = w.build(cfg, s); err != nil {
		t.Fatal(err)
	}
	if err := w.gateway.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.addr, w.ops = w.gateway.Addr(), w.gateway.OpsAddr()
	t.Cleanup(func() {
		w.stop()
		for tenant, b := range w.bots {
			if n := b.garbled.Load(); n > 0 {
				t.Errorf("the bot of %s was sent %d requests that are no text", tenant, n)
			}
		}
	})
	return w
}

func (w *world) build(cfg *config.Config, s setup) (*gateway.Gateway, error) {
	reg := builtin.Registry()
	if s.registry != nil {
		s.registry(&reg)
	}
	return gateway.New(context.Background(), gateway.Options{
		Config: cfg, Registry: reg, Log: watch.logger(),
		Now:   func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
		Fatal: func(err error) { w.t.Errorf("the gateway wants to end the process: %v", err) },
	})
}

// stop is what the program does on SIGTERM. It may be called twice.
func (w *world) stop() {
	if w.gateway == nil {
		return
	}
	w.figures()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.gateway.Stop(ctx); err != nil {
		w.t.Errorf("stopping the gateway: %v", err)
	}
	w.gateway = nil
}

// figures puts what the gateway tells Prometheus before the same eyes as its log.
func (w *world) figures() {
	resp, err := http.Get("http://" + w.gateway.OpsAddr() + "/metrics")
	if err != nil {
		w.t.Errorf("reading the figures: %v", err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(text, []byte("\nturnout_ready 1\n")) {
		w.t.Errorf("reading the figures: status %d, %v", resp.StatusCode, err)
	}
	for line := range bytes.Lines(text) {
		watch.Write(line)
	}
}

// secret is 32 random bytes as a key file holds them.
func secret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// word is text that occurs nowhere else, and that may not be logged.
func word() string {
	b := make([]byte, 12)
	rand.Read(b)
	return watch.keep("the text of a message", "zq"+hex.EncodeToString(b))
}

// eventually waits for something that no answer tells. It looks again and again; how long it takes is not judged.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	giveUp := time.NewTimer(60 * time.Second)
	defer giveUp.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-giveUp.C:
			t.Fatalf("this never came to be: %s", what)
		}
	}
}

// lines indents lines of YAML to stand under a key.
func lines(indent int, text ...string) string {
	pad := strings.Repeat(" ", indent)
	return pad + strings.Join(text, "\n"+pad)
}
