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

// movedKey is the key of the row that marks a chain for the next checkpoint.
func movedKey(t store.Tenant, chain string) []byte {
	return append(tenantKey(t.Name(), 'm'), chain...)
}

var errEntries = errors.New("an audit row is damaged")

// entriesOf calls f with the entries of an audit row, whose key has the number of the first, until f returns false. A row
// holds the entries of one step, each packed and behind its length; they stand in the clear, as the chain is to be verified
// when the keys are gone. entry is in canonical form and f's to keep.
func entriesOf(row []byte, f func(entry []byte) bool) error {
	for len(row) > 0 {
		size, w := binary.Uvarint(row)
		if w <= 0 || size > uint64(len(row)-w) {
			return errEntries
		}
		entry, err := audit.Unpack(make([]byte, 0, 4*size), row[w:w+int(size)])
		if err != nil {
			return fmt.Errorf("%w: %w", errEntries, err)
		}
		if !f(entry) {
			return nil
		}
		row = row[w+int(size):]
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
	// The chain is read without the conversation's key: it outlasts it.
	if row, err := s.get(kindKey(conversationKey(r), kindState)); err != nil || row == nil {
		if err == nil {
			err = s.gone(r)
		}
		if !errors.Is(err, store.ErrErased) {
			return nil, err
		}
	}
	return s.chain(r, after, limit)
}

// chain returns entries of a conversation after number n. The caller holds the partition's lock.
func (s *Store) chain(r store.Ref, after uint64, limit int) (out [][]byte, err error) {
	prefix := conversationKey(r)
	from := kindKey(prefix, kindAudit)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: kindKey(prefix, kindAudit+1)})
	if err != nil {
		return nil, s.readError(err)
	}
	// The row that holds the entry may begin before it.
	ok := after <= math.MaxUint64-2 && it.SeekLT(rowKey(prefix, kindAudit, after+2)) || it.First()
	for ; ok && err == nil && len(out) < limit; ok = it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err != nil {
			err = s.readError(err)
			break
		}
		if len(it.Key()) != len(from)+8 {
			err = errEntries
			break
		}
		n := binary.BigEndian.Uint64(it.Key()[len(from):])
		err = entriesOf(v, func(entry []byte) bool {
			if n > after {
				out = append(out, entry)
			}
			n++
			return len(out) < limit
		})
	}
	if bad := it.Close(); bad != nil {
		err = errors.Join(err, s.readError(bad))
	}
	return out, err
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
	keys, err := s.lockChain(ctx, t)
	if err != nil {
		return err
	}
	defer s.unlockChain(keys)
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.addEntry(b, t, e); err != nil {
		return err
	}
	return s.apply(b)
}

// addEntry adds an entry to a batch for the tenant's own chain, whose lock the caller holds.
func (s *Store) addEntry(b *pebble.Batch, t store.Tenant, e audit.Entry) error {
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
	if err := errors.Join(
		b.Set(be64(tenantKey(t.Name(), 'u'), link.Entry.N), link.Bytes, nil),
		b.Set(headKey, encodeHead(link.Head), nil),
		b.Set(movedKey(t, t.Name()), nil, nil),
	); err != nil {
		return fmt.Errorf("building audit row: %w", err)
	}
	return nil
}
