package queue

import (
	"context"
	"errors"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// errMoved says that the conversation is not as it was when the place was reserved: start over under a new operation.
var errMoved = errors.New("the conversation moved on after the reservation")

// Claim makes the agent the owner of a conversation. Claiming what one holds is a success. Of several who claim at once
// one wins and the others get a *conversation.ClaimedError that names the winner. store.ErrCapacity: the agent is not
// present or has no free place. What the bot has only a supervisor may claim.
func (q *Queue) Claim(ctx context.Context, to To) (Result, error) {
	check := func(s *conversation.State) error {
		switch o := s.Owner; {
		case o.Kind == message.OwnerAgent && o.Agent == to.Agent.ID:
			return conversation.ErrNothing
		case o.Kind == message.OwnerAgent && !to.Override:
			return &conversation.ClaimedError{Winner: o}
		case o.Kind == message.OwnerBot && !to.Agent.Supervisor:
			return ErrForbidden
		case o.Kind == message.OwnerClosed:
			return conversation.ErrClosed
		}
		return nil
	}
	return q.give(ctx, to, "claim", nil, to.Agent.ID, check, func(operation) step {
		return func(d *conversation.Draft, _ *Result) error {
			return d.Do(conversation.Claim{Name: to.Agent.Name, Override: to.Override})
		}
	})
}

// Transfer says where a conversation goes: to an agent, or to a queue.
type Transfer struct {
	Agent string                `json:"agent,omitempty"`
	Queue string                `json:"queue,omitempty"`
	Note  conversation.NoteText `json:"note,omitempty"`
}

// Transfer passes a conversation that the agent holds on. An agent who gets it must be present and have a free place.
func (q *Queue) Transfer(ctx context.Context, to To, t Transfer) (Result, error) {
	if (t.Agent == "") == (t.Queue == "") {
		return Result{}, &InvalidError{Detail: "Give either agent or queue."}
	}
	c := conversation.Transfer{Queue: t.Queue, Agent: t.Agent, Override: to.Override}
	pass := func(o operation) step {
		return func(d *conversation.Draft, r *Result) error {
			if err := note(d, o, t.Note, r); err != nil {
				return err
			}
			return d.Do(c)
		}
	}
	if t.Queue != "" {
		if !q.Directory.HasQueue(to.Agent.Tenant, t.Queue) {
			return Result{}, &InvalidError{Detail: "There is no such queue."}
		}
		return q.act(ctx, to, "transfer", t, pass)
	}
	heir, ok := q.Directory.Agent(to.Agent.Tenant, t.Agent)
	if !ok {
		return Result{}, &InvalidError{Detail: "There is no such agent."}
	}
	c.Name = heir.Name
	check := func(s *conversation.State) error {
		switch o := s.Owner; {
		case o.Kind == message.OwnerAgent && o.Agent == heir.ID:
			return conversation.ErrNothing
		case o.Agent != to.Agent.ID && !to.Override:
			return conversation.ErrNotOwner
		case o.Kind == message.OwnerClosed:
			return conversation.ErrClosed
		}
		return nil
	}
	return q.give(ctx, to, "transfer", t, heir.ID, check, pass)
}

// Escalate says to which queue above a conversation goes. Priority is one of the conversation's, 0 to keep it.
type Escalate struct {
	Queue    string                `json:"queue"`
	Priority int                   `json:"priority,omitempty"`
	Note     conversation.NoteText `json:"note,omitempty"`
}

// Escalate passes a conversation that the agent holds to another queue, with at least the given priority.
func (q *Queue) Escalate(ctx context.Context, to To, e Escalate) (Result, error) {
	if !q.Directory.HasQueue(to.Agent.Tenant, e.Queue) {
		return Result{}, &InvalidError{Detail: "There is no such queue."}
	}
	return q.act(ctx, to, "escalate", e, func(o operation) step {
		return func(d *conversation.Draft, r *Result) error {
			if err := note(d, o, e.Note, r); err != nil {
				return err
			}
			return d.Do(conversation.Escalate{Queue: e.Queue, Priority: e.Priority, Override: to.Override})
		}
	})
}

// give carries out an act that makes heir the owner: load, reserve a place of heir, compare and set. A reservation is for
// the state that was loaded before it; when the conversation has moved on since, it is given back and everything is tried
// again under a new operation. So a place is never taken twice and never lost.
func (q *Queue) give(ctx context.Context, to To, act string, body any, heir string, check func(*conversation.State) error, decide func(operation) step) (Result, error) {
	o, snap, first, leave, err := q.begin(ctx, to, act, body)
	defer leave()
	if err != nil {
		return Result{}, err
	}
	if first != nil {
		return *first, nil
	}
	do := decide(o)
	for n := 1; ; n++ {
		if err := check(snap.State); err != nil {
			return q.end(ctx, to, act, snap.State, Result{}, err)
		}
		var r Result
		state, err := q.attempt(ctx, to, snap, heir, o.attempt(n), func(d *conversation.Draft) error {
			r = Result{}
			return do(d, &r)
		})
		if !errors.Is(err, errMoved) || ctx.Err() != nil {
			return q.end(ctx, to, act, state, r, err)
		}
		if snap, err = q.visible(ctx, to.Agent, act, to.Conversation); err != nil {
			return Result{}, err
		}
	}
}

// attempt is one try: reserve and commit upon the snapshot, or errMoved.
func (q *Queue) attempt(ctx context.Context, to To, snap *store.Snapshot, heir string, op store.Token, do func(*conversation.Draft) error) (state *conversation.State, err error) {
	t := to.Agent.Tenant
	if err := q.Store.Reserve(ctx, t, heir, snap.Ref.ID, op); err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			return // the commit took the place over
		}
		if cancel := q.Store.Cancel(context.WithoutCancel(ctx), t, op); cancel != nil {
			q.Log.Error("giving back a place", "agent", heir, "conversation", snap.Ref.ID, "err", cancel)
		}
	}()
	if err := q.Faults.Hit(ctx, fault.ClaimReserved); err != nil {
		return nil, err
	}
	return q.Pipeline.Act(ctx, snap.Ref, to.actor(), op, func(d *conversation.Draft) error {
		if d.State.Seq != snap.State.Seq || d.State.Epoch != snap.State.Epoch {
			return errMoved
		}
		return do(d)
	})
}
