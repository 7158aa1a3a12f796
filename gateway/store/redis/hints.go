package redis

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

// hints calls the subscribers of this node.
type hints struct {
	mu   sync.RWMutex
	next int
	subs map[int]func(store.Hint)
}

// Subscribe implements store.Hints.
func (s *Store) Subscribe(f func(store.Hint)) io.Closer {
	h := &s.hints
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[int]func(store.Hint){}
	}
	h.next++
	h.subs[h.next] = f
	return &subscription{h, h.next}
}

func (h *hints) tell(hint store.Hint) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, f := range h.subs {
		f(hint)
	}
}

func (h *hints) any() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.subs) > 0
}

type subscription struct {
	hints *hints
	n     int
}

func (s *subscription) Close() error {
	s.hints.mu.Lock()
	defer s.hints.mu.Unlock()
	delete(s.hints.subs, s.n)
	return nil
}

// pile collects conversations that have grown, each once, until somebody takes them.
type pile struct {
	mu   sync.Mutex
	refs map[store.Ref]struct{}
	wake chan struct{}
}

func newPile() *pile { return &pile{refs: map[store.Ref]struct{}{}, wake: make(chan struct{}, 1)} }

func (p *pile) add(r store.Ref) {
	p.mu.Lock()
	p.refs[r] = struct{}{}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pile) take() []store.Ref {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]store.Ref, 0, len(p.refs))
	for r := range p.refs {
		out = append(out, r)
	}
	clear(p.refs)
	return out
}

// listen begins to tell other nodes of what this one commits, and this one of what they do. A word says only which
// conversations have grown: who hears it reads. It goes out when the step is durable, and may be lost.
//
// It is one channel for all. On a Cluster the servers pass on what is published to each other, so that a node listens to
// any one of them. Channels by slot would spare them that, but every node wants to hear of every conversation: it would
// listen to a channel of each partition, at every primary, and begin anew for each slot that moves. Instead one word
// carries all that has grown since the last one.
func (s *Store) listen(ctx context.Context) {
	channel := s.o.Prefix + "hints"
	s.tell = newPile()
	heard := newPile()
	s.listeners.Go(func() { s.shout(ctx, channel) })
	s.listeners.Go(func() { s.hear(ctx, channel, heard) })
	s.listeners.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-heard.wake:
			}
			for _, r := range heard.take() {
				rec, err := s.load(ctx, r)
				if err != nil || rec == nil {
					continue // a hint is lost
				}
				s.hints.tell(store.Hint{Ref: r, State: rec.state, Remote: true})
			}
		}
	})
}

// toldAtOnce is of how many conversations one word tells.
const toldAtOnce = 128

// shout publishes what this node has committed.
func (s *Store) shout(ctx context.Context, channel string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.tell.wake:
		}
		refs := s.tell.take()
		if len(refs) == 0 {
			continue
		}
		if err := s.db.run(ctx, passing, func(p goredis.Pipeliner) {
			for page := range slices.Chunk(refs, toldAtOnce) {
				word := s.node
				for _, r := range page {
					word += "\n" + member(r)
				}
				p.Publish(ctx, channel, word)
			}
		}); err != nil && ctx.Err() == nil {
			s.o.Log.Warn("telling other nodes", "err", err)
		}
	}
}

// hear collects what other nodes have committed. The client connects again by itself; what was said meanwhile is lost.
func (s *Store) hear(ctx context.Context, channel string, heard *pile) {
	sub := s.db.subscribe(ctx, channel)
	defer sub.Close()
	for ctx.Err() == nil {
		m, err := sub.ReceiveMessage(ctx)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
			continue
		}
		node, rest, _ := strings.Cut(m.Payload, "\n")
		if node == s.node || !s.hints.any() {
			continue
		}
		for name := range strings.SplitSeq(rest, "\n") {
			if r, _, _, ok := parseMember(name); ok {
				heard.add(r)
			}
		}
	}
}
