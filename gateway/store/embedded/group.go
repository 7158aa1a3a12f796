package embedded

import (
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// group is the store's group commit: batches that come to be written at the same time become one, with one record in the
// write-ahead log, one write, one sync. Pebble by itself shares only the syncs, and a write for each step is most of what a
// log costs when the disk is quick.
//
// There is no goroutine of its own: whoever comes first leads, and everybody who comes while a group is being written
// waits for the next one, which the first of them leads.
type group struct {
	mu      sync.Mutex
	waiting []*member
	led     bool
}

// member is a batch in a group. wake is sent to once: to lead, or with the outcome in err.
type member struct {
	batch *pebble.Batch
	lead  bool
	err   error
	wake  chan struct{}
}

const (
	// maxGroup bounds the members of a group and maxGroupBytes what they come to.
	maxGroup      = 128
	maxGroupBytes = 4 << 20
	// gatherings is how often a leader lets everybody run who can, as long as that brings members.
	gatherings = 3
)

var members = sync.Pool{New: func() any { return &member{wake: make(chan struct{}, 1)} }}

// commit writes the batch, together with those of others, by write, and returns what write returned for all of them. The
// batch may be changed. A batch must not depend on another that was not written yet.
func (g *group) commit(b *pebble.Batch, write func(*pebble.Batch) error) error {
	m := members.Get().(*member)
	m.batch, m.lead, m.err = b, false, nil
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	lead := !g.led
	g.led = true
	g.mu.Unlock()
	if !lead {
		<-m.wake
		lead = m.lead
	}
	if lead {
		g.lead(m, write)
	}
	err := m.err
	m.batch = nil
	members.Put(m)
	return err
}

// lead writes a group, of which own is the first member, hands the lead on and tells the others how it ended.
func (g *group) lead(own *member, write func(*pebble.Batch) error) {
	g.gather()
	all := g.take()
	err := joinAndWrite(all, write)
	g.mu.Lock()
	if len(g.waiting) > 0 {
		next := g.waiting[0]
		next.lead = true
		next.wake <- struct{}{}
	} else {
		g.led = false
	}
	g.mu.Unlock()
	for _, m := range all {
		m.err = err
		if m != own {
			m.wake <- struct{}{}
		}
	}
}

// gather lets run who can: under load they are on their way here, and without any it costs nothing.
func (g *group) gather() {
	for before, i := 0, 0; i < gatherings; i++ {
		g.mu.Lock()
		n := len(g.waiting)
		g.mu.Unlock()
		if n == before || n >= maxGroup {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// take removes the members of the next group from those that wait.
func (g *group) take() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 1, g.waiting[0].batch.Len()
	for n < min(len(g.waiting), maxGroup) && size+g.waiting[n].batch.Len() <= maxGroupBytes {
		size += g.waiting[n].batch.Len()
		n++
	}
	all := append([]*member(nil), g.waiting[:n]...)
	rest := copy(g.waiting, g.waiting[n:])
	clear(g.waiting[rest:])
	g.waiting = g.waiting[:rest]
	return all
}

func joinAndWrite(all []*member, write func(*pebble.Batch) error) error {
	b := all[0].batch
	for _, m := range all[1:] {
		if err := b.Apply(m.batch, nil); err != nil {
			return err
		}
	}
	return write(b)
}
