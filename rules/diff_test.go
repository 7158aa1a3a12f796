package rules_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/rules"
)

func TestDiff(t *testing.T) {
	from := loadText(t, `
rules:
  - {id: a, why: w, when: turns > 1, then: {tags: [x]}}
  - {id: b, why: w, when: turns > 2, then: {tags: [x]}}
  - {id: c, why: w, when: turns > 3, then: {tags: [x]}}
  - {id: d, why: w, locked: true, when: turns > 4, then: {handoff: {queue: q}, say: {en: hi}}, tests: [{text: hi, match: false}]}
  - {id: e, why: w, when: turns > 5, then: {tags: [x]}}
`)
	to := loadText(t, `
# A comment and another layout are no change.
rules:
  - id: c
    why: w
    when: >-
      turns > 3
    then: {tags: [x]}
  - {id: a, why: w, when: turns > 1, then: {tags: [x]}}
  - {id: b, why: w, mode: shadow, rank: 2, when: turns > 22, then: {tags: [x, y], notify: [n]}}
  - {id: d, why: new, when: turns > 4, then: {handoff: {queue: q, priority: high, skills: [s]}, must_reach_human: true, say: {en: ho, de: ja}}}
  - {id: f, why: w, when: turns > 6, then: {tags: [x]}}
`)
	want := []rules.Change{
		{Rule: "b", Kind: rules.Changed, Before: 3, Place: 1, Fields: []rules.FieldChange{
			{Field: "when", Was: "turns > 2", Is: "turns > 22"}, {Field: "mode", Was: "enforce", Is: "shadow"},
			{Field: "rank", Is: "2"}, {Field: "tags", Was: "x", Is: "x, y"}, {Field: "notify", Is: "n"},
		}},
		{Rule: "a", Kind: rules.Moved, Before: 2, Place: 3},
		{Rule: "d", Kind: rules.Changed, Before: 1, Place: 4, Locked: true, Fields: []rules.FieldChange{
			{Field: "locked", Was: "true"}, {Field: "handoff", Was: "q, priority normal", Is: "q, priority high, skills s"},
			{Field: "must_reach_human", Is: "true"}, {Field: "say", Was: "en: hi", Is: "de: ja | en: ho"}, {Field: "why", Was: "w", Is: "new"}, {Field: "tests", Was: "1"},
		}},
		{Rule: "f", Kind: rules.Added, Place: 5, Fields: []rules.FieldChange{
			{Field: "on", Is: "inbound"}, {Field: "when", Is: "turns > 6"}, {Field: "mode", Is: "enforce"}, {Field: "tags", Is: "x"}, {Field: "why", Is: "w"},
		}},
		{Rule: "e", Kind: rules.Removed, Before: 5, Fields: []rules.FieldChange{
			{Field: "on", Was: "inbound"}, {Field: "when", Was: "turns > 5"}, {Field: "mode", Was: "enforce"}, {Field: "tags", Was: "x"}, {Field: "why", Was: "w"},
		}},
	}
	if diff := cmp.Diff(want, rules.Diff(from, to)); diff != "" {
		t.Errorf("changes differ (-want +got):\n%s", diff)
	}
}

// TestDiffOfOrders holds the moved rules of random orders to what they must be: few enough that the others are in order, and
// none when nothing moved.
func TestDiffOfOrders(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 1))
	ids := []string{"a", "b", "c", "d", "e", "f", "g"}
	file := func(ids []string) *rules.Set {
		var b strings.Builder
		b.WriteString("rules:\n")
		for _, id := range ids {
			b.WriteString("  - {id: " + id + ", why: w, when: turns > 1, then: {tags: [x]}}\n")
		}
		return loadText(t, b.String())
	}
	from := file(ids)
	if changes := rules.Diff(from, file(ids)); len(changes) != 0 {
		t.Fatalf("no change is told as %+v", changes)
	}
	for range 60 {
		order := slices.Clone(ids)
		g.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		moved := map[string]bool{}
		for _, c := range rules.Diff(from, file(order)) {
			moved[c.Rule] = true
		}
		rest := slices.DeleteFunc(slices.Clone(order), func(id string) bool { return moved[id] })
		if !slices.IsSorted(rest) || len(moved) == len(ids) {
			t.Errorf("%v: moved %v, but the others stand as %v", order, moved, rest)
		}
	}
}
