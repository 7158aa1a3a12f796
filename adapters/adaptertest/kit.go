// Package adaptertest is what an adapter is tested with: fake Deps with a frozen clock, deterministic ids, a network
// that ends at loopback and secrets that must not show up anywhere, an in-memory World in place of the gateway, and
// suites that every channel and every bot has to pass.
package adaptertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"turnout/adapters"
)

// Canaries. A test that finds one of them in a log or an error has found a leak.
const (
	CanarySecret = "canary-secret-2f9c41d7a5b84e06b1c3d8e7"
	CanaryText   = "canary-text-the-customer-wrote-this"
)

// Epoch is where the clock of a Kit stands at first.
var Epoch = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// Kit is a set of fake dependencies and what a test needs to see of them.
type Kit struct {
	Deps  adapters.Deps
	World *World
	Clock *Clock
	Logs  *Logs
}

// New returns a kit for an adapter with the given key. Every secret reference resolves to a value that begins with
// CanarySecret, different for each; "env:MISSING" does not resolve.
func New(t testing.TB, key string) *Kit {
	t.Helper()
	k := &Kit{Clock: &Clock{now: Epoch}, Logs: &Logs{}}
	k.World = newWorld(key, k.Clock.Now)
	var ids atomic.Uint64
	k.Deps = adapters.Deps{
		Tenant: "acme", Key: key,
		Inbox: k.World, Timeline: k.World, Blobs: k.World, Deliveries: k.World,
		Secret: func(ref adapters.SecretRef) (adapters.Secret, error) {
			if ref == "env:MISSING" || (!strings.HasPrefix(string(ref), "env:") && !strings.HasPrefix(string(ref), "file:")) {
				return adapters.Secret{}, errors.New("the secret cannot be resolved")
			}
			return adapters.NewSecret(SecretOf(ref)), nil
		},
		Derive: func(purpose string) []byte {
			sum := sha256.Sum256([]byte("root/" + key + "/" + purpose))
			return sum[:]
		},
		Dial: loopbackDial(t),
		Now:  k.Clock.Now,
		NewID: func(n int) []byte {
			seed := binary.BigEndian.AppendUint64(nil, ids.Add(1))
			var out []byte
			for len(out) < n {
				sum := sha256.Sum256(append(seed, byte(len(out))))
				out = append(out, sum[:]...)
			}
			return out[:n]
		},
		Log: slog.New(slog.NewJSONHandler(k.Logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return k
}

// SecretOf is the value that a reference resolves to.
func SecretOf(ref adapters.SecretRef) string { return CanarySecret + "/" + string(ref) }

// loopbackDial connects to this machine and fails the test for anything else.
func loopbackDial(t testing.TB) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			t.Errorf("the adapter dialled %s, which is not a loopback address", addr)
			return nil, errors.New("only loopback may be dialled in tests")
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}

// Clock is a clock that stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Logs keeps everything that was logged, at every level.
type Logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns what was logged so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// AssertQuiet fails the test if a canary, or one of more, was logged or stands in text.
func (k *Kit) AssertQuiet(t testing.TB, text string, more ...string) {
	t.Helper()
	for _, canary := range append([]string{CanarySecret, CanaryText}, more...) {
		if strings.Contains(k.Logs.String(), canary) {
			t.Errorf("the log holds %q", canary)
		}
		if strings.Contains(text, canary) {
			t.Errorf("an error or answer holds %q: %s", canary, text)
		}
	}
}

// YAML is a section of configuration, decoded as strictly as the real ones.
type YAML string

var _ adapters.Spec = YAML("")

// Decode implements adapters.Spec.
func (y YAML) Decode(v any) error {
	if strings.TrimSpace(string(y)) == "" {
		return nil
	}
	if err := yaml.UnmarshalWithOptions([]byte(y), v, yaml.Strict()); err != nil {
		return fmt.Errorf("decoding section: %w", err)
	}
	return nil
}
