package embedded

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// write is a step on its way into a batch. The store keeps those that are not in use: their buffers are most of what a
// commit needs.
type write struct {
	s     *Store
	p     *partition
	t     *tenant
	st    store.Step
	was   *record
	gen   uint32 // in which message ids are written
	batch *pebble.Batch

	now    *record
	hashes []idHash // of the message ids
	flying []string
	swept  []store.Ref // whose rows of work the step takes away
	outbox outboxChange

	prefix []byte // of the conversation's rows
	key    []byte // a row's key, then its clear part
	plain  []byte // what is to be sealed
	value  []byte
	ends   []int // of the events in plain
	events []audit.Event
}

// maxKept is the size from which a buffer is not kept for the next step.
const maxKept = 64 << 10

// begin takes a write; end gives it back. The caller holds the partition's lock.
func (s *Store) begin(p *partition, t *tenant, st store.Step, was *record) *write {
	w, _ := s.spare.Get().(*write)
	if w == nil {
		w = new(write)
	}
	w.s, w.p, w.t, w.st, w.was, w.batch = s, p, t, st, was, s.db.NewBatch()
	w.prefix = appendConversationKey(w.prefix[:0], st.Ref)
	return w
}

func (w *write) end() {
	s := w.s
	_ = w.batch.Close() // it was committed or is given up: nothing of it can fail any more
	if cap(w.plain) > maxKept || cap(w.value) > maxKept {
		w.plain, w.value = nil, nil
	}
	clear(w.events)
	clear(w.swept)
	*w = write{
		hashes: w.hashes[:0], swept: w.swept[:0], prefix: w.prefix[:0], key: w.key[:0], plain: w.plain[:0],
		value: w.value[:0], ends: w.ends[:0], events: w.events[:0],
	}
	s.spare.Put(w)
}

// build puts the step and all that follows from it into the batch.
func (w *write) build() error {
	st := &w.st
	w.now = &record{ref: st.Ref, state: st.State}
	var before *conversation.State
	if w.was != nil {
		before = w.was.state
		w.now.key, w.now.head, w.now.marked = w.was.key, w.was.head, w.was.marked
		w.now.ops = w.was.ops.with(st.Op)
	} else {
		w.now.ops = ops{}.with(st.Op)
		if err := w.makeKey(); err != nil {
			return err
		}
	}
	if err := w.log(); err != nil {
		return err
	}
	if err := w.audit(); err != nil {
		return err
	}
	if err := w.state(); err != nil {
		return err
	}
	if err := w.addresses(); err != nil {
		return err
	}
	for _, a := range st.Attach {
		if err := putSealed(w.batch, w.now.key, append(kindKey(w.prefix, kindAttachment), a.ID...), a); err != nil {
			return err
		}
	}
	if err := w.detach(); err != nil {
		return err
	}
	if err := w.outboxRows(w.prefix); err != nil {
		return err
	}
	if err := w.work(); err != nil {
		return err
	}
	return reindex(w.batch, w.t, st.Ref, before, st.State)
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

// at begins the key of a row of a kind in w.key.
func (w *write) at(kind byte) { w.key = append(append(w.key[:0], w.prefix...), kind) }

// put seals w.plain behind a clear part and sets the row. w.key holds the key of keyLen bytes and behind it the clear part.
func (w *write) put(keyLen int) error {
	part := w.key[keyLen:]
	op := w.batch.SetDeferred(keyLen, len(part)+len(w.plain)+seal.Overhead)
	copy(op.Key, w.key)
	// The value is sealed where it will lie: its room is exactly what it takes.
	if _, err := w.now.key.Seal(append(op.Value[:0], part...), w.key, w.plain); err != nil {
		return err
	}
	return op.Finish()
}

// log writes the events of the step as one row.
func (w *write) log() error {
	events := w.st.Events
	if len(events) == 0 {
		return nil
	}
	var seen uint64
	if w.was != nil {
		seen = w.was.state.VSeq
	}
	sp := span{first: events[0].Seq, last: events[len(events)-1].Seq, seen: seen, upTo: seen}
	w.plain, w.ends = w.plain[:0], w.ends[:0]
	for i := range events {
		e := &events[i]
		var err error
		if w.value, err = e.AppendPacked(w.value[:0]); err != nil {
			return err
		}
		w.plain = appendLogged(w.plain, e.VSeq, w.value)
		w.ends = append(w.ends, len(w.plain))
		w.events = append(w.events, audit.Event{Event: e, Encoded: w.value}) // its length counts; the bytes are set below
		sp.upTo = max(sp.upTo, e.VSeq)
	}
	for i, end := range w.ends {
		e := &w.events[i]
		e.Encoded = w.plain[end-len(e.Encoded) : end]
	}
	w.at(kindLog)
	w.key = be64(w.key, sp.first)
	n := len(w.key)
	w.key = appendSpan(w.key, sp)
	if err := w.put(n); err != nil {
		return fmt.Errorf("building log row: %w", err)
	}
	return nil
}

// audit writes the entries of the step's decisions as one row, and marks the chain.
func (w *write) audit() error {
	links, err := audit.Next(w.st.Ref.ID, w.now.head, w.events, w.now.key.MAC)
	if err != nil || len(links) == 0 {
		return err
	}
	w.at(kindAudit)
	w.key = be64(w.key, links[0].Entry.N)
	w.value = w.value[:0]
	for i := range links { // the events in w.plain are digested
		if w.plain, err = links[i].Entry.AppendPacked(w.plain[:0]); err != nil {
			return err
		}
		w.value = binary.AppendUvarint(w.value, uint64(len(w.plain)))
		w.value = append(w.value, w.plain...)
	}
	if err := w.batch.Set(w.key, w.value, nil); err != nil {
		return fmt.Errorf("building audit row: %w", err)
	}
	w.now.head = links[len(links)-1].Head
	if w.now.marked {
		return nil
	}
	w.now.marked = true
	if err := w.batch.Set(movedKey(w.st.Ref.Tenant, w.st.Ref.ID), nil, nil); err != nil {
		return fmt.Errorf("marking an audit chain: %w", err)
	}
	return nil
}

func (w *write) state() (err error) {
	if w.plain, err = w.st.State.AppendPacked(w.plain[:0]); err != nil {
		return err
	}
	w.at(kindState)
	n := len(w.key)
	w.key = w.now.header(w.key)
	if err := w.put(n); err != nil {
		return fmt.Errorf("building state row: %w", err)
	}
	return nil
}

// addresses writes the dedupe rows and the identity.
func (w *write) addresses() error {
	if err := w.dedupe(); err != nil {
		return err
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
	w.p.recent.written(w.hashes)
	if b := st.Bind; b != nil {
		w.p.recent.bind(st.Ref.Tenant, b.Address, st.Ref.ID)
	}
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
	w.showWorkRows()
	s.show(w.p, st.Ref, before, st.State)
	w.outbox.show(s, st.Ref)
}
