package conversation_test

import (
	"strings"
	"testing"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

// columns are the states that every command meets in TestCommands. "mine" is ann's, "theirs" is ben's, "sues" is the
// supervisor's; nothing waits in any of them, except for the one turn of "turn".
var columns = []struct {
	name  string
	reach func(*script)
}{
	{"none", func(*script) {}},
	{"bot", func(s *script) { s.do(customer, conv.Open{ID: "c_1", From: address}) }},
	{"turn", func(s *script) {
		s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Receive{ID: "m_1", In: inbound("1", "hello")})
		s.do(bot, conv.StartTurn{ID: "t_1"})
	}},
	{"queued", func(s *script) {
		s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Divert{Handoff: handoff("r", "care", conv.PriorityNormal)})
	}},
	{"mine", func(s *script) {
		s.do(customer, conv.Open{ID: "c_1", From: address})
		s.do(ann, conv.Claim{Name: "Ann"})
	}},
	{"theirs", func(s *script) {
		s.do(customer, conv.Open{ID: "c_1", From: address})
		s.do(ben, conv.Claim{Name: "Ben"})
	}},
	{"captured", func(s *script) {
		s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Capture{Queue: "care"})
	}},
	{"closed", func(s *script) {
		s.do(customer, conv.Open{ID: "c_1", From: address})
		s.do(system, conv.Close{Reason: conv.ReasonIdle})
	}},
}

// TestCommands puts every command to every owner. An outcome is an error or the events in order, with a star for those
// that get a visible sequence number.
func TestCommands(t *testing.T) {
	const (
		received = "message.received*"
		sent     = "message.sent*"
		owner    = "owner.changed*"
		diverted = "handoff.made owner.changed*"
		closes   = "owner.changed* conversation.closed*"
		answered = "decision.made message.sent* message.sent*"
		not      = "not owner"
		mustHold = "invalid | not owner | not owner | not owner | %s | not owner | not owner | closed"
		openOnly = "invalid | %s | %s | %s | %s | %s | %s | closed"
		always   = "invalid | %s | %s | %s | %s | %s | %s | %s"
		never    = "%s | %s | %s | %s | %s | %s | %s | %s"
	)
	each := func(pattern, outcome string) string { return strings.ReplaceAll(pattern, "%s", outcome) }
	part := message.Part{Text: "hi"}

	for _, test := range []struct {
		name  string
		actor conv.Actor
		c     conv.Command
		want  string // per column, separated by bars
	}{
		{"open", customer, conv.Open{ID: "c_2", From: address}, "conversation.opened | invalid | invalid | invalid | invalid | invalid | invalid | invalid"},
		{"receive", customer, conv.Receive{ID: "m_9", In: inbound("9", "hi")}, each(openOnly, received)},
		{"receive reaction", customer, conv.Receive{ID: "m_9", In: message.Inbound{ID: "9", Kind: message.Reaction}}, each(openOnly, received)},
		{"hold", system, conv.Hold{ID: "m_9", In: inbound("9", "hi"), Reason: "spam"}, each(openOnly, "message.held")},
		{"review unknown", ann, conv.Review{Receive: conv.Receive{ID: "m_8"}}, each(openOnly, "stale")},
		{"start turn, nothing waits", bot, conv.StartTurn{ID: "t_9"}, each(never, "nothing")},
		{"retake turn", bot, conv.RetakeTurn{}, "nothing | nothing | turn.started | nothing | nothing | nothing | nothing | nothing"},
		{"answer turn", bot, conv.AnswerTurn{Turn: "t_1", Decision: conv.Decision{Kind: conv.DecisionPass}, Parts: []conv.Sent{
			said("m_8", message.ByBot, "one"), said("m_9", message.ByBot, "two"),
		}}, "stale | stale | " + answered + " | stale | stale | stale | stale | stale"},
		{"answer another turn", bot, conv.AnswerTurn{Turn: "t_0"}, each(never, "stale")},
		{"fail turn", bot, conv.FailTurn{Turn: "t_1", Kind: "timeout"}, "stale | stale | turn.failed | stale | stale | stale | stale | stale"},
		{"fail another turn", bot, conv.FailTurn{Turn: "t_0", Final: true}, each(never, "stale")},
		{"discard turn, none cut off", bot, conv.DiscardTurn{Turn: "t_1"}, each(never, "stale")},
		{"decide", system, conv.Decide{Decision: conv.Decision{Kind: conv.DecisionTag, Phase: conv.Inbound, Tags: []string{"x"}}}, each(openOnly, "decision.made")},
		{"decide an answer", system, conv.Decide{Decision: conv.Decision{Phase: conv.Answer}}, each(openOnly, "invalid")},
		{"say", system, conv.Say{Sent: conv.Sent{ID: "m_9", Part: part}}, each(openOnly, sent)},
		{"ask for a rating", system, conv.Say{Sent: conv.Sent{ID: "m_9", Rating: true}}, each(openOnly, sent)},
		{"say nothing", system, conv.Say{Sent: conv.Sent{ID: "m_9"}}, each(openOnly, "invalid")},
		{"reply", ann, conv.Reply{ID: "m_9", Name: "Ann", Part: part}, each(mustHold, sent)},
		{"reply with a hold", ann, conv.Reply{ID: "m_9", Part: part, HoldUntil: 1 << 60}, each(mustHold, "message.held timer.set")},
		{"reply with a hold in the past", ann, conv.Reply{ID: "m_9", Part: part, HoldUntil: 1}, each(mustHold, sent)},
		{"reply nothing", ann, conv.Reply{ID: "m_9"}, each(mustHold, "invalid")},
		{"reply by a namesake bot", conv.Actor{Kind: conv.Bot, ID: "ann"}, conv.Reply{ID: "m_9", Part: part}, each(mustHold, not)},
		{"send held, none held", system, conv.SendHeld{Sent: said("m_8", message.ByAgent, "hi")}, each(never, "stale")},
		{"undo held, none held", ann, conv.UndoHeld{ID: "m_8"}, each(never, "stale")},
		{"note", ann, conv.AddNote{ID: "n_1", Text: "secret"}, each(always, "note.added")},
		{"note by a supervisor", supervisor, conv.AddNote{ID: "n_1", Text: "secret"}, each(always, "note.added")},
		{"note by the customer", customer, conv.AddNote{ID: "n_1", Text: "secret"}, each(always, not)},
		{"note by the bot", bot, conv.AddNote{ID: "n_1", Text: "secret"}, each(always, not)},
		{"empty note", ann, conv.AddNote{ID: "n_1"}, each(always, "invalid")},
		{"status delivered", system, conv.SetStatus{ID: "m_1", Status: message.Delivered}, each(always, "message.status")},
		{"status failed", system, conv.SetStatus{ID: "m_1", Status: message.Failed}, each(always, "message.status*")},
		{"status of no delivery", system, conv.SetStatus{ID: "m_1", Status: conv.StatusUndone}, each(always, "invalid")},
		{"status of nothing", system, conv.SetStatus{Status: message.Sent}, each(always, "invalid")},
		{"profile", system, conv.SetProfile{Profile: message.Profile{Subject: "s"}}, each(always, "profile.changed")},
		{"link contact", system, conv.LinkContact{Contact: "k_1"}, each(always, "contact.linked")},
		{"link the same contact", system, conv.LinkContact{}, each(always, "nothing")},
		{"divert", system, conv.Divert{Handoff: handoff("r2", "care", conv.PriorityHigh), Position: 3},
			"invalid | " + diverted + " | " + diverted + " | handoff.made | handoff.made | handoff.made | handoff.made | closed"},
		{"divert to no queue", system, conv.Divert{Handoff: handoff("r2", "", conv.PriorityHigh)}, each(openOnly, "invalid")},
		{"divert with no priority", system, conv.Divert{Handoff: handoff("r2", "care", 0)}, each(openOnly, "invalid")},
		{"claim", ann, conv.Claim{Name: "Ann"}, "invalid | " + owner + " | " + owner + " | " + owner + " | nothing | claimed by ben | " + owner + " | closed"},
		{"claim with override", supervisor, conv.Claim{Name: "Sue", Override: true}, each(openOnly, owner)},
		{"claim with an agent's override", ann, conv.Claim{Name: "Ann", Override: true}, each(openOnly, not)},
		{"claim by the customer", customer, conv.Claim{Name: "Eve"}, each(openOnly, not)},
		{"claim by the system", system, conv.Claim{}, each(openOnly, not)},
		{"transfer to a queue", ann, conv.Transfer{Queue: "sales"}, each(mustHold, owner)},
		{"transfer to an agent", ann, conv.Transfer{Agent: "ben", Name: "Ben"}, each(mustHold, owner)},
		{"transfer to oneself", ann, conv.Transfer{Agent: "ann"}, each(mustHold, "nothing")},
		{"transfer to nowhere", ann, conv.Transfer{}, each(openOnly, "invalid")},
		{"transfer with override", supervisor, conv.Transfer{Queue: "sales", Override: true},
			"invalid | not owner | not owner | owner.changed* | owner.changed* | owner.changed* | owner.changed* | closed"},
		{"transfer with an agent's override", ann, conv.Transfer{Queue: "sales", Override: true}, each(openOnly, not)},
		{"escalate with an agent's override", ann, conv.Escalate{Queue: "second", Override: true}, each(openOnly, not)},
		{"escalate", ann, conv.Escalate{Queue: "second", Priority: conv.PriorityHigh}, each(mustHold, owner)},
		{"escalate to nowhere", ann, conv.Escalate{}, each(openOnly, "invalid")},
		{"release", ann, conv.Release{}, "invalid | nothing | nothing | not owner | " + owner + " | not owner | not owner | closed"},
		{"release with override", supervisor, conv.Release{Override: true},
			"invalid | nothing | nothing | owner.changed* | owner.changed* | owner.changed* | owner.changed* | closed"},
		{"release with override by the system", system, conv.Release{Override: true}, each(openOnly, not)},
		{"release with an agent's override", ann, conv.Release{Override: true}, each(openOnly, not)},
		{"auto release, other reason", system, conv.Release{Auto: true}, each(openOnly, "nothing")},
		{"resolve", ann, conv.Resolve{}, each(mustHold, closes)},
		{"resolve with override", supervisor, conv.Resolve{Override: true}, each(openOnly, closes)},
		{"resolve with an agent's override", ann, conv.Resolve{Override: true}, each(openOnly, not)},
		{"resolve by the system", system, conv.Resolve{}, each(openOnly, not)},
		{"close", system, conv.Close{Reason: conv.ReasonIdle}, "invalid | " + closes + " | " + closes + " | not owner | not owner | not owner | not owner | closed"},
		{"capture", system, conv.Capture{Queue: "care"}, "invalid | owner.changed* | owner.changed* | owner.changed* | nothing | nothing | nothing | closed"},
		{"capture for no queue", system, conv.Capture{}, "invalid | invalid | invalid | invalid | nothing | nothing | nothing | closed"},
		{"uncapture", system, conv.Uncapture{Position: 2}, "nothing | nothing | nothing | nothing | nothing | nothing | owner.changed* | nothing"},
		{"reopen", customer, conv.Reopen{Queue: "care"},
			"nothing | nothing | nothing | nothing | nothing | nothing | nothing | conversation.reopened* owner.changed*"},
		{"offer", system, conv.MakeOffer{Agent: "ann", Until: 9}, "stale | stale | stale | offer.made | stale | stale | stale | stale"},
		{"end offer, none made", system, conv.EndOffer{Agent: "ann"}, each(never, "stale")},
		{"snooze", ann, conv.Snooze{Until: 1 << 60}, each(mustHold, "timer.set")},
		{"wake, not asleep", ann, conv.Snooze{}, each(mustHold, "nothing")},
		{"set timer", system, conv.SetTimer{Timer: conv.Timer{Name: conv.TimerIdle, At: 5}}, each(always, "timer.set")},
		{"unset timer, none set", system, conv.SetTimer{Timer: conv.Timer{Name: conv.TimerIdle}}, each(always, "nothing")},
		{"fire timer, none set", system, conv.FireTimer{Timer: conv.Timer{Name: conv.TimerIdle, At: 5}}, each(never, "stale")},
		{"wipe", system, conv.Wipe{}, "invalid | " + closes + " conversation.erased | " + closes + " turn.discarded conversation.erased" +
			strings.Repeat(" | "+closes+" conversation.erased", 4) + " | conversation.erased"},
	} {
		outcomes := strings.Split(test.want, "|")
		if len(outcomes) != len(columns) {
			t.Fatalf("%s: %d outcomes for %d states", test.name, len(outcomes), len(columns))
		}
		for i, column := range columns {
			s := newScript(t)
			column.reach(s)
			before, n := asJSON(t, s.state), len(s.events)
			err := s.try(test.actor, test.c)
			got := errorName(err)
			if err == nil {
				got = describe(s.events[n:])
			} else if after := asJSON(t, s.state); after != before {
				t.Errorf("%s when %s: refused, but the state became\n%s\nfrom\n%s", test.name, column.name, after, before)
			}
			if want := strings.TrimSpace(outcomes[i]); got != want {
				t.Errorf("%s when %s: %s, want %s", test.name, column.name, got, want)
			}
		}
	}
}

func describe(events []conv.Event) string {
	var words []string
	for _, e := range events {
		word := string(e.Type)
		if e.VSeq != 0 {
			word += "*"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// TestRefusalLeavesDraft checks that a refused command leaves what came before it in the same commit, and that DoAs acts
// for one command only.
func TestRefusalLeavesDraft(t *testing.T) {
	var none conv.State
	d := conv.Begin(&none, conv.Env{Now: 7, Op: "op", Actor: customer})
	for _, step := range []struct {
		actor conv.Actor
		c     conv.Command
		want  string
	}{
		{customer, conv.Open{ID: "c_1", From: address}, "ok"},
		{customer, conv.Claim{}, "not owner"},
		{ann, conv.Claim{Name: "Ann"}, "ok"},
		{ben, conv.Claim{Name: "Ben"}, "claimed by ann"},
		{customer, conv.Receive{ID: "m_1", In: inbound("1", "hi")}, "ok"},
	} {
		if got := errorName(d.DoAs(step.actor, step.c)); got != step.want {
			t.Fatalf("%T by %s: %s, want %s", step.c, step.actor.Kind, got, step.want)
		}
	}
	if got := errorName(d.Do(conv.Reply{ID: "m_2", Part: message.Part{Text: "x"}})); got != "not owner" {
		t.Errorf("the draft's own actor replies: %s", got)
	}
	if got, want := describe(d.Events), "conversation.opened owner.changed* message.received*"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	for i, want := range []conv.Actor{customer, ann, customer} {
		if d.Events[i].Actor != want {
			t.Errorf("event %d is by %+v, want %+v", i+1, d.Events[i].Actor, want)
		}
	}
	if d.Now() != 7 || none.Seq != 0 {
		t.Errorf("now %d, shared state at %d", d.Now(), none.Seq)
	}
}
