package embedded

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// noted returns a conversation whose steps made one to four decisions each, 1 + 2 + 3 + 4 and the opening.
func noted(w *world) store.Ref {
	r := w.opened(3)
	for n := range 4 {
		var cmds []conversation.Command
		for i := range n + 1 {
			cmds = append(cmds, conversation.Decide{Decision: conversation.Decision{
				Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{fmt.Sprint(n, ".", i)},
			}})
		}
		w.do(r, cmds...)
	}
	return r
}

// TestEntriesInPages resumes a chain at every entry, also in the middle of a step's row.
func TestEntriesInPages(t *testing.T) {
	w := newWorld(t)
	r := noted(w)
	const all = 11
	entries, err := w.s.Entries(t.Context(), r.Tenant, r.ID, 0, 100)
	if err != nil || len(entries) != all {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if _, err := audit.Verify(r.ID, audit.Head{}, entries); err != nil {
		t.Error(err)
	}
	for after := range uint64(all + 2) {
		for limit := range 5 {
			got, err := w.s.Entries(t.Context(), r.Tenant, r.ID, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			want := entries[min(after, all):]
			want = want[:min(limit, len(want))]
			if len(got) != len(want) {
				t.Fatalf("after %d, limit %d: %d entries, want %d", after, limit, len(got), len(want))
			}
			for i := range got {
				if string(got[i]) != string(want[i]) {
					t.Errorf("after %d, limit %d: entry %d is another", after, limit, i)
				}
			}
		}
	}
}

// TestMovedIsTheHead: a chain is marked once, and what it is said to have moved to is where it ends, over cuts and over
// what the cache has forgotten.
func TestMovedIsTheHead(t *testing.T) {
	w := newWorld(t)
	r := noted(w)
	for round := range 4 {
		switch round {
		case 1:
			w.cut()
		case 2:
			w.s.cache.clear()
		}
		w.do(r, conversation.Decide{Decision: conversation.Decision{
			Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{fmt.Sprint("round ", round)},
		}})
		entries, err := w.s.Entries(t.Context(), r.Tenant, r.ID, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		head, err := audit.Verify(r.ID, audit.Head{}, entries)
		if err != nil {
			t.Fatal(err)
		}
		f, err := w.s.Frontier(t.Context(), r.Tenant, 10)
		if err != nil || len(f.Heads) != 1 || f.Heads[0] != (audit.ChainHead{Chain: r.ID, Head: head}) {
			t.Errorf("round %d: moved %v, %v; want entry %d", round, f.Heads, err, head.N)
		}
	}
	if f, err := w.s.Frontier(t.Context(), r.Tenant, 0); err != nil || len(f.Heads) != 0 {
		t.Errorf("none asked for: %v, %v", f.Heads, err)
	}
}

// TestLostRowIsNotSkipped takes a row out of a log, at its begin, in the middle and at its end: reading over the place
// fails.
func TestLostRowIsNotSkipped(t *testing.T) {
	for _, lost := range []uint64{1, 2, 3, 8} {
		w := newWorld(t)
		r := noted(w)
		if events, err := w.s.Log(t.Context(), r, 0, 100); err != nil || len(events) != 11 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if err := w.s.db.Delete(rowKey(conversationKey(r), kindLog, lost), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if events, err := w.s.Log(t.Context(), r, 0, 100); err == nil {
			t.Errorf("without the row of event %d: %d events are read as if nothing were missing", lost, len(events))
		}
		if events, err := w.s.Log(t.Context(), r, 4, 3); err != nil || len(events) != 3 {
			t.Errorf("without the row of event %d, elsewhere: %d events, %v", lost, len(events), err)
		}
	}
}
