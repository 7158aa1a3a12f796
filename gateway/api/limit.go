package api

import (
	"sync"
	"time"
)

// buckets limits the rate of many names, each with a bucket of its own. It remembers at most maxBuckets: over that, those
// that have filled up again are forgotten, and if none has, new names are refused until one has.
type buckets struct {
	gap   time.Duration
	burst time.Duration

	mu    sync.Mutex
	full  map[string]time.Time // when the name's bucket is full again
	swept time.Time
}

const maxBuckets = 20_000

func newBuckets(perSecond float64, burst int) *buckets {
	gap := time.Duration(float64(time.Second) / perSecond)
	return &buckets{gap: gap, burst: gap * time.Duration(burst), full: map[string]time.Time{}}
}

// allow takes one out of a name's bucket, or says how long to wait.
func (b *buckets) allow(name string, now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, known := b.full[name]
	if !known && len(b.full) >= maxBuckets && !b.makeRoom(now) {
		return time.Second, false
	}
	one := bucket{full}
	if wait, ok = one.take(b.gap, b.burst, now); ok {
		b.full[name] = one.full
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
func (b *buckets) makeRoom(now time.Time) bool {
	if now.Sub(b.swept) < time.Second {
		return false
	}
	b.swept = now
	for name, full := range b.full {
		if !full.After(now) {
			delete(b.full, name)
		}
	}
	return len(b.full) < maxBuckets
}
