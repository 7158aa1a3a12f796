// Package embedded is the store in a folder of this machine: Pebble, written synchronously.
//
// A step takes the lock of its partition, reads, compares, writes one batch with a synchronous commit and only then shows
// itself to the views in memory and lets go of the lock. Pebble shows a batch to readers before it is on the disk;
// readers of a conversation take the lock of its partition, so nobody sees a step that is not durable. Commits of
// different partitions share their fsync.
//
// On the disk stand the conversations, their logs and one index of obligations (index.go). What orders and counts, the
// schedules and the queues, is memory and is built from that index at start. Leases are memory too: a start of the
// process is the end of every bot call and of every send that it had begun.
//
// What profiles of a node under load have taught, in the order of what it was worth (turnout bench prints the steps):
//
//   - Bytes cost more than the work to make fewer of them. A byte is sealed, copied into a batch, into a group, into the log
//     and into the table in memory, written, and later written again: so rows are packed (jsonenc).
//   - A key costs two microseconds, for its place in the table in memory: the way there misses the caches. So a step writes
//     one row of log, one of audit, one of state, whatever it holds, and rows of work stay when the work is done.
//   - Pebble shares syncs between commits, not writes: the group commit (group.go) does. There is no goroutine of its own to
//     hand over to and back from.
//   - Pages written in two pieces (tablefile.go), and level 0 merged in small portions, doubled what flushes and compactions
//     took.
//   - Whether a message id is known must not cost a look at the disk (filter.go, learn.go, recent.go): nearly all are new.
//   - A turn reads its conversation from the cache of records, with its key unwrapped. A cold one costs three reads and about
//     as much again as a whole turn.
//   - Tried without gain: a shortest time between syncs, profile-guided builds, GOAMD64=v3, a higher GOGC, more Ps than cores.
//
// Lock order: Store.copying, then Store.life, then a partition, then a tenant's chain, then the views.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/seal"
)

var _ store.Store = (*Store)(nil)

// Store is a store.Store in a folder. It is safe for concurrent use.
type Store struct {
	o    Options
	fs   vfs.FS
	dir  string // of the database
	root *seal.Root
	lock *folderLock
	gate *gate
	logs *logFS

	// life is held for reading by every operation, and for writing while db is exchanged or closed.
	life sync.RWMutex
	db   *pebble.DB

	trouble trouble
	parts   [id.Partitions]partition
	tenants tenants
	cache   *cache
	gens    generations
	spare   sync.Pool // of *write
	group   group
	fsync   atomic.Int64 // nanoseconds, smoothed

	work, timers *schedule
	outbox       outboxes
	queues       *queues
	hints        hints
	blobs        *Blobs
	leased       jobs

	scrubbing sync.Mutex   // one Scrub at a time
	copying   sync.RWMutex // held for reading by a backup, for writing while anything is removed for good
	backing   sync.Mutex   // one backup at a time
	quiet     sync.RWMutex // held for reading by each write of the database, for writing while a backup links its files
}

// partition guards what lies in it.
type partition struct {
	mu sync.RWMutex
	// leases are the running bot calls, attempts the running sends.
	leases   map[store.Ref]store.Lease
	attempts map[store.Ref]store.Lease
	work     workRows
	recent   recent
}

// Open opens the store in o.Dir or makes a new one. It fails with seal.ErrRootKey when o.Root is not the key that the
// store was made with, names the process that has the folder open where it can, and names the file when the write-ahead
// log is damaged before its end; a torn end is what a power cut leaves and is dropped: nobody was told of it.
func Open(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	root, err := seal.NewRoot(o.Root, o.Rand)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{
		o: o, fs: o.FS, dir: o.FS.PathJoin(o.Dir, "db"), root: root,
		cache: newCache(o.Cached), queues: newQueues(o.IDs.Token(), o.Now),
		work: newSchedule(), timers: newSchedule(),
	}
	s.logs = &logFS{FS: o.FS, s: s}
	s.trouble.stop = make(chan struct{})
	s.tenants.byName = map[string]*tenant{}
	if s.lock, err = lockFolder(o.FS, o.Dir, s.dir); err != nil {
		return nil, err
	}
	// A process that died over a backup has left links to files that may be scrubbed by now.
	if err := o.FS.RemoveAll(o.FS.PathJoin(o.Dir, checkpointName)); err != nil {
		return nil, errors.Join(fmt.Errorf("removing what a backup has left: %w", err), s.lock.release())
	}
	s.gate = newGate(o.FS, o.Dir, o.Reserve, o.Ballast)
	if err := s.start(); err != nil {
		s.trouble.close()
		return nil, errors.Join(err, s.lock.release())
	}
	s.gate.fill()
	s.learn()
	s.blobs = &Blobs{s: s, files: blob.New(blob.NewDir(o.FS, o.FS.PathJoin(o.Dir, "blobs")))}
	return s, nil
}

// start opens the database and builds everything in memory from it.
func (s *Store) start() error {
	if err := checkLog(s.fs, s.dir); err != nil {
		return fmt.Errorf("opening store in %s: %w", s.dir, err)
	}
	db, err := s.openPebble()
	if err != nil {
		return openError(s.dir, err)
	}
	s.db = db
	s.logs.running.Store(true)
	err = s.load()
	if err == nil && s.trouble.broken.Load() {
		err = store.ErrUnavailable
	}
	if err != nil {
		s.db = nil
		s.logs.running.Store(false)
		return errors.Join(fmt.Errorf("opening store in %s: %w", s.dir, err), db.Close())
	}
	return nil
}

// openPebble opens the database. The first log of a new one is begun before the database has its format and promises
// nothing of what was synced, so that damage could not be told from a torn end: a new one is opened twice.
func (s *Store) openPebble() (*pebble.DB, error) {
	desc, err := pebble.Peek(s.dir, s.fs)
	if err != nil {
		return nil, err
	}
	db, err := pebble.Open(s.dir, s.pebbleOptions())
	if err != nil || desc.Exists {
		return db, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return pebble.Open(s.dir, s.pebbleOptions())
}

func (s *Store) load() error {
	for i := range s.parts {
		s.parts[i].leases = map[store.Ref]store.Lease{}
		s.parts[i].attempts = map[store.Ref]store.Lease{}
		s.parts[i].work = workRows{}
		s.parts[i].recent.clear()
	}
	s.cache.clear()
	s.tenants.clear()
	if err := s.identify(); err != nil {
		return err
	}
	return s.rebuild()
}

func (s *Store) pebbleOptions() *pebble.Options {
	logger := &logger{s: s}
	o := &pebble.Options{
		FS:                 s.logs,
		Lock:               s.lock.lock,
		Logger:             logger,
		FormatMajorVersion: pebble.FormatWALSyncChunks, // from here on a damaged record is told from a torn end
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.fail(fmt.Errorf("writing in the background: %w", err)) },
			DataCorruption:  func(pebble.DataCorruptionInfo) { s.fail(pebble.ErrCorruption) },
		},
		CacheSize: 64 << 20,
		// A state row is written at every step: of a table in memory only the last version goes to the disk. Putting a row
		// into a larger table costs more, as the processor's caches hold less of the way to its place: with 64 MiB a row took
		// a third longer, and 16 MiB are merged too often. A start after a crash reads the logs of one such table, or where the
		// disk could not follow of up to four.
		MemTableSize:                32 << 20,
		MemTableStopWritesThreshold: 4,
		// Readers bear more than the default of 12 better than commits bear to be stopped.
		L0StopWritesThreshold: 24,
		// What lies in level 0 is merged with all of the level below, as conversations write all over the key space: the more
		// of it at a time, the seldomer the rest is written again.
		L0CompactionThreshold: 8,
		LBaseMaxBytes:         256 << 20,
		MaxOpenFiles:          512,

		DisableAutomaticCompactions: s.o.UnsafeNoCompact,
	}
	// Nearly every value is sealed, and what is sealed does not shrink.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// blockSize is that of tables, in bytes: a block holds some dozen rows of one conversation, of which a reader wants most.
const blockSize = 8 << 10

// sync is how a batch is committed.
func (s *Store) sync() *pebble.WriteOptions {
	if s.o.UnsafeNoSync {
		return pebble.NoSync
	}
	return pebble.Sync
}

// apply commits a batch, together with those of others. When it returns nil the batch is durable; store.ErrUnknown says
// that it may or may not be, and the store has failed.
func (s *Store) apply(b *pebble.Batch) error { return s.group.commit(b, s.write) }

// write is apply for the batch of a whole group.
func (s *Store) write(b *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// Whatever it was, Pebble keeps its locks: it cannot even be closed any more.
			s.failForGood(fmt.Errorf("committing: %v", p))
			err = store.ErrUnknown
		}
	}()
	if s.trouble.broken.Load() {
		return store.ErrUnknown
	}
	s.quiet.RLock()
	defer s.quiet.RUnlock()
	began := s.o.Now()
	if err := b.Commit(s.sync()); err != nil {
		s.fail(err)
		return store.ErrUnknown
	}
	// A failed write is told to the logger, in this goroutine, and not returned.
	if s.trouble.broken.Load() {
		return store.ErrUnknown
	}
	took := s.o.Now().Sub(began).Nanoseconds()
	if old := s.fsync.Load(); old != 0 {
		took = old + (took-old)/8
	}
	s.fsync.Store(took)
	return nil
}

// get returns a copy of a row's value, nil when there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.readError(err)
	}
	out := append(make([]byte, 0, len(v)), v...)
	if err := closer.Close(); err != nil {
		return nil, s.readError(err)
	}
	return out, nil
}

// each calls f with the rows of [from, to) in order until f returns false. Key and value are valid only during the call.
func (s *Store) each(from, to []byte, f func(key, value []byte) (bool, error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return s.readError(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(s.readError(err), it.Close())
		}
		more, err := f(it.Key(), v)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !more {
			break
		}
	}
	if err := it.Close(); err != nil {
		return s.readError(err)
	}
	return nil
}

func (s *Store) readError(err error) error {
	return fmt.Errorf("%w: reading: %w", store.ErrUnavailable, err)
}

// enter begins an operation; the caller leaves by s.life.RUnlock.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.join()
}

// join is enter for what nobody waits for.
func (s *Store) join() error {
	// Looked at first, so that nobody waits for the lock of a store that is being mended.
	if err := s.trouble.now(); err != nil {
		return err
	}
	s.life.RLock()
	if err := s.trouble.now(); err != nil {
		s.life.RUnlock()
		return err
	}
	return nil
}

// lockRead begins an operation that reads a conversation; unlockRead ends it.
func (s *Store) lockRead(ctx context.Context, r store.Ref) (*partition, error) {
	n, err := id.Partition(id.Conversation, r.ID)
	if err != nil || r.Tenant == (store.Tenant{}) {
		return nil, store.ErrNotFound
	}
	return s.lockReadPartition(ctx, n)
}

func (s *Store) lockReadPartition(ctx context.Context, n int) (*partition, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	p := &s.parts[n]
	p.mu.RLock()
	// What a failed commit left in the database is visible there though it is not on the disk.
	if err := s.trouble.now(); err != nil {
		s.unlockRead(p)
		return nil, err
	}
	return p, nil
}

func (s *Store) unlockRead(p *partition) {
	p.mu.RUnlock()
	s.life.RUnlock()
}

// lockWrite begins an operation that changes a conversation; unlockWrite ends it.
func (s *Store) lockWrite(ctx context.Context, r store.Ref) (*partition, error) {
	n, err := id.Partition(id.Conversation, r.ID)
	if err != nil || r.Tenant == (store.Tenant{}) {
		return nil, store.ErrNotFound
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	p := &s.parts[n]
	p.mu.Lock()
	if err := s.trouble.now(); err != nil {
		s.unlockWrite(p)
		return nil, err
	}
	return p, nil
}

func (s *Store) unlockWrite(p *partition) {
	p.mu.Unlock()
	s.life.RUnlock()
}

// lockChain begins an operation that writes rows of a tenant's own, which its chain guards; unlockChain ends it. A tenant
// that is not there yet is made.
func (s *Store) lockChain(ctx context.Context, t store.Tenant) (keys *tenant, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.life.RUnlock()
		}
	}()
	if err := s.gate.check(); err != nil {
		return nil, err
	}
	if keys, err = s.makeTenant(t); err != nil {
		return nil, err
	}
	keys.chain.Lock()
	if err := s.trouble.now(); err != nil {
		keys.chain.Unlock()
		return nil, err
	}
	return keys, nil
}

func (s *Store) unlockChain(keys *tenant) {
	keys.chain.Unlock()
	s.life.RUnlock()
}

// Close waits for running operations and closes the store. The second call does nothing. A database that waits for space
// or has lost itself is left as it is, with an error: it recovers at the next start.
func (s *Store) Close() error {
	wedged, first := s.trouble.close()
	if !first {
		return nil
	}
	if wedged {
		return errors.Join(errors.New("closing store: the database cannot be closed"), s.lock.release())
	}
	s.life.Lock()
	defer s.life.Unlock()
	var err error
	if s.db != nil {
		err = s.db.Close()
		s.db = nil
	}
	if err = errors.Join(err, s.lock.release()); err != nil {
		return fmt.Errorf("closing store: %w", err)
	}
	return nil
}

func (s *Store) now() int64 { return s.o.Now().UnixMilli() }

func (s *Store) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.trouble.stop:
		return false
	}
}
