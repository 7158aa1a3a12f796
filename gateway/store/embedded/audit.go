package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/store"
)

// encodeHead is how the end of a chain is stored: its number and its hash.
func encodeHead(h audit.Head) []byte { return append(be64(make([]byte, 0, 40), h.N), h.Hash[:]...) }

func decodeHead(b []byte) (audit.Head, error) {
	var h audit.Head
	if len(b) != 8+sha256.Size {
		return h, errors.New("the end of an audit chain is damaged")
	}
	h.N = binary.BigEndian.Uint64(b)
	copy(h.Hash[:], b[8:])
	return h, nil
}

// setMoved marks a chain for the next checkpoint.
func setMoved(b *pebble.Batch, t store.Tenant, chain string, h audit.Head) error {
	if err := b.Set(append(tenantKey(t.Name(), 'm'), chain...), encodeHead(h), nil); err != nil {
		return fmt.Errorf("marking an audit chain: %w", err)
	}
	return nil
}

// Entries implements store.Audit.
func (s *Store) Entries(ctx context.Context, t store.Tenant, chain string, after uint64, limit int) ([][]byte, error) {
	if after == math.MaxUint64 || limit <= 0 {
		return nil, nil
	}
	if chain == "" {
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
		defer s.life.RUnlock()
		keys, err := s.tenant(t)
		if keys == nil || err != nil {
			return nil, err
		}
		keys.chain.RLock()
		defer keys.chain.RUnlock()
		if err := s.trouble.now(); err != nil {
			return nil, err
		}
		prefix := tenantKey(t.Name(), 'u')
		return s.entries(be64(prefix, after+1), tenantKey(t.Name(), 'u'+1), limit)
	}
	r := store.Ref{Tenant: t, ID: chain}
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.unlockRead(p)
	if _, err := s.existing(r); err != nil {
		return nil, err
	}
	prefix := conversationKey(r)
	return s.entries(rowKey(prefix, kindAudit, after+1), kindKey(prefix, kindAudit+1), limit)
}

func (s *Store) entries(from, to []byte, limit int) ([][]byte, error) {
	var out [][]byte
	err := s.each(from, to, func(_, v []byte) (bool, error) {
		out = append(out, append([]byte(nil), v...))
		return len(out) < limit, nil
	})
	return out, err
}

// Append implements store.Audit.
func (s *Store) Append(ctx context.Context, t store.Tenant, e audit.Entry) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	if err := s.gate.check(); err != nil {
		return err
	}
	keys, err := s.makeTenant(t)
	if err != nil {
		return err
	}
	keys.chain.Lock()
	defer keys.chain.Unlock()
	if err := s.trouble.now(); err != nil {
		return err
	}
	var head audit.Head
	headKey := tenantKey(t.Name(), 'h')
	row, err := s.get(headKey)
	if err != nil {
		return err
	}
	if row != nil {
		if head, err = decodeHead(row); err != nil {
			return err
		}
	}
	link, err := audit.Append(t.Name(), head, e)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := errors.Join(
		b.Set(be64(tenantKey(t.Name(), 'u'), link.Entry.N), link.Bytes, nil),
		b.Set(headKey, encodeHead(link.Head), nil),
		setMoved(b, t, t.Name(), link.Head),
	); err != nil {
		return fmt.Errorf("building audit row: %w", err)
	}
	return s.apply(b)
}

// Moved implements store.Audit.
func (s *Store) Moved(ctx context.Context, t store.Tenant, limit int) (map[string]audit.Head, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	heads := map[string]audit.Head{}
	var refs []store.Ref
	prefix := tenantKey(t.Name(), 'm')
	err := s.each(prefix, after(prefix), func(k, v []byte) (bool, error) {
		if len(heads) >= limit {
			return false, nil
		}
		chain := string(k[len(prefix):])
		h, err := decodeHead(v)
		heads[chain] = h
		refs = append(refs, store.Ref{Tenant: t, ID: chain})
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.confirmed(refs); err != nil {
		return nil, err
	}
	keys, err := s.tenant(t)
	if keys == nil || err != nil {
		return heads, err
	}
	keys.chain.RLock()
	defer keys.chain.RUnlock()
	return heads, s.trouble.now()
}
