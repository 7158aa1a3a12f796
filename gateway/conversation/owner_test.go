package conversation_test

import (
	"slices"
	"testing"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

func TestReturnLimit(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address})
	for range conv.MaxReturns {
		s.do(ann, conv.Claim{}, conv.Release{})
	}
	s.do(ann, conv.Claim{})
	if got := errorName(s.try(ann, conv.Release{})); got != "return limit" {
		t.Errorf("third return: %s", got)
	}
	s.do(supervisor, conv.Release{Override: true})
	if s.state.Owner.Kind != message.OwnerBot || s.state.Returns != conv.MaxReturns+1 {
		t.Errorf("after the override: owner %s, %d returns", s.state.Owner.Kind, s.state.Returns)
	}
}

func TestAutoReturn(t *testing.T) {
	down := handoff(conv.ByBotDown, "care", conv.PriorityBotDown)
	other := handoff("chest-pain", "emergency", conv.PriorityUrgent)
	for _, test := range []struct {
		name  string
		reach func(*script)
		want  string
	}{
		{"untouched", func(s *script) {}, "ok"},
		{"captured", func(s *script) { s.do(system, conv.Capture{Queue: "care"}) }, "ok"},
		{"another reason since", func(s *script) { s.do(system, conv.Divert{Handoff: other}) }, "nothing"},
		{"with an agent", func(s *script) { s.do(ann, conv.Claim{}) }, "nothing"},
		{"touched by an agent", func(s *script) { s.do(ann, conv.Claim{}, conv.Transfer{Queue: "care"}) }, "nothing"},
		{"must reach a person", func(s *script) {
			s.do(system, conv.Decide{Decision: conv.Decision{Phase: conv.Inbound, MustReachHuman: true}})
		}, "nothing"},
	} {
		s := newScript(t)
		s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Divert{Handoff: down})
		test.reach(s)
		if got := errorName(s.try(system, conv.Release{Auto: true})); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if s.state.Returns != 0 {
			t.Errorf("%s: counted as a return by people", test.name)
		}
	}
}

// TestBotDownMasksNothing checks that a conversation that came for a reason of its own does not go back to the bot
// because the bot broke down meanwhile and is up again.
func TestBotDownMasksNothing(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Divert{Handoff: handoff("chest-pain", "emergency", conv.PriorityUrgent)})
	s.do(system, conv.Divert{Handoff: handoff(conv.ByBotDown, "care", conv.PriorityBotDown)})
	if got := errorName(s.try(system, conv.Release{Auto: true})); got != "nothing" {
		t.Errorf("auto return: %s", got)
	}
	if h := s.state.Handoff; h.Rule != "chest-pain" || h.Queue != "emergency" || h.Priority != conv.PriorityUrgent {
		t.Errorf("waits for %q in %q at priority %d", h.Rule, h.Queue, h.Priority)
	}
}

// TestTouched checks that the mark of an agent's attention does not depend on how the agent came by the conversation.
func TestTouched(t *testing.T) {
	down := conv.Divert{Handoff: handoff(conv.ByBotDown, "care", conv.PriorityBotDown)}
	for name, reach := range map[string]func(*script){
		"claimed from the queue":                    func(s *script) { s.do(ann, down, conv.Claim{}, conv.Transfer{Queue: "care"}) },
		"claimed from the bot":                      func(s *script) { s.do(ann, conv.Claim{}, conv.Transfer{Queue: "care"}) },
		"claimed from the bot, then a rule matched": func(s *script) { s.do(ann, conv.Claim{}, down, conv.Escalate{Queue: "care"}) },
		"a second rule since":                       func(s *script) { s.do(ann, down, conv.Claim{}, down, conv.Transfer{Queue: "care"}) },
	} {
		s := newScript(t)
		s.do(customer, conv.Open{ID: "c_1", From: address})
		reach(s)
		if s.state.Handoff == nil || !s.state.Handoff.Touched {
			t.Errorf("%s: waits as %+v", name, s.state.Handoff)
		}
	}
}

// TestQueueKeepsAge checks that a second reason, a transfer and an escalation neither send the customer to the back of
// the queue nor lower the priority.
func TestQueueKeepsAge(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Divert{Handoff: handoff("r1", "care", conv.PriorityHigh)})
	since := s.state.Handoff.At
	s.do(system, conv.Divert{Handoff: handoff("r2", "sales", conv.PriorityLow)})
	if h := s.state.Handoff; h.At != since || h.Priority != conv.PriorityHigh || h.Queue != "care" || h.Rule != "r2" {
		t.Errorf("after a second reason: %+v", h)
	}
	s.do(ann, conv.Claim{}, conv.Transfer{Queue: "sales"})
	if h := s.state.Handoff; h.At != since || h.Priority != conv.PriorityHigh || h.Queue != "sales" {
		t.Errorf("after a transfer: %+v", h)
	}
	s.do(supervisor, conv.Escalate{Queue: "second", Priority: conv.PriorityUrgent, Override: true})
	if h := s.state.Handoff; h.At != since || h.Priority != conv.PriorityUrgent || h.Queue != "second" {
		t.Errorf("after an escalation: %+v", h)
	}
}

func TestMustReachHuman(t *testing.T) {
	marked := func() *script {
		s := newScript(t)
		s.do(customer, conv.Open{ID: "c_1", From: address},
			conv.Decide{Decision: conv.Decision{Kind: conv.DecisionHandoff, Phase: conv.Inbound, MustReachHuman: true}})
		return s
	}
	s := marked()
	if got := errorName(s.try(customer, conv.Close{Reason: conv.ReasonCustomer})); got != "must reach human" {
		t.Errorf("closing from the bot: %s", got)
	}
	s.do(system, conv.Divert{Handoff: handoff("r", "care", conv.PriorityUrgent)})
	if got := errorName(s.try(supervisor, conv.Release{Override: true})); got != "must reach human" {
		t.Errorf("releasing what no agent has touched: %s", got)
	}
	s.do(ann, conv.Claim{}, conv.Release{})
	if got := errorName(s.try(system, conv.Close{Reason: conv.ReasonIdle})); got != "must reach human" {
		t.Errorf("closing after a release: %s", got)
	}
	s.do(ann, conv.Claim{}, conv.Resolve{})
	if s.state.MustReachHuman {
		t.Error("the mark outlived the resolve")
	}

	s = marked()
	s.do(supervisor, conv.Claim{}, conv.Release{Override: true})
	if s.state.Owner.Kind != message.OwnerBot {
		t.Errorf("a supervisor who holds it could not release: owner %s", s.state.Owner.Kind)
	}
}

// TestReopen checks who gets a conversation that comes back.
func TestReopen(t *testing.T) {
	diverted := conv.Divert{Handoff: handoff("r", "care", conv.PriorityNormal)}
	for _, test := range []struct {
		name     string
		reach    func(*script)
		queue    string
		owner    message.OwnerKind
		resolver string
	}{
		{"idle", func(s *script) { s.do(system, conv.Close{Reason: conv.ReasonIdle}) }, "care", message.OwnerBot, ""},
		{"resolved", func(s *script) { s.do(ann, diverted, conv.Claim{}, conv.Resolve{}) }, "care", message.OwnerQueued, "ann"},
		{"resolved, no queue", func(s *script) { s.do(ann, diverted, conv.Claim{}, conv.Resolve{}) }, "", message.OwnerBot, "ann"},
		{"resolved over an agent's head", func(s *script) { s.do(ann, conv.Claim{}); s.do(supervisor, conv.Resolve{Override: true}) }, "care", message.OwnerQueued, "ann"},
		{"resolved out of the queue", func(s *script) { s.do(supervisor, diverted, conv.Resolve{Override: true}) }, "care", message.OwnerQueued, "sue"},
	} {
		s := newScript(t)
		s.do(customer, conv.Open{ID: "c_1", From: address})
		test.reach(s)
		closed := s.state.ClosedAt
		s.do(customer, conv.Reopen{Queue: test.queue})
		if closed == 0 || s.state.ClosedAt != 0 || s.state.Owner.Kind != test.owner || s.state.Resolver != test.resolver {
			t.Errorf("%s: owner %s, resolver %q, closed at %d, then %d",
				test.name, s.state.Owner.Kind, s.state.Resolver, closed, s.state.ClosedAt)
		}
	}
}

// TestSnoozeEnds checks that a snooze does not outlive the term of the agent who set it: nobody else could end it.
func TestSnoozeEnds(t *testing.T) {
	for name, leave := range map[string]func(*script){
		"woken":    func(s *script) { s.do(ann, conv.Snooze{}) },
		"fired":    func(s *script) { s.do(system, conv.FireTimer{Timer: conv.Timer{Name: conv.TimerSnooze, At: 1 << 60}}) },
		"transfer": func(s *script) { s.do(ann, conv.Transfer{Queue: "sales"}) },
		"escalate": func(s *script) { s.do(ann, conv.Escalate{Queue: "second"}) },
		"release":  func(s *script) { s.do(ann, conv.Release{}) },
		"resolve":  func(s *script) { s.do(ann, conv.Resolve{}) },
		"taken":    func(s *script) { s.do(supervisor, conv.Claim{Override: true}) },
	} {
		s := newScript(t)
		s.do(ann, conv.Open{ID: "c_1", From: address}, conv.Claim{}, conv.Snooze{Until: 1 << 60})
		if s.state.Snoozed != 1<<60 || s.state.Owner.Agent != "ann" {
			t.Fatalf("%s: snoozed until %d, held by %q", name, s.state.Snoozed, s.state.Owner.Agent)
		}
		leave(s)
		if s.state.Snoozed != 0 || len(s.state.Timers) != 0 {
			t.Errorf("%s: snoozed until %d with timers %v", name, s.state.Snoozed, s.state.Timers)
		}
	}
}

func TestOffer(t *testing.T) {
	queued := func() *script {
		s := newScript(t)
		s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Divert{Handoff: handoff("r", "care", conv.PriorityNormal)})
		s.do(system, conv.MakeOffer{Agent: "ann", Until: 9})
		return s
	}
	s := queued()
	if got := errorName(s.try(system, conv.MakeOffer{Agent: "ben"})); got != "stale" {
		t.Errorf("a second offer: %s", got)
	}
	if got := errorName(s.try(ben, conv.EndOffer{Agent: "ben", Declined: true})); got != "stale" {
		t.Errorf("declining another's offer: %s", got)
	}
	epoch := s.state.Epoch
	s.do(ann, conv.EndOffer{Agent: "ann", Declined: true})
	s.do(system, conv.MakeOffer{Agent: "ben", Until: 9}, conv.EndOffer{Agent: "ben"})
	want := []conv.Type{conv.OfferMade, conv.OfferDeclined, conv.OfferMade, conv.OfferLapsed}
	if got := s.last(4); !slices.Equal(got, want) || s.state.Offer != nil {
		t.Errorf("events %v, offer %+v", got, s.state.Offer)
	}
	if s.state.Epoch != epoch || s.state.Owner.Kind != message.OwnerQueued {
		t.Errorf("offers changed the owner to %+v", s.state.Owner)
	}
	s = queued()
	s.do(ben, conv.Claim{})
	if s.state.Offer != nil {
		t.Error("the offer outlived a claim")
	}
}
