package main

import (
	"encoding/json"
	"os"
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

// TestBenchRedis measures for a moment: that every acknowledged turn is in the log, and that nothing is left out.
func TestBenchRedis(t *testing.T) {
	server := os.Getenv("TURNOUT_REDIS")
	if server == "" {
		t.Log("TURNOUT_REDIS is not set: make test sets it and runs this with a server")
		return
	}
	code, stdout, stderr := ended(t, t.TempDir(), "bench", "redis", "--server", server, "--nodes", "1,2", "--conversations", "20,40", "--ids", "2000",
		"--rounds", "1", "--round", "300ms", "--warmup", "50ms", "--connections", "4", "--json")
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	var r bench.RedisReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	for _, setup := range []string{"wait=0", "wait=1"} {
		if l := r.Logs[setup]; l.Messages == 0 || l.Lost+l.Twice != 0 {
			t.Errorf("the log of %s: %+v", setup, l)
		}
	}
	if len(r.Cells) != 4 || len(r.Steps) != 2 || len(r.Models) != 2 || r.PerConversation <= 0 || r.PerID <= 0 {
		t.Errorf("%+v", r)
	}
	for _, c := range r.Cells {
		if c.Turns == 0 || c.Failed != 0 || c.Scripts < 2 || c.In <= 0 || c.Replication <= 0 || (c.Waits > 0) != (c.Wait > 0) {
			t.Errorf("a cell: %+v", c)
		}
	}
	if m := r.Models[0]; m.ConversationsPerDay != 1e6 || m.Nodes < 1 || m.Shards() < 1 || m.ArchiveGB <= 0 {
		t.Errorf("the model: %+v", m)
	}
}
