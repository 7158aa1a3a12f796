package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/rules/signal"
)

// flight is one bot call under a lease. Its lease is durable before it flies.
//
// It holds a place from the moment the turn is decided until the call has really ended. Who must give the place back
// changes on the way:
//
//	decided, not committed     whoever decided, by abandon: a refused commit, a panic
//	committed, nobody runs it  the start timer; launch gives it back when the pipeline is stopping
//	the call                   run, when the adapter has returned, however late
//	the call failed            fail: the next attempt goes on with it, before all who wait
type flight struct {
	ref      store.Ref
	ch       *Channel
	bot      *Bot
	place    *place        // nil when it was given back
	held     time.Duration // how long the call took
	turn     conversation.Turn
	lease    store.Lease
	deadline time.Time // on this process' clock
	// profile and account are what the customer is known by, and what rules have seen of that; late is until when the turn
	// may wait for more.
	profile *message.Profile
	account *message.Account
	late    time.Time
	pause   time.Duration // before the call
	// known are events of the turn's range that are at hand; what is missing is read from the log.
	known []conversation.Event
	flown bool
	// begun is set by whoever runs the flight, start lets a worker do so when nobody else has.
	begun atomic.Bool
	start *time.Timer
	// events and state are what the flight committed in the end; nil if it came to nothing.
	events []conversation.Event
	state  *conversation.State
}

// abandon gives the place back unless the flight has flown.
func (f *flight) abandon() {
	if f != nil && !f.flown {
		f.flown = true
		f.leave()
	}
}

// leave gives the place back, if the flight has it still.
func (f *flight) leave() {
	if l := f.place; l != nil {
		f.place = nil
		l.Leave(f.held)
	}
}

// newFlight makes the flight of the turn that d has just started. The caller has entered place.
func (p *Pipeline) newFlight(d *conversation.Draft, ch *Channel, bot *Bot, place *place, ref store.Ref) *flight {
	now := p.Now()
	late := now.Add(ch.lateWait(&d.State))
	f := &flight{ref: ref, ch: ch, bot: bot, place: place, turn: *d.State.Turn, deadline: late.Add(bot.Deadline), known: d.Events}
	f.lease = store.Lease{Token: store.Token(p.IDs.Token()), Until: late.Add(bot.Deadline + leaseMargin).UnixMilli()}
	f.late, f.profile = late, d.State.Profile
	f.account, _ = ch.account(&d.State, d.Now())
	return f
}

// waits lets the flight wait before its call, whose time begins after that.
func (f *flight) waits(pause time.Duration) {
	f.pause, f.deadline = pause, f.deadline.Add(pause)
	f.lease.Until += pause.Milliseconds()
}

// fly runs the call on its own goroutine. When the pipeline is stopping the lease simply stays for the next process.
func (p *Pipeline) fly(f *flight) {
	f.flown = true
	p.launch(f)
}

func (p *Pipeline) launch(f *flight) {
	if !p.goes("a bot turn", func() { p.run(f) }) {
		f.leave()
	}
}

// offer lets the flight wait a moment for the one who waits for its outcome: a caller that waits anyway can run the call
// on its own goroutine (board), and nobody has to be woken. If nobody does, a worker takes it.
func (p *Pipeline) offer(f *flight) {
	f.flown = true
	f.start = time.AfterFunc(boarding, func() {
		if f.begun.CompareAndSwap(false, true) {
			p.launch(f)
		}
	})
}

// boarding is how long a flight waits for its caller.
const boarding = 200 * time.Microsecond

// board runs an offered flight on the caller's goroutine, if it has not begun and is sure to end before the caller's time.
// It reports whether it did.
func (p *Pipeline) board(ctx context.Context, f *flight) bool {
	if !f.bot.prompt {
		return false
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < f.deadline.Sub(p.Now())+boardingMargin {
		return false
	}
	if !f.begun.CompareAndSwap(false, true) {
		return false
	}
	f.start.Stop()
	if !p.enter() {
		f.leave()
		return false
	}
	defer p.group.Done()
	defer p.recovered("a bot turn")
	p.run(f)
	return true
}

// boardingMargin is what the steps around a call may take.
const boardingMargin = time.Second

// run puts the turn to the bot and commits what came of it.
func (p *Pipeline) run(f *flight) {
	defer f.leave() // where nothing else did: a turn that could not be prepared, a panic
	if f.pause > 0 {
		select {
		case <-time.After(f.pause):
		case <-p.root.Done():
		}
	}
	asked, err := p.ready(f)
	over := false
	if err == nil {
		over, err = p.late(f)
	}
	if over {
		return
	}
	if err != nil {
		p.Log.Error("preparing a turn", "conversation", f.ref.ID, "turn", f.turn.ID, "err", err)
		p.drop(f)
		return
	}
	answer, err := p.call(f, asked)
	if err == nil {
		err = p.Faults.Hit(p.root, fault.BotCalled)
	}
	if errors.Is(err, errOverdue) {
		return
	}
	if context.Cause(p.root) == errStopped {
		return // cut off: the next process repeats the call under the same id
	}
	if err != nil {
		p.fail(f, err, f.goOn)
		return
	}
	p.land(f, asked, answer)
}

// ready collects what to ask.
func (p *Pipeline) ready(f *flight) (asked, error) {
	if err := p.Faults.Hit(p.root, fault.TurnTaken); err != nil {
		return asked{}, err
	}
	a, err := p.messages(f)
	if err == nil {
		a.history, a.cut, err = p.history(f)
	}
	return a, err
}

// asked is what a turn asks.
type asked struct {
	messages []message.Inbound
	scores   signal.Scores // of the last message
	lastID   string
	// history is what was said before, for a bot that wants it; cut says that there was more.
	history []adapters.Said
	cut     bool
}

func (a asked) last() message.Inbound { return a.messages[len(a.messages)-1] }

// messages collects the turn's messages from what is at hand or from the log.
func (p *Pipeline) messages(f *flight) (asked, error) {
	a := asked{}
	collect := func(events []conversation.Event) {
		for i := range events {
			e := &events[i]
			if e.Seq < f.turn.From || e.Seq > f.turn.To {
				continue
			}
			if r, ok := e.Data.(*conversation.Received); ok && r.In.Kind.StartsTurn() {
				a.messages = append(a.messages, r.In)
				a.scores, a.lastID = r.Scores, r.ID
			}
		}
	}
	if k := f.known; len(k) > 0 && k[0].Seq <= f.turn.From && k[len(k)-1].Seq >= f.turn.To {
		collect(k)
		return a, nil
	}
	for after := f.turn.From - 1; after < f.turn.To; {
		events, err := p.Store.Log(p.root, f.ref, after, logPage)
		if err != nil {
			return a, err
		}
		if len(events) == 0 {
			break
		}
		collect(events)
		after = events[len(events)-1].Seq
	}
	if len(a.messages) == 0 {
		return a, errors.New("the log holds no message of the turn")
	}
	return a, nil
}

const logPage = 256

// call makes one attempt at the bot. When the adapter does not return by its deadline, the turn goes on without it
// (errOverdue: it is somebody else's now), while the call holds its place until it really ends. The place of a call that
// was answered is given back; that of one that failed is left to what follows.
func (p *Pipeline) call(f *flight, a asked) (adapters.Answer, error) {
	if !f.bot.breaker.TryAcquirePermit() {
		p.Meter.Called(f.bot.tenant, f.bot.Name, callOutcome(errBreakerOpen), 0)
		return adapters.Answer{}, errBreakerOpen
	}
	turn := adapters.Turn{
		ID: f.turn.ID, Tenant: f.ref.Tenant.Name(), Conversation: f.ref.ID, From: a.last().From,
		Messages: a.messages, Lang: a.last().Lang, Attempt: f.turn.Attempt, Profile: a.last().Profile,
		History: a.history, Cut: a.cut,
	}
	if turn.Profile != nil {
		turn.Contact = turn.Profile.Subject
	}
	left := f.deadline.Sub(p.Now())
	ctx, cancel := context.WithTimeoutCause(p.root, left, errBotDeadline)
	defer cancel()
	var over atomic.Bool // whoever sets it ends the call
	guard := time.AfterFunc(left+overdue, func() {
		if over.CompareAndSwap(false, true) {
			f.bot.breaker.RecordFailure()
			p.goes("an overdue turn", func() {
				p.fail(f, &adapters.BotError{Kind: adapters.BotTimeout, Err: errBotDeadline}, f.another)
			})
		}
	})
	defer guard.Stop()
	began := p.Now()
	answer, err := p.reply(ctx, f.bot, turn)
	f.held = p.Now().Sub(began)
	p.Meter.Called(f.bot.tenant, f.bot.Name, callOutcome(err), f.held)
	if u := answer.Usage; u != nil { // also of an answer that came too late
		f.bot.breaker.budgets.spend(u)
		p.Meter.Spent(f.bot.tenant, f.bot.Name, u.Prompt, u.Answer)
	}
	switch {
	case !over.CompareAndSwap(false, true):
		f.leave()
		return answer, errOverdue
	case err == nil:
		f.leave()
		f.bot.breaker.RecordSuccess()
	default:
		f.bot.breaker.RecordFailure()
	}
	return answer, err
}

// reply asks the bot. A panic in an adapter is a failed call.
func (p *Pipeline) reply(ctx context.Context, b *Bot, t adapters.Turn) (a adapters.Answer, err error) {
	err = errAdapterPanic
	defer p.recovered("a bot adapter")
	return b.Reply(ctx, t)
}

// overdue is how long after its deadline an adapter may still return by itself.
const overdue = 100 * time.Millisecond

var (
	errBreakerOpen = errors.New("the bot's breaker is open")
	errBotDeadline = errors.New("the bot's deadline is over")
	errOverdue     = errors.New("the call came back after the turn had gone on without it")
	// errAdapterPanic stands for whatever a panicking adapter would have answered.
	errAdapterPanic error = &adapters.BotError{Kind: adapters.BotGarbage, Err: errors.New("the adapter panicked")}
)

// land judges the answer and commits it; when people have taken over meanwhile it is recorded and discarded.
func (p *Pipeline) land(f *flight, a asked, answer adapters.Answer) {
	p.settle(f, func(d *conversation.Draft) error {
		if o := d.State.Orphan; o != nil && o.ID == f.turn.ID {
			return d.Do(conversation.DiscardTurn{Turn: f.turn.ID, Reason: "owner_changed", Answer: answer.Parts})
		}
		j, err := p.judgeAnswer(p.root, f.ch, &d.State, &f.turn, a, answer, d.Now())
		if err != nil {
			return err
		}
		if err := p.Faults.Hit(p.root, fault.AnswerJudged); err != nil {
			return err
		}
		return p.applyAnswer(d, f, j, answer)
	})
	if f.state != nil {
		p.Meter.Answered(f.ch.Tenant.Handle.Name(), f.ch.Key, p.Now().Sub(time.UnixMilli(f.turn.Since)))
	}
}

// applyAnswer does to the draft what the answer rules decided.
func (p *Pipeline) applyAnswer(d *conversation.Draft, f *flight, j judgement, answer adapters.Answer) error {
	part := partition(f.ref)
	dec := p.decision(j)
	dec.Kind, dec.Rule = exchange.AnswerKind(&j.verdict, j.handoff)
	dec.Bot = botSaid(answer)
	lang := j.memory.Language
	cmd := conversation.AnswerTurn{Turn: f.turn.ID}
	replace := j.verdict.Replace
	switch {
	case j.verdict.Handoff != nil:
		dec.Withheld = answer.Parts
	case replace != nil:
		dec.Withheld = answer.Parts
		text, lang := replace.For(lang)
		s := p.sent(part, text, lang)
		s.Rule = replace.Rule
		cmd.Parts = append(cmd.Parts, s)
	default:
		for _, bp := range answer.Parts {
			cmd.Parts = append(cmd.Parts, conversation.Sent{ID: p.IDs.New(id.Message, part), By: message.ByBot, Part: bp})
		}
	}
	if say := j.say; say != nil && j.handoff == nil { // with a handoff it is said after that
		text, lang := say.For(lang)
		s := p.sent(part, text, lang)
		s.Rule = say.Rule
		cmd.Parts = append(cmd.Parts, s)
	}
	for i := range cmd.Parts {
		cmd.Parts[i].Turn = f.turn.ID
	}
	cmd.Decision = dec
	if err := d.Do(cmd); err != nil {
		return err
	}
	switch {
	case j.handoff != nil:
		j.handoff.Turn = f.turn.ID
		if err := d.Do(conversation.Divert{Handoff: *j.handoff}); err != nil {
			return err
		}
		say := p.sent(part, "", "")
		if j.say != nil {
			say.Part.Text, say.Part.Lang = j.say.For(lang)
		} else {
			say.Part.Text, say.Part.Lang = texts.handoff(lang)
		}
		say.Rule, say.Turn = j.handoff.Rule, f.turn.ID
		return d.Do(conversation.Say{Sent: say})
	case answer.End && d.State.Pending.Count == 0: // not over the head of a customer who has gone on writing
		err := d.Do(conversation.Close{Reason: conversation.ReasonBotEnd})
		if errors.Is(err, conversation.ErrMustReachHuman) {
			return nil // the bot regards it as finished; the rules do not
		}
		return err
	}
	return nil
}

func botSaid(a adapters.Answer) *conversation.BotSaid {
	s := &conversation.BotSaid{Confidence: a.Confidence, Intent: a.Intent, Fallback: a.Fallback, End: a.End, Sources: len(a.Sources)}
	if a.Handoff != nil {
		s.Handoff = a.Handoff.Reason
		if s.Handoff == "" {
			s.Handoff = "requested"
		}
	}
	if s.Confidence == nil && s.Fallback == nil && s.Intent == "" && !s.End && s.Sources == 0 && s.Handoff == "" {
		return nil
	}
	return s
}

// settle ends a flight: it decides on the state of now, commits under the flight's lease, and starts the next turn in the
// same commit if messages wait. A refused commit is decided again on what is there now.
func (p *Pipeline) settle(f *flight, decide func(*conversation.Draft) error) {
	op := store.Token(p.IDs.Token())
	for {
		err := p.settleOnce(f, op, decide)
		switch {
		case err == nil:
			return
		case !errors.Is(err, store.ErrStale):
			p.giveUp(f, err)
			return
		}
	}
}

func (p *Pipeline) settleOnce(f *flight, op store.Token, decide func(*conversation.Draft) error) error {
	snap, err := p.Store.Load(p.root, f.ref)
	if errors.Is(err, store.ErrErased) {
		return nil // with the conversation the call is over
	}
	if err != nil {
		return fmt.Errorf("loading: %w", err)
	}
	if snap.Lease.Token != f.lease.Token {
		return nil // the lease ran out and another call has it: this one has no say any more
	}
	env := conversation.Env{Now: p.ms(), Op: string(op), Actor: botActor(f.bot), Outgoing: snap.Outgoing}
	d := conversation.Begin(snap.State, env)
	if err := decide(d); err != nil {
		return fmt.Errorf("deciding: %w", err)
	}
	step := store.Step{Ref: f.ref, Op: op, Base: snap.Version, Holding: f.lease.Token, Drop: true}
	next := p.startTurn(d, p.latest(f.ch), f.ref, store.Lease{}, d.Now(), nil)
	defer next.abandon()
	if next != nil {
		step.Take = next.lease
	}
	step.Events, step.State = d.Events, d.Result()
	if _, err := p.commit(p.root, step); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	f.events, f.state = step.Events, step.State
	p.tell(f.ref, step.Events)
	if err := p.Faults.Hit(p.root, fault.AnswerDone); err != nil {
		p.Log.Warn("after an answer", "conversation", f.ref.ID, "err", err)
	}
	if next != nil {
		p.fly(next)
	} else if d.State.Working() {
		p.await(f.ref, step.State)
	}
	return nil
}

// giveUp leaves a flight whose end cannot be written: the lease goes, or runs out, and the turn is taken again.
func (p *Pipeline) giveUp(f *flight, err error) {
	if context.Cause(p.root) != errStopped {
		p.Log.Error("ending a turn", "conversation", f.ref.ID, "turn", f.turn.ID, "err", err)
	}
	p.drop(f)
}

func (p *Pipeline) drop(f *flight) {
	if err := p.Store.Drop(p.root, f.ref, f.lease.Token); err != nil {
		p.Log.Warn("dropping a lease: it runs out by itself", "conversation", f.ref.ID, "err", err)
	}
	p.kick()
}

func botActor(b *Bot) conversation.Actor {
	return conversation.Actor{Kind: conversation.Bot, ID: b.Name}
}
