package pipeline

import (
	"errors"
	"time"

	"turnout/adapters"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// maxAttempts bounds how often one turn is put to bots, repeats after crashes included.
const maxAttempts = 4

// fail records a failed call and takes the next rung of the ladder: the same bot once more where that can help, the
// alternate bot, a person; or capture, with an honest word, when too many wait for people already. enter takes a place for
// another attempt, of the channel f.ch, at a bot.
func (p *Pipeline) fail(f *flight, cause error, enter func(*Bot) *place) {
	kind, status, after := trouble(cause)
	if errors.Is(cause, errBreakerOpen) && (p.overBudget(f.ch.Tenant) || p.spentUp(f.bot)) {
		kind = kindBudget
	}
	if next, pause := p.rung(f, kind, status, after); next != nil {
		if place := enter(next); place != nil && p.retake(f, next, place, kind, status, pause) {
			return
		}
	}
	p.settle(f, func(d *conversation.Draft) error {
		if o := d.State.Orphan; o != nil && o.ID == f.turn.ID {
			return d.Do(conversation.DiscardTurn{Turn: f.turn.ID, Reason: kind})
		}
		if err := d.Do(conversation.FailTurn{Turn: f.turn.ID, Kind: kind, Status: status, Final: true}); err != nil {
			return err
		}
		return p.toPeople(d, f)
	})
}

// goOn takes a place for another attempt in exchange for the flight's own, if it has that still.
func (f *flight) goOn(b *Bot) *place {
	mine := f.place
	if mine == nil {
		return f.another(b)
	}
	f.place = nil
	next := f.ch.place(b)
	if next == nil || !mine.Trade(next, f.held) {
		return nil
	}
	return next
}

// another takes a place for another attempt while the flight's own is still held by the call.
func (f *flight) another(b *Bot) *place { return f.ch.enter(b, nil) }

// rung is the bot to try next, nil for none, and how long to wait before: a bot that is busy and says when to come back gets the
// time, when that is soon and there is no other.
func (p *Pipeline) rung(f *flight, kind string, status int, after time.Duration) (next *Bot, pause time.Duration) {
	if f.turn.Attempt >= maxAttempts || kind == kindBudget && p.overBudget(f.ch.Tenant) { // that of all the tenant's bots
		return nil, 0
	}
	mayHelp := kind == string(adapters.BotUnreachable) || status == 502 || status == 503 || status == 504 ||
		status == 429 && after > 0 && f.bot.Alternate == nil
	if mayHelp && f.turn.Attempt == 1 && after <= longestPause {
		return f.bot, after
	}
	return f.bot.Alternate, 0
}

// longestPause is how long a turn waits for its bot at most, because the bot said so. The call's time begins after it.
const longestPause = 5 * time.Second

// retake commits the failure together with the next attempt of the same turn, by a bot that has a place for it. false means
// that the turn must end otherwise: people have taken over, or the step could not be written.
func (p *Pipeline) retake(f *flight, bot *Bot, place *place, kind string, status int, pause time.Duration) bool {
	op := store.Token(p.IDs.Token())
	next := &flight{place: place}
	defer func() { next.abandon() }()
	for {
		snap, err := p.Store.Load(p.root, f.ref)
		if err != nil || snap.State.Turn == nil || snap.Lease.Token != f.lease.Token {
			return false
		}
		d := conversation.Begin(snap.State, conversation.Env{Now: p.ms(), Op: string(op), Actor: botActor(f.bot), Outgoing: snap.Outgoing})
		err = errors.Join(
			d.Do(conversation.FailTurn{Turn: f.turn.ID, Kind: kind, Status: status}),
			d.Do(conversation.RetakeTurn{Bot: bot.Name}),
		)
		if err != nil {
			return false
		}
		next = p.newFlight(d, f.ch, bot, place, f.ref)
		next.known = nil
		next.waits(pause)
		_, err = p.commit(p.root, store.Step{
			Ref: f.ref, Op: op, Base: snap.Version, Holding: f.lease.Token, Drop: true, Take: next.lease,
			Events: d.Events, State: d.Result(),
		})
		switch {
		case err == nil:
			p.fly(next)
			return true
		case !errors.Is(err, store.ErrStale):
			return false
		}
	}
}

// toPeople hands over a conversation whose bot is down: last in line, so that emergencies stay ahead of the flood.
func (p *Pipeline) toPeople(d *conversation.Draft, f *flight) error {
	t := f.ch.Tenant
	lang := d.State.Memory.Language
	h := conversation.Handoff{Rule: conversation.ByBotDown, Queue: t.Queue, Priority: conversation.PriorityBotDown, Turn: f.turn.ID}
	dec := conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Inbound, Rule: h.Rule, Turn: f.turn.ID, Rules: f.turn.Rules}
	if err := errors.Join(d.Do(conversation.Decide{Decision: dec}), d.Do(conversation.Divert{Handoff: h})); err != nil {
		return err
	}
	text, lang := texts.botDown(lang)
	if t.CaptureOver > 0 {
		depth, err := p.Store.Depth(p.root, t.Handle)
		if err != nil {
			return err
		}
		if depth[t.Queue] >= t.CaptureOver {
			text, lang = texts.captured(lang)
			if err := d.Do(conversation.Capture{Queue: t.Queue}); err != nil {
				return err
			}
		}
	}
	say := p.sent(partition(f.ref), text, lang)
	say.Rule, say.Turn = h.Rule, f.turn.ID
	return d.Do(conversation.Say{Sent: say})
}

// kindBudget is the kind of failure of a turn for which no call was left.
const kindBudget = "budget"

// trouble names what went wrong, and says after what time the bot may be asked again if it said so.
func trouble(err error) (kind string, status int, after time.Duration) {
	var be *adapters.BotError
	switch {
	case errors.Is(err, errBreakerOpen):
		return "breaker_open", 0, 0
	case errors.As(err, &be):
		return string(be.Kind), be.Status, be.RetryAfter
	}
	return string(adapters.BotUnreachable), 0, 0
}

// returnAll gives back to their bots what came to people only because a bot was down and what no agent has touched. What
// is given back stands in no queue any more, so the next page begins with what was behind it.
func (p *Pipeline) returnAll(t *Tenant) {
	for p.root.Err() == nil && p.returnPage(t) > 0 {
	}
}

// returnPage gives back what the first page of each view holds, and says how many conversations went.
func (p *Pipeline) returnPage(t *Tenant) (returned int) {
	if p.overBudget(t) {
		return 0 // the bot is well but may not be asked
	}
	waiting, err := p.Store.Waiting(p.root, t.Handle, "", pageOfReturns)
	captured, errCaptured := p.Store.Captured(p.root, t.Handle, "", pageOfReturns)
	if err := errors.Join(err, errCaptured); err != nil {
		p.Log.Error("listing conversations to return to the bot", "tenant", t.Handle.Name(), "err", err)
		return 0
	}
	for _, w := range append(waiting, captured...) {
		if w.Handoff.Rule != conversation.ByBotDown {
			continue
		}
		_, err := p.Act(p.root, w.Ref, system, store.Token(p.IDs.Token()), func(d *conversation.Draft) error {
			if ch := p.channel(d.State.From.Channel); ch == nil || !p.up(ch.botOf(&d.State)) {
				return conversation.ErrNothing // it is another bot that is back
			}
			if err := d.Do(conversation.Release{Auto: true}); err != nil {
				return err
			}
			text, lang := texts.botBack(d.State.Memory.Language)
			return d.Do(conversation.Say{Sent: p.sent(partition(w.Ref), text, lang)})
		})
		switch {
		case err == nil:
			returned++
		case p.root.Err() != nil:
			return returned
		case !errors.Is(err, conversation.ErrNothing):
			p.Log.Warn("returning a conversation to the bot", "conversation", w.Ref.ID, "err", err)
		}
	}
	return returned
}

const pageOfReturns = 10_000

// up reports whether a bot, or one of those that it has for when it cannot answer, may be asked.
func (p *Pipeline) up(b *Bot) bool {
	for b := range b.ladder {
		if !b.breaker.IsOpen() && !p.spentUp(b) {
			return true
		}
	}
	return false
}
