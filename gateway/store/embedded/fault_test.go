package embedded_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"turnout/gateway/fault"
	"turnout/gateway/store"
	"turnout/gateway/store/storetest"
)

// TestFullDisk lets writes of the log fail for want of space: nothing is acknowledged, the store refuses, and comes back
// with its order kept when there is space again.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	o := options(faulty(errorfs.OpFileWrite, &full, syscall.ENOSPC), time.Now)
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	s := open(t, o)
	first := draft(t, o, sender, nil, "one")
	commit(t, s, first)
	for range 3 {
		snap := load(t, s, first.Ref)
		full.Store(true)
		st := draft(t, o, sender, snap, "two")
		if _, err := s.Commit(t.Context(), st); !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("on a full disk: %v, want an unknown outcome", err)
		}
		if _, err := s.Commit(t.Context(), st); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after the failure: %v, want unavailable", err)
		}
		if _, err := s.Load(t.Context(), first.Ref); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("reading after the failure: %v, want unavailable", err)
		}
		if h := s.Health(t.Context()); h.OK || h.Reason == "" {
			t.Errorf("health: %+v", h)
		}
		full.Store(false)
		usable(t, s)
		// The outcome is decided now, and the same operation finds out which it was.
		commit(t, s, st)
		if got := load(t, s, first.Ref); got.Version != st.Op || got.State.Seq != snap.State.Seq+1 {
			t.Errorf("after the recovery: version %s, seq %d, want %s, %d", got.Version, got.State.Seq, st.Op, snap.State.Seq+1)
		}
	}
	sound(t, s)
	closeStore(t, s)
	s = open(t, o)
	if seq := load(t, s, first.Ref).State.Seq; seq != 5 {
		t.Errorf("after a restart: %d events, want 5", seq)
	}
	sound(t, s)
	closeStore(t, s)
}

// TestFailingFsync: after a failed fsync the kernel's cache cannot be trusted. Nothing is acknowledged any more, and the
// process is told to end.
func TestFailingFsync(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewCrashableMem()
	o := options(faultyOn(mem, errorfs.OpFileSync, &broken, syscall.EIO), time.Now)
	fatal := make(chan error, 1)
	o.Fatal = func(err error) { fatal <- err }
	s := open(t, o)
	first := draft(t, o, sender, nil, "one")
	commit(t, s, first)
	snap := load(t, s, first.Ref)
	broken.Store(true)
	var hinted atomic.Bool
	defer s.Subscribe(func(store.Hint) { hinted.Store(true) }).Close()
	if _, err := s.Commit(t.Context(), draft(t, o, sender, snap, "two")); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("with a failing fsync: %v", err)
	}
	if err := <-fatal; !errors.Is(err, syscall.EIO) {
		t.Errorf("fatal: %v, want an I/O error", err)
	}
	broken.Store(false) // the disk seems well again; that is the trap
	for range 100 {
		if _, err := s.Commit(t.Context(), draft(t, o, sender, snap, "three")); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("after a failed fsync: %v", err)
		}
	}
	if hinted.Load() {
		t.Error("somebody was told of a commit that is not durable")
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s = open(t, options(after, time.Now))
	if got := load(t, s, first.Ref); got.Version != first.Op {
		t.Errorf("after the cut the version is %s, want the only one acknowledged", got.Version)
	}
	sound(t, s)
	closeStore(t, s)
}

func TestReserve(t *testing.T) {
	disk := &small{FS: vfs.NewMem()}
	disk.free.Store(1000 << 20)
	o := options(disk, time.Now)
	o.Reserve, o.Ballast = 100<<20, 1<<20
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	if h := s.Health(t.Context()); !h.OK || h.Free != 900<<20 {
		t.Errorf("health: %+v", h)
	}
	disk.free.Store(99 << 20)
	// Health asks the disk, and from then on every write does.
	if h := s.Health(t.Context()); h.OK || h.Free != -1<<20 {
		t.Errorf("health under the reserve: %+v", h)
	}
	ctx := t.Context()
	next := draft(t, o, sender, load(t, s, st.Ref), "two")
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("%s: %v, want full", what, err)
		}
	}
	_, err := s.Commit(ctx, next)
	full("a commit", err)
	_, _, err = s.Blobs().Put(ctx, st.Ref, strings.NewReader("x"), 10)
	full("a blob", err)
	full("a version", s.Publish(ctx, st.Ref.Tenant, "doc", 0, store.VersionedDoc{}))
	if done, err := s.Commit(ctx, st); err != nil || !done.Repeat {
		t.Errorf("asking after an old operation: %+v, %v", done, err)
	}
	disk.free.Store(1000 << 20)
	commit(t, s, next)
	sound(t, s)
	closeStore(t, s)
}

// TestGateSeesTheDiskFill writes without anybody asking after the store's health: it notices by itself.
func TestGateSeesTheDiskFill(t *testing.T) {
	disk := &small{FS: vfs.NewMem()}
	disk.free.Store(1000 << 20)
	o := options(disk, time.Now)
	o.Reserve = 100 << 20
	s := open(t, o)
	defer closeStore(t, s)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	disk.free.Store(1 << 20)
	for i := range 100 {
		if _, err := s.Commit(t.Context(), draft(t, o, sender, load(t, s, st.Ref), "x")); errors.Is(err, store.ErrFull) {
			return
		} else if err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
	t.Error("100 commits went to a full disk")
}

func TestFaultPoints(t *testing.T) {
	boom := errors.New("boom")
	var at atomic.Value
	at.Store(fault.Point(""))
	o := options(vfs.NewMem(), time.Now)
	o.Faults = func(_ context.Context, p fault.Point) error {
		if at.Load() == p {
			return boom
		}
		return nil
	}
	s := open(t, o)
	defer closeStore(t, s)
	first := draft(t, o, sender, nil, "one")
	commit(t, s, first)

	at.Store(fault.CommitPrepared)
	snap := load(t, s, first.Ref)
	two := draft(t, o, sender, snap, "two")
	if _, err := s.Commit(t.Context(), two); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, boom) {
		t.Errorf("before the write: %v", err)
	}
	if load(t, s, first.Ref).Version != snap.Version {
		t.Error("before the write: something was written")
	}
	at.Store(fault.CommitDurable)
	if _, err := s.Commit(t.Context(), two); !errors.Is(err, store.ErrUnknown) || !errors.Is(err, boom) {
		t.Errorf("after the write: %v", err)
	}
	at.Store(fault.Point(""))
	if done, err := s.Commit(t.Context(), two); err != nil || !done.Repeat {
		t.Errorf("repeated: %+v, %v", done, err)
	}
	sound(t, s)
}

// TestLoadIsUsed looks that the load of the crash tests comes everywhere.
func TestLoadIsUsed(t *testing.T) {
	l := storetest.NewLoad(time.Now)
	s := open(t, options(vfs.NewMem(), time.Now))
	defer closeStore(t, s)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	l.OnAck = countdown(200, done)
	go func() {
		<-done
		stop()
	}()
	l.Run(ctx, s, 4, 1)
	rep, err := s.Check(t.Context())
	if err != nil || len(rep.Faults) != 0 {
		t.Fatalf("check: %v, %v", rep.Faults, err)
	}
	// A load that never diverts, closes or sends would prove nothing.
	dead, _, err := s.DeadLetters(t.Context(), tenant(t), "", 1000)
	if err != nil || len(dead) == 0 {
		t.Errorf("%d dead letters, %v", len(dead), err)
	}
	if rep.Conversations <= 16 {
		t.Errorf("%d conversations of 16 customers: none was closed", rep.Conversations)
	}
}
