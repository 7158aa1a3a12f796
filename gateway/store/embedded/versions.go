package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// docPrefix is the prefix of the versions of a document.
func docPrefix(t store.Tenant, doc string) []byte {
	return append(append(tenantKey(t.Name(), 'v'), doc...), 0)
}

// Publish implements store.Versions.
func (s *Store) Publish(ctx context.Context, t store.Tenant, doc string, prev int, v store.VersionedDoc) error {
	if doc == "" || strings.ContainsRune(doc, 0) || prev < 0 || prev >= math.MaxInt32 {
		return fmt.Errorf("%w: a document needs a name, and its versions count from 1", errUnsound)
	}
	keys, err := s.lockChain(ctx, t)
	if err != nil {
		return err
	}
	defer s.unlockChain(keys)
	newest, err := s.newest(t, keys, doc)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if newest.N != prev {
		return store.ErrStale
	}
	v.N = prev + 1
	plain, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding version: %w", err)
	}
	key := binary.BigEndian.AppendUint32(docPrefix(t, doc), uint32(v.N))
	sealed, err := keys.Seal(nil, key, plain)
	if err != nil {
		return err
	}
	if err := s.o.Faults.Hit(ctx, fault.VersionBuilt); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(key, sealed, nil); err != nil {
		return fmt.Errorf("building version: %w", err)
	}
	entry := audit.Entry{
		At: v.At, Type: store.VersionPublished, Kind: fmt.Sprintf("%s %d", doc, v.N), Op: s.o.IDs.Token(),
		Actor: cmp.Or(v.By, "system"), Digest: v.Digest,
	}
	if err := s.addEntry(b, t, entry); err != nil {
		return err
	}
	if err := s.apply(b); err != nil {
		return err
	}
	if err := s.o.Faults.Hit(ctx, fault.VersionDurable); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return nil
}

// newest returns the newest version. The caller holds the lock of the tenant's chain.
func (s *Store) newest(t store.Tenant, keys *tenant, doc string) (v store.VersionedDoc, err error) {
	prefix := docPrefix(t, doc)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return v, s.readError(err)
	}
	if !it.Last() {
		if err := it.Close(); err != nil {
			return v, s.readError(err)
		}
		return v, store.ErrNotFound
	}
	row, err := it.ValueAndErr()
	if err == nil {
		err = openDoc(keys, it.Key(), row, &v)
	}
	return v, errors.Join(err, it.Close())
}

func openDoc(keys *tenant, key, row []byte, v *store.VersionedDoc) error {
	plain, err := keys.Open(nil, key, row)
	if err != nil {
		return fmt.Errorf("reading version: %w", err)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("decoding version: %w", err)
	}
	return nil
}

// Current implements store.Versions.
func (s *Store) Current(ctx context.Context, t store.Tenant, doc string) (store.VersionedDoc, error) {
	return s.readDoc(ctx, t, func(keys *tenant) (store.VersionedDoc, error) { return s.newest(t, keys, doc) })
}

// Version implements store.Versions.
func (s *Store) Version(ctx context.Context, t store.Tenant, doc string, n int) (store.VersionedDoc, error) {
	if n < 1 || n > math.MaxInt32 {
		return store.VersionedDoc{}, store.ErrNotFound
	}
	return s.readDoc(ctx, t, func(keys *tenant) (v store.VersionedDoc, err error) {
		key := binary.BigEndian.AppendUint32(docPrefix(t, doc), uint32(n))
		row, err := s.get(key)
		if err == nil && row == nil {
			err = store.ErrNotFound
		}
		if err != nil {
			return v, err
		}
		err = openDoc(keys, key, row, &v)
		return v, err
	})
}

func (s *Store) readDoc(ctx context.Context, t store.Tenant, read func(*tenant) (store.VersionedDoc, error)) (store.VersionedDoc, error) {
	if err := s.enter(ctx); err != nil {
		return store.VersionedDoc{}, err
	}
	defer s.life.RUnlock()
	keys, err := s.tenant(t)
	if err != nil {
		return store.VersionedDoc{}, err
	}
	if keys == nil {
		return store.VersionedDoc{}, store.ErrNotFound
	}
	keys.chain.RLock()
	defer keys.chain.RUnlock()
	if err := s.trouble.now(); err != nil {
		return store.VersionedDoc{}, err
	}
	return read(keys)
}

// Tenants implements store.Versions.
func (s *Store) Tenants(ctx context.Context) ([]store.Tenant, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	var out []store.Tenant
	prefix := []byte{spaceKey, 't'}
	err := s.each(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		t, err := store.TenantOf(string(k[len(prefix):]))
		if err == nil && t != store.Operator {
			out = append(out, t)
		}
		return err == nil, err
	})
	return out, err
}
