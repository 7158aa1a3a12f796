package embedded

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// crowd commits count batches of one row each and lets none be written before all of them wait but the first. It returns
// the number of rows of each group that was written.
func crowd(t *testing.T, count, valueBytes int, outcome error) (groups []uint32, db *pebble.DB, errs []error) {
	t.Helper()
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var g group
	first, goOn := make(chan struct{}), make(chan struct{})
	write := func(b *pebble.Batch) error {
		if groups = append(groups, b.Count()); len(groups) == 1 {
			close(first)
			<-goOn
		}
		return errors.Join(b.Commit(pebble.NoSync), outcome)
	}
	errs = make([]error, count)
	var wg sync.WaitGroup
	commit := func(i int) {
		wg.Go(func() {
			b := db.NewBatch()
			defer b.Close()
			if err := b.Set(fmt.Appendf(nil, "%04d", i), make([]byte, valueBytes), nil); err != nil {
				t.Error(err)
			}
			errs[i] = g.commit(b, write)
		})
	}
	commit(0)
	<-first
	for i := 1; i < count; i++ {
		commit(i)
	}
	for waiting := 0; waiting < count-1; runtime.Gosched() {
		g.mu.Lock()
		waiting = len(g.waiting)
		g.mu.Unlock()
	}
	close(goOn)
	wg.Wait()
	if g.led || len(g.waiting) != 0 {
		t.Errorf("after all: led %v, %d wait", g.led, len(g.waiting))
	}
	return groups, db, errs
}

// TestGroup writes what waits as one batch, within bounds, and loses none of it.
func TestGroup(t *testing.T) {
	for _, c := range []struct {
		name              string
		count, valueBytes int
		want              []uint32
	}{
		{"alone", 1, 10, []uint32{1}},
		{"together", 50, 10, []uint32{1, 49}},
		{"many", 1 + 2*maxGroup + 3, 10, []uint32{1, maxGroup, maxGroup, 3}},
		{"large", 6, maxGroupBytes/2 - 1000, []uint32{1, 2, 2, 1}},
		{"too large for any group", 3, maxGroupBytes + 1, []uint32{1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups, db, errs := crowd(t, c.count, c.valueBytes, nil)
			if fmt.Sprint(groups) != fmt.Sprint(c.want) {
				t.Errorf("groups of %v, want %v", groups, c.want)
			}
			for i, err := range errs {
				if err != nil {
					t.Errorf("batch %d: %v", i, err)
				}
				if _, closer, err := db.Get(fmt.Appendf(nil, "%04d", i)); err != nil {
					t.Errorf("row %d: %v", i, err)
				} else {
					closer.Close()
				}
			}
		})
	}
}

// TestGroupFails tells every member of a group how it ended.
func TestGroupFails(t *testing.T) {
	bad := errors.New("bad")
	_, _, errs := crowd(t, 20, 10, bad)
	for i, err := range errs {
		if !errors.Is(err, bad) {
			t.Errorf("batch %d: %v", i, err)
		}
	}
}
