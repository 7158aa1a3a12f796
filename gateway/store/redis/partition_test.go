package redis_test

import (
	"os"
	"testing"
	"time"

	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// partitions is how many primaries are cut off from their replicas.
func partitions() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 20
	}
	return 1
}

// partitioned lets customers write while the wire between a primary and its replica is cut, kills the primary with what it
// had, and promotes the replica. A kill alone shows nothing: the kernel still delivers what the primary had written to its
// replica's socket.
func partitioned(t *testing.T, wait, after int, seed uint64) (acked, lost int, faults []string) {
	t.Helper()
	primary := redistest.Start(t, everysec()...)
	wire := redistest.Before(t, primary)
	replica := redistest.ReplicaOver(t, wire, primary, everysec()...)
	o := options(primary, time.Now)
	o.Wait, o.WaitFor, o.Patience, o.AllowUnsafe = wait, 500*time.Millisecond, 50*time.Millisecond, wait == 0
	s := open(t, o)
	load := storetest.NewLoad(time.Now)
	reached(t, s, load, 60, seed)
	cut := make(chan struct{})
	load.OnAck = nil
	go func() { defer close(cut); wire.Cut() }() // while customers write
	worked(t, s, load, after, seed+1)
	<-cut
	if wait == 0 {
		reached(t, s, load, after, seed+2)
	} else {
		worked(t, s, load, 1, seed+2) // nobody confirms: it ends with the first of each customer
	}
	primary.Kill()
	replica.Promote()
	o.Addr, o.Wait, o.AllowUnsafe, o.Patience = replica.Addr(), 0, true, 0
	lost, faults, err := load.Lost(t.Context(), open(t, o), load.Acked())
	if err != nil {
		t.Fatal(err)
	}
	return len(load.Acked()), lost, faults
}

// TestPartition: with a replica to wait for, nothing that was acknowledged is lost with a primary that nobody heard.
func TestPartition(t *testing.T) {
	for n := range partitions() {
		acked, lost, faults := partitioned(t, 1, 1000, uint64(10*n))
		if lost != 0 || len(faults) != 0 {
			t.Errorf("%d of %d acknowledged messages are gone, %v", lost, acked, faults)
		}
	}
}

// TestPartitionControl does the same without waiting: what was acknowledged behind the cut is gone, and the test sees it.
func TestPartitionControl(t *testing.T) {
	acked, lost, _ := partitioned(t, 0, 60, 1)
	if lost == 0 {
		t.Errorf("%d of %d acknowledged messages are gone, want some", lost, acked)
	}
}
