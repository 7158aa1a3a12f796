package embedded

import (
	"sync"
	"sync/atomic"

	"turnout/gateway/store"
)

// outboxes are the schedules of sends, one per channel: what a channel cannot send now does not stand before others.
type outboxes struct {
	mu sync.RWMutex
	by map[outboxOf]*schedule
	n  atomic.Int64 // schedules; most stores have no push channel, and then nothing is locked
}

type outboxOf struct {
	tenant  store.Tenant
	channel string
}

// of returns the schedule of a channel; nil when there is none and none is to be made.
func (o *outboxes) of(t store.Tenant, channel string, make bool) *schedule {
	if o.n.Load() == 0 && !make {
		return nil
	}
	key := outboxOf{t, channel}
	o.mu.RLock()
	q := o.by[key]
	o.mu.RUnlock()
	if q != nil || !make {
		return q
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if q = o.by[key]; q == nil {
		if o.by == nil {
			o.by = map[outboxOf]*schedule{}
		}
		q = newSchedule()
		o.by[key] = q
		o.n.Add(1)
	}
	return q
}

// row returns the instant under which a conversation's head is indexed.
func (o *outboxes) row(r store.Ref, channel string) (int64, bool) {
	q := o.of(r.Tenant, channel, false)
	if q == nil {
		return 0, false
	}
	return q.row(dueKey{ref: r})
}

// waits reports whether the conversation has rows.
func (o *outboxes) waits(r store.Ref, channel string) bool {
	_, ok := o.row(r, channel)
	return ok
}

func (o *outboxes) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.by)
	o.n.Store(0)
}

// outboxChange is what a batch makes of a conversation's place in the schedule of sends.
type outboxChange struct {
	known   bool
	channel string
	due     int64
	rows    bool // there is a head, due then
	at      int64
	// settled ends the running attempt of the conversation in p.
	settled bool
	p       *partition
}

// show brings the schedule up to the change. The caller holds the partition's lock.
func (c outboxChange) show(s *Store, r store.Ref) {
	if !c.known {
		return
	}
	if c.settled {
		delete(c.p.attempts, r)
	}
	if c.rows {
		s.outbox.of(r.Tenant, c.channel, true).put(dueKey{ref: r}, c.at, c.due)
	} else if q := s.outbox.of(r.Tenant, c.channel, false); q != nil {
		q.remove(dueKey{ref: r})
	}
}
