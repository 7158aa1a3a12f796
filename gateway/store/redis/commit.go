package redis

import (
	"context"
	"errors"
	"fmt"

	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// maxTries is how often a step is built again because something beside it has changed: another node's send, a new
// generation of message ids. None of these can go on for ever.
const maxTries = 64

// Commit implements store.Conversations. A step that cannot be one (events that do not follow, a sender of another
// partition) is refused with an error of its own.
func (s *Store) Commit(ctx context.Context, st store.Step) (store.Done, error) {
	if err := s.enter(ctx); err != nil {
		return store.Done{}, err
	}
	p, err := home(st.Ref)
	if err != nil {
		return store.Done{}, err
	}
	t, err := s.makeTenant(ctx, st.Ref.Tenant)
	if err != nil {
		return store.Done{}, err
	}
	st.Events, st.State = conversation.Written(st.Events, st.State, s.format.writes(s.o.Events))
	// What the cache knows is good enough to decide on: the script compares.
	was := s.cache.get(st.Ref)
	fresh := false
	if was != nil && was.ver != st.Base || was == nil && st.Base != "" {
		if was, err = s.load(ctx, st.Ref); err != nil {
			return store.Done{}, err
		}
		fresh = true
	}
	for range maxTries {
		if was != nil && was.ops.has(st.Op) {
			return s.repeated(ctx, p, st, was, fresh)
		}
		if was == nil && fresh {
			if erased, err := s.erasedBy(ctx, st.Ref, st.Op); err != nil {
				return store.Done{}, err
			} else if erased {
				return s.repeatedErasure(ctx, p, st)
			}
		}
		w := &write{s: s, p: p, t: t, st: st, was: was}
		why, err := w.try(ctx)
		if err != nil {
			return store.Done{}, s.failed(ctx, w, err)
		}
		if why == held {
			if erases(&st) {
				w.showErased()
			} else {
				w.show()
			}
			s.told(ctx, p, w)
			if err := s.o.Faults.Hit(ctx, fault.CommitDurable); err != nil {
				return store.Done{}, fmt.Errorf("%w: %w", store.ErrUnknown, err)
			}
			return store.Done{Version: st.Op, InFlight: w.flying}, nil
		}
		s.cache.remove(st.Ref)
		if was, err = s.load(ctx, st.Ref); err != nil {
			return store.Done{}, err
		}
		if fresh = true; was != nil && was.ops.has(st.Op) {
			continue
		}
		switch why {
		case whyKnown:
			if err := w.known(ctx); err != nil {
				return store.Done{}, err
			}
		case whyErased:
			return store.Done{}, store.ErrErased
		case whyVersion, whyLease, whyBind:
			return store.Done{}, store.ErrStale
		case whyGeneration:
			if err := s.refreshGeneration(ctx, p); err != nil {
				return store.Done{}, err
			}
		}
	}
	return store.Done{}, &outcomeError{store.ErrUnavailable, errors.New("the conversation does not come to rest")}
}

// failed is the error of a step that was not written, as its caller gets it.
func (s *Store) failed(ctx context.Context, w *write, err error) error {
	switch {
	case errors.Is(err, store.ErrUnknown):
		s.unsure.add(w.st.Op)
		s.cache.remove(w.st.Ref)
	case errors.Is(err, store.ErrStale):
		// A message that is known is one also for a step that is out of date.
		if known := w.known(ctx); known != nil {
			return known
		}
	}
	return err
}

// repeated answers a step that was applied before. If nobody knew that it was, what follows from it was not done.
func (s *Store) repeated(ctx context.Context, p int, st store.Step, was *record, fresh bool) (store.Done, error) {
	if !fresh {
		var err error
		if was, err = s.load(ctx, st.Ref); err != nil {
			return store.Done{}, err
		}
		if was == nil || !was.ops.has(st.Op) {
			return store.Done{}, store.ErrStale
		}
	}
	done := store.Done{Version: st.Op, Repeat: true, InFlight: was.flying()}
	if s.unsure.take(st.Op) {
		done.Repeat = false
		w := &write{s: s, p: p, st: st, was: was, now: was}
		if was.ver == st.Op {
			w.showWork()
		}
		w.viewed = true
		s.told(ctx, p, w)
	}
	return done, nil
}

// repeatedErasure is repeated for a step that has erased its conversation.
func (s *Store) repeatedErasure(ctx context.Context, p int, st store.Step) (store.Done, error) {
	done := store.Done{Version: st.Op, Repeat: true}
	if s.unsure.take(st.Op) {
		done.Repeat = false
		s.told(ctx, p, &write{st: st, viewed: true})
	}
	return done, nil
}

// told does what follows from a durable step: its place in the queues, the word to this node and to the others. The row of
// the view is durable with the step: what cannot be applied now is applied by a sweep.
func (s *Store) told(ctx context.Context, p int, w *write) {
	if w.viewed {
		if err := s.relay(ctx, p); err != nil {
			s.o.Log.Warn("bringing the queues up to a step; a sweep does it later", "conversation", w.st.Ref.ID, "err", err)
		}
	}
	s.hints.tell(store.Hint{Ref: w.st.Ref, State: w.st.State, Events: w.st.Events})
	s.tell.add(w.st.Ref)
}

var errUnsound = errors.New("the step is not sound")

// sound refuses what no caller should ever ask for.
func sound(st store.Step, rec *record) error {
	var seq uint64
	if rec != nil {
		seq = rec.state.Seq
	}
	switch {
	case st.Op == "" || len(st.Op) > 128:
		return fmt.Errorf("%w: an operation needs a name of 1 to 128 bytes", errUnsound)
	case st.State == nil || st.State.ID != st.Ref.ID:
		return fmt.Errorf("%w: the state is not the conversation's", errUnsound)
	case rec == nil && len(st.Events) == 0:
		return fmt.Errorf("%w: it creates nothing", errUnsound)
	case erases(&st) && len(st.Attach)+len(st.Outbox)+len(st.Detach)+len(st.Dedupe) > 0:
		return fmt.Errorf("%w: it erases and adds", errUnsound)
	}
	// A step that was decided on an old snapshot is stale, not unsound.
	if rec == nil == (st.Base == "") && (rec == nil || st.Base == rec.ver) {
		if st.State.Seq != seq+uint64(len(st.Events)) {
			return fmt.Errorf("%w: %d events do not lead from %d to %d", errUnsound, len(st.Events), seq, st.State.Seq)
		}
		for i := range st.Events {
			if st.Events[i].Seq != seq+uint64(i)+1 {
				return fmt.Errorf("%w: event %d has number %d", errUnsound, seq+uint64(i)+1, st.Events[i].Seq)
			}
		}
	}
	home, _ := id.Partition(id.Conversation, st.Ref.ID)
	seen := map[store.Dedupe]bool{}
	for i, d := range st.Dedupe {
		if id.PartitionOf(st.Ref.Tenant.Name(), d.From.Channel, d.From.Address) != home {
			return fmt.Errorf("%w: a sender of another partition", errUnsound)
		}
		d.Seq, d.From.Thread = 0, ""
		if seen[d] {
			return fmt.Errorf("%w: message id %d of the step is there twice", errUnsound, i)
		}
		seen[d] = true
	}
	if b := st.Bind; b != nil && id.PartitionOf(st.Ref.Tenant.Name(), b.Address.Channel, b.Address.Address) != home {
		return fmt.Errorf("%w: an address of another partition", errUnsound)
	}
	return nil
}

// write is a step on its way into a script.
type write struct {
	s   *Store
	p   int
	t   *seal.Tenant
	st  store.Step
	was *record
	txn txn

	now     *record
	hashes  []idHash // of the message ids
	gen     uint32   // in which they are written; newest is the one that the partition is in
	newest  uint32
	flying  []string
	head    outHead // of the outbox, where the step changes it
	viewed  bool    // the step changes a queue view
	bound   string  // where the conversation's address writes, for an erasure, and its dead letters as they are stored
	letters map[string]string
	files   []any  // the rows of the attachments that the step detaches
	dead    string // the dead letter that the step brings back, as it is stored
	buried  bool   // the dead letter that it makes is there already
}

// try builds the step upon what it was decided on and has it written.
func (w *write) try(ctx context.Context) (reason, error) {
	if err := sound(w.st, w.was); err != nil {
		return held, err
	}
	if err := w.compare(); err != nil {
		return held, err
	}
	if err := w.prepare(ctx); err != nil {
		return held, err
	}
	build := w.build
	if erases(&w.st) {
		build = w.erase
	}
	if err := build(); err != nil {
		return held, err
	}
	if err := w.s.o.Faults.Hit(ctx, fault.CommitPrepared); err != nil {
		return held, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	began := w.s.o.Now()
	why, err := w.s.db.commit(ctx, &w.txn)
	if err == nil {
		w.s.took(w.s.o.Now().Sub(began).Nanoseconds())
	}
	return why, err
}

func (s *Store) took(nanos int64) {
	if old := s.commits.Load(); old != 0 {
		nanos = old + (nanos-old)/8
	}
	s.commits.Store(nanos)
}

// compare looks whether what the step was decided upon still holds, and has the script look once more.
func (w *write) compare() error {
	st, t := &w.st, &w.txn
	w.guardIDs()
	key := w.s.keys.conversation(w.p, st.Ref, "s")
	switch {
	case w.was == nil && st.Base != "", w.was != nil && st.Base != w.was.ver:
		return store.ErrStale
	case w.was == nil:
		t.absent(whyErased, w.s.keys.ofTenant(w.p, st.Ref.Tenant, "b"), st.Ref.ID)
		t.absent(whyVersion, key, "v")
	default:
		t.equal(whyVersion, key, "v", string(w.was.ver))
	}
	var lease store.Lease
	if w.was != nil {
		lease = w.was.lease
	}
	switch {
	case st.Holding != "" && lease.Token != st.Holding:
		return store.ErrStale
	case st.Holding != "":
		t.equal(whyLease, key, "lt", string(st.Holding))
	case lease.Token != "": // when it is to look at the conversation depends on it
		t.equal(whyOther, key, "lt", string(lease.Token))
	}
	if st.Drop && st.Holding != "" {
		lease = store.Lease{}
	}
	if st.Take.Token != "" && lease.Live(w.s.now()) {
		return store.ErrStale
	}
	if b := st.Bind; b != nil {
		where, field := w.s.keys.ofTenant(w.p, st.Ref.Tenant, "i"), identityOf(w.t, b.Address)
		if b.From == "" {
			t.absent(whyBind, where, field)
		} else {
			t.equal(whyBind, where, string(field), b.From)
		}
	}
	return nil
}
