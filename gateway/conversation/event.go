package conversation

import (
	"encoding/json"
	"errors"
	"fmt"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// Version is the newest version of the event encoding that this build writes. Readers accept it and the one before; see
// Format.
const Version = 1

// Type names what happened.
type Type string

// The events of a conversation. The list is closed: a log never holds another.
const (
	MessageReceived Type = "message.received"
	MessageHeld     Type = "message.held"
	MessageSent     Type = "message.sent"
	MessageStatus   Type = "message.status"
	NoteAdded       Type = "note.added"
	TurnStarted     Type = "turn.started"
	TurnDiscarded   Type = "turn.discarded"
	TurnFailed      Type = "turn.failed"
	DecisionMade    Type = "decision.made"
	HandoffMade     Type = "handoff.made"
	OwnerChanged    Type = "owner.changed"
	OfferMade       Type = "offer.made"
	OfferLapsed     Type = "offer.lapsed"
	OfferDeclined   Type = "offer.declined"
	TimerSet        Type = "timer.set"
	TimerFired      Type = "timer.fired"
	ProfileChanged  Type = "profile.changed"
	ContactLinked   Type = "contact.linked"
	Opened          Type = "conversation.opened"
	Closed          Type = "conversation.closed"
	Reopened        Type = "conversation.reopened"
	Erased          Type = "conversation.erased"
)

// Event is one entry of a conversation's log.
type Event struct {
	V   int    `json:"v"`
	Seq uint64 `json:"seq"` // 1, 2, 3 …
	// VSeq is the place in what the customer may see, 1, 2, 3 … without gaps; 0 for everything else.
	VSeq  uint64 `json:"vseq,omitempty"`
	At    int64  `json:"at"` // milliseconds since 1970
	Type  Type   `json:"type"`
	Epoch Epoch  `json:"epoch"` // in force after the event
	Op    string `json:"op"`    // the operation whose commit holds the event
	Actor Actor  `json:"actor"`
	Data  Data   `json:"data"`
}

// Epoch is a term of ownership: a number and the operation that began it. Compare both: after a lost tail a number can be
// given twice, an operation cannot.
type Epoch struct {
	N  uint64 `json:"n"`
	Op string `json:"op"`
}

// Actor is who did something. ID is empty for the system.
type Actor struct {
	Kind ActorKind `json:"kind"`
	ID   string    `json:"id,omitempty"`
}

// ActorKind is the kind of an Actor.
type ActorKind string

// The actors.
const (
	Customer   ActorKind = "customer"
	Bot        ActorKind = "bot"
	Agent      ActorKind = "agent"
	Supervisor ActorKind = "supervisor"
	Admin      ActorKind = "admin"
	System     ActorKind = "system"
)

// Person reports whether the actor is one of the tenant's people.
func (a Actor) Person() bool { return a.Kind == Agent || a.Kind == Supervisor }

// Owner is who may speak. Exactly one holds a conversation.
type Owner struct {
	Kind  message.OwnerKind `json:"kind"`
	Queue string            `json:"queue,omitempty"` // for queued and captured; of an agent: the queue it came from
	Agent string            `json:"agent,omitempty"`
	Name  string            `json:"name,omitempty"` // the agent's public name
}

// Data is the body of an event: one struct per type.
type Data interface{ eventType() Type }

// Received is a customer's message.
type Received struct {
	ID string          `json:"id"` // "m_…"
	In message.Inbound `json:"in"`
	// Rules is the version of the rules that judged the message, Scores and Memory what signals said then.
	Rules  int           `json:"rules,omitempty"`
	Scores signal.Scores `json:"scores,omitzero"`
	Memory signal.Memory `json:"memory,omitzero"`
	// Model is the digest of what computed the signals, Inputs the rest of what rules saw, where no decision about the
	// message holds them.
	Model  string          `json:"model,omitempty"`
	Inputs json.RawMessage `json:"inputs,omitempty"`
	// Held is set when the message was held for review before.
	Held bool `json:"held,omitempty"`
}

// Held is a message that waits: a customer's for review, or an agent's within its send hold.
type Held struct {
	ID     string           `json:"id"`
	By     message.By       `json:"by"`
	Name   string           `json:"name,omitempty"`
	In     *message.Inbound `json:"in,omitempty"`
	Part   *message.Part    `json:"part,omitempty"`
	Until  int64            `json:"until,omitempty"`
	Reason string           `json:"reason,omitempty"`
}

// Sent is one part said to the customer.
type Sent struct {
	ID   string       `json:"id"`
	By   message.By   `json:"by"`
	Name string       `json:"name,omitempty"` // the agent's public name
	Part message.Part `json:"part"`
	Turn string       `json:"turn,omitempty"` // the turn that led to it
	Rule string       `json:"rule,omitempty"` // the rule that said it, for the system
	// Rating is set when the part asks for a rating.
	Rating bool `json:"rating,omitempty"`
}

// StatusChanged is a step in the delivery of a message, the end of a held one (review "rejected", send "undone"), or the
// end of one that will not be sent ("cancelled", "discarded").
type StatusChanged struct {
	ID     string         `json:"id"`
	Status message.Status `json:"status"`
	Code   string         `json:"code,omitempty"`
}

// The ends of held messages that are no delivery.
const (
	StatusRejected message.Status = "rejected"
	StatusUndone   message.Status = "undone"
)

// The ends of messages for a push channel that are no delivery: cancelled because people took over before its send began,
// discarded by a person when it could not be delivered.
const (
	StatusCancelled message.Status = "cancelled"
	StatusDiscarded message.Status = "discarded"
)

// CodeResent is the code of the status with which a delivery begins anew because a person said so.
const CodeResent = "resent"

// Note is a remark among the tenant's people. It shares no field type with what can be sent: nothing that goes to a
// customer can be built from it.
type Note struct {
	ID   string   `json:"id"`
	Note NoteText `json:"note"`
}

// NoteText is the text of a note, kept apart from every string that may be sent.
type NoteText string

// TurnBegun starts a bot call, or repeats it with Attempt above 1.
type TurnBegun struct {
	ID      string `json:"id"` // "t_…"
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Rules   int    `json:"rules,omitempty"`
	Attempt int    `json:"attempt"`
	Bot     string `json:"bot,omitempty"`
}

// TurnDropped records a turn whose answer was not or will not be sent.
type TurnDropped struct {
	ID     string `json:"id"`
	Reason string `json:"reason"` // "owner_changed", "lost"
	// Answer is what the bot said too late, for the record; nil when it never said anything.
	Answer []message.Part `json:"answer,omitempty"`
}

// TurnBroken records a failed bot call. A final one ends the turn.
type TurnBroken struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"` // adapters.BotErrorKind, "breaker_open", "budget" or "gave_up"
	Status  int    `json:"status,omitempty"`
	Attempt int    `json:"attempt"`
	Final   bool   `json:"final,omitempty"`
}

// DecisionKind says what a decision did.
type DecisionKind string

// The decisions.
const (
	DecisionPass    DecisionKind = "pass"
	DecisionHandoff DecisionKind = "handoff"
	DecisionReplace DecisionKind = "replace"
	DecisionSay     DecisionKind = "say"
	DecisionTag     DecisionKind = "tag"
	DecisionRoute   DecisionKind = "route" // another bot answers from the next turn on
	DecisionDeny    DecisionKind = "deny"  // a person tried what the state does not allow
)

// Phase is when a rule looked.
type Phase string

// The phases.
const (
	Inbound Phase = "inbound"
	Answer  Phase = "answer"
)

// Decision is what the rules made of an exchange, with every input that is not in the log. A decision of the answer
// phase ends its turn.
type Decision struct {
	Kind  DecisionKind `json:"kind"`
	Phase Phase        `json:"phase"`
	Turn  string       `json:"turn,omitempty"`
	Seq   uint64       `json:"seq,omitempty"`   // the message judged, for the inbound phase
	Rules int          `json:"rules,omitempty"` // version
	Rule  string       `json:"rule,omitempty"`  // the one that won
	// Matched names all enforced rules that matched, Shadow those that only watched, Failed those that broke.
	Matched []string `json:"matched,omitempty"`
	Shadow  []string `json:"shadow,omitempty"`
	Failed  []string `json:"failed,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Notify  []string `json:"notify,omitempty"`
	// MustReachHuman marks the conversation: from now on only a person's resolve closes it.
	MustReachHuman bool `json:"must_reach_human,omitempty"`
	// Route is the bot that the conversation goes to from its next turn on; empty: it stays with the one that it has.
	Route string `json:"route,omitempty"`
	// Scores are the signals read, Model the digest of what computed them, Inputs the rest of what rules saw.
	Scores signal.Scores   `json:"scores,omitzero"`
	Memory signal.Memory   `json:"memory,omitzero"`
	Model  string          `json:"model,omitempty"`
	Inputs json.RawMessage `json:"inputs,omitempty"`
	// Bot is what the bot said of its answer; Withheld the answer's parts when the customer did not get them.
	Bot      *BotSaid       `json:"bot,omitempty"`
	Withheld []message.Part `json:"withheld,omitempty"`
}

// BotSaid is a bot's own account of its answer. Absent is not zero.
type BotSaid struct {
	Confidence *float64 `json:"confidence,omitempty"`
	Intent     string   `json:"intent,omitempty"`
	Fallback   *bool    `json:"fallback,omitempty"`
	Handoff    string   `json:"handoff,omitempty"` // its reason for wanting a person
	End        bool     `json:"end,omitempty"`
	Sources    int      `json:"sources,omitempty"`
}

// Handoff diverts a conversation to people.
type Handoff struct {
	Rule     string   `json:"rule"` // the rule's id, or one of the Reason… names below
	Reason   string   `json:"reason,omitempty"`
	Queue    string   `json:"queue"`
	Priority int      `json:"priority"` // 1 (bot_down) to 9 (urgent)
	Skills   []string `json:"skills,omitempty"`
	Turn     string   `json:"turn,omitempty"` // the turn that was running or whose answer was withheld
	// InFlight names the bot's messages whose send was already under way: they may arrive.
	InFlight []string `json:"in_flight,omitempty"`
}

// Names that stand in the place of a rule's id where no rule of the tenant decided.
const (
	ByBareRequest = "builtin.human_request" // the whole message asked for a person
	ByButton      = "builtin.talk_to_a_person"
	ByBotRequest  = "builtin.bot_request"
	ByBotDown     = "builtin.bot_down"
	ByLockedFault = "builtin.locked_rule_failed"
)

// Priorities of a handoff.
const (
	PriorityBotDown = 1
	PriorityLow     = 3
	PriorityNormal  = 5
	PriorityHigh    = 7
	PriorityUrgent  = 9
)

// OwnerMoved is a change of owner. It raises the epoch.
type OwnerMoved struct {
	From     Owner  `json:"from"`
	To       Owner  `json:"to"`
	Reason   string `json:"reason"` // handoff, claim, transfer, escalate, release, resolve, capture, opened, reopen, idle, auto_return …
	Position int    `json:"position,omitempty"`
	Priority int    `json:"priority,omitempty"` // raised to at least this, for a queue
	// InFlight names, when people take over, the bot's messages whose send was already under way.
	InFlight []string `json:"in_flight,omitempty"`
}

// ToPeople reports whether the change takes the word from the bot, and with it what the bot had still to send.
func (d *OwnerMoved) ToPeople() bool {
	switch d.To.Kind {
	case message.OwnerQueued, message.OwnerAgent, message.OwnerCaptured:
		return true
	}
	return false
}

// Offered puts a queued conversation to one agent; it does not change the owner. With End it lapses or is declined.
type Offered struct {
	Agent string `json:"agent"`
	Until int64  `json:"until,omitempty"`
}

// lapsed and declined are Offered under other types.
type offerLapsed struct{ Offered }
type offerDeclined struct{ Offered }

// Timer is a message to the conversation at an instant. At 0 takes the timer away.
type Timer struct {
	Name string `json:"name"`
	At   int64  `json:"at"`
}

// timerFired is the Timer that went off.
type timerFired struct{ Timer }

// Profiled is what is newly known of the customer: a profile from an authenticated source, what the tenant's own system
// says of that profile, or both.
type Profiled struct {
	Profile *message.Profile `json:"profile,omitempty"`
	Account *message.Account `json:"account,omitempty"`
	// Turn is set when the account came in time for a turn: the rules that read it were asked again before the bot was.
	// Rules is the version that was asked, Inputs what they saw beside it, where no decision about a message holds that.
	Turn   string          `json:"turn,omitempty"`
	Rules  int             `json:"rules,omitempty"`
	Inputs json.RawMessage `json:"inputs,omitempty"`
}

// Linked ties the conversation to a contact.
type Linked struct {
	Contact string `json:"contact"`
}

// Begun opens a conversation. The bot owns it.
type Begun struct {
	ID       string          `json:"id"`
	From     message.Address `json:"from"`
	Previous string          `json:"previous,omitempty"`
	Contact  string          `json:"contact,omitempty"`
}

// Ended closes a conversation.
type Ended struct {
	Reason string `json:"reason"` // resolved, idle, customer, bot_end
}

// Resumed reopens it.
type Resumed struct{}

// Wiped records that the content's keys were destroyed.
type Wiped struct{}

func (*Received) eventType() Type      { return MessageReceived }
func (*Held) eventType() Type          { return MessageHeld }
func (*Sent) eventType() Type          { return MessageSent }
func (*StatusChanged) eventType() Type { return MessageStatus }
func (*Note) eventType() Type          { return NoteAdded }
func (*TurnBegun) eventType() Type     { return TurnStarted }
func (*TurnDropped) eventType() Type   { return TurnDiscarded }
func (*TurnBroken) eventType() Type    { return TurnFailed }
func (*Decision) eventType() Type      { return DecisionMade }
func (*Handoff) eventType() Type       { return HandoffMade }
func (*OwnerMoved) eventType() Type    { return OwnerChanged }
func (*Offered) eventType() Type       { return OfferMade }
func (*offerLapsed) eventType() Type   { return OfferLapsed }
func (*offerDeclined) eventType() Type { return OfferDeclined }
func (*Timer) eventType() Type         { return TimerSet }
func (*timerFired) eventType() Type    { return TimerFired }
func (*Profiled) eventType() Type      { return ProfileChanged }
func (*Linked) eventType() Type        { return ContactLinked }
func (*Begun) eventType() Type         { return Opened }
func (*Ended) eventType() Type         { return Closed }
func (*Resumed) eventType() Type       { return Reopened }
func (*Wiped) eventType() Type         { return Erased }

func newData(t Type) Data {
	switch t {
	case MessageReceived:
		return new(Received)
	case MessageHeld:
		return new(Held)
	case MessageSent:
		return new(Sent)
	case MessageStatus:
		return new(StatusChanged)
	case NoteAdded:
		return new(Note)
	case TurnStarted:
		return new(TurnBegun)
	case TurnDiscarded:
		return new(TurnDropped)
	case TurnFailed:
		return new(TurnBroken)
	case DecisionMade:
		return new(Decision)
	case HandoffMade:
		return new(Handoff)
	case OwnerChanged:
		return new(OwnerMoved)
	case OfferMade:
		return new(Offered)
	case OfferLapsed:
		return new(offerLapsed)
	case OfferDeclined:
		return new(offerDeclined)
	case TimerSet:
		return new(Timer)
	case TimerFired:
		return new(timerFired)
	case ProfileChanged:
		return new(Profiled)
	case ContactLinked:
		return new(Linked)
	case Opened:
		return new(Begun)
	case Closed:
		return new(Ended)
	case Reopened:
		return new(Resumed)
	case Erased:
		return new(Wiped)
	}
	return nil
}

// ErrEncoding says that bytes are no event of a version this build reads.
var ErrEncoding = errors.New("no event of a version this build reads")

// Encode returns e as JSON.
func (e *Event) Encode() ([]byte, error) { return e.Append(make([]byte, 0, encodedSize)) }

// encodedSize is room for most events.
const encodedSize = 768

// Decode reads what Encode wrote, by this version or the one before. The event shares nothing with b.
func Decode(b []byte) (Event, error) { return Format(0).Decode(b) }

// Decode reads what Encode wrote, by a version that f reads. The event shares nothing with b.
func (f Format) Decode(b []byte) (Event, error) {
	var w struct {
		Event
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	e := w.Event
	if !f.Reads(e.V) {
		return Event{}, fmt.Errorf("%w: version %d", ErrEncoding, e.V)
	}
	if e.Data = newData(e.Type); e.Data == nil {
		return Event{}, fmt.Errorf("%w: type %q", ErrEncoding, e.Type)
	}
	if err := json.Unmarshal(w.Data, e.Data); err != nil {
		return Event{}, fmt.Errorf("%w: %s: %w", ErrEncoding, e.Type, err)
	}
	return e, nil
}
