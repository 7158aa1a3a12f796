package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/gateway/config"
	"turnout/gateway/id"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/gateway/store/blob/s3"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/redis"
)

// nodeStore is the store of a node, and what goes with it.
type nodeStore struct {
	store.Store
	blobs blobStore
	// bucket is where the bytes of attachments lie, nil where they lie in a folder.
	bucket *s3.Bucket
	// own is the store where it lies in the node's own folder; nil where a server has it.
	own *embedded.Store
	// nodes is who else works on the store.
	nodes rulebook.Nodes
	// shared is set when other nodes may work on it.
	shared bool
	// backlog counts the conversations of a channel that have something to send.
	backlog func(ctx context.Context, t store.Tenant, channel string) (int, error)
}

// blobStore keeps the bytes of attachments.
type blobStore interface {
	Put(ctx context.Context, r store.Ref, body io.Reader, max int64) (name string, size int64, err error)
	Open(ctx context.Context, r store.Ref, name string) (io.ReadCloser, error)
}

// maxSkew is by how much a node's clock and the store's may differ before health says so: it is part of the margin of
// every lease.
const maxSkew = 250 * time.Millisecond

// openStore opens the store that the settings name. use says what for; reconciled, unless it is nil, is told what a shared
// store found after a failover.
func openStore(ctx context.Context, o Options, cfg *config.Config, root []byte, ids *id.Source, use storeUse, reconciled func(redis.Reconciled)) (*nodeStore, error) {
	if cfg.Store.Kind == "redis" {
		ro, err := nodeRedisOptions(o, cfg, root, ids)
		if err != nil {
			return nil, err
		}
		ro.Reconciled = reconciled
		// What the node itself keeps has its place all the same: its socket, its keys.
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			return nil, fmt.Errorf("making the data folder: %w", err)
		}
		bucket, _ := ro.Files.(*s3.Bucket)
		if bucket != nil && use == toServe {
			if err := tryBucket(ctx, bucket, ro.Log); err != nil {
				return nil, err
			}
		}
		s, err := redis.Open(ctx, ro)
		if err != nil {
			return nil, err
		}
		return &nodeStore{Store: s, blobs: s.Blobs(), bucket: bucket, nodes: s, shared: true, backlog: s.Backlog}, nil
	}
	eo := embedded.Options{Dir: storeDir(cfg), FS: o.FS, Root: root, IDs: ids, Now: o.Now, Log: o.Log.With("component", "store")}
	switch use {
	case toServe:
		eo.Faults, eo.Reserve, eo.Fatal = o.Faults, cfg.Store.ReserveBytes, o.Fatal
	case toRead:
		eo.Reserve, eo.Ballast = -1, -1
		if _, err := os.Stat(eo.Dir); err != nil { // opening would make one
			return nil, fmt.Errorf("opening the store: %w", err)
		}
	}
	s, err := embedded.Open(eo)
	if err != nil {
		return nil, err
	}
	return &nodeStore{Store: s, blobs: s.Blobs(), own: s, nodes: rulebook.Alone{}, backlog: s.Backlog}, nil
}

// storeUse is what a store is opened for.
type storeUse int

const (
	toServe storeUse = iota
	toRead           // by a command, while no node runs on it or, where it is shared, beside them
)

// storeDir is the folder of the embedded store.
func storeDir(cfg *config.Config) string { return filepath.Join(cfg.Data, "store") }

// storeName says where the store is, for people.
func storeName(cfg *config.Config) string {
	if cfg.Store.Kind == "redis" {
		return "on redis at " + cmp.Or(cfg.Store.Address, cfg.Store.Master, strings.Join(cfg.Store.Cluster, ", "))
	}
	return storeDir(cfg)
}

// nodeRedisOptions are redisOptions, and what the process gives.
func nodeRedisOptions(o Options, cfg *config.Config, root []byte, ids *id.Source) (redis.Options, error) {
	ro, err := redisOptions(o, cfg)
	if err != nil {
		return ro, err
	}
	if bucket, err := newBucket(o, cfg); err != nil {
		return ro, err
	} else if bucket != nil {
		ro.Files = bucket
	}
	ro.Root, ro.IDs, ro.Now, ro.Faults, ro.Log, ro.FS, ro.Events = root, ids, o.Now, o.Faults, o.Log.With("component", "store"), o.FS, o.Events
	ro.Damaged = o.damaged
	return ro, nil
}

// redisOptions are what the settings say of a Redis store.
func redisOptions(o Options, cfg *config.Config) (redis.Options, error) {
	s := cfg.Store
	ro := redis.Options{
		Addr: s.Address, Sentinels: s.Sentinels, Master: s.Master, Cluster: s.Cluster, Username: s.Username, SentinelUsername: s.SentinelUsername, Prefix: s.Prefix, Wait: s.Wait, AllowUnsafe: s.AllowUnsafe, MaxSkew: maxSkew, WayBack: s.WayBack, Blobs: s.Blobs.Folder,
	}
	if ro.Blobs == "" {
		ro.Blobs = filepath.Join(cfg.Data, "blobs")
	}
	for what, of := range map[string]struct {
		ref adapters.SecretRef
		to  *string
	}{"the password of the store": {s.Password, &ro.Password}, "the password of the sentinels": {s.SentinelPassword, &ro.SentinelPassword}} {
		if of.ref == "" {
			continue
		}
		secret, err := o.Secrets(of.ref)
		if err != nil {
			return ro, fmt.Errorf("reading %s: %w", what, err)
		}
		if *of.to = secret.Reveal(); *of.to == "" {
			return ro, fmt.Errorf("reading %s: it is empty", what)
		}
	}
	if s.TLS {
		// The name of each server that is connected to is the one that its certificate has to hold.
		ro.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return ro, nil
}
