package flood_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/flood"
)

// world is a watch under a clock.
type world struct {
	now   time.Time
	watch *flood.Watch
	board *alarm.Board
}

func newWorld(s flood.Settings) *world {
	w := &world{now: time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	w.board = alarm.New(clock, slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	w.watch = flood.New(s, clock, w.board)
	return w
}

// spend lets n handoffs happen, evenly, within a time.
func (w *world) spend(d time.Duration, n int, tenant, rule string) (alarmed bool) {
	for i := range n {
		w.now = w.now.Add(d / time.Duration(n))
		w.watch.Handoff(tenant, rule)
		alarmed = alarmed || len(w.board.Active()) > 0
		_ = i
	}
	if n == 0 {
		w.now = w.now.Add(d)
		w.watch.Look()
	}
	return alarmed
}

func TestFlood(t *testing.T) {
	w := newWorld(flood.Settings{})
	for range 24 { // two usual hours
		if w.spend(5*time.Minute, 10, "acme", "asks") {
			t.Fatal("an alarm on an ordinary day")
		}
	}
	if w.spend(5*time.Minute, 45, "acme", "asks") {
		t.Error("an alarm below five times the usual rate")
	}
	w.spend(30*time.Minute, 60, "acme", "asks")
	if !w.spend(5*time.Minute, 70, "acme", "too-wide") {
		t.Fatal("no alarm at seven times the usual rate")
	}
	a := w.board.Active()
	if len(a) != 1 || a[0].Tenant != "acme" || a[0].Name != flood.Name || !strings.Contains(a[0].Reason, "usual are 10") || !strings.Contains(a[0].Reason, "too-wide") {
		t.Errorf("alarm %+v", a)
	}
	// A flood does not become usual by lasting: the median holds.
	for range 12 {
		w.spend(5*time.Minute, 70, "acme", "too-wide")
	}
	if len(w.board.Active()) != 1 {
		t.Error("the alarm ended while the flood lasted")
	}
	w.spend(6*time.Minute, 0, "acme", "")
	if len(w.board.Active()) != 0 {
		t.Error("the alarm goes on after the flood")
	}
}

func TestNoFlood(t *testing.T) {
	for name, c := range map[string]struct {
		usual, n int
		slices   int
		alarmed  bool
	}{
		"small numbers":                      {1, 19, 24, false},
		"a tenant without handoffs, a few":   {0, 19, 24, false},
		"a tenant without handoffs, a flood": {0, 20, 24, true},
		"just after a start":                 {10, 500, 6, false},
		"exactly five times":                 {10, 50, 24, false},
		"just above":                         {10, 51, 24, true},
	} {
		w := newWorld(flood.Settings{})
		w.watch.Handoff("acme", "first") // the watch knows of the tenant
		for range c.slices {
			w.spend(5*time.Minute, c.usual, "acme", "asks")
		}
		w.spend(6*time.Minute, 0, "acme", "") // whatever came before is over
		if got := w.spend(4*time.Minute, c.n, "acme", "asks"); got != c.alarmed {
			t.Errorf("%s: alarm %v, want %v: %+v", name, got, c.alarmed, w.board.Active())
		}
	}
}

func TestTenantsAreApart(t *testing.T) {
	w := newWorld(flood.Settings{})
	for range 20 {
		w.spend(2*time.Minute, 2, "small", "asks")
		w.spend(3*time.Minute, 60, "large", "asks")
	}
	w.spend(3*time.Minute, 60, "small", "asks")
	if a := w.board.Active(); len(a) != 1 || a[0].Tenant != "small" {
		t.Errorf("alarms %+v, want one for the small tenant", a)
	}
}

// TestLongSleep holds that a clock that jumps costs no more than what is remembered.
func TestLongSleep(t *testing.T) {
	w := newWorld(flood.Settings{})
	w.watch.Handoff("acme", "asks")
	w.now = w.now.AddDate(50, 0, 0)
	w.watch.Look()
	w.now = w.now.Add(-time.Hour) // and back
	w.watch.Handoff("acme", "asks")
	if len(w.board.Active()) != 0 {
		t.Error("an alarm from a jump of the clock")
	}
}
