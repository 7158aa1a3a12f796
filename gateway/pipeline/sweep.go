package pipeline

import (
	"context"
	"errors"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

const (
	sweepPage  = 512
	sweepPause = time.Second
)

// sweepUntil hands out due work until ctx ends: at once, on a kick, when the next thing is due, and once a second.
func (p *Pipeline) sweepUntil(ctx context.Context) error {
	for {
		next := p.Sweep(ctx)
		pause := sweepPause
		if next > 0 {
			pause = min(pause, max(time.Millisecond, time.UnixMilli(next).Sub(p.Now())))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Work is handed on in four ways. A step that starts a turn flies it (acted, settle, retake). A conversation that was
// refused a place stands in a line (place.go), and a place that is given back goes to the one whose turn it is. A step that
// leaves other work for later kicks the sweep. Everything else, above all what a dead process left behind, is found by
// Store.Due; a store does not name the same work twice within seconds, so nothing may count on Due alone to come back soon.
// What it names again and again while it stands in a line is not looked at.

// Sweep looks once at everything that is due and returns the instant of the next thing (ms, 0 for none).
func (p *Pipeline) Sweep(ctx context.Context) (next int64) {
	defer p.recovered("the sweep")
	jobs, next, err := p.Store.Due(ctx, p.ms(), sweepPage)
	if err != nil {
		p.Log.Error("looking for due work", "err", err)
		return 0
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			return 0
		}
		switch {
		case j.Timer.Name != "":
			p.fire(ctx, j)
		case !p.places.Waits(j.Ref):
			p.take(ctx, j.Ref, nil)
		}
	}
	return next
}

// take picks up a conversation whose turn waits, was left behind, or was cut off by a handoff and never ended. got is a
// place that it has waited for, which is given back if it is not needed; nil: none.
func (p *Pipeline) take(ctx context.Context, r store.Ref, got *place) {
	defer func() {
		if got != nil {
			got.Leave(0)
		}
	}()
	defer p.recovered("taking a turn")
	snap, err := p.Store.Load(ctx, r)
	if errors.Is(err, store.ErrErased) {
		return // between the look and this
	}
	if err != nil {
		p.Log.Error("loading a conversation with work", "conversation", r.ID, "err", err)
		return
	}
	now := p.ms()
	if !snap.State.Working() || snap.Lease.Live(now) {
		return
	}
	ch := p.channel(snap.State.From.Channel)
	if ch == nil || ch.Bot == nil {
		p.Log.Warn("a conversation has work on a channel that is not configured", "conversation", r.ID)
		return
	}
	if err := ch.Tenant.Rules.Ready(); err != nil {
		return // the work stays due: a node that is ready takes it, or this one when it is
	}
	op := store.Token(p.IDs.Token())
	d := conversation.Begin(snap.State, conversation.Env{Now: now, Op: string(op), Actor: system, Outgoing: snap.Outgoing})
	if o := snap.State.Orphan; o != nil {
		must(d.Do(conversation.DiscardTurn{Turn: o.ID, Reason: "lost"}))
	}
	var f *flight
	bot := ch.botOf(&d.State)
	if t := d.State.Turn; t != nil {
		bot = ch.botNamed(t.Bot, bot)
		if f, err = p.retakeTurn(d, ch, bot, r, *t, &got); err != nil {
			p.Log.Error("taking a turn again", "conversation", r.ID, "err", err)
			return
		}
	} else {
		f = p.startTurn(d, ch, r, store.Lease{}, now, &got)
	}
	defer f.abandon()
	if f == nil && d.State.Working() {
		defer ch.place(bot).Wait(r) // all places are taken
	}
	if len(d.Events) == 0 {
		return
	}
	step := store.Step{Ref: r, Op: op, Base: snap.Version, Events: d.Events, State: d.Result()}
	if f != nil {
		step.Take = f.lease
	}
	if _, err := p.commit(ctx, step); err != nil {
		if !errors.Is(err, store.ErrStale) {
			p.Log.Error("taking a turn", "conversation", r.ID, "err", err)
		}
		return
	}
	if f != nil {
		p.fly(f)
	}
}

// retakeTurn repeats the call of a turn that a dead process or a broken call left behind, or gives it up for people when
// it was tried often enough.
func (p *Pipeline) retakeTurn(d *conversation.Draft, ch *Channel, bot *Bot, r store.Ref, t conversation.Turn, got **place) (*flight, error) {
	if t.Attempt >= maxAttempts {
		f := &flight{ref: r, ch: ch, bot: bot, turn: t}
		must(d.Do(conversation.FailTurn{Turn: t.ID, Kind: "gave_up", Final: true}))
		return nil, p.toPeople(d, f)
	}
	place := ch.enter(bot, got)
	if place == nil {
		return nil, nil
	}
	must(d.Do(conversation.RetakeTurn{Bot: bot.Name}))
	f := p.newFlight(d, ch, bot, place, r)
	f.known = nil
	return f, nil
}

// fire consumes a due timer and does what it stands for, in one commit.
func (p *Pipeline) fire(ctx context.Context, j store.Job) {
	defer p.recovered("firing a timer")
	if err := p.Faults.Hit(ctx, fault.TimerDue); err != nil {
		p.Log.Warn("firing a timer", "conversation", j.Ref.ID, "err", err)
		return
	}
	_, err := p.Act(ctx, j.Ref, system, store.Token(p.IDs.Token()), func(d *conversation.Draft) error {
		if id, ok := conversation.HeldSend(j.Timer.Name); ok {
			return p.sendHeld(ctx, d, j.Ref, id)
		}
		if err := d.Do(conversation.FireTimer{Timer: j.Timer}); err != nil {
			return err
		}
		if j.Timer.Name == conversation.TimerIdle {
			return p.idle(d)
		}
		return nil
	})
	if err != nil && !errors.Is(err, conversation.ErrStale) && !errors.Is(err, store.ErrNotFound) {
		p.Log.Error("firing a timer", "conversation", j.Ref.ID, "timer", j.Timer.Name, "err", err)
	}
}

// idle ends a conversation that nobody has written in for long and that no person was involved in.
func (p *Pipeline) idle(d *conversation.Draft) error {
	s := &d.State
	ch := p.channel(s.From.Channel)
	if ch == nil || s.HumanInvolved || s.MustReachHuman || s.Owner.Kind != message.OwnerBot {
		return nil
	}
	due := s.ActiveAt + ch.Tenant.IdleNew.Milliseconds()
	if due > d.Now() || s.Turn != nil || s.Pending.Count > 0 {
		at := max(due, d.Now()+sweepPause.Milliseconds())
		return d.Do(conversation.SetTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: at}})
	}
	return d.Do(conversation.Close{Reason: conversation.ReasonIdle})
}

// sendHeld ends the send hold of an agent's reply.
func (p *Pipeline) sendHeld(ctx context.Context, d *conversation.Draft, r store.Ref, id string) error {
	for _, h := range d.State.HeldOut {
		if h.ID != id {
			continue
		}
		events, err := p.Store.Log(ctx, r, h.Seq-1, 1)
		if err != nil {
			return err
		}
		if len(events) == 1 {
			if held, ok := events[0].Data.(*conversation.Held); ok && held.Part != nil {
				by := conversation.Actor{Kind: conversation.Agent, ID: h.By}
				return d.DoAs(by, conversation.SendHeld{Sent: conversation.Sent{ID: id, Name: held.Name, Part: *held.Part}})
			}
		}
	}
	return conversation.ErrStale
}
