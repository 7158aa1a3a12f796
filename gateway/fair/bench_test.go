package fair_test

import (
	"fmt"
	"testing"
	"time"

	"turnout/gateway/fair"
)

// What a turn pays when nobody waits: one lock to enter, one to leave, and no allocation.
func BenchmarkEnterAndLeave(b *testing.B) {
	h := newHouse(1000, 10)
	h.Configure(1000, map[string]fair.Share{"a": {}, "b": {}})
	l := h.Lane("a", h.Gate(64), h.Gate(0))
	b.ReportAllocs()
	for b.Loop() {
		if !l.Enter() {
			b.Fatal("no place")
		}
		l.Leave(time.Millisecond)
	}
}

// The price of a place after a wait must not depend on how many tenants wait.
func BenchmarkGrant(b *testing.B) {
	for _, tenants := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(tenants), func(b *testing.B) {
			var last *fair.Lane[int]
			p := fair.New(fair.Options[int]{Most: 1, Line: 1 << 20, Now: time.Now, Run: func(_ int, l *fair.Lane[int]) bool {
				last = l
				return true
			}})
			shares, lanes := map[string]fair.Share{}, []*fair.Lane[int]{}
			for i := range tenants {
				name := fmt.Sprint(i)
				shares[name] = fair.Share{Most: 10}
			}
			p.Configure(1, shares)
			for i := range tenants {
				lanes = append(lanes, p.Lane(fmt.Sprint(i)))
				lanes[i].Enter() // the floor
			}
			for i := range tenants {
				lanes[i].Wait(-1 - i)
			}
			last = lanes[0]
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				l := last
				n++
				l.Wait(n)
				l.Leave(0)
			}
		})
	}
}

func TestNoAllocationWhenNobodyWaits(t *testing.T) {
	h := newHouse(10, 10)
	l := h.Lane("a", h.Gate(4))
	if n := testing.AllocsPerRun(1000, func() {
		l.Enter()
		l.Leave(time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}
