package bench

import (
	"context"
	"strings"
	"testing"
)

func TestGrowRefuses(t *testing.T) {
	for name, sizes := range map[string][]int{
		"none": nil, "falling": {200, 100}, "fewer than connections": {10, 200}, "too many": {100, maxVisitors + 1},
	} {
		if _, err := Grow(context.Background(), Options{Dir: t.TempDir()}, sizes); err == nil || strings.Contains(err.Error(), "has ended") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGrowthSays(t *testing.T) {
	g := Growth{Steps: []Size{{Conversations: 10_000, Cell: Cell{CPU: 100}, Ratio: 1}, {Conversations: 1_000_000, Cell: Cell{CPU: 190}, Ratio: 1.9}}}
	if text := g.String(); !strings.Contains(text, "1.90 times") || !strings.Contains(text, "within the 2") {
		t.Error(text)
	}
	g.Steps[1].Ratio = 2.1
	if text := g.String(); !strings.Contains(text, "ABOVE the 2") {
		t.Error(text)
	}
}
