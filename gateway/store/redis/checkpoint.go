package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

// Checkpoints. A commit marks its chain in its partition; Seal stores a checkpoint and then takes the marks of those chains
// away that still end where it says. A mark that a crash leaves behind names a head that the checkpoint covers already,
// which harms nothing; a mark is never lost, because it goes only together with a look at the end of its chain.

// newestCheckpoint returns the newest checkpoint of a tenant, without a note when there is none.
func (s *Store) newestCheckpoint(ctx context.Context, t store.Tenant) (audit.Sealed, error) {
	var cmd *goredis.XMessageSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.XRevRangeN(ctx, s.keys.own(t, "k"), "+", "-", 1) }); err != nil {
		return audit.Sealed{}, err
	}
	rows, err := bodies(cmd.Val())
	if err != nil || len(rows) == 0 {
		return audit.Sealed{}, err
	}
	return form.DecodeCheckpoint(rows[0])
}

// Checkpoints implements store.Audit.
func (s *Store) Checkpoints(ctx context.Context, t store.Tenant, after uint64, limit int) ([]audit.Sealed, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if after == math.MaxUint64 || limit <= 0 {
		return nil, nil
	}
	var cmd *goredis.XMessageSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		cmd = p.XRangeN(ctx, s.keys.own(t, "k"), entryID(after+1), "+", int64(limit))
	}); err != nil {
		return nil, err
	}
	rows, err := bodies(cmd.Val())
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
func (s *Store) Frontier(ctx context.Context, t store.Tenant, limit int) (f store.Frontier, err error) {
	if err := s.enter(ctx); err != nil {
		return f, err
	}
	if keys, err := s.tenant(ctx, t); keys == nil || err != nil {
		return f, err
	}
	newest, err := s.newestCheckpoint(ctx, t)
	if err != nil {
		return f, err
	}
	f.Newest = newest.Note
	fields, err := s.ownFields(ctx, t)
	if err != nil {
		return f, err
	}
	if f.Sent, err = number(fields[ownSent]); err != nil {
		return f, err
	}
	if fields[ownMarked] != "" && limit > 0 {
		head, err := decodeHead([]byte(fields[ownHead]))
		if err != nil {
			return f, err
		}
		f.Heads = append(f.Heads, audit.ChainHead{Chain: t.Name(), Head: head})
	}
	var moved []string
	if err := eachPartFrom(ctx, s, reading, 0, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.SRandMemberN(ctx, s.keys.ofTenant(part, t, "m"), int64(max(1, limit)))
	}, func(_ int, c *goredis.StringSliceCmd) (bool, error) {
		moved = append(moved, c.Val()...)
		return len(moved) < limit, nil
	}); err != nil {
		return f, err
	}
	moved = moved[:max(0, min(limit-len(f.Heads), len(moved)))]
	heads, err := s.headsOf(ctx, t, moved)
	if err != nil {
		return f, err
	}
	f.Heads = append(f.Heads, heads...)
	return f, nil
}

// headsOf returns where conversations' chains end.
func (s *Store) headsOf(ctx context.Context, t store.Tenant, chains []string) (heads []audit.ChainHead, err error) {
	if len(chains) == 0 {
		return nil, nil
	}
	cmds := make([]*goredis.StringCmd, len(chains))
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		for i, chain := range chains {
			r := store.Ref{Tenant: t, ID: chain}
			part, _ := home(r)
			cmds[i] = p.HGet(ctx, s.keys.conversation(part, r, "s"), "ah")
		}
	}); err != nil {
		return nil, err
	}
	for i, c := range cmds {
		head, err := decodeHead([]byte(c.Val()))
		if err != nil {
			return nil, err
		}
		if head.N > 0 {
			heads = append(heads, audit.ChainHead{Chain: chains[i], Head: head})
		}
	}
	return heads, nil
}

// Seal implements store.Audit.
func (s *Store) Seal(ctx context.Context, t store.Tenant, c audit.Sealed) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	next, err := audit.ReadCheckpoint(c.Note)
	if err != nil || next.Tenant != t.Name() || next.Heads != len(c.Heads) {
		return errors.Join(fmt.Errorf("%w: it is no checkpoint of this tenant", errUnsound), err)
	}
	if keys, err := s.tenant(ctx, t); keys == nil || err != nil {
		return errors.Join(err, notFound(keys == nil))
	}
	newest, err := s.newestCheckpoint(ctx, t)
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
	key := s.keys.own(t, "s")
	var x txn
	if before.Number == 0 {
		x.absent(whyVersion, key, ownNewest)
	} else {
		x.equal(whyVersion, key, ownNewest, before.Number)
	}
	x.xadd(s.keys.own(t, "k"), entryID(next.Number), form.EncodeCheckpoint(c))
	x.hset(key, ownNewest, next.Number)
	why, err := s.db.commit(ctx, &x)
	if err != nil {
		return err
	}
	if why != held {
		return store.ErrStale
	}
	s.lineage.vouched(t, next, c.Heads)
	return s.unmark(ctx, t, c.Heads)
}

// unmark takes the marks of chains away that end where a checkpoint says.
func (s *Store) unmark(ctx context.Context, t store.Tenant, heads []audit.ChainHead) error {
	var txns []*txn
	for _, h := range heads {
		var x txn
		if h.Chain == t.Name() {
			x.equal(whyVersion, s.keys.own(t, "s"), ownHead, string(encodeHead(h.Head)))
			x.hdel(s.keys.own(t, "s"), ownMarked)
		} else {
			part, err := id.Partition(id.Conversation, h.Chain)
			if err != nil {
				return fmt.Errorf("%w: no chain %q", errUnsound, h.Chain)
			}
			r := store.Ref{Tenant: t, ID: h.Chain}
			x.equal(whyVersion, s.keys.conversation(part, r, "s"), "ah", string(encodeHead(h.Head)))
			x.srem(s.keys.ofTenant(part, t, "m"), h.Chain)
		}
		txns = append(txns, &x)
	}
	for len(txns) > 0 {
		page := txns[:min(askedAtOnce, len(txns))]
		txns = txns[len(page):]
		// One that has grown on is the next checkpoint's. A mark that stays harms nothing, so nothing waits for this.
		if err := s.db.run(ctx, passing, func(p goredis.Pipeliner) {
			for _, x := range page {
				p.EvalSha(ctx, s.db.scripts.write.Hash(), x.keys, x.args()...)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// Sent implements store.Audit.
func (s *Store) Sent(ctx context.Context, t store.Tenant, n uint64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if keys, err := s.tenant(ctx, t); keys == nil || err != nil {
		return errors.Join(err, notFound(keys == nil))
	}
	key := s.keys.own(t, "s")
	for range maxTries {
		fields, err := s.ownFields(ctx, t)
		if err != nil {
			return err
		}
		if was, err := number(fields[ownSent]); err != nil || n <= was {
			return err
		}
		var x txn
		if fields[ownSent] == "" {
			x.absent(whyVersion, key, ownSent)
		} else {
			x.equal(whyVersion, key, ownSent, fields[ownSent])
		}
		x.hset(key, ownSent, n)
		if why, err := s.db.commit(ctx, &x); err != nil || why == held {
			return err
		}
	}
	return store.ErrStale
}

// number reads a number that may not be there.
func number(v string) (uint64, error) {
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, errRow
	}
	return n, nil
}

// notFound is store.ErrNotFound where something is missing.
func notFound(missing bool) error {
	if missing {
		return store.ErrNotFound
	}
	return nil
}
