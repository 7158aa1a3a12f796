package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

func testDedupe(t *testing.T, w *world) {
	a := address(1)
	st := w.opening(a, "m1", "hello")
	w.commit(st)
	again := func(clientID string) error {
		st := w.step(st.Ref, w.load(st.Ref), customer, w.inbound(a, clientID, "hello"))
		st.Dedupe = []store.Dedupe{{From: a, ID: clientID, Seq: st.State.Seq}}
		_, err := w.Store.Commit(t.Context(), st)
		return err
	}
	duplicate := func(err error, what string) {
		t.Helper()
		var dup *store.DuplicateError
		if !errors.As(err, &dup) {
			t.Fatalf("%s: %v, want a duplicate", what, err)
		}
		if dup.ID != "m1" || dup.Known != (store.Known{Conversation: st.Ref.ID, Seq: 2}) {
			t.Errorf("%s: %+v", what, dup)
		}
	}
	duplicate(again("m1"), "the same id")
	w.noErr(again("m2"), "an equal text under another id")
	w.reopen()
	duplicate(again("m1"), "after a restart")

	w.do(st.Ref, system, conversation.Close{Reason: conversation.ReasonIdle})
	next := w.opening(a, "m1", "hello")
	next.Bind.From = st.Ref.ID
	_, err := w.Store.Commit(t.Context(), next)
	duplicate(err, "in a new conversation after the close")
	w.clock.Move(w.KnownFor)
	_, err = w.Store.Commit(t.Context(), next)
	duplicate(err, "as late as it must be known")

	// The same id of another sender is another message.
	w.commit(w.opening(address(2), "m1", "hello"))
	// A thread is no other sender: the same message may reach another thread.
	b := a
	b.Thread = "ticket-9"
	third := w.opening(b, "m1", "hello")
	_, err = w.Store.Commit(t.Context(), third)
	duplicate(err, "in another thread")
}

func testDedupeConcurrent(t *testing.T, w *world) {
	a := address(1)
	r := w.open(a)
	const ids, deliveries = 20, 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	effects := map[string]int{}
	for i := range ids {
		for range deliveries {
			wg.Go(func() {
				clientID := fmt.Sprintf("id-%d", i)
				for {
					snap, err := w.Store.Load(t.Context(), r)
					if err != nil {
						t.Errorf("loading: %v", err)
						return
					}
					st, err := w.draft(r, snap, customer, w.inbound(a, clientID, "x"))
					if err != nil {
						t.Errorf("drafting: %v", err)
						return
					}
					st.Dedupe = []store.Dedupe{{From: a, ID: clientID, Seq: st.State.Seq}}
					_, err = w.Store.Commit(t.Context(), st)
					var dup *store.DuplicateError
					switch {
					case err == nil:
						mu.Lock()
						effects[clientID]++
						mu.Unlock()
						return
					case errors.As(err, &dup):
						return
					case !errors.Is(err, store.ErrStale):
						t.Errorf("committing: %v", err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	if len(effects) != ids {
		t.Errorf("%d of %d ids had an effect", len(effects), ids)
	}
	for clientID, n := range effects {
		if n != 1 {
			t.Errorf("%s had %d effects", clientID, n)
		}
	}
}

func testDedupeGenerations(t *testing.T, w *world) {
	type sent struct {
		id string
		at time.Time
	}
	a := address(1)
	r := w.open(a)
	var all []sent
	for i := range 60 {
		clientID := fmt.Sprintf("id-%d", i)
		st := w.step(r, w.load(r), customer, w.inbound(a, clientID, "x"))
		st.Dedupe = []store.Dedupe{{From: a, ID: clientID, Seq: st.State.Seq}}
		w.commit(st)
		all = append(all, sent{clientID, w.clock.Now()})
		w.clock.Move(7 * time.Hour)
		if i%20 == 19 {
			w.reopen()
		}
		for _, s := range all {
			found, err := w.Store.Find(t.Context(), w.tenant, a, []string{s.id})
			w.noErr(err, "finding")
			_, known := found.Known[s.id]
			age := w.clock.Now().Sub(s.at)
			if !known && age <= w.KnownFor {
				t.Fatalf("an id is forgotten after %v, want at least %v", age, w.KnownFor)
			}
			if known && age > w.Forgotten {
				t.Fatalf("an id is still known after %v", age)
			}
		}
	}
	// A clock that goes back makes nothing unknown.
	last := all[len(all)-1].id
	w.clock.Move(-100 * time.Hour)
	found, err := w.Store.Find(t.Context(), w.tenant, a, []string{last})
	w.noErr(err, "finding")
	if _, ok := found.Known[last]; !ok {
		t.Error("an id is forgotten when the clock goes back")
	}
	w.clock.Move(100 * time.Hour)
}

func testBind(t *testing.T, w *world) {
	a := address(1)
	first := w.open(a)
	w.do(first, system, conversation.Close{Reason: conversation.ReasonIdle})
	next := w.opening(a, "m2", "hello again")
	_, err := w.Store.Commit(t.Context(), next)
	w.wantErr(err, store.ErrStale, "binding a bound address")
	next.Bind.From = first.ID
	w.commit(next)
	found, err := w.Store.Find(t.Context(), w.tenant, a, nil)
	w.noErr(err, "finding")
	if found.Snapshot == nil || found.Snapshot.Ref != next.Ref {
		t.Errorf("the address leads to %+v", found.Snapshot)
	}
	b := a
	b.Thread = "ticket-1"
	found, err = w.Store.Find(t.Context(), w.tenant, b, nil)
	w.noErr(err, "finding")
	if found.Snapshot != nil {
		t.Error("another thread leads to the same conversation")
	}
}

func testBindRace(t *testing.T, w *world) {
	a := address(1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		st := w.opening(a, w.ids.Token(), "hello")
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
		t.Errorf("%d conversations were opened for one address", won)
	}
}
