package web

import (
	"context"
	"sync"
	"time"
)

// brief is the context of a piece of work that is nearly always done long before its time is up. It ends like one of
// context.WithDeadline, but takes part in its parent's bookkeeping and sets a timer only when somebody waits for its end.
type brief struct {
	parent   context.Context
	deadline time.Time

	mu       sync.Mutex
	timed    context.Context // nil until somebody waits
	cancel   context.CancelFunc
	finished bool
}

var _ context.Context = (*brief)(nil)

func newBrief(parent context.Context, most time.Duration) *brief {
	return &brief{parent: parent, deadline: time.Now().Add(most)}
}

// end cancels b. Whoever makes a brief ends it.
func (b *brief) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.finished = true
	if b.cancel != nil {
		b.cancel()
	}
}

// Deadline implements context.Context. A deadline of the parent shows in Err and Done.
func (b *brief) Deadline() (time.Time, bool) {
	if d, ok := b.parent.Deadline(); ok && d.Before(b.deadline) {
		return d, true
	}
	return b.deadline, true
}

// Done implements context.Context.
func (b *brief) Done() <-chan struct{} { return b.wait().Done() }

// wait returns the context that b stands for.
func (b *brief) wait() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timed == nil {
		b.timed, b.cancel = context.WithDeadline(b.parent, b.deadline)
		if b.finished {
			b.cancel()
		}
	}
	return b.timed
}

// Err implements context.Context.
func (b *brief) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.timed != nil:
		return b.timed.Err()
	case b.parent.Err() != nil:
		return b.parent.Err()
	case b.finished:
		return context.Canceled
	case !time.Now().Before(b.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. Contexts that are made of b ask it for its own way of ending, which only the context
// that it stands for has.
func (b *brief) Value(key any) any { return b.wait().Value(key) }
