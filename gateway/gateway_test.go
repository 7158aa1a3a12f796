package gateway_test

import (
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"turnout/adapters"
	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

// watched is a channel that says when it was closed.
type watched struct {
	adapters.Channel
	closed *int
}

func (w watched) Close() error {
	*w.closed++
	return w.Channel.Close()
}

// What was opened before a part that cannot be built is closed again, and the folder is free for the next attempt.
func TestAFailedNewLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"root.key": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"turnout.yaml": "listen: 127.0.0.1:0\nops_listen: 127.0.0.1:0\ndata: data\nroot_key: file:root.key\n" +
			"audit: {signing_key: file:root.key}\nresources: [acme.yaml]\nstore: {reserve_bytes: 1MiB}\n",
		"acme.yaml": `kind: tenant
name: acme
---
kind: queue
name: support
---
kind: bot
name: legacy
spec: {adapter: webhook, config: {url: "https://192.0.2.1/"}}
---
kind: channel
name: first
spec: {adapter: web, config: {}}
---
kind: channel
name: second
spec: {adapter: broken, config: {}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "turnout.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	closed, built := 0, 0
	broken := errors.New("cannot be built")
	web := builtin.Registry()
	reg := builtin.Registry()
	reg.AddChannel("web", func(s adapters.Spec, d adapters.Deps) (adapters.Channel, error) {
		built++
		ch, err := web.BuildChannel("web", s, d)
		return watched{ch, &closed}, err
	})
	reg.AddChannel("broken", func(adapters.Spec, adapters.Deps) (adapters.Channel, error) { return nil, broken })
	for attempt := 1; attempt <= 2; attempt++ {
		g, err := gateway.New(t.Context(), gateway.Options{
			Config: cfg, Registry: reg, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if g != nil || err == nil {
			t.Fatalf("attempt %d: %v, %v", attempt, g, err)
		}
		if built != attempt || closed != attempt {
			t.Errorf("attempt %d (%v): %d channels built, %d closed", attempt, err, built, closed)
		}
	}
}
