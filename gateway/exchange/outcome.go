package exchange

import (
	"slices"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/rules"
	"turnout/rules/signal"
)

// Settings are what of a tenant's settings bears on what follows from a verdict.
type Settings struct {
	// Queue is where a handoff goes that names none, or none of Queues.
	Queue  string
	Queues map[string]bool
	// Bare: a bare word for a person is a request, without any rule.
	Bare bool

	recorded bool // they are those of Inputs: a queue is known unless the default one was taken
}

// Settings returns what the settings must have been.
func (in *Inputs) Settings() Settings {
	return Settings{Queue: in.Queue, Bare: !in.BareOff, recorded: true}
}

func (t Settings) knows(queue string) bool {
	if t.recorded {
		return queue != "" && t.Queue == ""
	}
	return t.Queues[queue]
}

// Inbound says what follows from a verdict on a message that s has not seen yet, and leaves in in what of the settings that
// took. Both may be nil.
func (t Settings) Inbound(v *rules.Verdict, s *conversation.State, m *message.Inbound, in *Inputs) (*conversation.Handoff, *rules.Saying) {
	say := v.Say
	if s.Owner.Kind == message.OwnerAgent {
		say = nil // nothing speaks over a person
	}
	var h *conversation.Handoff
	switch {
	case v.Handoff != nil:
		h = t.handoff(v.Handoff)
	case m.Kind == message.Human:
		h = &conversation.Handoff{Rule: conversation.ByButton, Queue: t.Queue, Priority: conversation.PriorityNormal}
	case m.Kind != message.Text || !signal.BareRequest(m.Text):
	case t.Bare:
		h = &conversation.Handoff{Rule: conversation.ByBareRequest, Queue: t.Queue, Priority: conversation.PriorityNormal}
	default:
		in.BareOff = true
	}
	if w := s.Handoff; h != nil && s.Open() && (w == nil || h.Priority <= w.Priority) {
		h = nil // it is with people already, at least as urgently
	}
	t.note(h, v.Handoff, in)
	return h, say
}

// Wish is a bot's own wish for a person.
type Wish struct{ Reason, Queue string }

// Answer says to whom the verdict on an answer, or the bot's own wish, hands the conversation; nil: to nobody.
func (t Settings) Answer(v *rules.Verdict, w *Wish, in *Inputs) *conversation.Handoff {
	switch {
	case v.Handoff != nil:
		h := t.handoff(v.Handoff)
		t.note(h, v.Handoff, in)
		return h
	case w == nil:
		return nil
	}
	h := &conversation.Handoff{Rule: conversation.ByBotRequest, Reason: w.Reason, Queue: t.Queue, Priority: conversation.PriorityNormal}
	if t.knows(w.Queue) {
		h.Queue, in.BotQueue = w.Queue, w.Queue
	} else {
		in.Queue = t.Queue
	}
	return h
}

// handoff turns a rule's wish into an order that names a queue of the tenant.
func (t Settings) handoff(h *rules.Handoff) *conversation.Handoff {
	out := &conversation.Handoff{Rule: h.Rule, Reason: h.Reason, Queue: h.Queue, Priority: h.Priority, Skills: h.Skills}
	if !t.knows(out.Queue) {
		out.Queue = t.Queue
	}
	if out.Priority == 0 {
		out.Priority = conversation.PriorityNormal
	}
	return out
}

// note writes down that the default queue was taken.
func (t Settings) note(h *conversation.Handoff, wish *rules.Handoff, in *Inputs) {
	if h != nil && (wish == nil || wish.Queue != h.Queue) {
		in.Queue = t.Queue
	}
}

// InboundKind is the kind of the decision about a message; "" when no rule has anything to say to it. A rule that only
// watches, or fails, has: what it did not do is a decision too.
func InboundKind(v *rules.Verdict, h *conversation.Handoff, say *rules.Saying) conversation.DecisionKind {
	switch {
	case h != nil:
		return conversation.DecisionHandoff
	case say != nil:
		return conversation.DecisionSay
	case v.Bot != nil:
		return conversation.DecisionRoute
	case slices.ContainsFunc(v.Matched, func(m rules.Match) bool { return m.Mode != rules.Shadow }):
		return conversation.DecisionTag
	case len(v.Matched) > 0 || len(v.Failed) > 0:
		return conversation.DecisionPass
	}
	return ""
}

// AnswerKind is the kind of the decision about an answer that is handed over to h, and what decided it.
func AnswerKind(v *rules.Verdict, h *conversation.Handoff) (kind conversation.DecisionKind, rule string) {
	switch {
	case h != nil:
		return conversation.DecisionHandoff, h.Rule
	case v.Replace != nil:
		return conversation.DecisionReplace, v.Replace.Rule
	case v.Bot != nil:
		return conversation.DecisionRoute, v.Bot.Rule
	}
	return conversation.DecisionPass, ""
}

// Names sorts what a verdict names: the rules that acted, those that only watched, and those that failed.
func Names(v *rules.Verdict) (matched, shadow, failed []string) {
	for _, m := range v.Matched {
		if m.Mode == rules.Shadow {
			shadow = append(shadow, m.Rule)
		} else {
			matched = append(matched, m.Rule)
		}
	}
	for _, f := range v.Failed {
		failed = append(failed, f.Rule)
	}
	return matched, shadow, failed
}
