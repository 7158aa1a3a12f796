package outbox

import (
	"container/heap"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"turnout/adapters"
	"turnout/gateway/store"
)

// lane is one channel: what it may take now. All but dirty and the counters belong to the dispatcher.
type lane struct {
	Channel
	policy  adapters.SendPolicy
	removed bool // it has no sender any more
	tenant  *tenant
	dirty   atomic.Bool // something may be due that the dispatcher does not know of
	most    int         // sends under way
	running int
	took    time.Duration // of a send, smoothed
	bucket  *rate.Limiter // nil: no pace
	pace
	breaker breaker
	rest    time.Time // nothing is sent before
	alarm   bool

	ready   []store.Ref        // handed out by the store, not begun
	held    resting            // whose recipient has to be spared for a while
	inHand  map[store.Ref]bool // begun or held; true when the store has handed it out once more since
	nextDue int64              // when the store has something again, ms; 0: nothing that it knows of
	*counters
}

func newLane(c Channel, t *tenant) *lane {
	l := &lane{Channel: c, policy: defaulted(c.Sender.Policy()), tenant: t, inHand: map[store.Ref]bool{}, counters: new(counters)}
	_, l.removed = c.Sender.(Removed)
	l.bucket = bucket(l.policy.PerSecond, l.policy.Burst)
	l.to = recipients{perSecond: l.policy.RecipientPerSecond, burst: l.policy.RecipientBurst}
	l.dirty.Store(true) // what an earlier process left behind
	return l
}

// bucket returns a token bucket, nil for no limit.
func bucket(perSecond float64, burst int) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, burst))
}

// page is how many conversations a lane is handed at a time.
const page = 64

// take returns a conversation whose head may be sent now. When there is none it returns when to look again; the zero time
// is when something happens.
func (l *lane) take(now time.Time, pending func(limit int) ([]store.Ref, int64, error)) (r store.Ref, ok bool, again time.Time, err error) {
	if l.running >= l.most {
		return r, false, again, nil // the end of a send looks again
	}
	if now.Before(l.rest) {
		return r, false, l.rest, nil
	}
	if until, closed := l.breaker.refuses(now, l.running); closed {
		return r, false, until, nil
	}
	if l.bucket != nil && l.bucket.TokensAt(now) < 1 {
		return r, false, now.Add(lacks(l.bucket, now)), nil
	}
	if r, ok = l.held.pop(now); !ok {
		if r, ok, err = l.fresh(now, pending); err != nil {
			return r, false, now.Add(storeRest), err
		}
	}
	if !ok {
		again = l.held.next()
		if due := time.UnixMilli(l.nextDue); l.nextDue != 0 && (again.IsZero() || due.Before(again)) {
			again = due
		}
		return r, false, again, nil
	}
	if l.bucket != nil {
		l.bucket.AllowN(now, 1)
	}
	l.running++
	l.breaker.begins()
	return r, true, again, nil
}

// storeRest is how long a lane waits for a store that cannot be read.
const storeRest = time.Second

// fresh takes the next conversation that the store hands out and that is not in hand already.
func (l *lane) fresh(now time.Time, pending func(limit int) ([]store.Ref, int64, error)) (store.Ref, bool, error) {
	for {
		for len(l.ready) > 0 {
			r := l.ready[0]
			l.ready = l.ready[1:]
			if _, busy := l.inHand[r]; busy {
				// Its send has ended in the store and not yet here: the store will not name it again for a while.
				l.inHand[r] = true
				continue
			}
			l.inHand[r] = false
			return r, true, nil
		}
		if !l.dirty.Swap(false) && (l.nextDue == 0 || l.nextDue > now.UnixMilli()) {
			return store.Ref{}, false, nil
		}
		refs, next, err := pending(page)
		if err != nil {
			l.dirty.Store(true)
			return store.Ref{}, false, err
		}
		if l.nextDue = next; len(refs) == 0 {
			return store.Ref{}, false, nil
		}
		l.ready = append(l.ready[:0], refs...)
	}
}

// lacks returns the time until a bucket has room for one.
func lacks(b *rate.Limiter, now time.Time) time.Duration {
	have := b.TokensAt(now)
	if have >= 1 {
		return 0
	}
	return time.Duration((1-have)/float64(b.Limit())*float64(time.Second)) + time.Millisecond
}

// breaker stops sending to a provider that fails: after breakAfter failures in a row for a while that doubles, then one
// send at a time probes. It is the dispatcher's own and not a library's because the dispatcher has to know until when it is
// open, by the clock that it was given.
type breaker struct {
	failures int
	open     bool
	until    time.Time
	pause    time.Duration
	probing  bool
}

const (
	breakAfter = 5
	firstPause = 2 * time.Second
	mostPause  = time.Minute
)

// refuses reports whether nothing may be sent now, and until when; the zero time is until a running send has ended.
func (b *breaker) refuses(now time.Time, running int) (until time.Time, closed bool) {
	switch {
	case !b.open:
		return until, false
	case now.Before(b.until):
		return b.until, true
	case b.probing || running > 0: // what began before it opened says something too
		return until, true
	}
	return until, false
}

func (b *breaker) begins() { b.probing = b.open }

// ends hears how a send ended and reports whether the breaker opened or closed.
func (b *breaker) ends(h health, now time.Time) (opened, closed bool) {
	b.probing = false
	switch h {
	case well:
		closed = b.open
		*b = breaker{}
	case ill:
		b.failures++
		if b.failures < breakAfter && !b.open || b.open && now.Before(b.until) {
			return false, false
		}
		opened = !b.open
		b.pause = min(mostPause, max(firstPause, 2*b.pause))
		b.open, b.until = true, now.Add(b.pause)
	}
	return opened, closed
}

// recipients are the buckets of the recipients of a channel. Those that are full again are forgotten.
type recipients struct {
	perSecond float64
	burst     int
	by        map[string]*rate.Limiter
	sweepAt   int
}

// take takes one send to an address out of its bucket, or says how long to wait.
func (r *recipients) take(address string, now time.Time) time.Duration {
	if r.perSecond <= 0 {
		return 0
	}
	b := r.by[address]
	if b == nil {
		if r.by == nil {
			r.by = map[string]*rate.Limiter{}
		}
		r.forget(now)
		b = bucket(r.perSecond, r.burst)
		r.by[address] = b
	}
	if wait := lacks(b, now); wait > 0 {
		return wait
	}
	b.AllowN(now, 1)
	return 0
}

// delay is how long an address has to be spared.
func (r *recipients) delay(address string, now time.Time) time.Duration {
	if b := r.by[address]; b != nil {
		return lacks(b, now)
	}
	return 0
}

// forget drops full buckets whenever their number has doubled.
func (r *recipients) forget(now time.Time) {
	if len(r.by) < max(r.sweepAt, 1024) {
		return
	}
	for a, b := range r.by {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(r.by, a)
		}
	}
	r.sweepAt = 2 * len(r.by)
}

// resting are conversations that wait for their recipients, by the instant at which they may go on.
type resting []rest

type rest struct {
	ref store.Ref
	at  time.Time
}

func (h resting) Len() int           { return len(h) }
func (h resting) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h resting) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *resting) Push(x any)        { *h = append(*h, x.(rest)) }

func (h *resting) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *resting) add(r store.Ref, at time.Time) { heap.Push(h, rest{r, at}) }

func (h *resting) pop(now time.Time) (store.Ref, bool) {
	if len(*h) == 0 || (*h)[0].at.After(now) {
		return store.Ref{}, false
	}
	return heap.Pop(h).(rest).ref, true
}

func (h resting) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].at
}
