package redis_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// disturbances are what a wire does to what goes over it, and in which direction.
var disturbances = []struct {
	direction, kind string
	attributes      map[string]int
}{
	{redistest.FromServer, "latency", map[string]int{"latency": 20, "jitter": 15}},
	{redistest.ToServer, "bandwidth", map[string]int{"rate": 64}},
	{redistest.FromServer, "slow_close", map[string]int{"delay": 50}},
	{redistest.FromServer, "reset_peer", map[string]int{"timeout": 5}},
	{redistest.ToServer, "reset_peer", map[string]int{"timeout": 5}},
	{redistest.FromServer, "timeout", map[string]int{"timeout": 30}},
	{redistest.ToServer, "timeout", map[string]int{"timeout": 30}},
	{redistest.FromServer, "slicer", map[string]int{"average_size": 16, "size_variation": 8, "delay": 10}},
	{redistest.ToServer, "slicer", map[string]int{"average_size": 16, "size_variation": 8, "delay": 10}},
}

// disturbedRounds is how often each disturbance comes.
func disturbedRounds() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 20
	}
	return 1
}

// TestWire disturbs the wire between a store and its server in one way after the other while customers write: what was
// acknowledged is there, every message has one effect, the store finds back by itself, and leaves neither goroutines nor
// connections behind.
func TestWire(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	wire := redistest.Before(t, server)
	clients := server.Client()
	connections := func() int {
		list, err := clients.Do(t.Context(), "CLIENT", "LIST").Text()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n")
	}
	before, running := connections(), goroutines()
	o := options(server, time.Now)
	o.Addr, o.Patience = wire.Addr(), 50*time.Millisecond
	s := open(t, o)
	load := storetest.NewLoad(time.Now)
	reached(t, s, load, 20, 1)
	seed := uint64(10)
	for range disturbedRounds() {
		for _, d := range disturbances {
			wire.Disturb(d.direction, d.kind, d.attributes)
			for range 4 { // a customer ends with the first refusal, and others come
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				load.OnAck = nil
				load.Run(ctx, s, 4, seed)
				cancel()
				seed++
			}
			wire.Mend()
			recovered(t, s)
			reached(t, s, load, 5, 1000*seed)
		}
	}
	lost, faults, err := load.Lost(t.Context(), s, load.Acked())
	if err != nil || lost != 0 || len(faults) != 0 {
		t.Errorf("%d of %d acknowledged messages are gone, %v, %v", lost, len(load.Acked()), faults, err)
	}
	// A pool keeps at most ten connections for each processor, and one hears what other nodes say.
	settled(t, "open", func() bool { return connections() <= before+10*runtime.GOMAXPROCS(0)+1 })
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	settled(t, "left behind", func() bool { return connections() <= before && goroutines() <= running })
}

// goroutines counts those of stores and of their clients.
func goroutines() (n int) {
	stacks := make([]byte, 16<<20)
	for _, one := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(one, "turnout/gateway/store/redis.(") || strings.Contains(one, "redis/go-redis") {
			n++
		}
	}
	return n
}

// settled waits until connections and goroutines that end have ended.
func settled(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("too many connections or goroutines are %s", what)
		}
	}
}
