package conversation

import (
	"fmt"
	"strings"

	"turnout/adapters/message"
)

// Reasons of a change of owner.
const (
	ReasonHandoff    = "handoff"
	ReasonClaim      = "claim"
	ReasonTransfer   = "transfer"
	ReasonEscalate   = "escalate"
	ReasonRelease    = "release"
	ReasonAutoReturn = "auto_return" // the bot is back and no agent had touched it
	ReasonResolve    = "resolve"
	ReasonCapture    = "capture"
	ReasonOpening    = "opening"
	ReasonReopen     = "reopen"
	ReasonIdle       = "idle"
	ReasonCustomer   = "customer"
	ReasonBotEnd     = "bot_end"
	ReasonErased     = "erased" // what was said is destroyed, and with it what was still to be said
)

// MaxReturns is how often people may give a conversation back to the bot.
const MaxReturns = 2

// acting is the guard of what the owner of an open conversation may do. Override, in all of these commands, goes over
// another's ownership; it is a supervisor's, in the log too.
func (d *Draft) acting(override bool) error {
	if err := d.live(); err != nil {
		return err
	}
	if override && d.env.Actor.Kind != Supervisor {
		return ErrNotOwner
	}
	return nil
}

// Divert hands the conversation to a queue. From the bot it changes the owner; while people have it, it only raises what
// the queue orders by. A conversation captured while the queue was closed stays so.
type Divert struct {
	Handoff  Handoff
	Position int // the place it will have, 0 for unknown
}

func (c Divert) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	if c.Handoff.Queue == "" || c.Handoff.Priority == 0 {
		return fmt.Errorf("%w: a handoff needs a queue and a priority", ErrInvalid)
	}
	if t := d.State.Turn; t != nil && c.Handoff.Turn == "" {
		c.Handoff.Turn = t.ID
	}
	if ids := d.inFlight(); ids != nil && d.State.Owner.Kind == message.OwnerBot {
		c.Handoff.InFlight = ids
	}
	d.emit(&c.Handoff)
	if d.State.Owner.Kind == message.OwnerBot {
		d.move(Owner{Kind: message.OwnerQueued, Queue: c.Handoff.Queue}, ReasonHandoff, c.Position)
	}
	return nil
}

// Claim makes the acting agent the owner of a conversation that waits, or that the bot has. Claiming what one holds is
// ErrNothing. With Override it is also taken from another agent.
type Claim struct {
	Name     string
	Override bool
}

func (c Claim) decide(d *Draft) error {
	if err := d.acting(c.Override); err != nil {
		return err
	}
	if !d.env.Actor.Person() {
		return ErrNotOwner
	}
	o := d.State.Owner
	if o.Kind == message.OwnerAgent {
		if o.Agent == d.env.Actor.ID {
			return ErrNothing
		}
		if !c.Override {
			return &ClaimedError{Winner: o}
		}
	}
	d.move(Owner{Kind: message.OwnerAgent, Queue: o.Queue, Agent: d.env.Actor.ID, Name: c.Name}, ReasonClaim, 0)
	return nil
}

// Transfer passes a conversation that the actor holds to another agent, or back to a queue when Agent is empty.
type Transfer struct {
	Queue    string
	Agent    string
	Name     string
	Override bool
	Position int
}

func (c Transfer) decide(d *Draft) error {
	to := Owner{Queue: c.Queue, Agent: c.Agent, Name: c.Name}
	return d.pass(OwnerMoved{To: to, Reason: ReasonTransfer, Position: c.Position}, c.Override)
}

// Escalate passes a conversation on to a queue above, with at least the given priority.
type Escalate struct {
	Queue    string
	Priority int
	Override bool
	Position int
}

func (c Escalate) decide(d *Draft) error {
	return d.pass(OwnerMoved{To: Owner{Queue: c.Queue}, Reason: ReasonEscalate, Position: c.Position, Priority: c.Priority}, c.Override)
}

func (d *Draft) pass(m OwnerMoved, override bool) error {
	if err := d.acting(override); err != nil {
		return err
	}
	o, to := d.State.Owner, &m.To
	switch {
	case to.Agent == "" && to.Queue == "":
		return fmt.Errorf("%w: no queue and no agent to pass to", ErrInvalid)
	case o.Kind == message.OwnerBot:
		return ErrNotOwner
	case !override && d.holds() != nil:
		return ErrNotOwner
	case to.Agent != "" && to.Agent == o.Agent:
		return ErrNothing
	}
	if to.Queue == "" {
		to.Queue = o.Queue
	}
	to.Kind = message.OwnerQueued
	if to.Agent != "" {
		to.Kind = message.OwnerAgent
	}
	d.moveAs(m)
	return nil
}

// Release gives the conversation back to the bot. People may do so MaxReturns times, with Override more often. Auto is the
// system's return of a conversation that came only because the bot was down and that no agent has touched.
type Release struct {
	Override bool
	Auto     bool
}

func (c Release) decide(d *Draft) error {
	if err := d.acting(c.Override); err != nil {
		return err
	}
	s := &d.State
	if c.Auto {
		h := s.Handoff
		if s.Owner.Kind != message.OwnerQueued && s.Owner.Kind != message.OwnerCaptured ||
			h == nil || h.Rule != ByBotDown || h.Touched || s.MustReachHuman {
			return ErrNothing
		}
		d.move(Owner{Kind: message.OwnerBot}, ReasonAutoReturn, 0)
		return nil
	}
	if s.Owner.Kind == message.OwnerBot {
		return ErrNothing
	}
	if !c.Override {
		if err := d.holds(); err != nil {
			return err
		}
		if s.Returns >= MaxReturns {
			return ErrReturnLimit
		}
	} else if s.MustReachHuman && s.Owner.Kind != message.OwnerAgent && (s.Handoff == nil || !s.Handoff.Touched) {
		return ErrMustReachHuman
	}
	d.move(Owner{Kind: message.OwnerBot}, ReasonRelease, 0)
	return nil
}

// Resolve closes the conversation by a person's word.
type Resolve struct{ Override bool }

func (c Resolve) decide(d *Draft) error {
	if err := d.acting(c.Override); err != nil {
		return err
	}
	if !d.env.Actor.Person() {
		return ErrNotOwner
	}
	if !c.Override {
		if err := d.holds(); err != nil {
			return err
		}
	}
	d.close(ReasonResolve, "resolved")
	return nil
}

// Close ends a conversation without a person: it was idle, the customer or the bot ended it. It never closes one that
// must reach a person, nor one that waits for one or has one.
type Close struct{ Reason string }

func (c Close) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	if d.State.MustReachHuman {
		return ErrMustReachHuman
	}
	if d.State.Owner.Kind != message.OwnerBot {
		return ErrNotOwner
	}
	d.close(c.Reason, c.Reason)
	return nil
}

func (d *Draft) close(moved, reason string) {
	for _, r := range d.State.HeldOut {
		d.unset(TimerSend + r.ID)
		d.emit(&StatusChanged{ID: r.ID, Status: StatusUndone, Code: "closed"})
	}
	d.unset(TimerIdle)
	d.move(Owner{Kind: message.OwnerClosed}, moved, 0)
	d.emit(&Ended{Reason: reason})
}

// Capture puts a waiting conversation aside until its queue opens; Uncapture brings it back.
type Capture struct{ Queue string }

func (c Capture) decide(d *Draft) error {
	if err := d.live(); err != nil {
		return err
	}
	switch d.State.Owner.Kind {
	case message.OwnerQueued, message.OwnerBot:
	default:
		return ErrNothing
	}
	if c.Queue == "" {
		return fmt.Errorf("%w: capture needs a queue", ErrInvalid)
	}
	d.move(Owner{Kind: message.OwnerCaptured, Queue: c.Queue}, ReasonCapture, 0)
	return nil
}

// Uncapture moves a captured conversation into its queue.
type Uncapture struct{ Position int }

func (c Uncapture) decide(d *Draft) error {
	if d.State.Owner.Kind != message.OwnerCaptured {
		return ErrNothing
	}
	d.move(Owner{Kind: message.OwnerQueued, Queue: d.State.Owner.Queue}, ReasonOpening, c.Position)
	return nil
}

// Reopen brings a closed conversation back: to Queue when a person resolved it, else to the bot.
type Reopen struct{ Queue string }

func (c Reopen) decide(d *Draft) error {
	s := &d.State
	if s.Owner.Kind != message.OwnerClosed {
		return ErrNothing
	}
	d.emit(&Resumed{})
	if s.Resolver != "" && c.Queue != "" {
		d.move(Owner{Kind: message.OwnerQueued, Queue: c.Queue}, ReasonReopen, 0)
		return nil
	}
	d.move(Owner{Kind: message.OwnerBot}, ReasonReopen, 0)
	return nil
}

// MakeOffer puts a waiting conversation to one agent until Until.
type MakeOffer struct {
	Agent string
	Until int64
}

func (c MakeOffer) decide(d *Draft) error {
	if d.State.Owner.Kind != message.OwnerQueued || d.State.Offer != nil {
		return ErrStale
	}
	d.emit(&Offered{Agent: c.Agent, Until: c.Until})
	return nil
}

// EndOffer ends the offer to Agent, who declined it or let it lapse.
type EndOffer struct {
	Agent    string
	Declined bool
}

func (c EndOffer) decide(d *Draft) error {
	o := d.State.Offer
	if o == nil || o.Agent != c.Agent {
		return ErrStale
	}
	if c.Declined {
		d.emit(&offerDeclined{Offered{Agent: c.Agent}})
	} else {
		d.emit(&offerLapsed{Offered{Agent: c.Agent}})
	}
	return nil
}

// Names of timers. A held send's is TimerSend and the message's id.
const (
	TimerIdle   = "idle"
	TimerSnooze = "snooze"
	TimerSend   = "send:"
)

// Snooze puts a conversation that the actor holds aside until Until (0: wakes it). The owner stays.
type Snooze struct{ Until int64 }

func (c Snooze) decide(d *Draft) error {
	if err := d.holds(); err != nil {
		return err
	}
	if c.Until == 0 && d.State.Snoozed == 0 {
		return ErrNothing
	}
	d.emit(&Timer{Name: TimerSnooze, At: c.Until})
	return nil
}

// SetTimer sets or moves a timer; At 0 takes it away.
type SetTimer struct{ Timer Timer }

func (c SetTimer) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	if d.State.Timers[c.Timer.Name] == c.Timer.At {
		return ErrNothing
	}
	d.emit(&c.Timer)
	return nil
}

// FireTimer consumes a timer. It fires only if it is set to exactly this instant, so it fires once.
type FireTimer struct{ Timer Timer }

func (c FireTimer) decide(d *Draft) error {
	if at, ok := d.State.Timers[c.Timer.Name]; !ok || at != c.Timer.At {
		return ErrStale
	}
	d.emit(&timerFired{c.Timer})
	return nil
}

// HeldSend returns the id of the held message that a timer's name stands for.
func HeldSend(timer string) (id string, ok bool) { return strings.CutPrefix(timer, TimerSend) }

// Wipe ends the conversation, if it has not ended, and records that its content was erased: a store destroys the content
// with the commit. One that must reach a person is not erased before a person has seen to it.
type Wipe struct {
	// Again erases what was erased before and has come back with a backup: what stood in the way was settled then.
	Again bool
}

func (c Wipe) decide(d *Draft) error {
	if err := d.exists(); err != nil {
		return err
	}
	if d.State.MustReachHuman && !c.Again {
		return ErrMustReachHuman
	}
	if d.State.Owner.Kind != message.OwnerClosed {
		d.close(ReasonErased, ReasonErased)
	}
	if o := d.State.Orphan; o != nil { // nobody is there any more to hear what the bot will say
		if err := d.Do(DiscardTurn{Turn: o.ID, Reason: ReasonErased}); err != nil {
			return err
		}
	}
	d.emit(&Wiped{})
	return nil
}
