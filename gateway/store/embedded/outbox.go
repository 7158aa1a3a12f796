package embedded

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// outRow is a row of the outbox as it is stored. Its place is a number that rises: the sequence of the state that it came
// with in the upper bits.
type outRow struct {
	Row     store.OutboxRow `json:"row"`
	Attempt int             `json:"attempt,omitempty"`
	// Token is the attempt's that has begun and has no result; Uncertain is set once an attempt ended without one.
	Token     store.Token `json:"token,omitempty"`
	Uncertain bool        `json:"uncertain,omitempty"`

	place uint64
}

// placeBits is the room for rows of one state.
const placeBits = 16

func outboxPrefix(r store.Ref) []byte { return kindKey(conversationKey(r), kindOutbox) }

// rows calls f with the outbox rows of a conversation in order.
func (s *Store) rows(rec *record, f func(row outRow) (bool, error)) error {
	prefix := outboxPrefix(rec.ref)
	return s.each(prefix, after(prefix), func(key, value []byte) (bool, error) {
		var row outRow
		if err := openSealed(rec.key, key, value, &row); err != nil {
			return false, err
		}
		row.place = binary.BigEndian.Uint64(key[len(prefix):])
		return f(row)
	})
}

// head returns the first row; ok is false when there is none.
func (s *Store) head(rec *record) (row outRow, ok bool, err error) {
	err = s.rows(rec, func(r outRow) (bool, error) {
		row, ok = r, true
		return false, nil
	})
	return row, ok, err
}

func outKey(rec *record, place uint64) []byte {
	return rowKey(conversationKey(rec.ref), kindOutbox, place)
}

// outboxChange is what a batch makes of a conversation's place in the schedule of sends.
type outboxChange struct {
	known bool
	due   int64
	rows  bool // there is a head, due then
	at    int64
}

// headed indexes the head of the outbox as it will be: the first of left, or nothing.
func (s *Store) headed(b *pebble.Batch, r store.Ref, left []outRow) (outboxChange, error) {
	c := outboxChange{known: true, rows: len(left) > 0}
	if c.rows {
		c.due = left[0].Row.Due
		c.at = c.due
	}
	was, had := s.outbox.row(dueKey{ref: r})
	if had && (!c.rows || was != c.due) {
		if err := b.Delete(indexKey(dueOutbox, was, r, ""), nil); err != nil {
			return c, fmt.Errorf("indexing outbox: %w", err)
		}
	}
	if c.rows && (!had || was != c.due) {
		if err := b.Set(indexKey(dueOutbox, c.due, r, ""), nil, nil); err != nil {
			return c, fmt.Errorf("indexing outbox: %w", err)
		}
	}
	return c, nil
}

// show brings the schedule up to the change. The caller holds the partition's lock.
func (c outboxChange) show(s *Store, r store.Ref) {
	switch {
	case !c.known:
	case c.rows:
		s.outbox.put(dueKey{ref: r}, c.at, c.due)
	default:
		s.outbox.remove(dueKey{ref: r})
	}
}

// outboxRows adds the step's rows and, when it changes the owner, cancels what the bot had still to say. What is under way
// cannot be called back; it is named in the answer.
func (w *write) outboxRows(prefix []byte) error {
	_, waiting := w.s.outbox.row(dueKey{ref: w.st.Ref})
	moved := w.was != nil && w.was.state.Epoch != w.st.State.Epoch
	if len(w.st.Outbox) == 0 && !(moved && waiting) {
		return nil
	}
	if len(w.st.Outbox) >= 1<<placeBits {
		return fmt.Errorf("%w: %d outbox rows", errUnsound, len(w.st.Outbox))
	}
	var left []outRow
	if waiting {
		if err := w.s.rows(w.was, func(row outRow) (bool, error) {
			switch {
			case !moved || row.Row.Out.By != message.ByBot || row.Row.Epoch == w.st.State.Epoch:
			case row.Token != "":
				w.flying = append(w.flying, row.Row.ID)
			default:
				return true, w.batch.Delete(outKey(w.was, row.place), nil)
			}
			left = append(left, row)
			return true, nil
		}); err != nil {
			return fmt.Errorf("cancelling outbox rows: %w", err)
		}
	}
	for i, r := range w.st.Outbox {
		row := outRow{Row: r, place: w.st.State.Seq<<placeBits | uint64(i)}
		if err := putSealed(w.batch, w.now.key, rowKey(prefix, kindOutbox, row.place), row); err != nil {
			return err
		}
		left = append(left, row)
	}
	var err error
	if w.outbox, err = w.s.headed(w.batch, w.st.Ref, left); err != nil {
		return err
	}
	if l := w.p.attempts[w.st.Ref]; l.Live(w.s.now()) {
		w.outbox.at = max(w.outbox.at, l.Until)
	}
	return nil
}

// flying names the bot's rows of an epoch that has passed whose send is under way.
func (s *Store) flying(r store.Ref, rec *record) (ids []string, err error) {
	if _, waiting := s.outbox.row(dueKey{ref: r}); !waiting {
		return nil, nil
	}
	err = s.rows(rec, func(row outRow) (bool, error) {
		if row.Row.Out.By == message.ByBot && row.Row.Epoch != rec.state.Epoch && row.Token != "" {
			ids = append(ids, row.Row.ID)
		}
		return true, nil
	})
	return ids, err
}

// Pending implements store.Outbox.
func (s *Store) Pending(ctx context.Context, now int64, limit int) ([]store.Ref, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	items := s.outbox.due(now, limit, s.o.Redeliver)
	refs := make([]store.Ref, len(items))
	for i, it := range items {
		refs[i] = it.key.ref
	}
	return refs, nil
}

// Lease implements store.Outbox.
func (s *Store) Lease(ctx context.Context, r store.Ref, now, until int64) (store.LeasedRow, error) {
	for {
		row, again, err := s.lease(ctx, r, now, until)
		if !again || err != nil {
			return row, err
		}
	}
}

// lease tries the head once; again is set when it dropped a row and there may be another.
func (s *Store) lease(ctx context.Context, r store.Ref, now, until int64) (_ store.LeasedRow, again bool, err error) {
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return store.LeasedRow{}, false, err
	}
	var told store.Hint
	defer func() {
		s.unlockWrite(p)
		if told.State != nil {
			s.hints.tell(told)
		}
	}()
	rec, err := s.existing(r)
	if err != nil {
		return store.LeasedRow{}, false, err
	}
	if p.attempts[r].Live(now) {
		return store.LeasedRow{}, false, store.ErrStale
	}
	head, ok, err := s.head(rec)
	if err != nil {
		return store.LeasedRow{}, false, err
	}
	if !ok || head.Row.Due > now {
		return store.LeasedRow{}, false, store.ErrNotFound
	}
	if err := s.gate.check(); err != nil {
		return store.LeasedRow{}, false, err
	}
	if head.Row.Out.By == message.ByBot && head.Row.Epoch != rec.state.Epoch {
		told, err = s.outdated(p, rec, head)
		return store.LeasedRow{}, true, err
	}
	head.Uncertain = head.Uncertain || head.Token != ""
	head.Attempt++
	head.Token = store.Token(s.o.IDs.Token())
	b := s.db.NewBatch()
	defer b.Close()
	if err := putSealed(b, rec.key, outKey(rec, head.place), head); err != nil {
		return store.LeasedRow{}, false, err
	}
	if err := s.apply(b); err != nil {
		return store.LeasedRow{}, false, err
	}
	p.attempts[r] = store.Lease{Token: head.Token, Until: until}
	s.outbox.put(dueKey{ref: r}, until, head.Row.Due)
	out := store.LeasedRow{Ref: r, Row: head.Row, Attempt: head.Attempt, Uncertain: head.Uncertain, Token: head.Token}
	out.Row.Out.Attempt, out.Row.Out.Retry = head.Attempt, head.Uncertain
	return out, false, nil
}

// outdated drops a row of the bot that has lost its epoch, and says so in the log: it was in flight at the change of
// owner, and its result is not known or was to be tried again.
func (s *Store) outdated(p *partition, rec *record, row outRow) (store.Hint, error) {
	status := message.Failed
	if row.Token != "" || row.Uncertain {
		status = message.Uncertain
	}
	op := s.o.IDs.Token()
	d := conversation.Begin(rec.state, conversation.Env{Now: s.now(), Op: op, Actor: conversation.Actor{Kind: conversation.System}})
	if err := d.Do(conversation.SetStatus{ID: row.Row.Out.ID, Status: status, Code: "owner_changed"}); err != nil {
		return store.Hint{}, fmt.Errorf("dropping an outbox row: %w", err)
	}
	t, err := s.tenant(rec.ref.Tenant)
	if err != nil {
		return store.Hint{}, err
	}
	st := store.Step{Ref: rec.ref, Op: store.Token(op), Base: rec.version(), Events: d.Events, State: &d.State}
	w := s.begin(p, t, st, rec)
	defer w.end()
	if err := w.build(); err != nil {
		return store.Hint{}, err
	}
	if w.outbox, err = s.without(w.batch, rec, row.place); err != nil {
		return store.Hint{}, err
	}
	if err := s.apply(w.batch); err != nil {
		return store.Hint{}, err
	}
	delete(p.attempts, rec.ref)
	w.show()
	return store.Hint{Ref: rec.ref, State: st.State, Events: st.Events}, nil
}

// without deletes a row and indexes the new head.
func (s *Store) without(b *pebble.Batch, rec *record, place uint64) (outboxChange, error) {
	if err := b.Delete(outKey(rec, place), nil); err != nil {
		return outboxChange{}, fmt.Errorf("building outbox row: %w", err)
	}
	var left []outRow
	if err := s.rows(rec, func(row outRow) (bool, error) {
		if row.place != place {
			left = append(left, row)
		}
		return len(left) == 0, nil
	}); err != nil {
		return outboxChange{}, err
	}
	return s.headed(b, rec.ref, left)
}

// Settle implements store.Outbox. An attempt that is over, or was taken over, is store.ErrStale.
func (s *Store) Settle(ctx context.Context, leased store.LeasedRow, res store.SendResult) error {
	p, err := s.lockWrite(ctx, leased.Ref)
	if err != nil {
		return err
	}
	defer s.unlockWrite(p)
	rec, err := s.existing(leased.Ref)
	if err != nil {
		return err
	}
	head, ok, err := s.head(rec)
	if err != nil {
		return err
	}
	if !ok || leased.Token == "" || head.Token != leased.Token {
		return store.ErrStale
	}
	b := s.db.NewBatch()
	defer b.Close()
	var c outboxChange
	if !res.Delivered && res.Retry != 0 {
		head.Token, head.Uncertain, head.Row.Due = "", head.Uncertain || res.Uncertain, res.Retry
		if err := putSealed(b, rec.key, outKey(rec, head.place), head); err != nil {
			return err
		}
		c, err = s.headed(b, rec.ref, []outRow{head})
	} else {
		c, err = s.without(b, rec, head.place)
		if err == nil && !res.Delivered {
			err = s.bury(b, rec, head, res)
		}
	}
	if err != nil {
		return err
	}
	if err := s.apply(b); err != nil {
		return err
	}
	delete(p.attempts, rec.ref)
	c.show(s, rec.ref)
	return nil
}
