package embedded

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// obligation is a row of the index that follows from a state alone.
type obligation struct {
	kind byte
	ms   int64
	name string
}

// obligations appends to o what a state obliges the gateway to: timers to fire, a place in a queue. A nil state obliges to
// nothing. Work has rows of another life (workRows).
func obligations(o []obligation, s *conversation.State) []obligation {
	if s == nil {
		return o
	}
	if s.Open() {
		o = append(o, obligation{kind: dueQueue})
	}
	for name, at := range s.Timers {
		o = append(o, obligation{kind: dueTimer, ms: at, name: name})
	}
	return o
}

// path is a place in an access path.
type path struct {
	kind  store.PathKind
	value string
}

// paths appends to p where a conversation is found by its state.
func paths(p []path, s *conversation.State) []path {
	if s == nil {
		return p
	}
	if s.Owner.Kind == message.OwnerAgent {
		p = append(p, path{store.ByAgent, s.Owner.Agent})
	}
	if s.Contact != "" {
		p = append(p, path{store.ByContact, s.Contact})
	}
	if s.From.Address != "" {
		p = append(p, path{store.ByAddress, s.From.Channel + "\x00" + s.From.Address})
	}
	for _, tag := range s.Tags {
		p = append(p, path{store.ByTag, tag})
	}
	return p
}

// pathPrefix is the prefix of an access path's rows; the time and the id of a conversation follow.
func pathPrefix(t *tenant, p path) []byte {
	h := t.Hash("path", string(rune(p.kind)), p.value)
	k := append(tenantKey(t.Name(), 'p'), byte(p.kind))
	return append(k, h[:]...)
}

func pathKey(t *tenant, p path, conv string) []byte {
	return append(be64(pathPrefix(t, p), born(conv)), conv...)
}

// change writes what is in now and not in was, and takes away what is in was and not in now.
func change[T comparable](b *pebble.Batch, was, now []T, key func(T) []byte) error {
	for _, w := range was {
		if !contains(now, w) {
			if err := b.Delete(key(w), nil); err != nil {
				return err
			}
		}
	}
	for _, n := range now {
		if !contains(was, n) {
			if err := b.Set(key(n), nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func contains[T comparable](all []T, v T) bool {
	for _, a := range all {
		if a == v {
			return true
		}
	}
	return false
}

// reindex makes the rows of the indexes follow from one state to the next.
func reindex(b *pebble.Batch, t *tenant, r store.Ref, was, now *conversation.State) error {
	if was == nil || was.Open() != now.Open() || !maps.Equal(was.Timers, now.Timers) {
		var ob [2][8]obligation
		if err := change(b, obligations(ob[0][:0], was), obligations(ob[1][:0], now), func(o obligation) []byte {
			return indexKey(o.kind, o.ms, r, o.name)
		}); err != nil {
			return fmt.Errorf("indexing obligations: %w", err)
		}
	}
	if was != nil && was.Owner == now.Owner && was.Contact == now.Contact && was.From == now.From && slices.Equal(was.Tags, now.Tags) {
		return nil
	}
	var pb [2][8]path
	if err := change(b, paths(pb[0][:0], was), paths(pb[1][:0], now), func(p path) []byte {
		return pathKey(t, p, r.ID)
	}); err != nil {
		return fmt.Errorf("indexing access paths: %w", err)
	}
	return nil
}

// show brings the views in memory up to a durable state. The caller holds the partition's lock.
func (s *Store) show(p *partition, r store.Ref, was, now *conversation.State) {
	s.showWork(p, r, now)
	s.showTimers(r, was, now)
	s.queues.show(r, was, now)
}

// showTimers brings the schedule of timers up to a durable state. Most steps leave the timers alone, and then both states
// share them.
func (s *Store) showTimers(r store.Ref, was, now *conversation.State) {
	if was != nil && reflect.ValueOf(was.Timers).UnsafePointer() == reflect.ValueOf(now.Timers).UnsafePointer() {
		return
	}
	if was != nil {
		for name := range was.Timers {
			if _, ok := now.Timers[name]; !ok {
				s.timers.remove(dueKey{r, name})
			}
		}
	}
	for name, at := range now.Timers {
		if was == nil || was.Timers[name] != at {
			s.timers.put(dueKey{r, name}, at, at)
		}
	}
}

// showWork sets when to look at a conversation that has work: at the end of the lease of a running call, else at once.
func (s *Store) showWork(p *partition, r store.Ref, now *conversation.State) {
	if !now.Working() {
		s.work.remove(dueKey{ref: r})
		return
	}
	at := s.now()
	if l := p.leases[r]; l.Live(at) {
		at = l.Until
	}
	s.work.put(dueKey{ref: r}, at, 0)
}

// rebuild makes the views in memory from the index of obligations, and from the states of the conversations that are with
// people. It never looks at the others.
func (s *Store) rebuild() error {
	var open []store.Ref
	err := s.each([]byte{spaceIndex}, []byte{spaceIndex + 1}, func(k, _ []byte) (bool, error) {
		kind, ms, r, name, ok := parseIndexKey(k)
		if !ok {
			return false, fmt.Errorf("the index of obligations holds a row that is none")
		}
		switch kind {
		case dueWork:
			n, err := id.Partition(id.Conversation, r.ID)
			if err != nil {
				return false, fmt.Errorf("the index of obligations names a conversation that is none: %w", err)
			}
			s.parts[n].work.set(r, 0)
			s.work.restore(dueKey{ref: r})
		case dueTimer:
			s.timers.put(dueKey{r, name}, ms, ms)
		case dueOutbox:
			s.outbox.of(r.Tenant, name, true).put(dueKey{ref: r}, ms, ms)
		case dueQueue:
			open = append(open, r)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, r := range open {
		rec, err := s.record(r)
		if err != nil {
			return fmt.Errorf("loading conversation %s of the queue: %w", r.ID, err)
		}
		if rec == nil {
			return fmt.Errorf("the index names conversation %s, which is not there", r.ID)
		}
		s.queues.restore(r, rec.state)
	}
	s.queues.settle()
	return nil
}

// record returns a conversation's record, nil when there is none. The caller holds the partition's lock.
func (s *Store) record(r store.Ref) (*record, error) {
	if rec := s.cache.get(r); rec != nil {
		return rec, nil
	}
	t, err := s.tenant(r.Tenant)
	if t == nil || err != nil {
		return nil, err
	}
	key := kindKey(conversationKey(r), kindState)
	row, err := s.get(key)
	if row == nil || err != nil {
		return nil, err
	}
	content, err := s.content(r, t)
	if err != nil {
		return nil, err
	}
	if content == nil {
		return nil, fmt.Errorf("reading state: %w", seal.ErrOpen)
	}
	rec, err := decodeRecord(r, key, row, content)
	if err != nil {
		return nil, err
	}
	s.cache.put(rec)
	return rec, nil
}
