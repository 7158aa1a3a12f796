// Package archive moves closed conversations out of the store's rows into files, a while after they came to rest: a leased
// job of each tenant, as retention is. It destroys nothing, so no hold stands in its way; retention comes after it and takes
// rows and files alike.
//
// Each conversation is moved by one call of store.Archive, which can be cut off anywhere: what was begun stays listed and is
// gone on with by whoever comes next. One that cannot be moved keeps nobody else from it.
package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/leased"
	"turnout/gateway/store"
)

// Store is what this package needs of a store.
type Store interface {
	store.Archive
	leased.Jobs
	Tenants(ctx context.Context) ([]store.Tenant, error)
	Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
	Entries(ctx context.Context, t store.Tenant, chain string, after uint64, limit int) ([][]byte, error)
}

// Board is where what is wrong is shown; an alarm.Board is one.
type Board interface {
	Raise(alarm.Alarm)
	Clear(name, tenant, subject string)
}

// The names of the alarms.
const (
	// Damaged: a part of a conversation, the subject, that was archived cannot be read.
	Damaged = "archive.damaged"
	// Failing: conversations of a tenant that should be archived are not.
	Failing = "archive.failing"
)

// Options are what an Archiver works with; all but Log are required.
type Options struct {
	Store Store
	// After is how long a conversation has been closed and still when it is archived; 0: none is.
	After time.Duration
	IDs   *id.Source
	Now   func() time.Time
	Board Board
	Log   *slog.Logger
}

// Archiver archives. It is safe for concurrent use.
type Archiver struct {
	o Options

	conversations, events, before, after atomic.Int64

	mu sync.Mutex
	// damaged are the conversations that alarms name.
	damaged map[store.Ref]struct{}
	more    map[store.Tenant]bool // of which there are more than are named
}

const (
	// job is the name of the lease under which a tenant's conversations are archived. It only saves work: two who archive
	// at once harm nothing, so it may be short.
	job      = "archive"
	jobLease = 10 * time.Second
	// between is how often Run looks for what is due, at the longest.
	between = time.Minute
	page    = 64
	// workers is how many conversations are moved at once: most of the time goes to waiting for files.
	workers = 8
	// mostFailed is after how many that could not be moved a sweep gives up.
	mostFailed = 256
	// mostNamed bounds the damaged conversations of a node that have alarms of their own.
	mostNamed = 20
)

// New returns an Archiver that does nothing yet by itself; see Run.
func New(o Options) *Archiver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Archiver{o: o, damaged: map[store.Ref]struct{}{}, more: map[store.Tenant]bool{}}
}

// Run archives what is due until ctx ends.
func (a *Archiver) Run(ctx context.Context) {
	pause := between
	if a.o.After > 0 {
		pause = max(100*time.Millisecond, min(between, a.o.After/4))
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := a.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.o.Log.Error("archiving: it is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Sweep does once what Run does again and again. A tenant whose job somebody else does is left out.
func (a *Archiver) Sweep(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("recovered from a panic: %T", v)
		}
	}()
	var tenants []store.Tenant
	if a.o.After > 0 {
		if tenants, err = a.o.Store.Tenants(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, t := range tenants {
		j := leased.Job{Tenant: t, Name: job, Token: store.Token(a.o.IDs.Token()), For: jobLease}
		err := leased.Run(ctx, a.o.Store, j, a.o.Now, func(ctx context.Context) error { return a.tenant(ctx, t) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name(), err))
		}
	}
	a.lookAgain(ctx)
	return errors.Join(errs...)
}

// tenant archives what is due of a tenant.
func (a *Archiver) tenant(ctx context.Context, t store.Tenant) error {
	since := a.o.Now().Add(-a.o.After).UnixMilli()
	failed := map[store.Ref]bool{}
	var last error
	moved := 0
	for len(failed) < mostFailed {
		refs, err := a.o.Store.Closed(ctx, t, since, page+len(failed))
		if err != nil {
			last = err
			break
		}
		var due []store.Ref
		for _, r := range refs {
			if !failed[r] {
				due = append(due, r)
			}
		}
		n, bad, err := a.move(ctx, due)
		if moved += n; err != nil {
			last = err
		}
		for _, r := range bad {
			failed[r] = true
		}
		if len(refs) < page+len(failed)-len(bad) || errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if moved > 0 {
		a.o.Log.Info("conversations were archived", "tenant", t.Name(), "conversations", moved)
	}
	if last == nil {
		a.o.Board.Clear(Failing, t.Name(), "")
		return nil
	}
	a.o.Board.Raise(alarm.Alarm{Name: Failing, Tenant: t.Name(), Reason: "Closed conversations cannot be moved to the archive, and stay in the store's memory: " + last.Error() +
		". Look at the place of the blobs: its mount, its permissions, its free space."})
	return last
}

// move archives conversations, some at once. Those that have moved on meanwhile are due again later; bad are those that
// could not be moved, err says why one of them was not.
func (a *Archiver) move(ctx context.Context, refs []store.Ref) (moved int, bad []store.Ref, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan store.Ref)
	for range min(workers, len(refs)) {
		wg.Go(func() {
			for r := range next {
				done, failure := a.one(ctx, r)
				mu.Lock()
				switch {
				case failure == nil:
					moved++
					a.conversations.Add(1)
				case errors.Is(failure, store.ErrStale):
					bad = append(bad, r) // whoever else archives it, or whatever moved it on: not this sweep's
				default:
					bad = append(bad, r)
					err = fmt.Errorf("conversation %s: %w", r.ID, failure)
				}
				mu.Unlock()
				a.events.Add(int64(done.Events))
				a.before.Add(done.Before)
				a.after.Add(done.After)
			}
		})
	}
	for _, r := range refs {
		next <- r
	}
	close(next)
	wg.Wait()
	return moved, bad, err
}

func (a *Archiver) one(ctx context.Context, r store.Ref) (done store.Archived, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("recovered from a panic: %T", v)
		}
	}()
	if err := ctx.Err(); err != nil {
		return done, err
	}
	return a.o.Store.Archive(ctx, r)
}

// Damaged takes what a store says of a conversation of which an archived part cannot be read. It does not block.
func (a *Archiver) Damaged(r store.Ref, err error) {
	a.mu.Lock()
	_, known := a.damaged[r]
	over := !known && len(a.damaged) >= mostNamed
	if over {
		a.more[r.Tenant] = true
	} else {
		a.damaged[r] = struct{}{}
	}
	a.mu.Unlock()
	w := alarm.Alarm{Name: Damaged, Tenant: r.Tenant.Name(), Subject: r.ID, Reason: err.Error() + ". Put the file back from a copy of the blobs; what is said from now on is not concerned."}
	if over {
		w.Subject, w.Reason = "", "Archived parts of many conversations cannot be read. Look at the place of the blobs: is it the one that it was, and is it whole?"
	}
	a.o.Board.Raise(w)
}

// lookAgain reads the damaged conversations once more and takes back the alarms of those that are whole, or gone.
func (a *Archiver) lookAgain(ctx context.Context) {
	a.mu.Lock()
	var refs []store.Ref
	for r := range a.damaged {
		refs = append(refs, r)
	}
	a.mu.Unlock()
	for _, r := range refs {
		if err := a.read(ctx, r); err != nil && !errors.Is(err, store.ErrNotFound) {
			continue
		}
		a.mu.Lock()
		delete(a.damaged, r)
		a.mu.Unlock()
		a.o.Board.Clear(Damaged, r.Tenant.Name(), r.ID)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for t := range a.more {
		if len(a.damaged) == 0 { // those without a name say so again if they are read again
			delete(a.more, t)
			a.o.Board.Clear(Damaged, t.Name(), "")
		}
	}
}

// read reads the chain and the log of a conversation to their ends. What is gone of the log is store.ErrNotFound.
func (a *Archiver) read(ctx context.Context, r store.Ref) error {
	for n := uint64(0); ; {
		list, err := a.o.Store.Entries(ctx, r.Tenant, r.ID, n, math.MaxInt16)
		if err != nil {
			return err
		}
		if n += uint64(len(list)); len(list) < math.MaxInt16 {
			break
		}
	}
	for n := uint64(0); ; {
		list, err := a.o.Store.Log(ctx, r, n, math.MaxInt16)
		if err != nil {
			return err
		}
		if n += uint64(len(list)); len(list) < math.MaxInt16 {
			return nil
		}
	}
}

// Stats are figures since the start of the process.
type Stats struct {
	// Conversations were archived, and Events of them.
	Conversations, Events int64
	// Before is what they took as rows, After what they take as files, in bytes.
	Before, After int64
}

// Stats returns the figures of now.
func (a *Archiver) Stats() Stats {
	return Stats{Conversations: a.conversations.Load(), Events: a.events.Load(), Before: a.before.Load(), After: a.after.Load()}
}
