package embedded

import (
	"context"
	"io"
	"sync"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Due implements store.Work. What was handed out comes again after Options.Redeliver unless a step has settled it.
func (s *Store) Due(ctx context.Context, now int64, limit int) (jobs []store.Job, next int64, err error) {
	// A page of nothing but rows that have outlasted their work says nothing of what stands behind them.
	for wrong := true; wrong && len(jobs) == 0 && err == nil; {
		jobs, wrong, err = s.jobs(ctx, now, limit)
	}
	if err != nil {
		return nil, 0, err
	}
	for _, q := range []*schedule{s.work, s.timers} {
		if at, ok := q.next(); ok && (next == 0 || at < next) {
			next = max(at, 1)
		}
	}
	return jobs, next, nil
}

// jobs takes a page of what is due. wrong is set when a conversation stood in it whose work had been done before the start.
func (s *Store) jobs(ctx context.Context, now int64, limit int) (jobs []store.Job, wrong bool, err error) {
	work, timers, err := s.due(ctx, now, limit)
	if err != nil {
		return nil, false, err
	}
	jobs = make([]store.Job, 0, len(work)+len(timers))
	for len(work)+len(timers) > 0 {
		if len(timers) > 0 && (len(work) == 0 || timers[0].at < work[0].at) {
			it := timers[0]
			jobs = append(jobs, store.Job{Ref: it.key.ref, Timer: conversation.Timer{Name: it.key.name, At: it.row}})
			timers = timers[1:]
			continue
		}
		it := work[0]
		work = work[1:]
		if it.unsure {
			ok, err := s.working(ctx, it.key.ref)
			if err != nil {
				return nil, false, err
			}
			if !ok {
				wrong = true
				continue
			}
		}
		jobs = append(jobs, store.Job{Ref: it.key.ref})
	}
	return jobs, wrong, nil
}

func (s *Store) due(ctx context.Context, now int64, limit int) (work, timers []dueItem, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.life.RUnlock()
	work = s.work.due(now, limit, s.o.Redeliver)
	return work, s.timers.due(now, limit-len(work), s.o.Redeliver), nil
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
