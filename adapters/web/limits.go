package web

import (
	"sync"
	"time"
)

// rateLimiter holds one bucket per visitor. It remembers at most maxBuckets visitors: over that, those whose bucket
// has filled up again are forgotten, which changes nothing for them, and if none has, new visitors pass uncounted. The
// server's limits per address and per tenant stand before this one.
type rateLimiter struct {
	gap   time.Duration // between two messages at the steady rate
	burst time.Duration // how far ahead of the steady rate a visitor may be

	mu    sync.Mutex
	next  map[string]time.Time // when the visitor's bucket is full again
	swept time.Time
}

const maxBuckets = 50_000

func newRateLimiter(perSecond float64, burst int) *rateLimiter {
	gap := time.Duration(float64(time.Second) / perSecond)
	return &rateLimiter{gap: gap, burst: gap * time.Duration(burst), next: map[string]time.Time{}}
}

// allow takes one message out of the visitor's bucket, or says how long to wait.
func (l *rateLimiter) allow(visitor string, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.next[visitor]
	if !known && len(l.next) >= maxBuckets && !l.makeRoom(now) {
		return 0, true
	}
	b := bucket{full}
	if wait, ok = b.take(l.gap, l.burst, now); ok {
		l.next[visitor] = b.full
	}
	return wait, ok
}

// bucket lets in one thing per gap at the steady rate, and as many at once as make up burst.
type bucket struct{ full time.Time } // when it is full again

// take takes one out, or says how long to wait.
func (b *bucket) take(gap, burst time.Duration, now time.Time) (wait time.Duration, ok bool) {
	full := b.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(gap)
	if over := full.Sub(now) - burst; over > 0 {
		return over, false
	}
	b.full = full
	return 0, true
}

// makeRoom forgets full buckets, at most once a second because it looks at all.
func (l *rateLimiter) makeRoom(now time.Time) bool {
	if now.Sub(l.swept) < time.Second {
		return false
	}
	l.swept = now
	for v, t := range l.next {
		if !t.After(now) {
			delete(l.next, v)
		}
	}
	return len(l.next) < maxBuckets
}

// streamLimiter counts open sockets and event streams: each is opened for the channel first, and joined to its visitor
// when that is known.
type streamLimiter struct {
	perVisitor, perChannel int

	mu      sync.Mutex
	total   int
	visitor map[string]int
}

func newStreamLimiter(perVisitor, perChannel int) *streamLimiter {
	return &streamLimiter{perVisitor: perVisitor, perChannel: perChannel, visitor: map[string]int{}}
}

// open counts a stream in, if there is room. A stream that was opened must be closed.
func (l *streamLimiter) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.perChannel {
		return false
	}
	l.total++
	return true
}

func (l *streamLimiter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
}

// join counts a stream of a visitor in, if there is room. A stream that joined must leave.
func (l *streamLimiter) join(visitor string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.visitor[visitor] >= l.perVisitor {
		return false
	}
	l.visitor[visitor]++
	return true
}

func (l *streamLimiter) leave(visitor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.visitor[visitor]--; l.visitor[visitor] <= 0 {
		delete(l.visitor, visitor)
	}
}
