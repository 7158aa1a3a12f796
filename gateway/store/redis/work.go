package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Due implements store.Work. What this node has left to itself is due at once; what others left is found by a sweep.
func (s *Store) Due(ctx context.Context, now int64, limit int) (jobs []store.Job, next int64, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, 0, err
	}
	if err := s.sweep(ctx, now); err != nil {
		return nil, 0, err
	}
	work := s.work.due(now, limit)
	timers := s.timers.due(now, limit-len(work))
	jobs = make([]store.Job, 0, len(work)+len(timers))
	for len(work)+len(timers) > 0 {
		if len(timers) > 0 && (len(work) == 0 || timers[0].at < work[0].at) {
			it := timers[0]
			timers = timers[1:]
			jobs = append(jobs, store.Job{Ref: it.key.ref, Timer: conversation.Timer{Name: it.key.name, At: it.row}})
			continue
		}
		jobs = append(jobs, store.Job{Ref: work[0].key.ref})
		work = work[1:]
	}
	for _, q := range []*schedule{s.work, s.timers} {
		if at, ok := q.next(); ok && (next == 0 || at < next) {
			next = max(at, 1)
		}
	}
	return jobs, next, nil
}

// Drop implements store.Work.
func (s *Store) Drop(ctx context.Context, r store.Ref, lease store.Token) error {
	for range maxTries {
		rec, err := s.existing(ctx, r)
		if err != nil {
			return err
		}
		if lease == "" || rec.lease.Token != lease {
			return nil
		}
		p, err := home(r)
		if err != nil {
			return err
		}
		key := s.keys.conversation(p, r, "s")
		var t txn
		t.equal(whyVersion, key, "v", string(rec.ver))
		t.equal(whyLease, key, "lt", string(lease))
		t.hdel(key, "lt")
		t.hdel(key, "lx")
		if rec.state.Working() {
			t.zadd(s.keys.part(p, "r"), s.now()+s.o.Redeliver.Milliseconds(), member(r))
		}
		why, err := s.db.commit(ctx, &t)
		if err != nil {
			return err
		}
		if why == held {
			s.cache.remove(r)
			if rec.state.Working() {
				s.work.put(dueKey{ref: r}, s.now(), 0)
			}
			return nil
		}
	}
	return store.ErrStale
}

// sweeps says when the partitions were looked at last, by the clock of those who ask what is due.
type sweeps struct {
	mu   sync.Mutex // held by the one that sweeps
	time sync.Mutex
	last int64
	done bool
}

func (w *sweeps) due(now int64, every time.Duration) bool {
	w.time.Lock()
	defer w.time.Unlock()
	return !w.done || now < w.last || now-w.last >= every.Milliseconds()
}

func (w *sweeps) set(now int64) {
	w.time.Lock()
	defer w.time.Unlock()
	w.last, w.done = now, true
}

// next is when the next sweep is due.
func (w *sweeps) next(every time.Duration) int64 {
	w.time.Lock()
	defer w.time.Unlock()
	return w.last + every.Milliseconds()
}

// sweptPerPart bounds what one sweep takes of each list of a partition: what is left the next one takes, or another node.
const sweptPerPart = 64

// sweep asks every partition what is due, unless that was done a moment ago or is being done. What it gets is put off
// there, so that of many nodes one gets it, and again when that one never settles it. It also applies relay rows that
// their node has left.
func (s *Store) sweep(ctx context.Context, now int64) error {
	if !s.swept.due(now, s.o.Sweep) && !s.db.lines.news() || !s.swept.mu.TryLock() {
		return nil
	}
	defer s.swept.mu.Unlock()
	s.look(ctx, now)
	later := now + max(1, s.o.Redeliver.Milliseconds())
	// A partition whose server does not answer keeps what is due there for the next sweep; it holds up no other.
	cmds := make([]*goredis.Cmd, id.Partitions)
	errs := make([]error, (id.Partitions+askedAtOnce-1)/askedAtOnce)
	var wg sync.WaitGroup
	for page := range errs {
		from, to := page*askedAtOnce, min((page+1)*askedAtOnce, id.Partitions)
		wg.Go(func() {
			errs[page] = s.db.run(ctx, sweeping, func(p goredis.Pipeliner) {
				for part := from; part < to; part++ {
					keys := []string{s.keys.part(part, "r"), s.keys.part(part, "t"), s.keys.part(part, "o"), s.keys.part(part, "x")}
					cmds[part] = p.EvalSha(ctx, s.db.scripts.due.Hash(), keys, now, later, sweptPerPart)
				}
			})
		})
	}
	wg.Wait()
	var left []int
	silent, why := 0, error(nil)
	for part, c := range cmds {
		page := &errs[part/askedAtOnce]
		if *page != nil {
			continue
		}
		if err := c.Err(); err != nil {
			silent, why = silent+1, err
			continue
		}
		rows, err := s.take(c, now)
		if rows > 0 {
			left = append(left, part)
		}
		*page = err
	}
	err := errors.Join(errs...)
	if silent == id.Partitions {
		err = why
	}
	if err != nil {
		return fmt.Errorf("sweeping: %w", err)
	}
	s.swept.set(now)
	if silent > 0 {
		s.o.Log.Warn("sweeping: partitions do not answer", "partitions", silent, "err", why)
	}
	for _, part := range left {
		if err := s.relay(ctx, part); err != nil {
			s.o.Log.Warn("applying relay rows; the next sweep does it again", "partition", part, "err", err)
		}
	}
	if err := s.resolve(ctx, now); err != nil {
		s.o.Log.Warn("resolving reservations; it is done again", "err", err)
	}
	return nil
}

// take puts what the due script answered into this node's schedules and returns the number of relay rows.
func (s *Store) take(c *goredis.Cmd, now int64) (rows int64, err error) {
	lists, err := c.Slice()
	if err != nil || len(lists) != 4 {
		return 0, fmt.Errorf("asking what is due: %w", errRow)
	}
	for i, l := range lists[:3] {
		members, _ := l.([]any)
		for _, m := range members {
			v, _ := m.(string)
			r, at, name, ok := parseMember(v)
			switch {
			case !ok:
				s.o.Log.Error("a list of what is due holds a member that is none", "list", i)
			case i == 0:
				s.work.put(dueKey{ref: r}, now, 0)
			case i == 1:
				s.timers.put(dueKey{r, name}, at, at)
			default:
				s.outbox.of(r.Tenant, name).put(dueKey{ref: r}, now, 0)
			}
		}
	}
	rows, _ = lists[3].(int64)
	return min(rows, math.MaxInt32), nil
}
