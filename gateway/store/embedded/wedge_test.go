package embedded_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// logsFail is a file system on which no new log file can be made while a switch is on.
func logsFail(fs vfs.FS, fail *atomic.Bool, tried chan<- struct{}, cause error) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite) && strings.HasSuffix(op.Path, ".log") {
			select {
			case tried <- struct{}{}:
			default:
			}
			return &os.PathError{Op: "create", Path: op.Path, Err: cause}
		}
		return nil
	}))
}

// fill commits until the log is full and the next one is asked for; the last commit may still be under way then.
func fill(t *testing.T, s *embedded.Store, o embedded.Options, ref store.Ref, tried <-chan struct{}) (acked *atomic.Uint64, ended <-chan error) {
	t.Helper()
	text := strings.Repeat("x", 64<<10)
	acked = new(atomic.Uint64)
	done := make(chan error, 1)
	go func() {
		for {
			snap, err := s.Load(t.Context(), ref)
			if err == nil {
				st := draft(t, o, sender, snap, text)
				if _, err = s.Commit(t.Context(), st); err == nil {
					acked.Store(st.State.Seq)
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	<-tried
	return acked, done
}

// TestNoSpaceForNextLog lets the turn to a new log file fail for want of space. The store refuses and goes on when there
// is some; the step that needed the file is acknowledged then, once.
func TestNoSpaceForNextLog(t *testing.T) {
	var full atomic.Bool
	tried := make(chan struct{}, 1)
	o := options(logsFail(vfs.NewCrashableMem(), &full, tried, syscall.ENOSPC), time.Now)
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	full.Store(true)
	acked, ended := fill(t, s, o, st.Ref, tried)
	<-tried // it has been tried once more: by now everything is refused
	if _, err := s.Load(t.Context(), st.Ref); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("meanwhile: %v, want unavailable", err)
	}
	before := acked.Load()
	full.Store(false)
	usable(t, s)
	for acked.Load() <= before {
		select {
		case err := <-ended:
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("the load ended: %v", err)
			}
			commit(t, s, draft(t, o, sender, load(t, s, st.Ref), "after"))
			acked.Store(load(t, s, st.Ref).State.Seq)
		default:
			runtime.Gosched()
		}
	}
	sound(t, s)
	closeStore(t, s)
	s = open(t, o)
	if got := load(t, s, st.Ref).State.Seq; got < acked.Load() {
		t.Errorf("%d events of %d acknowledged", got, acked.Load())
	}
	sound(t, s)
	closeStore(t, s)
}

// TestNoNextLog lets it fail for good: the store asks for the process to end and neither takes it with it nor
// acknowledges nor hangs.
func TestNoNextLog(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewCrashableMem()
	tried := make(chan struct{}, 1)
	o := options(logsFail(mem, &broken, tried, syscall.EIO), time.Now)
	fatal := make(chan error, 1)
	o.Fatal = func(err error) { fatal <- err }
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	broken.Store(true)
	acked, _ := fill(t, s, o, st.Ref, tried)
	if err := <-fatal; !errors.Is(err, syscall.EIO) {
		t.Errorf("fatal: %v", err)
	}
	if _, err := s.Load(t.Context(), st.Ref); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("afterwards: %v, want unavailable", err)
	}
	if err := s.Close(); err == nil {
		t.Error("closed as if nothing had happened")
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	s = open(t, options(after, time.Now))
	if got := load(t, s, st.Ref); got.State.Seq < acked.Load() {
		t.Errorf("after the restart: %d events of %d acknowledged", got.State.Seq, acked.Load())
	}
	sound(t, s)
	closeStore(t, s)
}
