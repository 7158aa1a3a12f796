package embedded

import (
	"context"
	"io"
	"sync"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Due implements store.Work. What was handed out comes again after Options.Redeliver unless a step has settled it.
func (s *Store) Due(ctx context.Context, now int64, limit int) ([]store.Job, int64, error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer s.life.RUnlock()
	work, workAt := s.work.due(now, limit, s.o.Redeliver)
	timers, timerAt := s.timers.due(now, limit-len(work), s.o.Redeliver)
	jobs := make([]store.Job, 0, len(work)+len(timers))
	for len(work)+len(timers) > 0 {
		if len(timers) == 0 || len(work) > 0 && workAt[0] <= timerAt[0] {
			jobs = append(jobs, store.Job{Ref: work[0].ref})
			work, workAt = work[1:], workAt[1:]
			continue
		}
		row, ok := s.timers.row(timers[0])
		if ok {
			jobs = append(jobs, store.Job{Ref: timers[0].ref, Timer: conversation.Timer{Name: timers[0].name, At: row}})
		}
		timers, timerAt = timers[1:], timerAt[1:]
	}
	var next int64
	for _, q := range []*schedule{s.work, s.timers} {
		if at, ok := q.next(); ok && (next == 0 || at < next) {
			next = max(at, 1)
		}
	}
	return jobs, next, nil
}

// Drop implements store.Work.
func (s *Store) Drop(ctx context.Context, r store.Ref, lease store.Token) error {
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return err
	}
	defer s.unlockWrite(p)
	rec, err := s.existing(r)
	if err != nil {
		return err
	}
	if lease == "" || p.leases[r].Token != lease {
		return nil
	}
	delete(p.leases, r)
	s.showWork(p, r, rec.state)
	return nil
}

// hints calls the subscribers.
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
