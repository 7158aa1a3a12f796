package archive

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// rows is a store of which only what is closed is known: by conversation, since when.
type rows struct {
	mu      sync.Mutex
	tenants []store.Tenant
	closed  map[store.Ref]int64
	tried   map[store.Ref]int
	held    map[string]bool // jobs that somebody else does
	fail    func(store.Ref) error
	broken  map[store.Ref]error
}

func (f *rows) Tenants(context.Context) ([]store.Tenant, error) { return f.tenants, nil }

func (f *rows) Closed(_ context.Context, t store.Tenant, since int64, limit int) (refs []store.Ref, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r, at := range f.closed {
		if r.Tenant == t && at <= since {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, func(a, b store.Ref) int { return cmp.Compare(f.closed[a], f.closed[b]) })
	return refs[:min(limit, len(refs))], nil
}

func (f *rows) Archive(_ context.Context, r store.Ref) (store.Archived, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried[r]++
	if f.fail != nil {
		if err := f.fail(r); err != nil {
			return store.Archived{}, err
		}
	}
	delete(f.closed, r)
	return store.Archived{Events: 3, Entries: 1, Before: 100, After: 10}, nil
}

func (f *rows) LeaseJob(_ context.Context, t store.Tenant, job string, _ store.Token, _ int64) error {
	if f.held[t.Name()+job] {
		return store.ErrStale
	}
	return nil
}

func (f *rows) DropJob(context.Context, store.Tenant, string, store.Token) error { return nil }

func (f *rows) Log(_ context.Context, r store.Ref, _ uint64, _ int) ([]conversation.Event, error) {
	return nil, f.broken[r]
}

func (f *rows) Entries(context.Context, store.Tenant, string, uint64, int) ([][]byte, error) {
	return nil, nil
}

type world struct {
	*testing.T
	*rows
	*Archiver
	board *alarm.Board
	now   time.Time
}

func newWorld(t *testing.T, tenants ...string) *world {
	w := &world{T: t, rows: &rows{closed: map[store.Ref]int64{}, tried: map[store.Ref]int{}, held: map[string]bool{}, broken: map[store.Ref]error{}}}
	w.now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for _, name := range tenants {
		handle, err := store.NewTenant(name)
		if err != nil {
			t.Fatal(err)
		}
		w.tenants = append(w.tenants, handle)
	}
	now := func() time.Time { return w.now }
	w.board = alarm.New(now, slog.New(slog.DiscardHandler), nil)
	w.Archiver = New(Options{Store: w.rows, After: time.Hour, IDs: id.NewSource(rand.Reader, now), Now: now, Board: w.board})
	return w
}

// add lists n conversations of a tenant that have been closed for a time.
func (w *world) add(tenant, n int, closed time.Duration) (refs []store.Ref) {
	for i := range n {
		r := store.Ref{Tenant: w.tenants[tenant], ID: fmt.Sprint("c_", closed, "-", i)}
		w.closed[r] = w.now.Add(-closed).UnixMilli() + int64(i)
		refs = append(refs, r)
	}
	return refs
}

func (w *world) alarms() (names []string) {
	for _, a := range w.board.Active() {
		names = append(names, strings.TrimSpace(a.Name+" "+a.Tenant+" "+a.Subject))
	}
	return names
}

// What is due is archived, however much it is; what is not, or is another node's to do, is not.
func TestSweep(t *testing.T) {
	w := newWorld(t, "acme", "other", "third")
	w.add(0, 3*page+5, 2*time.Hour)
	young := w.add(0, 2, time.Minute)
	w.add(1, 1, 2*time.Hour)
	theirs := w.add(2, 1, 2*time.Hour)
	w.held["third"+job] = true
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.closed) != 3 || w.closed[young[0]] == 0 || w.closed[theirs[0]] == 0 {
		t.Errorf("left: %v", w.closed)
	}
	n := int64(3*page + 6)
	if s := w.Stats(); s != (Stats{Conversations: n, Events: 3 * n, Before: 100 * n, After: 10 * n}) {
		t.Errorf("figures: %+v", s)
	}
	if got := w.alarms(); len(got) != 0 {
		t.Errorf("alarms: %v", got)
	}
}

// Conversations that cannot be archived keep no other from it; an alarm says so until they can. One that has moved on is
// none of these.
func TestFailing(t *testing.T) {
	w := newWorld(t, "acme", "other")
	bad := w.add(0, 2*page, 3*time.Hour)
	stale := w.add(0, 1, 150*time.Minute)[0]
	w.add(0, page, 2*time.Hour)
	w.add(1, 1, 2*time.Hour)
	broken := errors.New("a broken row")
	w.fail = func(r store.Ref) error {
		if r == stale {
			return store.ErrStale
		}
		if slices.Contains(bad, r) {
			return broken
		}
		return nil
	}
	if err := w.Sweep(t.Context()); !errors.Is(err, broken) {
		t.Errorf("the sweep says %v", err)
	}
	if len(w.closed) != len(bad)+1 {
		t.Errorf("%d are left, %d cannot be archived", len(w.closed), len(bad)+1)
	}
	for r, n := range w.tried {
		if n != 1 {
			t.Errorf("%s was tried %d times", r.ID, n)
		}
	}
	if got := w.alarms(); !slices.Equal(got, []string{Failing + " acme"}) {
		t.Errorf("alarms: %v", got)
	}
	w.fail = nil
	if err := w.Sweep(t.Context()); err != nil || len(w.closed) != 0 || len(w.alarms()) != 0 {
		t.Errorf("mended: %v, %d are left, alarms %v", err, len(w.closed), w.alarms())
	}
	// While files cannot be stored at all, it is not tried with each of them.
	w.add(0, 10*page, 3*time.Hour)
	w.tried = map[store.Ref]int{}
	w.fail = func(store.Ref) error { return store.ErrUnavailable }
	if err := w.Sweep(t.Context()); !errors.Is(err, store.ErrUnavailable) || len(w.tried) > page {
		t.Errorf("%v after %d tries", err, len(w.tried))
	}
	// One that panics is one that cannot be archived.
	w.fail = func(store.Ref) error { panic("boo") }
	if err := w.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("a panic: %v", err)
	}
}

// A damaged conversation has an alarm until it can be read, or is gone; of many there is one for all.
func TestDamaged(t *testing.T) {
	w := newWorld(t, "acme")
	refs := w.add(0, mostNamed+5, time.Minute)
	for i, r := range refs[:3] {
		w.broken[r] = store.ErrArchive
		w.Damaged(r, w.broken[r])
		w.Damaged(r, w.broken[r])
		if got := w.alarms(); len(got) != i+1 {
			t.Errorf("alarms: %v", got)
		}
	}
	w.broken[refs[0]], w.broken[refs[1]] = nil, store.ErrErased
	if err := w.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if got := w.alarms(); !slices.Equal(got, []string{Damaged + " acme " + refs[2].ID}) {
		t.Errorf("alarms: %v", got)
	}
	for _, r := range refs {
		w.broken[r] = store.ErrArchive
		w.Damaged(r, w.broken[r])
	}
	if got := w.alarms(); len(got) != mostNamed+1 || !slices.Contains(got, Damaged+" acme") {
		t.Errorf("%d alarms: %v", len(got), got)
	}
	clear(w.broken)
	if err := w.Sweep(t.Context()); err != nil || len(w.alarms()) != 0 {
		t.Errorf("mended: %v, alarms %v", err, w.alarms())
	}
}

// With no time set nothing is archived, and what was is looked at all the same.
func TestNever(t *testing.T) {
	w := newWorld(t, "acme")
	w.o.After = 0
	r := w.add(0, 1, 1000*time.Hour)[0]
	w.Damaged(r, store.ErrArchive)
	if err := w.Sweep(t.Context()); err != nil || len(w.closed) != 1 || len(w.alarms()) != 0 {
		t.Errorf("%v, %d are left, alarms %v", err, len(w.closed), w.alarms())
	}
}
