package redis_test

import (
	"context"
	"os"
	"testing"
	"time"

	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// rounds is how many times the server is killed.
func rounds() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 100
	}
	return 3
}

// killed lets a load work on a store while its server is killed without a word and started again, over and over, and
// returns how many acknowledged messages are gone. The store is the same all the time: it has to find back by itself.
func killed(t *testing.T, server *redistest.Server, o redis.Options, rounds int) (acked, lost int) {
	t.Helper()
	o.Patience = 50 * time.Millisecond
	s := open(t, o)
	load := storetest.NewLoad(time.Now)
	for round := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		after, n := len(load.Acked())+25+13*round%40, make(chan struct{}, 1)
		load.OnAck = func(storetest.Acked) {
			if len(load.Acked()) >= after {
				select {
				case n <- struct{}{}:
				default:
				}
			}
		}
		dead := make(chan struct{})
		go func() {
			defer close(dead)
			select {
			case <-n:
			case <-ctx.Done():
			}
			server.Kill()
		}()
		load.Run(ctx, s, 8, uint64(round)) // until the server is gone
		<-dead
		if ctx.Err() != nil {
			t.Fatalf("round %d: %d messages in two minutes", round, len(load.Acked()))
		}
		cancel()
		server.Restart()
		recovered(t, s)
		l, faults, err := load.Lost(t.Context(), s, load.Acked())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		lost += l
		for _, f := range faults {
			t.Errorf("round %d: %s", round, f)
		}
		if l > 0 {
			break // what follows works on what is gone
		}
	}
	return len(load.Acked()), lost
}

// recovered waits until a store has found its server again.
func recovered(t *testing.T, s *redis.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for !s.Health(ctx).OK {
		select {
		case <-ctx.Done():
			t.Fatalf("the store does not find back: %+v", s.Health(t.Context()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestKill kills the server: with its append-only file synced before each answer nothing acknowledged is lost.
func TestKill(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	acked, lost := killed(t, server, options(server, time.Now), rounds())
	if lost != 0 || acked < 50 {
		t.Errorf("%d of %d acknowledged messages are gone", lost, acked)
	}
}

// TestKillControl does the same to a server that keeps nothing: the test can see a loss.
func TestKillControl(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "no")
	o := options(server, time.Now)
	o.AllowUnsafe = true
	acked, lost := killed(t, server, o, 1)
	if lost != acked || acked == 0 {
		t.Errorf("%d of %d acknowledged messages are gone, want all", lost, acked)
	}
}
