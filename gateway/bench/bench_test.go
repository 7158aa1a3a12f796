package bench

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"unknown peer":           {Peers: []string{"apache"}},
		"twice":                  {Peers: []string{Nginx, Nginx}},
		"must lie between":       {Connections: 10, Conversations: 5},
		"must be more than 0":    {Rounds: -1},
		"connections must lie":   {Connections: 5000, Conversations: 5000},
		"conversations must lie": {Conversations: 10_000_000},
	} {
		if _, err := o.withDefaults(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if o, err := (Options{}).withDefaults(); err != nil || o.Connections != 64 || o.Conversations != 1000 || len(o.Peers) != len(Peers()) {
		t.Errorf("defaults: %+v, %v", o, err)
	}
}

// TestPeerEndsWithItsParent closes the pipe that a parent holds.
func TestPeerEndsWithItsParent(t *testing.T) {
	in, parent := io.Pipe()
	lines, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Peer(context.Background(), kindEcho, "", "", in, out) }()
	line := make([]byte, 64)
	n, err := lines.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "ready 127.0.0.1:") {
		t.Fatalf("it said %q, %v", line[:n], err)
	}
	parent.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, args := range [][3]string{{"apache", "x:1", "."}, {FastHTTP, "", "."}, {Durable, "x:1", "absent"}} {
		if err := Peer(context.Background(), args[0], args[1], args[2], in, io.Discard); err == nil {
			t.Errorf("a peer %q with upstream %q and folder %q was taken", args[0], args[1], args[2])
		}
	}
}
