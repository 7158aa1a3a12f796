package queue

import (
	"context"
	"fmt"
	"time"

	"turnout/gateway/store"
)

// Presence is an agent's presence.
type Presence struct {
	On bool `json:"on"`
	// Until is when it lapses without another heartbeat.
	Until    *time.Time `json:"until,omitempty"`
	Capacity int        `json:"capacity"`
	// Load is how many conversations the agent holds.
	Load int `json:"load"`
}

// Heartbeat says that the agent is there, for PresenceFor, or has left.
func (q *Queue) Heartbeat(ctx context.Context, a Agent, on bool) (Presence, error) {
	p := store.Presence{Agent: a.ID, Name: a.Name, Queues: a.Queues, Capacity: a.Capacity}
	if on {
		p.Until = q.Now().Add(PresenceFor).UnixMilli()
	}
	if err := q.Store.SetPresence(ctx, a.Tenant, p); err != nil {
		return Presence{}, fmt.Errorf("setting presence: %w", err)
	}
	return q.Presence(ctx, a)
}

// Presence returns an agent's own presence.
func (q *Queue) Presence(ctx context.Context, a Agent) (Presence, error) {
	all, err := q.Store.Present(ctx, a.Tenant)
	if err != nil {
		return Presence{}, fmt.Errorf("reading presence: %w", err)
	}
	out := Presence{Capacity: a.Capacity}
	now := q.Now().UnixMilli()
	for _, p := range all {
		if p.Agent == a.ID {
			out.Load = p.Load
			if p.Until > now {
				out.On, out.Until = true, instant(p.Until)
			}
		}
	}
	return out, nil
}
