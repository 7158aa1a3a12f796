package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// leaseMargin is what an attempt's lease outlasts its send by: its end is written down before another may take it over.
const leaseMargin = 5 * time.Second

// attempt makes one attempt at the head of a conversation's outbox: lease, send, settle.
func (b *Outbox) attempt(f *finish) {
	l := f.lane
	now := b.Now()
	until := now.Add(l.policy.Timeout + leaseMargin)
	row, err := b.Store.Lease(b.root, f.ref, now.UnixMilli(), until.UnixMilli())
	var lapsed *store.LapsedError
	switch {
	case errors.As(err, &lapsed):
		b.lapse(l, &lapsed.Row)
		return
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrStale):
		return // another was quicker, or there is nothing any more
	case err != nil:
		b.Log.Error("beginning a send", "channel", l.Key, "conversation", f.ref.ID, "err", err)
		f.rest = storeRest
		return
	}
	if l.removed {
		b.wait(f, &row)
		return
	}
	l.attempts.Add(1)
	if err := b.Faults.Hit(b.root, fault.SendLeased); err != nil {
		b.Log.Warn("after beginning a send", "channel", l.Key, "conversation", f.ref.ID, "err", err)
		return
	}
	if wait := l.spare(row.Row.Out.To.Address, b.Now()); wait > 0 {
		b.settle(l, &row, verdict{end: store.Unsent, due: b.Now().Add(wait).UnixMilli()})
		return
	}
	v, err := b.look(l, &row)
	switch {
	case err != nil:
		b.Log.Error("looking at what may have arrived", "channel", l.Key, "conversation", f.ref.ID, "err", err)
		b.settle(l, &row, verdict{end: store.Unsent, due: b.Now().Add(storeRest).UnixMilli()})
		return
	case v != nil:
		b.settle(l, &row, *v)
		return
	case b.isStopping(), b.Now().Add(l.policy.Timeout).After(until): // stopping, or this process stood still meanwhile
		b.settle(l, &row, verdict{end: store.Unsent, due: b.ms()})
		return
	}
	began := b.Now()
	rec, err := b.send(l, row.Row.Out)
	f.took = max(1, b.Now().Sub(began))
	if err := b.Faults.Hit(b.root, fault.SendMade); err != nil {
		b.Log.Warn("after a send", "channel", l.Key, "conversation", f.ref.ID, "err", err)
		return
	}
	end := judge(&row, &l.policy, rec, err, b.ms(), b.Random)
	f.health, f.rest, f.alarm, f.code = end.health, end.rest, end.alarm, end.code
	if err != nil {
		b.Log.Debug("a send failed", "channel", l.Key, "conversation", f.ref.ID, "code", end.code, "attempt", row.Attempt)
	}
	b.settle(l, &row, end)
	f.spare = l.delay(row.Row.Out.To.Address, b.Now())
	if err := b.Faults.Hit(b.root, fault.SendSettled); err != nil {
		b.Log.Warn("after settling a send", "channel", l.Key, "conversation", f.ref.ID, "err", err)
	}
}

// wait looks at the oldest row of a channel that was removed: it goes back to where it was, or has waited for too long.
func (b *Outbox) wait(f *finish, row *store.LeasedRow) {
	if over(row, &f.lane.policy, b.ms()) {
		v := verdict{end: store.Bury, status: message.Failed, code: CodeRemoved}
		if row.Unsure > 0 {
			v.status = message.Uncertain
		}
		b.settle(f.lane, row, v)
		return
	}
	f.alarm, f.code, f.rest = true, CodeRemoved, operatorRest
	b.settle(f.lane, row, verdict{end: store.Unsent, due: row.Row.At}) // by age: the first one is the next to be too old
}

// errSendDeadline is the cause of a send's end.
var errSendDeadline = errors.New("the deadline of the send is over")

// errAdapterPanic stands for whatever a panicking adapter would have returned: it may have sent.
var errAdapterPanic error = &adapters.SendError{Code: "panic", Uncertain: true}

// send makes the call. An adapter that does not come back by its deadline is left behind: its result counts as unknown.
func (b *Outbox) send(l *lane, out message.Outbound) (message.Receipt, error) {
	type result struct {
		rec message.Receipt
		err error
	}
	ctx, cancel := context.WithTimeoutCause(b.root, l.policy.Timeout, errSendDeadline)
	defer cancel()
	came := make(chan result, 1)
	go func() {
		r := result{err: errAdapterPanic}
		defer func() { came <- r }()
		defer b.recovered("a channel adapter")
		r.rec, r.err = l.Sender.Send(ctx, out)
	}()
	select {
	case r := <-came:
		return r.rec, r.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(sendGrace)
	defer grace.Stop()
	select {
	case r := <-came:
		return r.rec, r.err
	case <-grace.C:
	}
	code := CodeTimeout
	if errors.Is(context.Cause(ctx), errStopped) {
		code = CodeStopped
	}
	return message.Receipt{}, &adapters.SendError{Code: code, Uncertain: true}
}

// sendGrace is how long after its deadline an adapter may still come back by itself.
const sendGrace = 100 * time.Millisecond

// look judges a row before it is sent; nil says that it may be. What may have arrived by an earlier attempt and goes out
// again is marked in the log first.
func (b *Outbox) look(l *lane, row *store.LeasedRow) (*verdict, error) {
	var was message.Status
	if row.Unsure > 0 {
		var err error
		if was, err = statusOf(b.root, b.Store, row.Ref, row.Row.Seq, row.Row.Out.ID); err != nil {
			return nil, err
		}
	}
	v, mark, ok := before(row, &l.policy, was, b.ms())
	if !ok {
		return &v, nil
	}
	if !mark {
		return nil, nil
	}
	_, err := b.step(row.Ref, row.Row.Seq, row.Row.Out.ID, func(d *conversation.Draft, was message.Status, _ *store.Step) error {
		if !was.Before(message.Uncertain) {
			return conversation.ErrNothing // the log has it already
		}
		return d.Do(conversation.SetStatus{ID: row.Row.Out.ID, Status: message.Uncertain, Code: CodeUnknown})
	})
	if errors.Is(err, conversation.ErrNothing) {
		return nil, nil
	}
	if err == nil {
		l.uncertain.Add(1)
	}
	return nil, err
}

// lapse ends a bot's row that people overtook.
func (b *Outbox) lapse(l *lane, row *store.LeasedRow) {
	unsure := row.Token != "" || row.Unsure > 0
	_, err := b.step(row.Ref, row.Row.Seq, row.Row.Out.ID, func(d *conversation.Draft, was message.Status, s *store.Step) error {
		s.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token}
		return overtaken(d, row.Row.Out.ID, was, unsure)
	})
	switch {
	case err == nil:
		l.lapsed.Add(1)
	case !errors.Is(err, store.ErrStale):
		b.Log.Error("ending a send that people overtook", "channel", l.Key, "conversation", row.Ref.ID, "err", err)
	}
}

// overtaken says in the log what became of a bot's message that people overtook.
func overtaken(d *conversation.Draft, id string, was message.Status, unsure bool) error {
	switch {
	case !unsure:
		return d.Do(conversation.CancelSend{ID: id})
	case was.Before(message.Uncertain):
		return d.Do(conversation.SetStatus{ID: id, Status: message.Uncertain, Code: conversation.CodeOwnerChanged})
	}
	return nil
}

// settle writes down how an attempt ended: the row and the log in one step.
func (b *Outbox) settle(l *lane, row *store.LeasedRow, v verdict) {
	provider := v.provider
	end := store.Settlement{Row: row.Row.ID, Token: row.Token, End: v.end, Due: v.due, Unsure: v.unsure, NoTry: v.noTry, Code: v.code}
	write := func(d *conversation.Draft, was message.Status, s *store.Step) error {
		s.Settle = &end
		if provider != "" {
			s.Dedupe = []store.Dedupe{{From: row.Row.Out.To, ID: store.ProviderID(provider), Seq: row.Row.Seq}}
		}
		if v.end == store.Retry && row.Row.Out.By == message.ByBot && d.State.Open() {
			// People have the conversation: what came to nothing is not tried again.
			s.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token}
			return overtaken(d, row.Row.Out.ID, was, v.unsure || row.Unsure > 0)
		}
		if v.status == "" || !was.Before(v.status) {
			return nil
		}
		return d.Do(conversation.SetStatus{ID: row.Row.Out.ID, Status: v.status, Code: v.code})
	}
	_, err := b.step(row.Ref, row.Row.Seq, row.Row.Out.ID, write)
	var dup *store.DuplicateError
	if errors.As(err, &dup) { // the provider calls two sends by one name: by idempotency, and then the first is right
		provider = ""
		_, err = b.step(row.Ref, row.Row.Seq, row.Row.Out.ID, write)
	}
	switch {
	case err == nil:
		l.count(v)
		if v.end == store.Bury {
			b.Log.Warn("a message could not be delivered and waits for a decision", "channel", l.Key, "conversation", row.Ref.ID,
				"message", row.Row.Out.ID, "code", v.code, "attempts", row.Attempt)
		}
	case errors.Is(err, store.ErrStale):
		b.Log.Warn("a send ended after its lease", "channel", l.Key, "conversation", row.Ref.ID)
	default:
		// The lease runs out, and the attempt counts as one without a result.
		b.Log.Error("settling a send", "channel", l.Key, "conversation", row.Ref.ID, "err", err)
	}
}

// step decides a step on a conversation and commits it, as often as the conversation moves on in between. decide gets the
// status of the message so far. store.ErrStale is the attempt's or the dead letter's: it is not, or no longer, there.
func (b *Outbox) step(r store.Ref, seq uint64, id string, decide func(*conversation.Draft, message.Status, *store.Step) error) (*conversation.State, error) {
	return step(context.WithoutCancel(b.root), b.Store, b.Now, b.IDs.Token, system, r, seq, id, decide)
}

// steps is what step needs of a store.
type steps interface {
	Load(ctx context.Context, r store.Ref) (*store.Snapshot, error)
	Commit(ctx context.Context, s store.Step) (store.Done, error)
	Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
}

func step(ctx context.Context, st steps, now func() time.Time, token func() string, by conversation.Actor, r store.Ref, seq uint64, id string, decide func(*conversation.Draft, message.Status, *store.Step) error) (*conversation.State, error) {
	op := token()
	for unknown := 0; ; {
		snap, err := st.Load(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("loading: %w", err)
		}
		was, err := statusOf(ctx, st, r, seq, id)
		if err != nil {
			return nil, err
		}
		d := conversation.Begin(snap.State, conversation.Env{Now: now().UnixMilli(), Op: op, Actor: by, Outgoing: snap.Outgoing})
		s := store.Step{Ref: r, Op: store.Token(op), Base: snap.Version}
		if err := decide(d, was, &s); err != nil {
			return snap.State, err
		}
		s.Events, s.State = d.Events, d.Result()
		_, err = st.Commit(ctx, s)
		switch {
		case err == nil:
			return s.State, nil
		case errors.Is(err, store.ErrStale):
			again, load := st.Load(ctx, r)
			if load != nil || again.Version == snap.Version {
				return nil, err // the conversation is as it was: what is stale is the attempt
			}
		case errors.Is(err, store.ErrUnknown) && unknown < 20: // repeated under the same operation, which is safe
			unknown++
			time.Sleep(unknownPause)
		default:
			return nil, err
		}
	}
}

// unknownPause is how long a step of unknown outcome rests before it is repeated.
const unknownPause = 50 * time.Millisecond

// statusOf folds the delivery of a message from its event on.
func statusOf(ctx context.Context, st steps, r store.Ref, seq uint64, id string) (was message.Status, err error) {
	for {
		events, err := st.Log(ctx, r, seq, logPage)
		if err != nil {
			return "", fmt.Errorf("reading the log: %w", err)
		}
		for i := range events {
			was, _ = conversation.Advance(was, id, &events[i])
		}
		if len(events) < logPage {
			return was, nil
		}
		seq = events[len(events)-1].Seq
	}
}

const logPage = 256

// pace guards the recipients' buckets: attempts ask them on their own goroutines.
type pace struct {
	mu sync.Mutex
	to recipients
}

// spare takes one send to an address out of its bucket, or says how long it has to be spared.
func (p *pace) spare(address string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to.take(address, now)
}

// delay says how long an address has to be spared.
func (p *pace) delay(address string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to.delay(address, now)
}
