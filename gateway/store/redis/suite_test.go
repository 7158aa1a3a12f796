package redis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
)

var rootKey = bytes.Repeat([]byte{7}, seal.KeySize)

var stores atomic.Int64

// options are those of a new store on a server: each has a prefix of its own.
func options(s *redistest.Server, now func() time.Time) redis.Options {
	return redis.Options{
		Addr: s.Addr(), Prefix: fmt.Sprintf("test%d:", stores.Add(1)), Root: rootKey, IDs: id.NewSource(rand.Reader, now), Now: now,
		Blobs: "/blobs", FS: vfs.NewMem(),
	}
}

func open(t testing.TB, o redis.Options) *redis.Store {
	t.Helper()
	s, err := redis.Open(context.Background(), o) // t.Context ends before the cleanups
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

func TestSuite(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	suite(t, func(now func() time.Time) redis.Options { return options(server, now) })
}

func suite(t *testing.T, options func(now func() time.Time) redis.Options) {
	storetest.Run(t, func(t *testing.T, c *storetest.Clock) storetest.Opened {
		o := options(c.Now)
		s := open(t, o)
		return storetest.Opened{
			Store: s,
			Reopen: func() store.Store {
				if err := s.Close(); err != nil {
					t.Fatalf("closing: %v", err)
				}
				s = open(t, o)
				return s
			},
			Shared:    true,
			KnownFor:  8 * 24 * time.Hour,
			Forgotten: 4 * 72 * time.Hour,
		}
	})
}
