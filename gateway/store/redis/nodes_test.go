package redis

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
)

// nodes are stores of several processes on one server, at one time that a test moves.
type nodes struct {
	*testing.T
	server *redistest.Server
	now    atomic.Int64
	ids    *id.Source
	tenant store.Tenant
}

func newNodes(t *testing.T) *nodes {
	n := &nodes{T: t, server: redistest.Start(t, redistest.Durable()...)}
	n.now.Store(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC).UnixMilli())
	n.ids = id.NewSource(rand.Reader, n.time)
	var err error
	if n.tenant, err = store.NewTenant("acme"); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *nodes) time() time.Time { return time.UnixMilli(n.now.Load()).UTC() }

func (n *nodes) move(d time.Duration) { n.now.Add(d.Milliseconds()) }

// node opens one more; addr is the server's, or that of something in front of it.
func (n *nodes) node(addr string) *Store {
	n.Helper()
	s, err := Open(n.Context(), Options{
		Addr: addr, Root: bytes.Repeat([]byte{7}, seal.KeySize), IDs: n.ids, Now: n.time, Blobs: "/blobs", FS: vfs.NewMem(),
		Patience: 100 * time.Millisecond, Beat: time.Hour,
	})
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() {
		if err := s.Close(); err != nil {
			n.Errorf("closing: %v", err)
		}
	})
	return s
}

func (n *nodes) step(r store.Ref, snap *store.Snapshot, by conversation.Actor, cmds ...conversation.Command) store.Step {
	n.Helper()
	st := store.Step{Ref: r, Op: store.Token(n.ids.Token())}
	state := new(conversation.State)
	env := conversation.Env{Now: n.now.Load(), Op: string(st.Op), Actor: by}
	if snap != nil {
		st.Base, state, env.Outgoing = snap.Version, snap.State, snap.Outgoing
	}
	d := conversation.Begin(state, env)
	for _, c := range cmds {
		if err := d.Do(c); err != nil {
			n.Fatalf("drafting: %v", err)
		}
	}
	st.Events, st.State = d.Events, &d.State
	return st
}

var (
	customer = conversation.Actor{Kind: conversation.Customer}
	ann      = conversation.Actor{Kind: conversation.Agent, ID: "ann"}
)

// opening is the step that opens a conversation with a message.
func (n *nodes) opening(visitor string) store.Step {
	n.Helper()
	a := message.Address{Channel: "acme.web", Address: visitor}
	r := store.Ref{Tenant: n.tenant, ID: n.ids.New(id.Conversation, id.PartitionOf("acme", a.Channel, a.Address))}
	st := n.step(r, nil, customer, conversation.Open{ID: r.ID, From: a},
		conversation.Receive{ID: n.ids.New(id.Message, 0), In: message.Inbound{ID: "m1", From: a, Kind: message.Text, Text: "hello"}})
	st.Dedupe = []store.Dedupe{{From: a, ID: "m1", Seq: 2}}
	st.Bind = &store.Bind{Address: a}
	return st
}

func (n *nodes) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *nodes) commit(s *Store, st store.Step) store.Done {
	n.Helper()
	done, err := s.Commit(n.Context(), st)
	n.must(err)
	return done
}

func (n *nodes) load(s *Store, r store.Ref) *store.Snapshot {
	n.Helper()
	snap, err := s.Load(n.Context(), r)
	n.must(err)
	return snap
}

func (n *nodes) divert(s *Store, r store.Ref) {
	n.Helper()
	n.commit(s, n.step(r, n.load(s, r), customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}}))
}

func (n *nodes) sound(s *Store) {
	n.Helper()
	rep, err := s.Check(n.Context())
	n.must(err)
	for _, f := range rep.Faults {
		n.Errorf("check: %s", f)
	}
}

// TestHintsBetweenNodes: what one node commits the other hears of, and what it hears it can read.
func TestHintsBetweenNodes(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(n.server.Addr()), n.node(n.server.Addr())
	heard := make(chan store.Hint, 100)
	sub := b.Subscribe(func(h store.Hint) { heard <- h })
	defer sub.Close()
	own := make(chan store.Hint, 100)
	defer a.Subscribe(func(h store.Hint) { own <- h }).Close()
	st := n.opening("x")
	n.commit(a, st)
	if h := <-own; h.Remote || h.Ref != st.Ref || len(h.Events) != 2 {
		t.Errorf("its own commit is told as %+v", h)
	}
	deadline := time.After(time.Minute)
	for {
		// A subscription takes a moment to begin, and a hint may be lost: the conversation grows until one is heard.
		select {
		case h := <-heard:
			if !h.Remote || h.Ref != st.Ref || h.Events != nil || h.State == nil || h.State.Seq < 2 {
				t.Errorf("heard %+v", h)
			}
			select {
			case h := <-own:
				if h.Remote {
					t.Error("a node hears its own word from outside")
				}
			default:
			}
			return
		case <-time.After(50 * time.Millisecond):
			n.commit(a, n.step(st.Ref, n.load(a, st.Ref), customer, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: n.now.Load() + 1<<40}}))
		case <-deadline:
			t.Fatal("nothing is heard")
		}
	}
}

// TestNodesSeeEachOther: each node sees at once what the other has made durable, and a step decided upon what the other has
// changed is stale.
func TestNodesSeeEachOther(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(n.server.Addr()), n.node(n.server.Addr())
	st := n.opening("x")
	n.commit(a, st)
	old := n.load(b, st.Ref)
	n.divert(a, st.Ref)
	if s := n.load(b, st.Ref).State; s.Owner.Queue != "q" {
		t.Errorf("the other node sees owner %+v", s.Owner)
	}
	late := n.step(st.Ref, old, customer, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1 << 50}})
	if _, err := b.Commit(t.Context(), late); !errors.Is(err, store.ErrStale) {
		t.Errorf("a step on an old state: %v", err)
	}
	l, err := b.Waiting(t.Context(), n.tenant, "q", 10)
	if err != nil || len(l) != 1 || l[0].Ref != st.Ref {
		t.Errorf("the other node's queue: %+v, %v", l, err)
	}
	// Of two nodes one is handed what a third has left.
	n.commit(a, n.opening("y"))
	n.must(a.Close())
	n.move(time.Minute)
	c := n.node(n.server.Addr())
	var jobs []store.Job
	for _, s := range []*Store{b, c} {
		j, _, err := s.Due(t.Context(), n.now.Load(), 10)
		n.must(err)
		jobs = append(jobs, j...)
	}
	work := 0
	for _, j := range jobs {
		if j.Timer.Name == "" && j.Ref != st.Ref {
			work++
		}
	}
	if work != 1 {
		t.Errorf("what a dead node left was handed out %d times: %v", work, jobs)
	}
	n.sound(b)
}

// TestDeadBeforeRelay lets a node die between a step and its place in the queue: another one's sweep puts it there.
func TestDeadBeforeRelay(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(n.server.Addr()), n.node(n.server.Addr())
	st := n.opening("x")
	n.commit(a, st)
	snap := n.load(a, st.Ref)
	divert := n.step(st.Ref, snap, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
	keys, err := a.tenant(t.Context(), n.tenant)
	n.must(err)
	p, err := home(st.Ref)
	n.must(err)
	w := &write{s: a, p: p, t: keys, st: divert, was: a.cache.get(st.Ref)}
	if why, err := w.try(t.Context()); why != held || err != nil {
		t.Fatalf("writing: %v, %v", why, err)
	}
	if l, err := b.Waiting(t.Context(), n.tenant, "q", 10); err != nil || len(l) != 0 {
		t.Fatalf("it waits before anybody has put it there: %v, %v", l, err)
	}
	_, _, err = b.Due(t.Context(), n.now.Load(), 10)
	n.must(err)
	if l, err := b.Waiting(t.Context(), n.tenant, "q", 10); err != nil || len(l) != 1 {
		t.Errorf("after a sweep there wait %v, %v", l, err)
	}
	// A relay row that comes again does nothing: the watermark knows it.
	items, at, err := b.Feed(t.Context(), n.tenant, "", 10)
	n.must(err)
	n.must(a.relay(t.Context(), p))
	if again, next, err := b.Feed(t.Context(), n.tenant, at, 10); err != nil || len(again) != 0 || next != at {
		t.Errorf("the feed goes on with %v after %v, %v", again, items, err)
	}
	n.sound(b)
}

// TestReservationOfTheDead: a reservation whose claim never comes is resolved, and a claim that comes too late is stale, so
// that an agent never has more than fits.
func TestReservationOfTheDead(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(n.server.Addr()), n.node(n.server.Addr())
	st := n.opening("x")
	n.commit(a, st)
	n.divert(a, st.Ref)
	n.must(a.SetPresence(t.Context(), n.tenant, store.Presence{Agent: "ann", Name: "Ann", Until: n.now.Load() + time.Hour.Milliseconds(), Capacity: 1}))
	claim := n.step(st.Ref, n.load(a, st.Ref), ann, conversation.Claim{Name: "Ann"})
	n.must(a.Reserve(t.Context(), n.tenant, "ann", st.Ref.ID, claim.Op))
	if err := b.Reserve(t.Context(), n.tenant, "ann", "another", "op"); !errors.Is(err, store.ErrCapacity) {
		t.Fatalf("a second place: %v", err)
	}
	_, _, err := b.Due(t.Context(), n.now.Load(), 10)
	n.must(err)
	if err := b.Reserve(t.Context(), n.tenant, "ann", "another", "op"); !errors.Is(err, store.ErrCapacity) {
		t.Fatalf("a second place while the first is young: %v", err)
	}
	n.move(time.Minute)
	_, _, err = b.Due(t.Context(), n.now.Load(), 10)
	n.must(err)
	n.must(b.Reserve(t.Context(), n.tenant, "ann", "another", "op"))
	if _, err := a.Commit(t.Context(), claim); !errors.Is(err, store.ErrStale) {
		t.Errorf("a claim whose place was given away: %v", err)
	}

	// One that was committed stays, and its place is taken.
	n.must(b.Cancel(t.Context(), n.tenant, "op"))
	claim = n.step(st.Ref, n.load(a, st.Ref), ann, conversation.Claim{Name: "Ann"})
	n.must(a.Reserve(t.Context(), n.tenant, "ann", st.Ref.ID, claim.Op))
	n.commit(a, claim)
	n.move(time.Minute)
	_, _, err = b.Due(t.Context(), n.now.Load(), 10)
	n.must(err)
	if err := b.Reserve(t.Context(), n.tenant, "ann", "another", "op2"); !errors.Is(err, store.ErrCapacity) {
		t.Errorf("a place beside the one that is taken: %v", err)
	}
	n.sound(b)
}

// line is a connection to a server that can be cut before its answers arrive.
type line struct {
	addr string
	mu   sync.Mutex
	deaf bool
}

// newLine passes connections on to a server. While deaf is set, what is sent arrives, and the first answer ends the
// connection instead of coming back.
func newLine(t *testing.T, server string) *line {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := &line{addr: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(up, in); _ = up.Close() })
			wg.Go(func() {
				defer in.Close()
				defer up.Close()
				b := make([]byte, 64<<10)
				for {
					k, err := up.Read(b)
					if err != nil || out.isDeaf() {
						return
					}
					if _, err := in.Write(b[:k]); err != nil {
						return
					}
				}
			})
		}
	})
	return out
}

func (l *line) isDeaf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deaf
}

func (l *line) set(deaf bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = deaf
}

// TestLostAnswer loses the server's answer to a step that it has made durable. The outcome is unknown, not a failure; the
// same step again is done once, told once, and the queue knows of it.
func TestLostAnswer(t *testing.T) {
	n := newNodes(t)
	wire := newLine(t, n.server.Addr())
	s, other := n.node(wire.addr), n.node(n.server.Addr())
	st := n.opening("x")
	n.commit(s, st)
	var told []store.Hint
	defer s.Subscribe(func(h store.Hint) { told = append(told, h) }).Close()
	divert := n.step(st.Ref, n.load(s, st.Ref), customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
	wire.set(true)
	if _, err := s.Commit(t.Context(), divert); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("without an answer: %v", err)
	}
	if len(told) != 0 {
		t.Error("what may not be so was told")
	}
	if v := n.load(other, st.Ref).Version; v != divert.Op {
		t.Fatalf("the step did not arrive: version %s", v)
	}
	wire.set(false)
	done, err := s.Commit(context.WithoutCancel(t.Context()), divert)
	if err != nil || done.Repeat || done.Version != divert.Op {
		t.Errorf("again: %+v, %v", done, err)
	}
	if len(told) != 1 || told[0].State.Owner.Queue != "q" {
		t.Errorf("told: %+v", told)
	}
	if l, err := s.Waiting(t.Context(), n.tenant, "q", 10); err != nil || len(l) != 1 {
		t.Errorf("waiting: %v, %v", l, err)
	}
	if done, err := s.Commit(t.Context(), divert); err != nil || !done.Repeat || len(told) != 1 {
		t.Errorf("a third time: %+v, %v, told %d times", done, err, len(told))
	}
	n.sound(s)
}

// TestStepWithoutEvents gives a conversation another version and nothing else: what was decided upon the one before is stale.
func TestStepWithoutEvents(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(n.server.Addr()), n.node(n.server.Addr())
	st := n.opening("x")
	n.commit(a, st)
	late := n.step(st.Ref, n.load(a, st.Ref), customer, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1 << 50}})
	snap := n.load(b, st.Ref)
	n.commit(b, store.Step{Ref: st.Ref, Op: store.Token(n.ids.Token()), Base: snap.Version, State: snap.State})
	if _, err := a.Commit(t.Context(), late); !errors.Is(err, store.ErrStale) {
		t.Errorf("a step upon the version before: %v", err)
	}
	if s := n.load(a, st.Ref).State; s.Seq != snap.State.Seq {
		t.Errorf("it has %d events, had %d", s.Seq, snap.State.Seq)
	}
	n.sound(a)
}
