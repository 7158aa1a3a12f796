package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// accepted is what Accept made of a message.
type accepted struct {
	ref     store.Ref
	state   *conversation.State
	message conversation.Event // the message.received
	events  []conversation.Event
	dup     bool
	flight  *flight // that the message has set off
}

// accept makes a message durable, once, together with what the inbound rules say to it and with the start of the bot's
// turn. After it returned nil the message may be acknowledged.
func (p *Pipeline) accept(ctx context.Context, ch *Channel, in message.Inbound) (accepted, error) {
	op := store.Token(p.IDs.Token())
	for {
		a, err := p.acceptOnce(ctx, ch, op, in)
		switch {
		case !errors.Is(err, store.ErrStale):
			return a, err
		case ctx.Err() != nil:
			return accepted{}, unavailable(ctx.Err())
		}
	}
}

// acceptOnce decides on what is there now; store.ErrStale means that something else was there at the commit.
func (p *Pipeline) acceptOnce(ctx context.Context, ch *Channel, op store.Token, in message.Inbound) (accepted, error) {
	found, err := p.Store.Find(ctx, ch.Tenant.Handle, in.From, []string{in.ID})
	if err != nil {
		return accepted{}, unavailable(err)
	}
	if k, ok := found.Known[in.ID]; ok {
		return p.again(ctx, ch, k)
	}
	if err := p.Faults.Hit(ctx, fault.AcceptLoaded); err != nil {
		return accepted{}, unavailable(err)
	}
	plan, err := p.plan(ctx, ch, found.Snapshot, op, in)
	if err != nil {
		return accepted{}, err
	}
	defer plan.flight.abandon()
	if err := p.Faults.Hit(ctx, fault.AcceptDecided); err != nil {
		return accepted{}, unavailable(err)
	}
	_, err = p.commit(ctx, plan.step)
	var dup *store.DuplicateError
	switch {
	case errors.As(err, &dup):
		return p.again(ctx, ch, dup.Known)
	case errors.Is(err, store.ErrStale):
		return accepted{}, err
	case err != nil:
		return accepted{}, unavailable(err)
	}
	p.acted(plan)
	if err := p.Faults.Hit(ctx, fault.AcceptDone); err != nil {
		return accepted{}, fmt.Errorf("%w: %w", adapters.ErrUnknownOutcome, err)
	}
	return accepted{ref: plan.step.Ref, state: plan.step.State, message: plan.received, events: plan.step.Events, flight: plan.flight}, nil
}

// again answers a repeated message with what became of the first.
func (p *Pipeline) again(ctx context.Context, ch *Channel, k store.Known) (accepted, error) {
	ref := store.Ref{Tenant: ch.Tenant.Handle, ID: k.Conversation}
	snap, err := p.Store.Load(ctx, ref)
	if errors.Is(err, store.ErrErased) { // whoever delivers it again is to stop, and nothing of it may come back
		return accepted{ref: ref, state: &conversation.State{ID: ref.ID, Owner: conversation.Owner{Kind: message.OwnerClosed}}, dup: true}, nil
	}
	if err != nil {
		return accepted{}, unavailable(err)
	}
	events, err := p.Store.Log(ctx, ref, k.Seq-1, 1)
	if err != nil {
		return accepted{}, unavailable(err)
	}
	if len(events) != 1 {
		return accepted{}, fmt.Errorf("%w: the log of %s has no event %d", adapters.ErrUnavailable, ref.ID, k.Seq)
	}
	return accepted{ref: ref, state: snap.State, message: events[0], dup: true}, nil
}

// plan is a decided step and what follows once it is durable.
type plan struct {
	step     store.Step
	received conversation.Event
	flight   *flight // the bot call that the step starts
}

// plan decides what a message does to the conversation it belongs to.
func (p *Pipeline) plan(ctx context.Context, ch *Channel, snap *store.Snapshot, op store.Token, in message.Inbound) (*plan, error) {
	now := p.ms()
	d, step := p.draft(ch, snap, op, in.From, now)
	p.reopen(d, ch)
	p.recall(d, ch, in.Profile)
	judged, err := p.judgeInbound(ctx, ch, &d.State, in, now)
	if err != nil {
		return nil, unavailable(err)
	}
	from := conversation.Actor{Kind: conversation.Customer, ID: d.State.Contact}
	receive := conversation.Receive{
		ID: p.IDs.New(id.Message, partition(step.Ref)), In: in,
		Rules: judged.version, Scores: judged.scores, Memory: judged.memory,
	}
	if judged.kind() == "" { // otherwise the decision holds them
		receive.Model, receive.Inputs = p.Detector.Digest(), judged.inputs.Encode()
	}
	if err := d.DoAs(from, receive); err != nil {
		return nil, fmt.Errorf("receiving: %w", err)
	}
	pl := &plan{received: d.Events[len(d.Events)-1]}
	step.Dedupe = []store.Dedupe{{From: in.From, ID: in.ID, Seq: d.State.Seq}}
	if err := p.applyInbound(d, ch, judged, partition(step.Ref), d.State.Seq, ""); err != nil {
		return nil, fmt.Errorf("acting on the inbound rules: %w", err)
	}
	lease := store.Lease{}
	if snap != nil && step.Ref == snap.Ref {
		lease = snap.Lease
	}
	if pl.flight = p.startTurn(d, ch, step.Ref, lease, now, nil); pl.flight != nil {
		step.Take = pl.flight.lease
	}
	step.Events, step.State = d.Events, d.Result()
	pl.step = step
	return pl, nil
}

// draft begins a step on the conversation in which an address writes: its last one, unless that was closed too long ago
// to be reopened, or a new one.
func (p *Pipeline) draft(ch *Channel, snap *store.Snapshot, op store.Token, from message.Address, now int64) (*conversation.Draft, store.Step) {
	env := conversation.Env{Now: now, Op: string(op), Actor: system}
	step := store.Step{Op: op}
	if snap != nil {
		closed := snap.State.Owner.Kind == message.OwnerClosed
		if !closed || now-snap.State.ClosedAt <= ch.ReopenWithin.Milliseconds() {
			step.Ref, step.Base = snap.Ref, snap.Version
			env.Outgoing = snap.Outgoing
			return conversation.Begin(snap.State, env), step
		}
	}
	part := id.PartitionOf(ch.Tenant.Handle.Name(), from.Channel, from.Address)
	step.Ref = store.Ref{Tenant: ch.Tenant.Handle, ID: p.IDs.New(id.Conversation, part)}
	step.Bind = &store.Bind{Address: from}
	open := conversation.Open{ID: step.Ref.ID, From: from}
	if snap != nil {
		step.Bind.From, open.Previous = snap.Ref.ID, snap.Ref.ID
		open.Contact = snap.State.Contact
	}
	d := conversation.Begin(&conversation.State{}, env)
	must(d.Do(open))
	if snap != nil && snap.State.Profile != nil { // who the customer is does not end with a conversation
		must(d.Do(conversation.SetProfile{Profile: *snap.State.Profile}))
		if a := snap.State.AccountOf(nil); a != nil {
			must(d.Do(conversation.SetAccount{Account: *a}))
		}
	}
	setIdle(d, ch, now)
	return d, step
}

// reopen brings a closed conversation back for the message that comes, to the queue if a person had resolved it.
func (p *Pipeline) reopen(d *conversation.Draft, ch *Channel) {
	if d.State.Owner.Kind != message.OwnerClosed {
		return
	}
	queue := ""
	if d.State.Resolver != "" {
		queue = ch.Tenant.Queue
	}
	must(d.Do(conversation.Reopen{Queue: queue}))
	setIdle(d, ch, d.Now())
}

// setIdle starts the wait for silence. The timer looks at the last activity when it fires, so it is not moved by messages.
func setIdle(d *conversation.Draft, ch *Channel, now int64) {
	if ch.Tenant.IdleNew > 0 && !d.State.HumanInvolved {
		must(d.Do(conversation.SetTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: now + ch.Tenant.IdleNew.Milliseconds()}}))
	}
}

// acted starts what a durable step set off.
func (p *Pipeline) acted(pl *plan) {
	p.tell(pl.step.Ref, pl.step.Events)
	if pl.flight != nil {
		p.offer(pl.flight)
	} else if pl.step.State.Working() {
		p.await(pl.step.Ref, pl.step.State)
	}
	if pl.flight == nil { // a turn sees to it itself
		s := pl.step.State
		p.refresh(pl.step.Ref, p.channel(s.From.Channel), s.Profile, s.AccountOf(nil))
	}
}

// tell passes on whom the decisions among durable events want to have told.
func (p *Pipeline) tell(r store.Ref, events []conversation.Event) {
	for i := range events {
		d, ok := events[i].Data.(*conversation.Decision)
		if !ok || len(d.Notify) == 0 || p.Notify == nil {
			continue
		}
		n := Notice{Ref: r, Rule: d.Rule, Who: d.Notify}
		if n.Rule == "" && len(d.Matched) > 0 { // none diverted or spoke
			n.Rule = d.Matched[0]
		}
		p.Notify(n)
	}
}

// startTurn takes the pending messages into a turn if the conversation and the bot are free. The flight it returns holds
// a place, that of got if it can; it must fly after the commit or be abandoned.
func (p *Pipeline) startTurn(d *conversation.Draft, ch *Channel, ref store.Ref, lease store.Lease, now int64, got **place) *flight {
	s := &d.State
	bot := ch.botOf(s)
	if bot == nil || lease.Live(now) || s.Owner.Kind != message.OwnerBot || s.Turn != nil || s.Pending.Count == 0 {
		return nil
	}
	place := ch.enter(bot, got)
	if place == nil {
		return nil
	}
	if err := d.Do(conversation.StartTurn{ID: p.IDs.New(id.Turn, partition(ref)), Bot: bot.Name}); err != nil {
		place.Leave(0)
		return nil
	}
	return p.newFlight(d, ch, bot, place, ref)
}

func partition(r store.Ref) int {
	part, err := id.Partition(id.Conversation, r.ID)
	must(err)
	return part
}

// must is for commands whose preconditions the caller has just established.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// unavailable maps an error of the store to what a channel may hear.
func unavailable(err error) error {
	if errors.Is(err, store.ErrUnknown) {
		return fmt.Errorf("%w: %w", adapters.ErrUnknownOutcome, err)
	}
	return fmt.Errorf("%w: %w", adapters.ErrUnavailable, err)
}

// sent makes a part of the system ready to be said.
func (p *Pipeline) sent(part int, text, lang string) conversation.Sent {
	return conversation.Sent{ID: p.IDs.New(id.Message, part), By: message.BySystem, Part: message.Part{Text: text, Lang: lang}}
}

// leaseMargin is added to a bot's deadline: the call ends well before its lease does.
const leaseMargin = 600*time.Millisecond + 250*time.Millisecond
