package conversation

import (
	"errors"
	"fmt"

	"turnout/adapters/message"
)

// Errors of commands. They say what the state does not allow; the state is as it was.
var (
	// ErrStale: the turn, the held message or the timer is not, or no longer, the one of the state.
	ErrStale = errors.New("stale: the conversation has moved on")
	// ErrClosed: the conversation is closed; reopen it or open a new one.
	ErrClosed = errors.New("the conversation is closed")
	// ErrNotOwner: the actor does not hold the conversation.
	ErrNotOwner = errors.New("not the owner of the conversation")
	// ErrReturnLimit: it went back to the bot twice already.
	ErrReturnLimit = errors.New("the conversation was returned to the bot twice already")
	// ErrMustReachHuman: a rule demanded a person, and only a person's resolve may end it.
	ErrMustReachHuman = errors.New("the conversation must reach a person")
	// ErrNothing: there is nothing to do.
	ErrNothing = errors.New("nothing to do")
	// ErrInvalid: the command itself makes no sense (no queue, no parts).
	ErrInvalid = errors.New("invalid command")
)

// ClaimedError says that another agent won.
type ClaimedError struct{ Winner Owner }

func (e *ClaimedError) Error() string { return "already claimed by " + e.Winner.Agent }

// Env is what commands may know of the world.
type Env struct {
	Now   int64 // milliseconds since 1970, by the store's clock
	Op    string
	Actor Actor
	// Outgoing are the bot's messages that wait in the outbox, in order; nil on channels that have none.
	Outgoing []Outgoing
}

// Outgoing is a message of the bot that has not left, or of which that is not known.
type Outgoing struct {
	Message string
	// InFlight is set when its send has begun: it cannot be called back. Unsure is set when an earlier attempt has no
	// result: it may have arrived.
	InFlight bool
	Unsure   bool
}

// Command is something to do to a conversation. It looks first and emits last: on an error nothing was emitted. Only
// emit changes the state, so that nothing has to be taken back.
type Command interface {
	decide(d *Draft) error
}

// Draft is one commit in the making. It is for one goroutine.
type Draft struct {
	State  State // after Events
	Events []Event
	env    Env
}

// Begin starts a draft upon s, which is not changed. The zero State is a conversation that does not exist yet.
func Begin(s *State, env Env) *Draft { return &Draft{State: *s, env: env} }

// Do carries c out on the draft. On an error the draft is as it was before.
func (d *Draft) Do(c Command) error {
	return c.decide(d) // so small that it is inlined: then a command need not be on the heap
}

// DoAs is Do by another actor than the draft's own.
func (d *Draft) DoAs(a Actor, c Command) error {
	own := d.env.Actor
	d.env.Actor = a
	err := d.Do(c)
	d.env.Actor = own
	return err
}

// Result returns the state after Events, apart from the draft, so that whoever keeps it keeps nothing else.
func (d *Draft) Result() *State {
	s := d.State
	return &s
}

// Now is the time of the draft.
func (d *Draft) Now() int64 { return d.env.Now }

func (d *Draft) emit(data Data) {
	e := Event{
		V: Version, Seq: d.State.Seq + 1, At: d.env.Now, Type: data.eventType(),
		Epoch: d.State.Epoch, Op: d.env.Op, Actor: d.env.Actor, Data: data,
	}
	switch data.(type) {
	case *OwnerMoved, *Begun:
		e.Epoch = Epoch{N: d.State.Epoch.N + 1, Op: d.env.Op}
	}
	if visible(data) {
		e.VSeq = d.State.VSeq + 1
	}
	if err := d.State.Fold(e); err != nil {
		panic(fmt.Sprintf("emitting %s: %v", e.Type, err)) // emit numbers events itself: only a slip here gets there
	}
	if d.Events == nil {
		d.Events = make([]Event, 0, usualEvents)
	}
	d.Events = append(d.Events, e)
}

// usualEvents is how many events nearly every commit stays within: two to four for a turn, and for a beginning.
const usualEvents = 4

// exists is the guard of every command that a closed conversation takes too.
func (d *Draft) exists() error {
	if d.State.Owner.Kind == "" {
		return fmt.Errorf("%w: the conversation does not exist", ErrInvalid)
	}
	return nil
}

// live is the guard of every command that needs an open conversation.
func (d *Draft) live() error {
	if err := d.exists(); err != nil {
		return err
	}
	if d.State.Owner.Kind == message.OwnerClosed {
		return ErrClosed
	}
	return nil
}

// move changes the owner.
func (d *Draft) move(to Owner, reason string, position int) {
	d.moveAs(OwnerMoved{To: to, Reason: reason, Position: position})
}

// moveAs is move with everything else that m says. A snooze ends with the term of the agent who set it: nobody else
// could wake the conversation.
//
// When people take over, what the bot had still to send is cancelled, in the same commit and in the log; what is under way
// cannot be and is named. Of what may have arrived by an earlier attempt the log says just that.
func (d *Draft) moveAs(m OwnerMoved) {
	d.unset(TimerSnooze)
	m.From = d.State.Owner
	if !m.ToPeople() || len(d.env.Outgoing) == 0 {
		d.emit(&m)
		return
	}
	m.InFlight = d.inFlight()
	d.emit(&m)
	var left []Outgoing
	for _, o := range d.env.Outgoing {
		if o.InFlight {
			left = append(left, o)
			continue
		}
		status := StatusCancelled
		if o.Unsure {
			status = message.Uncertain
		}
		d.emit(&StatusChanged{ID: o.Message, Status: status, Code: CodeOwnerChanged})
	}
	d.env.Outgoing = left
}

// CodeOwnerChanged is the code of a status that a change of owner brought about.
const CodeOwnerChanged = "owner_changed"

func (d *Draft) inFlight() (ids []string) {
	for _, o := range d.env.Outgoing {
		if o.InFlight {
			ids = append(ids, o.Message)
		}
	}
	return ids
}
