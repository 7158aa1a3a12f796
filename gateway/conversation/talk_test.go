package conversation_test

import (
	"slices"
	"testing"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

// TestBurst checks that a turn takes all messages that wait, that later ones wait for the next turn, and that a message
// that starts no turn is no part of it.
func TestBurst(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address})
	s.do(customer, conv.Receive{ID: "m_1", In: inbound("1", "a"), Rules: 4})
	s.do(customer, conv.Receive{ID: "m_2", In: message.Inbound{ID: "2", Kind: message.Reaction}, Rules: 9})
	s.do(customer, conv.Receive{ID: "m_3", In: inbound("3", "b"), Rules: 3})
	s.do(bot, conv.StartTurn{ID: "t_1", Bot: "legacy"})
	s.do(customer, conv.Receive{ID: "m_4", In: inbound("4", "c"), Rules: 5})
	if got := s.state.Turn; got.From != 2 || got.To != 4 || got.Rules != 4 || got.Attempt != 1 || got.Bot != "legacy" {
		t.Errorf("turn %+v", got)
	}
	if got := errorName(s.try(bot, conv.StartTurn{ID: "t_2"})); got != "nothing" {
		t.Errorf("a second turn beside the first: %s", got)
	}
	s.do(bot, conv.RetakeTurn{})
	if got := s.state.Turn; got.ID != "t_1" || got.From != 2 || got.To != 4 || got.Attempt != 2 {
		t.Errorf("retaken turn %+v", got)
	}
	s.do(bot, conv.FailTurn{Turn: "t_1", Kind: "timeout"})
	s.do(bot, conv.AnswerTurn{Turn: "t_1", Decision: conv.Decision{Kind: conv.DecisionPass}})
	if got := errorName(s.try(bot, conv.AnswerTurn{Turn: "t_1"})); got != "stale" {
		t.Errorf("a second answer: %s", got)
	}
	s.do(bot, conv.StartTurn{ID: "t_2"})
	if got := s.state.Turn; got.From != 6 || got.To != 6 || got.Rules != 5 || s.state.Turns != 1 || s.state.Consumed != 4 {
		t.Errorf("second turn %+v after %d answered, consumed to %d", got, s.state.Turns, s.state.Consumed)
	}
	s.do(bot, conv.FailTurn{Turn: "t_2", Kind: "timeout", Final: true})
	if s.state.Turn != nil || s.state.Consumed != 6 || s.state.Turns != 1 {
		t.Errorf("after a final failure: turn %+v, consumed to %d, %d answered", s.state.Turn, s.state.Consumed, s.state.Turns)
	}
}

// TestLateAnswer checks that an answer that comes after a change of owner is recorded and nothing else, and that no new
// turn starts before.
func TestLateAnswer(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Receive{ID: "m_1", In: inbound("1", "a")})
	s.do(bot, conv.StartTurn{ID: "t_1"})
	s.do(customer, conv.Receive{ID: "m_2", In: inbound("2", "AGENT")}, conv.Divert{Handoff: handoff(conv.ByBareRequest, "care", conv.PriorityNormal)})
	if s.state.Handoff.Turn != "t_1" || s.state.Orphan == nil || s.state.Turn != nil || s.state.Pending.Count != 0 || !s.state.Working() {
		t.Fatalf("after the handoff: %+v", s.state)
	}
	if got := errorName(s.try(bot, conv.AnswerTurn{Turn: "t_1", Parts: []conv.Sent{said("m_3", message.ByBot, "late")}})); got != "stale" {
		t.Errorf("a late answer: %s", got)
	}
	s.do(ann, conv.Claim{}, conv.Release{})
	s.do(customer, conv.Receive{ID: "m_4", In: inbound("4", "b")})
	if got := errorName(s.try(bot, conv.StartTurn{ID: "t_2"})); got != "nothing" {
		t.Errorf("a turn while the cut off call may still run: %s", got)
	}
	if got := errorName(s.try(bot, conv.AnswerTurn{Turn: "t_1"})); got != "stale" {
		t.Errorf("a late answer after the release: %s", got)
	}
	vseq := s.state.VSeq
	s.do(bot, conv.DiscardTurn{Turn: "t_1", Reason: "owner_changed", Answer: []message.Part{{Text: "late"}}})
	if got := errorName(s.try(bot, conv.DiscardTurn{Turn: "t_1"})); got != "stale" {
		t.Errorf("discarding twice: %s", got)
	}
	s.do(bot, conv.StartTurn{ID: "t_2"})
	if s.state.Turn.From != s.state.Turn.To || s.state.VSeq != vseq {
		t.Errorf("turn %+v, visible sequence %d after %d", s.state.Turn, s.state.VSeq, vseq)
	}
}

// TestAnswerHandedOff checks the commit of an answer that a rule withheld.
func TestAnswerHandedOff(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Receive{ID: "m_1", In: inbound("1", "a")})
	s.do(bot, conv.StartTurn{ID: "t_1"})
	withheld := []message.Part{{Text: "wrong"}}
	s.do(bot,
		conv.AnswerTurn{Turn: "t_1", Decision: conv.Decision{Kind: conv.DecisionHandoff, Rule: "r", Withheld: withheld}},
		conv.Divert{Handoff: handoff("r", "care", conv.PriorityHigh)})
	want := []conv.Type{conv.DecisionMade, conv.HandoffMade, conv.OwnerChanged}
	if got := s.last(3); !slices.Equal(got, want) || s.state.Turn != nil || s.state.Orphan != nil || s.state.Working() {
		t.Errorf("events %v, turn %+v, orphan %+v", got, s.state.Turn, s.state.Orphan)
	}
	d := s.events[len(s.events)-3].Data.(*conv.Decision)
	if d.Phase != conv.Answer || d.Turn != "t_1" {
		t.Errorf("decision of phase %q on turn %q", d.Phase, d.Turn)
	}
}

func TestReview(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address})
	s.do(system, conv.Hold{ID: "m_1", In: inbound("1", "a")}, conv.Hold{ID: "m_2", In: inbound("2", "b")}, conv.Hold{ID: "m_3", In: inbound("3", "c")})
	if s.state.VSeq != 0 || s.state.Working() {
		t.Errorf("held messages are at visible sequence %d, working %t", s.state.VSeq, s.state.Working())
	}
	s.do(ann, conv.Review{Receive: conv.Receive{ID: "m_2", In: inbound("2", "b")}})
	s.do(ann, conv.Review{Receive: conv.Receive{ID: "m_1"}, Reject: true})
	for _, id := range []string{"m_1", "m_2"} {
		if got := errorName(s.try(ann, conv.Review{Receive: conv.Receive{ID: id}})); got != "stale" {
			t.Errorf("reviewing %s again: %s", id, got)
		}
	}
	if s.state.VSeq != 1 || s.state.Pending.Count != 1 || len(s.state.HeldIn) != 1 || s.state.HeldIn[0].ID != "m_3" {
		t.Errorf("state %+v", s.state)
	}
}

func TestSendHold(t *testing.T) {
	const until = int64(1) << 60
	held := func() *script {
		s := newScript(t)
		s.do(ann, conv.Open{ID: "c_1", From: address}, conv.Claim{})
		s.do(ann, conv.Reply{ID: "m_1", Name: "Ann", Part: message.Part{Text: "hi"}, HoldUntil: until})
		return s
	}
	hi := conv.SendHeld{Sent: said("m_1", "", "hi")}
	fire := conv.FireTimer{Timer: conv.Timer{Name: conv.TimerSend + "m_1", At: until}}
	for _, test := range []struct {
		name  string
		end   func(*script)
		types []conv.Type
		vseqs uint64 // given after the hold
	}{
		{"timer", func(s *script) { s.do(system, fire, hi) }, []conv.Type{conv.TimerFired, conv.MessageSent}, 1},
		{"before time", func(s *script) { s.do(ann, hi) }, []conv.Type{conv.TimerSet, conv.MessageSent}, 1},
		{"undone", func(s *script) { s.do(ann, conv.UndoHeld{ID: "m_1"}) }, []conv.Type{conv.TimerSet, conv.MessageStatus}, 0},
		{"undone by a supervisor", func(s *script) { s.do(supervisor, conv.UndoHeld{ID: "m_1"}) }, []conv.Type{conv.TimerSet, conv.MessageStatus}, 0},
		{"taken over", func(s *script) { s.do(supervisor, conv.Claim{Override: true}); s.do(system, fire, hi) },
			[]conv.Type{conv.OwnerChanged, conv.TimerFired, conv.MessageStatus}, 1},
		{"released", func(s *script) { s.do(ann, conv.Release{}); s.do(system, hi) },
			[]conv.Type{conv.OwnerChanged, conv.TimerSet, conv.MessageStatus}, 1},
		{"resolved", func(s *script) { s.do(ann, conv.Resolve{}) },
			[]conv.Type{conv.TimerSet, conv.MessageStatus, conv.OwnerChanged, conv.Closed}, 2},
	} {
		s := held()
		vseq, n := s.state.VSeq, len(s.events)
		test.end(s)
		if got := s.last(len(s.events) - n); !slices.Equal(got, test.types) {
			t.Errorf("%s: events %v, want %v", test.name, got, test.types)
		}
		if s.state.VSeq != vseq+test.vseqs || len(s.state.HeldOut) != 0 || len(s.state.Timers) != 0 {
			t.Errorf("%s: visible sequence %d after %d, held %v, timers %v", test.name, s.state.VSeq, vseq, s.state.HeldOut, s.state.Timers)
		}
		for _, again := range []conv.Command{hi, fire, conv.UndoHeld{ID: "m_1"}} {
			if got := errorName(s.try(ann, again)); got != "stale" {
				t.Errorf("%s: then %T: %s", test.name, again, got)
			}
		}
	}
	s := held()
	if got := errorName(s.try(ben, conv.UndoHeld{ID: "m_1"})); got != "not owner" {
		t.Errorf("undoing another's reply: %s", got)
	}
	if id, ok := conv.HeldSend(conv.TimerSend + "m_1"); id != "m_1" || !ok {
		t.Errorf("the timer stands for %q, %t", id, ok)
	}
	if _, ok := conv.HeldSend(conv.TimerIdle); ok {
		t.Error("the idle timer stands for a held send")
	}
}

// TestTimers checks that a timer fires once, at exactly the instant it was last set to.
func TestTimers(t *testing.T) {
	timer := func(at int64) conv.Timer { return conv.Timer{Name: conv.TimerIdle, At: at} }
	s := newScript(t)
	s.do(system, conv.Open{ID: "c_1", From: address}, conv.SetTimer{Timer: timer(5)}, conv.SetTimer{Timer: timer(8)})
	for _, step := range []struct {
		c    conv.Command
		want string
	}{
		{conv.SetTimer{Timer: timer(8)}, "nothing"},
		{conv.FireTimer{Timer: timer(5)}, "stale"},
		{conv.FireTimer{Timer: timer(8)}, "ok"},
		{conv.FireTimer{Timer: timer(8)}, "stale"},
		{conv.SetTimer{Timer: timer(9)}, "ok"},
		{conv.SetTimer{Timer: timer(0)}, "ok"},
		{conv.FireTimer{Timer: timer(9)}, "stale"},
		{conv.FireTimer{Timer: timer(0)}, "stale"},
	} {
		if got := errorName(s.try(system, step.c)); got != step.want {
			t.Errorf("%+v: %s, want %s", step.c, got, step.want)
		}
	}
}

func TestWipe(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address, Contact: "k_1"}, conv.SetProfile{Profile: message.Profile{Subject: "s", Name: "Jo"}})
	s.do(system, conv.Wipe{})
	if s.state.Profile != nil || s.state.From.Address != "" || s.state.From.Channel != address.Channel {
		t.Errorf("after erasure: profile %+v, from %+v", s.state.Profile, s.state.From)
	}
}
