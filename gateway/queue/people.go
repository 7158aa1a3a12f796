package queue

import (
	"context"
	"fmt"
)

// Colleagues is where a conversation can be passed on to.
type Colleagues struct {
	Agents []Colleague `json:"agents"`
	Queues []string    `json:"queues"`
}

// Colleague is an agent as the others see them.
type Colleague struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Queues []string `json:"queues,omitempty"`
	// On is set while the agent is present; Load of Capacity places are taken then.
	On       bool `json:"on"`
	Capacity int  `json:"capacity"`
	Load     int  `json:"load"`
}

// Colleagues lists the tenant's agents, with who is there and has room, and its queues.
func (q *Queue) Colleagues(ctx context.Context, a Agent) (Colleagues, error) {
	present, err := q.Store.Present(ctx, a.Tenant)
	if err != nil {
		return Colleagues{}, fmt.Errorf("reading presence: %w", err)
	}
	now := q.Now().UnixMilli()
	out := Colleagues{Agents: []Colleague{}, Queues: q.Directory.Queues(a.Tenant)}
	for _, other := range q.Directory.Agents(a.Tenant) {
		c := Colleague{ID: other.ID, Name: other.Name, Queues: other.Queues, Capacity: other.Capacity}
		for _, p := range present {
			if p.Agent == other.ID {
				c.Load, c.On = p.Load, p.Until > now
			}
		}
		out.Agents = append(out.Agents, c)
	}
	return out, nil
}
