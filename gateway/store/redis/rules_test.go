package redis

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/rules"
	"turnout/rules/signal"
)

// TestRulesOnTwoNodes: a version that one node publishes judges nowhere before every node that lives has confirmed it. One
// that stands still is waited for as long as its heartbeat counts; when it comes back it follows, and until it can it is not
// ready.
func TestRulesOnTwoNodes(t *testing.T) {
	n := newNodes(t)
	detector, err := signal.NewLexical()
	n.must(err)
	log := slog.New(slog.DiscardHandler)
	stores := []*Store{n.node(n.server.Addr()), n.node(n.server.Addr())}
	book := func(s *Store, versions store.Versions) *rulebook.Book {
		b := rulebook.New(rulebook.Options{
			Versions: versions, Tenant: n.tenant, Nodes: s, Detector: detector, Board: alarm.New(n.time, log, nil), Now: n.time, Log: log,
		})
		n.must(b.Configure(t.Context(), rulebook.Config{}))
		return b
	}
	books := []*rulebook.Book{book(stores[0], stores[0]), book(stores[1], stores[1])}
	publish := func(b *rulebook.Book, phrase string) rulebook.Published {
		t.Helper()
		text := "rules:\n  - {id: pain, why: w, when: 'phrase(\"" + phrase + "\")', then: {handoff: {queue: care}}}\n"
		p, err := b.Publish(t.Context(), rulebook.Proposal{Sources: []rules.Source{{Name: "a.yaml", Data: []byte(text)}}, Why: "because", By: "owner:ana", Owner: true})
		n.must(err)
		return p
	}
	judges := func(want ...int) {
		t.Helper()
		var got []int
		for _, b := range books {
			_, v := b.Current()
			got = append(got, v)
		}
		if !slices.Equal(got, want) {
			t.Errorf("versions %v judge, want %v", got, want)
		}
	}
	beat := func(i int) {
		t.Helper()
		n.must(books[i].Beat(t.Context()))
	}

	if p := publish(books[0], "chest pain"); p.Effective || !slices.Equal(p.Waiting, []string{stores[1].node}) {
		t.Errorf("published %+v, want it to wait for the other node", p)
	}
	beat(0)
	judges(0, 0)
	beat(1)
	beat(0)
	judges(1, 1)

	// The second stands still. The first waits, until nobody counts its heartbeat any more.
	if p := publish(books[0], "back pain"); p.Effective {
		t.Error("a version is in force that a living node has not confirmed")
	}
	n.move(beatFor / 2)
	n.beaten(stores[0])
	beat(0)
	judges(1, 1)
	n.move(beatFor)
	n.beaten(stores[0])
	beat(0)
	judges(2, 1)
	n.beaten(stores[1])
	deaf := rulebook.New(rulebook.Options{
		Versions: deafTo{stores[1]}, Tenant: n.tenant, Nodes: stores[1], Detector: detector, Board: alarm.New(n.time, log, nil), Now: n.time, Log: log,
	})
	if err := deaf.Beat(t.Context()); err == nil || deaf.Ready() == nil {
		t.Errorf("a node that cannot read what is in force is ready: %v", err)
	}
	beat(1)
	judges(2, 2)
	if err := books[1].Ready(); err != nil {
		t.Errorf("one that follows is not ready: %v", err)
	}
}

// deafTo is a store that cannot read any version.
type deafTo struct{ store.Versions }

func (deafTo) Version(context.Context, store.Tenant, string, int) (store.VersionedDoc, error) {
	return store.VersionedDoc{}, errors.New("it does not open")
}

// TestPresenceOnTwoNodes: who came to one node is there on the other, and who left there gets nothing here.
func TestPresenceOnTwoNodes(t *testing.T) {
	n := newNodes(t)
	a, b := n.node(n.server.Addr()), n.node(n.server.Addr())
	present := func(s *Store, until int64) {
		t.Helper()
		n.must(s.SetPresence(t.Context(), n.tenant, store.Presence{Agent: "ann", Name: "Ann", Until: until, Capacity: 2}))
	}
	seen := func(s *Store) bool {
		t.Helper()
		l, err := s.Present(t.Context(), n.tenant)
		n.must(err)
		return slices.ContainsFunc(l, func(p store.Presence) bool { return p.Agent == "ann" && p.Until > n.now.Load() })
	}
	present(a, n.now.Load()+time.Minute.Milliseconds())
	if !seen(b) {
		t.Error("who came to one node is not there on the other")
	}
	n.must(b.Reserve(t.Context(), n.tenant, "ann", "one", "op1"))
	present(b, n.now.Load()-1)
	if seen(a) {
		t.Error("who left one node is there on the other")
	}
	if err := a.Reserve(t.Context(), n.tenant, "ann", "two", "op2"); err == nil {
		t.Error("a place of one who left on the other node")
	}
}
