package embedded

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func randomHash(rng *rand.Rand) (h idHash) {
	binary.LittleEndian.PutUint64(h[:], rng.Uint64())
	binary.LittleEndian.PutUint64(h[8:], rng.Uint64())
	return h
}

// TestFilter adds ids over several stages: each is found, and few others are.
func TestFilter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var f filter
	var all []idHash
	for i := range 200_000 {
		h := randomHash(rng)
		if i == 0 && f.has(h) {
			t.Fatal("an empty filter has an id")
		}
		if !f.add(h) {
			t.Fatalf("no room for id %d", i)
		}
		all = append(all, h)
	}
	for i, h := range all {
		if !f.has(h) {
			t.Fatalf("id %d of %d is lost", i, len(all))
		}
	}
	wrong := 0
	for range 100_000 {
		if f.has(randomHash(rng)) {
			wrong++
		}
	}
	if wrong > 2000 {
		t.Errorf("%d of 100000 ids that were never added are found", wrong)
	}
	if n := len(f.stages); n < 3 {
		t.Errorf("%d stages: the growth was not tried", n)
	}
}

// TestGenerationGivesUp: a generation whose filter has no room left asks the disk for everything.
func TestGenerationGivesUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	h, other := randomHash(rng), randomHash(rng)
	g := &generation{}
	if g.may(h) {
		t.Error("an empty generation may hold an id")
	}
	g.add(h)
	if !g.may(h) || g.may(other) {
		t.Errorf("it may hold what was added: %v, what was not: %v", g.may(h), g.may(other))
	}
	g.ids.stages = make([]stage, 40) // as many as there can never be, the last without room
	g.add(other)
	if !g.may(h) || !g.may(other) || !g.may(randomHash(rng)) {
		t.Error("an id is denied after the filter was given up")
	}
}

// TestGenerationsForget keeps as many generations as are asked for.
func TestGenerationsForget(t *testing.T) {
	var g generations
	for n := uint32(0); n < 10; n++ {
		g.begin(n, 4, false)
	}
	for n := uint32(0); n < 10; n++ {
		if got := g.of(n) != nil; got != (n >= 6) {
			t.Errorf("generation %d is kept: %v", n, got)
		}
	}
}
