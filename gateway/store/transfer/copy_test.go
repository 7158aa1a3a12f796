package transfer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
	"turnout/gateway/store/transfer"
)

var rootKey = bytes.Repeat([]byte{7}, seal.KeySize)

// folder makes places in the folders of a disk in memory.
func folder(_ *testing.T, c *storetest.Clock) storetest.Place {
	return folderOf(embedded.Options{
		Dir: fmt.Sprintf("/store-%d", stores.Add(1)), FS: vfs.NewMem(), Root: rootKey, IDs: id.NewSource(rand.Reader, c.Now), Now: c.Now,
		Reserve: -1, Ballast: -1,
	})
}

func folderOf(o embedded.Options) storetest.Place {
	return storetest.Place{
		Open:  func() (store.Store, error) { return opened(embedded.Open(o)) },
		Blobs: func(s store.Store) storetest.Blobs { return s.(*embedded.Store).Blobs() },
		Source: func(context.Context) (transfer.Source, error) {
			if _, err := o.FS.Stat(o.Dir); err != nil {
				return nil, err
			}
			return opened(embedded.Open(o))
		},
		Target: func(root []byte) transfer.Target {
			to := o
			to.Root = or(root)
			return embedded.NewTarget(to)
		},
	}
}

// opened makes no interface of a store that is none.
func opened(s *embedded.Store, err error) (*embedded.Store, error) { return s, err }

func or(root []byte) []byte {
	if root == nil {
		return rootKey
	}
	return root
}

var stores atomic.Int64

// server makes places under prefixes of a server.
func server(s *redistest.Server) func(t *testing.T, c *storetest.Clock) storetest.Place {
	return func(t *testing.T, c *storetest.Clock) storetest.Place {
		return serverOf(redis.Options{
			Addr: s.Addr(), Prefix: fmt.Sprintf("t*%d:", stores.Add(1)), Root: rootKey, IDs: id.NewSource(rand.Reader, c.Now), Now: c.Now,
			Blobs: "/blobs", FS: vfs.NewMem(),
			Dedupe: redis.Dedupe{Generations: 4, Length: 72 * 3600 * 1e9, Buckets: 4}, // to look through fewer
		})
	}
}

func serverOf(o redis.Options) storetest.Place {
	return storetest.Place{
		Open: func() (store.Store, error) {
			s, err := redis.Open(context.Background(), o)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Blobs: func(s store.Store) storetest.Blobs { return s.(*redis.Store).Blobs() },
		Source: func(ctx context.Context) (transfer.Source, error) {
			s, err := redis.OpenSource(ctx, o)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Target: func(root []byte) transfer.Target {
			to := o
			to.Root = or(root)
			return redis.NewTarget(to)
		},
	}
}

func TestFolderToFolder(t *testing.T) { storetest.Copy(t, folder, folder) }

func TestFolderToServer(t *testing.T) {
	storetest.Copy(t, folder, server(redistest.Start(t, redistest.Durable()...)))
}

func TestServerToFolder(t *testing.T) {
	storetest.Copy(t, server(redistest.Start(t, redistest.Durable()...)), folder)
}

func TestServerToServer(t *testing.T) {
	s := redistest.Start(t, redistest.Durable()...)
	storetest.Copy(t, server(s), server(s))
}
