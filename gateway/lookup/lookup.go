// Package lookup stands between turns and a tenant's own system, which knows customers but may be slow, down or wrong.
//
// Whoever wants to know something of a customer asks twice: Known says what is at hand and never waits; Ask asks the system
// and waits as long as its caller likes. What was answered is kept: for FreshFor it is as good as an answer of now, for
// StaleFor after that it is used while the system is asked again. However many ask for the same customer at a time, the
// system is asked once; a call goes on when those who asked for it have gone, and what it brings is kept for the next. A
// breaker and a bound on concurrent calls keep a system that is down from being asked at all, which costs a turn nothing.
//
// What is kept lies in memory, in a Lookup per tenant, under a digest of the question: there is no way from one tenant to
// what another's system said. It ends with the process.
package lookup

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"turnout/adapters"
	"turnout/adapters/message"
)

// Settings are how a system is asked. All must be set; Levels may be empty.
type Settings struct {
	// FreshFor is how long an answer is as good as a new one, StaleFor how long after that it may be used while the system
	// is asked again.
	FreshFor, StaleFor time.Duration
	// Timeout bounds one call.
	Timeout time.Duration
	// Concurrency bounds the calls at a time, Entries and Bytes what is kept.
	Concurrency int
	Entries     int
	Bytes       int64
	// The breaker opens after Failures failed calls within Window, for OpenFor; then single calls probe.
	Failures        uint
	Window, OpenFor time.Duration
	// Levels are the ways of authentication that are enough to be asked for; empty: any.
	Levels []string
}

// Outcomes of calls, beside the kinds of adapters.LookError.
const (
	OutcomeFound   = "found"
	OutcomeUnknown = "unknown" // the system does not know the customer
	OutcomeFailed  = "failed"  // in no way that the directory names
)

// Options are the parts of a Lookup.
type Options struct {
	Directory adapters.Directory
	Settings
	Now func() time.Time
	Log *slog.Logger
	// Looked is told how each call ended: one of the Outcome… constants or the kind of an adapters.LookError. nil: nobody.
	Looked func(outcome string, took time.Duration)
}

// ErrResting says that the system was not asked: too many calls of late failed, or too many are under way.
var ErrResting = errors.New("the directory is not asked now: its breaker is open, or too many calls are under way")

// ErrNotAsked says that a profile holds nothing that the system is asked by, or was not proven in one of the ways that are
// enough.
var ErrNotAsked = errors.New("the profile is not one that the directory is asked for")

// ErrFailed says that the system was asked, or should have been, and did not say.
var ErrFailed = errors.New("the tenant's own system did not say who the customer is")

var errClosed = errors.New("the lookup is closed")

// Lookup asks one tenant's system. It is safe for concurrent use.
type Lookup struct {
	o       Options
	breaker circuitbreaker.CircuitBreaker[any]
	life    context.Context
	end     context.CancelFunc
	calls   sync.WaitGroup

	mu     sync.Mutex // guards what follows; nothing is waited for under it
	kept   cache
	flying map[string]*call
	closed bool
	hits   Hits
}

// Hits counts what Known found.
type Hits struct{ Fresh, Stale, Missing uint64 }

// call is one call of the system. account and err are set before done is closed.
type call struct {
	done    chan struct{}
	account *message.Account
	err     error
	dropped bool // what it brings is not kept; guarded by Lookup.mu
}

// New returns a lookup over a directory, which it closes with itself.
func New(o Options) *Lookup {
	l := &Lookup{o: o, kept: newCache(o.Entries, o.Bytes), flying: map[string]*call{}}
	l.life, l.end = context.WithCancel(context.Background())
	l.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureThresholdPeriod(max(1, o.Failures), max(time.Second, o.Window)).
		WithDelay(o.OpenFor).
		WithSuccessThreshold(1).
		Build()
	return l
}

// Known returns what is at hand of a customer: nil when nothing is. fresh says that there is nothing to ask for: what is at
// hand is as good as new, or the profile is not one that the system is asked for. The account is shared: nobody changes it.
func (l *Lookup) Known(p *message.Profile) (a *message.Account, fresh bool) {
	q, ok := l.question(p)
	if !ok {
		return nil, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.kept.get(q)
	if e == nil {
		l.hits.Missing++
		return nil, false
	}
	switch age := l.o.Now().Sub(e.at); {
	case age < l.o.FreshFor:
		l.hits.Fresh++
		return e.account, true
	case age < l.o.FreshFor+l.o.StaleFor:
		l.hits.Stale++
		return e.account, false
	}
	l.kept.drop(q)
	l.hits.Missing++
	return nil, false
}

// Asks reports whether the system can be asked by a profile, nil being none.
func (l *Lookup) Asks(p *message.Profile) bool {
	_, ok := l.question(p)
	return ok
}

// Ask asks the system, whatever is at hand, and keeps the answer. Who asks for the same customer meanwhile gets the same
// answer. When ctx ends it returns ctx's error, and the call goes on. Other errors: ErrNotAsked, ErrResting, and those of
// the directory.
func (l *Lookup) Ask(ctx context.Context, p *message.Profile) (*message.Account, error) {
	q, ok := l.question(p)
	if !ok {
		return nil, ErrNotAsked
	}
	c, err := l.fly(q, p)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return c.account, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly joins the call for a question, or begins it.
func (l *Lookup) fly(q string, p *message.Profile) (*call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch c := l.flying[q]; {
	case c != nil:
		return c, nil
	case l.closed:
		return nil, errClosed
	case len(l.flying) >= l.o.Concurrency || !l.breaker.TryAcquirePermit():
		return nil, ErrResting
	}
	c := &call{done: make(chan struct{})}
	l.flying[q] = c
	l.calls.Add(1)
	go l.look(c, q, *p)
	return c, nil
}

// look makes one call and keeps what it brings.
func (l *Lookup) look(c *call, q string, p message.Profile) {
	defer l.calls.Done()
	began := l.o.Now()
	a, err := l.call(&p)
	if err == nil && a.Subject != p.Subject {
		err = errOther
	}
	if l.life.Err() == nil {
		if err == nil {
			l.breaker.RecordSuccess()
		} else {
			l.breaker.RecordFailure()
		}
	}
	l.mu.Lock()
	delete(l.flying, q)
	if c.err = err; err == nil {
		c.account = &a
		if !l.closed && !c.dropped {
			l.kept.put(q, c.account, l.o.Now())
		}
	}
	l.mu.Unlock()
	close(c.done)
	if l.o.Looked != nil {
		l.o.Looked(outcome(&a, err), l.o.Now().Sub(began))
	}
}

// errOther stands for an account of somebody else, which only a directory with a fault gives.
var errOther error = &adapters.LookError{Kind: adapters.LookGarbage, Err: errors.New("the account is another customer's")}

// call asks the directory. A panic in it is a failed call.
func (l *Lookup) call(p *message.Profile) (a message.Account, err error) {
	ctx, cancel := context.WithTimeoutCause(l.life, l.o.Timeout, context.DeadlineExceeded)
	defer cancel()
	err = errPanic
	defer func() {
		if recover() != nil { // its value may hold something of a customer
			l.o.Log.Error("recovered from a panic in a directory")
		}
	}()
	return l.o.Directory.Look(ctx, p)
}

var errPanic error = &adapters.LookError{Kind: adapters.LookGarbage, Err: errors.New("the adapter panicked")}

func outcome(a *message.Account, err error) string {
	var e *adapters.LookError
	switch {
	case err == nil && a.Unknown:
		return OutcomeUnknown
	case err == nil:
		return OutcomeFound
	case errors.As(err, &e):
		return string(e.Kind)
	}
	return OutcomeFailed
}

// question is whom the system is asked for.
func (l *Lookup) question(p *message.Profile) (string, bool) {
	if p == nil || len(l.o.Levels) > 0 && !slices.Contains(l.o.Levels, p.Level) {
		return "", false
	}
	return l.o.Directory.Asks(p)
}

// Forget drops what is kept of a customer, however little this profile has proven, and does not keep what a call under way
// brings.
func (l *Lookup) Forget(p *message.Profile) {
	if p == nil {
		return
	}
	q, ok := l.o.Directory.Asks(p)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept.drop(q)
	if c := l.flying[q]; c != nil {
		c.dropped = true
	}
}

// Stats is how a lookup stands.
type Stats struct {
	Hits
	Entries, Running int
	Bytes            int64
	BreakerOpen      bool
}

// Stats returns how the lookup stands now.
func (l *Lookup) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Hits: l.hits, Entries: l.kept.len(), Bytes: l.kept.bytes, Running: len(l.flying), BreakerOpen: l.breaker.IsOpen()}
}

// Close cuts off the calls under way, waits for them, and closes the directory.
func (l *Lookup) Close() error {
	l.mu.Lock()
	l.closed = true
	l.kept = newCache(l.o.Entries, l.o.Bytes)
	l.mu.Unlock()
	l.end()
	l.calls.Wait()
	return l.o.Directory.Close()
}
