// Package worker runs functions on goroutines that are used again. A turn goes deep (HTTP client, storage engine), so a
// fresh goroutine spends a good part of a short job on growing its stack; one that has run such a job before does not.
package worker

import (
	"sync"
	"time"
)

// idleFor is how long a goroutine waits for its next job.
const idleFor = 10 * time.Second

// Crew is a set of goroutines that grows as needed and shrinks when idle. Its zero value is not ready; use New. It bounds
// nothing: that is the caller's part.
type Crew struct {
	jobs chan func()
	stop chan struct{}
	once sync.Once
}

// New returns an empty crew.
func New() *Crew { return &Crew{jobs: make(chan func()), stop: make(chan struct{})} }

// Go runs f on a goroutine of the crew at once. f must not panic. After Close it runs all the same, on one of its own.
func (c *Crew) Go(f func()) {
	select {
	case c.jobs <- f: // somebody is waiting for a job
	default:
		go c.work(f)
	}
}

func (c *Crew) work(f func()) {
	idle := time.NewTimer(idleFor)
	defer idle.Stop()
	for {
		f()
		idle.Reset(idleFor)
		select {
		case f = <-c.jobs:
		case <-idle.C:
			return
		case <-c.stop:
			return
		}
	}
}

// Close lets idle goroutines end. Jobs that run are not waited for.
func (c *Crew) Close() { c.once.Do(func() { close(c.stop) }) }
