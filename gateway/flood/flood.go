// Package flood notices when far more conversations go to people than usual: a rule that was written too wide, a bot that
// broke, or a day that is not like others. Whichever it is, somebody should look.
//
// Handoffs are counted in slices of time. What is usual is the median of the slices before, which neither a past flood nor
// a quiet night moves far; a flood is a slice's length of time with more than Factor times that, and never fewer than Least.
// The counts live in memory: after a start there is no alarm until enough slices have passed to know what is usual.
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
	// recent are the instants of the handoffs in the last slice's length of time, and which rule made them.
	recent []handoff
	raised bool
}

type handoff struct {
	at   time.Time
	rule string
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
	if len(c.recent) < mostRecent {
		c.recent = append(c.recent, handoff{now, rule})
	}
	w.judge(tenant, c, now)
}

// mostRecent bounds the memory of a flood: beyond it nobody needs a better estimate.
const mostRecent = 100_000

// Look notices the end of floods, which no handoff announces. Call it every few seconds.
func (w *Watch) Look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	for tenant := range w.tenants {
		w.judge(tenant, w.at(tenant, now), now)
	}
}

// at returns a tenant's counts with the slices that have passed behind them.
func (w *Watch) at(tenant string, now time.Time) *counts {
	slice := now.UnixNano() / int64(w.s.Slice)
	c := w.tenants[tenant]
	if c == nil {
		c = &counts{slice: slice}
		w.tenants[tenant] = c
	}
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
	from := now.Add(-w.s.Slice)
	first := slices.IndexFunc(c.recent, func(h handoff) bool { return h.at.After(from) })
	if first < 0 {
		first = len(c.recent)
	}
	c.recent = slices.Delete(c.recent, 0, first)
	return c
}

// judge raises or clears the alarm. It is over when there are no more than half of what raised it.
func (w *Watch) judge(tenant string, c *counts, now time.Time) {
	usual, known := w.usual(c)
	line := max(w.s.Factor*usual, float64(w.s.Least-1))
	n := float64(len(c.recent))
	switch {
	case known && n > line:
		c.raised = true
		w.board.Raise(alarm.Alarm{Name: Name, Tenant: tenant, Reason: fmt.Sprintf(
			"%d handoffs in %v; usual are %.0f. Most are by %s: look whether it matches too much, or whether a bot fails",
			len(c.recent), w.s.Slice, usual, most(c.recent))})
	case c.raised && n <= line/2:
		c.raised = false
		w.board.Clear(Name, tenant, "")
	}
}

// usual is the median of the past slices. Slices that were counted during a flood are in it: the median holds against half
// of them.
func (w *Watch) usual(c *counts) (median float64, known bool) {
	if len(c.past) < w.s.Known {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(c.past))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return float64(sorted[mid]), true
	}
	return float64(sorted[mid-1]+sorted[mid]) / 2, true
}

// most is the rule that made most of the handoffs.
func most(recent []handoff) string {
	n := map[string]int{}
	best := ""
	for _, h := range recent {
		n[h.rule]++
		if n[h.rule] > n[best] || n[h.rule] == n[best] && h.rule < best {
			best = h.rule
		}
	}
	return best
}
