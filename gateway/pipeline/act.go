package pipeline

import (
	"context"
	"errors"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// Act does to a conversation what a person, a timer or the system decided: load, decide, commit, as often as the
// conversation moves on in between. The returned state is durable. op makes it safe to repeat.
//
// Errors are those of decide (conversation.Err…), of the store, or ctx's.
func (p *Pipeline) Act(ctx context.Context, r store.Ref, a conversation.Actor, op store.Token, decide func(*conversation.Draft) error) (*conversation.State, error) {
	for {
		snap, err := p.Store.Load(ctx, r)
		if err != nil {
			return nil, err
		}
		d := conversation.Begin(snap.State, conversation.Env{Now: p.ms(), Op: string(op), Actor: a, Outgoing: snap.Outgoing})
		if err := decide(d); err != nil {
			return snap.State, err
		}
		if err := p.Faults.Hit(ctx, fault.ActDecided); err != nil {
			return nil, err
		}
		done, err := p.commit(ctx, store.Step{Ref: r, Op: op, Base: snap.Version, Events: d.Events, State: d.Result()})
		switch {
		case err == nil && done.Repeat:
			// The draft was decided a second time, on what the first had made: what is durable is the first one's.
			if snap, err = p.Store.Load(ctx, r); err != nil {
				return nil, err
			}
			return snap.State, nil
		case err == nil:
			if d.State.Working() {
				p.kick()
			}
			return &d.State, nil
		case errors.Is(err, store.ErrStale) && ctx.Err() == nil:
		default:
			return nil, err
		}
	}
}

// Read returns a conversation's state and events after seq, for the tenant's people.
func (p *Pipeline) Read(ctx context.Context, r store.Ref, after uint64, limit int) (*conversation.State, []conversation.Event, error) {
	snap, err := p.Store.Load(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	events, err := p.Store.Log(ctx, r, after, limit)
	return snap.State, events, err
}

// Typing tells the customer of a conversation that an agent types.
func (p *Pipeline) Typing(s *conversation.State, t store.Tenant, name string) {
	p.hub.signal(addressKey(t.Name(), s.From), signalFrame{by: message.ByAgent, name: name, typing: true})
}

// Follow tells a reader among the tenant's people when the conversation grows, and what is observed of the customer.
func (p *Pipeline) Follow(r store.Ref, wake func()) adapters.Watch {
	return p.hub.follow(conversationKey(r), wake)
}
