package embedded

import (
	"context"
	"errors"
	"fmt"

	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Commit implements store.Conversations. A step that cannot be one (events that do not follow, a sender of another
// partition) is refused with an error of its own.
func (s *Store) Commit(ctx context.Context, st store.Step) (store.Done, error) {
	p, err := s.lockWrite(ctx, st.Ref)
	if err != nil {
		return store.Done{}, err
	}
	hint, done, err := s.commit(ctx, p, st)
	if err == nil && hint.State != nil {
		s.hints.tell(hint)
	}
	return done, err
}

// commit is Commit under the partition's lock, which it gives back.
func (s *Store) commit(ctx context.Context, p *partition, st store.Step) (store.Hint, store.Done, error) {
	defer s.unlockWrite(p)
	rec, err := s.record(st.Ref)
	if err != nil {
		return store.Hint{}, store.Done{}, err
	}
	if rec != nil && rec.ops.has(st.Op) {
		flying, err := s.flying(rec)
		return store.Hint{}, store.Done{Version: st.Op, Repeat: true, InFlight: flying}, err
	}
	if rec == nil && erases(&st) {
		if done, ok, err := s.repeated(&st); ok || err != nil {
			return store.Hint{}, done, err
		}
	}
	if err := s.gate.check(); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	if err := sound(st, rec); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	t, err := s.makeTenant(st.Ref.Tenant)
	if err != nil {
		return store.Hint{}, store.Done{}, err
	}
	gen, err := s.rotate()
	if err != nil {
		return store.Hint{}, store.Done{}, err
	}
	w := s.begin(p, t, st, rec)
	defer w.end()
	w.gen = gen
	if err := w.compare(); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	build, show := w.build, w.show
	if erases(&st) {
		build, show = w.erase, w.showErased
	}
	if err := build(); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	if err := s.o.Faults.Hit(ctx, fault.CommitPrepared); err != nil {
		return store.Hint{}, store.Done{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := s.apply(w.batch); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	show()
	if err := s.o.Faults.Hit(ctx, fault.CommitDurable); err != nil {
		return store.Hint{}, store.Done{}, fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	done := store.Done{Version: st.Op, InFlight: w.flying}
	return store.Hint{Ref: st.Ref, State: st.State, Events: st.Events}, done, nil
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
	if rec == nil == (st.Base == "") && (rec == nil || st.Base == rec.version()) {
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
	for _, d := range st.Dedupe {
		if id.PartitionOf(st.Ref.Tenant.Name(), d.From.Channel, d.From.Address) != home {
			return fmt.Errorf("%w: a sender of another partition", errUnsound)
		}
	}
	if b := st.Bind; b != nil && id.PartitionOf(st.Ref.Tenant.Name(), b.Address.Channel, b.Address.Address) != home {
		return fmt.Errorf("%w: an address of another partition", errUnsound)
	}
	return nil
}

// compare looks whether everything that the step was decided upon still holds.
func (w *write) compare() error {
	s, st := w.s, &w.st
	if err := w.unknown(); err != nil {
		return err
	}
	if w.was == nil && st.Base != "" || w.was != nil && st.Base != w.was.version() {
		return store.ErrStale
	}
	if w.was == nil {
		if err := s.gone(st.Ref); !errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrErased) {
			return err
		}
	}
	lease := w.p.leases[st.Ref]
	if st.Holding != "" && lease.Token != st.Holding {
		return store.ErrStale
	}
	if st.Drop && st.Holding != "" {
		lease = store.Lease{}
	}
	if st.Take.Token != "" && lease.Live(s.now()) {
		return store.ErrStale
	}
	if st.Bind != nil {
		cur, err := s.writes(w.p, w.t, st.Ref.Tenant, st.Bind.Address)
		if err != nil {
			return err
		}
		if cur != st.Bind.From {
			return store.ErrStale
		}
	}
	return nil
}
