package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/rules"
	"turnout/rules/signal"
)

// Rules gives a version of a tenant's rules, whole.
type Rules func(ctx context.Context, version int) (*rules.Set, error)

// Recompute judges everything in a log again that signals and rules have judged, with the inputs that were stored, by the
// version of then. It returns a check for each, by the seq of what was judged: a message, the decision on an answer, or what
// came late and the decision on that.
//
// What it finds to differ it names with what was recorded and what came out, as names and figures, never as text. Signals
// are recomputed only by the model that computed them then; the rules are judged again on the recorded ones in any case.
func Recompute(ctx context.Context, events []conversation.Event, d signal.Detector, versions Rules) (map[uint64]*Check, error) {
	recorded, err := exchange.Read(events)
	if err != nil {
		return nil, err
	}
	checks := make(map[uint64]*Check, len(recorded))
	for i := range recorded {
		r := recomputing{events: events, Recorded: &recorded[i]}
		if !r.Late { // those of a message are computed when it comes
			r.signals(d)
		}
		set, err := versions(ctx, r.Rules)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			r.missing("rules version %d: %v", r.Rules, err)
		default:
			r.rules(set)
		}
		r.check.Equal = len(r.check.Differs) == 0 && len(r.check.Missing) == 0
		if other := checks[r.Seq]; other != nil { // of another message of the same turn
			r.check.Differs = append(other.Differs, r.check.Differs...)
			r.check.Missing = append(other.Missing, r.check.Missing...)
			r.check.Equal = r.check.Equal && other.Equal
		}
		checks[r.Seq] = &r.check
	}
	return checks, nil
}

// recomputing is one judgement on its way.
type recomputing struct {
	*exchange.Recorded
	events []conversation.Event
	check  Check
}

func (r *recomputing) differs(format string, args ...any) {
	r.check.Differs = append(r.check.Differs, fmt.Sprintf(format, args...))
}

func (r *recomputing) missing(format string, args ...any) {
	r.check.Missing = append(r.check.Missing, fmt.Sprintf(format, args...))
}

// compare reports two values that should be one.
func compare[T comparable](r *recomputing, name string, was, now T) {
	if was != now {
		r.differs("%s was %v, now %v", name, was, now)
	}
}

func (r *recomputing) lists(name string, was, now []string) {
	if !slices.Equal(was, now) {
		r.differs("%s was [%s], now [%s]", name, strings.Join(was, " "), strings.Join(now, " "))
	}
}

// signals computes the signals again.
func (r *recomputing) signals(d signal.Detector) {
	x := &r.Exchange
	if r.Model != d.Digest() {
		r.missing("signals: they were computed by model %.12s, this node has %.12s", r.Model, d.Digest())
		return
	}
	var scores signal.Scores
	var memory signal.Memory
	if x.Phase == rules.Answer {
		scores, memory = d.Bot(x.Bot.Text, r.Before.Memory)
		scores = r.Asked.Merge(scores)
	} else {
		scores, memory = d.Customer(x.Message.Text, x.Message.Lang, r.Before.Memory)
	}
	for _, name := range signal.Names() {
		was, _ := x.Scores.Get(name)
		now, _ := scores.Get(name)
		compare(r, "signal "+name, was, now)
	}
	compare(r, "the language", r.Memory.Language, memory.Language)
	if r.Memory != memory && r.Memory.Language == memory.Language {
		r.differs("what signals remember of the conversation is something else")
	}
}

// rules judges again and compares what follows.
func (r *recomputing) rules(set *rules.Set) {
	if len(r.Inputs.Tripped) > 0 {
		set = set.Without(r.Inputs.Tripped...)
	}
	v := r.Eval(set)
	now := conversation.Decision{Tags: v.Tags, Notify: v.Notify, MustReachHuman: v.MustReachHuman}
	now.Matched, now.Shadow, now.Failed = exchange.Names(&v)
	settings, used := r.Inputs.Settings(), exchange.Inputs{}
	var h *conversation.Handoff
	var say *rules.Saying
	if r.Exchange.Phase == rules.Answer {
		say = v.Say
		h = settings.Answer(&v, r.wish(), &used)
		now.Kind, now.Rule = exchange.AnswerKind(&v, h)
	} else {
		h, say = settings.Inbound(&v, &r.Before, &r.Exchange.Message, &used)
		if now.Kind = exchange.InboundKind(&v, h, say); h != nil {
			now.Rule = h.Rule
		} else if say != nil {
			now.Rule = say.Rule
		} else if v.Bot != nil {
			now.Rule = v.Bot.Rule
		}
	}
	if v.Bot != nil {
		now.Route = v.Bot.Bot
	}
	was := r.Decision
	if was == nil {
		was = &conversation.Decision{}
	}
	compare(r, "the decision", was.Kind, now.Kind)
	compare(r, "the rule", was.Rule, now.Rule)
	compare(r, "must_reach_human", was.MustReachHuman, now.MustReachHuman)
	compare(r, "the bot from then on", was.Route, now.Route)
	r.lists("matched", was.Matched, now.Matched)
	r.lists("matched in the shadow", was.Shadow, now.Shadow)
	r.lists("failed", was.Failed, now.Failed)
	r.lists("tags", was.Tags, now.Tags)
	r.lists("to be told", was.Notify, now.Notify)
	if r.Decision == nil || was.Kind != now.Kind || was.Rule != now.Rule {
		return // what followed cannot be compared
	}
	r.handoff(h)
	r.sayings(&v, h, say)
}

// wish is what the bot itself wanted, as far as it was recorded.
func (r *recomputing) wish() *exchange.Wish {
	if b := r.Decision.Bot; b != nil && b.Handoff != "" {
		return &exchange.Wish{Queue: r.Inputs.BotQueue}
	}
	return nil
}

// after returns the events of the decision's commit behind it.
func (r *recomputing) after() []conversation.Event {
	at := slices.IndexFunc(r.events, func(e conversation.Event) bool { return e.Data == conversation.Data(r.Decision) })
	end := at + 1
	for end < len(r.events) && r.events[end].Op == r.events[at].Op {
		end++
	}
	return r.events[at+1 : end]
}

// handoff compares where the conversation went.
func (r *recomputing) handoff(h *conversation.Handoff) {
	if h == nil {
		return
	}
	for _, e := range r.after() {
		was, ok := e.Data.(*conversation.Handoff)
		if !ok {
			continue
		}
		compare(r, "the queue", was.Queue, h.Queue)
		compare(r, "the priority", was.Priority, h.Priority)
		r.lists("skills", was.Skills, h.Skills)
		if was.Reason != h.Reason && h.Rule != conversation.ByBotRequest {
			r.differs("the reason that the rule gives is another")
		}
		return
	}
	r.differs("the handoff is not in the log")
}

// sayings compares what rules said.
func (r *recomputing) sayings(v *rules.Verdict, h *conversation.Handoff, say *rules.Saying) {
	lang := r.Memory.Language
	if say != nil {
		rule := say.Rule
		if h != nil && r.Exchange.Phase == rules.Answer {
			rule = h.Rule // with a handoff it is said in its name
		}
		r.said(rule, say, lang)
	}
	if v.Replace != nil && r.Exchange.Phase == rules.Answer { // also where the bot's own wish then hands over
		r.said(v.Replace.Rule, v.Replace, lang)
	}
}

func (r *recomputing) said(rule string, s *rules.Saying, lang string) {
	text, _ := s.For(lang)
	for _, e := range r.after() {
		if was, ok := e.Data.(*conversation.Sent); ok && was.By == message.BySystem && was.Rule == rule && was.Part.Text == text {
			return
		}
	}
	r.differs("what rule %s says is not what was said", s.Rule)
}
