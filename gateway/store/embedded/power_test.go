package embedded_test

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store/storetest"
)

// scaled returns the count of a long test: what every run proves, with TURNOUT_SCALE=full more, and with -short, where the
// race detector makes each of them slow, less.
func scaled(short, usual, full int) int {
	switch {
	case testing.Short():
		return short
	case os.Getenv("TURNOUT_SCALE") == "full":
		return full
	}
	return usual
}

// powerCuts runs a load on one crashable file system after the other and cuts the power cuts times: what was not synced
// is kept or lost at random, block by block. It returns how many acknowledged messages were lost.
func powerCuts(t *testing.T, cuts int, noSync bool) (lost, acked int) {
	const seed, perDisk = 42, 5
	rng := rand.New(rand.NewPCG(seed, 1))
	load := storetest.NewLoad(time.Now)
	var fs *vfs.MemFS
	for cut := range cuts {
		if cut%perDisk == 0 {
			fs = vfs.NewCrashableMem()
			load.Reset(nil)
		}
		carried := len(load.Acked())
		o := options(fs, time.Now)
		o.UnsafeNoSync = noSync
		s := open(t, o)
		enough := make(chan struct{})
		load.OnAck = countdown(1+rng.IntN(120), enough)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			load.Run(ctx, s, 8, rng.Uint64())
		}()
		<-enough
		// What is acknowledged before the cut must survive it; the load goes on meanwhile.
		before := load.Acked()
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		stop()
		<-done
		if err := s.Close(); err != nil {
			t.Fatalf("cut %d: closing the old store: %v", cut, err)
		}

		fs = after
		s = open(t, options(fs, time.Now))
		gone, faults, err := load.Lost(t.Context(), s, before)
		if err != nil {
			t.Fatalf("cut %d: %v", cut, err)
		}
		lost, acked = lost+gone, acked+len(before)-carried
		if !noSync {
			for _, f := range faults {
				t.Errorf("cut %d: %s", cut, f)
			}
		}
		if noSync {
			load.Reset(nil) // what is gone once is not counted again
		} else {
			load.Reset(before)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("cut %d: closing: %v", cut, err)
		}
	}
	return lost, acked
}

// countdown returns a function that closes done at its nth call.
func countdown(n int, done chan struct{}) func(storetest.Acked) {
	calls := make(chan int, 1)
	calls <- 0
	return func(storetest.Acked) {
		c := <-calls
		if c++; c == n {
			close(done)
		}
		calls <- c
	}
}

func TestPowerCuts(t *testing.T) {
	lost, acked := powerCuts(t, scaled(20, 200, 2000), false)
	if lost != 0 {
		t.Errorf("%d of %d acknowledged messages are lost", lost, acked)
	}
	t.Logf("%d acknowledged messages, none lost", acked)
}

// TestPowerCutsControl does without fsync: a suite that finds nothing lost then could not have failed.
func TestPowerCutsControl(t *testing.T) {
	lost, acked := powerCuts(t, scaled(20, 20, 60), true)
	if lost == 0 {
		t.Errorf("without fsync none of %d acknowledged messages was lost: the suite cannot see a loss", acked)
	}
	t.Logf("without fsync %d of %d acknowledged messages are lost", lost, acked)
}
