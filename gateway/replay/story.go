// Package replay tells a conversation's log as a story, and recomputes what was decided in it: the same version of the
// rules on the same inputs must say the same again.
//
// A story holds no text unless text is asked for: what customers, bots, agents and notes say, names, addresses and
// profiles. What is left are ids, kinds, figures, and the names of rules, queues, agents and tags.
package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/rules/signal"
)

// Line is one event of a story.
type Line struct {
	Seq   uint64            `json:"seq"`
	At    time.Time         `json:"at"`
	Type  conversation.Type `json:"type"`
	Actor string            `json:"actor"`
	// What says what happened, in a sentence without text.
	What     string    `json:"what"`
	Decision *Decision `json:"decision,omitempty"`
	// Text is what was said; only when asked for.
	Text []string `json:"text,omitempty"`
	// Check is the outcome of a recomputation, for what was judged.
	Check *Check `json:"check,omitempty"`
}

// Decision is what was decided and on what.
type Decision struct {
	Kind           conversation.DecisionKind `json:"kind"`
	Phase          conversation.Phase        `json:"phase"`
	Rules          int                       `json:"rules"` // version
	Rule           string                    `json:"rule,omitempty"`
	Matched        []string                  `json:"matched,omitempty"`
	Shadow         []string                  `json:"shadow,omitempty"`
	Failed         []string                  `json:"failed,omitempty"`
	Tags           []string                  `json:"tags,omitempty"`
	Notify         []string                  `json:"notify,omitempty"`
	MustReachHuman bool                      `json:"must_reach_human,omitempty"`
	Scores         signal.Scores             `json:"scores,omitzero"`
	Model          string                    `json:"model,omitempty"`
}

// Story tells events, in order.
func Story(events []conversation.Event, text bool) []Line {
	lines := make([]Line, len(events))
	for i := range events {
		lines[i] = tell(&events[i], text)
	}
	return lines
}

func tell(e *conversation.Event, text bool) Line {
	l := Line{Seq: e.Seq, At: time.UnixMilli(e.At).UTC(), Type: e.Type, Actor: string(e.Actor.Kind)}
	if e.Actor.ID != "" {
		l.Actor += ":" + e.Actor.ID
	}
	var said []string
	l.What, said = what(e)
	if d, ok := e.Data.(*conversation.Decision); ok {
		l.Decision = &Decision{
			Kind: d.Kind, Phase: d.Phase, Rules: d.Rules, Rule: d.Rule, Matched: d.Matched, Shadow: d.Shadow, Failed: d.Failed,
			Tags: d.Tags, Notify: d.Notify, MustReachHuman: d.MustReachHuman, Scores: d.Scores, Model: d.Model,
		}
	}
	if text {
		l.Text = slices.DeleteFunc(said, func(s string) bool { return s == "" })
	}
	return l
}

// what returns the sentence and the text that is not in it.
func what(e *conversation.Event) (sentence string, text []string) {
	var s sentenceOf
	switch d := e.Data.(type) {
	case *conversation.Begun:
		s.add("a conversation on %s begins", d.From.Channel)
		s.opt(d.Previous, "it continues %s")
		return s.String(), []string{d.From.Address, d.From.Thread}
	case *conversation.Received:
		s.inbound(&d.In)
		s.opt(scores(d.Scores), "signals: %s")
		if d.Held {
			s.add("let through after a review")
		} else {
			s.add("judged by rules version %d", d.Rules)
		}
		return s.String(), inboundText(&d.In)
	case *conversation.Held:
		switch {
		case d.In != nil:
			s.inbound(d.In)
			s.add("held for review")
			return s.String(), append(inboundText(d.In), d.Reason)
		case d.Part != nil:
			s.add("a reply waits until %s and can be undone", clock(d.Until))
			return s.String(), partText(d.Part)
		}
		s.add("a message is held")
	case *conversation.Sent:
		switch d.By {
		case message.ByBot:
			s.add("the bot says")
		case message.ByAgent:
			s.add("an agent says")
		default:
			s.add("the system says")
		}
		s.part(&d.Part)
		s.opt(d.Rule, "by rule %s")
		s.opt(d.Turn, "turn %s")
		if d.Rating {
			s.add("a rating is asked for")
		}
		return s.String(), partText(&d.Part)
	case *conversation.StatusChanged:
		s.add("message %s is %s", d.ID, d.Status)
		s.opt(d.Code, "code %s")
	case *conversation.Note:
		s.add("a note for colleagues")
		return s.String(), []string{string(d.Note)}
	case *conversation.TurnBegun:
		s.add("turn %s: messages %d to %d go to the bot %s", d.ID, d.From, d.To, d.Bot)
		s.add("attempt %d", d.Attempt)
	case *conversation.TurnDropped:
		s.add("turn %s is discarded (%s)", d.ID, d.Reason)
		if len(d.Answer) == 0 {
			return s.String(), nil
		}
		s.add("what the bot said too late is not sent")
		for i := range d.Answer {
			text = append(text, partText(&d.Answer[i])...)
		}
		return s.String(), text
	case *conversation.TurnBroken:
		s.add("turn %s: attempt %d failed (%s)", d.ID, d.Attempt, d.Kind)
		if d.Final {
			s.add("it is given up")
		}
	case *conversation.Decision:
		return decided(d)
	case *conversation.Handoff:
		s.add("handed over to queue %s with priority %d by %s", d.Queue, d.Priority, d.Rule)
		s.opt(strings.Join(d.Skills, ", "), "skills: %s")
		s.opt(d.Turn, "turn %s")
		s.opt(strings.Join(d.InFlight, ", "), "in flight at the takeover: %s")
		return s.String(), []string{d.Reason} // a rule's, or the bot's own words
	case *conversation.OwnerMoved:
		s.add("the owner changes from %s to %s (%s)", owner(d.From), owner(d.To), d.Reason)
		if d.Position > 0 {
			s.add("position %d", d.Position)
		}
		s.opt(strings.Join(d.InFlight, ", "), "in flight at the takeover: %s")
	case *conversation.Offered:
		s.add("offered to %s until %s", d.Agent, clock(d.Until))
	case *conversation.Timer:
		if d.At == 0 {
			s.add("timer %s is taken away", d.Name)
		} else {
			s.add("timer %s is set for %s", d.Name, clock(d.At))
		}
	case *conversation.Profiled:
		return s.profiled(d)
	case *conversation.Linked:
		s.add("linked to contact %s", d.Contact)
	case *conversation.Ended:
		s.add("closed (%s)", d.Reason)
	case *conversation.Resumed:
		s.add("reopened")
	case *conversation.Wiped:
		s.add("erased: the keys of its content are destroyed")
	default:
		s.add("%s", strings.ReplaceAll(string(e.Type), ".", " "))
	}
	return s.String(), nil
}

func decided(d *conversation.Decision) (string, []string) {
	var s sentenceOf
	side := "the message"
	if d.Phase == conversation.Answer {
		side = "the bot's answer"
	}
	switch d.Kind {
	case conversation.DecisionPass:
		s.add("%s passes", side)
	case conversation.DecisionHandoff:
		s.add("%s leads to people", side)
	case conversation.DecisionReplace:
		s.add("%s is replaced", side)
	case conversation.DecisionSay:
		s.add("%s is answered by a rule", side)
	case conversation.DecisionTag:
		s.add("%s is tagged", side)
	case conversation.DecisionRoute:
		s.add("%s leads to another bot", side)
	case conversation.DecisionDeny:
		s.add("refused")
	default:
		s.add("%s: %s", side, d.Kind)
	}
	s.opt(d.Rule, "by rule %s")
	s.add("rules version %d", d.Rules)
	s.opt(d.Route, "the bot from now on: %s")
	s.opt(strings.Join(d.Matched, ", "), "matched: %s")
	s.opt(strings.Join(d.Shadow, ", "), "matched in the shadow: %s")
	s.opt(strings.Join(d.Failed, ", "), "failed: %s")
	s.opt(strings.Join(d.Tags, ", "), "tags: %s")
	s.opt(strings.Join(d.Notify, ", "), "to be told: %s")
	if d.MustReachHuman {
		s.add("a person must see it")
	}
	s.opt(scores(d.Scores), "signals: %s")
	var text []string
	if n := len(d.Withheld); n > 0 {
		s.add("%d parts of the answer are withheld", n)
		for i := range d.Withheld {
			text = append(text, partText(&d.Withheld[i])...)
		}
	}
	if b := d.Bot; b != nil {
		if b.Confidence != nil {
			s.add("the bot's confidence: %.2f", *b.Confidence)
		}
		text = append(text, b.Intent, b.Handoff) // the bot's own words
	}
	return s.String(), text
}

// sentenceOf collects the parts of a sentence.
type sentenceOf struct{ parts []string }

func (s *sentenceOf) add(format string, args ...any) {
	s.parts = append(s.parts, fmt.Sprintf(format, args...))
}

// opt adds something that may be missing.
func (s *sentenceOf) opt(v, format string) {
	if v != "" {
		s.add(format, v)
	}
}

func (s *sentenceOf) String() string { return strings.Join(s.parts, "; ") }

func (s *sentenceOf) inbound(in *message.Inbound) {
	s.add("the customer sends: %s", in.Kind)
	if n := len(in.Attachments); n > 0 {
		s.add("%d attachments", n)
	}
}

func (s *sentenceOf) part(p *message.Part) {
	if n := len(p.Attachments); n > 0 {
		s.add("%d attachments", n)
	}
	if n := len(p.Choices); n > 0 {
		s.add("%d choices", n)
	}
}

func inboundText(in *message.Inbound) []string {
	text := []string{in.Text, in.Quoted}
	for _, a := range in.Attachments {
		text = append(text, a.Name)
	}
	if in.Profile != nil {
		text = append(text, profileText(in.Profile)...)
	}
	return text
}

func (s *sentenceOf) profiled(d *conversation.Profiled) (string, []string) {
	var text []string
	if d.Profile != nil {
		s.add("the customer's profile is known")
		text = profileText(d.Profile)
	}
	switch a := d.Account; {
	case a == nil:
	case a.Unknown:
		s.add("the tenant's system does not know the customer")
	default:
		s.add("the tenant's system says %d things of the account, and %d past tickets", len(a.Fields), len(a.Tickets))
	}
	if d.Account != nil {
		text = append(text, accountText(d.Account)...)
	}
	s.opt(d.Turn, "in time for turn %s")
	return s.String(), text
}

func profileText(p *message.Profile) []string {
	return append([]string{p.Subject, p.Name, p.Email, p.Phone, p.Level}, fieldsText(p.Fields)...)
}

func accountText(a *message.Account) []string {
	text := append([]string{a.Subject, a.Name}, fieldsText(a.Fields)...)
	for _, t := range a.Tickets {
		text = append(text, t.ID, t.Subject, t.Status, t.URL)
	}
	return text
}

func fieldsText(fields map[string]any) (text []string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text = append(text, fmt.Sprintf("%s: %v", name, fields[name]))
	}
	return text
}

func partText(p *message.Part) []string {
	text := []string{p.Text, p.Link}
	for _, c := range p.Choices {
		text = append(text, c.Label)
	}
	for _, a := range p.Attachments {
		text = append(text, a.Name)
	}
	return text
}

func owner(o conversation.Owner) string {
	switch {
	case o.Agent != "":
		return "agent " + o.Agent
	case o.Queue != "":
		return fmt.Sprintf("%s (%s)", o.Kind, o.Queue)
	}
	return string(o.Kind)
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// scores lists those that are not zero.
func scores(s signal.Scores) string {
	var list []string
	for _, name := range signal.Names() {
		if v, _ := s.Get(name); v > 0 {
			list = append(list, fmt.Sprintf("%s %.2f", name, v))
		}
	}
	return strings.Join(list, ", ")
}

func (l Line) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%5d  %s  %-22s %s: %s", l.Seq, l.At.Format("2006-01-02 15:04:05.000"), l.Type, l.Actor, l.What)
	for _, t := range l.Text {
		fmt.Fprintf(&b, "\n       > %s", strings.ReplaceAll(t, "\n", "\n         "))
	}
	if l.Check != nil {
		fmt.Fprintf(&b, "\n       %s", l.Check)
	}
	return b.String()
}
