package redis

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// losses are what is found to be lost, by tenant.
type losses map[store.Tenant]*loss

type loss struct {
	events     map[string]uint64 // by conversation, how many are missing at least
	checkpoint uint64
	own        bool
}

func (l losses) of(t store.Tenant) *loss {
	if l[t] == nil {
		l[t] = &loss{events: map[string]uint64{}}
	}
	return l[t]
}

func (l losses) add(r store.Ref, events uint64) {
	of := l.of(r.Tenant).events
	of[r.ID] = max(of[r.ID], events)
}

// parts are the partitions in which something is missing: then more may be than is known.
func (l losses) parts() map[int]bool {
	out := map[int]bool{}
	for _, of := range l {
		for conv := range of.events {
			if p, err := id.Partition(id.Conversation, conv); err == nil {
				out[p] = true
			}
		}
	}
	return out
}

func (l losses) list() (out []Loss) {
	for t, of := range l {
		one := Loss{Tenant: t, Conversations: len(of.events), Checkpoint: of.checkpoint, Own: of.own}
		for conv, n := range of.events {
			one.Events += int(n)
			one.Example = max(one.Example, conv)
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Loss) int { return cmp.Compare(a.Tenant.Name(), b.Tenant.Name()) })
	return out
}

// unusable reports whether err says that a server could not be asked, and not that a row is damaged.
func unusable(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrFull)
}

// reviveKeys puts back the keys of tenants that this node has in mind and the server has no more: without them nothing that
// is sealed under them would open again.
func (s *Store) reviveKeys(ctx context.Context, done *Reconciled) error {
	known := s.tenants.all()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		var row *goredis.StringCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { row = p.HGet(ctx, s.keys.global("t"), name) }); err != nil {
			return err
		}
		switch row.Val() {
		case known[name].wrapped:
			continue
		case "":
			var x txn
			x.absent(whyOther, s.keys.global("t"), name)
			x.hset(s.keys.global("t"), name, known[name].wrapped)
			why, err := s.db.commit(ctx, &x)
			if err != nil {
				return err
			}
			if why == held {
				done.Keys++
				continue
			}
		}
		// Another node has made others since: what was sealed under these opens for nobody who starts anew.
		s.tenants.remove(name)
		s.o.Log.Error("a tenant's keys were lost and made anew: what was sealed before cannot be read", "tenant", name)
	}
	return nil
}

// remember compares what this node has in mind of the partitions that have moved with what is there.
func (s *Store) remember(ctx context.Context, c *change, lost losses) error {
	var mine []*record
	for _, rec := range s.cache.all() {
		if p, err := home(rec.ref); err == nil && c.moved[p] {
			mine = append(mine, rec)
		}
	}
	for page := range slices.Chunk(mine, askedAtOnce) {
		now := make([]*goredis.StringCmd, len(page))
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for i, rec := range page {
				part, _ := home(rec.ref)
				now[i] = p.HGet(ctx, s.keys.conversation(part, rec.ref, "s"), "v")
			}
		}); err != nil {
			return err
		}
		for i, rec := range page {
			if now[i].Val() == string(rec.ver) {
				continue
			}
			n, gone, err := s.missing(ctx, rec)
			switch {
			case err != nil && unusable(ctx, err):
				return err
			case err != nil:
				s.o.Log.Error("comparing a conversation with what is known of it", "conversation", rec.ref.ID, "err", err)
			case gone:
				lost.add(rec.ref, n)
			}
		}
	}
	return s.rememberAttempts(ctx, c, lost)
}

// missing compares a conversation as it was with what is there: gone says that it is not what has come of it, and n how
// many of its events are missing at least.
func (s *Store) missing(ctx context.Context, was *record) (n uint64, gone bool, err error) {
	s.cache.remove(was.ref)
	now, err := s.load(ctx, was.ref)
	if err != nil {
		return 0, false, err
	}
	if now == nil {
		switch err := s.gone(ctx, was.ref); {
		case errors.Is(err, store.ErrErased):
			return 0, false, nil
		case errors.Is(err, store.ErrNotFound):
			return was.state.Seq, true, nil
		default:
			return 0, false, err
		}
	}
	switch {
	case now.ver == was.ver || now.ops.has(was.ver):
		return 0, false, nil
	case now.state.Seq < was.state.Seq:
		s.cache.remove(was.ref)
		return was.state.Seq - now.state.Seq, true, nil
	}
	// It goes on at the end that was known, or it has another past.
	log, err := s.readLog(now)
	if err != nil {
		return 0, false, err
	}
	row, err := log.at(ctx, was.state.Seq)
	if err != nil {
		return 0, false, err
	}
	events, err := log.collect(ctx, row, 1, func(seq, _ uint64) bool { return seq == was.state.Seq })
	if err != nil || len(events) == 1 && was.ops.has(store.Token(events[0].Op)) {
		return 0, false, err
	}
	return 1, true, nil
}

// rememberAttempts looks for the attempts to send that this node has begun.
func (s *Store) rememberAttempts(ctx context.Context, c *change, lost losses) error {
	s.lineage.mu.Lock()
	begun := maps.Clone(s.lineage.attempts)
	s.lineage.mu.Unlock()
	for r, attempt := range begun {
		p, err := home(r)
		if err != nil || !c.moved[p] {
			continue
		}
		rec, err := s.load(ctx, r)
		if err != nil && unusable(ctx, err) {
			return err
		}
		if err != nil || rec == nil || len(rec.rows) == 0 {
			continue // what is gone with it was found above
		}
		// Another attempt than this one knows of it: then the row says so.
		if head := rec.rows[0]; head.Token != attempt.Token && head.Unsure == 0 {
			lost.add(r, 0)
		}
	}
	return nil
}

// doubt marks the messages that wait in a partition: where something is missing, they may have been sent by an attempt that
// is missing with it. What has an attempt that is known needs no mark: it has no result, and counts as uncertain already.
func (s *Store) doubt(ctx context.Context, part int) (n int, err error) {
	var members *goredis.StringSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { members = p.ZRange(ctx, s.keys.part(part, "o"), 0, -1) }); err != nil {
		return 0, err
	}
	for _, m := range members.Val() {
		r, _, _, ok := parseMember(m)
		if !ok {
			continue
		}
		marked, err := s.doubtOne(ctx, part, r)
		if err != nil && unusable(ctx, err) {
			return n, err
		}
		if err != nil {
			s.o.Log.Error("marking what may have been sent", "conversation", r.ID, "err", err)
		}
		n += marked
	}
	return n, nil
}

func (s *Store) doubtOne(ctx context.Context, part int, r store.Ref) (int, error) {
	for range maxTries {
		rec, err := s.load(ctx, r)
		if rec == nil || err != nil {
			return 0, err
		}
		key := s.keys.conversation(part, r, "s")
		w := &write{s: s, p: part, st: store.Step{Ref: r}, now: rec}
		w.txn.equal(whyVersion, key, "v", string(rec.ver))
		w.txn.equal(whyOutbox, key, "ov", rec.outbox)
		n := 0
		for _, row := range rec.rows {
			if row.Token != "" || row.Unsure > 0 {
				continue
			}
			row.Attempt++
			row.Unsure++
			if err := w.putRow(row); err != nil {
				return 0, err
			}
			n++
		}
		if n == 0 {
			return 0, nil
		}
		w.txn.hset(key, "ov", s.o.IDs.Token())
		if why, err := s.db.commit(ctx, &w.txn); err != nil || why == held {
			return n, err
		}
	}
	return 0, store.ErrStale
}

// cleanCheckpoints is after how many checkpoints in a row that the chains bear out older ones are not looked at: what is
// left of a partition is an earlier state, whole, so that what a checkpoint vouches for is there when what came after is.
const cleanCheckpoints = 16

// vouchers compares the ends of chains with the checkpoints that vouch for them, and the checkpoints with those that this
// node has made.
func (s *Store) vouchers(ctx context.Context, c *change, lost losses) error {
	for _, t := range c.tenants {
		if err := s.ownVoucher(ctx, t, lost); err != nil {
			return err
		}
		newest, err := s.newestCheckpoint(ctx, t)
		if err != nil || newest.Note == nil {
			if err != nil && unusable(ctx, err) {
				return err
			}
			continue
		}
		last, err := audit.ReadCheckpoint(newest.Note)
		for clean, number := 0, last.Number; err == nil && number > 0 && clean < cleanCheckpoints; number-- {
			var list []audit.Sealed
			if list, err = s.Checkpoints(ctx, t, number-1, 1); err != nil || len(list) == 0 {
				break
			}
			asked, right := 0, true
			if asked, right, err = s.borneOut(ctx, c, t, list[0].Heads, lost); asked > 0 && right {
				clean++
			} else if !right {
				clean = 0
			}
		}
		if err != nil && unusable(ctx, err) {
			return err
		}
		if err != nil {
			s.o.Log.Error("comparing checkpoints with chains", "tenant", t.Name(), "err", err)
		}
	}
	return nil
}

// borneOut looks for what a checkpoint vouches for: in the tenant's own chain, and in the partitions that this node
// reconciles.
func (s *Store) borneOut(ctx context.Context, c *change, t store.Tenant, heads []audit.ChainHead, lost losses) (asked int, right bool, err error) {
	right = true
	var mine []audit.ChainHead
	for _, h := range heads {
		if p, err := home(store.Ref{Tenant: t, ID: h.Chain}); h.Chain == t.Name() || err == nil && c.won[p] {
			mine = append(mine, h)
		}
	}
	for page := range slices.Chunk(mine, askedAtOnce) {
		cmds := make([]*goredis.XMessageSliceCmd, len(page))
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for i, h := range page {
				key := s.keys.own(t, "a")
				if h.Chain != t.Name() {
					r := store.Ref{Tenant: t, ID: h.Chain}
					part, _ := home(r)
					key = s.keys.conversation(part, r, "a")
				}
				cmds[i] = p.XRangeN(ctx, key, entryID(h.N), entryID(h.N), 1)
			}
		}); err != nil {
			return asked, right, err
		}
		for i, h := range page {
			asked++
			rows, err := bodies(cmds[i].Val())
			if err == nil && len(rows) == 0 && h.Chain != t.Name() {
				// It may be archived. A file that cannot be read says nothing of what the server has lost.
				rows, err = s.Entries(ctx, t, h.Chain, h.N-1, 1)
				if errors.Is(err, store.ErrArchive) {
					continue
				}
				if err != nil && unusable(ctx, err) {
					return asked, right, err
				}
			}
			switch {
			case err == nil && len(rows) == 1 && sha256.Sum256(rows[0]) == h.Hash:
				continue
			case h.Chain == t.Name():
				lost.of(t).own = true
			default:
				lost.add(store.Ref{Tenant: t, ID: h.Chain}, 0)
			}
			right = false
		}
	}
	return asked, right, nil
}

// ownVoucher looks for the newest checkpoint that this node has made. If it is gone, the chains that it vouched for are
// marked for the next.
func (s *Store) ownVoucher(ctx context.Context, t store.Tenant, lost losses) error {
	s.lineage.mu.Lock()
	mine, ok := s.lineage.sealed[t]
	s.lineage.mu.Unlock()
	if !ok {
		return nil
	}
	list, err := s.Checkpoints(ctx, t, mine.checkpoint.Number-1, 1)
	if err != nil {
		return err
	}
	if len(list) == 1 {
		if there, err := audit.ReadCheckpoint(list[0].Note); err == nil && there.Hash() == mine.checkpoint.Hash() {
			return nil
		}
	}
	lost.of(t).checkpoint = mine.checkpoint.Number
	for _, h := range mine.heads {
		if err := s.mark(ctx, t, h.Chain); err != nil {
			return err
		}
	}
	s.lineage.mu.Lock()
	delete(s.lineage.sealed, t)
	s.lineage.mu.Unlock()
	return nil
}

// mark marks a chain for the next checkpoint, if it is there.
func (s *Store) mark(ctx context.Context, t store.Tenant, chain string) error {
	if chain == t.Name() {
		fields, err := s.ownFields(ctx, t)
		if err != nil || fields[ownHead] == "" {
			return err
		}
		var x txn
		x.equal(whyVersion, s.keys.own(t, "s"), ownHead, fields[ownHead])
		x.hset(s.keys.own(t, "s"), ownMarked, "1")
		_, err = s.db.commit(ctx, &x) // if it has grown since, that marked it
		return err
	}
	r := store.Ref{Tenant: t, ID: chain}
	p, err := home(r)
	if err != nil {
		return nil
	}
	key := s.keys.conversation(p, r, "s")
	var end *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { end = pipe.HGet(ctx, key, "ah") }); err != nil || end.Val() == "" {
		return err
	}
	var x txn
	x.equal(whyVersion, key, "ah", end.Val())
	x.sadd(s.keys.ofTenant(p, t, "m"), chain)
	_, err = s.db.commit(ctx, &x)
	return err
}
