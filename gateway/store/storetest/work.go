package storetest

import (
	"errors"
	"testing"
	"time"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

func (w *world) due() ([]store.Job, int64) {
	w.Helper()
	jobs, next, err := w.Store.Due(w.Context(), w.clock.Milli(), 100)
	w.noErr(err, "asking what is due")
	return jobs, next
}

// hidden is longer than any store puts off what it has handed out.
const hidden = time.Minute

func testWork(t *testing.T, w *world) {
	r := w.open(address(1))
	if jobs, _ := w.due(); len(jobs) != 1 || jobs[0] != (store.Job{Ref: r}) {
		t.Fatalf("after a message: %v", jobs)
	}
	// A running call puts it off to the end of its lease.
	st := w.step(r, w.load(r), botActor, conversation.StartTurn{ID: "t_1"})
	st.Take = store.Lease{Token: "one", Until: w.clock.Milli() + hidden.Milliseconds()}
	w.commit(st)
	if jobs, next := w.due(); len(jobs) != 0 || next != st.Take.Until {
		t.Errorf("during a call: %v, next %d, want %d", jobs, next, st.Take.Until)
	}
	w.clock.Move(hidden)
	if jobs, _ := w.due(); len(jobs) != 1 {
		t.Errorf("after the lease: %v", jobs)
	}
	// A call that ended without a step gives it back at once.
	st = w.step(r, w.load(r), system, conversation.RetakeTurn{})
	st.Take = store.Lease{Token: "two", Until: w.clock.Milli() + 1000}
	w.commit(st)
	w.noErr(w.Store.Drop(t.Context(), r, "two"), "dropping")
	if jobs, _ := w.due(); len(jobs) != 1 {
		t.Errorf("after a drop: %v", jobs)
	}
	st = w.step(r, w.load(r), system, conversation.RetakeTurn{})
	st.Take = store.Lease{Token: "three", Until: w.clock.Milli() + 1000}
	w.commit(st)
	w.restart()
	if jobs, _ := w.due(); len(jobs) != 1 {
		t.Errorf("after a restart during a call: %v", jobs)
	}
	w.do(r, botActor, conversation.AnswerTurn{Turn: "t_1", Decision: conversation.Decision{Kind: conversation.DecisionPass}})
	w.clock.Move(hidden)
	if jobs, next := w.due(); len(jobs) != 0 || next != 0 {
		t.Errorf("after the answer: %v, next %d", jobs, next)
	}
	w.reopen()
	if jobs, _ := w.due(); len(jobs) != 0 {
		t.Errorf("after the answer and a restart: %v", jobs)
	}
}

func testTimers(t *testing.T, w *world) {
	a, b := w.open(address(1)), w.open(address(2))
	w.due()
	now := w.clock.Milli()
	w.do(a, system, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: now + 300}},
		conversation.SetTimer{Timer: conversation.Timer{Name: "y", At: now + 100}})
	w.do(b, system, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: now + 200}})
	only := func() (timers []store.Job) {
		t.Helper()
		jobs, _ := w.due()
		for _, j := range jobs {
			if j.Timer.Name != "" {
				timers = append(timers, j)
			}
		}
		return timers
	}
	if l := only(); len(l) != 0 {
		t.Errorf("too early: %v", l)
	}
	w.do(a, system, conversation.SetTimer{Timer: conversation.Timer{Name: "y", At: now + 400}}) // moved
	w.reopen()
	w.clock.Move(time.Second)
	l := only()
	want := []store.Job{
		{Ref: b, Timer: conversation.Timer{Name: "x", At: now + 200}},
		{Ref: a, Timer: conversation.Timer{Name: "x", At: now + 300}},
		{Ref: a, Timer: conversation.Timer{Name: "y", At: now + 400}},
	}
	if len(l) != 3 || l[0] != want[0] || l[1] != want[1] || l[2] != want[2] {
		t.Fatalf("due: %v, want %v", l, want)
	}

	// Two nodes fire the same timer: it fires once.
	snap := w.load(a)
	one := w.step(a, snap, system, conversation.FireTimer{Timer: l[1].Timer})
	two := w.step(a, snap, system, conversation.FireTimer{Timer: l[1].Timer})
	w.commit(one)
	_, err := w.Store.Commit(t.Context(), two)
	w.wantErr(err, store.ErrStale, "firing twice")
	if _, err := w.draft(a, w.load(a), system, conversation.FireTimer{Timer: l[1].Timer}); !errors.Is(err, conversation.ErrStale) {
		t.Errorf("firing what has fired: %v", err)
	}
	w.do(a, system, conversation.SetTimer{Timer: conversation.Timer{Name: "y"}}) // taken away
	w.restart()
	if l := only(); len(l) != 1 || l[0] != want[0] {
		t.Errorf("left: %v, want %v", l, want[:1])
	}
}

func testRedelivery(t *testing.T, w *world) {
	for i := range 5 {
		w.open(address(i))
		w.clock.Move(time.Millisecond)
	}
	// What was handed out does not stand before the others; what nobody settled comes again.
	seen := map[store.Job]bool{}
	for range 5 {
		jobs, _, err := w.Store.Due(t.Context(), w.clock.Milli(), 1)
		w.noErr(err, "asking what is due")
		for _, j := range jobs {
			if seen[j] {
				t.Errorf("%v twice before the others", j)
			}
			seen[j] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d of 5 were handed out", len(seen))
	}
	w.clock.Move(hidden)
	if jobs, _ := w.due(); len(jobs) != 5 {
		t.Errorf("%d of 5 come again", len(jobs))
	}
}
