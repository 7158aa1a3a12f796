package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

func placeField(place uint64) string { return strconv.FormatUint(place, 10) }

// readRows decodes the rows of an outbox, each a place and its row.
func (s *Store) readRows(rec *record, p int, fields []string) (rows []form.Out, err error) {
	key := s.keys.conversation(p, rec.ref, "o")
	for ; len(fields) > 0; fields = fields[2:] {
		var row form.Out
		if row.Place, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
			return nil, fmt.Errorf("reading an outbox row: %w", errRow)
		}
		if err := openJSON(rec.key, aad(key, []byte(fields[0])), []byte(fields[1]), &row); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b form.Out) int { return cmp.Compare(a.Place, b.Place) })
	return rows, nil
}

// putRow writes a row at its place.
func (w *write) putRow(row form.Out) error { return w.put(w.key("o"), placeField(row.Place), row) }

// outboxRows makes the rows of a conversation what the step wants them to be: it ends an attempt, cancels what the bot had
// still to say when people take over, brings back a dead letter and adds the new.
func (w *write) outboxRows() (err error) {
	st := &w.st
	var rows []form.Out
	if w.was != nil {
		rows = slices.Clone(w.was.rows)
	}
	moved := len(rows) > 0 && w.was.state.Epoch != st.State.Epoch
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
	next := st.State.Seq << form.PlaceBits
	if n := len(rows); n > 0 {
		next = max(next, rows[n-1].Place+1)
	}
	key := w.key("s")
	if w.was != nil && w.was.outbox != "" {
		w.txn.equal(whyOutbox, key, "ov", w.was.outbox)
	} else {
		w.txn.absent(whyOutbox, key, "ov")
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
		return w.putRow(row)
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
	w.now.rows, w.now.outbox = rows, w.s.o.IDs.Token()
	w.txn.hset(key, "ov", w.now.outbox)
	if st.Settle != nil && w.now.attempt != (store.Lease{}) {
		w.now.attempt = store.Lease{}
		w.txn.hdel(key, "at")
		w.txn.hdel(key, "ax")
	}
	w.headed(rows)
	return nil
}

// outHead is where a step leaves the outbox of a conversation: when the first row is due, and when this node looks at it.
type outHead struct {
	known   bool
	channel string
	rows    bool
	at      int64
}

// headed puts the outbox into the list of its partition by its first row.
func (w *write) headed(rows []form.Out) {
	s, r, channel := w.s, w.st.Ref, w.st.State.From.Channel
	w.head = outHead{known: true, channel: channel, rows: len(rows) > 0}
	list, m := s.keys.part(w.p, "o"), dueMember(r, 0, channel)
	if len(rows) == 0 {
		w.txn.zrem(list, m)
		return
	}
	now := s.now()
	w.head.at = rows[0].Row.Due
	others := max(w.head.at, now) + s.o.Redeliver.Milliseconds()
	if l := w.now.attempt; l.Live(now) {
		w.head.at = max(w.head.at, l.Until)
		others = w.head.at
	}
	w.txn.zadd(list, others, m)
}

// show brings this node's schedule up to the change.
func (h outHead) show(s *Store, r store.Ref) {
	switch {
	case !h.known:
	case h.rows:
		s.outbox.of(r.Tenant, h.channel).put(dueKey{ref: r}, h.at, 0)
	default:
		s.outbox.of(r.Tenant, h.channel).remove(dueKey{ref: r})
	}
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
		switch {
		case row.Row.Out.By != message.ByBot:
			left = append(left, row)
		case people && row.Token == "":
			gone = append(gone, row.Row.Out.ID)
			w.txn.hdel(w.key("o"), placeField(row.Place))
		case people:
			w.flying = append(w.flying, row.Row.Out.ID)
			left = append(left, row)
		default:
			if row.Row.Epoch == w.was.state.Epoch { // one that people overtook before stays theirs
				row.Row.Epoch = w.st.State.Epoch
				err = w.putRow(row)
			}
			left = append(left, row)
		}
		if err != nil {
			return nil, err
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
	switch end.End {
	case store.Retry, store.Unsent:
		if end.End == store.Unsent {
			head.Attempt--
		} else if end.NoTry {
			head.Past++
		}
		head.Token, head.Row.Due = "", end.Due
		rows[0] = head
		return rows, w.putRow(head)
	case store.Bury:
		if err := w.bury(form.Dead{Row: head.Row, Code: end.Code, Attempt: head.Attempt, Unsure: head.Unsure}); err != nil {
			return nil, err
		}
	}
	w.txn.hdel(w.key("o"), placeField(head.Place))
	return rows[1:], nil
}

// Lease implements store.Outbox.
func (s *Store) Lease(ctx context.Context, r store.Ref, now, until int64) (store.LeasedRow, error) {
	for range maxTries {
		rec, err := s.existing(ctx, r)
		if err != nil {
			return store.LeasedRow{}, err
		}
		if rec.attempt.Live(now) {
			return store.LeasedRow{}, store.ErrStale
		}
		if len(rec.rows) == 0 || rec.rows[0].Row.Due > now {
			return store.LeasedRow{}, store.ErrNotFound
		}
		head := rec.rows[0]
		if head.Lapsed(rec.state) {
			return store.LeasedRow{}, &store.LapsedError{Row: head.Leased(r)}
		}
		if head.Token != "" {
			head.Unsure++
		}
		head.Attempt++
		head.Token = store.Token(s.o.IDs.Token())
		switch why, err := s.lease(ctx, rec, head, until); {
		case errors.Is(err, store.ErrUnknown):
			// The attempt may stand: then it has an end, and nothing of it was sent.
			return store.LeasedRow{}, err
		case err != nil:
			return store.LeasedRow{}, err
		case why == held:
			s.lineage.begun(r, store.Lease{Token: head.Token, Until: until}, now)
			s.outbox.of(r.Tenant, rec.state.From.Channel).put(dueKey{ref: r}, until, 0)
			return head.Leased(r), nil
		}
	}
	return store.LeasedRow{}, store.ErrStale
}

// lease writes the attempt of a head row, if all is as it was read.
func (s *Store) lease(ctx context.Context, rec *record, head form.Out, until int64) (reason, error) {
	p, err := home(rec.ref)
	if err != nil {
		return held, err
	}
	key := s.keys.conversation(p, rec.ref, "s")
	w := &write{s: s, p: p, st: store.Step{Ref: rec.ref}, now: rec}
	w.txn.equal(whyVersion, key, "v", string(rec.ver))
	w.txn.equal(whyOutbox, key, "ov", rec.outbox)
	if err := w.putRow(head); err != nil {
		return held, err
	}
	w.txn.hset(key, "at", string(head.Token))
	w.txn.hset(key, "ax", until)
	w.txn.hset(key, "ov", s.o.IDs.Token())
	w.txn.zadd(s.keys.part(p, "o"), until, dueMember(rec.ref, 0, rec.state.From.Channel))
	return s.db.commit(ctx, &w.txn)
}

// Pending implements store.Outbox.
func (s *Store) Pending(ctx context.Context, t store.Tenant, channel string, now int64, limit int) (refs []store.Ref, next int64, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	if err := s.sweep(ctx, now); err != nil {
		return nil, 0, err
	}
	q := s.outbox.of(t, channel)
	for _, it := range q.due(now, limit) {
		refs = append(refs, it.key.ref)
	}
	// What other nodes leave behind is seen at the next sweep.
	next = s.swept.next(s.o.Sweep)
	if at, ok := q.next(); ok {
		next = min(next, max(at, 1))
	}
	return refs, next, nil
}

// backlogs are the conversations that have something to send, by channel, as they were counted last.
type backlogs struct {
	mu      sync.Mutex
	at      int64
	counted bool
	by      map[outboxOf]int
}

// countedFor is for how long a count of what waits is good enough, ms: it goes through the outboxes of all partitions.
const countedFor = 15_000

// Backlog counts the conversations of a channel that have rows which have not left, whenever they are due, as it was within
// the last 15 s.
func (s *Store) Backlog(ctx context.Context, t store.Tenant, channel string) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	b := &s.backlogs
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := s.now(); !b.counted || now < b.at || now-b.at >= countedFor {
		by := map[outboxOf]int{}
		if err := eachPartFrom(ctx, s, passing, 0, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
			return p.ZRange(ctx, s.keys.part(part, "o"), 0, -1)
		}, func(_ int, c *goredis.StringSliceCmd) (bool, error) {
			for _, m := range c.Val() {
				if r, _, name, ok := parseMember(m); ok {
					by[outboxOf{r.Tenant, name}]++
				}
			}
			return true, nil
		}); err != nil {
			return 0, err
		}
		b.at, b.counted, b.by = now, true, by
	}
	return b.by[outboxOf{t, channel}], nil
}

// outboxes are the schedules of sends, one per channel: what a channel cannot send now does not stand before others.
type outboxes struct {
	mu sync.Mutex
	by map[outboxOf]*schedule
}

type outboxOf struct {
	tenant  store.Tenant
	channel string
}

// of returns the schedule of a channel.
func (o *outboxes) of(t store.Tenant, channel string) *schedule {
	key := outboxOf{t, channel}
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.by[key]
	if q == nil {
		if o.by == nil {
			o.by = map[outboxOf]*schedule{}
		}
		q = newSchedule()
		o.by[key] = q
	}
	return q
}
