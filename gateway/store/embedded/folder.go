package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store"
)

// folderLock keeps other processes out and tells them who is in.
type folderLock struct {
	fs   vfs.FS
	pid  string
	lock *pebble.Lock
}

// InUseError says that another process has the store open.
type InUseError struct {
	Dir string
	PID int // 0: not known
	Err error
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("opening store in %s: another process has it open: %v", e.Dir, e.Err)
	}
	return fmt.Sprintf("opening store in %s: process %d has it open: %v", e.Dir, e.PID, e.Err)
}

func (e *InUseError) Unwrap() error { return e.Err }

// lockFolder makes dir durably when it is missing and locks db within it.
func lockFolder(fs vfs.FS, dir, db string) (*folderLock, error) {
	if err := makeFolder(fs, db); err != nil {
		return nil, fmt.Errorf("making the store's folder: %w", err)
	}
	l := &folderLock{fs: fs, pid: fs.PathJoin(dir, "pid")}
	lock, err := pebble.LockDirectory(db, fs)
	if err != nil {
		pid, _ := readPID(fs, l.pid)
		return nil, &InUseError{Dir: dir, PID: pid, Err: err}
	}
	l.lock = lock
	if err := writeFile(fs, l.pid, []byte(strconv.Itoa(os.Getpid())+"\n")); err != nil && !isFull(err) {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", l.pid, err), lock.Close())
	}
	return l, nil
}

func (l *folderLock) release() error {
	_ = l.fs.Remove(l.pid) // an old one says nothing without the lock
	return l.lock.Close()
}

func readPID(fs vfs.FS, name string) (int, bool) {
	f, err := fs.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// makeFolder makes dir and what is missing above it, and makes each new entry durable. The last two are synced in any
// case: whoever made them may not have come so far.
func makeFolder(fs vfs.FS, dir string) error {
	var parents []string
	for d := dir; fs.PathDir(d) != d; d = fs.PathDir(d) {
		if _, err := fs.Stat(d); err == nil && len(parents) >= 2 {
			break
		}
		parents = append(parents, fs.PathDir(d))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range parents {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func writeFile(fs vfs.FS, name string, b []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func isFull(err error) bool { return vfs.IsNoSpaceError(err) }

// gate refuses writes while the disk has less than the reserve free: Pebble itself does not survive a full disk.
type gate struct {
	fs      vfs.FS
	dir     string
	ballast string
	reserve int64 // below 0: none
	size    int64 // of the ballast

	calls atomic.Uint32
	free  atomic.Int64 // above the reserve, as last seen
	mu    sync.Mutex   // of the ballast
}

func newGate(fs vfs.FS, dir string, reserve, ballast int64) *gate {
	g := &gate{fs: fs, dir: dir, ballast: fs.PathJoin(dir, "ballast"), reserve: reserve, size: ballast}
	g.look()
	return g
}

// every is at how many writes the disk is asked while it is far from full. A step writes a few kilobytes.
const every = 64

// check returns store.ErrFull under the reserve.
func (g *gate) check() error {
	if g.reserve < 0 {
		return nil
	}
	free := g.free.Load()
	if n := g.calls.Add(1); n%every == 0 || free < g.reserve {
		before := free
		if free = g.look(); free > g.reserve && before <= g.reserve {
			g.fill()
		}
	}
	if free < 0 {
		return store.ErrFull
	}
	return nil
}

// look asks the disk.
func (g *gate) look() int64 {
	free := int64(1) << 62
	if use, err := g.fs.GetDiskUsage(g.dir); err == nil {
		free = int64(min(use.AvailBytes, 1<<62)) - max(g.reserve, 0)
	}
	g.free.Store(free)
	return free
}

// fill takes the ballast from a disk that has plenty.
func (g *gate) fill() {
	if g.size < 0 || g.look() < 4*g.size {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.fs.Stat(g.ballast); err == nil {
		return
	}
	f, err := g.fs.Create(g.ballast, vfs.WriteCategoryUnspecified)
	if err != nil {
		return // without a ballast the store works, and mends itself later
	}
	if err := errors.Join(f.Preallocate(0, g.size), f.Sync(), f.Close()); err != nil {
		_ = g.fs.Remove(g.ballast)
	}
}

// giveBallast gives the ballast back to the disk.
func (g *gate) giveBallast() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.fs.Remove(g.ballast)
}

// openError says in the operator's words why Pebble did not open: its own message keeps the file's name to itself.
func openError(dir string, err error) error {
	if !errors.Is(err, pebble.ErrCorruption) {
		return fmt.Errorf("opening store in %s: %w", dir, err)
	}
	where := "a file"
	for e := err; e != nil; e = errors.Unwrap(e) {
		if d, ok := e.(interface{ ErrorDetail() string }); ok {
			where = d.ErrorDetail()
		}
	}
	return fmt.Errorf("opening store in %s: damaged data, nothing was skipped (%s): %w", dir, where, err)
}
