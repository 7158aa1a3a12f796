package flood_test

import (
	"fmt"
	"testing"
	"time"

	"turnout/gateway/flood"
)

// many is a watch that knows what is usual and has n handoffs in its window.
func many(n int) *world {
	w := newWorld(flood.Settings{})
	for range 20 {
		w.spend(5*time.Minute, 10, "acme", "asks")
	}
	w.spend(4*time.Minute, n, "acme", "too-wide")
	return w
}

// A handoff is counted on the way of a commit: in a flood as well it must not walk over what is counted.
func BenchmarkHandoff(b *testing.B) {
	for _, n := range []int{100, 10_000, 99_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := many(n)
			b.ReportAllocs()
			for b.Loop() {
				w.now = w.now.Add(4 * time.Minute / time.Duration(n)) // one comes, one is over
				w.watch.Handoff("acme", "too-wide")
			}
		})
	}
}

func TestAHandoffInAFloodAllocatesNothing(t *testing.T) {
	w := many(50_000)
	if n := testing.AllocsPerRun(1000, func() {
		w.now = w.now.Add(time.Millisecond)
		w.watch.Handoff("acme", "too-wide")
	}); n >= 1 {
		t.Errorf("%v allocations a handoff", n)
	}
}

// What is over is forgotten one by one, and the rule that is named is the one that made most of what is left.
func TestTheWindowMoves(t *testing.T) {
	w := newWorld(flood.Settings{})
	for range 20 {
		w.spend(5*time.Minute, 10, "acme", "asks")
	}
	w.spend(4*time.Minute, 200, "acme", "first")
	w.spend(4*time.Minute, 200, "acme", "second")
	w.watch.Look()
	if a := w.board.Active(); len(a) != 1 || a[0].Reason[:len("250 handoffs")] != "250 handoffs" {
		t.Fatalf("%+v, want the last five minutes", a)
	}
	w.now = w.now.Add(3 * time.Minute)
	w.watch.Look()
	a := w.board.Active()
	if want := "100 handoffs in 5m0s; usual are 10. Most are by second: look whether it matches too much, or whether a bot fails"; len(a) != 1 || a[0].Reason != want {
		t.Errorf("%+v, want %q", a, want)
	}
}
