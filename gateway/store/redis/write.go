package redis

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// build puts the step and all that follows from it into the script's arguments.
func (w *write) build() error {
	st := &w.st
	w.now = &record{ref: st.Ref, state: st.State, ver: st.Op}
	if w.was != nil {
		w.now.key, w.now.head, w.now.ops = w.was.key, w.was.head, w.was.ops.with(st.Op)
		w.now.lease, w.now.attempt, w.now.outbox, w.now.rows = w.was.lease, w.was.attempt, w.was.outbox, w.was.rows
	} else {
		w.now.ops = marks(nil).with(st.Op)
		if err := w.makeKey(); err != nil {
			return err
		}
	}
	if err := w.log(); err != nil {
		return err
	}
	for _, a := range st.Attach {
		key := w.key("f")
		if err := w.put(key, a.ID, a); err != nil {
			return err
		}
	}
	if err := w.detach(); err != nil {
		return err
	}
	if err := w.outboxRows(); err != nil {
		return err
	}
	if err := w.state(); err != nil {
		return err
	}
	w.ids()
	if b := st.Bind; b != nil {
		w.txn.hset(w.s.keys.ofTenant(w.p, st.Ref.Tenant, "i"), identityOf(w.t, b.Address), st.Ref.ID)
	}
	w.lists()
	return w.view()
}

// key is the name of a key of the step's conversation.
func (w *write) key(kind string) string { return w.s.keys.conversation(w.p, w.st.Ref, kind) }

// makeKey gives a new conversation its data key. A blob may have come before it and have made one: then the cache has it,
// or the script says so.
func (w *write) makeKey() error {
	where := w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "k")
	if key, wrapped := w.s.blobs.keyOf(w.st.Ref); key != nil {
		w.now.key = key
		w.txn.equal(whyKey, where, w.st.Ref.ID, wrapped)
		return nil
	}
	key, wrapped, err := w.t.NewContent(w.st.Ref.ID)
	if err != nil {
		return err
	}
	w.now.key = key
	w.txn.absent(whyKey, where, w.st.Ref.ID)
	w.txn.hset(where, w.st.Ref.ID, wrapped)
	return nil
}

// put seals v as JSON in a field of a hash.
func (w *write) put(key, field string, v any) error {
	sealed, err := sealJSON(w.now.key, aad(key, []byte(field)), v)
	if err != nil {
		return err
	}
	w.txn.hset(key, field, sealed)
	return nil
}

// sealer is what seals values: a conversation's key, or a tenant's for its documents.
type sealer interface {
	Seal(dst, aad, plain []byte) ([]byte, error)
	Open(dst, aad, sealed []byte) ([]byte, error)
}

var (
	_ sealer = (*seal.Content)(nil)
	_ sealer = (*seal.Tenant)(nil)
)

func sealJSON(k sealer, aad []byte, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding row: %w", err)
	}
	return k.Seal(nil, aad, plain)
}

func openJSON(k sealer, aad, sealed []byte, v any) error {
	plain, err := k.Open(nil, aad, sealed)
	if err != nil {
		return fmt.Errorf("reading row: %w", err)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("decoding row: %w", err)
	}
	return nil
}

// log writes the events of the step as one row, and the audit entries of its decisions.
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
	var plain []byte
	judged := make([]audit.Event, 0, len(events))
	for i := range events {
		e := &events[i]
		b, err := e.Append(nil)
		if err != nil {
			return err
		}
		plain = appendLogged(plain, e.VSeq, b)
		judged = append(judged, audit.Event{Event: e, Encoded: b})
		sp.upTo = max(sp.upTo, e.VSeq)
	}
	key, place := w.key("l"), logID(sp.first)
	clear := appendSpan(nil, sp)
	row, err := w.now.key.Seal(slices.Clip(slices.Clone(clear)), aad(key, []byte(place), clear), plain)
	if err != nil {
		return err
	}
	if !erases(&w.st) {
		w.txn.xadd(key, place, row)
	}
	links, err := audit.Next(w.st.Ref.ID, w.now.head, judged, w.now.key.MAC)
	if err != nil || len(links) == 0 {
		return err
	}
	for _, l := range links {
		w.txn.xadd(w.key("a"), entryID(l.Entry.N), l.Bytes)
		w.now.head = l.Head
	}
	w.txn.sadd(w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "m"), w.st.Ref.ID)
	return nil
}

// entryID is the id of entry n of an audit chain in its stream.
func entryID(n uint64) string { return strconv.FormatUint(n, 10) + "-1" }

// state writes the row that steps are compared with.
func (w *write) state() error {
	plain, err := w.st.State.Append(nil)
	if err != nil {
		return err
	}
	key, head := w.key("s"), encodeHead(w.now.head)
	sealed, err := w.now.key.Seal(nil, aad(key, w.now.ops, head), plain)
	if err != nil {
		return err
	}
	t := &w.txn
	t.hset(key, "v", string(w.now.ver))
	t.hset(key, "ops", []byte(w.now.ops))
	t.hset(key, "ah", head)
	t.hset(key, "st", sealed)
	if w.st.Drop && w.st.Holding != "" {
		w.now.lease = store.Lease{}
	}
	if w.st.Take.Token != "" {
		w.now.lease = w.st.Take
	}
	var before store.Lease
	if w.was != nil {
		before = w.was.lease
	}
	switch {
	case w.now.lease == before:
	case w.now.lease.Token == "":
		t.hdel(key, "lt")
		t.hdel(key, "lx")
	default:
		t.hset(key, "lt", string(w.now.lease.Token))
		t.hset(key, "lx", w.now.lease.Until)
	}
	return nil
}

// lists makes the lists of the partition follow from one state to the next.
func (w *write) lists() {
	s, t, p, r := w.s, &w.txn, w.p, w.st.Ref
	was, now := new(conversation.State), w.st.State
	if w.was != nil {
		was = w.was.state
	} else {
		t.zadd(s.keys.ofTenant(p, r.Tenant, "c"), 0, r.ID)
	}
	switch {
	case now.Working():
		// This node takes it up itself; others look when it should have.
		at := s.now() + s.o.Redeliver.Milliseconds()
		if w.now.lease.Live(s.now()) {
			at = w.now.lease.Until
		}
		t.zadd(s.keys.part(p, "r"), at, member(r))
	case was.Working():
		t.zrem(s.keys.part(p, "r"), member(r))
	}
	if !maps.Equal(was.Timers, now.Timers) {
		for name, at := range was.Timers {
			if now.Timers[name] != at {
				t.zrem(s.keys.part(p, "t"), dueMember(r, at, name))
			}
		}
		for name, at := range now.Timers {
			if was.Timers[name] != at {
				t.zadd(s.keys.part(p, "t"), at, dueMember(r, at, name))
			}
		}
	}
	switch {
	case now.Open() && !was.Open():
		t.sadd(s.keys.part(p, "q"), member(r))
	case was.Open() && !now.Open():
		t.srem(s.keys.part(p, "q"), member(r))
	}
	switch closed := now.Owner.Kind == message.OwnerClosed; {
	case closed && len(w.st.Events) > 0:
		t.zadd(s.keys.ofTenant(p, r.Tenant, "y"), w.st.Events[len(w.st.Events)-1].At, r.ID)
	case closed && w.was == nil: // of another store
		t.zadd(s.keys.ofTenant(p, r.Tenant, "y"), max(now.ClosedAt, now.ActiveAt), r.ID)
	case !closed && was.Owner.Kind == message.OwnerClosed:
		t.zrem(s.keys.ofTenant(p, r.Tenant, "y"), r.ID)
	}
	if w.was != nil && was.Contact == now.Contact && was.From == now.From && slices.Equal(was.Tags, now.Tags) {
		return
	}
	key := s.keys.ofTenant(p, r.Tenant, "p")
	old, next := paths(w.t, r, w.was, was), paths(w.t, r, w.now, now)
	for _, m := range old {
		if !slices.Contains(next, m) {
			t.zrem(key, m)
		}
	}
	for _, m := range next {
		if !slices.Contains(old, m) {
			t.zadd(key, 0, m)
		}
	}
}

// paths are the members by which a conversation is found by its state. Who holds it is known by the queue view.
func paths(t *seal.Tenant, r store.Ref, rec *record, s *conversation.State) (out []string) {
	if rec == nil {
		return nil
	}
	add := func(kind store.PathKind, value string) {
		out = append(out, string(append(be64([]byte(pathPrefix(t, kind, value)), born(r.ID)), r.ID...)))
	}
	if s.Contact != "" {
		add(store.ByContact, s.Contact)
	}
	if s.From.Address != "" {
		add(store.ByAddress, s.From.Channel+"\x00"+s.From.Address)
	}
	for _, tag := range s.Tags {
		add(store.ByTag, tag)
	}
	return out
}

// pathPrefix begins the members of an access path; the time and the id of a conversation follow.
func pathPrefix(t *seal.Tenant, kind store.PathKind, value string) string {
	h := t.Hash("path", string(rune(kind)), value)
	return string(append([]byte{byte(kind)}, h[:]...))
}

// show brings what this node keeps in memory up to the durable step.
func (w *write) show() {
	s, st := w.s, &w.st
	s.cache.put(w.now)
	if st.Settle != nil {
		s.lineage.ended(st.Ref)
	}
	if b := st.Bind; b != nil {
		s.gens.bind(st.Ref.Tenant, b.Address, st.Ref.ID)
	}
	var before map[string]int64
	if w.was != nil {
		before = w.was.state.Timers
	}
	for name := range before {
		if _, ok := st.State.Timers[name]; !ok {
			s.timers.remove(dueKey{st.Ref, name})
		}
	}
	w.showWork()
	w.head.show(s, st.Ref)
}

// showWork sets when this node looks at the conversation.
func (w *write) showWork() {
	s, st := w.s, &w.st
	for name, at := range st.State.Timers {
		if w.was == nil || w.was.state.Timers[name] != at {
			s.timers.put(dueKey{st.Ref, name}, at, at)
		}
	}
	key := dueKey{ref: st.Ref}
	if !st.State.Working() {
		s.work.remove(key)
		return
	}
	at := s.now()
	if w.now.lease.Live(at) {
		at = w.now.lease.Until
	}
	s.work.put(key, at, 0)
}

// A log row holds the events of one step. Its id has the sequence of the first; in front of the sealed events stand in the
// clear how many they are and the visible sequence before and with them, so that a reader finds a place without opening
// what lies between.

// span is what a log row holds: the events from first to last; seen is the visible sequence before them, upTo with them.
type span struct {
	first, last uint64
	seen, upTo  uint64
}

func logID(first uint64) string { return strconv.FormatUint(first, 10) + "-1" }

func appendSpan(b []byte, sp span) []byte {
	b = binary.AppendUvarint(b, sp.last-sp.first+1)
	b = binary.AppendUvarint(b, sp.seen)
	return binary.AppendUvarint(b, sp.upTo-sp.seen)
}

// appendLogged appends an event as it stands in the sealed part: its visible sequence or 0, its length, its encoding.
func appendLogged(b []byte, vseq uint64, encoded []byte) []byte {
	b = binary.AppendUvarint(b, vseq)
	b = binary.AppendUvarint(b, uint64(len(encoded)))
	return append(b, encoded...)
}

// identityOf is the field under which an address leads to its conversation.
func identityOf(t *seal.Tenant, a message.Address) []byte {
	h := t.Hash("identity", a.Channel, a.Address, a.Thread)
	return h[:]
}
