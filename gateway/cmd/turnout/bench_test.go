package main

import (
	"encoding/json"
	"strings"
	"testing"

	"turnout/gateway/bench"
)

// TestBench measures for a moment: that every acknowledged turn is in the log, and that each step has its part.
func TestBench(t *testing.T) {
	code, stdout, stderr := ended(t, t.TempDir(), "bench", "--peers", "gateway", "--rounds", "1", "--round", "500ms", "--connections", "4",
		"--conversations", "10", "--json")
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	var r bench.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if r.Log == nil || r.Log.Messages == 0 || r.Log.Lost != 0 {
		t.Errorf("the log: %+v", r.Log)
	}
	if r.Budget == nil || r.Budget.Turns == 0 {
		t.Errorf("the budget: %+v", r.Budget)
	}
}

func TestBenchGrowth(t *testing.T) {
	code, stdout, stderr := ended(t, t.TempDir(), "bench", "growth", "--conversations", "20,40", "--round", "300ms", "--connections", "4")
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	for _, want := range []string{"conversations", "20", "40", "times what it takes with the fewest"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
}
