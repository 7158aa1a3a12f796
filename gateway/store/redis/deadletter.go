package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

// deadMember stands for a dead letter in the list of its partition, in the order of their deaths.
func deadMember(at int64, row string) string { return string(append(be64(nil, uint64(at)), row...)) }

// deadClear is the clear part of its row.
const deadClear = 8 + idLen

// bury makes a dead letter of a row.
func (w *write) bury(d form.Dead) error {
	d.At = w.s.now()
	key := w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "E")
	clear := append(be64(nil, uint64(d.At)), w.st.Ref.ID...)
	sealed, err := sealJSON(w.now.key, aad(key, []byte(d.Row.ID), clear), d)
	if err != nil {
		return err
	}
	w.txn.hset(key, d.Row.ID, append(slices.Clone(clear), sealed...))
	w.txn.zadd(w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "D"), 0, deadMember(d.At, d.Row.ID))
	return nil
}

// buryLate remembers to make a dead letter of a message that had left, unless it is one.
func (w *write) buryLate(d store.DeadLetter) error {
	if w.buried {
		return nil
	}
	w.txn.absent(whyDead, w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "E"), d.Row.ID)
	return w.bury(form.Dead{Row: d.Row, Code: d.Code, Attempt: d.Attempt})
}

// exhume takes the step's dead letter away and returns it as a row to send; nil when it is discarded. What the store holds
// of it was read before (prepare); the script looks that it is so still.
func (w *write) exhume() (*form.Out, error) {
	want := w.st.Redrive
	if w.was == nil || len(w.dead) < deadClear || w.dead[8:deadClear] != w.st.Ref.ID {
		return nil, store.ErrStale
	}
	key := w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "E")
	var d form.Dead
	if err := openJSON(w.now.key, aad(key, []byte(want.Row), []byte(w.dead[:deadClear])), []byte(w.dead[deadClear:]), &d); err != nil {
		return nil, err
	}
	w.txn.equal(whyDead, key, want.Row, w.dead)
	w.txn.hdel(key, want.Row)
	w.txn.zrem(w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "D"), deadMember(d.At, want.Row))
	if want.Discard {
		return nil, nil
	}
	row := &form.Out{Row: d.Row, Attempt: d.Attempt, Past: d.Attempt, Unsure: d.Unsure}
	row.Row.At, row.Row.Due, row.Row.Epoch = w.s.now(), w.s.now(), w.st.State.Epoch
	return row, nil
}

// prepare reads what a step needs that is not of the conversation: the dead letter that it brings back, and whether the one
// that it makes is there already.
func (w *write) prepare(ctx context.Context) error {
	st := &w.st
	if erases(st) {
		return w.prepareErasure(ctx)
	}
	if err := w.prepareDetach(ctx); err != nil {
		return err
	}
	if st.Redrive == nil && st.Bury == nil {
		return nil
	}
	key := w.s.keys.ofTenant(w.p, st.Ref.Tenant, "E")
	var dead *goredis.StringCmd
	var there *goredis.BoolCmd
	if err := w.s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		if st.Redrive != nil {
			dead = p.HGet(ctx, key, st.Redrive.Row)
		}
		if st.Bury != nil {
			there = p.HExists(ctx, key, st.Bury.Row.ID)
		}
	}); err != nil {
		return err
	}
	if dead != nil {
		w.dead = dead.Val()
	}
	w.buried = there != nil && there.Val()
	return nil
}

// DeadLetters implements store.Outbox. Every partition is asked: it is a page for people.
func (s *Store) DeadLetters(ctx context.Context, t store.Tenant, after string, limit int) (dead []store.DeadLetter, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	from := "-"
	if after != "" {
		at, row, ok := strings.Cut(after, ".")
		ms, err := strconv.ParseUint(at, 10, 63)
		if _, bad := id.Partition(id.Row, row); !ok || err != nil || bad != nil {
			return nil, "", store.ErrNotFound
		}
		from = "(" + deadMember(int64(ms), row)
	}
	if limit <= 0 {
		return nil, "", nil
	}
	var all []string
	if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.ZRangeByLex(ctx, s.keys.ofTenant(part, t, "D"), &goredis.ZRangeBy{Min: from, Max: "+", Count: int64(limit) + 1})
	}, func(_ int, c *goredis.StringSliceCmd) error {
		all = append(all, c.Val()...)
		return nil
	}); err != nil {
		return nil, "", err
	}
	slices.Sort(all)
	more := len(all) > limit
	all = all[:min(limit, len(all))]
	for _, m := range all {
		if len(m) < 8 {
			return nil, "", fmt.Errorf("reading dead letters: %w", errRow)
		}
		d, ok, err := s.deadLetter(ctx, t, m[8:])
		if err != nil {
			return nil, "", err
		}
		if ok { // else it was brought back meanwhile
			dead = append(dead, d)
		}
	}
	if more {
		last := all[len(all)-1]
		next = strconv.FormatUint(binary.BigEndian.Uint64([]byte(last)), 10) + "." + last[8:]
	}
	return dead, next, nil
}

// DeadLetter implements store.Outbox.
func (s *Store) DeadLetter(ctx context.Context, t store.Tenant, row string) (store.DeadLetter, error) {
	if err := s.enter(ctx); err != nil {
		return store.DeadLetter{}, err
	}
	if _, err := id.Partition(id.Row, row); err != nil {
		return store.DeadLetter{}, store.ErrNotFound
	}
	d, ok, err := s.deadLetter(ctx, t, row)
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	return d, err
}

// deadLetter looks for a dead letter in every partition: its row does not say in which it is.
func (s *Store) deadLetter(ctx context.Context, t store.Tenant, row string) (d store.DeadLetter, ok bool, err error) {
	var stored, key string
	if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.StringCmd {
		return p.HGet(ctx, s.keys.ofTenant(part, t, "E"), row)
	}, func(part int, c *goredis.StringCmd) error {
		if c.Val() != "" {
			stored, key = c.Val(), s.keys.ofTenant(part, t, "E")
		}
		return nil
	}); err != nil || stored == "" {
		return d, false, err
	}
	if len(stored) < deadClear {
		return d, false, fmt.Errorf("reading a dead letter: %w", errRow)
	}
	r := store.Ref{Tenant: t, ID: stored[8:deadClear]}
	rec, err := s.existing(ctx, r)
	if err != nil {
		return d, false, err
	}
	var body form.Dead
	if err := openJSON(rec.key, aad(key, []byte(row), []byte(stored[:deadClear])), []byte(stored[deadClear:]), &body); err != nil {
		return d, false, err
	}
	return store.DeadLetter{
		Ref: r, Row: body.Row, Code: body.Code, Attempt: body.Attempt, Unsure: body.Unsure > 0, At: body.At,
	}, true, nil
}
