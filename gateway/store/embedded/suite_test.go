package embedded_test

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
)

var rootKey = bytes.Repeat([]byte{7}, seal.KeySize)

// options are those of a store in memory.
func options(fs vfs.FS, now func() time.Time) embedded.Options {
	return embedded.Options{
		Dir: "/store", FS: fs, Root: rootKey, IDs: id.NewSource(rand.Reader, now), Now: now,
		Reserve: -1, Ballast: -1, Backoff: time.Millisecond,
	}
}

func open(t testing.TB, o embedded.Options) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(o)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	return s
}

func TestSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, c *storetest.Clock) storetest.Opened {
		o := options(vfs.NewMem(), c.Now)
		s := open(t, o)
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		return storetest.Opened{
			Store: s,
			Reopen: func() store.Store {
				if err := s.Close(); err != nil {
					t.Fatalf("closing: %v", err)
				}
				s = open(t, o)
				return s
			},
			KnownFor:  8 * 24 * time.Hour,
			Forgotten: 4 * 72 * time.Hour,
		}
	})
}
