package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

func testQueue(t *testing.T, w *world) {
	type entry struct {
		ref      store.Ref
		queue    string
		priority int
		since    int64
	}
	rng := rand.New(rand.NewPCG(1, 2))
	priorities := []int{conversation.PriorityBotDown, conversation.PriorityLow, conversation.PriorityNormal, conversation.PriorityUrgent}
	var all []entry
	for i := range 40 {
		e := entry{ref: w.open(address(i)), queue: []string{"a", "b", "c"}[rng.IntN(3)], priority: priorities[rng.IntN(4)], since: w.clock.Milli()}
		w.divert(e.ref, e.queue, e.priority)
		all = append(all, e)
		w.clock.Move(time.Duration(rng.IntN(2)) * time.Millisecond) // some wait since the same instant
	}
	check := func(what string) {
		t.Helper()
		slices.SortFunc(all, func(a, b entry) int {
			return cmp.Or(b.priority-a.priority, cmp.Compare(a.since, b.since), cmp.Compare(a.ref.ID, b.ref.ID))
		})
		depth, err := w.Store.Depth(t.Context(), w.tenant)
		w.noErr(err, "depth")
		for _, queue := range []string{"", "a", "b", "c"} {
			got, err := w.Store.Waiting(t.Context(), w.tenant, queue, 1000)
			w.noErr(err, "listing")
			var want []entry
			for _, e := range all {
				if queue == "" || e.queue == queue {
					want = append(want, e)
				}
			}
			if len(got) != len(want) || queue != "" && depth[queue] != len(want) {
				t.Fatalf("%s: %d wait in %q, depth %d, want %d", what, len(got), queue, depth[queue], len(want))
			}
			for i, g := range got {
				if g.Ref != want[i].ref || g.Since != want[i].since || g.Owner.Queue != want[i].queue || g.Handoff.Priority != want[i].priority {
					t.Fatalf("%s: place %d of %q is %+v, want %+v", what, i+1, queue, g, want[i])
				}
				if n, err := w.Store.Position(t.Context(), g.Ref); err != nil || n != g.Position || queue != "" && n != i+1 {
					t.Fatalf("%s: position %d, %v, listed as %d at place %d", what, n, err, g.Position, i+1)
				}
			}
		}
	}
	check("diverted")
	if l, err := w.Store.Waiting(t.Context(), w.tenant, "", 3); err != nil || len(l) != 3 {
		t.Errorf("three of them: %d, %v", len(l), err)
	}
	w.reopen()
	check("after a restart")
	for i := 0; i < len(all); i++ { // every third is taken, some more urgent now
		e := all[i]
		switch i % 3 {
		case 0:
			w.claim(e.ref, "ann")
			if n, _ := w.Store.Position(t.Context(), e.ref); n != 0 {
				t.Errorf("a claimed conversation has position %d", n)
			}
		case 1:
			w.do(e.ref, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r2", Queue: e.queue, Priority: conversation.PriorityUrgent}})
			all[i].priority = conversation.PriorityUrgent
		}
	}
	claimed := 0
	all = slices.DeleteFunc(all, func(e entry) bool {
		gone := w.load(e.ref).State.Owner.Agent != ""
		if gone {
			claimed++
		}
		return gone
	})
	check(fmt.Sprintf("after %d claims", claimed))
	w.reopen()
	check("after claims and a restart")
}

func testCaptured(t *testing.T, w *world) {
	capture := func(n int, queue string, priority int) store.Ref {
		t.Helper()
		r := w.open(address(n))
		w.clock.Move(time.Second)
		w.divert(r, queue, priority)
		w.do(r, system, conversation.Capture{Queue: queue})
		return r
	}
	old := capture(1, "b", conversation.PriorityLow)
	waits := w.open(address(2))
	w.divert(waits, "b", conversation.PriorityNormal)
	urgent := capture(3, "b", conversation.PriorityUrgent)
	elsewhere := capture(4, "a", conversation.PriorityNormal)
	check := func(what, queue string, limit int, want ...store.Ref) {
		t.Helper()
		got, err := w.Store.Captured(t.Context(), w.tenant, queue, limit)
		w.noErr(err, "listing")
		refs := make([]store.Ref, len(got))
		for i, g := range got {
			refs[i] = g.Ref
			if g.Owner.Kind != message.OwnerCaptured || g.Position != 0 || queue != "" && g.Owner.Queue != queue {
				t.Errorf("%s: in the list of %q: %+v", what, queue, g)
			}
			if n, err := w.Store.Position(t.Context(), g.Ref); n != 0 || err != nil {
				t.Errorf("%s: it has position %d, %v", what, n, err)
			}
		}
		if !slices.Equal(refs, want) {
			t.Errorf("%s: captured of %q: %v, want %v", what, queue, refs, want)
		}
	}
	all := func(what string) {
		t.Helper()
		check(what, "b", 10, old, urgent) // by age: an urgent one does not stand before an older one
		check(what, "a", 10, elsewhere)
		check(what, "", 10, old, urgent, elsewhere)
		check(what, "", 2, old, urgent)
		check(what, "c", 10)
	}
	all("captured")
	w.reopen()
	all("after a restart")
	if l, err := w.Store.Captured(t.Context(), w.newTenant("other"), "", 10); err != nil || len(l) != 0 {
		t.Errorf("another tenant's: %v, %v", l, err)
	}
	depth, err := w.Store.Depth(t.Context(), w.tenant)
	w.noErr(err, "depth")
	if depth["b"] != 1 || depth["a"] != 0 {
		t.Errorf("depth %v: those that are captured do not wait", depth)
	}

	w.do(old, system, conversation.Uncapture{})
	w.claim(elsewhere, "ann")
	check("after an opening and a claim", "", 10, urgent)
	got, err := w.Store.Waiting(t.Context(), w.tenant, "b", 10)
	w.noErr(err, "listing")
	if len(got) != 2 || got[0].Ref != waits || got[1].Ref != old {
		t.Errorf("the queue after its opening: %+v", got)
	}
	w.reopen()
	check("after all that and a restart", "", 10, urgent)
}

func testPresence(t *testing.T, w *world) {
	ctx := t.Context()
	set := func(name string, d time.Duration) {
		t.Helper()
		w.noErr(w.Store.SetPresence(ctx, w.tenant, store.Presence{
			Agent: name, Name: "The " + name, Queues: []string{"q"}, Until: w.clock.Milli() + d.Milliseconds(), Capacity: 3,
		}), "presence")
	}
	names := func() (out []string) {
		t.Helper()
		l, err := w.Store.Present(ctx, w.tenant)
		w.noErr(err, "who is present")
		for _, p := range l {
			out = append(out, p.Agent)
		}
		return out
	}
	set("bob", time.Minute)
	set("ann", 2*time.Minute)
	if got := names(); !slices.Equal(got, []string{"ann", "bob"}) {
		t.Errorf("present: %v", got)
	}
	w.clock.Move(time.Minute)
	if got := names(); !slices.Equal(got, []string{"ann"}) {
		t.Errorf("after a minute: %v", got)
	}
	set("ann", 0)
	if got := names(); len(got) != 0 {
		t.Errorf("after she left: %v", got)
	}
	if l, err := w.Store.Present(ctx, w.newTenant("other")); err != nil || len(l) != 0 {
		t.Errorf("another tenant's: %v, %v", l, err)
	}
}

func testCapacity(t *testing.T, w *world) {
	ctx := t.Context()
	reserve := func(conv string, op store.Token) error { return w.Store.Reserve(ctx, w.tenant, "ann", conv, op) }
	w.wantErr(reserve("x", "o0"), store.ErrCapacity, "who is not present")
	w.noErr(w.Store.SetPresence(ctx, w.tenant, store.Presence{Agent: "ann", Until: w.clock.Milli() + time.Hour.Milliseconds(), Capacity: 2}), "presence")
	r := w.open(address(1))
	w.divert(r, "q", conversation.PriorityNormal)
	w.noErr(reserve(r.ID, "o1"), "the first")
	w.noErr(reserve(r.ID, "o1"), "the first again")
	w.noErr(reserve("other", "o2"), "the second")
	w.wantErr(reserve("third", "o3"), store.ErrCapacity, "the third")
	w.noErr(w.Store.Cancel(ctx, w.tenant, "o2"), "cancelling")
	w.noErr(w.Store.Cancel(ctx, w.tenant, "o2"), "cancelling twice")
	w.noErr(reserve("third", "o3"), "in the place that was given back")

	// The claim takes the reservation over: one place, not two.
	w.claim(r, "ann")
	w.noErr(w.Store.Cancel(ctx, w.tenant, "o1"), "cancelling what was taken over")
	l, err := w.Store.Present(ctx, w.tenant)
	w.noErr(err, "who is present")
	if len(l) != 1 || l[0].Load != 2 {
		t.Errorf("present: %+v, want a load of 2", l)
	}
	w.wantErr(reserve("fourth", "o4"), store.ErrCapacity, "while holding one and keeping one")
	w.do(r, agent("ann"), conversation.Resolve{})
	w.noErr(reserve("fourth", "o4"), "after a resolve")
}

func testCapacityRace(t *testing.T, w *world) {
	const capacity = 3
	ctx := t.Context()
	w.noErr(w.Store.SetPresence(ctx, w.tenant, store.Presence{Agent: "ann", Until: w.clock.Milli() + time.Hour.Milliseconds(), Capacity: capacity}), "presence")
	var refs []store.Ref
	for i := range 12 {
		refs = append(refs, w.open(address(i)))
		w.divert(refs[i], "q", conversation.PriorityNormal)
	}
	var wg sync.WaitGroup
	for _, r := range refs {
		wg.Go(func() {
			if out := w.tryClaim(r, "ann"); out.err != nil && !errors.Is(out.err, store.ErrCapacity) {
				t.Errorf("claiming: %v", out.err)
			}
		})
	}
	wg.Wait()
	held, err := w.Store.List(ctx, w.tenant, store.Path{Kind: store.ByAgent, Value: "ann"}, "", 100)
	w.noErr(err, "listing")
	if len(held) != capacity {
		t.Errorf("an agent of capacity %d holds %d", capacity, len(held))
	}
}

func testFeed(t *testing.T, w *world) {
	ctx := t.Context()
	items, at, err := w.Store.Feed(ctx, w.tenant, "", 10)
	if err != nil || len(items) != 0 || at == "" {
		t.Fatalf("the present: %v, %q, %v", items, at, err)
	}
	r := w.open(address(1))
	w.divert(r, "q", conversation.PriorityNormal)
	w.claim(r, "ann")
	w.do(r, agent("ann"), conversation.Resolve{})
	var kinds []string
	for {
		items, next, err := w.Store.Feed(ctx, w.tenant, at, 1)
		w.noErr(err, "following")
		if len(items) == 0 {
			if next != at {
				t.Errorf("an empty page moves from %q to %q", at, next)
			}
			break
		}
		kinds = append(kinds, fmt.Sprintf("%s %s", items[0].Owner.Kind, items[0].Queue))
		if items[0].Conversation != r.ID {
			t.Errorf("of %s", items[0].Conversation)
		}
		at = next
	}
	if want := []string{"queued q", "agent q", "closed q"}; !slices.Equal(kinds, want) {
		t.Errorf("feed: %v, want %v", kinds, want)
	}
	_, _, err = w.Store.Feed(ctx, w.tenant, "nonsense", 10)
	w.wantErr(err, store.ErrGap, "a position that is none")
	w.reopen()
	if w.Shared {
		if items, next, err := w.Store.Feed(ctx, w.tenant, at, 10); err != nil || len(items) != 0 || next != at {
			t.Errorf("after a restart: %v, %q, %v", items, next, err)
		}
		return
	}
	_, _, err = w.Store.Feed(ctx, w.tenant, at, 10)
	w.wantErr(err, store.ErrGap, "after a restart")
}
