package gateway

import (
	"context"
	"time"

	"turnout/gateway/api"
	"turnout/gateway/metrics"
	"turnout/gateway/pipeline"
	"turnout/gateway/store"
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
	for _, p := range g.places(ctx) {
		s.Places = append(s.Places, placesState(p))
	}
	for _, t := range g.pipeline.Tenants() {
		s.Queues = append(s.Queues, g.queueFigures(ctx, t)...)
	}
	for _, a := range g.rules.board.Active() {
		s.Alarms = append(s.Alarms, metrics.AlarmState{Tenant: a.Tenant, Alarm: a.Name, Subject: a.Subject})
	}
	s.Privacy = metrics.PrivacyState(g.privacy.Stats())
	if a := g.archive.Load(); a != nil {
		s.Archive = metrics.ArchiveState(a.Stats())
	}
	if g.notary != nil {
		h := g.notary.Health()
		if !h.SealedAt.IsZero() {
			s.Sealed = max(0, g.now().Sub(h.SealedAt))
		}
		s.Unsent = h.Unsent
	}
	return s
}

// places is how the node's places stand.
func (g *Gateway) places(ctx context.Context) []api.Places {
	calls, callers := g.pipeline.Places()
	sends, senders := g.outbox.Places()
	sending := api.Places{Kind: "sends", Total: sends, Tenants: senders}
	for i := range senders {
		for _, s := range g.outbox.Stats() {
			t, err := store.NewTenant(s.Tenant)
			if err != nil || s.Tenant != senders[i].Tenant {
				continue
			}
			if n, err := g.store.backlog(ctx, t, s.Channel); err == nil {
				senders[i].Waiting += n
			}
		}
		senders[i].Waiting = max(0, senders[i].Waiting-senders[i].Running)
		sending.Total.Waiting += senders[i].Waiting
	}
	return []api.Places{{Kind: "bot_calls", Total: calls, Tenants: callers}, sending}
}

func placesState(p api.Places) metrics.PlacesState {
	out := metrics.PlacesState{Kind: p.Kind, Bound: p.Total.Most}
	for _, t := range p.Tenants {
		out.Tenants = append(out.Tenants, metrics.TenantPlaces{
			Tenant: t.Tenant, Held: t.Running, Bound: t.Most, Waiting: t.Waiting, Longest: t.Longest,
			Granted: t.AtOnce + t.Waited, Waited: t.Waited,
		})
	}
	return out
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
