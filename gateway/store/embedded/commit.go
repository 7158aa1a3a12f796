package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
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
	if rec != nil && slices.Contains(rec.ops, st.Op) {
		flying, err := s.flying(st.Ref, rec)
		return store.Hint{}, store.Done{Version: st.Op, Repeat: true, InFlight: flying}, err
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
	if err := s.rotate(); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	w := &write{s: s, p: p, t: t, st: st, was: rec, batch: s.db.NewBatch()}
	defer w.batch.Close()
	if err := w.compare(); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	if err := w.build(); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	if err := s.o.Faults.Hit(ctx, fault.CommitPrepared); err != nil {
		return store.Hint{}, store.Done{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := s.apply(w.batch); err != nil {
		return store.Hint{}, store.Done{}, err
	}
	w.show()
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

// write is a step on its way into a batch.
type write struct {
	s     *Store
	p     *partition
	t     *tenant
	st    store.Step
	was   *record
	batch *pebble.Batch

	now    *record
	hashes [][seal.HashSize]byte // of the dedupe ids
	flying []string
	outbox outboxChange
}

// compare looks whether everything that the step was decided upon still holds.
func (w *write) compare() error {
	s, st := w.s, &w.st
	if len(st.Dedupe) > 0 {
		for i, d := range st.Dedupe {
			h := dedupeHash(w.t, d.From, d.ID)
			if slices.Contains(w.hashes, h) {
				return fmt.Errorf("%w: message id %d of the step is there twice", errUnsound, i)
			}
			w.hashes = append(w.hashes, h)
		}
		known, err := s.known(w.hashes)
		if err != nil {
			return err
		}
		for i, k := range known {
			if k.Conversation != "" {
				return &store.DuplicateError{ID: st.Dedupe[i].ID, Known: k}
			}
		}
	}
	if w.was == nil && st.Base != "" || w.was != nil && st.Base != w.was.version() {
		return store.ErrStale
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
		cur, err := s.get(identityKey(w.t, st.Bind.Address))
		if err != nil {
			return err
		}
		if string(cur) != st.Bind.From {
			return store.ErrStale
		}
	}
	return nil
}

// build puts the step and all that follows from it into the batch.
func (w *write) build() error {
	s, st := w.s, &w.st
	prefix := conversationKey(st.Ref)
	w.now = &record{ref: st.Ref, state: st.State}
	if w.was != nil {
		w.now.key, w.now.head = w.was.key, w.was.head
		kept := w.was.ops[max(0, len(w.was.ops)-keptOps+1):]
		w.now.ops = append(append(make([]store.Token, 0, len(kept)+1), kept...), st.Op)
	} else {
		w.now.ops = []store.Token{st.Op}
		if err := w.makeKey(); err != nil {
			return err
		}
	}
	events, err := w.log(prefix)
	if err != nil {
		return err
	}
	if err := w.audit(prefix, events); err != nil {
		return err
	}
	stateKey := kindKey(prefix, kindState)
	row, err := w.now.encode(stateKey)
	if err != nil {
		return err
	}
	if err := w.batch.Set(stateKey, row, nil); err != nil {
		return fmt.Errorf("building state row: %w", err)
	}
	if err := w.addresses(); err != nil {
		return err
	}
	for _, a := range st.Attach {
		if err := putSealed(w.batch, w.now.key, append(kindKey(prefix, kindAttachment), a.ID...), a); err != nil {
			return err
		}
	}
	if err := w.outboxRows(prefix); err != nil {
		return err
	}
	var before *conversation.State
	if w.was != nil {
		before = w.was.state
	}
	return s.reindex(w.batch, w.t, st.Ref, before, st.State)
}

// makeKey gives a new conversation its data key. A blob may have come before it and have made one.
func (w *write) makeKey() (err error) {
	if w.now.key, err = w.s.content(w.st.Ref, w.t); w.now.key != nil || err != nil {
		return err
	}
	var wrapped []byte
	if w.now.key, wrapped, err = w.t.NewContent(w.st.Ref.ID); err != nil {
		return err
	}
	return w.batch.Set(dataKeyKey(w.st.Ref), wrapped, nil)
}

func (w *write) log(prefix []byte) ([]audit.Event, error) {
	var visible uint64
	if w.was != nil {
		visible = w.was.state.VSeq
	}
	events := make([]audit.Event, len(w.st.Events))
	for i := range w.st.Events {
		e := &w.st.Events[i]
		b, err := e.Encode()
		if err != nil {
			return nil, err
		}
		events[i] = audit.Event{Event: e, Encoded: b}
		visible = max(visible, e.VSeq)
		key := rowKey(prefix, kindLog, e.Seq)
		row, err := encodeEvent(w.now.key, key, visible, b)
		if err != nil {
			return nil, err
		}
		if err := w.batch.Set(key, row, nil); err != nil {
			return nil, fmt.Errorf("building log row: %w", err)
		}
	}
	return events, nil
}

func (w *write) audit(prefix []byte, events []audit.Event) error {
	links, err := audit.Next(w.st.Ref.ID, w.now.head, events, w.now.key.MAC)
	if err != nil {
		return err
	}
	if len(links) == 0 {
		return nil
	}
	for _, l := range links {
		if err := w.batch.Set(rowKey(prefix, kindAudit, l.Entry.N), l.Bytes, nil); err != nil {
			return fmt.Errorf("building audit row: %w", err)
		}
	}
	w.now.head = links[len(links)-1].Head
	return setMoved(w.batch, w.st.Ref.Tenant, w.st.Ref.ID, w.now.head)
}

// addresses writes the dedupe rows and the identity.
func (w *write) addresses() error {
	gen := w.s.generation()
	for i, h := range w.hashes {
		v := append(be64(make([]byte, 0, 36), w.st.Dedupe[i].Seq), w.st.Ref.ID...)
		if err := w.batch.Set(dedupeKey(gen, h), v, nil); err != nil {
			return fmt.Errorf("building dedupe row: %w", err)
		}
	}
	if w.st.Bind != nil {
		if err := w.batch.Set(identityKey(w.t, w.st.Bind.Address), []byte(w.st.Ref.ID), nil); err != nil {
			return fmt.Errorf("building identity row: %w", err)
		}
	}
	return nil
}

// show makes the durable step visible.
func (w *write) show() {
	s, st := w.s, &w.st
	s.cache.put(w.now)
	if st.Drop && st.Holding != "" {
		delete(w.p.leases, st.Ref)
	}
	if st.Take.Token != "" {
		w.p.leases[st.Ref] = st.Take
	}
	var before *conversation.State
	if w.was != nil {
		before = w.was.state
	}
	s.show(w.p, st.Ref, before, st.State)
	w.outbox.show(s, st.Ref)
}
