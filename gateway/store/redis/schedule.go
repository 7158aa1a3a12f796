package redis

import (
	"container/heap"
	"sync"

	"turnout/gateway/store"
)

// schedule is what this node is to look at, by the instant at which to do so: what it has left to itself, and what a sweep
// has found. The lists of the partitions are the truth; what was handed out is forgotten here and comes again from there.
type schedule struct {
	mu    sync.Mutex
	items dueHeap
	byKey map[dueKey]*dueItem
}

type dueKey struct {
	ref  store.Ref
	name string
}

type dueItem struct {
	key dueKey
	at  int64 // when to hand it out, ms
	row int64 // for a timer the instant for which it is set
	pos int
}

func newSchedule() *schedule { return &schedule{byKey: map[dueKey]*dueItem{}} }

// put sets when key is due.
func (s *schedule) put(key dueKey, at, row int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.byKey[key]; it != nil {
		it.at, it.row = at, row
		heap.Fix(&s.items, it.pos)
		return
	}
	it := &dueItem{key: key, at: at, row: row}
	s.byKey[key] = it
	heap.Push(&s.items, it)
}

func (s *schedule) remove(key dueKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.byKey[key]; it != nil {
		heap.Remove(&s.items, it.pos)
		delete(s.byKey, key)
	}
}

// due takes out what is due at now, earliest first.
func (s *schedule) due(now int64, limit int) (items []dueItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(items) < limit && len(s.items) > 0 && s.items[0].at <= now {
		it := heap.Pop(&s.items).(*dueItem)
		delete(s.byKey, it.key)
		items = append(items, *it)
	}
	return items
}

// next is when the first is due; ok is false when there is none.
func (s *schedule) next() (at int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) == 0 {
		return 0, false
	}
	return s.items[0].at, true
}

// dueHeap is a heap.Interface by instant; equal instants by conversation, so that the order is the same every time.
type dueHeap []*dueItem

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.key.ref.ID != b.key.ref.ID {
		return a.key.ref.ID < b.key.ref.ID
	}
	return a.key.name < b.key.name
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *dueHeap) Push(x any) {
	it := x.(*dueItem)
	it.pos = len(*h)
	*h = append(*h, it)
}

func (h *dueHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
