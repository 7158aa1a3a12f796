package leased

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"turnout/gateway/store"
)

// leases are those of a store, by job.
type leases struct {
	mu     sync.Mutex
	holder map[string]store.Token
	taken  int
	broken error
	asked  chan struct{}
}

func (l *leases) LeaseJob(_ context.Context, _ store.Tenant, job string, token store.Token, _ int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.asked <- struct{}{} }()
	l.taken++
	if l.broken != nil {
		return l.broken
	}
	if h := l.holder[job]; h != "" && h != token {
		return store.ErrStale
	}
	l.holder[job] = token
	return nil
}

func (l *leases) DropJob(ctx context.Context, _ store.Tenant, job string, token store.Token) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder[job] == token {
		delete(l.holder, job)
	}
	return ctx.Err()
}

func TestRun(t *testing.T) {
	l := &leases{holder: map[string]store.Token{}, asked: make(chan struct{}, 1000)}
	job := Job{Name: "j", Token: "one", For: 40 * time.Millisecond}
	other := job
	other.Token = "two"
	ran := false
	err := Run(t.Context(), l, job, time.Now, func(ctx context.Context) error {
		ran = true
		if err := Run(ctx, l, other, time.Now, func(context.Context) error {
			t.Error("two have the same job at once")
			return nil
		}); err != nil {
			t.Errorf("a job that is somebody else's: %v", err)
		}
		for range 4 { // it is renewed while it goes on
			<-l.asked
		}
		return ctx.Err()
	})
	if err != nil || !ran || len(l.holder) != 0 {
		t.Errorf("ran %v, %v, still held %v", ran, err, l.holder)
	}
	// A job that cannot be renewed ends, and says why.
	lost := errors.New("lost")
	if err := Run(t.Context(), l, job, time.Now, func(ctx context.Context) error {
		l.mu.Lock()
		l.broken = lost
		l.mu.Unlock()
		<-ctx.Done()
		return context.Cause(ctx)
	}); !errors.Is(err, lost) {
		t.Errorf("a lease that is lost: %v", err)
	}
	if err := Run(t.Context(), l, other, time.Now, func(context.Context) error { return nil }); !errors.Is(err, lost) {
		t.Errorf("a lease that cannot be asked for: %v", err)
	}
}
