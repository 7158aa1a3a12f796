package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

// Checkpoints. A commit marks its chain as moved unless it knows that it did (record.marked); Seal stores a checkpoint and
// then takes the marks away, one partition after the other. A mark that a crash leaves behind names a head that the
// checkpoint covers already, which harms nothing; a mark is never lost, because it goes under the lock of its partition,
// together with the record that remembers it.

func checkpointKey(t store.Tenant, n uint64) []byte { return be64(tenantKey(t.Name(), 'k'), n) }

func sentKey(t store.Tenant) []byte { return tenantKey(t.Name(), 'w') }

// enterChain begins an operation on what belongs to a tenant as a whole, under its chain's lock for reading; leave ends
// it. keys is nil for a tenant without rows.
func (s *Store) enterChain(ctx context.Context, t store.Tenant) (keys *tenant, leave func(), err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	if keys, err = s.tenant(t); keys == nil || err != nil {
		s.life.RUnlock()
		return nil, func() {}, err
	}
	keys.chain.RLock()
	leave = func() { keys.chain.RUnlock(); s.life.RUnlock() }
	if err := s.trouble.now(); err != nil {
		leave()
		return nil, nil, err
	}
	return keys, leave, nil
}

// newestCheckpoint returns the newest checkpoint of a tenant, without a note when there is none. The caller holds the chain's lock.
func (s *Store) newestCheckpoint(t store.Tenant) (audit.Sealed, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: tenantKey(t.Name(), 'k'), UpperBound: tenantKey(t.Name(), 'k'+1)})
	if err != nil {
		return audit.Sealed{}, s.readError(err)
	}
	var c audit.Sealed
	if it.Last() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			c, err = form.DecodeCheckpoint(v)
		}
	}
	if bad := it.Close(); bad != nil {
		err = errors.Join(err, s.readError(bad))
	}
	return c, err
}

// Checkpoints implements store.Audit.
func (s *Store) Checkpoints(ctx context.Context, t store.Tenant, after uint64, limit int) ([]audit.Sealed, error) {
	if after == math.MaxUint64 || limit <= 0 {
		return nil, nil
	}
	keys, leave, err := s.enterChain(ctx, t)
	if keys == nil || err != nil {
		return nil, err
	}
	defer leave()
	rows, err := s.entries(checkpointKey(t, after+1), tenantKey(t.Name(), 'k'+1), limit)
	if err != nil {
		return nil, err
	}
	list := make([]audit.Sealed, len(rows))
	for i, row := range rows {
		if list[i], err = form.DecodeCheckpoint(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Frontier implements store.Audit.
func (s *Store) Frontier(ctx context.Context, t store.Tenant, limit int) (store.Frontier, error) {
	var f store.Frontier
	keys, leave, err := s.enterChain(ctx, t)
	if keys == nil || err != nil {
		return f, err
	}
	chains, err := s.frontier(&f, t, limit)
	leave()
	if err != nil {
		return f, err
	}
	for _, chain := range chains {
		head, err := s.headOf(ctx, t, chain)
		if err != nil {
			return f, err
		}
		if head.N > 0 {
			f.Heads = append(f.Heads, audit.ChainHead{Chain: chain, Head: head})
		}
	}
	return f, nil
}

// frontier fills f except for the heads, whose chains it returns.
func (s *Store) frontier(f *store.Frontier, t store.Tenant, limit int) (chains []string, err error) {
	newest, err := s.newestCheckpoint(t)
	if err != nil {
		return nil, err
	}
	f.Newest = newest.Note
	if f.Sent, err = s.sent(t); err != nil {
		return nil, err
	}
	prefix := tenantKey(t.Name(), 'm')
	err = s.each(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		if len(chains) >= limit {
			return false, nil
		}
		chains = append(chains, string(k[len(prefix):]))
		return true, nil
	})
	return chains, err
}

// headOf returns the durable end of a chain. That of a conversation is read off its last entry and not off its state,
// which nobody can read when the key is gone.
func (s *Store) headOf(ctx context.Context, t store.Tenant, chain string) (audit.Head, error) {
	if chain != t.Name() {
		r := store.Ref{Tenant: t, ID: chain}
		p, err := s.lockRead(ctx, r)
		if err != nil {
			return audit.Head{}, err
		}
		defer s.unlockRead(p)
		return s.chainHead(r)
	}
	keys, leave, err := s.enterChain(ctx, t)
	if keys == nil || err != nil {
		return audit.Head{}, err
	}
	defer leave()
	return s.ownHead(t)
}

// ownHead returns the end of a tenant's own chain. The caller holds the chain's lock.
func (s *Store) ownHead(t store.Tenant) (audit.Head, error) {
	row, err := s.get(tenantKey(t.Name(), 'h'))
	if row == nil || err != nil {
		return audit.Head{}, err
	}
	return decodeHead(row)
}

// chainHead returns the end of a conversation's chain as its state row has it, in the clear: a checkpoint asks for all that
// moved in a minute, and to look for the last row of each in all tables was most of what it cost. The caller holds the
// partition's lock.
func (s *Store) chainHead(r store.Ref) (audit.Head, error) {
	if rec := s.cache.get(r); rec != nil {
		return rec.head, nil
	}
	row, err := s.get(kindKey(conversationKey(r), kindState))
	if err != nil {
		return audit.Head{}, err
	}
	var rec record
	if _, err := rec.parseHeader(row); err != nil {
		return s.lastEntry(r)
	}
	return rec.head, nil
}

// lastEntry returns the end of a conversation's chain. The caller holds the partition's lock.
func (s *Store) lastEntry(r store.Ref) (h audit.Head, err error) {
	prefix := conversationKey(r)
	from := kindKey(prefix, kindAudit)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: kindKey(prefix, kindAudit+1)})
	if err != nil {
		return h, s.readError(err)
	}
	if it.Last() {
		v, e := it.ValueAndErr()
		switch {
		case e != nil:
			err = s.readError(e)
		case len(it.Key()) != len(from)+8:
			err = errEntries
		default:
			h.N = binary.BigEndian.Uint64(it.Key()[len(from):]) - 1
			err = entriesOf(v, func(entry []byte) bool {
				h.N++
				h.Hash = sha256.Sum256(entry)
				return true
			})
		}
	}
	if bad := it.Close(); bad != nil {
		err = errors.Join(err, s.readError(bad))
	}
	return h, err
}

// Chains implements store.Audit.
func (s *Store) Chains(ctx context.Context, t store.Tenant, last string, limit int) ([]string, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	all := tenantKey(t.Name(), 'c')
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: all, UpperBound: after(all)})
	if err != nil {
		return nil, s.readError(err)
	}
	var chains []string
	from := all
	if last != "" {
		from = append(append(bytes.Clone(all), last...), 1) // behind all rows of that conversation
	}
	for ok := it.SeekGE(from); ok && len(chains) < limit; {
		if err = ctx.Err(); err != nil {
			break
		}
		conv, _, found := bytes.Cut(it.Key()[len(all):], []byte{0})
		if !found {
			err = errEntries
			break
		}
		// A conversation's rows begin with its chain: 'a' comes before the other kinds.
		if it.Key()[len(all)+len(conv)+1] == kindAudit {
			chains = append(chains, string(conv))
		}
		ok = it.SeekGE(append(it.Key()[:len(all)+len(conv):len(all)+len(conv)], 1))
	}
	if bad := it.Close(); bad != nil {
		err = errors.Join(err, s.readError(bad))
	}
	return chains, err
}

// Seal implements store.Audit.
func (s *Store) Seal(ctx context.Context, t store.Tenant, c audit.Sealed) error {
	next, err := audit.ReadCheckpoint(c.Note)
	if err != nil || next.Tenant != t.Name() || next.Heads != len(c.Heads) {
		return errors.Join(fmt.Errorf("%w: it is no checkpoint of this tenant", errUnsound), err)
	}
	if err := s.seal(ctx, t, next, c); err != nil {
		return err
	}
	return s.unmark(ctx, t, c.Heads)
}

// seal stores a checkpoint behind the one that it follows.
func (s *Store) seal(ctx context.Context, t store.Tenant, next audit.Checkpoint, c audit.Sealed) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	if err := s.gate.check(); err != nil {
		return err
	}
	keys, err := s.tenant(t)
	if keys == nil || err != nil {
		return errors.Join(err, notFound(keys == nil))
	}
	keys.chain.Lock()
	defer keys.chain.Unlock()
	if err := s.trouble.now(); err != nil {
		return err
	}
	newest, err := s.newestCheckpoint(t)
	if err != nil {
		return err
	}
	var before audit.Checkpoint
	var hash [32]byte
	if newest.Note != nil {
		if before, err = audit.ReadCheckpoint(newest.Note); err != nil {
			return fmt.Errorf("reading the newest checkpoint: %w", err)
		}
		hash = before.Hash()
	}
	if next.Number != before.Number+1 || next.Previous != hash {
		return store.ErrStale
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(checkpointKey(t, next.Number), form.EncodeCheckpoint(c), nil); err != nil {
		return fmt.Errorf("building a checkpoint's row: %w", err)
	}
	return s.apply(b)
}

// Sent implements store.Audit.
func (s *Store) Sent(ctx context.Context, t store.Tenant, n uint64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	keys, err := s.tenant(t)
	if keys == nil || err != nil {
		return errors.Join(err, notFound(keys == nil))
	}
	keys.chain.Lock()
	defer keys.chain.Unlock()
	if was, err := s.sent(t); err != nil || n <= was {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(sentKey(t), be64(nil, n), nil); err != nil {
		return fmt.Errorf("building the mark of what was sent: %w", err)
	}
	return s.apply(b)
}

// sent returns up to which checkpoint copies are outside. The caller holds the chain's lock.
func (s *Store) sent(t store.Tenant) (uint64, error) {
	row, err := s.get(sentKey(t))
	switch {
	case err != nil || row == nil:
		return 0, err
	case len(row) != 8:
		return 0, form.ErrCheckpoint
	}
	return binary.BigEndian.Uint64(row), nil
}

// notFound is store.ErrNotFound where something is missing.
func notFound(missing bool) error {
	if missing {
		return store.ErrNotFound
	}
	return nil
}
