package redis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
)

// TestUnsafeSettings: a server that loses what it acknowledged is refused by the name of the setting, and health says what
// is in force when the operator will have it all the same.
func TestUnsafeSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		settings []string
		want     string // empty: it is safe
		level    string
	}{
		"durable":             {redistest.Durable(), "", "redis, wait=0, aof=always"},
		"evicting":            {[]string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"}, "maxmemory-policy is allkeys-lru", "redis, wait=0, aof=always, unsafe"},
		"no append-only":      {[]string{"--appendonly", "no"}, "appendonly is no", "redis, wait=0, aof=off, unsafe"},
		"synced now and then": {[]string{"--appendonly", "yes", "--appendfsync", "everysec"}, "appendfsync is everysec", "redis, wait=0, aof=everysec, unsafe"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, tc.settings...)
			o := options(server, time.Now)
			if tc.want != "" {
				if _, err := redis.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "allow_unsafe") {
					t.Fatalf("opened: %v, want a word on %q", err, tc.want)
				}
				o.AllowUnsafe = true
			}
			if h := open(t, o).Health(t.Context()); !h.OK || !strings.HasPrefix(h.Level, tc.level) {
				t.Errorf("health: %+v, want level %s", h, tc.level)
			}
		})
	}
}

// TestOpen: a store opens only as what it was made, and a server that is not there is said so.
func TestOpen(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	o := options(server, time.Now)
	open(t, o)
	other := o
	other.Root = bytes.Repeat([]byte{8}, seal.KeySize)
	if _, err := redis.Open(t.Context(), other); !errors.Is(err, seal.ErrRootKey) {
		t.Errorf("with another root key: %v", err)
	}
	other = o
	other.Dedupe = redis.Dedupe{Generations: 5, Length: 72 * time.Hour, Buckets: 64}
	if _, err := redis.Open(t.Context(), other); err == nil || !strings.Contains(err.Error(), "dedupe generations") {
		t.Errorf("with other generations: %v", err)
	}
	other = o
	other.Wait = 1
	other.Patience = 10 * time.Millisecond
	if _, err := redis.Open(t.Context(), other); !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("waiting for a replica that is not there: %v", err)
	}
	server.Kill()
	o.Patience = 10 * time.Millisecond
	if _, err := redis.Open(context.Background(), o); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), server.Addr()) {
		t.Errorf("without a server: %v", err)
	}
	if _, err := redis.Open(t.Context(), redis.Options{IDs: id.NewSource(rand.Reader, time.Now), Now: time.Now}); err == nil {
		t.Error("opened nowhere")
	}
}

// TestFull: at its memory's end the server takes nothing more, and says so before anything is written.
func TestFull(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	s := open(t, options(server, time.Now))
	ten, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	publish := func(n int) error {
		return s.Publish(t.Context(), ten, "rules", n, store.VersionedDoc{Body: []byte("x"), At: 1})
	}
	if err := publish(0); err != nil {
		t.Fatal(err)
	}
	c := server.Client()
	if err := c.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := publish(1); !errors.Is(err, store.ErrFull) {
		t.Errorf("publishing without memory: %v", err)
	}
	if h := s.Health(t.Context()); h.OK || h.Free >= 0 {
		t.Errorf("health: %+v", h)
	}
	if v, err := s.Current(t.Context(), ten, "rules"); err != nil || v.N != 1 {
		t.Errorf("reading without memory: %+v, %v", v, err)
	}
	if err := c.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := publish(1); err != nil {
		t.Errorf("publishing with memory again: %v", err)
	}
}
