package redis

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

var recordForm = regexp.MustCompile(`^[a-z0-9_.-]{1,64}$`)

// recordKey is the hash of a tenant's records of a kind: by id the version, a new line, and the sealed body.
func (s *Store) recordKey(t store.Tenant, kind string) string { return s.keys.own(t, "r:"+kind) }

func recordAAD(key, id string, version store.Token) []byte {
	return aad(key, []byte(id), []byte("\n"), []byte(version))
}

// PutRecord implements store.Records.
func (s *Store) PutRecord(ctx context.Context, t store.Tenant, r store.Record, entry *audit.Entry) (store.Token, error) {
	version := store.Token(s.o.IDs.Token())
	err := s.changeRecord(ctx, t, r, entry, func(keys *seal.Tenant, key string, x *txn) error {
		sealed, err := keys.Seal(nil, recordAAD(key, r.ID, version), r.Body)
		if err != nil {
			return err
		}
		x.hset(key, r.ID, append([]byte(version+"\n"), sealed...))
		return nil
	})
	return version, err
}

// DeleteRecord implements store.Records.
func (s *Store) DeleteRecord(ctx context.Context, t store.Tenant, r store.Record, entry *audit.Entry) error {
	if r.Version == "" {
		return store.ErrStale
	}
	return s.changeRecord(ctx, t, r, entry, func(_ *seal.Tenant, key string, x *txn) error {
		x.hdel(key, r.ID)
		x.sadd(s.keys.own(t, markRecords), "r")
		return nil
	})
}

// changeRecord changes a record of a version, with an entry in the tenant's chain if there is one.
func (s *Store) changeRecord(ctx context.Context, t store.Tenant, r store.Record, entry *audit.Entry, change func(*seal.Tenant, string, *txn) error) error {
	if !recordForm.MatchString(r.Kind) || !recordForm.MatchString(r.ID) {
		return fmt.Errorf("%w: a record's kind and id are 1 to 64 of a-z, 0-9, underscore, hyphen and dot", errUnsound)
	}
	key := s.recordKey(t, r.Kind)
	return s.ownStep(ctx, t, func(_ map[string]string, x *txn) (*audit.Entry, error) {
		keys, err := s.tenant(ctx, t)
		if keys == nil || err != nil {
			return nil, errors.Join(err, notFound(keys == nil))
		}
		var cmd *goredis.StringCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, key, r.ID) }); err != nil {
			return nil, err
		}
		version, _, _ := strings.Cut(cmd.Val(), "\n")
		if store.Token(version) != r.Version {
			return nil, store.ErrStale
		}
		if cmd.Val() == "" {
			x.absent(whyVersion, key, r.ID)
		} else {
			x.equal(whyVersion, key, r.ID, cmd.Val())
		}
		return entry, change(keys, key, x)
	})
}

// Record implements store.Records.
func (s *Store) Record(ctx context.Context, t store.Tenant, kind, id string) (store.Record, error) {
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil {
		return store.Record{}, errors.Join(err, notFound(keys == nil))
	}
	key := s.recordKey(t, kind)
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, key, id) }); err != nil {
		return store.Record{}, err
	}
	if cmd.Val() == "" {
		return store.Record{}, store.ErrNotFound
	}
	return openRecord(keys, key, kind, id, cmd.Val())
}

func openRecord(keys *seal.Tenant, key, kind, id, row string) (store.Record, error) {
	version, sealed, ok := strings.Cut(row, "\n")
	if !ok {
		return store.Record{}, fmt.Errorf("reading a record: %w", errRow)
	}
	body, err := keys.Open(nil, recordAAD(key, id, store.Token(version)), []byte(sealed))
	if err != nil {
		return store.Record{}, fmt.Errorf("reading a record: %w", err)
	}
	return store.Record{Kind: kind, ID: id, Version: store.Token(version), Body: body}, nil
}

// ListRecords implements store.Records.
func (s *Store) ListRecords(ctx context.Context, t store.Tenant, kind, after string, limit int) (list []store.Record, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil {
		return nil, err
	}
	key := s.recordKey(t, kind)
	var names *goredis.StringSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { names = p.HKeys(ctx, key) }); err != nil {
		return nil, err
	}
	ids := slices.DeleteFunc(names.Val(), func(id string) bool { return id <= after })
	slices.Sort(ids)
	if ids = ids[:max(0, min(limit, len(ids)))]; len(ids) == 0 {
		return nil, nil
	}
	var rows *goredis.SliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { rows = p.HMGet(ctx, key, ids...) }); err != nil {
		return nil, err
	}
	for i, v := range rows.Val() {
		row, ok := v.(string)
		if !ok {
			continue // it was taken away meanwhile
		}
		r, err := openRecord(keys, key, kind, ids[i], row)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// jobEnd is the field of a tenant's jobs that holds until when one is leased; the token stands under the job's name.
func jobEnd(job string) string { return job + "\nx" }

// LeaseJob implements store.Records.
func (s *Store) LeaseJob(ctx context.Context, t store.Tenant, job string, token store.Token, until int64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	key := s.keys.own(t, "j")
	free := func(x *txn) { x.past(whyLease, key, jobEnd(job), s.now()) }
	mine := func(x *txn) { x.equal(whyLease, key, job, string(token)) }
	for _, guard := range []func(*txn){free, mine} {
		var x txn
		guard(&x)
		x.hset(key, job, string(token))
		x.hset(key, jobEnd(job), until)
		if why, err := s.db.commit(ctx, &x); err != nil || why == held {
			return err
		}
	}
	return store.ErrStale
}

// DropJob implements store.Records.
func (s *Store) DropJob(ctx context.Context, t store.Tenant, job string, token store.Token) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	key := s.keys.own(t, "j")
	var x txn
	x.equal(whyLease, key, job, string(token))
	x.hdel(key, job)
	x.hdel(key, jobEnd(job))
	_, err := s.db.commit(ctx, &x)
	return err
}
