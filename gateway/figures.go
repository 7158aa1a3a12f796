package gateway

import (
	"context"
	"time"

	"turnout/gateway/metrics"
	"turnout/gateway/pipeline"
)

const (
	// lookedAt bounds the waiting conversations among which the oldest is looked for at a scrape.
	lookedAt = 1000
	// scrapeTime bounds what a scrape may wait for the store.
	scrapeTime = 5 * time.Second
)

// figures is how the node stands, for metrics.
func (g *Gateway) figures() metrics.State {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	s := metrics.State{Ready: g.server.Ready(ctx), Store: g.store.Health(ctx), Sealed: -1}
	for _, b := range g.pipeline.BotStats() {
		s.Bots = append(s.Bots, metrics.BotState(b))
	}
	for _, o := range g.outbox.Stats() {
		s.Senders = append(s.Senders, metrics.SenderState{
			Tenant: o.Tenant, Channel: o.Channel, Attempts: o.Attempts, Sent: o.Sent, Retried: o.Retried,
			Uncertain: o.Uncertain, Dead: o.Dead, Lapsed: o.Lapsed, Throttled: o.Throttled,
			BreakerOpen: !o.OpenUntil.IsZero(), NeedsOperator: o.NeedsOperator,
		})
	}
	for tenant, l := range g.lookups() {
		n := l.Stats()
		s.Profiles = append(s.Profiles, metrics.ProfileState{
			Tenant: tenant, Fresh: n.Fresh, Stale: n.Stale, Missing: n.Missing, Entries: n.Entries, Running: n.Running,
			Bytes: n.Bytes, BreakerOpen: n.BreakerOpen,
		})
	}
	for _, t := range g.pipeline.Tenants() {
		s.Queues = append(s.Queues, g.queueFigures(ctx, t)...)
	}
	for _, a := range g.rules.board.Active() {
		s.Alarms = append(s.Alarms, metrics.AlarmState{Tenant: a.Tenant, Alarm: a.Name, Subject: a.Subject})
	}
	s.Privacy = metrics.PrivacyState(g.privacy.Stats())
	if g.notary != nil {
		h := g.notary.Health()
		if !h.SealedAt.IsZero() {
			s.Sealed = max(0, g.now().Sub(h.SealedAt))
		}
		s.Unsent = h.Unsent
	}
	return s
}

// queueFigures are those of a tenant's queues. A store that cannot be read has none: turnout_store_ok says so.
func (g *Gateway) queueFigures(ctx context.Context, t *pipeline.Tenant) []metrics.QueueState {
	depth, err := g.store.Depth(ctx, t.Handle)
	if err != nil {
		return nil
	}
	present, err := g.store.Present(ctx, t.Handle)
	if err != nil {
		return nil
	}
	first, err := g.store.Waiting(ctx, t.Handle, "", lookedAt)
	if err != nil {
		return nil
	}
	now := g.now().UnixMilli()
	var out []metrics.QueueState
	for q := range t.Queues {
		s := metrics.QueueState{Tenant: t.Handle.Name(), Queue: q, Waiting: depth[q]}
		for _, a := range present {
			for _, takes := range a.Queues {
				if takes == q && a.Until > now {
					s.Present++
				}
			}
		}
		for _, w := range first {
			if w.Owner.Queue == q {
				s.Oldest = max(s.Oldest, time.Duration(now-w.Since)*time.Millisecond)
			}
		}
		out = append(out, s)
	}
	return out
}
