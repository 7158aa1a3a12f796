package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRunPeers measures for a moment without the gateway: real processes, real connections.
func TestRunPeers(t *testing.T) {
	dir := t.TempDir()
	var progress bytes.Buffer
	peers := []string{FastHTTP, Durable, NetHTTP}
	if _, there := findNginx(); there {
		peers = append(peers, Nginx)
	}
	report, err := Run(context.Background(), Options{
		Rounds: 1, Round: 200 * time.Millisecond, Warmup: 50 * time.Millisecond, Connections: 4, Conversations: 10,
		Peers: peers, Dir: dir, Progress: &progress,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	if len(report.Peers) != len(peers) {
		t.Fatalf("measured %d sides, want %d", len(report.Peers), len(peers))
	}
	for i, p := range report.Peers {
		if p.Name != peers[i] || len(p.Rounds) != 1 || p.Rounds[0].Turns == 0 || p.Failed != 0 || p.RSS == 0 || p.CPURatio == nil {
			t.Errorf("side %d: %+v", i, p)
		}
	}
	if r := report.Peers[0].RateRatio; r.Median != 1 {
		t.Errorf("the bare proxy against itself: %+v", r)
	}
	if report.Log != nil {
		t.Error("a log was read although there was no gateway")
	}
	if report.Disk.Syncs == 0 || report.Disk.MedianUS <= 0 || report.Disk.P99US < report.Disk.MedianUS {
		t.Errorf("disk: %+v", report.Disk)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	text := report.String()
	for _, want := range []string{"4 connections", "10 conversations", "323 bytes", "2 commits a turn", "100 rules", "median", "fasthttp", "nethttp"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	data, err := json.Marshal(report)
	if err != nil || !bytes.Contains(data, []byte(`"cpu_ms_per_1000"`)) {
		t.Errorf("as JSON: %v", err)
	}
}

func TestRunWithoutBinary(t *testing.T) {
	dir := t.TempDir()
	_, err := Run(context.Background(), Options{Turnout: filepath.Join(dir, "absent"), Dir: dir})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the program is not there", err)
	}
}

// TestRunShowsWhatAProcessSaid starts a gateway that ends at once.
func TestRunShowsWhatAProcessSaid(t *testing.T) {
	_, err := Run(context.Background(), Options{Dir: t.TempDir(), Peers: []string{Gateway}})
	if err == nil || !strings.Contains(err.Error(), "gateway has ended:\nthis is no gateway") {
		t.Errorf("got %v", err)
	}
}
