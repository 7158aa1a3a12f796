// Package storetest is the suite that every implementation of store.Store must pass.
//
// It knows nothing of how a store keeps its rows; what a crash does to one is tested beside the implementation. Time is a
// Clock that the suite moves: nothing here waits.
package storetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Clock is a time that stands still until it is moved. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at some instant.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Move moves the clock by d.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Milli returns the clock's time in milliseconds since 1970.
func (c *Clock) Milli() int64 { return c.Now().UnixMilli() }

// Opened is an implementation under test.
type Opened struct {
	Store store.Store
	// Reopen ends the store as a stop of the process would and opens it again.
	Reopen func() store.Store
	// Shared is set for a store that several processes share: what a process has taken outlasts it until its time is over,
	// because its other processes cannot know that it is gone.
	Shared bool
	// KnownFor is for how long a message id is known.
	KnownFor time.Duration
	// Forgotten is after what time at the latest an id is no longer known.
	Forgotten time.Duration
}

// Run runs the suite. open returns a new, empty store that reads its time from the clock; it closes it with the test.
func Run(t *testing.T, open func(t *testing.T, c *Clock) Opened) {
	tests := []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"step", testStep},
		{"repeat", testRepeat},
		{"unsound", testUnsound},
		{"stale", testStale},
		{"lease", testLease},
		{"dedupe", testDedupe},
		{"dedupe concurrent", testDedupeConcurrent},
		{"dedupe generations", testDedupeGenerations},
		{"bind", testBind},
		{"bind race", testBindRace},
		{"log", testLog},
		{"visible", testVisible},
		{"work", testWork},
		{"timers", testTimers},
		{"redelivery", testRedelivery},
		{"paths", testPaths},
		{"attachments", testAttachments},
		{"tenancy", testTenancy},
		{"queue", testQueue},
		{"captured", testCaptured},
		{"presence", testPresence},
		{"capacity", testCapacity},
		{"capacity race", testCapacityRace},
		{"feed", testFeed},
		{"claims", testClaims},
		{"claims control", testClaimsControl},
		{"outbox order", testOutboxOrder},
		{"outbox cancel", testOutboxCancel},
		{"outbox in flight", testOutboxInFlight},
		{"outbox race", testOutboxRace},
		{"outbox terms", testOutboxTerms},
		{"outbox channels", testOutboxChannels},
		{"outbox restart", testOutboxRestart},
		{"dead letters", testDeadLetters},
		{"audit", testAudit},
		{"administration", testAdministration},
		{"chains", testChains},
		{"checkpoints", testCheckpoints},
		{"operator", testOperator},
		{"seal race", testSealRace},
		{"versions", testVersions},
		{"answers", testAnswers},
		{"erasure", testErasure},
		{"erasure unsound", testErasureUnsound},
		{"detach", testDetach},
		{"records", testRecords},
		{"jobs", testJobs},
		{"hints", testHints},
		{"reopen", testReopen},
	}
	for _, tc := range archives {
		tests = append(tests, struct {
			name string
			test func(*testing.T, *world)
		}{tc.name, func(t *testing.T, w *world) {
			if a, ok := w.Store.(store.Archive); ok {
				tc.test(t, w, a)
			}
		}})
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := NewClock()
			o := open(t, c)
			w := &world{Opened: o, T: t, clock: c, ids: id.NewSource(rand.Reader, c.Now)}
			w.tenant = w.newTenant("acme")
			tc.test(t, w)
			rep, err := w.Store.Check(t.Context())
			if err != nil {
				t.Fatalf("checking the store: %v", err)
			}
			for _, f := range rep.Faults {
				t.Errorf("check: %s", f)
			}
		})
	}
}

// world is what a test stands in.
type world struct {
	Opened
	*testing.T
	clock  *Clock
	ids    *id.Source
	tenant store.Tenant
}

func (w *world) newTenant(name string) store.Tenant {
	w.Helper()
	t, err := store.NewTenant(name)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

func (w *world) reopen() { w.Store = w.Reopen() }

// restart is reopen, and the time after which nothing is left that the process before had taken.
func (w *world) restart() {
	w.reopen()
	if w.Shared {
		w.clock.Move(hidden)
	}
}

var (
	customer = conversation.Actor{Kind: conversation.Customer}
	system   = conversation.Actor{Kind: conversation.System}
	botActor = conversation.Actor{Kind: conversation.Bot}
)

func agent(name string) conversation.Actor {
	return conversation.Actor{Kind: conversation.Agent, ID: name}
}

func address(n int) message.Address {
	return message.Address{Channel: "acme.web", Address: fmt.Sprintf("visitor-%d", n)}
}

func (w *world) newID(a message.Address) string {
	return w.ids.New(id.Conversation, id.PartitionOf(w.tenant.Name(), a.Channel, a.Address))
}

// step drafts cmds on a snapshot (nil: a conversation to create) as a step.
func (w *world) step(r store.Ref, snap *store.Snapshot, by conversation.Actor, cmds ...conversation.Command) store.Step {
	w.Helper()
	st, err := w.draft(r, snap, by, cmds...)
	if err != nil {
		w.Fatalf("drafting: %v", err)
	}
	return st
}

func (w *world) draft(r store.Ref, snap *store.Snapshot, by conversation.Actor, cmds ...conversation.Command) (store.Step, error) {
	st := store.Step{Ref: r, Op: store.Token(w.ids.Token())}
	state := new(conversation.State)
	env := conversation.Env{Now: w.clock.Milli(), Op: string(st.Op), Actor: by}
	if snap != nil {
		st.Base, state, env.Outgoing = snap.Version, snap.State, snap.Outgoing
	}
	d := conversation.Begin(state, env)
	for _, c := range cmds {
		if err := d.Do(c); err != nil {
			return st, err
		}
	}
	st.Events, st.State = d.Events, &d.State
	return st, nil
}

// inbound is a customer's message.
func (w *world) inbound(a message.Address, clientID, text string) conversation.Receive {
	return conversation.Receive{
		ID: w.ids.New(id.Message, 0),
		In: message.Inbound{ID: clientID, From: a, Kind: message.Text, Text: text},
	}
}

// opening is the step that opens a conversation with a message.
func (w *world) opening(a message.Address, clientID, text string) store.Step {
	w.Helper()
	r := store.Ref{Tenant: w.tenant, ID: w.newID(a)}
	st := w.step(r, nil, customer, conversation.Open{ID: r.ID, From: a}, w.inbound(a, clientID, text))
	st.Dedupe = []store.Dedupe{{From: a, ID: clientID, Seq: 2}}
	st.Bind = &store.Bind{Address: a}
	return st
}

// open opens a conversation with one message.
func (w *world) open(a message.Address) store.Ref {
	w.Helper()
	st := w.opening(a, "hello", "hello")
	w.commit(st)
	return st.Ref
}

func (w *world) commit(st store.Step) store.Done {
	w.Helper()
	done, err := w.Store.Commit(w.Context(), st)
	if err != nil {
		w.Fatalf("committing: %v", err)
	}
	return done
}

func (w *world) load(r store.Ref) *store.Snapshot {
	w.Helper()
	snap, err := w.Store.Load(w.Context(), r)
	if err != nil {
		w.Fatalf("loading: %v", err)
	}
	return snap
}

// do commits commands on the conversation as it is.
func (w *world) do(r store.Ref, by conversation.Actor, cmds ...conversation.Command) store.Done {
	w.Helper()
	return w.commit(w.step(r, w.load(r), by, cmds...))
}

// divert puts a conversation into a queue.
func (w *world) divert(r store.Ref, queue string, priority int) store.Done {
	w.Helper()
	return w.do(r, customer,
		conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Inbound, Rule: "r"}},
		conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: queue, Priority: priority}})
}

// claim gives a waiting conversation to an agent.
func (w *world) claim(r store.Ref, who string) {
	w.Helper()
	w.do(r, agent(who), conversation.Claim{Name: who})
}

func (w *world) wantErr(err, want error, what string) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (w *world) noErr(err error, what string) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}
