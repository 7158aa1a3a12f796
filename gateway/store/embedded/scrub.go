package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store"
)

// What a batch deletes stands in the database's files until the database rewrites them: the write-ahead log of then, the
// same file under the next log's name, of which only the beginning is overwritten, and tables that no compaction has met.
// Scrub flushes what is in memory, compacts the space of keys, and turns the logs over, writing new files in the place of
// old ones, until every file that may hold a destroyed key is gone. Whatever was sealed under the key is then noise
// wherever it lies. What a disk itself keeps of removed files, keys included, is the disk's: encrypt it.

// scrubPage bounds the marks of one round.
const scrubPage = 1024

// scrubWait is the pause between looks at what the database removes in the background.
const scrubWait = 5 * time.Millisecond

// mostTurns bounds how often the logs are turned over: the database keeps five to write them again.
const mostTurns = 64

type mark struct {
	key  []byte
	kind byte
	ref  store.Ref
	what string
}

// Scrub implements store.Erasure. While a backup copies files it waits.
func (s *Store) Scrub(ctx context.Context) error {
	s.scrubbing.Lock()
	defer s.scrubbing.Unlock()
	for {
		marks, err := s.marks(ctx)
		if err != nil || len(marks) == 0 {
			return err
		}
		if err := s.scrubRound(ctx, marks); err != nil {
			return fmt.Errorf("scrubbing: %w", err)
		}
	}
}

func (s *Store) marks(ctx context.Context) (list []mark, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	for _, kind := range []byte{markErased, markDetached, markRecord} {
		if err := s.each([]byte{spaceGlobal, kind}, []byte{spaceGlobal, kind + 1}, func(k, _ []byte) (bool, error) {
			kind, r, what, ok := parseMark(k)
			if !ok {
				return false, errors.New("a mark of what is to be scrubbed is damaged")
			}
			list = append(list, mark{bytes.Clone(k), kind, r, what})
			return len(list) < scrubPage, nil
		}); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// scrubRound does what a page of marks asks for and takes them away.
func (s *Store) scrubRound(ctx context.Context, marks []mark) error {
	if err := s.listErased(ctx, marks); err != nil {
		return err
	}
	s.copying.Lock() // a backup has links to old files
	defer s.copying.Unlock()
	if err := s.removeFiles(ctx, marks); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	ctx, stop := s.untilTrouble(ctx)
	defer stop()
	if err := s.rewrite(ctx); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	for _, m := range marks {
		if err := b.Delete(m.key, nil); err != nil {
			return err
		}
	}
	return s.apply(b)
}

// untilTrouble returns a context that ends when the store fails or is closed: nothing may hold it up then.
func (s *Store) untilTrouble(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(10 * scrubWait)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.trouble.stop:
				cancel(store.ErrUnavailable)
				return
			case <-tick.C:
				if err := s.trouble.now(); err != nil {
					cancel(err)
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// removeFiles removes the blobs that marks name.
func (s *Store) removeFiles(ctx context.Context, marks []mark) error {
	for _, m := range marks {
		var err error
		switch m.kind {
		case markErased:
			err = s.blobs.files.RemoveAll(ctx, m.ref.Tenant.Name(), m.ref.ID)
		case markDetached:
			err = s.blobs.files.Remove(ctx, m.ref.Tenant.Name(), m.ref.ID, m.what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite lets every file of the database go that stands now and may hold what was deleted.
func (s *Store) rewrite(ctx context.Context) error {
	s.logs.fresh.Store(!s.o.UnsafeNoRecycle)
	defer s.logs.fresh.Store(false)
	lastLog, err := s.newestFile(".log")
	if err != nil {
		return err
	}
	if err := s.turn(); err != nil {
		return err
	}
	lastTable, err := s.newestFile(".sst")
	if err != nil {
		return err
	}
	if !s.o.UnsafeNoCompact {
		if err := s.db.Compact(ctx, []byte{spaceKey}, []byte{spaceKey + 1}, false); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
	live, err := s.tables()
	if err != nil {
		return err
	}
	if err := s.await(ctx, ".sst", func(n uint64) bool { return n <= lastTable && !live[n] }); err != nil {
		return err
	}
	if s.o.UnsafeNoRecycle {
		return nil
	}
	old := func(n uint64) bool { return n <= lastLog }
	for range mostTurns {
		left, err := s.anyFile(".log", old)
		if err != nil || !left {
			return err
		}
		if err := s.turn(); err != nil {
			return err
		}
	}
	return s.await(ctx, ".log", old)
}

// turn begins a new log: what was in memory is in a table, and the log of before is of no more use.
func (s *Store) turn() error {
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set([]byte{spaceGlobal, 't'}, nil, nil); err != nil { // a flush of nothing does nothing
		return err
	}
	if err := s.apply(b); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// tables returns the numbers of the tables in use.
func (s *Store) tables() (map[uint64]bool, error) {
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, s.readError(err)
	}
	live := map[uint64]bool{}
	for _, level := range levels {
		for _, t := range level {
			live[uint64(t.BackingSSTNum)], live[uint64(t.FileNum)] = true, true
		}
	}
	return live, nil
}

// await waits until the database has removed the files with an ending whose numbers match.
func (s *Store) await(ctx context.Context, ending string, match func(uint64) bool) error {
	tick := time.NewTicker(scrubWait)
	defer tick.Stop()
	for {
		left, err := s.anyFile(ending, match)
		if err != nil || !left {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for old files to go: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (s *Store) newestFile(ending string) (n uint64, err error) {
	_, err = s.anyFile(ending, func(v uint64) bool {
		n = max(n, v)
		return false
	})
	return n, err
}

// anyFile reports whether the database's folder has a file with an ending whose number matches.
func (s *Store) anyFile(ending string, match func(uint64) bool) (bool, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return false, fmt.Errorf("listing the database's files: %w", err)
	}
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, ending)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && match(n) {
			return true, nil
		}
	}
	return false, nil
}

// erasedLine is a line of the list of what was erased.
type erasedLine struct {
	Tenant       string `json:"tenant"`
	Conversation string `json:"conversation"`
	At           int64  `json:"at"`
	Op           string `json:"op"`
}

// listErased adds what marks name to the list of erasures, which stands beside the store, so that a backup from before an
// erasure does not undo it. The list is durable before any mark goes; a line may be there twice.
func (s *Store) listErased(ctx context.Context, marks []mark) error {
	var lines []byte
	for _, m := range marks {
		if m.kind != markErased {
			continue
		}
		stone, err := s.Tombstone(ctx, m.ref)
		if err != nil {
			return err
		}
		line, err := json.Marshal(erasedLine{m.ref.Tenant.Name(), m.ref.ID, stone.At, stone.Op})
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	if len(lines) == 0 {
		return nil
	}
	name := s.o.erased
	was, err := readFile(s.fs, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the list of erasures: %w", err)
	}
	if n := len(was); n > 0 && was[n-1] != '\n' { // a crash has cut the last line off; its mark is still there
		was = was[:bytes.LastIndexByte(was, '\n')+1]
	}
	return replaceFile(s.fs, name, append(was, lines...))
}

// ErasedList is the list of erasures of the store in dir: a file beside it. It holds ids and times.
func ErasedList(dir string) string { return dir + ".erased" }

// replaceFile puts a file in its place durably, whole or not at all.
func replaceFile(fs vfs.FS, name string, b []byte) error {
	part := name + ".part"
	f, err := fs.Create(part, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = fs.Rename(part, name)
	}
	if err == nil {
		err = syncDir(fs, fs.PathDir(name))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
