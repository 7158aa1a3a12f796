package conversation_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	conv "turnout/gateway/conversation"
)

// TestConversation runs random conversations against the model and the trace, with a crash possible at every step.
//
// A step is one operation: one or more commands in one commit. It may crash before any command, before its commit or
// after it, or find that another node's operation was faster; then it is tried again under the same op, from what the
// log holds. Beside it a second draft upon the same snapshot may do anything and is thrown away.
func TestConversation(t *testing.T) {
	const steps = 50
	sequences := 300
	if full() {
		sequences = 2000
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", fmt.Sprint(sequences)); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range steps {
			w.step(true)
		}
		w.finish()
	})
}

// act is a command, who gives it, and what the model makes of it.
type act struct {
	actor conv.Actor
	c     conv.Command
	model func(*model) string
	// after says when it is given at all: always, only when the act before was done, or only when it was refused.
	after after
}

type after int

const (
	always after = iota
	done
	refused
)

// crash is where an operation breaks off.
type crash int

const (
	noCrash crash = iota
	beforeCommand
	beforeCommit
	afterCommit
	overtaken // another node commits first
)

// world is one conversation with its store and the nodes that work on it.
type world struct {
	t     *rapid.T
	log   [][]byte
	ops   map[string]bool // committed
	model *model
	trace *trace

	// shared is the snapshot that every node works on, nil after a crash; folded is the fold of the log as decoded.
	shared *conv.State
	folded conv.State
	// states are the encoded states after each commit, at the length of the log then.
	states []string
	ends   []int

	now   int64
	ids   int
	turns []string     // every turn whose bot was called
	held  []string     // every message that was ever held
	armed []conv.Timer // every timer that was ever set
}

func newWorld(t *rapid.T) *world {
	return &world{t: t, ops: map[string]bool{}, model: newModel(), trace: newTrace(), shared: new(conv.State),
		states: []string{asJSON(t, conv.State{})}, ends: []int{0}, now: 1_700_000_000_000}
}

func (w *world) id(prefix string) string {
	w.ids++
	return fmt.Sprintf("%s_%d", prefix, w.ids)
}

// load returns the snapshot: the shared one, which nobody may have changed, or after a crash the fold of the log.
func (w *world) load() *conv.State {
	last := w.states[len(w.states)-1]
	if w.shared == nil {
		s := w.fold(conv.State{}, 0)
		if got := asJSON(w.t, s); got != last {
			w.t.Fatalf("the log folds to\n%s\nthe state was\n%s", got, last)
		}
		w.shared = &s
	} else if got := asJSON(w.t, w.shared); got != last {
		w.t.Fatalf("the shared snapshot was changed to\n%s\nit was\n%s", got, last)
	}
	return w.shared
}

// fold folds the log from entry n on upon s.
func (w *world) fold(s conv.State, n int) conv.State {
	for _, b := range w.log[n:] {
		e, err := conv.Decode(b)
		if err == nil {
			err = s.Fold(e)
		}
		if err != nil {
			w.t.Fatalf("folding %s: %v", b, err)
		}
	}
	return s
}

// step carries one operation out, whatever it takes. With rivals another node may be faster.
func (w *world) step(rivals bool) {
	w.now += int64(w.below("ms", 4)) * 1000
	op, acts := w.id("op"), w.draw()
	for attempt := range 3 {
		last := noCrash // the third attempt succeeds
		if attempt < 2 {
			last = overtaken
		}
		how := noCrash
		if w.chance("disturbed", 4) {
			how = crash(w.below("crash", int(last)+1))
		}
		if w.ops[op] { // committed before the crash: the store says so and nothing is done again
			return
		}
		if w.attempt(op, acts, how, rivals) {
			return
		}
	}
}

func (w *world) attempt(op string, acts []act, how crash, rivals bool) (ok bool) {
	snapshot, m := w.load(), w.model.clone()
	d := conv.Begin(snapshot, conv.Env{Now: w.now, Op: op, Actor: system})
	stop := len(acts)
	if how == beforeCommand {
		stop = w.below("crash before", len(acts))
	}
	w.ghost(snapshot)
	outcome := "ok"
	for _, a := range acts[:stop] {
		if a.after == done && outcome != "ok" || a.after == refused && outcome == "ok" {
			continue
		}
		before, events := d.State, len(d.Events)
		outcome = errorName(d.DoAs(a.actor, a.c))
		if outcome != "ok" && (len(d.Events) != events || !reflect.DeepEqual(d.State, before)) {
			w.t.Fatalf("%T%+v by %s: %s, but the draft became\n%s\nit was\n%s", a.c, a.c, a.actor.Kind, outcome, asJSON(w.t, d.State), asJSON(w.t, before))
		}
		if want := a.model(m); outcome != want {
			w.t.Fatalf("%T%+v by %s: %s, the model says %s\n%s", a.c, a.c, a.actor.Kind, outcome, want, asJSON(w.t, d.State))
		}
	}
	w.ghost(snapshot)
	switch {
	case how == beforeCommand, how == beforeCommit:
		w.shared = nil
		return false
	case how == overtaken && rivals:
		w.step(false)
		if len(w.log) != int(snapshot.Seq) {
			return false
		}
	}
	w.commit(d, m)
	w.ops[op] = true
	if how == afterCommit {
		w.shared = nil
		return false
	}
	return true
}

// ghost does something upon the snapshot in a draft that comes to nothing.
func (w *world) ghost(snapshot *conv.State) {
	if !w.chance("ghost", 5) {
		return
	}
	d := conv.Begin(snapshot, conv.Env{Now: w.now + 1, Op: w.id("op"), Actor: system})
	for _, a := range w.draw() {
		_ = d.DoAs(a.actor, a.c) // whatever it says: only what it leaves behind counts
	}
}

// commit writes all events of d, or would have been a crash; everything is judged as decoded from the log.
func (w *world) commit(d *conv.Draft, m *model) {
	w.load()
	for i := range d.Events {
		b, err := d.Events[i].Encode()
		if err != nil {
			w.t.Fatalf("%v", err)
		}
		e, err := conv.Decode(b)
		if err != nil {
			w.t.Fatalf("%v", err)
		}
		if err := w.trace.next(&e); err != nil {
			w.t.Fatalf("%v\n%s", err, b)
		}
		if err := w.folded.Fold(e); err != nil {
			w.t.Fatalf("%v\n%s", err, b)
		}
		w.log = append(w.log, b)
	}
	if err := w.trace.settled(&d.State); err != nil {
		w.t.Fatalf("after a commit: %v", err)
	}
	state := asJSON(w.t, d.State)
	if got := asJSON(w.t, w.folded); got != state {
		w.t.Fatalf("the log folds to\n%s\nthe state is\n%s", got, state)
	}
	if diff := m.diff(&d.State); diff != "" {
		w.t.Fatalf("%s\n%s", diff, state)
	}
	w.model, w.shared = m, &d.State
	w.states, w.ends = append(w.states, state), append(w.ends, len(w.log))
}

// finish folds the log once more: whole, and from the stored state of some commit on.
func (w *world) finish() {
	want := w.states[len(w.states)-1]
	i := w.below("prefix", len(w.states))
	for _, from := range []int{0, i} {
		var s conv.State
		if err := json.Unmarshal([]byte(w.states[from]), &s); err != nil {
			w.t.Fatalf("decoding state: %v", err)
		}
		if got := asJSON(w.t, w.fold(s, w.ends[from])); got != want {
			w.t.Fatalf("from commit %d the log folds to\n%s\nwant\n%s", from, got, want)
		}
	}
}
