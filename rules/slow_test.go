package rules

import (
	"strings"
	"testing"
	"time"
)

// TestSlow counts the steps of a clock that goes by a millisecond at each look: no pattern is slow by its own time here, only
// by how often it is tried.
func TestSlow(t *testing.T) {
	set, err := Load([]Source{{Name: "r", Data: []byte(`
rules:
  - {id: plain, why: w, when: 'phrase("chest pain") || turns > 3', then: {tags: [x]}}
  - {id: small, why: w, when: 'text matches "(?i)case-[0-9]+"', then: {tags: [x]}}
  - {id: pattern, why: w, when: 'turns > 99 && text matches "([a-z]{1,30}){1,9}9"', then: {tags: [x]}}
`)}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Duration(0)
	clock := func() time.Duration { now += time.Millisecond; return now }
	slow := set.Slow(500*time.Microsecond, clock)
	if len(slow) != 1 || slow[0].Rule != "pattern" || slow[0].Took != time.Millisecond {
		t.Errorf("slow %+v, want the pattern alone, although another condition stands before it", slow)
	}
	if slow := set.Slow(2*time.Millisecond, clock); len(slow) != 0 {
		t.Errorf("slow %+v within the budget", slow)
	}
}

func TestProbes(t *testing.T) {
	for pattern, want := range map[string][]string{
		"x+y":       {"a", "x", "y", "axy"},
		"[c-e]":     {"a", "c", "ac"},
		"é":         {"a", "é", "aé"},
		"(?i)k":     {"a", "K", "aK"},
		"(((":       nil,
		"[^\\x00]":  {"a", " ", "a "},
		"abcdefghi": {"a", "b", "c", "d", "e", "f", "abcdefghi"},
	} {
		got := probes(pattern)
		if len(got) != len(want) {
			t.Errorf("%s: %d probes, want %d", pattern, len(got), len(want))
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], strings.Repeat(want[i], 3)) || len(got[i]) > window {
				t.Errorf("%s: probe %d is %.12q… of %d bytes", pattern, i, got[i], len(got[i]))
			}
		}
	}
}
