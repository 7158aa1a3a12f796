package fair_test

import (
	"testing"

	"pgregory.net/rapid"

	"turnout/gateway/fair"
)

// serve takes n pieces of work from a ring and returns whose they were.
func serve(r *fair.Ring[string], n int, cost func(name string) int) (order []string) {
	for range n {
		f := r.Next()
		if f == nil {
			return order
		}
		order = append(order, f.Value)
		r.Charge(f, cost(f.Value))
	}
	return order
}

func one(string) int { return 1 }

func counted(order []string) map[string]int {
	n := map[string]int{}
	for _, name := range order {
		n[name]++
	}
	return n
}

func TestFlowsShareByWeight(t *testing.T) {
	var r fair.Ring[string]
	for name, weight := range map[string]int{"a": 1, "b": 2, "c": 5} {
		r.Stir(fair.NewFlow(name, weight))
	}
	got := counted(serve(&r, 100*8*fair.Quantum, one))
	for name, weight := range map[string]int{"a": 1, "b": 2, "c": 5} {
		if want := 100 * weight * fair.Quantum; got[name] != want {
			t.Errorf("%s was served %d times, want %d", name, got[name], want)
		}
	}
}

func TestDearWorkIsServedLessOften(t *testing.T) {
	var r fair.Ring[string]
	r.Stir(fair.NewFlow("slow", 1))
	r.Stir(fair.NewFlow("fast", 1))
	got := counted(serve(&r, 9_000, func(name string) int {
		if name == "slow" {
			return fair.Quantum
		}
		return 1
	}))
	if d := got["fast"] - fair.Quantum*got["slow"]; d < -2*fair.Quantum || d > 2*fair.Quantum {
		t.Errorf("%v: want %d times as much of the cheap work", got, fair.Quantum)
	}
}

// A flow that has just woken is next, whatever waits; but only once.
func TestWhoWakesIsNextOnce(t *testing.T) {
	var r fair.Ring[string]
	busy, quiet := fair.NewFlow("busy", 1), fair.NewFlow("quiet", 1)
	r.Stir(busy)
	serve(&r, 3, one)
	r.Stir(quiet)
	if r.Next() != quiet {
		t.Fatal("who woke is not next")
	}
	// One piece at a time, and there again as soon as it is at rest: the trick brings nothing.
	served, has := map[string]int{}, true
	for range 1000 {
		f := r.Next()
		if f == quiet && !has {
			r.Rest(quiet)
			r.Stir(quiet)
			has = true
			continue
		}
		served[f.Value]++
		r.Charge(f, 1)
		has = f != quiet
	}
	if served["quiet"] > served["busy"]+fair.Quantum {
		t.Errorf("%v: a flow that rests after each piece gets more than its share", served)
	}
}

func TestAParkedFlowComesBackAtTheEnd(t *testing.T) {
	var r fair.Ring[string]
	a, b := fair.NewFlow("a", 1), fair.NewFlow("b", 1)
	r.Stir(a)
	r.Stir(b)
	r.Park(a)
	if r.Next() != b {
		t.Fatal("a parked flow is next")
	}
	r.Rest(b) // it was fresh: it stands at the end once more
	r.Stir(a)
	if r.Next() != b {
		t.Fatal("a flow that was parked came before one that waited")
	}
	r.Rest(b)
	if r.Next() != a {
		t.Fatal("the parked flow did not come back")
	}
	r.Rest(a)
	if f := r.Next(); f != nil {
		t.Fatalf("%s has no work and is next", f.Value)
	}
}

// Of flows that always have work each gets its share, at any moment, to within a turn of each: nobody starves, whatever the
// costs are and whoever comes and goes beside.
func TestNobodyFallsBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r fair.Ring[int]
		weights := rapid.SliceOfN(rapid.IntRange(1, 5), 2, 6).Draw(t, "weights")
		spent := make([]int, len(weights))
		for i, w := range weights {
			r.Stir(fair.NewFlow(i, w))
		}
		guest := fair.NewFlow(-1, rapid.IntRange(1, 5).Draw(t, "guest"))
		rounds := 0
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "visit") == 0 {
				r.Stir(guest)
			}
			f := r.Next()
			if f == guest {
				if rounds++; rapid.Bool().Draw(t, "leaves") {
					r.Rest(guest)
					continue
				}
				r.Charge(f, 1)
				continue
			}
			cost := rapid.IntRange(1, fair.Quantum).Draw(t, "cost")
			r.Charge(f, cost)
			spent[f.Value] += cost
			for i, a := range spent {
				for j, b := range spent {
					// One has had a turn that the other has not, and each may have overdrawn its credit by a piece.
					if over := float64(a)/float64(weights[i]) - float64(b)/float64(weights[j]); over > 3*fair.Quantum {
						t.Fatalf("flow %d is %.1f ahead of flow %d: %v by weights %v", i, over, j, spent, weights)
					}
				}
			}
		}
	})
}
