package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

func outboxPrefix(r store.Ref) []byte { return kindKey(conversationKey(r), kindOutbox) }

// rows calls f with the outbox rows of a conversation in order.
func (s *Store) rows(rec *record, f func(row form.Out) (bool, error)) error {
	prefix := outboxPrefix(rec.ref)
	return s.each(prefix, after(prefix), func(key, value []byte) (bool, error) {
		var row form.Out
		if err := openSealed(rec.key, key, value, &row); err != nil {
			return false, err
		}
		row.Place = binary.BigEndian.Uint64(key[len(prefix):])
		return f(row)
	})
}

// allRows returns the outbox rows of a conversation in order.
func (s *Store) allRows(rec *record) (all []form.Out, err error) {
	err = s.rows(rec, func(row form.Out) (bool, error) {
		all = append(all, row)
		return true, nil
	})
	return all, err
}

// head returns the first row; ok is false when there is none.
func (s *Store) head(rec *record) (row form.Out, ok bool, err error) {
	err = s.rows(rec, func(r form.Out) (bool, error) {
		row, ok = r, true
		return false, nil
	})
	return row, ok, err
}

func outKey(r store.Ref, place uint64) []byte {
	return rowKey(conversationKey(r), kindOutbox, place)
}

// outgoing are the bot's messages that wait. The caller holds the partition's lock.
func (s *Store) outgoing(rec *record) (out []conversation.Outgoing, err error) {
	if !s.outbox.waits(rec.ref, rec.state.From.Channel) {
		return nil, nil
	}
	err = s.rows(rec, func(row form.Out) (bool, error) {
		if row.Row.Out.By == message.ByBot {
			out = append(out, conversation.Outgoing{Message: row.Row.Out.ID, InFlight: row.Token != "", Unsure: row.Unsure > 0})
		}
		return true, nil
	})
	return out, err
}

// flying names the bot's messages whose send is under way.
func (s *Store) flying(rec *record) (ids []string, err error) {
	out, err := s.outgoing(rec)
	for _, o := range out {
		if o.InFlight {
			ids = append(ids, o.Message)
		}
	}
	return ids, err
}

// outboxRows makes the rows of a conversation what the step wants them to be: it ends an attempt, cancels what the bot had
// still to say when people take over, brings back a dead letter and adds the new.
func (w *write) outboxRows(prefix []byte) (err error) {
	st := &w.st
	waits := w.was != nil && w.s.outbox.waits(st.Ref, w.was.state.From.Channel)
	moved := waits && w.was.state.Epoch != st.State.Epoch
	if st.Bury != nil {
		if err := w.buryLate(*st.Bury); err != nil {
			return err
		}
	}
	if len(st.Outbox) == 0 && st.Settle == nil && st.Redrive == nil && !moved {
		return nil
	}
	if len(st.Outbox) >= 1<<form.PlaceBits {
		return fmt.Errorf("%w: %d outbox rows", errUnsound, len(st.Outbox))
	}
	var rows []form.Out
	if waits {
		if rows, err = w.s.allRows(w.was); err != nil {
			return err
		}
	}
	next := st.State.Seq << form.PlaceBits
	if n := len(rows); n > 0 {
		next = max(next, rows[n-1].Place+1)
	}
	if st.Settle != nil {
		if rows, err = w.settle(rows); err != nil {
			return err
		}
	}
	if moved {
		if rows, err = w.takeOver(rows); err != nil {
			return err
		}
	}
	add := func(row form.Out) error {
		row.Place = next
		next++
		rows = append(rows, row)
		return putSealed(w.batch, w.now.key, outKey(st.Ref, row.Place), row)
	}
	if st.Redrive != nil {
		row, err := w.exhume()
		if err != nil {
			return err
		}
		if row != nil {
			if err := add(*row); err != nil {
				return err
			}
		}
	}
	for _, r := range st.Outbox {
		if err := add(form.Out{Row: r}); err != nil {
			return err
		}
	}
	if w.outbox, err = w.s.headed(w.batch, st.Ref, st.State.From.Channel, rows); err != nil {
		return err
	}
	w.outbox.p, w.outbox.settled = w.p, st.Settle != nil
	if l := w.p.attempts[st.Ref]; st.Settle == nil && l.Live(w.s.now()) {
		w.outbox.at = max(w.outbox.at, l.Until)
	}
	return nil
}

// takeOver looks after the rows of a term that ends. When people take over, the log has to name exactly what is cancelled
// and what is in flight: a step that was decided before a send began is stale.
func (w *write) takeOver(rows []form.Out) (left []form.Out, err error) {
	var people bool
	var named, cancelled []string
	for i := range w.st.Events {
		switch d := w.st.Events[i].Data.(type) {
		case *conversation.OwnerMoved:
			if d.ToPeople() {
				people, named = true, d.InFlight
			}
		case *conversation.StatusChanged:
			if d.Code == conversation.CodeOwnerChanged {
				cancelled = append(cancelled, d.ID)
			}
		}
	}
	var gone []string
	for _, row := range rows {
		if row.Row.Out.By != message.ByBot {
			left = append(left, row)
			continue
		}
		key := outKey(w.st.Ref, row.Place)
		switch {
		case people && row.Token == "":
			gone = append(gone, row.Row.Out.ID)
			err = w.batch.Delete(key, nil)
		case people:
			w.flying = append(w.flying, row.Row.Out.ID)
			left = append(left, row)
		default:
			if row.Row.Epoch == w.was.state.Epoch { // one that people overtook before stays theirs
				row.Row.Epoch = w.st.State.Epoch
				err = putSealed(w.batch, w.now.key, key, row)
			}
			left = append(left, row)
		}
		if err != nil {
			return nil, fmt.Errorf("building outbox row: %w", err)
		}
	}
	if people && (!slices.Equal(named, w.flying) || !slices.Equal(cancelled, gone)) {
		return nil, store.ErrStale
	}
	return left, nil
}

// settle ends the attempt of the head row.
func (w *write) settle(rows []form.Out) (left []form.Out, err error) {
	end := w.st.Settle
	if len(rows) == 0 || rows[0].Row.ID != end.Row || rows[0].Token != end.Token {
		return nil, store.ErrStale
	}
	head := rows[0]
	if end.Token == "" && !head.Lapsed(w.was.state) {
		return nil, store.ErrStale
	}
	if end.Unsure {
		head.Unsure++
	}
	key := outKey(w.st.Ref, head.Place)
	switch end.End {
	case store.Retry, store.Unsent:
		if end.End == store.Unsent {
			head.Attempt--
		} else if end.NoTry {
			head.Past++
		}
		head.Token, head.Row.Due = "", end.Due
		rows[0] = head
		return rows, putSealed(w.batch, w.now.key, key, head)
	case store.Bury:
		dead := form.Dead{Row: head.Row, Code: end.Code, Attempt: head.Attempt, Unsure: head.Unsure}
		if err := w.bury(dead); err != nil {
			return nil, err
		}
	}
	if err := w.batch.Delete(key, nil); err != nil {
		return nil, fmt.Errorf("building outbox row: %w", err)
	}
	return rows[1:], nil
}

// Pending implements store.Outbox.
func (s *Store) Pending(ctx context.Context, t store.Tenant, channel string, now int64, limit int) (refs []store.Ref, next int64, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.life.RUnlock()
	q := s.outbox.of(t, channel, false)
	if q == nil {
		return nil, 0, nil
	}
	for _, it := range q.due(now, limit, s.o.Redeliver) {
		refs = append(refs, it.key.ref)
	}
	if at, ok := q.next(); ok {
		next = max(at, 1)
	}
	return refs, next, nil
}

// Backlog counts the conversations of a channel that have rows which have not left, whenever they are due. It is not part of
// store.Outbox: a store of several nodes would have to go through its lists for it.
func (s *Store) Backlog(ctx context.Context, t store.Tenant, channel string) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.life.RUnlock()
	q := s.outbox.of(t, channel, false)
	if q == nil {
		return 0, nil
	}
	return q.len(), nil
}

// Lease implements store.Outbox.
func (s *Store) Lease(ctx context.Context, r store.Ref, now, until int64) (store.LeasedRow, error) {
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return store.LeasedRow{}, err
	}
	defer s.unlockWrite(p)
	rec, err := s.existing(r)
	if err != nil {
		return store.LeasedRow{}, err
	}
	if p.attempts[r].Live(now) {
		return store.LeasedRow{}, store.ErrStale
	}
	head, ok, err := s.head(rec)
	if err != nil {
		return store.LeasedRow{}, err
	}
	if !ok || head.Row.Due > now {
		return store.LeasedRow{}, store.ErrNotFound
	}
	if head.Lapsed(rec.state) {
		return store.LeasedRow{}, &store.LapsedError{Row: head.Leased(r)}
	}
	if err := s.gate.check(); err != nil {
		return store.LeasedRow{}, err
	}
	if head.Token != "" {
		head.Unsure++
	}
	head.Attempt++
	head.Token = store.Token(s.o.IDs.Token())
	b := s.db.NewBatch()
	defer b.Close()
	if err := putSealed(b, rec.key, outKey(r, head.Place), head); err != nil {
		return store.LeasedRow{}, err
	}
	if err := s.apply(b); err != nil {
		return store.LeasedRow{}, err
	}
	p.attempts[r] = store.Lease{Token: head.Token, Until: until}
	s.outbox.of(r.Tenant, rec.state.From.Channel, true).put(dueKey{ref: r}, until, head.Row.Due)
	return head.Leased(r), nil
}

// headed indexes the head of the outbox as it will be: the first of left, or nothing.
func (s *Store) headed(b *pebble.Batch, r store.Ref, channel string, left []form.Out) (outboxChange, error) {
	c := outboxChange{known: true, rows: len(left) > 0, channel: channel}
	if c.rows {
		c.due = left[0].Row.Due
		c.at = c.due
	}
	was, had := s.outbox.row(r, channel)
	if had && (!c.rows || was != c.due) {
		if err := b.Delete(indexKey(dueOutbox, was, r, channel), nil); err != nil {
			return c, fmt.Errorf("indexing outbox: %w", err)
		}
	}
	if c.rows && (!had || was != c.due) {
		if err := b.Set(indexKey(dueOutbox, c.due, r, channel), nil, nil); err != nil {
			return c, fmt.Errorf("indexing outbox: %w", err)
		}
	}
	return c, nil
}
