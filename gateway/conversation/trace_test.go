package conversation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

// trace reads a committed log event by event and looks for what must never be in one, whatever the commands were. It
// keeps its own account of owner, turns, messages and timers and calls nothing of the code under test but accessors.
type trace struct {
	seq, vseq uint64
	owner     conv.Owner
	epoch     conv.Epoch
	epochs    map[conv.Epoch]bool
	closed    bool
	must      bool
	returns   int

	waiting  []uint64 // seqs of messages that the bot must see next, in order
	taken    uint64   // the last message that a turn took
	human    uint64   // the event that last gave it back to the bot
	behind   uint64   // everything up to here is behind the bot: answered, given up, or of the time of people
	turn     *conv.TurnBegun
	orphan   string
	turns    map[string]bool // every turn ever begun
	answer   string          // the turn that the commit under way answers
	answerOp string

	shown   map[string]bool   // ids of messages with a place in the visible sequence
	held    map[string]string // ids of held messages to the agent, "" for a customer's
	heldAt  map[string]uint64 // ids of held messages to the event that holds them
	dropped map[string]bool   // ids of held messages that were rejected or undone
	timers  map[string]int64
}

func newTrace() *trace {
	return &trace{epochs: map[conv.Epoch]bool{}, turns: map[string]bool{}, shown: map[string]bool{}, held: map[string]string{},
		heldAt: map[string]uint64{}, dropped: map[string]bool{}, timers: map[string]int64{}}
}

// seenTypes are the types of event that a customer may see; a status only when the delivery failed.
var seenTypes = map[conv.Type]bool{
	conv.MessageReceived: true, conv.MessageSent: true, conv.OwnerChanged: true, conv.Closed: true, conv.Reopened: true,
}

// next takes the next event of the log; an error says what is wrong with it.
func (r *trace) next(e *conv.Event) error {
	if r.seq++; e.Seq != r.seq {
		return fmt.Errorf("event %d where %d comes next", e.Seq, r.seq)
	}
	seen := seenTypes[e.Type]
	if d, ok := e.Data.(*conv.StatusChanged); ok {
		seen = d.Status == message.Failed
	}
	if seen {
		r.vseq++
	}
	if seen && e.VSeq != r.vseq || !seen && e.VSeq != 0 {
		return fmt.Errorf("%s has visible sequence %d after %d", e.Type, e.VSeq, r.vseq)
	}
	if v, _ := e.Visible("c_1"); strings.Contains(fmt.Sprintf("%+v %+v", v, v.Part), canary) {
		return fmt.Errorf("%s shows a note to the customer", e.Type)
	}
	if err := r.term(e); err != nil {
		return err
	}
	switch d := e.Data.(type) {
	case *conv.Begun, *conv.OwnerMoved, *conv.Ended, *conv.Resumed:
		return r.ownership(e)
	case *conv.TurnBegun:
		return r.begin(d)
	case *conv.TurnDropped:
		if d.ID != r.orphan {
			return fmt.Errorf("turn %s is discarded, but it was not cut off (%q was)", d.ID, r.orphan)
		}
		r.orphan = ""
	case *conv.TurnBroken:
		if r.turn == nil || r.turn.ID != d.ID || r.turn.Attempt != d.Attempt {
			return fmt.Errorf("turn %s fails in attempt %d, under way is %+v", d.ID, d.Attempt, r.turn)
		}
		if d.Final {
			r.turn, r.behind = nil, r.turn.To
		}
	case *conv.Decision:
		r.must = r.must || d.MustReachHuman
		if d.Phase == conv.Answer {
			if r.turn == nil || r.turn.ID != d.Turn {
				return fmt.Errorf("turn %s is answered, under way is %+v", d.Turn, r.turn)
			}
			r.behind = r.turn.To
			r.turn, r.answer, r.answerOp = nil, d.Turn, e.Op
		}
	case *conv.Received, *conv.Held, *conv.Sent, *conv.StatusChanged:
		return r.message(e)
	default:
		return r.timer(e)
	}
	return nil
}

// term checks the epoch of an event: a new one exactly with a change of owner, never used before.
func (r *trace) term(e *conv.Event) error {
	if e.Type != conv.Opened && e.Type != conv.OwnerChanged {
		if e.Epoch != r.epoch {
			return fmt.Errorf("%s has epoch %v, in force is %v", e.Type, e.Epoch, r.epoch)
		}
		return nil
	}
	if e.Epoch.N <= r.epoch.N || e.Epoch.Op != e.Op || r.epochs[e.Epoch] {
		return fmt.Errorf("%s of %s has epoch %v after %v", e.Type, e.Op, e.Epoch, r.epoch)
	}
	r.epoch, r.epochs[e.Epoch] = e.Epoch, true
	return nil
}

func (r *trace) ownership(e *conv.Event) error {
	switch d := e.Data.(type) {
	case *conv.Begun:
		if r.owner.Kind != "" {
			return fmt.Errorf("opened a second time")
		}
		r.owner = conv.Owner{Kind: message.OwnerBot}
	case *conv.Resumed:
		if !r.closed {
			return fmt.Errorf("reopened while open")
		}
		r.closed = false
	case *conv.Ended:
		if r.owner.Kind != message.OwnerClosed || r.closed {
			return fmt.Errorf("closed while %s owns it", r.owner.Kind)
		}
		r.closed = true
	case *conv.OwnerMoved:
		if d.From != r.owner {
			return fmt.Errorf("owner changes from %+v, but it is %+v", d.From, r.owner)
		}
		if d.To.Kind == message.OwnerAgent && d.To.Agent == "" || d.To.Kind != message.OwnerAgent && d.To.Agent != "" ||
			(d.To.Kind == message.OwnerQueued || d.To.Kind == message.OwnerCaptured) && d.To.Queue == "" {
			return fmt.Errorf("no such owner: %+v", d.To)
		}
		if r.closed {
			return fmt.Errorf("owner changes while closed")
		}
		return r.moved(e, d)
	}
	return nil
}

func (r *trace) moved(e *conv.Event, d *conv.OwnerMoved) error {
	byPerson := e.Actor.Kind == conv.Agent || e.Actor.Kind == conv.Supervisor
	if r.owner.Kind == message.OwnerBot && r.turn != nil {
		if r.orphan != "" {
			return fmt.Errorf("turn %s is cut off while %s is not done", r.turn.ID, r.orphan)
		}
		r.orphan, r.turn = r.turn.ID, nil
	}
	r.waiting = nil
	if r.owner.Kind == message.OwnerBot || d.To.Kind == message.OwnerBot {
		r.behind = e.Seq
	}
	switch {
	case d.To.Kind == message.OwnerClosed:
		if r.must && (d.Reason != conv.ReasonResolve || !byPerson) {
			return fmt.Errorf("closed by %s (%s), but it must reach a person", e.Actor.Kind, d.Reason)
		}
		r.must = false
	case d.To.Kind == message.OwnerBot && d.Reason == conv.ReasonRelease:
		if r.returns++; !byPerson || r.returns > conv.MaxReturns && e.Actor.Kind != conv.Supervisor {
			return fmt.Errorf("return %d by %s", r.returns, e.Actor.Kind)
		}
	case d.To.Kind == message.OwnerBot && d.Reason == conv.ReasonAutoReturn && r.must:
		return fmt.Errorf("returned by itself, but it must reach a person")
	}
	if d.To.Kind == message.OwnerBot {
		r.human = e.Seq
	}
	r.owner = d.To
	return nil
}

// begin checks that a turn takes exactly what waits, once, and that nothing runs beside it.
func (r *trace) begin(d *conv.TurnBegun) error {
	switch {
	case r.owner.Kind != message.OwnerBot:
		return fmt.Errorf("turn %s begins while %s owns the conversation", d.ID, r.owner.Kind)
	case r.orphan != "":
		return fmt.Errorf("turn %s begins while %s may still run", d.ID, r.orphan)
	case d.Attempt > 1:
		if t := r.turn; t == nil || t.ID != d.ID || t.From != d.From || t.To != d.To || t.Attempt+1 != d.Attempt {
			return fmt.Errorf("%+v repeats %+v", d, t)
		}
	case r.turn != nil || r.turns[d.ID]:
		return fmt.Errorf("turn %s begins beside or again: %+v", d.ID, r.turn)
	case len(r.waiting) == 0 || d.From != r.waiting[0] || d.To != r.waiting[len(r.waiting)-1]:
		return fmt.Errorf("turn %s takes %d to %d, waiting are %v", d.ID, d.From, d.To, r.waiting)
	case d.From <= r.taken || d.From <= r.human:
		return fmt.Errorf("turn %s takes %d again: turns have %d, people had %d", d.ID, d.From, r.taken, r.human)
	default:
		r.taken, r.waiting = d.To, nil
	}
	r.turn, r.turns[d.ID] = d, true
	return nil
}

func (r *trace) message(e *conv.Event) error {
	switch d := e.Data.(type) {
	case *conv.Held:
		if _, again := r.held[d.ID]; again || r.shown[d.ID] || r.dropped[d.ID] {
			return fmt.Errorf("message %s is held again", d.ID)
		}
		r.held[d.ID], r.heldAt[d.ID] = "", e.Seq
		if d.By == message.ByAgent {
			r.held[d.ID] = e.Actor.ID
		}
	case *conv.StatusChanged:
		if d.Status == conv.StatusRejected || d.Status == conv.StatusUndone {
			if _, waits := r.held[d.ID]; !waits {
				return fmt.Errorf("message %s is %s, but not held", d.ID, d.Status)
			}
			delete(r.held, d.ID)
			r.dropped[d.ID] = true
		}
	case *conv.Received:
		if _, waits := r.held[d.ID]; waits != d.Held {
			return fmt.Errorf("message %s: held before %t, says %t", d.ID, waits, d.Held)
		}
		switch {
		case !d.In.Kind.StartsTurn():
		case r.owner.Kind == message.OwnerBot:
			r.waiting = append(r.waiting, e.Seq)
		default:
			r.behind = e.Seq
		}
		return r.show(d.ID)
	case *conv.Sent:
		switch {
		case d.By == message.ByBot && (r.owner.Kind != message.OwnerBot || d.Turn != r.answer || e.Op != r.answerOp):
			return fmt.Errorf("the bot says %s of turn %s while %s owns the conversation; answered is %s", d.ID, d.Turn, r.owner.Kind, r.answer)
		case d.By == message.ByAgent && r.owner.Kind != message.OwnerAgent:
			return fmt.Errorf("an agent says %s while %s owns the conversation", d.ID, r.owner.Kind)
		}
		if by := r.held[d.ID]; by != "" && by != r.owner.Agent {
			return fmt.Errorf("%s, held for %s, leaves while %s has the conversation", d.ID, by, r.owner.Agent)
		}
		return r.show(d.ID)
	}
	return nil
}

func (r *trace) show(id string) error {
	if r.shown[id] || r.dropped[id] {
		return fmt.Errorf("message %s appears again, or after it was dropped", id)
	}
	r.shown[id] = true
	delete(r.held, id)
	return nil
}

func (r *trace) timer(e *conv.Event) error {
	if !slices.Contains([]conv.Type{conv.TimerSet, conv.TimerFired}, e.Type) {
		return nil
	}
	var d conv.Timer
	b, err := json.Marshal(e.Data)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.Type, err)
	}
	if e.Type == conv.TimerFired {
		if at, ok := r.timers[d.Name]; !ok || at != d.At {
			return fmt.Errorf("timer %+v fires, set is %d, %t", d, at, ok)
		}
	}
	r.timers[d.Name] = d.At
	if e.Type == conv.TimerFired || d.At == 0 {
		delete(r.timers, d.Name)
	}
	return nil
}

// settled checks the end of a commit: s is the state there.
func (r *trace) settled(s *conv.State) error {
	var first, last uint64
	if n := len(r.waiting); n > 0 {
		first, last = r.waiting[0], r.waiting[n-1]
	}
	if s.Consumed != r.behind || s.Pending.First != first || s.Pending.Last != last {
		return fmt.Errorf("consumed to %d, pending %+v; behind the bot is all up to %d, waiting are %v", s.Consumed, s.Pending, r.behind, r.waiting)
	}
	if r.closed != (r.owner.Kind == message.OwnerClosed) {
		return fmt.Errorf("owner %s, closed %t", r.owner.Kind, r.closed)
	}
	for _, ref := range slices.Concat(s.HeldIn, s.HeldOut) {
		if r.heldAt[ref.ID] != ref.Seq {
			return fmt.Errorf("held message %s is said to be event %d, it is %d", ref.ID, ref.Seq, r.heldAt[ref.ID])
		}
	}
	for id, agent := range r.held {
		if _, timed := r.timers[conv.TimerSend+id]; agent == "" == timed {
			return fmt.Errorf("held message %s by %q: timer set %t", id, agent, timed)
		}
	}
	return nil
}
