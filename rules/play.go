package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// The names that stand for a rule where the product hands over by itself, as the audit has them.
const (
	BuiltinRequest = "builtin.human_request"    // a bare word for a person
	BuiltinButton  = "builtin.talk_to_a_person" // the button for a person
	BuiltinBot     = "builtin.bot_request"      // the bot's own wish
)

// Played is what came of a scenario.
type Played struct {
	Scenario *Scenario
	// Problems are the expectations that were not met, as sentences; none: the test passed.
	Problems []string
	// Exchanges are what the rules were shown, in order: for each turn the customer's side and, where a bot answered, the
	// answer's.
	Exchanges []*Exchange
}

// Passed reports whether everything was as expected.
func (p *Played) Passed() bool { return len(p.Problems) == 0 }

// Play runs a scenario through all rules of both phases, turn by turn, as a conversation goes: signals remember, counts
// count, tags stay, time passes (a minute between turns unless the test says otherwise), and after a handoff the bot is
// silent until people return the conversation. Bare requests for a person hand over without a rule.
func (s *Set) Play(t *Scenario, d signal.Detector) *Played {
	p := &Played{Scenario: t}
	c := conversation{set: s, detector: d, played: p}
	for i := range t.steps {
		step := t.steps[i]
		step.has = map[string]bool{}
		for k := range t.steps[i].has {
			step.has[k] = true
		}
		c.turn(i, &step)
	}
	return p
}

// conversation is a scenario under way.
type conversation struct {
	set      *Set
	detector signal.Detector
	played   *Played

	memory   signal.Memory
	last     *step
	now      time.Time
	opened   time.Time
	turns    int
	returns  int
	handoffs int
	tags     []string
	people   string // the rule that handed over, while people have the conversation
}

// outcome is what one turn came to.
type outcome struct {
	inbound, answer Verdict
	handoff         *Handoff
	judged          bool // there was an answer to judge
}

func (c *conversation) turn(i int, s *step) {
	x := c.begin(i, s)
	var o outcome
	var scores signal.Scores
	scores, c.memory = c.detector.Customer(x.Message.Text, x.Lang, c.memory)
	o.inbound = c.judge(x, scores, s)
	o.handoff = o.inbound.Handoff
	if o.handoff == nil {
		switch {
		case x.Message.Kind == message.Human:
			o.handoff = &Handoff{Rule: BuiltinButton, Priority: PriorityNormal}
		case x.Message.Kind == message.Text && signal.BareRequest(x.Message.Text):
			o.handoff = &Handoff{Rule: BuiltinRequest, Priority: PriorityNormal}
		}
	}
	bot := s.exchange.Bot
	switch {
	case bot == nil:
	case o.handoff != nil:
		// The answer that the test gives is one that the bot is not asked for.
	case c.people != "":
		c.problem(i, "the bot is silent: rule %s handed over, and no turn since is marked returned: true", c.people)
	default:
		y := *x
		y.Phase, y.Bot = Answer, bot
		var answer signal.Scores
		answer, c.memory = c.detector.Bot(bot.Text, c.memory)
		o.answer, o.judged = c.judge(&y, scores.Merge(answer), s), true
		o.handoff = o.answer.Handoff
		if o.handoff == nil && bot.Handoff {
			o.handoff = &Handoff{Rule: BuiltinBot, Priority: PriorityNormal}
		}
		c.turns++
	}
	if o.handoff != nil {
		c.handoffs++
		c.people = o.handoff.Rule
	}
	c.tags = appendNew(appendNew(c.tags, o.inbound.Tags), o.answer.Tags)
	if s.expect != nil {
		c.check(i, s.expect, &o)
	}
	c.last = s
}

// begin is the customer's side of a turn.
func (c *conversation) begin(i int, s *step) *Exchange {
	x := &s.exchange
	if c.last == nil {
		c.now, c.tags = x.Now, x.Tags
		c.turns, c.returns, c.handoffs = x.Turns-1, x.Returns, x.Handoffs
		c.opened = x.Now.Add(-time.Duration(s.minutes * float64(time.Minute)))
	} else {
		s.inherit(c.last, true)
		switch {
		case s.hasNow:
			c.now = x.Now
		case s.has["after"]:
			c.now = c.now.Add(s.after)
		default:
			c.now = c.now.Add(time.Minute)
		}
		for _, count := range []struct {
			field string
			is    int
		}{{"turns", c.turns + 1}, {"returns", c.returns}, {"handoffs", c.handoffs}} {
			if s.has[count.field] {
				c.problem(i, "%s can be set only for the first turn: from there on it is counted, and is %d here", count.field, count.is)
			}
		}
		c.tags = appendNew(c.tags, x.Tags)
	}
	if s.returned {
		c.returns++
		c.people = ""
	}
	y := *x
	y.Phase, y.Bot, y.Now, y.OpenedAt = Inbound, nil, c.now, c.opened
	y.Turns, y.Returns, y.Handoffs, y.Tags = c.turns+1, c.returns, c.handoffs, slices.Clone(c.tags)
	return &y
}

func (c *conversation) judge(x *Exchange, scores signal.Scores, s *step) Verdict {
	x.Scores = scores
	for name, score := range s.scores {
		setScore(&x.Scores, name, score)
	}
	if x.Lang == "" {
		x.Lang = c.memory.Language
	}
	c.played.Exchanges = append(c.played.Exchanges, x)
	return c.set.Eval(x)
}

func (c *conversation) problem(i int, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if len(c.played.Scenario.steps) > 1 {
		message = fmt.Sprintf("turn %d: %s", i+1, message)
	}
	c.played.Problems = append(c.played.Problems, message)
}

// check compares what a turn came to with what was expected.
func (c *conversation) check(i int, e *expectation, o *outcome) {
	matched := map[string]bool{}
	for _, m := range slices.Concat(o.inbound.Matched, o.answer.Matched) {
		matched[m.Rule] = true
	}
	for _, id := range slices.Concat(e.match, e.noMatch) {
		wanted := slices.Contains(e.match, id)
		switch {
		case !slices.ContainsFunc(c.set.rules, func(r *rule) bool { return r.id == id }):
			c.problem(i, "there is no rule %s", id)
		case wanted && !matched[id]:
			c.problem(i, "rule %s does not match", id)
		case !wanted && matched[id]:
			c.problem(i, "rule %s matches", id)
		}
	}
	if e.handoff != nil {
		if why := e.handoff.against(o.handoff); why != "" {
			c.problem(i, "%s", why)
		}
	}
	say := o.inbound.Say
	if say == nil {
		say = o.answer.Say
	}
	c.checkText(i, "says", e.says, say)
	c.checkText(i, "replaces the answer by", e.replaces, o.answer.Replace)
	if e.bot != "" {
		choice := o.inbound.Bot
		if o.answer.Bot != nil {
			choice = o.answer.Bot
		}
		switch {
		case choice == nil:
			c.problem(i, "no rule chooses a bot, the test wants %s", e.bot)
		case choice.Bot != e.bot:
			c.problem(i, "rule %s chooses bot %s, the test wants %s", choice.Rule, choice.Bot, e.bot)
		}
	}
	if e.answer != "" {
		got := "sent"
		switch {
		case o.handoff != nil && o.handoff.Rule != BuiltinBot:
			got = "withheld"
		case o.answer.Replace != nil:
			got = "replaced"
		case !o.judged:
			got = "not asked for"
		}
		if got != e.answer {
			c.problem(i, "the answer is %s, the test wants it %s", got, e.answer)
		}
	}
	for _, list := range []struct {
		what      string
		want, got []string
	}{
		{"tag", e.tags, appendNew(o.inbound.Tags[:len(o.inbound.Tags):len(o.inbound.Tags)], o.answer.Tags)},
		{"notice to", e.notify, appendNew(o.inbound.Notify[:len(o.inbound.Notify):len(o.inbound.Notify)], o.answer.Notify)},
	} {
		for _, name := range list.want {
			if !slices.Contains(list.got, name) {
				c.problem(i, "there is no %s %s", list.what, name)
			}
		}
	}
	if must := o.inbound.MustReachHuman || o.answer.MustReachHuman; e.mustReachHuman != nil && *e.mustReachHuman != must {
		c.problem(i, "must_reach_human is %t, the test wants %t", must, *e.mustReachHuman)
	}
}

func (c *conversation) checkText(i int, verb, want string, got *Saying) {
	switch {
	case want == "":
	case got == nil:
		c.problem(i, "no rule %s anything", verb)
	default:
		if text, _ := got.For(c.memory.Language); !strings.Contains(text, want) {
			c.problem(i, "rule %s %s %q, which does not contain %q", got.Rule, verb, text, want)
		}
	}
}

// against says how h differs from the wish; empty where it does not.
func (w *handoffWish) against(h *Handoff) string {
	switch {
	case h == nil && w.none:
		return ""
	case h == nil:
		return "nobody is called: there is no handoff"
	case w.none:
		return fmt.Sprintf("rule %s hands over", h.Rule)
	case w.queue != "" && w.queue != h.Queue:
		return fmt.Sprintf("rule %s hands over to %q, the test wants %q", h.Rule, h.Queue, w.queue)
	case w.rule != "" && w.rule != h.Rule:
		return fmt.Sprintf("rule %s hands over, the test wants rule %s", h.Rule, w.rule)
	case w.priority != 0 && w.priority != h.Priority:
		return fmt.Sprintf("rule %s hands over with priority %s, the test wants %s", h.Rule, priorityName(h.Priority), priorityName(w.priority))
	}
	return ""
}
