package outbox

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"turnout/gateway/fair"
	"turnout/gateway/store"
)

// counters are a channel's figures since the start of the process.
type counters struct {
	attempts, sent, retried, uncertain, dead, lapsed, throttled, opened, alarms atomic.Int64

	openUntil, restUntil atomic.Int64 // ms, as the dispatcher last saw them
	needsOperator        atomic.Bool
}

// Stats are the figures of one channel since the start of the process.
type Stats struct {
	Tenant  string
	Channel string
	// Attempts were begun. Of them Sent were taken by the provider, Retried go on, Uncertain have no result and could not
	// simply be repeated, Dead became dead letters. Lapsed rows were overtaken by people.
	Attempts, Sent, Retried, Uncertain, Dead, Lapsed int64
	// Throttled is how often the provider asked the channel to rest, Opened how often the breaker opened, Alarms how often
	// an operator was needed.
	Throttled, Opened, Alarms int64
	// OpenUntil is until when the breaker is open, RestUntil until when the channel rests; zero: it does not.
	OpenUntil, RestUntil time.Time
	NeedsOperator        bool
}

// Stats returns the figures of all channels, by tenant and key; of removed ones those for which something waits. It may be
// called at any time.
func (b *Outbox) Stats() []Stats {
	lanes := *b.lanes.Load()
	out := make([]Stats, 0, len(lanes))
	now := b.ms()
	until := func(ms int64) (t time.Time) {
		if ms > now {
			t = time.UnixMilli(ms)
		}
		return t
	}
	for _, l := range lanes {
		if l.removed && !l.needsOperator.Load() {
			continue
		}
		out = append(out, Stats{
			Tenant: l.Tenant.Name(), Channel: l.Key,
			Attempts: l.attempts.Load(), Sent: l.sent.Load(), Retried: l.retried.Load(), Uncertain: l.uncertain.Load(),
			Dead: l.dead.Load(), Lapsed: l.lapsed.Load(), Throttled: l.throttled.Load(), Opened: l.opened.Load(),
			Alarms: l.alarms.Load(), OpenUntil: until(l.openUntil.Load()), RestUntil: until(l.restUntil.Load()),
			NeedsOperator: l.needsOperator.Load(),
		})
	}
	slices.SortFunc(out, func(a, b Stats) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Channel, b.Channel))
	})
	return out
}

// Places returns how the places for sends stand, of the node and of its tenants, by name. Those who wait are rows of the
// store, which alone can say how many they are.
func (b *Outbox) Places() (fair.Total, []fair.Stats) {
	by := map[*tenant]*fair.Stats{}
	total := fair.Total{Most: int(b.total.Load())}
	for _, l := range *b.lanes.Load() {
		s := by[l.tenant]
		if s == nil {
			s = &fair.Stats{
				Tenant: l.Tenant.Name(), Running: int(l.tenant.running.Load()), Most: int(l.tenant.bound.Load()),
				Weight: int(l.tenant.weight.Load()),
			}
			by[l.tenant] = s
			total.Running += s.Running
		}
		s.AtOnce += l.attempts.Load()
	}
	out := make([]fair.Stats, 0, len(by))
	for _, s := range by {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b fair.Stats) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return total, out
}

func (l *lane) count(v verdict) {
	switch v.end {
	case store.Gone:
		l.sent.Add(1)
	case store.Retry:
		l.retried.Add(1)
	case store.Bury:
		l.dead.Add(1)
	}
	if v.unsure {
		l.uncertain.Add(1)
	}
}

// publish shows the state of the lane to Stats.
func (l *lane) publish(now time.Time) {
	open := int64(0)
	if l.breaker.open {
		open = l.breaker.until.UnixMilli()
	}
	l.openUntil.Store(open)
	l.restUntil.Store(l.rest.UnixMilli())
	l.needsOperator.Store(l.alarm)
}
