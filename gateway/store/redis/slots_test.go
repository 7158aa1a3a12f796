package redis

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
)

// TestSlots: the partitions spread evenly over the slots, so over primaries however many they are; and the keys of one
// partition, and those of a tenant's own, lie in one slot each.
func TestSlots(t *testing.T) {
	k := newKeys("turnout:")
	slot := func(key string) int {
		_, rest, _ := strings.Cut(key, "{")
		tag, _, _ := strings.Cut(rest, "}")
		return crc16(tag) % 16384
	}
	ten, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	for p := range id.Partitions {
		r := store.Ref{Tenant: ten, ID: id.NewSource(rand.Reader, time.Now).New(id.Conversation, p)}
		for _, key := range []string{k.part(p, "r"), k.ofTenant(p, ten, "i"), k.conversation(p, r, "s"), k.dedupe(p, 7, 63)} {
			if got := slot(key); got != 16*p+8 {
				t.Fatalf("key %s of partition %d lies in slot %d", key, p, got)
			}
		}
	}
	if a, b := slot(k.desk(ten, deskFeed)), slot(k.desk(ten, agentHolds("ann"))); a != b {
		t.Errorf("a tenant's queue view lies in slots %d and %d", a, b)
	}
	if a, b := slot(k.own(ten, "s")), slot(k.own(ten, "r:x")); a != b {
		t.Errorf("a tenant's own rows lie in slots %d and %d", a, b)
	}
}

// TestKeyOf: a command finds its server by its key, and one that is meant for a server says that it has none.
func TestKeyOf(t *testing.T) {
	ctx := t.Context()
	p := goredis.NewClient(&goredis.Options{}).Pipeline()
	for want, cmd := range map[string]goredis.Cmder{
		"{1}a": p.EvalSha(ctx, "sha", []string{"{1}a", "{1}b"}, 7), "{2}": p.HGet(ctx, "{2}", "f"), "{3}": p.Do(ctx, "XTRIM", "{3}", "MINID", "1"),
		"{4}": p.Exists(ctx, "{4}"), "hints": p.Publish(ctx, "hints", "x"), "": p.Info(ctx, "memory"),
	} {
		if got := keyOf(cmd); got != want {
			t.Errorf("the key of %v is %q", cmd.Args(), got)
		}
	}
}

// TestComplete: a server that names only the port of another means its own host.
func TestComplete(t *testing.T) {
	from := goredis.NewClient(&goredis.Options{Addr: "redis-1.internal:6379"})
	defer from.Close()
	for addr, want := range map[string]string{":6380": "redis-1.internal:6380", "10.0.0.2:6379": "10.0.0.2:6379", "": ""} {
		if got := complete(addr, from); got != want {
			t.Errorf("%q is %q, want %q", addr, got, want)
		}
	}
}

// moving is a store on a Cluster of two primaries, and a partition whose slot is on its way from one to the other.
type moving struct {
	*nodes
	cluster  *redistest.Cluster
	s        *Store
	part     int
	from, to *redistest.Server
}

func newMoving(t *testing.T) *moving {
	c := redistest.StartCluster(t, 2, 0, redistest.Durable()...)
	m := &moving{nodes: onCluster(t), cluster: c, part: 3}
	m.s = m.open(c, 100*time.Millisecond)
	m.from = c.Owner(m.slot())
	for _, s := range c.Servers {
		if s != m.from {
			m.to = s
		}
	}
	return m
}

// onCluster is newNodes without a server.
func onCluster(t *testing.T) *nodes {
	n := &nodes{T: t}
	n.now.Store(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC).UnixMilli())
	n.ids = id.NewSource(rand.Reader, n.time)
	var err error
	n.tenant, err = store.NewTenant("acme")
	n.must(err)
	return n
}

func (n *nodes) open(c *redistest.Cluster, patience time.Duration) *Store {
	n.Helper()
	s, err := Open(n.Context(), Options{
		Cluster: c.Addrs(), Root: bytes.Repeat([]byte{7}, seal.KeySize), IDs: n.ids, Now: n.time, Blobs: "/blobs", FS: vfs.NewMem(),
		Patience: patience,
	})
	n.must(err)
	n.Cleanup(func() { n.must(s.Close()) })
	return s
}

func (m *moving) slot() int { return 16*m.part + 8 }

func (m *moving) do(s *redistest.Server, args ...any) any {
	m.Helper()
	v, err := s.Client().Do(context.WithoutCancel(m.Context()), args...).Result()
	m.must(err)
	return v
}

// begin opens the slot on both sides; pass takes keys over.
func (m *moving) begin() {
	m.Helper()
	m.do(m.to, "CLUSTER", "SETSLOT", m.slot(), "IMPORTING", m.cluster.ID(m.from))
	m.do(m.from, "CLUSTER", "SETSLOT", m.slot(), "MIGRATING", m.cluster.ID(m.to))
}

func (m *moving) pass(keys ...string) {
	m.Helper()
	host, port, _ := strings.Cut(m.to.Addr(), ":")
	args := []any{"MIGRATE", host, port, "", 0, 20_000, "KEYS"}
	for _, k := range keys {
		args = append(args, k)
	}
	m.do(m.from, args...)
}

func (m *moving) end() {
	m.Helper()
	for v := m.do(m.from, "CLUSTER", "GETKEYSINSLOT", m.slot(), 100).([]any); len(v) > 0; v = m.do(m.from, "CLUSTER", "GETKEYSINSLOT", m.slot(), 100).([]any) {
		var keys []string
		for _, k := range v {
			keys = append(keys, k.(string))
		}
		m.pass(keys...)
	}
	for _, s := range []*redistest.Server{m.to, m.from} {
		m.do(s, "CLUSTER", "SETSLOT", m.slot(), "NODE", m.cluster.ID(m.to))
	}
}

// TestPartlyRefused: of one pipeline a key is still here, one is already there, one lies with another primary, and later all
// the map is out of date. What was refused goes where it belongs; what was executed is not executed again.
func TestPartlyRefused(t *testing.T) {
	m := newMoving(t)
	ctx := t.Context()
	other := 0
	for m.cluster.Owner(16*other+8) == m.from {
		other += 64
	}
	here, there, elsewhere := m.s.keys.part(m.part, "here"), m.s.keys.part(m.part, "there"), m.s.keys.part(other, "elsewhere")
	round := int64(0)
	count := func(what string) {
		t.Helper()
		round++
		var cmds [3]*goredis.IntCmd
		if err := m.s.db.run(ctx, writing, func(p goredis.Pipeliner) {
			for i, k := range []string{here, there, elsewhere} {
				cmds[i] = p.Incr(ctx, k)
			}
		}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for i, c := range cmds {
			if c.Val() != round {
				t.Errorf("%s: command %d was executed %d times, want %d", what, i, c.Val(), round)
			}
		}
	}
	count("before")
	m.begin()
	m.pass(there)
	count("while it moves")
	m.end()
	count("after it has moved")
	count("when that is known")
}

// TestSlotOnTheMove: a step whose keys are on both sides is refused without anything written, and done when the slot has
// arrived; other partitions do not notice. A sweep does not fail over the one that does not answer.
func TestSlotOnTheMove(t *testing.T) {
	m := newMoving(t)
	ctx := t.Context()
	st := m.opening("visitor")
	m.part, _ = home(st.Ref)
	if m.from = m.cluster.Owner(m.slot()); m.from == m.to {
		m.to = m.cluster.Servers[0]
		if m.from == m.to {
			m.to = m.cluster.Servers[1]
		}
	}
	m.commit(m.s, st)
	far := m.opening("another")
	for n := 'a'; ; n++ { // of the partition of somebody else
		if p, _ := home(far.Ref); p != m.part {
			break
		}
		far = m.opening("another " + string(n))
	}
	m.begin()
	m.pass(m.s.keys.conversation(m.part, st.Ref, "s"))
	next := m.step(st.Ref, m.cached(st.Ref), customer, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1 << 50}})
	if _, err := m.s.Commit(ctx, next); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a step across both: %v", err)
	}
	m.commit(m.s, far)
	if _, _, err := m.s.Due(ctx, m.now.Load(), 10); err != nil {
		t.Errorf("asking what is due: %v", err)
	}
	m.end()
	// Another store, with no idea of it all, and the one that has an old one.
	for _, s := range []*Store{m.open(m.cluster, 2*time.Second), m.s} {
		if v := m.load(s, st.Ref).Version; v != st.Op {
			t.Errorf("a refused step has left version %s", v)
		}
	}
	m.commit(m.s, next)
	m.sound(m.s)
}

// cached is what the store knows of a conversation without asking.
func (m *moving) cached(r store.Ref) *store.Snapshot { return m.s.cache.get(r).snapshot() }

// TestGivenUp: what became of a pipeline that is not tried again.
func TestGivenUp(t *testing.T) {
	refused, full, unknown := &outcomeError{store.ErrUnavailable, errClosed}, &outcomeError{store.ErrFull, errClosed}, &outcomeError{store.ErrUnknown, errClosed}
	answer := errors.New("ERR no such thing")
	for name, tc := range map[string]struct {
		u     use
		fates []error
		want  error // nil: it is done
		left  int
	}{
		"done":                                     {writing, []error{nil, nil}, nil, 0},
		"nothing was written":                      {writing, []error{refused, refused}, store.ErrUnavailable, 2},
		"one was, the other was refused":           {writing, []error{nil, refused}, store.ErrUnknown, 1},
		"one was, the other found no room":         {writing, []error{nil, full}, store.ErrUnknown, 1},
		"one may have been":                        {writing, []error{refused, unknown}, store.ErrUnknown, 2},
		"one found no room, the other was refused": {writing, []error{refused, full}, store.ErrFull, 2},
		"a read that may be repeated":              {reading, []error{nil, unknown}, store.ErrUnavailable, 1},
		"a read of which one is refused":           {reading, []error{nil, refused}, store.ErrUnavailable, 1},
		"an answer":                                {writing, []error{nil, answer}, answer, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var all []*sent
			for _, f := range tc.fates {
				all = append(all, &sent{fate: f})
			}
			left, err := remaining(tc.u, all)
			if err != nil {
				err = givenUp(tc.u, len(all)-len(left), err)
			}
			if tc.want == nil && err != nil || !errors.Is(err, tc.want) || len(left) != tc.left {
				t.Errorf("%v, %d left", err, len(left))
			}
		})
	}
}

// TestHintsOnCluster: what a node commits another hears of, whichever servers of the Cluster they talk to.
func TestHintsOnCluster(t *testing.T) {
	c := redistest.StartCluster(t, 2, 0, redistest.Durable()...)
	n := onCluster(t)
	a, b := n.open(c, 2*time.Second), n.open(c, 2*time.Second)
	heard := make(chan store.Ref, 100)
	defer b.Subscribe(func(h store.Hint) { heard <- h.Ref }).Close()
	// Its subscription takes a moment to begin, and a hint may be lost: somebody new comes until one is heard of.
	want := map[store.Ref]bool{}
	for i := 0; ; i++ {
		st := n.opening("visitor " + string(rune('a'+i%26)) + string(rune('a'+i/26%26)))
		want[st.Ref] = true
		n.commit(a, st)
		select {
		case r := <-heard:
			if !want[r] {
				t.Errorf("heard of %s", r.ID)
			}
			return
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			return
		}
		if i > 1000 {
			t.Fatal("nothing is heard")
		}
	}
}

// TestSweepWithoutAPrimary: what a dead node has left is found wherever it lies, except with the primary that is gone.
func TestSweepWithoutAPrimary(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0, redistest.Durable()...)
	n := onCluster(t)
	a, b := n.open(c, 2*time.Second), n.open(c, 100*time.Millisecond)
	owner := func(r store.Ref) *redistest.Server {
		p, err := home(r)
		n.must(err)
		return c.Owner(16*p + 8)
	}
	var gone *redistest.Server
	left := map[store.Ref]*redistest.Server{}
	for i := 0; gone == nil || len(left) < 12; i++ {
		st := n.opening("visitor " + string(rune('a'+i%26)) + string(rune('a'+i/26)))
		n.commit(a, st)
		left[st.Ref] = owner(st.Ref)
		if left[st.Ref] != owner(store.Ref{Tenant: n.tenant, ID: n.ids.New(id.Conversation, 0)}) {
			gone = left[st.Ref] // a primary that does not have the first partition: the sweep begins with one that answers
		}
	}
	n.must(a.Close())
	gone.Kill()
	n.move(time.Minute)
	jobs, _, err := b.Due(t.Context(), n.now.Load(), 100)
	n.must(err)
	found := map[store.Ref]bool{}
	for _, j := range jobs {
		found[j.Ref] = true
	}
	for r, at := range left {
		if found[r] != (at != gone) {
			t.Errorf("what lies with a primary (gone: %v) was found: %v", at == gone, found[r])
		}
	}
}
