package conversation

import (
	"fmt"
	"maps"
	"slices"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// State is the fold of a conversation's log. A State that has been shared is never changed: commands work on a copy.
type State struct {
	V       int             `json:"v"`
	ID      string          `json:"id"`
	From    message.Address `json:"from"`
	Contact string          `json:"contact,omitempty"`
	Seq     uint64          `json:"seq"`
	VSeq    uint64          `json:"vseq"`
	Owner   Owner           `json:"owner"`
	Epoch   Epoch           `json:"epoch"`

	// Consumed is the last inbound seq that is behind the bot: answered, given up, or of the human time.
	Consumed uint64 `json:"consumed,omitempty"`
	// Pending are the messages after Consumed that wait for a turn.
	Pending Pending `json:"pending,omitzero"`
	// Turn is the bot turn under way. Orphan is one that an owner change cut off and whose late answer is not in yet.
	Turn   *Turn `json:"turn,omitempty"`
	Orphan *Turn `json:"orphan,omitempty"`

	// MustReachHuman: only a person's resolve may close. HumanInvolved: a person was asked for or has been here.
	MustReachHuman bool `json:"must_reach_human,omitempty"`
	HumanInvolved  bool `json:"human_involved,omitempty"`
	// Returns counts releases by people; Handoffs the diversions.
	Returns  int       `json:"returns,omitempty"`
	Handoffs int       `json:"handoffs,omitempty"`
	Handoff  *Waiting  `json:"handoff,omitempty"` // the last one, while it is in force
	Offer    *Offered  `json:"offer,omitempty"`
	Snoozed  int64     `json:"snoozed,omitempty"`
	HeldIn   []HeldRef `json:"held_in,omitempty"`
	HeldOut  []HeldRef `json:"held_out,omitempty"`

	Tags    []string         `json:"tags,omitempty"`
	Bot     string           `json:"bot,omitempty"`   // that a rule gave it to; empty: that of its channel
	Turns   int              `json:"turns,omitempty"` // turns ended with an answer
	Memory  signal.Memory    `json:"memory,omitzero"`
	Profile *message.Profile `json:"profile,omitempty"`
	// Account is what the tenant's own system says of Profile; nil while nobody asked.
	Account *message.Account `json:"account,omitempty"`
	Timers  map[string]int64 `json:"timers,omitempty"`

	OpenedAt int64 `json:"opened_at"`
	// HeardAt is when the customer wrote last, by the provider's clock where it has one: replies may have a time limit from then.
	HeardAt int64 `json:"heard_at,omitempty"`
	// ActiveAt is the time of the last message in either direction, ClosedAt of the close.
	ActiveAt int64  `json:"active_at,omitempty"`
	ClosedAt int64  `json:"closed_at,omitempty"`
	Resolver string `json:"resolver,omitempty"` // the agent who resolved it: preferred when it reopens
	Previous string `json:"previous,omitempty"`
}

// Pending is the stretch of messages that wait for a turn.
type Pending struct {
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	Count int    `json:"count,omitempty"`
	Rules int    `json:"rules,omitempty"` // newest version that judged one of them
}

// Turn is a bot turn: the messages with seq From to To that start turns, under one id however often it is called.
type Turn struct {
	ID      string `json:"id"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Rules   int    `json:"rules,omitempty"`
	Attempt int    `json:"attempt"`
	Bot     string `json:"bot,omitempty"`
	Since   int64  `json:"since"`
}

// Waiting is a handoff in force: what the queue orders by and what the agent is told.
type Waiting struct {
	Handoff
	At      int64 `json:"at"`
	Touched bool  `json:"touched,omitempty"` // an agent has had it
}

// HeldRef names a held message.
type HeldRef struct {
	ID    string `json:"id"`
	Seq   uint64 `json:"seq"` // of the event that holds it
	Until int64  `json:"until,omitempty"`
	// By is the agent whose send is held.
	By string `json:"by,omitempty"`
}

// Working reports whether there is work for a node: a turn to take, to retake or to write off.
func (s *State) Working() bool {
	return s.Orphan != nil || s.Owner.Kind == message.OwnerBot && (s.Turn != nil || s.Pending.Count > 0)
}

// AccountOf returns the account that is known of a profile, nil when it is somebody else's. p nil is the profile that the
// conversation has.
func (s *State) AccountOf(p *message.Profile) *message.Account {
	if p == nil {
		p = s.Profile
	}
	if p == nil || s.Account == nil || s.Account.Subject != p.Subject {
		return nil
	}
	return s.Account
}

// Open reports whether the conversation is with people and not closed: it belongs into a queue view.
func (s *State) Open() bool {
	switch s.Owner.Kind {
	case message.OwnerQueued, message.OwnerAgent, message.OwnerCaptured:
		return true
	}
	return false
}

// Fold applies e, which must be the next event. It changes s in place; what s shares with an earlier copy is replaced,
// never written to.
func (s *State) Fold(e Event) error {
	if e.Seq != s.Seq+1 {
		return fmt.Errorf("folding event %d onto %d: not the next", e.Seq, s.Seq)
	}
	if want := visible(e.Data); (e.VSeq != 0) != want || want && e.VSeq != s.VSeq+1 {
		return fmt.Errorf("folding %s: visible sequence %d after %d", e.Type, e.VSeq, s.VSeq)
	}
	s.Seq = e.Seq
	if e.VSeq != 0 {
		s.VSeq = e.VSeq
	}
	s.apply(e)
	return nil
}

// heard is when a message was written: a provider may bring it days later.
func heard(at int64, in *message.Inbound) int64 {
	if in.SentAt.IsZero() {
		return at
	}
	return min(at, in.SentAt.UnixMilli())
}

func (s *State) apply(e Event) {
	switch d := e.Data.(type) {
	case *Begun:
		s.V, s.ID, s.From, s.Previous, s.Contact = e.V, d.ID, d.From, d.Previous, d.Contact
		s.OpenedAt, s.ActiveAt = e.At, e.At
		s.Owner, s.Epoch = Owner{Kind: message.OwnerBot}, e.Epoch
	case *Received:
		s.ActiveAt, s.HeardAt = e.At, max(s.HeardAt, heard(e.At, &d.In))
		s.Memory = d.Memory
		if d.Held {
			s.HeldIn = without(s.HeldIn, d.ID)
		}
		if d.In.Kind.StartsTurn() {
			if s.Owner.Kind == message.OwnerBot {
				s.Pending = s.Pending.with(e.Seq, d.Rules)
			} else {
				s.Consumed = e.Seq // said to people: history for the bot, never a turn
			}
		}
		if d.In.Profile != nil {
			s.Profile, s.Account = d.In.Profile, s.AccountOf(d.In.Profile)
		}
	case *Held:
		ref := HeldRef{ID: d.ID, Seq: e.Seq, Until: d.Until}
		if d.By == message.ByCustomer {
			s.HeldIn = append(slices.Clip(s.HeldIn), ref)
		} else {
			ref.By = e.Actor.ID
			s.HeldOut = append(slices.Clip(s.HeldOut), ref)
		}
	case *Sent:
		s.ActiveAt = e.At
		s.HeldOut = without(s.HeldOut, d.ID)
	case *StatusChanged:
		switch d.Status {
		case StatusRejected:
			s.HeldIn = without(s.HeldIn, d.ID)
		case StatusUndone:
			s.HeldOut = without(s.HeldOut, d.ID)
		}
	case *TurnBegun:
		s.Turn = &Turn{ID: d.ID, From: d.From, To: d.To, Rules: d.Rules, Attempt: d.Attempt, Bot: d.Bot, Since: e.At}
		if d.Attempt == 1 {
			s.Pending = Pending{}
		}
	case *TurnDropped:
		s.Orphan = nil
	case *TurnBroken:
		if d.Final && s.Turn != nil {
			s.endTurn()
		}
	case *Decision:
		s.decided(d)
	case *Handoff:
		w := &Waiting{Handoff: *d, At: e.At}
		if s.Handoff != nil && s.Open() { // a second reason while people have it: it keeps its place
			w.At, w.Touched = s.Handoff.At, s.Handoff.Touched
			w.Priority = max(w.Priority, s.Handoff.Priority)
			w.Queue = s.Handoff.Queue
			if d.Rule == ByBotDown { // it masks no other reason, which must not return when the bot does
				w.Handoff = s.Handoff.Handoff
			}
		}
		w.Touched = w.Touched || s.Owner.Kind == message.OwnerAgent
		s.Handoff, s.HumanInvolved = w, true
		s.Handoffs++
	case *OwnerMoved:
		s.moved(e, d)
	case *Offered:
		s.Offer = d
	case *offerLapsed, *offerDeclined:
		s.Offer = nil
	case *Timer:
		s.Timers = maps.Clone(s.Timers)
		if d.At == 0 {
			delete(s.Timers, d.Name)
		} else {
			if s.Timers == nil {
				s.Timers = map[string]int64{}
			}
			s.Timers[d.Name] = d.At
		}
		if d.Name == TimerSnooze {
			s.Snoozed = d.At
		}
	case *timerFired:
		s.Timers = maps.Clone(s.Timers)
		delete(s.Timers, d.Name)
		if d.Name == TimerSnooze {
			s.Snoozed = 0
		}
	case *Profiled:
		if d.Profile != nil {
			s.Profile, s.Account = d.Profile, s.AccountOf(d.Profile)
		}
		if d.Account != nil {
			s.Account = d.Account
		}
	case *Linked:
		s.Contact = d.Contact
	case *Ended:
		s.ClosedAt = e.At
	case *Resumed:
		s.ClosedAt, s.ActiveAt = 0, e.At
	case *Wiped:
		s.Profile, s.Account, s.Memory, s.From.Address, s.From.Thread = nil, nil, signal.Memory{}, "", ""
	}
	if len(s.Timers) == 0 {
		s.Timers = nil
	}
}

func (s *State) decided(d *Decision) {
	if d.MustReachHuman {
		s.MustReachHuman = true
	}
	if d.Route != "" {
		s.Bot = d.Route
	}
	for _, tag := range d.Tags {
		if !slices.Contains(s.Tags, tag) {
			s.Tags = append(slices.Clip(s.Tags), tag)
		}
	}
	if d.Phase == Answer && s.Turn != nil && d.Turn == s.Turn.ID {
		s.Memory = d.Memory
		s.Turns++
		s.endTurn()
	}
}

func (s *State) endTurn() {
	s.Consumed = s.Turn.To
	s.Turn = nil
}

func (s *State) moved(e Event, d *OwnerMoved) {
	s.Owner, s.Epoch = d.To, e.Epoch
	s.Offer = nil
	if d.From.Kind == message.OwnerBot {
		// The running call is cut off and whatever waited for the bot is now for people.
		if s.Turn != nil {
			s.Orphan, s.Turn = s.Turn, nil
		}
		s.Pending = Pending{}
		s.Consumed = e.Seq
	}
	switch d.To.Kind {
	case message.OwnerQueued, message.OwnerCaptured:
		s.HumanInvolved = true
		w := Waiting{Handoff: Handoff{Rule: "builtin." + d.Reason, Priority: PriorityNormal}, At: e.At}
		if s.Handoff != nil && d.Reason != ReasonReopen {
			w = *s.Handoff // it keeps its age: the customer has waited since the handoff
		}
		w.Queue, w.Priority = d.To.Queue, max(w.Priority, d.Priority)
		w.Touched = w.Touched || d.From.Kind == message.OwnerAgent
		s.Handoff = &w
	case message.OwnerAgent:
		s.HumanInvolved = true
		if s.Handoff != nil {
			w := *s.Handoff
			w.Touched = true
			s.Handoff = &w
		}
	case message.OwnerBot:
		s.Consumed = e.Seq
		s.Handoff = nil
		if d.Reason == ReasonRelease {
			s.Returns++
		}
	case message.OwnerClosed:
		s.Resolver = d.From.Agent
		if d.Reason == ReasonResolve {
			s.MustReachHuman = false // a person has seen to it
			if s.Resolver == "" {    // from the queue, by a supervisor
				s.Resolver = e.Actor.ID
			}
		}
	}
}

// with adds the message at seq, judged by version rules.
func (p Pending) with(seq uint64, rules int) Pending {
	if p.Count == 0 {
		p.First = seq
	}
	p.Last, p.Count, p.Rules = seq, p.Count+1, max(p.Rules, rules)
	return p
}

func without(refs []HeldRef, id string) []HeldRef {
	i := slices.IndexFunc(refs, func(r HeldRef) bool { return r.ID == id })
	if i < 0 {
		return refs
	}
	if len(refs) == 1 {
		return nil
	}
	return slices.Concat(refs[:i], refs[i+1:])
}
