package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/gateway/lookup"
	"turnout/gateway/store"
	"turnout/rules"
)

// What a tenant's own system says of a customer may come late, and no turn hangs on it:
//
//	Accept      takes what is at hand into its commit (recall), and never asks.
//	turn start  (late) asks if nothing good is at hand, and waits until LateWait after the turn began, if a rule reads the
//	            account. What comes in that time is committed, and the rules that read it judge the turn's messages once
//	            more, before the bot is asked.
//	later       what comes after that is set on the conversation (keep), for people, the bot's answer and the next message.
//
// What does not come is absent in rules.

// Lookup says what a tenant's own system knows of a customer.
type Lookup interface {
	// Known returns what is at hand, nil for nothing, and never waits. fresh says that there is nothing to ask for.
	Known(p *message.Profile) (a *message.Account, fresh bool)
	// Asks reports whether the system can be asked by a profile; nil is none.
	Asks(p *message.Profile) bool
	// Ask asks the system, and waits for the answer until ctx ends. Nobody changes what either returns.
	Ask(ctx context.Context, p *message.Profile) (*message.Account, error)
}

// The ends of a turn's wait for an account.
const (
	WaitInTime = "in_time"
	WaitLate   = "late"   // the turn went on without it
	WaitFailed = "failed" // there will be none
)

// lateWait is how long a turn of a conversation may wait for an account.
func (c *Channel) lateWait(s *conversation.State) time.Duration {
	if c.Lookup == nil || s.Profile == nil {
		return 0
	}
	return c.LateWait
}

// account is what rules may see of a customer's account. left says that there is one which is too old, or which no lookup
// of now answers for.
func (c *Channel) account(s *conversation.State, now int64) (a *message.Account, left bool) {
	if a = s.AccountOf(nil); a == nil {
		return nil, false
	}
	if c.Lookup == nil || now-a.At.UnixMilli() > c.AccountFor.Milliseconds() {
		return nil, true
	}
	return a, false
}

// recall puts what is at hand of the account of p, the profile that the conversation has or is about to get, into a step.
func (p *Pipeline) recall(d *conversation.Draft, ch *Channel, pr *message.Profile) {
	if pr == nil {
		pr = d.State.Profile
	}
	if ch.Lookup == nil || pr == nil {
		return
	}
	a, _ := ch.Lookup.Known(pr)
	if a == nil {
		return
	}
	if was := d.State.AccountOf(pr); was != nil && !a.At.After(was.At) {
		return
	}
	if d.State.Profile == nil || d.State.Profile.Subject != pr.Subject {
		must(d.Do(conversation.SetProfile{Profile: *pr}))
	}
	must(d.Do(conversation.SetAccount{Account: *a}))
}

// refresh has the system asked for a customer of whom nothing good is at hand; has is what the conversation has of that.
// Nobody waits for it.
func (p *Pipeline) refresh(r store.Ref, ch *Channel, pr *message.Profile, has *message.Account) {
	if ch == nil || ch.Lookup == nil || pr == nil {
		return
	}
	if a, fresh := ch.Lookup.Known(pr); fresh {
		if a != nil && (has == nil || a.At.After(has.At)) { // it has come since the step was decided
			p.goes("a profile lookup", func() { p.keep(r, a) })
		}
		return
	}
	if _, running := p.looking.LoadOrStore(r, struct{}{}); running {
		return // for a message before: it brings the same
	}
	if !p.look(r, ch, pr, func(*message.Account) bool { p.looking.Delete(r); return false }) {
		p.looking.Delete(r)
	}
}

// look asks the system on a goroutine of its own. taken is given what it says, nil for nothing; what it does not take is set
// on the conversation. look reports false when the pipeline is stopping.
func (p *Pipeline) look(r store.Ref, ch *Channel, pr *message.Profile, taken func(*message.Account) bool) bool {
	return p.goes("a profile lookup", func() {
		a, err := ch.Lookup.Ask(p.root, pr)
		if err != nil {
			a = nil // whoever counts calls has counted it
		}
		if !taken(a) && a != nil {
			p.keep(r, a)
		}
	})
}

// keep sets an account on its conversation that nobody waits for.
func (p *Pipeline) keep(r store.Ref, a *message.Account) {
	_, err := p.Act(p.root, r, system, store.Token(p.IDs.Token()), func(d *conversation.Draft) error {
		return d.Do(conversation.SetAccount{Account: *a})
	})
	switch {
	case err == nil, errors.Is(err, conversation.ErrNothing), errors.Is(err, conversation.ErrStale), errors.Is(err, store.ErrNotFound):
	case context.Cause(p.root) != errStopped:
		p.Log.Warn("keeping what a lookup brought", "conversation", r.ID, "err", err)
	}
}

// Asks reports whether the tenant's own system can be asked who the customer of a conversation is.
func (p *Pipeline) Asks(t store.Tenant, s *conversation.State) bool {
	ch := p.channel(s.From.Channel)
	return ch != nil && ch.Tenant.Handle == t && ch.Lookup != nil && ch.Lookup.Asks(s.Profile)
}

// Refresh asks the tenant's own system once more who the customer of a conversation is, and records what it says in the name
// of who asked. Errors: lookup.ErrNotAsked, lookup.ErrFailed, those of the store, or ctx's.
func (p *Pipeline) Refresh(ctx context.Context, r store.Ref, by conversation.Actor, op store.Token) (*conversation.State, error) {
	snap, err := p.Store.Load(ctx, r)
	if err != nil {
		return nil, err
	}
	ch := p.channel(snap.State.From.Channel)
	if !p.Asks(r.Tenant, snap.State) {
		return snap.State, lookup.ErrNotAsked
	}
	a, err := ch.Lookup.Ask(ctx, snap.State.Profile)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, lookup.ErrNotAsked):
		return snap.State, err
	case err != nil:
		return snap.State, fmt.Errorf("%w: %w", lookup.ErrFailed, err)
	}
	return p.Act(ctx, r, by, op, func(d *conversation.Draft) error {
		if err := d.Do(conversation.SetAccount{Account: *a}); !errors.Is(err, conversation.ErrNothing) {
			return err
		}
		return nil // the same call told somebody else, who was quicker
	})
}

// late sees to the account before a turn's bot is asked. It reports whether the turn is over: a rule that reads the account
// handed the conversation to people, or somebody else took it.
func (p *Pipeline) late(f *flight) (over bool, err error) {
	if f.ch.Lookup == nil || f.profile == nil {
		return false, nil
	}
	set, err := f.ch.Tenant.Rules.Version(p.root, f.turn.Rules)
	if err != nil {
		return false, err
	}
	if len(set.Late()) == 0 {
		p.refresh(f.ref, f.ch, f.profile, f.account) // no rule waits for it
		return false, nil
	}
	a := p.expect(f)
	if a == nil || a.Says(f.account) {
		return false, nil
	}
	op := store.Token(p.IDs.Token())
	for {
		over, err = p.lateOnce(f, op, set, a)
		if !errors.Is(err, store.ErrStale) {
			return over, err
		}
	}
}

// expect returns what the system says of the turn's customer: at once what is at hand and good enough, or else what comes
// until the turn has waited as long as it may. nil: nothing.
func (p *Pipeline) expect(f *flight) *message.Account {
	a, fresh := f.ch.Lookup.Known(f.profile)
	if fresh {
		return a
	}
	came, gone := make(chan *message.Account), make(chan struct{})
	defer close(gone)
	looks := p.look(f.ref, f.ch, f.profile, func(a *message.Account) bool {
		select {
		case came <- a:
			return true
		case <-gone:
			return false
		}
	})
	if a != nil || !looks {
		return a // a stale one does while it is asked again
	}
	outcome := WaitLate
	if left := f.late.Sub(p.Now()); left > 0 {
		select {
		case a = <-came:
			if outcome = WaitInTime; a == nil {
				outcome = WaitFailed
			}
		case <-p.After(left):
		case <-p.root.Done():
		}
	}
	p.Meter.Waited(f.ch.Tenant.Handle.Name(), f.ch.Key, outcome)
	return a
}

// lateOnce commits an account that came in time, with what the rules that read it make of the turn's messages.
func (p *Pipeline) lateOnce(f *flight, op store.Token, set *rules.Set, a *message.Account) (over bool, err error) {
	snap, err := p.Store.Load(p.root, f.ref)
	if err != nil {
		return false, fmt.Errorf("loading: %w", err)
	}
	switch t := snap.State.Turn; {
	case snap.Lease.Token != f.lease.Token:
		return true, nil // the lease ran out and another call has it
	case t == nil || t.ID != f.turn.ID: // people took over: the bot need not be asked
		p.settle(f, func(d *conversation.Draft) error {
			return d.Do(conversation.DiscardTurn{Turn: f.turn.ID, Reason: "owner_changed"})
		})
		return true, nil
	}
	if was := snap.State.AccountOf(nil); was != nil && was.At.After(a.At) {
		a = was // people asked for it in between
	}
	d := conversation.Begin(snap.State, conversation.Env{Now: p.ms(), Op: string(op), Actor: system, Outgoing: snap.Outgoing})
	judged, rested, err := p.judgeLate(f, d, set, a)
	if err != nil {
		return false, err
	}
	come := conversation.SetAccount{Account: *a, Turn: f.turn.ID, Rules: f.turn.Rules, Inputs: rested.Encode()}
	if err := d.Do(come); err != nil {
		if errors.Is(err, conversation.ErrStale) {
			return false, nil // the conversation is somebody else's by now
		}
		return false, err
	}
	for i := range judged {
		if err := p.applyInbound(d, f.ch, judged[i].judgement, partition(f.ref), judged[i].seq, f.turn.ID); err != nil {
			return false, fmt.Errorf("acting on the inbound rules: %w", err)
		}
	}
	if over = d.State.Owner.Kind != message.OwnerBot; over {
		if err := d.Do(conversation.DiscardTurn{Turn: f.turn.ID, Reason: "owner_changed"}); err != nil {
			return false, err
		}
	}
	step := store.Step{Ref: f.ref, Op: op, Base: snap.Version, Holding: f.lease.Token, Drop: over, Events: d.Events, State: d.Result()}
	if _, err := p.commit(p.root, step); err != nil {
		return false, fmt.Errorf("committing: %w", err)
	}
	p.tell(f.ref, step.Events)
	if over {
		f.events, f.state = step.Events, step.State
	}
	return over, nil
}

// lateJudgement is what the rules that read the account make of a message that was judged before.
type lateJudgement struct {
	judgement
	seq uint64
}

// judgeLate lets the rules that read the account look at the turn's messages, all on the conversation as it is with the
// account, up to the first that is handed over. rested is what they saw beside it, for those without a decision.
func (p *Pipeline) judgeLate(f *flight, d *conversation.Draft, set *rules.Set, a *message.Account) (out []lateJudgement, rested exchange.Inputs, err error) {
	s := d.State
	s.Account = a
	x, seen, err := p.exchange(p.root, f.ch, &s, set, d.Now())
	if err != nil {
		return nil, rested, err
	}
	events, err := p.since(f.ref, f.turn.From-1, s.Seq)
	if err != nil {
		return nil, rested, err
	}
	rested = seen
	book := f.ch.Tenant.Rules
	for _, m := range exchange.LateMessages(events, &f.turn) {
		j := lateJudgement{seq: m.Seq, judgement: judgement{version: f.turn.Rules, scores: m.Scores, memory: m.Memory, inputs: seen}}
		shown := *x
		m.Show(&shown)
		start := time.Now()
		j.verdict = set.EvalLate(&shown, m.Acted)
		book.Judged(f.turn.Rules, set, &shown, j.verdict.Failed, time.Since(start))
		j.handoff, j.say = f.ch.Tenant.settings().Inbound(&j.verdict, &s, &m.In, &j.inputs)
		j.named(&m.In)
		if j.kind() == "" {
			rested.BareOff = rested.BareOff || j.inputs.BareOff
			continue
		}
		if out = append(out, j); j.handoff != nil {
			j.handoff.Turn = f.turn.ID
			break
		}
	}
	return out, rested, nil
}

// since reads the events of a log after one up to another.
func (p *Pipeline) since(r store.Ref, after, to uint64) (out []conversation.Event, err error) {
	for after < to {
		events, err := p.Store.Log(p.root, r, after, logPage)
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			break
		}
		out = append(out, events...)
		after = events[len(events)-1].Seq
	}
	return out, nil
}
