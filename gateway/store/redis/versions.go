package redis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// newestVersion is the field of a document's hash that names its newest version.
const newestVersion = "n"

// Publish implements store.Versions.
func (s *Store) Publish(ctx context.Context, t store.Tenant, doc string, prev int, v store.VersionedDoc) error {
	if doc == "" || strings.ContainsRune(doc, 0) || prev < 0 || prev >= math.MaxInt32 {
		return fmt.Errorf("%w: a document needs a name, and its versions count from 1", errUnsound)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	keys, err := s.makeTenant(ctx, t)
	if err != nil {
		return err
	}
	v.N = prev + 1
	op := s.o.IDs.Token() // one for all attempts
	key, field := s.keys.own(t, "v:"+doc), strconv.Itoa(v.N)
	sealed, err := sealJSON(keys, aad(key, []byte(field)), v)
	if err != nil {
		return err
	}
	if err := s.o.Faults.Hit(ctx, fault.VersionBuilt); err != nil {
		return err
	}
	return s.ownStep(ctx, t, func(_ map[string]string, x *txn) (*audit.Entry, error) {
		var cmd *goredis.StringCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, key, newestVersion) }); err != nil {
			return nil, err
		}
		newest, err := number(cmd.Val())
		if err != nil {
			return nil, err
		}
		if newest != uint64(prev) {
			return nil, store.ErrStale
		}
		if prev == 0 {
			x.absent(whyVersion, key, newestVersion)
		} else {
			x.equal(whyVersion, key, newestVersion, prev)
		}
		x.hset(key, field, sealed)
		x.hset(key, newestVersion, v.N)
		return &audit.Entry{
			At: v.At, Type: store.VersionPublished, Kind: fmt.Sprintf("%s %d", doc, v.N), Op: op,
			Actor: cmp.Or(v.By, "system"), Digest: v.Digest,
		}, nil
	})
}

// Current implements store.Versions.
func (s *Store) Current(ctx context.Context, t store.Tenant, doc string) (store.VersionedDoc, error) {
	if err := s.enter(ctx); err != nil {
		return store.VersionedDoc{}, err
	}
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, s.keys.own(t, "v:"+doc), newestVersion) }); err != nil {
		return store.VersionedDoc{}, err
	}
	n, err := number(cmd.Val())
	if err != nil {
		return store.VersionedDoc{}, err
	}
	return s.Version(ctx, t, doc, int(n))
}

// Version implements store.Versions.
func (s *Store) Version(ctx context.Context, t store.Tenant, doc string, n int) (v store.VersionedDoc, err error) {
	if err := s.enter(ctx); err != nil {
		return v, err
	}
	if n < 1 || n > math.MaxInt32 {
		return v, store.ErrNotFound
	}
	keys, err := s.tenant(ctx, t)
	if err != nil {
		return v, err
	}
	if keys == nil {
		return v, store.ErrNotFound
	}
	key, field := s.keys.own(t, "v:"+doc), strconv.Itoa(n)
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, key, field) }); err != nil {
		return v, err
	}
	if cmd.Val() == "" {
		return v, store.ErrNotFound
	}
	err = openJSON(keys, aad(key, []byte(field)), []byte(cmd.Val()), &v)
	return v, err
}

func (s *Store) answerKey(t store.Tenant, key [32]byte) string {
	return s.keys.own(t, "n:"+string(key[:]))
}

// Remember implements store.Answers. An answer goes by itself when its time is over.
func (s *Store) Remember(ctx context.Context, t store.Tenant, a store.Answer) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	keys, err := s.makeTenant(ctx, t)
	if err != nil {
		return err
	}
	left := a.Until - s.now()
	if left <= 0 {
		return nil
	}
	key := s.answerKey(t, a.Key)
	sealed, err := sealJSON(keys, []byte(key), a)
	if err != nil {
		return err
	}
	// Setting it again does no harm.
	return s.db.run(ctx, reading, func(p goredis.Pipeliner) { p.Set(ctx, key, sealed, time.Duration(left)*time.Millisecond) })
}

// Recall implements store.Answers.
func (s *Store) Recall(ctx context.Context, t store.Tenant, key [32]byte) (a store.Answer, err error) {
	if err := s.enter(ctx); err != nil {
		return a, err
	}
	keys, err := s.tenant(ctx, t)
	if err != nil {
		return a, err
	}
	if keys == nil {
		return a, store.ErrNotFound
	}
	at := s.answerKey(t, key)
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.Get(ctx, at) }); err != nil {
		return a, err
	}
	if cmd.Val() == "" {
		return a, store.ErrNotFound
	}
	if err := openJSON(keys, []byte(at), []byte(cmd.Val()), &a); err != nil {
		return store.Answer{}, err
	}
	if a.Until <= s.now() {
		return store.Answer{}, store.ErrNotFound
	}
	return a, nil
}
