package redis_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// everysec are the settings of a server that relies on its replicas.
func everysec() []string {
	return []string{"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"}
}

// worked lets a load work until so many messages are acknowledged or the store takes no more.
func worked(t *testing.T, s *redis.Store, load *storetest.Load, acks int, seed uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	until := len(load.Acked()) + acks
	load.OnAck = func(storetest.Acked) {
		if len(load.Acked()) >= until {
			cancel()
		}
	}
	load.Run(ctx, s, 4, seed)
}

// reached is worked until so many more are acknowledged: on a busy machine a replica may be late once, and a load ends then.
func reached(t *testing.T, s *redis.Store, load *storetest.Load, acks int, seed uint64) {
	t.Helper()
	until := len(load.Acked()) + acks
	for n := range uint64(100) {
		if left := until - len(load.Acked()); left > 0 {
			worked(t, s, load, left, seed+1000*n)
		}
	}
	if n := len(load.Acked()); n < until {
		t.Fatalf("%d messages were acknowledged, want %d", n, until)
	}
}

// survivor opens the store on the replica after the primary has died with all that it had.
func survivor(t *testing.T, primary, replica *redistest.Server, o redis.Options) *redis.Store {
	t.Helper()
	primary.Kill()
	replica.Restart()
	replica.Promote()
	o.Addr, o.Wait, o.AllowUnsafe = replica.Addr(), 0, true
	o.Patience = 0
	return open(t, o)
}

// TestReplicaStopped: with a replica to wait for that is gone, nothing is acknowledged and nothing is shown; when it is
// back the same step turns out to be done. When the primary dies instead, the replica has everything that was acknowledged.
func TestReplicaStopped(t *testing.T) {
	primary := redistest.Start(t, everysec()...)
	replica := redistest.Replica(t, primary, everysec()...)
	o := options(primary, time.Now)
	o.Wait, o.WaitFor, o.Patience = 1, 500*time.Millisecond, 50*time.Millisecond
	s := open(t, o)
	if h := s.Health(t.Context()); !h.OK || h.Level != "redis, wait=1, aof=everysec" {
		t.Errorf("health: %+v", h)
	}
	load := storetest.NewLoad(time.Now)
	reached(t, s, load, 60, 1)
	acked := len(load.Acked())
	replica.Kill()
	primary.Info("replication", func(info string) bool { return !strings.Contains(info, "state=online") })
	ten, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Publish(t.Context(), ten, "rules", 0, store.VersionedDoc{Body: []byte("x")})
	if !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("publishing without a replica: %v", err)
	}
	if _, err := s.Current(t.Context(), ten, "rules"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("what no replica has is shown: %v", err)
	}
	if h := s.Health(t.Context()); h.OK || h.Reason == "" {
		t.Errorf("health without a replica: %+v", h)
	}
	worked(t, s, load, 1000, 2)
	if n := len(load.Acked()); n != acked {
		t.Errorf("%d messages were acknowledged without a replica", n-acked)
	}
	after := survivor(t, primary, replica, o)
	lost, faults, err := load.Lost(t.Context(), after, load.Acked())
	if err != nil || lost != 0 || len(faults) != 0 {
		t.Errorf("%d of %d acknowledged messages are gone, %v, %v", lost, acked, faults, err)
	}
}

// TestReplicaStoppedControl does the same without waiting: what was acknowledged meanwhile is gone, and the test sees it.
func TestReplicaStoppedControl(t *testing.T) {
	primary := redistest.Start(t, everysec()...)
	replica := redistest.Replica(t, primary, everysec()...)
	o := options(primary, time.Now)
	o.AllowUnsafe = true
	s := open(t, o)
	load := storetest.NewLoad(time.Now)
	reached(t, s, load, 60, 1)
	replica.Kill()
	reached(t, s, load, 60, 2)
	after := survivor(t, primary, replica, o)
	if lost, _, err := load.Lost(t.Context(), after, load.Acked()); err != nil || lost == 0 {
		t.Errorf("%d of %d acknowledged messages are gone, want some, %v", lost, len(load.Acked()), err)
	}
}

// TestReplicaBack: a step that no replica had confirmed is done once when one is back, under its own operation.
func TestReplicaBack(t *testing.T) {
	primary := redistest.Start(t, everysec()...)
	replica := redistest.Replica(t, primary, everysec()...)
	o := options(primary, time.Now)
	o.Wait, o.WaitFor, o.Patience = 1, 500*time.Millisecond, 50*time.Millisecond
	s := open(t, o)
	load := storetest.NewLoad(time.Now)
	reached(t, s, load, 10, 1)
	replica.Kill()
	primary.Info("replication", func(info string) bool { return !strings.Contains(info, "state=online") })
	worked(t, s, load, 10, 2)
	replica.Restart()
	replica.Info("replication", func(info string) bool { return strings.Contains(info, "master_link_status:up") })
	recovered(t, s)
	reached(t, s, load, 10, 3)
	if lost, faults, err := load.Lost(t.Context(), s, load.Acked()); err != nil || lost != 0 || len(faults) != 0 {
		t.Errorf("%d are gone, %v, %v", lost, faults, err)
	}
}

// failovers is how many primaries are killed.
func failovers() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 20
	}
	return 1
}

// TestFailover kills the primary that sentinels watch: the store goes on with the replica that takes over, and everything
// that was acknowledged before is there. What was the primary comes back as a replica.
func TestFailover(t *testing.T) {
	primary := redistest.Start(t, everysec()...)
	servers := []*redistest.Server{primary, redistest.Replica(t, primary, everysec()...), redistest.Replica(t, primary, everysec()...)}
	o := options(primary, time.Now)
	o.Addr, o.Sentinels, o.Master = "", redistest.Sentinels(t, primary, 3), "main"
	o.Wait, o.WaitFor = 2, time.Second // both: whichever takes over has it
	s := open(t, o)
	load := storetest.NewLoad(time.Now)
	for n := range failovers() {
		reached(t, s, load, 50, uint64(n))
		var dead *redistest.Server
		for _, server := range servers {
			if role, err := server.Client().Do(t.Context(), "ROLE").Slice(); err == nil && role[0] == "master" {
				dead = server
			}
		}
		if dead == nil {
			t.Fatal("there is no primary")
		}
		before := len(load.Acked())
		done := make(chan struct{})
		go func() { defer close(done); worked(t, s, load, 1000, uint64(100+n)) }()
		for writing := true; writing && len(load.Acked()) < before+10; { // it dies while customers write
			select {
			case <-done:
				writing = false
			case <-time.After(time.Millisecond):
			}
		}
		dead.Kill()
		<-done
		dead.Restart()
		recovered(t, s)
		reached(t, s, load, 20, uint64(200+n))
		lost, faults, err := load.Lost(t.Context(), s, load.Acked())
		if err != nil || lost != 0 || len(faults) != 0 {
			t.Fatalf("failover %d: %d of %d acknowledged messages are gone, %v, %v", n, lost, len(load.Acked()), faults, err)
		}
	}
}
