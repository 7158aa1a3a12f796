package pipeline

import (
	"cmp"
	"context"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/rules"
	"turnout/rules/signal"
)

// judgement is what signals and rules made of one side of an exchange.
type judgement struct {
	version int
	scores  signal.Scores
	memory  signal.Memory
	verdict rules.Verdict
	inputs  exchange.Inputs
	rule    string // what decided: a rule's id or a built-in name; "" for nothing
	handoff *conversation.Handoff
	say     *rules.Saying
	lang    string // of a message that says nothing itself: what its client is set to; "" otherwise
}

// judgeInbound lets the rules of now look at a message. Nothing is done yet.
func (p *Pipeline) judgeInbound(ctx context.Context, ch *Channel, s *conversation.State, in message.Inbound, now int64) (judgement, error) {
	book := ch.Tenant.Rules
	if err := book.Ready(); err != nil {
		return judgement{}, err
	}
	set, version := book.Current()
	j := judgement{version: version}
	j.scores, j.memory = p.Detector.Customer(in.Text, in.Lang, s.Memory)
	x, rested, err := p.exchange(ctx, ch, s, set, now)
	if err != nil {
		return j, err
	}
	x.Phase, x.Message, x.Scores, x.Lang = rules.Inbound, in, j.scores, j.memory.Language
	exchange.Identified(x, in.Profile)
	j.verdict = p.eval(book, version, set, x)
	j.inputs = rested
	j.handoff, j.say = ch.Tenant.settings().Inbound(&j.verdict, s, &in, &j.inputs)
	j.named(&in)
	return j, nil
}

// named completes a judgement about a message with what decided, and in which language to speak.
func (j *judgement) named(in *message.Inbound) {
	if j.handoff != nil {
		j.rule = j.handoff.Rule
	} else if j.say != nil {
		j.rule = j.say.Rule
	} else if b := j.verdict.Bot; b != nil {
		j.rule = b.Rule
	}
	if in.Text == "" {
		j.lang = in.Lang
	}
}

// judgeAnswer lets the rules that the turn began with look at the bot's whole answer.
func (p *Pipeline) judgeAnswer(ctx context.Context, ch *Channel, s *conversation.State, t *conversation.Turn, asked asked, a adapters.Answer, now int64) (judgement, error) {
	set, err := ch.Tenant.Rules.Version(ctx, t.Rules)
	if err != nil {
		return judgement{}, err
	}
	text := exchange.Text(a.Parts)
	j := judgement{version: t.Rules}
	var bot signal.Scores
	bot, j.memory = p.Detector.Bot(text, s.Memory)
	j.scores = asked.scores.Merge(bot)
	x, rested, err := p.exchange(ctx, ch, s, set, now)
	if err != nil {
		return j, err
	}
	x.Phase, x.Message, x.Scores, x.Lang = rules.Answer, asked.last(), j.scores, j.memory.Language
	x.Bot = &rules.BotView{
		Text: text, Confidence: a.Confidence, Intent: a.Intent, Fallback: a.Fallback,
		End: a.End, Handoff: a.Handoff != nil, Sources: len(a.Sources), Parts: len(a.Parts),
	}
	j.verdict = p.eval(ch.Tenant.Rules, t.Rules, set, x)
	j.inputs = rested
	j.say = j.verdict.Say
	var wish *exchange.Wish
	if a.Handoff != nil {
		wish = &exchange.Wish{Reason: a.Handoff.Reason, Queue: a.Handoff.Queue}
	}
	j.handoff = ch.Tenant.settings().Answer(&j.verdict, wish, &j.inputs)
	return j, nil
}

// eval judges, and tells the book how that went.
func (p *Pipeline) eval(book Rulebook, version int, set *rules.Set, x *rules.Exchange) rules.Verdict {
	start := time.Now()
	v := set.Eval(x)
	book.Judged(version, set, x, v.Failed, time.Since(start))
	return v
}

// exchange is the part of what rules see that is the same for both sides.
func (p *Pipeline) exchange(ctx context.Context, ch *Channel, s *conversation.State, set *rules.Set, now int64) (*rules.Exchange, exchange.Inputs, error) {
	x := &rules.Exchange{
		Profile: s.Profile, Turns: s.Turns + 1, Returns: s.Returns, Handoffs: s.Handoffs,
		OpenedAt: time.UnixMilli(s.OpenedAt), Now: time.UnixMilli(now), Tags: s.Tags,
	}
	in := exchange.Inputs{Tripped: set.Tripped()}
	x.Account, in.AccountOff = ch.account(s, now)
	_, in.Zone = x.Now.Zone()
	if set.ReadsQueues() { // figures of people cost a look around: only for rules that ask
		q, err := p.queueViews(ctx, ch.Tenant)
		if err != nil {
			return nil, in, err
		}
		x.Queues, in.Queues = q, q
	}
	return x, in, nil
}

// queueViews are the figures of a tenant's queues that rules may read.
func (p *Pipeline) queueViews(ctx context.Context, t *Tenant) (map[string]rules.QueueView, error) {
	depth, err := p.Store.Depth(ctx, t.Handle)
	if err != nil {
		return nil, err
	}
	present, err := p.Store.Present(ctx, t.Handle)
	if err != nil {
		return nil, err
	}
	views := make(map[string]rules.QueueView, len(t.Queues))
	for q := range t.Queues {
		v := rules.QueueView{Waiting: depth[q]}
		for _, a := range present {
			for _, aq := range a.Queues {
				if aq == q {
					v.Online++
				}
			}
		}
		views[q] = v
	}
	return views, nil
}

// settings are what bears on what follows from a verdict.
func (t *Tenant) settings() exchange.Settings {
	return exchange.Settings{Queue: t.Queue, Queues: t.Queues, Bare: t.BareRequests}
}

// kind is that of the decision about a message; "" when no rule has anything to say to it.
func (j *judgement) kind() conversation.DecisionKind {
	return exchange.InboundKind(&j.verdict, j.handoff, j.say)
}

// applyInbound does to the draft what the inbound rules decided about the message at seq; turn is the turn at whose start
// they did, empty when they did as it came.
func (p *Pipeline) applyInbound(d *conversation.Draft, ch *Channel, j judgement, part int, seq uint64, turn string) error {
	dec := p.decision(j)
	dec.Phase, dec.Seq, dec.Turn = conversation.Inbound, seq, turn
	if dec.Kind = j.kind(); dec.Kind == "" {
		return nil // nothing matched: the turn's own decision will say so for both phases
	}
	if err := d.Do(conversation.Decide{Decision: dec}); err != nil {
		return err
	}
	wasBot := d.State.Owner.Kind == message.OwnerBot
	if j.handoff != nil {
		if err := d.Do(conversation.Divert{Handoff: *j.handoff}); err != nil {
			return err
		}
	}
	switch {
	case j.say != nil:
		text, lang := j.say.For(cmp.Or(d.State.Memory.Language, j.lang))
		say := p.sent(part, text, lang)
		say.Rule, say.Turn = j.say.Rule, turn
		return d.Do(conversation.Say{Sent: say})
	case j.handoff != nil && wasBot:
		text, lang := texts.handoff(cmp.Or(d.State.Memory.Language, j.lang))
		say := p.sent(part, text, lang)
		say.Rule, say.Turn = j.handoff.Rule, turn
		return d.Do(conversation.Say{Sent: say})
	}
	return nil
}

// decision is the record of a judgement, still without kind and place.
func (p *Pipeline) decision(j judgement) conversation.Decision {
	dec := conversation.Decision{
		Rules: j.version, Rule: j.rule, Tags: j.verdict.Tags, Notify: j.verdict.Notify, MustReachHuman: j.verdict.MustReachHuman,
		Scores: j.scores, Memory: j.memory, Model: p.Detector.Digest(), Inputs: j.inputs.Encode(),
	}
	if b := j.verdict.Bot; b != nil {
		dec.Route = b.Bot
	}
	dec.Matched, dec.Shadow, dec.Failed = exchange.Names(&j.verdict)
	return dec
}

// Rulebook gives a tenant's rules by version. Current never blocks; Version may read the store for an old one.
type Rulebook interface {
	Current() (*rules.Set, int)
	Version(ctx context.Context, n int) (*rules.Set, error)
	// Ready says why this node must judge nothing now; nil: it may.
	Ready() error
	// Judged is told which rules failed when an exchange was judged by a set of version n, and how long that took. It keeps
	// nothing of x.
	Judged(n int, set *rules.Set, x *rules.Exchange, failed []rules.Failure, took time.Duration)
}
