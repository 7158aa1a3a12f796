package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/alarm"
	"turnout/gateway/config"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/rules/signal"
)

// deaf is a detector that stops hearing who wants a person.
type deaf struct {
	signal.Detector
	now bool
}

func (d *deaf) Customer(text, lang string, m signal.Memory) (signal.Scores, signal.Memory) {
	s, m := d.Detector.Customer(text, lang, m)
	if d.now {
		s.HumanRequest = 0
	}
	return s, m
}

// unreadable is a store that cannot read any version by its number.
type unreadable struct{ store.Versions }

func (unreadable) Version(context.Context, store.Tenant, string, int) (store.VersionedDoc, error) {
	return store.VersionedDoc{}, store.ErrUnavailable
}

// TestRuleWatch holds what a node does about rules while it serves: a locked rule that does not match any more, and a flood
// of handoffs, are alarms that people are told of, once.
func TestRuleWatch(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	st, err := embedded.Open(embedded.Options{
		Dir: "data", FS: vfs.NewMem(), Root: make([]byte, 32), IDs: id.NewSource(strings.NewReader(strings.Repeat("0123456789abcdef", 1<<12)), clock),
		Now: clock, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	lexical, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	detector := &deaf{Detector: lexical}
	var told []string
	w := newRuleWatch(st, rulebook.Alone{}, detector, clock, logger, func(a alarm.Alarm) { told = append(told, a.Name) })
	acme, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	locked := "rules:\n- {id: asks, why: w, locked: true, when: signal.human_request > 0.5, then: {handoff: {queue: support}}, tests: [{text: I want to talk to a person, match: true}]}\n"
	tenant := &config.Tenant{Queues: []*config.Queue{{Name: "support"}}, RulesFrom: "shop.yaml", Rules: []config.RuleSource{{Name: "a.yaml", Data: []byte(locked)}}}
	if _, err := w.configure(t.Context(), acme, tenant); err != nil {
		t.Fatal(err)
	}
	w.beat(t.Context())
	if len(told) > 0 {
		t.Fatalf("alarms %q of a sound node", told)
	}
	detector.now = true
	w.beat(t.Context())
	w.beat(t.Context())
	handoff := store.Hint{Ref: store.Ref{Tenant: acme}, Events: []conversation.Event{
		{Data: &conversation.Decision{}}, {Data: &conversation.Handoff{Rule: "asks"}},
	}}
	for range 13 { // an hour and more in which little happens
		w.committed(handoff)
		now = now.Add(5 * time.Minute)
	}
	for range 20 {
		w.committed(handoff)
	}
	if got := strings.Join(told, ","); got != "rules.self_test,handoffs.flood" {
		t.Errorf("told of %s", got)
	}
	if n := strings.Count(log.String(), "msg=alarm"); n != 2 || !strings.Contains(log.String(), "level=ERROR msg=alarm alarm=rules.self_test tenant=acme") {
		t.Errorf("%d alarms in the log:\n%s", n, log.String())
	}
	detector.now = false
	now = now.Add(6 * time.Minute)
	w.beat(t.Context())
	if a := w.board.Active(); len(a) != 0 || w.ready() != nil {
		t.Errorf("alarms %+v after all is well, ready %v", a, w.ready())
	}

	// A node that cannot read what is in force says whose rules keep it from taking work.
	blind := newRuleWatch(unreadable{st}, rulebook.Alone{}, lexical, clock, logger, nil)
	blind.books[acme] = rulebook.New(rulebook.Options{
		Versions: blind.versions, Tenant: acme, Nodes: blind.nodes, Detector: lexical, Board: blind.board, Now: clock, Log: logger,
	})
	if err := blind.ready(); err != nil {
		t.Errorf("before it has looked: %v", err)
	}
	blind.beat(t.Context())
	if err := blind.ready(); err == nil || !strings.Contains(err.Error(), "the rules of tenant acme") {
		t.Errorf("ready although the rules in force cannot be read: %v", err)
	}

	// A configuration whose locked rules fail does not come into force: a node that starts with it does not start.
	broken := *tenant
	broken.Rules = []config.RuleSource{{Name: "a.yaml", Data: []byte(strings.Replace(locked, "match: true", "match: false", 1))}}
	if _, err := w.configure(t.Context(), acme, &broken); err == nil || !strings.Contains(err.Error(), "tests of locked rules fail, the first is that of rule asks at a.yaml:2:") {
		t.Errorf("broken locked rules: %v", err)
	}

	// A tenant that is gone takes its alarms along, also one that is raised after that by what was under way.
	detector.now = true
	w.beat(t.Context())
	if a := w.board.Active(); len(a) != 1 {
		t.Fatalf("alarms %+v", a)
	}
	w.keep(nil)
	if a := w.board.Active(); len(a) != 0 {
		t.Errorf("alarms %+v of a tenant that is gone", a)
	}
	w.board.Raise(alarm.Alarm{Name: rulebook.AlarmTripped, Tenant: "acme", Subject: "asks"})
	w.beat(t.Context())
	if a := w.board.Active(); len(a) != 0 {
		t.Errorf("alarms %+v of a tenant that is gone, after a beat", a)
	}
}
