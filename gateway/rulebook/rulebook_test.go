package rulebook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/alarm"
	"turnout/gateway/audit"
	"turnout/gateway/id"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/rules"
	"turnout/rules/signal"
)

// world is a store with the books of several nodes on it, under a clock.
type world struct {
	t        *testing.T
	now      time.Time
	store    *embedded.Store
	tenant   store.Tenant
	detector *signal.Lexical
	log      bytes.Buffer
	nodes    cluster
	watch    time.Duration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC), nodes: cluster{}}
	clock := func() time.Time { return w.now }
	var err error
	if w.tenant, err = store.NewTenant("acme"); err != nil {
		t.Fatal(err)
	}
	if w.detector, err = signal.NewLexical(); err != nil {
		t.Fatal(err)
	}
	w.store, err = embedded.Open(embedded.Options{
		Dir: "data", FS: vfs.NewMem(), Root: make([]byte, 32), IDs: id.NewSource(strings.NewReader(strings.Repeat("0123456789abcdef", 1<<14)), clock),
		Now: clock, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	return w
}

// node is one node's view.
type node struct {
	*rulebook.Book
	board *alarm.Board
}

func (w *world) node(change func(*rulebook.Options)) node {
	w.t.Helper()
	clock := func() time.Time { return w.now }
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	o := rulebook.Options{
		Versions: w.store, Tenant: w.tenant, Nodes: rulebook.Alone{}, Detector: w.detector, Board: alarm.New(clock, log, nil),
		Now: clock, Stopwatch: func() time.Duration { return w.watch }, Log: log,
	}
	if change != nil {
		change(&o)
	}
	return node{rulebook.New(o), o.Board}
}

// cluster is who has confirmed what: the live nodes by name.
type cluster map[string]string

func (c cluster) as(name string) rulebook.Nodes {
	c[name] = ""
	return member{c, name}
}

type member struct {
	cluster
	name string
}

func (m member) Confirm(_ context.Context, _ store.Tenant, digest string) error {
	m.cluster[m.name] = digest
	return nil
}

func (m member) Unconfirmed(_ context.Context, _ store.Tenant, digest string) (names []string, err error) {
	for name, confirmed := range m.cluster {
		if confirmed != digest {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func files(texts ...string) []rules.Source {
	var out []rules.Source
	for i, text := range texts {
		out = append(out, rules.Source{Name: fmt.Sprintf("%d.yaml", i), Data: []byte("rules:\n" + text)})
	}
	return out
}

const (
	painRule  = "  - {id: pain, why: w, locked: true, when: 'phrase(\"chest pain\")', then: {handoff: {queue: emergency}}, tests: [{text: chest pain, match: true}]}\n"
	otherRule = "  - {id: other, why: w, when: turns > 3, then: {tags: [x]}}\n"
)

func proposal(sources []rules.Source) rulebook.Proposal {
	return rulebook.Proposal{Sources: sources, Why: "because", By: "owner:ana", Owner: true}
}

func (w *world) publish(n node, sources []rules.Source) rulebook.Published {
	w.t.Helper()
	p, err := n.Publish(w.t.Context(), proposal(sources))
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestPublishAlone(t *testing.T) {
	w := newWorld(t)
	n := w.node(nil)
	if err := n.Configure(t.Context(), rulebook.Config{}); err != nil {
		t.Fatal(err)
	}
	first := w.publish(n, files(painRule))
	if !first.Effective || first.N != 1 || first.By != "owner:ana" || first.Why != "because" || len(first.Changes) != 1 || first.Changes[0].Kind != rules.Added {
		t.Errorf("published %+v", first)
	}
	second := w.publish(n, files(painRule+otherRule))
	if set, v := n.Current(); v != 2 || set.Len() != 2 || set.Digest() != second.Digest {
		t.Errorf("version %d judges with %d rules", v, set.Len())
	}
	if set, err := n.Version(t.Context(), 1); err != nil || set.Len() != 1 {
		t.Errorf("version 1 is not loadable any more: %v", err)
	}
	back, err := n.Rollback(t.Context(), 1, rulebook.Proposal{Why: "too wide", By: "owner:ana", Owner: true})
	if err != nil || back.N != 3 || back.Of != 1 || back.Digest != first.Digest || !back.Effective {
		t.Errorf("rollback %+v, %v", back, err)
	}
	list, err := n.Versions(t.Context(), 0, 2)
	if err != nil || len(list) != 2 || list[0].N != 3 || list[1].N != 2 || list[0].Why != "too wide" {
		t.Errorf("versions %+v, %v", list, err)
	}
	changes, err := n.Diff(t.Context(), 2, 3)
	if err != nil || len(changes) != 1 || changes[0].Kind != rules.Removed || changes[0].Rule != "other" {
		t.Errorf("changes %+v, %v", changes, err)
	}
	state, err := n.State(t.Context())
	if err != nil || state.Version.N != 3 || state.Pending != nil || state.Managed != "api" {
		t.Errorf("state %+v, %v", state, err)
	}
	// Another process on the same store goes on with what is in force.
	later := w.node(nil)
	if err := later.Configure(t.Context(), rulebook.Config{}); err != nil {
		t.Fatal(err)
	}
	if _, v := later.Current(); v != 3 {
		t.Errorf("after a restart version %d judges", v)
	}
	w.wantChain("rules 1", "rules.effective 1", "rules 2", "rules.effective 2", "rules 3", "rules.effective 3")
}

// wantChain holds the tenant's audit chain to the versions that were made and came into force.
func (w *world) wantChain(kinds ...string) {
	w.t.Helper()
	entries, err := w.store.Entries(w.t.Context(), w.tenant, "", 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, b := range entries {
		var e audit.Entry
		if err := json.Unmarshal(b, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Type != store.VersionPublished || e.Actor != "owner:ana" || len(e.Digest) != 64 {
			w.t.Errorf("entry %+v", e)
		}
		got = append(got, e.Kind)
	}
	if !slices.Equal(got, kinds) {
		w.t.Errorf("chain %q, want %q", got, kinds)
	}
}

// TestRefused holds each reason for which a publish is refused, and that it leaves nothing behind.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	n := w.node(nil)
	if err := n.Configure(t.Context(), rulebook.Config{Queues: map[string]bool{"emergency": true}}); err != nil {
		t.Fatal(err)
	}
	w.publish(n, files(painRule))
	with := func(change func(*rulebook.Proposal), texts ...string) rulebook.Proposal {
		p := proposal(files(texts...))
		if change != nil {
			change(&p)
		}
		return p
	}
	failing := "  - {id: f, why: w, when: turns > 3, then: {tags: [x]}, tests: [{text: hi, match: true}]}\n"
	lockedFailing := strings.Replace(failing, "why", "locked: true, why", 1)
	for name, c := range map[string]struct {
		p    rulebook.Proposal
		says string
	}{
		"the same":           {with(nil, painRule), rulebook.ErrSame.Error()},
		"no reason":          {with(func(p *rulebook.Proposal) { p.Why = "" }, otherRule), rulebook.ErrNoWhy.Error()},
		"another base":       {with(func(p *rulebook.Proposal) { p.Base = 7 }, otherRule), store.ErrStale.Error()},
		"a locked rule":      {with(func(p *rulebook.Proposal) { p.Owner = false }, strings.Replace(painRule, "phrase(", "phrase(\"chest hurts\", ", 1), otherRule), rulebook.ErrLocked.Error() + ": pain"},
		"a locked rule gone": {with(func(p *rulebook.Proposal) { p.Owner = false }, otherRule), rulebook.ErrLocked.Error() + ": pain"},
		"a fault":            {with(nil, "  - {id: a}\n"), "0.yaml:2:6: rule a: why is missing"},
		"no such queue":      {with(nil, painRule, "  - {id: q, why: w, when: turns > 3, then: {handoff: {queue: nobody}}}\n"), "1.yaml:2:62: rule q: there is no queue nobody"},
		"a test fails":       {with(nil, painRule, failing), "1 of the rules' own tests fail, the first is that of rule f at 1.yaml:2:"},
		"a locked one fails": {with(nil, painRule, lockedFailing), "1 tests of locked rules fail, the first is that of rule f at 1.yaml:2:"},
		"too large":          {with(nil, strings.Repeat("#", 5<<20)), "at most 200 files of together 4 MiB"},
	} {
		if _, err := n.Publish(t.Context(), c.p); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := n.Rollback(t.Context(), 9, proposal(nil)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("rollback to a version that is not there: %v", err)
	}
	if _, v := n.Current(); v != 1 {
		t.Errorf("version %d judges", v)
	}
	w.wantChain("rules 1", "rules.effective 1")
	managed := w.node(nil)
	if err := managed.Configure(t.Context(), rulebook.Config{Managed: "shop.yaml", Sources: files(painRule)}); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() error{
		"publish":  func() error { _, err := managed.Publish(t.Context(), proposal(files(otherRule))); return err },
		"rollback": func() error { _, err := managed.Rollback(t.Context(), 1, proposal(nil)); return err },
	} {
		if err := try(); !errors.Is(err, rulebook.ErrManaged) {
			t.Errorf("%s of rules that the configuration manages: %v", name, err)
		}
	}
}

func TestConfigure(t *testing.T) {
	w := newWorld(t)
	managed := func(sources []rules.Source) rulebook.Config {
		return rulebook.Config{Managed: "shop.yaml", Sources: sources}
	}
	for i, step := range []struct {
		sources []rules.Source
		version int
	}{{files(painRule), 1}, {files(painRule), 1}, {files(painRule, otherRule), 2}, {nil, 3}} {
		n := w.node(nil)
		if err := n.Configure(t.Context(), managed(step.sources)); err != nil {
			t.Fatal(err)
		}
		if _, v := n.Current(); v != step.version {
			t.Errorf("start %d: version %d judges, want %d", i+1, v, step.version)
		}
	}
	// What was configured stays in force when rules are published from now on.
	n := w.node(nil)
	if err := n.Configure(t.Context(), rulebook.Config{}); err != nil {
		t.Fatal(err)
	}
	if _, v := n.Current(); v != 3 {
		t.Errorf("version %d judges after the change to publishing", v)
	}
	// A node whose locked rules fail their tests does not start.
	broken := strings.Replace(painRule, "chest pain, match", "smoke, match", 1)
	var failed *rulebook.SelfTestError
	if err := w.node(nil).Configure(t.Context(), managed(files(broken))); !errors.As(err, &failed) {
		t.Errorf("a node starts with locked rules that fail: %v", err)
	}
}

// TestEveryNodeConfirms is the contract with several nodes: a version judges nowhere before all live nodes have confirmed it,
// and after that everywhere.
func TestEveryNodeConfirms(t *testing.T) {
	w := newWorld(t)
	var nodes []node
	for _, name := range []string{"a", "b", "c"} {
		n := w.node(func(o *rulebook.Options) { o.Nodes = w.nodes.as(name) })
		if err := n.Configure(t.Context(), rulebook.Config{}); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	versions := func() (out []int) {
		for _, n := range nodes {
			_, v := n.Current()
			out = append(out, v)
		}
		return out
	}
	beat := func(i int) {
		t.Helper()
		if err := nodes[i].Beat(t.Context()); err != nil {
			t.Error(err)
		}
	}
	p := w.publish(nodes[0], files(painRule))
	if p.Effective || !slices.Equal(p.Waiting, []string{"b", "c"}) {
		t.Errorf("published %+v, want it to wait for b and c", p)
	}
	if _, err := nodes[1].Publish(t.Context(), proposal(files(otherRule))); !errors.Is(err, rulebook.ErrPending) {
		t.Errorf("a second publish meanwhile: %v", err)
	}
	// Whoever knows of the one that waits may put another in its place: a node that lives but cannot confirm must not block
	// rules for ever.
	over := proposal(files(painRule, otherRule, "  - {id: more, why: w, when: turns > 7, then: {tags: [y]}}\n"))
	over.Base = p.N
	if p, err := nodes[1].Publish(t.Context(), over); err != nil || p.N != 2 || p.Effective {
		t.Errorf("a publish in its place: %+v, %v", p, err)
	}
	beat(1)
	beat(0)
	if got := versions(); !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("versions %v judge although c has not confirmed", got)
	}
	if s, err := nodes[0].State(t.Context()); err != nil || s.Version.N != 0 {
		t.Errorf("state %+v, %v", s, err)
	}
	beat(2)
	if got := versions(); !slices.Equal(got, []int{0, 0, 2}) {
		t.Errorf("versions %v, want c to have made it effective", got)
	}
	beat(0)
	beat(1)
	if got := versions(); !slices.Equal(got, []int{2, 2, 2}) {
		t.Errorf("versions %v, want 2 everywhere", got)
	}

	// A node without a heartbeat is not waited for; when it comes back and cannot follow, it takes nothing.
	delete(w.nodes, "c")
	w.publish(nodes[0], files(painRule))
	beat(1)
	beat(0)
	if got := versions(); !slices.Equal(got, []int{3, 3, 2}) {
		t.Errorf("versions %v, want 3 on a and b", got)
	}
	deaf := w.node(func(o *rulebook.Options) {
		o.Nodes = w.nodes.as("c")
		o.Versions = broken{w.store, 3}
	})
	if err := deaf.Beat(t.Context()); err == nil || deaf.Ready() == nil {
		t.Errorf("a node that cannot read what is in force is ready: %v", err)
	}
	if a := deaf.board.Active(); len(a) != 1 || a[0].Name != rulebook.AlarmBehind {
		t.Errorf("alarms %+v", a)
	}
	beat(2)
	if got := versions(); !slices.Equal(got, []int{3, 3, 3}) || nodes[2].Ready() != nil {
		t.Errorf("versions %v, want c to have followed", got)
	}
}

// broken is a store that cannot read one version.
type broken struct {
	store.Versions
	n int
}

func (b broken) Version(ctx context.Context, t store.Tenant, doc string, n int) (store.VersionedDoc, error) {
	if n == b.n && doc == rulebook.Doc {
		return store.VersionedDoc{}, store.ErrUnavailable
	}
	return b.Versions.Version(ctx, t, doc, n)
}

const breaking = "  - {id: breaks, why: w, when: 'tags[3] == \"x\"', then: {handoff: {queue: q}}}\n"

// judge lets an exchange be judged by what is in force.
func (w *world) judge(n node, text string) rules.Verdict {
	set, v := n.Current()
	x := &rules.Exchange{Message: message.Inbound{Text: text}, Turns: 4}
	verdict := set.Eval(x)
	n.Judged(v, set, x, verdict.Failed, 0)
	return verdict
}

func TestTrip(t *testing.T) {
	w := newWorld(t)
	n := w.node(nil)
	w.publish(n, files(breaking+otherRule))
	for i := range 5 {
		if v := w.judge(n, "hi"); len(v.Failed) != 1 || len(v.Tags) != 1 {
			t.Fatalf("judgement %d: %+v, want a failure, and the other rule to go on", i+1, v)
		}
		w.now = w.now.Add(time.Second)
	}
	if v := w.judge(n, "hi"); len(v.Failed) != 0 || len(v.Tags) != 1 {
		t.Errorf("after five failures: %+v, want the rule left out and the other one to go on", v)
	}
	set, _ := n.Current()
	if got := set.Tripped(); !slices.Equal(got, []string{"breaks"}) {
		t.Errorf("the set leaves out %q", got)
	}
	state, err := n.State(t.Context())
	if err != nil || len(state.Tripped) != 1 || state.Tripped[0].Rule != "breaks" || state.Tripped[0].Failures != 5 {
		t.Errorf("state %+v, %v", state, err)
	}
	if a := n.board.Active(); len(a) != 1 || a[0].Name != rulebook.AlarmTripped || a[0].Subject != "breaks" || !strings.Contains(w.log.String(), "subject=breaks") {
		t.Errorf("alarms %+v\n%s", a, w.log.String())
	}
	// It comes back after the pause, and goes again when it goes on failing.
	w.now = w.now.Add(5 * time.Minute)
	if err := n.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(n.board.Active()) != 0 {
		t.Error("the alarm goes on after the pause")
	}
	for range 5 {
		if v := w.judge(n, "hi"); len(v.Failed) != 1 {
			t.Fatal("the rule is not back after the pause")
		}
	}
	if v := w.judge(n, "hi"); len(v.Failed) != 0 {
		t.Error("it was not left out a second time")
	}
	// Another version begins anew.
	w.publish(n, files(breaking+painRule))
	if v := w.judge(n, "hi"); len(v.Failed) != 1 || len(n.board.Active()) != 0 {
		t.Errorf("after a publish: %+v, alarms %+v", v, n.board.Active())
	}
}

// TestTripNeedsARow holds that failures far apart trip nothing.
func TestTripNeedsARow(t *testing.T) {
	w := newWorld(t)
	n := w.node(nil)
	w.publish(n, files(breaking))
	for i := range 20 {
		if v := w.judge(n, "hi"); len(v.Failed) != 1 {
			t.Fatalf("left out after %d failures, one in 20 seconds", i)
		}
		w.now = w.now.Add(20 * time.Second)
	}
}

func TestLockedRulesAreNeverLeftOut(t *testing.T) {
	w := newWorld(t)
	n := w.node(nil)
	w.publish(n, files(strings.Replace(breaking, "why", "locked: true, why", 1)))
	for i := range 50 {
		if v := w.judge(n, "hi"); v.Handoff == nil || len(v.Failed) != 1 {
			t.Fatalf("judgement %d does not divert: %+v", i+1, v)
		}
	}
	if a := n.board.Active(); len(a) != 1 || a[0].Name != rulebook.AlarmLocked || !strings.Contains(a[0].Reason, "50 times") {
		t.Errorf("alarms %+v", a)
	}
	w.now = w.now.Add(2 * time.Minute)
	if err := n.Beat(t.Context()); err != nil || len(n.board.Active()) != 0 {
		t.Errorf("alarms %+v after two minutes without a failure, %v", n.board.Active(), err)
	}
}

// TestBudget times the rules one by one where judging took too long, and leaves out the one that did.
func TestBudget(t *testing.T) {
	w := newWorld(t)
	n := w.node(func(o *rulebook.Options) {
		// Each rule reads the stopwatch twice at each of three looks; between the two of rule "other", 6 ms pass.
		reads := 0
		o.Stopwatch = func() time.Duration {
			if reads++; reads%4 == 0 {
				w.watch += 6 * time.Millisecond
			}
			return w.watch
		}
	})
	w.publish(n, files("  - {id: quick, why: w, when: turns > 2, then: {tags: [q]}}\n"+otherRule))
	set, v := n.Current()
	x := &rules.Exchange{Turns: 4}
	for range 5 {
		verdict := set.Eval(x)
		n.Judged(v, set, x, verdict.Failed, 7*time.Millisecond)
	}
	state, err := n.State(t.Context())
	if err != nil || len(state.Tripped) != 1 || state.Tripped[0].Rule != "other" || !state.Tripped[0].Slow {
		t.Errorf("left out %+v, want the slow rule alone, %v", state.Tripped, err)
	}
}

// TestBudgetOfAll bounds what all rules cost an exchange together: none of these takes more than the budget by itself.
func TestBudgetOfAll(t *testing.T) {
	const rule = "  - {id: %s, why: w, when: turns > 2, then: {tags: [x]}}\n"
	const lockedRule = "  - {id: %s, locked: true, why: w, when: turns > 2, then: {tags: [x]}}\n"
	type costs []struct {
		id     string
		locked bool
		ms     int
	}
	for name, c := range map[string]struct {
		costs   costs // in order of evaluation: locked ones first
		out     string
		alarmed string
	}{
		"the costliest go":       {costs: costs{{"l", true, 1}, {"a", false, 2}, {"b", false, 4}, {"c", false, 3}}, out: "b c"},
		"all keep to the budget": {costs: costs{{"l", true, 1}, {"a", false, 2}, {"b", false, 1}, {"c", false, 1}}},
		"locked ones alone":      {costs: costs{{"l", true, 4}, {"m", true, 3}, {"a", false, 3}, {"b", false, 1}}, alarmed: "l"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			looks, judging := 0, false
			n := w.node(func(o *rulebook.Options) {
				o.Stopwatch = func() time.Duration { // each rule reads it twice
					if looks++; judging && looks%2 == 0 {
						w.watch += time.Duration(c.costs[(looks/2-1)%len(c.costs)].ms) * time.Millisecond
					}
					return w.watch
				}
			})
			text := ""
			for _, r := range c.costs {
				text += fmt.Sprintf(map[bool]string{true: lockedRule, false: rule}[r.locked], r.id)
			}
			w.publish(n, files(text))
			set, v := n.Current()
			judging, looks = true, 0
			for range 5 {
				n.Judged(v, set, &rules.Exchange{Turns: 4}, nil, 10*time.Millisecond)
			}
			state, err := n.State(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var out, alarmed []string
			for _, r := range state.Tripped {
				out = append(out, r.Rule)
			}
			for _, a := range n.board.Active() {
				if a.Name == rulebook.AlarmLocked {
					alarmed = append(alarmed, a.Subject)
				}
			}
			if strings.Join(out, " ") != c.out || strings.Join(alarmed, " ") != c.alarmed {
				t.Errorf("left out %q, want %q; alarms of locked rules %q, want %q", out, c.out, alarmed, c.alarmed)
			}
		})
	}
}

// TestBusyMachine holds that a machine that is busy now and then leaves no sound rule out: each time it is another look at the
// exchange that takes long.
func TestBusyMachine(t *testing.T) {
	for busy := range 3 {
		w := newWorld(t)
		looks := 0
		n := w.node(func(o *rulebook.Options) {
			o.Stopwatch = func() time.Duration { // one rule, read twice a look; three looks at most an exchange
				if looks++; looks%2 == 0 && looks/2 <= 3 && looks/2-1 != busy {
					w.watch += 6 * time.Millisecond
				}
				return w.watch
			}
		})
		w.publish(n, files(otherRule))
		set, v := n.Current()
		for range 20 {
			looks = 0
			n.Judged(v, set, &rules.Exchange{Turns: 4}, nil, time.Second)
		}
		if state, err := n.State(t.Context()); err != nil || len(state.Tripped) != 0 || looks == 0 {
			t.Errorf("left out %+v although look %d was quick (%d readings), %v", state.Tripped, busy+1, looks, err)
		}
	}
}

// faulty is a detector whose memory goes bad: after a while no customer wants a person any more.
type faulty struct {
	signal.Detector
	broken bool
}

func (f *faulty) Customer(text, lang string, m signal.Memory) (signal.Scores, signal.Memory) {
	s, m := f.Detector.Customer(text, lang, m)
	if f.broken {
		s.HumanRequest = 0
	}
	return s, m
}

func TestHeartbeat(t *testing.T) {
	w := newWorld(t)
	d := &faulty{Detector: w.detector}
	n := w.node(func(o *rulebook.Options) { o.Detector = d })
	w.publish(n, files("  - {id: asks, why: w, locked: true, when: signal.human_request > 0.5, then: {handoff: {queue: q}}, tests: [{text: I want to talk to a person, match: true}]}\n"))
	if err := n.Beat(t.Context()); err != nil || len(n.board.Active()) != 0 {
		t.Fatalf("a sound node: %v", err)
	}
	d.broken = true
	var failed *rulebook.SelfTestError
	if err := n.Beat(t.Context()); !errors.As(err, &failed) {
		t.Errorf("the heartbeat passes although a locked rule does not match any more: %v", err)
	}
	if a := n.board.Active(); len(a) != 1 || a[0].Name != rulebook.AlarmSelfTest || !strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("alarms %+v\n%s", a, w.log.String())
	}
	d.broken = false
	if err := n.Beat(t.Context()); err != nil || len(n.board.Active()) != 0 {
		t.Errorf("alarms %+v after it is right again, %v", n.board.Active(), err)
	}
}

// TestConcurrently lets rules be judged, fail, trip, come back and be published at the same time. The race detector is the
// judge.
func TestConcurrently(t *testing.T) {
	w := newWorld(t)
	n := w.node(nil)
	w.publish(n, files(breaking+otherRule))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 300 {
				w.judge(n, "hi")
			}
		})
	}
	group.Go(func() {
		for i := range 20 {
			p := proposal(files(breaking + otherRule + strings.Repeat("# another\n", i+1)))
			if _, err := n.Publish(t.Context(), p); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for range 50 {
			if err := n.Beat(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := n.State(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := n.Version(t.Context(), 1); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	if _, v := n.Current(); v != 21 {
		t.Errorf("version %d judges after 21 publishes", v)
	}
}

// TestPublishMeasuresPatterns refuses what would take too long on a customer's message, by a stopwatch that goes fast.
func TestPublishMeasuresPatterns(t *testing.T) {
	w := newWorld(t)
	n := w.node(func(o *rulebook.Options) {
		o.Stopwatch = func() time.Duration { w.watch += 20 * time.Millisecond; return w.watch }
	})
	var slow *rulebook.TooSlowError
	_, err := n.Publish(t.Context(), proposal(files("  - {id: slow, why: w, when: 'text matches \"(a?){1,80}b\"', then: {tags: [x]}}\n")))
	if !errors.As(err, &slow) || !strings.Contains(err.Error(), "rule slow take 20ms on a text of 8 KiB") {
		t.Errorf("got %v", err)
	}
}
