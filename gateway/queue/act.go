package queue

import (
	"context"
	"errors"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/outbox"
	"turnout/gateway/store"
)

// Result is what an act left behind.
type Result struct {
	Conversation string             `json:"conversation"`
	Owner        conversation.Owner `json:"owner"`
	Epoch        uint64             `json:"epoch"`
	Seq          uint64             `json:"seq"`
	// Message is the id of the message that was said or is held, Note that of the note.
	Message string `json:"message,omitempty"`
	Note    string `json:"note,omitempty"`
	// HeldUntil is when a held message leaves; until then it can be undone.
	HeldUntil *time.Time `json:"held_until,omitempty"`
	// Repeated is set when the request was carried out before, under the same idempotency key.
	Repeated bool `json:"repeated,omitempty"`
}

func result(s *conversation.State) Result {
	return Result{Conversation: s.ID, Owner: s.Owner, Epoch: s.Epoch.N, Seq: s.Seq}
}

// To is whom an act is by and what it is about.
type To struct {
	Agent        Agent
	Conversation string
	// Key is the request's idempotency key; empty: none.
	Key string
	// Override goes over the ownership of the conversation. Only a supervisor may.
	Override bool
}

func (t To) actor() conversation.Actor {
	if t.Override {
		return conversation.Actor{Kind: conversation.Supervisor, ID: t.Agent.ID}
	}
	return conversation.Actor{Kind: conversation.Agent, ID: t.Agent.ID}
}

// step decides one act on a draft. r holds what of the result the state does not say.
type step func(d *conversation.Draft, r *Result) error

// begin is the common start of every act: the conversation exists for the agent, an override is a supervisor's, and the
// request was not carried out before. first is non-nil when it was. leave must be called.
func (q *Queue) begin(ctx context.Context, to To, act string, body any) (o operation, snap *store.Snapshot, first *Result, leave func(), err error) {
	leave = func() {}
	if o, err = q.operation(to.Agent, act, to.Conversation, to.Key, body); err != nil {
		return o, nil, nil, leave, err
	}
	if leave, err = q.gate(ctx, o); err != nil {
		return o, nil, nil, func() {}, err
	}
	if snap, err = q.load(ctx, to.Agent, to.Conversation); err != nil {
		return o, nil, nil, leave, err
	}
	if first, err = q.done(ctx, snap, o); first != nil || err != nil {
		return o, snap, first, leave, err
	}
	switch {
	case to.Override && !to.Agent.Supervisor:
		err = q.refuse(ctx, to.Agent, act+" override", to.Conversation)
	case !sees(to.Agent, snap.State):
		err = q.refuse(ctx, to.Agent, act, to.Conversation)
	}
	return o, snap, nil, leave, err
}

// act carries out one act that gives the conversation to no agent.
func (q *Queue) act(ctx context.Context, to To, act string, body any, decide func(operation) step) (Result, error) {
	o, snap, first, leave, err := q.begin(ctx, to, act, body)
	defer leave()
	if err != nil {
		return Result{}, err
	}
	if first != nil {
		return *first, nil
	}
	var r Result
	do := decide(o)
	state, err := q.Pipeline.Act(ctx, snap.Ref, to.actor(), store.Token(o.token), func(d *conversation.Draft) error {
		r = Result{}
		if !sees(to.Agent, &d.State) {
			return ErrForbidden
		}
		return do(d, &r)
	})
	return q.end(ctx, to, act, state, r, err)
}

// end makes the result of an act. What was there already counts as done.
func (q *Queue) end(ctx context.Context, to To, act string, s *conversation.State, r Result, err error) (Result, error) {
	switch {
	case errors.Is(err, ErrForbidden):
		return Result{}, q.refuse(ctx, to.Agent, act, to.Conversation)
	case errors.Is(err, conversation.ErrNothing):
		r = Result{}
	case err != nil:
		return Result{}, err
	}
	out := result(s)
	out.Message, out.Note, out.HeldUntil = r.Message, r.Note, r.HeldUntil
	return out, nil
}

// Reply is what an agent says.
type Reply struct {
	Part message.Part `json:"part"`
	// Hold is how long the reply can be undone before it leaves, at most MaxHold.
	Hold time.Duration `json:"hold,omitempty"`
}

// Reply says something to the customer. The agent must hold the conversation.
//
// ErrWindowClosed: the channel's time for replies is over, or would be at the end of the hold.
func (q *Queue) Reply(ctx context.Context, to To, reply Reply) (Result, error) {
	switch {
	case reply.Part.Empty():
		return Result{}, &InvalidError{Detail: "The reply is empty. Give a text, choices or a link."}
	case reply.Hold < 0 || reply.Hold > MaxHold:
		return Result{}, &InvalidError{Detail: "hold must be between 0 and 30 seconds."}
	}
	return q.act(ctx, to, "reply", reply, func(o operation) step {
		return func(d *conversation.Draft, r *Result) error {
			id, err := o.message(&d.State)
			if err != nil {
				return err
			}
			if until := q.window(&d.State); until > 0 && d.Now()+reply.Hold.Milliseconds() >= until {
				return ErrWindowClosed
			}
			c := conversation.Reply{ID: id, Name: to.Agent.Name, Part: reply.Part}
			if reply.Hold > 0 {
				c.HoldUntil = d.Now() + reply.Hold.Milliseconds()
			}
			r.Message, r.HeldUntil = id, instant(c.HoldUntil)
			return d.Do(c)
		}
	})
}

// Undo takes a held reply back. conversation.ErrStale: it has left already, or there is none.
func (q *Queue) Undo(ctx context.Context, to To, messageID string) (Result, error) {
	return q.act(ctx, to, "undo", messageID, func(operation) step {
		return func(d *conversation.Draft, r *Result) error {
			r.Message = messageID
			return d.Do(conversation.UndoHeld{ID: messageID})
		}
	})
}

// Resend decides about a message of a conversation that could not be delivered, or of which that is not known: it is sent
// once more, or given up. The agent must hold the conversation. store.ErrNotFound: nothing of this message waits for a
// decision.
func (q *Queue) Resend(ctx context.Context, to To, messageID string, discard bool) (Result, error) {
	body := struct {
		Message string
		Discard bool
	}{messageID, discard}
	o, snap, first, leave, err := q.begin(ctx, to, "resend", body)
	defer leave()
	if err != nil {
		return Result{}, err
	}
	if first != nil {
		return *first, nil
	}
	switch {
	case q.Dead == nil:
		return Result{}, store.ErrNotFound
	case snap.State.Owner.Agent != to.Agent.ID && !to.Override:
		return Result{}, conversation.ErrNotOwner
	}
	_, state, err := q.Dead.Redrive(ctx, outbox.Redrive{
		Tenant: to.Agent.Tenant, Row: store.RowOf(messageID), By: to.actor(), Discard: discard, In: snap.Ref.ID, Op: store.Token(o.token),
	})
	if err != nil {
		return Result{}, err
	}
	out := result(state)
	out.Message = messageID
	return out, nil
}

// Note adds a note, which no customer ever sees.
func (q *Queue) Note(ctx context.Context, to To, text conversation.NoteText) (Result, error) {
	if text == "" {
		return Result{}, &InvalidError{Detail: "The note is empty."}
	}
	return q.act(ctx, to, "note", text, func(o operation) step {
		return func(d *conversation.Draft, r *Result) error { return note(d, o, text, r) }
	})
}

// note adds a note to the draft unless it is empty.
func note(d *conversation.Draft, o operation, text conversation.NoteText, r *Result) error {
	if text == "" {
		return nil
	}
	id, err := o.message(&d.State)
	if err != nil {
		return err
	}
	r.Note = id
	return d.Do(conversation.AddNote{ID: id, Text: text})
}

// Account asks the tenant's own system once more who the customer is. What it says is on the conversation then. Errors beside
// those of acts: lookup.ErrNotAsked, lookup.ErrFailed.
func (q *Queue) Account(ctx context.Context, to To) (Result, error) {
	o, snap, first, leave, err := q.begin(ctx, to, "account", nil)
	defer leave()
	if err != nil {
		return Result{}, err
	}
	if first != nil {
		return *first, nil
	}
	state, err := q.Pipeline.Refresh(ctx, snap.Ref, to.actor(), store.Token(o.token))
	return q.end(ctx, to, "account", state, Result{}, err)
}

// Release gives the conversation back to the bot, with an optional note for whoever gets it next.
func (q *Queue) Release(ctx context.Context, to To, text conversation.NoteText) (Result, error) {
	return q.leave(ctx, to, "release", text, conversation.Release{Override: to.Override})
}

// Resolve closes the conversation.
func (q *Queue) Resolve(ctx context.Context, to To, text conversation.NoteText) (Result, error) {
	return q.leave(ctx, to, "resolve", text, conversation.Resolve{Override: to.Override})
}

func (q *Queue) leave(ctx context.Context, to To, act string, text conversation.NoteText, c conversation.Command) (Result, error) {
	return q.act(ctx, to, act, text, func(o operation) step {
		return func(d *conversation.Draft, r *Result) error {
			if err := note(d, o, text, r); err != nil {
				return err
			}
			return d.Do(c)
		}
	})
}

// Snooze puts a conversation that the agent holds aside until an instant; the zero time wakes it.
func (q *Queue) Snooze(ctx context.Context, to To, until time.Time) (Result, error) {
	var ms int64
	if !until.IsZero() {
		ms = until.UnixMilli()
		if ms <= q.Now().UnixMilli() {
			return Result{}, &InvalidError{Detail: "until must be in the future."}
		}
	}
	return q.act(ctx, to, "snooze", ms, func(operation) step {
		return func(d *conversation.Draft, _ *Result) error { return d.Do(conversation.Snooze{Until: ms}) }
	})
}

// Typing shows the customer that the agent types. The agent must hold the conversation.
func (q *Queue) Typing(ctx context.Context, a Agent, conv string) error {
	snap, err := q.visible(ctx, a, "typing", conv)
	if err != nil {
		return err
	}
	if snap.State.Owner.Agent != a.ID {
		return conversation.ErrNotOwner
	}
	q.Pipeline.Typing(snap.State, a.Tenant, a.Name)
	return nil
}
