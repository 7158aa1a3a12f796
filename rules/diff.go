package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is what became of one rule between two sets.
type Change struct {
	Rule string     `json:"rule"`
	Kind ChangeKind `json:"kind"`
	// Place is where the rule stands in the order of evaluation, from 1; Before where it stood. 0: it does not, or did not,
	// exist.
	Before int `json:"before,omitempty"`
	Place  int `json:"place,omitempty"`
	// Locked is set when the rule is or was locked: only an owner changes those.
	Locked bool          `json:"locked,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"`
}

// ChangeKind says what happened to a rule.
type ChangeKind string

// The kinds of a Change.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
	Moved   ChangeKind = "moved" // judged earlier or later than before, and otherwise the same
)

// FieldChange is one field that a change touched, as rule files write it. Was and Is are empty where the field was not set.
type FieldChange struct {
	Field string `json:"field"`
	Was   string `json:"was,omitempty"`
	Is    string `json:"is,omitempty"`
}

// Diff says rule by rule what differs from one set to another: what rules do and when, not how their files are laid out.
// Changes come in the order of the new set, removed rules last.
func Diff(from, to *Set) []Change {
	was := map[string]int{}
	for i, r := range from.rules {
		was[r.id] = i
	}
	var kept []int // places in from of the rules that both have, in the order of to
	for _, r := range to.rules {
		if i, ok := was[r.id]; ok {
			kept = append(kept, i)
		}
	}
	stay := map[int]bool{}
	for _, i := range longestRising(kept) {
		stay[i] = true
	}
	var changes []Change
	for place, r := range to.rules {
		i, ok := was[r.id]
		if !ok {
			changes = append(changes, Change{Rule: r.id, Kind: Added, Place: place + 1, Locked: r.locked, Fields: fieldChanges(nil, r)})
			continue
		}
		old := from.rules[i]
		delete(was, r.id)
		fields := fieldChanges(old, r)
		c := Change{Rule: r.id, Kind: Changed, Before: i + 1, Place: place + 1, Locked: r.locked || old.locked, Fields: fields}
		switch {
		case len(fields) > 0:
		case !stay[i]:
			c.Kind = Moved
		default:
			continue
		}
		changes = append(changes, c)
	}
	for i, r := range from.rules {
		if _, gone := was[r.id]; gone {
			changes = append(changes, Change{Rule: r.id, Kind: Removed, Before: i + 1, Locked: r.locked, Fields: fieldChanges(r, nil)})
		}
	}
	return changes
}

// longestRising is a longest rising subsequence of numbers, all different: the rules that need not be said to have moved.
func longestRising(numbers []int) []int {
	var tails, back []int // indexes of numbers: the end of the best sequence of each length, and what stands before each
	for i, n := range numbers {
		at, _ := slices.BinarySearchFunc(tails, n, func(t, n int) int { return numbers[t] - n })
		before := -1
		if at > 0 {
			before = tails[at-1]
		}
		back = append(back, before)
		if at == len(tails) {
			tails = append(tails, i)
		} else {
			tails[at] = i
		}
	}
	var out []int
	if len(tails) == 0 {
		return nil
	}
	for i := tails[len(tails)-1]; i >= 0; i = back[i] {
		out = append(out, numbers[i])
	}
	slices.Reverse(out)
	return out
}

func fieldChanges(was, is *rule) []FieldChange {
	var out []FieldChange
	a, b := described(was), described(is)
	for i := range ruleParts {
		if a[i] != b[i] {
			out = append(out, FieldChange{Field: ruleParts[i], Was: a[i], Is: b[i]})
		}
	}
	return out
}

// ruleParts are what a rule consists of, in the order in which changes are told.
var ruleParts = []string{"on", "when", "mode", "locked", "rank", "handoff", "must_reach_human", "say", "replace", "tags", "notify", "why", "tests"}

// described writes the parts of a rule down. Defaults of an existing rule are written out, so that a change to one shows.
func described(r *rule) []string {
	if r == nil {
		return make([]string, len(ruleParts))
	}
	yes := func(b bool) string {
		if b {
			return "true"
		}
		return ""
	}
	handoff := ""
	if h := r.handoff; h != nil {
		handoff = fmt.Sprintf("%s, priority %s", h.Queue, priorityName(h.Priority))
		if len(h.Skills) > 0 {
			handoff += ", skills " + strings.Join(h.Skills, ", ")
		}
	}
	rank, tests := "", ""
	if r.rank != 0 {
		rank = fmt.Sprint(r.rank)
	}
	if len(r.tests) > 0 {
		tests = fmt.Sprint(len(r.tests))
	}
	return []string{
		r.phase.String(), strings.Join(strings.Fields(r.when), " "), r.mode.String(), yes(r.locked), rank, handoff, yes(r.mustReachHuman),
		r.say.describe(), r.replace.describe(), strings.Join(r.tags, ", "), strings.Join(r.notify, ", "), r.why, tests,
	}
}

func (s *Saying) describe() string {
	if s == nil {
		return ""
	}
	var parts []string
	for _, lang := range slices.Sorted(maps.Keys(s.Texts)) {
		parts = append(parts, lang+": "+s.Texts[lang])
	}
	return strings.Join(parts, " | ")
}
