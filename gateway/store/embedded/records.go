package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"

	"turnout/gateway/audit"
	"turnout/gateway/store"
)

// Records lie in the space of keys, which Scrub rewrites: what was in one that is gone is in no file after it.
//
//	K r <tenant> 0 <kind> 0 <id>

var recordForm = regexp.MustCompile(`^[a-z0-9_.-]{1,64}$`)

func recordPrefix(t store.Tenant, kind string) []byte {
	k := append(append(make([]byte, 0, keySize), spaceKey, 'r'), t.Name()...)
	k = append(append(k, 0), kind...)
	return append(k, 0)
}

// recordRow is a record as it is sealed.
type recordRow struct {
	Version store.Token `json:"version"`
	Body    []byte      `json:"body"`
}

// PutRecord implements store.Records.
func (s *Store) PutRecord(ctx context.Context, t store.Tenant, r store.Record, entry *audit.Entry) (store.Token, error) {
	version := store.Token(s.o.IDs.Token())
	err := s.changeRecord(ctx, t, r, entry, &recordRow{Version: version, Body: r.Body})
	return version, err
}

// DeleteRecord implements store.Records.
func (s *Store) DeleteRecord(ctx context.Context, t store.Tenant, r store.Record, entry *audit.Entry) error {
	if r.Version == "" {
		return store.ErrStale
	}
	return s.changeRecord(ctx, t, r, entry, nil)
}

// changeRecord makes a record what it should be, nil for gone.
func (s *Store) changeRecord(ctx context.Context, t store.Tenant, r store.Record, entry *audit.Entry, now *recordRow) error {
	if !recordForm.MatchString(r.Kind) || !recordForm.MatchString(r.ID) {
		return fmt.Errorf("%w: a record's kind and id are 1 to 64 of a-z, 0-9, underscore, hyphen and dot", errUnsound)
	}
	keys, err := s.lockChain(ctx, t)
	if err != nil {
		return err
	}
	defer s.unlockChain(keys)
	key := append(recordPrefix(t, r.Kind), r.ID...)
	var was recordRow
	row, err := s.get(key)
	if err == nil && row != nil {
		err = keys.openJSON(key, row, &was)
	}
	if err != nil {
		return fmt.Errorf("reading a record: %w", err)
	}
	if was.Version != r.Version {
		return store.ErrStale
	}
	b := s.db.NewBatch()
	defer b.Close()
	if now == nil {
		err = errors.Join(b.Delete(key, nil), b.Set(markKey(markRecord, store.Ref{Tenant: t}, ""), nil, nil))
	} else if row, err = keys.sealJSON(key, now); err == nil {
		err = b.Set(key, row, nil)
	}
	if err != nil {
		return fmt.Errorf("building a record: %w", err)
	}
	if entry != nil {
		if err := s.addEntry(b, t, *entry); err != nil {
			return err
		}
	}
	return s.apply(b)
}

// Record implements store.Records.
func (s *Store) Record(ctx context.Context, t store.Tenant, kind, id string) (store.Record, error) {
	list, err := s.records(ctx, t, kind, func(prefix []byte) (from, to []byte) {
		key := append(prefix, id...)
		return key, append(bytes.Clone(key), 0)
	}, 1)
	if err == nil && len(list) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, err
	}
	return list[0], nil
}

// ListRecords implements store.Records.
func (s *Store) ListRecords(ctx context.Context, t store.Tenant, kind, last string, limit int) ([]store.Record, error) {
	return s.records(ctx, t, kind, func(prefix []byte) (from, to []byte) {
		to = after(prefix)
		if last == "" {
			return prefix, to
		}
		return append(append(prefix, last...), 0), to
	}, limit)
}

func (s *Store) records(ctx context.Context, t store.Tenant, kind string, span func(prefix []byte) (from, to []byte), limit int) (list []store.Record, err error) {
	if !recordForm.MatchString(kind) {
		return nil, store.ErrNotFound
	}
	keys, leave, err := s.enterChain(ctx, t)
	if keys == nil || err != nil {
		return nil, err
	}
	defer leave()
	prefix := recordPrefix(t, kind)
	from, to := span(bytes.Clone(prefix))
	err = s.each(from, to, func(k, v []byte) (bool, error) {
		if len(list) >= limit {
			return false, nil
		}
		var row recordRow
		if err := keys.openJSON(k, v, &row); err != nil {
			return false, fmt.Errorf("reading a record: %w", err)
		}
		list = append(list, store.Record{Kind: kind, ID: string(k[len(prefix):]), Version: row.Version, Body: row.Body})
		return true, nil
	})
	return list, err
}

// jobs are the leases of jobs. They are memory: a start of the process is the end of every job that it did.
type jobs struct {
	mu sync.Mutex
	by map[jobOf]store.Lease
}

type jobOf struct {
	tenant store.Tenant
	name   string
}

// LeaseJob implements store.Records.
func (s *Store) LeaseJob(ctx context.Context, t store.Tenant, job string, token store.Token, until int64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	s.leased.mu.Lock()
	defer s.leased.mu.Unlock()
	of := jobOf{t, job}
	if l := s.leased.by[of]; l.Live(s.now()) && l.Token != token {
		return store.ErrStale
	}
	if s.leased.by == nil {
		s.leased.by = map[jobOf]store.Lease{}
	}
	s.leased.by[of] = store.Lease{Token: token, Until: until}
	return nil
}

// DropJob implements store.Records.
func (s *Store) DropJob(_ context.Context, t store.Tenant, job string, token store.Token) error {
	s.leased.mu.Lock()
	defer s.leased.mu.Unlock()
	if of := (jobOf{t, job}); s.leased.by[of].Token == token {
		delete(s.leased.by, of)
	}
	return nil
}
