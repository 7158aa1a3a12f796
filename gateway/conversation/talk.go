package conversation

import (
	"encoding/json"
	"fmt"
	"slices"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// Open begins a conversation, owned by the bot.
type Open struct {
	ID       string
	From     message.Address
	Previous string
	Contact  string
}

func (c Open) decide(d *Draft) error {
	if d.State.Owner.Kind != "" {
		return fmt.Errorf("%w: the conversation exists", ErrInvalid)
	}
	d.emit(&Begun{ID: c.ID, From: c.From, Previous: c.Previous, Contact: c.Contact})
	return nil
}

// Receive records a customer's message.
type Receive struct {
	ID     string
	In     message.Inbound
	Rules  int
	Scores signal.Scores
	Memory signal.Memory
	Model  string
	Inputs json.RawMessage
}

func (c Receive) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	d.emit(&Received{ID: c.ID, In: c.In, Rules: c.Rules, Scores: c.Scores, Memory: c.Memory, Model: c.Model, Inputs: c.Inputs})
	return nil
}

// Hold keeps a customer's message back until it was reviewed: neither bot nor customer sees it.
type Hold struct {
	ID     string
	In     message.Inbound
	Reason string
}

func (c Hold) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	d.emit(&Held{ID: c.ID, By: message.ByCustomer, In: &c.In, Reason: c.Reason})
	return nil
}

// Review ends the hold of a customer's message: Receive it as what it is, or reject it for good.
type Review struct {
	Receive Receive // ID names the held message
	Reject  bool
}

func (c Review) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	if !has(d.State.HeldIn, c.Receive.ID) {
		return ErrStale
	}
	if c.Reject {
		d.emit(&StatusChanged{ID: c.Receive.ID, Status: StatusRejected})
		return nil
	}
	r := c.Receive
	d.emit(&Received{ID: r.ID, In: r.In, Rules: r.Rules, Scores: r.Scores, Memory: r.Memory, Held: true})
	return nil
}

// StartTurn takes all pending messages into a bot turn. ErrNothing when there is none to start, and while the call of an
// orphaned turn may still run: one bot call at a time.
type StartTurn struct {
	ID  string
	Bot string
}

func (c StartTurn) decide(d *Draft) error {
	s := &d.State
	if s.Owner.Kind != message.OwnerBot || s.Turn != nil || s.Orphan != nil || s.Pending.Count == 0 {
		return ErrNothing
	}
	d.emit(&TurnBegun{ID: c.ID, From: s.Pending.First, To: s.Pending.Last, Rules: s.Pending.Rules, Attempt: 1, Bot: c.Bot})
	return nil
}

// RetakeTurn repeats the call of the turn under way, after a crash or a failure: same id, same messages. Bot, when set, is
// another bot than before.
type RetakeTurn struct{ Bot string }

func (c RetakeTurn) decide(d *Draft) error {
	t := d.State.Turn
	if t == nil {
		return ErrNothing
	}
	if c.Bot == "" {
		c.Bot = t.Bot
	}
	d.emit(&TurnBegun{ID: t.ID, From: t.From, To: t.To, Rules: t.Rules, Attempt: t.Attempt + 1, Bot: c.Bot})
	return nil
}

// AnswerTurn ends the turn with what the rules made of the bot's answer, then says Parts in order.
type AnswerTurn struct {
	Turn     string
	Decision Decision
	Parts    []Sent // ids and texts; By, Turn and Rule as they shall stand
}

func (c AnswerTurn) decide(d *Draft) error {
	s := &d.State
	if s.Turn == nil || s.Turn.ID != c.Turn || s.Owner.Kind != message.OwnerBot {
		return ErrStale
	}
	c.Decision.Phase, c.Decision.Turn = Answer, c.Turn
	d.emit(&c.Decision)
	for i := range c.Parts {
		d.emit(&c.Parts[i])
	}
	return nil
}

// FailTurn records a failed bot call; a final one gives the turn up.
type FailTurn struct {
	Turn   string
	Kind   string
	Status int
	Final  bool
}

func (c FailTurn) decide(d *Draft) error {
	t := d.State.Turn
	if t == nil || t.ID != c.Turn {
		return ErrStale
	}
	d.emit(&TurnBroken{ID: c.Turn, Kind: c.Kind, Status: c.Status, Attempt: t.Attempt, Final: c.Final})
	return nil
}

// DiscardTurn records the end of a turn that an owner change cut off, with its late answer if there was one.
type DiscardTurn struct {
	Turn   string
	Reason string
	Answer []message.Part
}

func (c DiscardTurn) decide(d *Draft) error {
	o := d.State.Orphan
	if o == nil || o.ID != c.Turn {
		return ErrStale
	}
	d.emit(&TurnDropped{ID: c.Turn, Reason: c.Reason, Answer: c.Answer})
	return nil
}

// Decide records a decision on an inbound message.
type Decide struct{ Decision Decision }

func (c Decide) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	if c.Decision.Phase == Answer {
		return fmt.Errorf("%w: a decision on an answer is part of AnswerTurn", ErrInvalid)
	}
	d.emit(&c.Decision)
	return nil
}

// Say lets the system speak: a rule's sentence, an honest word when the bot is down, the question for a rating.
type Say struct{ Sent Sent }

func (c Say) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	if c.Sent.Part.Empty() && !c.Sent.Rating {
		return fmt.Errorf("%w: nothing to say", ErrInvalid)
	}
	c.Sent.By = message.BySystem
	d.emit(&c.Sent)
	return nil
}

// Reply says an agent's words, or holds them until HoldUntil (0: sends at once).
type Reply struct {
	ID        string
	Name      string
	Part      message.Part
	HoldUntil int64
}

func (c Reply) decide(d *Draft) error {
	if err := d.holds(); err != nil {
		return err
	}
	if c.Part.Empty() {
		return fmt.Errorf("%w: an empty reply", ErrInvalid)
	}
	if c.HoldUntil > d.env.Now {
		d.emit(&Held{ID: c.ID, By: message.ByAgent, Name: c.Name, Part: &c.Part, Until: c.HoldUntil})
		d.emit(&Timer{Name: TimerSend + c.ID, At: c.HoldUntil})
		return nil
	}
	d.emit(&Sent{ID: c.ID, By: message.ByAgent, Name: c.Name, Part: c.Part})
	return nil
}

// SendHeld ends the send hold of an agent's reply: Sent carries what was held. When the agent no longer holds the
// conversation the reply is taken back instead, for the agent to see.
type SendHeld struct{ Sent Sent }

func (c SendHeld) decide(d *Draft) error {
	i := slices.IndexFunc(d.State.HeldOut, func(r HeldRef) bool { return r.ID == c.Sent.ID })
	if i < 0 {
		return ErrStale
	}
	by := d.State.HeldOut[i].By
	d.unset(TimerSend + c.Sent.ID)
	if o := d.State.Owner; o.Kind != message.OwnerAgent || o.Agent != by {
		d.emit(&StatusChanged{ID: c.Sent.ID, Status: StatusUndone, Code: "not_owner"})
		return nil
	}
	c.Sent.By = message.ByAgent
	d.emit(&c.Sent)
	return nil
}

// UndoHeld takes a held reply back.
type UndoHeld struct{ ID string }

func (c UndoHeld) decide(d *Draft) error {
	i := slices.IndexFunc(d.State.HeldOut, func(r HeldRef) bool { return r.ID == c.ID })
	if i < 0 {
		return ErrStale
	}
	if d.State.HeldOut[i].By != d.env.Actor.ID && d.env.Actor.Kind != Supervisor {
		return ErrNotOwner
	}
	d.unset(TimerSend + c.ID)
	d.emit(&StatusChanged{ID: c.ID, Status: StatusUndone})
	return nil
}

// AddNote adds a note. Any of the tenant's people may, also on a closed conversation.
type AddNote struct {
	ID   string
	Text NoteText
}

func (c AddNote) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	switch {
	case !d.env.Actor.Person():
		return ErrNotOwner
	case c.Text == "":
		return fmt.Errorf("%w: an empty note", ErrInvalid)
	}
	d.emit(&Note{ID: c.ID, Note: c.Text})
	return nil
}

// SetStatus records a step of a delivery. The caller has looked that it is a step forward.
type SetStatus struct {
	ID     string
	Status message.Status
	Code   string
}

func (c SetStatus) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	if c.ID == "" || !message.Status("").Before(c.Status) {
		return fmt.Errorf("%w: status %q", ErrInvalid, c.Status)
	}
	d.emit(&StatusChanged{ID: c.ID, Status: c.Status, Code: c.Code})
	return nil
}

// Resend begins the delivery of a message anew that could not be delivered, because a person said so. A bot's message is
// not sent while people have the conversation.
type Resend struct {
	ID string
	By message.By // who said it
}

func (c Resend) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	if c.By == message.ByBot && d.State.Open() {
		return ErrNotOwner
	}
	d.emit(&StatusChanged{ID: c.ID, Status: message.Queued, Code: CodeResent})
	return nil
}

// Discard gives up a message that could not be delivered, because a person said so.
type Discard struct{ ID string }

func (c Discard) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	d.emit(&StatusChanged{ID: c.ID, Status: StatusDiscarded})
	return nil
}

// CancelSend ends the send of a message of the bot that people overtook and whose attempt came to nothing.
type CancelSend struct{ ID string }

func (c CancelSend) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	d.emit(&StatusChanged{ID: c.ID, Status: StatusCancelled, Code: CodeOwnerChanged})
	return nil
}

// Advance folds what an event says of the delivery of message id into the status so far, and reports whether it said
// anything. A resend begins anew; else statuses only move forward.
func Advance(was message.Status, id string, e *Event) (message.Status, bool) {
	d, ok := e.Data.(*StatusChanged)
	if !ok || d.ID != id {
		return was, false
	}
	if d.Code == CodeResent && d.Status == message.Queued || was.Before(d.Status) {
		return d.Status, true
	}
	return was, false
}

// SetProfile records what an authenticated source said of the customer, also on a closed conversation: it may reopen, and
// the one that follows takes the profile over.
type SetProfile struct{ Profile message.Profile }

func (c SetProfile) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	d.emit(&Profiled{Profile: &c.Profile})
	return nil
}

// SetAccount records what the tenant's own system said of the customer's profile, also on a closed conversation. ErrStale
// when the profile is another one by now, ErrNothing when what is there is not older. Turn, Rules and Inputs are for an
// account that came in time for a turn, see Profiled; it may then be the one that is there.
type SetAccount struct {
	Account message.Account
	Turn    string
	Rules   int
	Inputs  json.RawMessage
}

func (c SetAccount) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	if p := d.State.Profile; p == nil || p.Subject != c.Account.Subject {
		return ErrStale
	}
	if was := d.State.Account; was != nil && !c.Account.At.After(was.At) && (c.Turn == "" || was.At.After(c.Account.At)) {
		return ErrNothing
	}
	d.emit(&Profiled{Account: &c.Account, Turn: c.Turn, Rules: c.Rules, Inputs: c.Inputs})
	return nil
}

// LinkContact ties the conversation to a contact.
type LinkContact struct{ Contact string }

func (c LinkContact) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	if c.Contact == d.State.Contact {
		return ErrNothing
	}
	d.emit(&Linked{Contact: c.Contact})
	return nil
}

// holds is the guard of what only the agent who holds the conversation may do.
func (d *Draft) holds() error {
	if err := d.live(); err != nil {
		return err
	}
	if o := d.State.Owner; o.Kind != message.OwnerAgent || o.Agent != d.env.Actor.ID || !d.env.Actor.Person() {
		return ErrNotOwner
	}
	return nil
}

func (d *Draft) unset(timer string) {
	if _, ok := d.State.Timers[timer]; ok {
		d.emit(&Timer{Name: timer})
	}
}

func has(refs []HeldRef, id string) bool {
	return slices.ContainsFunc(refs, func(r HeldRef) bool { return r.ID == id })
}
