package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Nodes of two releases share a store while one takes the place of the other. The store says which version of the event
// encoding is in force: nodes write that one, and nobody joins who cannot read it. It is raised by one when every node that
// lives has been able to read the next for a while (Options.WayBack): until then nodes of the release before may come back,
// after that they are refused.

// Fields of the store's own row: the version in force, since when every live node reads the next (ms), and a token that each
// node that joins changes.
const (
	metaEvents = "events"
	metaSince  = "events_since"
	metaJoined = "joined"
)

// firstEvents is the version of a store that was made before it said so.
const firstEvents = 1

// format is the version in force, as this node has last read it; 0 before it has.
type format struct{ inForce atomic.Int64 }

func (f *format) writes(own conversation.Format) int {
	if v := int(f.inForce.Load()); v > 0 {
		return min(v, own.Newest())
	}
	return own.Newest()
}

// fits fails when a node cannot read what the others write.
func (f *format) fits(own conversation.Format) error {
	v := int(f.inForce.Load())
	if v == 0 || own.Reads(v) {
		return nil
	}
	return eventsError(v, own)
}

func eventsError(inForce int, own conversation.Format) error {
	if inForce > own.Newest() {
		return fmt.Errorf("the store's events are of version %d and this build reads none above %d: run a release that is as new as the other nodes'", inForce, own.Newest())
	}
	return fmt.Errorf("the store's events are of version %d and this build reads none below %d: run the release between the two on all nodes first, until the store's events are of the next version",
		inForce, own.Newest()-1)
}

// membership is what the store says of its nodes and of its events.
type membership struct {
	events, since, joined string
	until, reads          map[string]string // by node: when it is taken for dead (ms), and the newest version that it reads
}

func (m *membership) inForce() int {
	if v, err := strconv.Atoi(m.events); err == nil && v > 0 {
		return v
	}
	return firstEvents
}

// unchanged lets t fail when somebody has changed what the membership says of events.
func (m *membership) unchanged(t *txn, key string) {
	for field, was := range map[string]string{metaEvents: m.events, metaSince: m.since, metaJoined: m.joined} {
		if was == "" {
			t.absent(whyOther, key, field)
		} else {
			t.equal(whyOther, key, field, was)
		}
	}
}

// beat says that this node lives, if joined is set again, and reads what the store says of its nodes.
func (s *Store) beat(ctx context.Context, joined bool) (m membership, err error) {
	var fields *goredis.SliceCmd
	var until, reads *goredis.MapStringStringCmd
	if err := s.db.run(ctx, passing, func(p goredis.Pipeliner) {
		if joined {
			p.HSet(ctx, s.keys.global("n"), s.node, s.now()+beatFor.Milliseconds())
			p.HSet(ctx, s.keys.global("v"), s.node, s.o.Events.Newest())
		}
		fields = p.HMGet(ctx, s.keys.global("m"), metaEvents, metaSince, metaJoined)
		until, reads = p.HGetAll(ctx, s.keys.global("n")), p.HGetAll(ctx, s.keys.global("v"))
	}); err != nil {
		return m, err
	}
	text := func(i int) string { v, _ := fields.Val()[i].(string); return v }
	m = membership{events: text(0), since: text(1), joined: text(2), until: until.Val(), reads: reads.Val()}
	return m, nil
}

// join makes this one of the store's nodes, unless it cannot read what they write.
func (s *Store) join(ctx context.Context) error {
	for range maxTries {
		m, err := s.beat(ctx, false)
		if err != nil {
			return err
		}
		if v := m.inForce(); !s.o.Events.Reads(v) {
			return eventsError(v, s.o.Events)
		}
		var t txn
		key := s.keys.global("m")
		m.unchanged(&t, key)
		t.hset(key, metaJoined, s.o.IDs.Token())
		t.hset(s.keys.global("n"), s.node, s.now()+beatFor.Milliseconds())
		t.hset(s.keys.global("v"), s.node, s.o.Events.Newest())
		why, err := s.db.commit(ctx, &t)
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			return err
		}
		if err == nil && why == held {
			s.format.inForce.Store(int64(m.inForce()))
			return nil
		}
	}
	return &outcomeError{store.ErrUnavailable, errors.New("the nodes of the store do not come to rest")}
}

// follow takes note of the version in force, and raises it when its time has come.
func (s *Store) follow(ctx context.Context, m membership) error {
	if was := s.format.inForce.Swap(int64(m.inForce())); int(was) != m.inForce() {
		s.o.Log.Info("the store's events have another version", "was", was, "is", m.inForce(), "written", s.format.writes(s.o.Events))
	}
	if m.inForce() >= s.o.Events.Newest() {
		return nil
	}
	all := true
	for node, until := range m.until {
		if at, err := strconv.ParseInt(until, 10, 64); err != nil || at <= s.now() || node == readerField {
			continue
		}
		v, err := strconv.Atoi(m.reads[node])
		if err != nil {
			v = firstEvents // it does not say, as the releases did that knew no other
		}
		all = all && v > m.inForce()
	}
	var t txn
	key := s.keys.global("m")
	m.unchanged(&t, key)
	since, err := strconv.ParseInt(m.since, 10, 64)
	switch {
	case all && (m.since == "" || err != nil):
		t.hset(key, metaSince, s.now())
	case all && s.now()-since >= s.o.WayBack.Milliseconds():
		t.hset(key, metaEvents, m.inForce()+1)
		t.hdel(key, metaSince)
	case !all && m.since != "":
		t.hdel(key, metaSince)
	default:
		return nil
	}
	_, err = s.db.commit(ctx, &t) // what came of it the next beat sees
	return err
}
