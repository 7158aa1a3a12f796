package embedded

import (
	"container/heap"
	"sync"
	"time"

	"turnout/gateway/store"
)

// schedule orders obligations by the instant at which to look at them.
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
	row int64 // the instant in the key of its row
	// unsure is set for what only a row says that may be out of date.
	unsure bool
	pos    int
}

func newSchedule() *schedule { return &schedule{byKey: map[dueKey]*dueItem{}} }

// put sets when key is due, and the instant under which its row is indexed.
func (s *schedule) put(key dueKey, at, row int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.byKey[key]; it != nil {
		it.at, it.row, it.unsure = at, row, false
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

// row returns the instant under which key's row is indexed.
func (s *schedule) row(key dueKey) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.byKey[key]
	if it == nil {
		return 0, false
	}
	return it.row, true
}

// restore puts what a row says that may be out of date: it is due at once.
func (s *schedule) restore(key dueKey) {
	s.put(key, 0, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byKey[key].unsure = true
}

// confirm says that the row was right.
func (s *schedule) confirm(key dueKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.byKey[key]; it != nil {
		it.unsure = false
	}
}

// due hands out what is due at now, earliest first, and puts it off: whoever took it and is never heard of again will
// not be waited for longer than that, and what he holds does not stand before the others meanwhile. Each item says when
// it was due.
func (s *schedule) due(now int64, limit int, redeliver time.Duration) (items []dueItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(items) < limit && len(s.items) > 0 && s.items[0].at <= now {
		it := s.items[0]
		items = append(items, *it)
		it.at = now + max(1, redeliver.Milliseconds())
		heap.Fix(&s.items, 0)
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

func (s *schedule) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

func (s *schedule) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = nil
	clear(s.byKey)
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
