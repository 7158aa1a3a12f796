package redis

import (
	"container/list"
	"sync"

	"turnout/gateway/store"
)

// cache keeps the records used last, each with its unwrapped key. Records are immutable, so readers share them. What is in
// it may be out of date: whoever writes compares, whoever reads asks for the version in force.
type cache struct {
	mu    sync.Mutex
	limit int
	order list.List // of *record, the one used last in front
	byRef map[store.Ref]*list.Element
}

func newCache(limit int) *cache {
	return &cache{limit: max(1, limit), byRef: map[store.Ref]*list.Element{}}
}

func (c *cache) get(r store.Ref) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byRef[r]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*record)
}

func (c *cache) put(rec *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byRef[rec.ref]; e != nil {
		e.Value = rec
		c.order.MoveToFront(e)
		return
	}
	c.byRef[rec.ref] = c.order.PushFront(rec)
	if c.order.Len() > c.limit {
		old := c.order.Remove(c.order.Back()).(*record)
		delete(c.byRef, old.ref)
	}
}

func (c *cache) remove(r store.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byRef[r]; e != nil {
		c.order.Remove(e)
		delete(c.byRef, r)
	}
}

// all returns what is kept, in no order.
func (c *cache) all() []*record {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*record, 0, len(c.byRef))
	for _, e := range c.byRef {
		out = append(out, e.Value.(*record))
	}
	return out
}
