package whatsapp

import (
	"maps"
	"slices"
	"sync"
)

// recent knows the last ids that were given to it. It spares work only: what it does not know may be known elsewhere.
type recent struct {
	mu    sync.Mutex
	there map[string]bool
	ring  []string
	next  int
}

func newRecent(n int) *recent { return &recent{there: map[string]bool{}, ring: make([]string, n)} }

func (r *recent) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.there[id]
}

func (r *recent) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.there[id] {
		return
	}
	delete(r.there, r.ring[r.next])
	r.ring[r.next], r.there[id] = id, true
	r.next = (r.next + 1) % len(r.ring)
}

// progress remembers of parts that take several calls how many were taken, and the id of the last one. It is a memory of this
// process: after a crash the first attempt is uncertain, and the second begins anew and is marked.
type progress struct {
	mu   sync.Mutex
	done map[string]taken
	most int
}

type taken struct {
	calls int
	last  string
}

func newProgress(most int) *progress { return &progress{done: map[string]taken{}, most: most} }

func (p *progress) of(id string) taken {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[id]
}

func (p *progress) set(id string, t taken) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.done) >= p.most { // what never came to its end; starting over is what happens to it after a crash, too
		clear(p.done)
	}
	p.done[id] = t
}

func (p *progress) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.done, id)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
