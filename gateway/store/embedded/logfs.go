package embedded

import (
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logFS stands between Pebble and the file system where Pebble turns to a new log file. There Pebble knows no error: it
// panics while it does not hold the mutex that it will unlock, which ends the process. So it is never told of one while
// the store runs. A full disk is waited out, with the ballast thrown off and the store refusing everything meanwhile; the
// step that needed the file is then written as if nothing had been. After any other error the process has to end.
type logFS struct {
	vfs.FS
	s *Store
	// running is set while the store is open: an error while it opens is an error as any other.
	running atomic.Bool
	// fresh is set while no old file may be written over: most of it would stay as it was.
	fresh atomic.Bool
}

// Create implements vfs.FS.
func (l *logFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.patiently(name, func() (vfs.File, error) { return l.FS.Create(name, c) })
	if err == nil && strings.HasSuffix(name, ".sst") {
		return newTableFile(f), nil
	}
	return f, err
}

// ReuseForWrite implements vfs.FS.
func (l *logFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !l.fresh.Load() || !strings.HasSuffix(name, ".log") {
		return l.patiently(name, func() (vfs.File, error) { return l.FS.ReuseForWrite(old, name, c) })
	}
	f, err := l.patiently(name, func() (vfs.File, error) { return l.FS.Create(name, c) })
	if err == nil {
		_ = l.FS.Remove(old) // whoever asked for fresh files looks whether it is gone
	}
	return f, err
}

// Unwrap implements vfs.FS.
func (l *logFS) Unwrap() vfs.FS { return l.FS }

func (l *logFS) patiently(name string, create func() (vfs.File, error)) (vfs.File, error) {
	f, err := create()
	if err == nil || !l.running.Load() || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	if !isFull(err) {
		l.s.failForGood(err)
		select {} // nothing that could be returned keeps the process alive until it was ended in order
	}
	over := l.s.stall(err)
	for pause := l.s.o.Backoff; err != nil; pause = min(2*pause, 100*l.s.o.Backoff) {
		l.s.gate.giveBallast()
		if !l.s.pause(pause) {
			select {} // closed: the step is given up with the process
		}
		f, err = create()
	}
	over()
	return f, nil
}
