// Package flood notices when far more conversations go to people than usual: a rule that was written too wide, a bot that
// broke, or a day that is not like others. Whichever it is, somebody should look.
//
// Handoffs are counted in slices of time. What is usual is the median of the slices before, which neither a past flood nor
// a quiet night moves far; a flood is a slice's length of time with more than Factor times that, and never fewer than Least.
// The counts live in memory: after a start there is no alarm until enough slices have passed to know what is usual.
//
// A handoff is counted on the way of its commit, so it costs the same however many there are: the median is found once a
// slice, what is over is dropped from the front, and the rule that is named is looked for only when an alarm is raised and
// every few seconds while it stands (Look).
package flood

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"turnout/gateway/alarm"
)

// Name is that of the alarm.
const Name = "handoffs.flood"

// Settings say what a flood is. Zero values mean the defaults.
type Settings struct {
	Slice  time.Duration // 5 min
	Slices int           // that are remembered; 288, a day
	// Known is how many slices must have passed before anything is usual; 12.
	Known int
	// Factor is how many times as many as usual are a flood; 5. Fewer than Least are none; 20.
	Factor float64
	Least  int
}

func (s Settings) withDefaults() Settings {
	if s.Slice == 0 {
		s.Slice = 5 * time.Minute
	}
	if s.Slices == 0 {
		s.Slices = 288
	}
	if s.Known == 0 {
		s.Known = 12
	}
	if s.Factor == 0 {
		s.Factor = 5
	}
	if s.Least == 0 {
		s.Least = 20
	}
	return s
}

// Watch counts the handoffs of tenants. It is safe for concurrent use.
type Watch struct {
	s     Settings
	now   func() time.Time
	board *alarm.Board

	mu      sync.Mutex
	tenants map[string]*counts
}

// counts are one tenant's.
type counts struct {
	slice   int64 // number of the slice that is being counted
	current int
	past    []int // whole slices, the oldest first
	// usual is the median of past, once enough is known.
	usual float64
	known bool
	// recent are the handoffs in the last slice's length of time, rules how many of them each rule made.
	recent recent
	rules  map[string]int
	raised bool
}

// recent is a queue of handoffs.
type recent struct {
	list []handoff
	head int // those before it are gone
}

type handoff struct {
	at   time.Time
	rule string
}

func (r *recent) len() int { return len(r.list) - r.head }

func (r *recent) push(h handoff) { r.list = append(r.list, h) }

// pop takes out the first if it was at from or before.
func (r *recent) pop(from time.Time) (h handoff, ok bool) {
	if r.len() == 0 || r.list[r.head].at.After(from) {
		return h, false
	}
	h, r.list[r.head] = r.list[r.head], handoff{}
	if r.head++; 2*r.head >= len(r.list) { // the half that is gone pays for moving the other
		n := copy(r.list, r.list[r.head:])
		clear(r.list[n:])
		r.list, r.head = r.list[:n], 0
	}
	return h, true
}

// New returns a watch that raises its alarms on board.
func New(s Settings, now func() time.Time, board *alarm.Board) *Watch {
	return &Watch{s: s.withDefaults(), now: now, board: board, tenants: map[string]*counts{}}
}

// Handoff counts one handoff. The rule is named in the alarm.
func (w *Watch) Handoff(tenant, rule string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	c := w.at(tenant, now)
	c.current++
	if c.recent.len() < mostRecent {
		c.recent.push(handoff{now, rule})
		c.rules[rule]++
	}
	if !c.raised || !c.over(w.s) { // while it stands Look says how it goes on
		w.judge(tenant, c)
	}
}

// mostRecent bounds the memory of a flood: beyond it nobody needs a better estimate.
const mostRecent = 100_000

// Look notices the end of floods, which no handoff announces. Call it every few seconds.
func (w *Watch) Look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for tenant := range w.tenants {
		w.judge(tenant, w.at(tenant, now))
	}
}

// at returns a tenant's counts with the slices that have passed behind them.
func (w *Watch) at(tenant string, now time.Time) *counts {
	slice := now.UnixNano() / int64(w.s.Slice)
	c := w.tenants[tenant]
	if c == nil {
		c = &counts{slice: slice, rules: map[string]int{}}
		w.tenants[tenant] = c
	}
	moved := c.slice < slice
	for ; c.slice < slice; c.slice++ {
		c.past = append(c.past, c.current)
		c.current = 0
		if n := len(c.past) - w.s.Slices; n > 0 {
			c.past = slices.Delete(c.past, 0, n)
		}
		if slice-c.slice > int64(w.s.Slices) { // asleep for longer than anything is remembered
			c.slice = slice - int64(w.s.Slices)
		}
	}
	if moved {
		c.usual, c.known = median(c.past, w.s.Known)
	}
	from := now.Add(-w.s.Slice)
	for h, ok := c.recent.pop(from); ok; h, ok = c.recent.pop(from) {
		if c.rules[h.rule]--; c.rules[h.rule] == 0 {
			delete(c.rules, h.rule)
		}
	}
	return c
}

// line is how many handoffs are no flood yet.
func (c *counts) line(s Settings) float64 { return max(s.Factor*c.usual, float64(s.Least-1)) }

// over reports whether there is a flood.
func (c *counts) over(s Settings) bool { return c.known && float64(c.recent.len()) > c.line(s) }

// judge raises or clears the alarm. It is over when there are no more than half of what raised it.
func (w *Watch) judge(tenant string, c *counts) {
	switch {
	case c.over(w.s):
		c.raised = true
		w.board.Raise(alarm.Alarm{Name: Name, Tenant: tenant, Reason: fmt.Sprintf(
			"%d handoffs in %v; usual are %.0f. Most are by %s: look whether it matches too much, or whether a bot fails",
			c.recent.len(), w.s.Slice, c.usual, most(c.rules))})
	case c.raised && float64(c.recent.len()) <= c.line(w.s)/2:
		c.raised = false
		w.board.Clear(Name, tenant, "")
	}
}

// median of the past slices, if there are as many as it takes to know. Slices that were counted during a flood are in it: the
// median holds against half of them.
func median(past []int, known int) (float64, bool) {
	if len(past) < known {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(past))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return float64(sorted[mid]), true
	}
	return float64(sorted[mid-1]+sorted[mid]) / 2, true
}

// most is the rule that made most of the handoffs.
func most(rules map[string]int) (best string) {
	for rule, n := range rules {
		if n > rules[best] || n == rules[best] && rule < best {
			best = rule
		}
	}
	return best
}
