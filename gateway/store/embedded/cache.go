package embedded

import (
	"container/list"
	"sync"

	"turnout/gateway/store"
)

const cacheShards = 16

// cache keeps the records used last, each with its unwrapped key. Records are immutable, so readers share them.
type cache struct {
	shards [cacheShards]shard
}

type shard struct {
	mu    sync.Mutex
	limit int
	order list.List // of *record, the one used last in front
	byRef map[store.Ref]*list.Element
}

func newCache(limit int) *cache {
	c := new(cache)
	for i := range c.shards {
		c.shards[i].limit = max(1, limit/cacheShards)
		c.shards[i].byRef = map[store.Ref]*list.Element{}
	}
	return c
}

// shard picks by the last letter of the id, which is random.
func (c *cache) shard(r store.Ref) *shard { return &c.shards[r.ID[len(r.ID)-2]%cacheShards] }

func (c *cache) get(r store.Ref) *record {
	s := c.shard(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byRef[r]
	if e == nil {
		return nil
	}
	s.order.MoveToFront(e)
	return e.Value.(*record)
}

func (c *cache) put(rec *record) {
	s := c.shard(rec.ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byRef[rec.ref]; e != nil {
		e.Value = rec
		s.order.MoveToFront(e)
		return
	}
	s.byRef[rec.ref] = s.order.PushFront(rec)
	if s.order.Len() > s.limit {
		old := s.order.Remove(s.order.Back()).(*record)
		delete(s.byRef, old.ref)
	}
}

func (c *cache) remove(r store.Ref) {
	s := c.shard(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byRef[r]; e != nil {
		s.order.Remove(e)
		delete(s.byRef, r)
	}
}

func (c *cache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.order.Init()
		clear(s.byRef)
		s.mu.Unlock()
	}
}
