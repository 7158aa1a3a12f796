package embedded

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/store"
)

// trouble is why the store cannot be used, if so.
type trouble struct {
	cause atomic.Pointer[failure]
	// broken is set from the first fault on until the database was opened again; unlike cause it is not set by close, so
	// a commit that was under way when the store was closed still learns how it ended.
	broken atomic.Bool

	mu      sync.Mutex
	mending sync.WaitGroup
	stop    chan struct{} // closed by close
	closed  bool
	wedged  bool // the database holds its own locks for ever
	stalled bool // a commit waits for space
}

type failure struct {
	err   error // what callers get
	final bool
}

// now returns nil or an error that is store.ErrUnavailable.
func (t *trouble) now() error {
	if f := t.cause.Load(); f != nil {
		return f.err
	}
	return nil
}

// close marks the store closed and waits for the goroutine that mends it. first is false when it was closed before.
func (t *trouble) close() (wedged, first bool) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false, false
	}
	t.closed = true
	close(t.stop)
	t.cause.Store(&failure{err: fmt.Errorf("%w: closed", store.ErrUnavailable), final: true})
	wedged = t.wedged || t.stalled
	t.mu.Unlock()
	t.mending.Wait()
	return wedged, true
}

// fail marks the store failed. Unless the fault is one after which this process must not go on, it is closed and opened
// again until that succeeds: what was in doubt is then decided by what is on the disk.
func (s *Store) fail(err error) {
	// A failed fsync drops dirty pages and says so only once: reading the file again would show what is not on the disk.
	if errors.Is(err, syscall.EIO) || errors.Is(err, pebble.ErrCorruption) {
		s.end(err, false)
		return
	}
	t := &s.trouble
	t.broken.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.cause.Load() != nil {
		return
	}
	t.cause.Store(&failure{err: fmt.Errorf("%w: %w", store.ErrUnavailable, err)})
	s.o.Log.Error("the store has failed and is being reopened", "error", cause(err))
	t.mending.Add(1)
	go func() {
		defer t.mending.Done()
		s.mend()
	}()
}

// stall refuses everything while a commit waits for space, until the function that it returns is called.
func (s *Store) stall(err error) (over func()) {
	t := &s.trouble
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &failure{err: fmt.Errorf("%w: %w", store.ErrUnavailable, err)}
	t.stalled = true
	t.cause.CompareAndSwap(nil, f)
	s.o.Log.Error("the disk is full; the store waits for space", "error", cause(err))
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.stalled = false
		t.cause.CompareAndSwap(f, nil)
		s.o.Log.Info("the disk has space again")
	}
}

// failForGood is fail for a database that can neither go on nor be closed.
func (s *Store) failForGood(err error) { s.end(err, true) }

func (s *Store) end(err error, wedged bool) {
	t := &s.trouble
	t.broken.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wedged = t.wedged || wedged
	if f := t.cause.Load(); t.closed || f != nil && f.final {
		return
	}
	t.cause.Store(&failure{err: fmt.Errorf("%w: %w", store.ErrUnavailable, err), final: true})
	s.o.Log.Error("the store has failed; the process must end", "error", cause(err))
	if s.o.Fatal != nil {
		go s.o.Fatal(err) // it may well close this store
	}
}

// mend closes the failed database and opens it again.
func (s *Store) mend() {
	s.life.Lock() // running operations end first
	defer s.life.Unlock()
	pause, most := s.o.Backoff, 100*s.o.Backoff
	for s.pause(pause) {
		if f := s.trouble.cause.Load(); f.final {
			return
		}
		err := s.reopen()
		if err == nil {
			if f := s.trouble.cause.Load(); !f.final {
				s.trouble.cause.CompareAndSwap(f, nil)
			}
			s.o.Log.Info("the store is open again")
			s.learn()
			return
		}
		s.o.Log.Warn("reopening the store", "error", cause(err))
		if errors.Is(err, pebble.ErrCorruption) || errors.Is(err, errDamagedLog) {
			s.end(err, false)
			return
		}
		pause = min(2*pause, most)
	}
}

func (s *Store) reopen() error {
	s.gate.giveBallast()
	s.logs.running.Store(false)
	if s.db != nil {
		// It reports the very fault again.
		if err := s.db.Close(); err != nil {
			s.o.Log.Warn("closing the failed database", "error", cause(err))
		}
		s.db = nil
	}
	s.work.clear()
	s.timers.clear()
	s.outbox.clear()
	s.queues.restart(s.o.IDs.Token())
	s.trouble.broken.Store(false)
	return s.start()
}

// cause is what of an error may be logged: its system error, or its kind. The text of a library's error can hold keys.
func cause(err error) string {
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		return no.Error()
	case errors.Is(err, pebble.ErrCorruption), errors.Is(err, errDamagedLog):
		return "damaged data"
	}
	return fmt.Sprintf("%T", err)
}

// logger is Pebble's way to speak. Nothing it says ends the process, and none of its values are logged.
type logger struct{ s *Store }

func (l *logger) Infof(string, ...any) {}

func (l *logger) Errorf(format string, args ...any) {
	l.s.o.Log.Warn("database", "format", format, "error", firstCause(args))
}

// Fatalf is called by a commit whose log could not be written, among others. It must not return as if nothing had
// happened: Pebble then reports success.
func (l *logger) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok {
			l.s.fail(fmt.Errorf("database: %w", err))
			return
		}
	}
	l.s.fail(errors.New("database: " + format))
}

func firstCause(args []any) string {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return cause(err)
		}
	}
	return ""
}
