package storetest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

func testStep(t *testing.T, w *world) {
	a := address(1)
	st := w.opening(a, "m1", "hello")
	if done := w.commit(st); done.Version == "" || done.Repeat {
		t.Errorf("done = %+v", done)
	}
	snap := w.load(st.Ref)
	if diff := cmp.Diff(st.State, snap.State); diff != "" {
		t.Errorf("the state loaded is not the one committed:\n%s", diff)
	}
	found, err := w.Store.Find(t.Context(), w.tenant, a, []string{"m1", "m2"})
	w.noErr(err, "finding")
	if found.Snapshot == nil || found.Snapshot.Ref != st.Ref || found.Snapshot.Version != snap.Version {
		t.Errorf("found %+v", found.Snapshot)
	}
	if want := (map[string]store.Known{"m1": {Conversation: st.Ref.ID, Seq: 2}}); !cmp.Equal(found.Known, want) {
		t.Errorf("known = %v, want %v", found.Known, want)
	}
	found, err = w.Store.Find(t.Context(), w.tenant, address(2), []string{"m1"})
	w.noErr(err, "finding")
	if found.Snapshot != nil || len(found.Known) != 0 {
		t.Errorf("another sender found %+v", found)
	}

	// A refused step leaves nothing at all behind.
	bad := w.step(st.Ref, snap, customer, w.inbound(a, "m2", "again"))
	bad.Dedupe = []store.Dedupe{{From: a, ID: "m2", Seq: bad.State.Seq}}
	bad.Attach = []store.Attachment{{Blob: "x"}}
	bad.Bind = &store.Bind{Address: a, From: "c_00000000000000000000000000"}
	_, err = w.Store.Commit(t.Context(), bad)
	w.wantErr(err, store.ErrStale, "a bind from the wrong conversation")
	found, err = w.Store.Find(t.Context(), w.tenant, a, []string{"m2"})
	w.noErr(err, "finding")
	if len(found.Known) != 0 || found.Snapshot.Version != snap.Version {
		t.Error("a refused step left something behind")
	}
	events, err := w.Store.Log(t.Context(), st.Ref, 0, 100)
	w.noErr(err, "reading the log")
	if diff := cmp.Diff(st.Events, events); diff != "" {
		t.Errorf("log:\n%s", diff)
	}
}

func testRepeat(t *testing.T, w *world) {
	st := w.opening(address(1), "m1", "hello")
	first := w.commit(st)
	for range 3 {
		if again := w.commit(st); !again.Repeat || again.Version != first.Version {
			t.Errorf("repeated: %+v, want %+v again", again, first)
		}
	}
	// Over 15 commits more it is still known; nothing is applied twice.
	for range 15 {
		w.do(st.Ref, customer, w.inbound(address(1), w.ids.Token(), "more"))
	}
	w.reopen()
	if again := w.commit(st); !again.Repeat {
		t.Error("not recognised over 15 commits and a restart")
	}
	if n := w.load(st.Ref).State.Seq; n != 17 {
		t.Errorf("%d events, want 17", n)
	}
}

func testUnsound(t *testing.T, w *world) {
	r := w.open(address(1))
	snap := w.load(r)
	for name, spoil := range map[string]func(*store.Step){
		"no op":            func(s *store.Step) { s.Op = "" },
		"no state":         func(s *store.Step) { s.State = nil },
		"another state":    func(s *store.Step) { c := *s.State; c.ID = "c_x"; s.State = &c },
		"a gap":            func(s *store.Step) { s.Events = slices.Clone(s.Events); s.Events[0].Seq++ },
		"a lost event":     func(s *store.Step) { s.Events = nil },
		"a foreign sender": func(s *store.Step) { s.Dedupe = []store.Dedupe{{From: address(2), ID: "x"}} },
	} {
		st := w.step(r, snap, customer, w.inbound(address(1), "m2", "x"))
		spoil(&st)
		if _, err := w.Store.Commit(t.Context(), st); err == nil {
			t.Errorf("%s: committed", name)
		}
		if v := w.load(r).Version; v != snap.Version {
			t.Errorf("%s: the conversation changed", name)
		}
	}
}

func testStale(t *testing.T, w *world) {
	r := w.open(address(1))
	old := w.load(r)
	w.do(r, customer, w.inbound(address(1), "m2", "x"))
	_, err := w.Store.Commit(t.Context(), w.step(r, old, customer, w.inbound(address(1), "m3", "x")))
	w.wantErr(err, store.ErrStale, "an old base")
	st := w.opening(address(1), "m4", "x")
	st.Ref, st.State = r, func() *conversation.State { s := *st.State; s.ID = r.ID; return &s }()
	_, err = w.Store.Commit(t.Context(), st)
	w.wantErr(err, store.ErrStale, "creating what exists")
	st = w.step(r, w.load(r), customer, w.inbound(address(1), "m5", "x"))
	st.Base = "something else"
	_, err = w.Store.Commit(t.Context(), st)
	w.wantErr(err, store.ErrStale, "a base that never was")

	// Of many steps decided on one snapshot one is applied.
	snap := w.load(r)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		st := w.step(r, snap, customer, w.inbound(address(1), w.ids.Token(), "race"))
		wg.Go(func() {
			_, err := w.Store.Commit(t.Context(), st)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, store.ErrStale):
				t.Errorf("racing: %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 16 steps on one snapshot were applied", won)
	}
}

func testLease(t *testing.T, w *world) {
	r := w.open(address(1))
	take := func(token store.Token) store.Step {
		st := w.step(r, w.load(r), botActor, conversation.StartTurn{ID: "t_1"})
		st.Take = store.Lease{Token: token, Until: w.clock.Milli() + 1000}
		return st
	}
	w.commit(take("one"))
	if l := w.load(r).Lease; l.Token != "one" || !l.Live(w.clock.Milli()) {
		t.Fatalf("lease = %+v", l)
	}
	again := w.step(r, w.load(r), system, conversation.RetakeTurn{})
	again.Take = store.Lease{Token: "two", Until: w.clock.Milli() + 1000}
	_, err := w.Store.Commit(t.Context(), again)
	w.wantErr(err, store.ErrStale, "taking a live lease")

	// A change of owner leaves the lease alone: the call still runs.
	w.divert(r, "support", conversation.PriorityNormal)
	if l := w.load(r).Lease; l.Token != "one" {
		t.Errorf("after a handoff the lease is %+v", l)
	}
	late := w.step(r, w.load(r), botActor, conversation.DiscardTurn{Turn: "t_1", Reason: "owner_changed"})
	late.Holding, late.Drop = "another", true
	_, err = w.Store.Commit(t.Context(), late)
	w.wantErr(err, store.ErrStale, "holding another's lease")
	late.Holding = "one"
	w.commit(late)
	if l := w.load(r).Lease; l != (store.Lease{}) {
		t.Errorf("after the drop: %+v", l)
	}
	late = w.step(r, w.load(r), system, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1 << 50}})
	late.Holding = "one"
	_, err = w.Store.Commit(t.Context(), late)
	w.wantErr(err, store.ErrStale, "holding a dropped lease")

	// An expired lease may be taken; its holder finds that it is gone.
	r = w.open(address(2))
	w.commit(take("three"))
	w.clock.Move(2e9)
	again = w.step(r, w.load(r), system, conversation.RetakeTurn{})
	again.Take = store.Lease{Token: "four", Until: w.clock.Milli() + 1000}
	w.commit(again)
	w.noErr(w.Store.Drop(t.Context(), r, "three"), "dropping a lost lease")
	if l := w.load(r).Lease; l.Token != "four" {
		t.Errorf("a lost token dropped the lease: %+v", l)
	}
	w.noErr(w.Store.Drop(t.Context(), r, "four"), "dropping")
	w.noErr(w.Store.Drop(t.Context(), r, "four"), "dropping twice")
	if l := w.load(r).Lease; l != (store.Lease{}) {
		t.Errorf("after the drop: %+v", l)
	}

	// A step may drop and take at once.
	st := w.step(r, w.load(r), system, conversation.RetakeTurn{})
	st.Take = store.Lease{Token: "five", Until: w.clock.Milli() + 1000}
	w.commit(st)
	st = w.step(r, w.load(r), botActor, conversation.RetakeTurn{})
	st.Holding, st.Drop, st.Take = "five", true, store.Lease{Token: "six", Until: w.clock.Milli() + 1000}
	w.commit(st)
	if l := w.load(r).Lease; l.Token != "six" {
		t.Errorf("lease = %+v, want six", l)
	}

	// A restart ends all calls, at once or with their time.
	w.reopen()
	if w.Shared {
		if l := w.load(r).Lease; l.Token != "six" || !l.Live(w.clock.Milli()) {
			t.Errorf("another process sees the lease %+v", l)
		}
		w.clock.Move(hidden)
	}
	if l := w.load(r).Lease; l.Live(w.clock.Milli()) {
		t.Errorf("after a restart: %+v", l)
	}
	st = w.step(r, w.load(r), botActor, conversation.RetakeTurn{})
	if w.Shared { // until another takes it, the call that outlasted its time may still end
		st.Take = store.Lease{Token: "seven", Until: w.clock.Milli() + 1000}
		w.commit(st)
		st = w.step(r, w.load(r), botActor, conversation.RetakeTurn{})
	}
	st.Holding, st.Take = "six", store.Lease{}
	_, err = w.Store.Commit(t.Context(), st)
	w.wantErr(err, store.ErrStale, "holding a lease of the process before")
}
