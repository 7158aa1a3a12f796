package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Outcome implements adapters.Timeline. What became of a message is read off the log: the message's own commit, then the
// end of the turn that holds it or the change of owner that took it away from the bot. So the answer is the same for the
// first caller, for one who joins, and for one who asks again after a restart.
func (e *Edge) Outcome(ctx context.Context, r adapters.Receipt) (adapters.Outcome, error) {
	ref := store.Ref{Tenant: e.ch().Tenant.Handle, ID: r.Conversation}
	f := follow{vseq: r.VSeq, message: r.Message}
	if a, ok := r.Trace.(*accepted); ok { // its own commit is at hand: no need to read it back
		f.seq = a.events[0].Seq - 1
		f.add(a.events, a.state)
		if a.flight != nil && e.p.board(ctx, a.flight) && f.add(a.flight.events, a.flight.state) {
			if out, done := f.outcome(ref.ID); done {
				out.Owner = e.owner(ctx, ref, f.state)
				return out, nil
			}
		}
	}
	w := e.p.hub.watch(conversationKey(ref))
	defer w.close()
	if err := e.catchUp(ctx, ref, &f); err != nil {
		return adapters.Outcome{}, err
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		if out, done := f.outcome(ref.ID); done {
			out.Owner = e.owner(ctx, ref, f.state)
			return out, nil
		}
		select {
		case <-ctx.Done():
			return adapters.Outcome{}, ctx.Err()
		case <-again.C:
			if err := e.catchUp(ctx, ref, &f); err != nil {
				return adapters.Outcome{}, err
			}
			continue
		case _, ok := <-w.wake:
			if !ok {
				return adapters.Outcome{}, adapters.ErrUnavailable
			}
		}
		events, state := w.take()
		if !f.add(events, state) {
			if err := e.catchUp(ctx, ref, &f); err != nil {
				return adapters.Outcome{}, err
			}
		}
	}
}

// lookAgain is how often a waiter reads the log although nobody told it to: hints may be lost.
const lookAgain = 2 * time.Second

// catchUp reads the log from where f stands.
func (e *Edge) catchUp(ctx context.Context, ref store.Ref, f *follow) error {
	if f.vseq == 0 {
		return adapters.ErrNotFound // a message that is held has no outcome yet
	}
	if f.seq == 0 {
		start, err := e.p.Store.Visible(ctx, ref, f.vseq-1, 1)
		if err != nil {
			return unavailable(err)
		}
		if len(start) == 0 {
			return adapters.ErrNotFound
		}
		f.seq = start[0].Seq - 1
	}
	for {
		snap, err := e.p.Store.Load(ctx, ref)
		if errors.Is(err, store.ErrNotFound) {
			return adapters.ErrNotFound
		}
		if err != nil {
			return unavailable(err)
		}
		if f.seq >= snap.State.Seq {
			f.add(nil, snap.State)
			return nil
		}
		events, err := e.p.Store.Log(ctx, ref, f.seq, logPage)
		if err != nil {
			return unavailable(err)
		}
		// What was committed since the snapshot does not belong to its state; the watch tells of it.
		events = slices.DeleteFunc(events, func(e conversation.Event) bool { return e.Seq > snap.State.Seq })
		f.add(events, snap.State)
		if f.seq >= snap.State.Seq || len(events) == 0 {
			return nil
		}
	}
}

// follow collects a stretch of a log from one message on, until it shows what became of the message. There are five ways:
//
//	answered        the decision on the bot's answer ends the turn that holds it; the parts follow in the same commit
//	given up        the turn's call failed for good; what was said about that follows in the same commit
//	taken           people got the conversation before the turn ended; the sentence about that is in that commit
//	said to people  no turn was ever to come, because people have the conversation: its own commit is all
//	no turn         its kind starts none (a reaction, a bare request for a person): its own commit is all
//
// What other messages led to meanwhile is passed over.
type follow struct {
	vseq    uint64
	message string
	seq     uint64 // of the last event seen
	mine    uint64 // seq of the message
	op      string // of the message's commit
	endOp   string // of the commit that ended it
	state   *conversation.State
	turn    *conversation.TurnBegun // the turn that holds the message
	ended   bool                    // the turn has
	taken   bool                    // the bot lost the conversation before
	last    string                  // client id of the last message of the turn
	said    []message.Visible
	end     uint64 // vseq behind which nothing belongs to the outcome
}

// add takes the events that continue the stretch and drops those it has; false means that there is a gap.
func (f *follow) add(events []conversation.Event, state *conversation.State) bool {
	for i := range events {
		e := &events[i]
		switch {
		case e.Seq <= f.seq:
			continue
		case e.Seq != f.seq+1:
			return false
		}
		f.seq = e.Seq
		f.see(e)
	}
	if state != nil && (f.state == nil || state.Seq > f.state.Seq) {
		f.state = state
	}
	return f.state != nil && f.seq >= f.state.Seq
}

func (f *follow) see(e *conversation.Event) {
	if f.ended && e.Op != f.endOp {
		return
	}
	switch d := e.Data.(type) {
	case *conversation.Received:
		if d.ID == f.message {
			f.mine, f.op = e.Seq, e.Op
			if !d.In.Kind.StartsTurn() {
				f.ended, f.endOp = true, e.Op // with its own commit
			}
		}
		if d.In.Kind.StartsTurn() && (f.turn == nil || e.Seq <= f.turn.To) {
			f.last = d.In.ID
		}
	case *conversation.TurnBegun:
		if f.mine != 0 && d.From <= f.mine && f.mine <= d.To {
			f.turn = d
		}
	case *conversation.Decision:
		if f.turn != nil && d.Phase == conversation.Answer && d.Turn == f.turn.ID {
			f.ended, f.endOp = true, e.Op
		}
	case *conversation.TurnBroken:
		if f.turn != nil && d.Final && d.ID == f.turn.ID {
			f.ended, f.endOp = true, e.Op
		}
	case *conversation.OwnerMoved:
		switch {
		case f.ended || f.mine == 0:
		case d.From.Kind == message.OwnerBot:
			f.taken, f.ended, f.endOp = true, true, e.Op
		default: // it was said to people: it never waited for a bot
			f.ended, f.endOp = true, f.op
		}
	case *conversation.Sent:
		answers := f.turn != nil && d.Turn == f.turn.ID
		if f.mine == 0 || !answers && e.Op != f.op && e.Op != f.endOp {
			return // it belongs to another message
		}
		if v, ok := e.Visible(""); ok {
			f.said = append(f.said, v)
		}
	}
	if e.VSeq != 0 && (e.Op == f.op || e.Op == f.endOp) {
		f.end = e.VSeq
	}
}

// outcome says what became of the message, once it is known.
func (f *follow) outcome(conv string) (adapters.Outcome, bool) {
	s := f.state
	if s == nil || f.mine == 0 {
		return adapters.Outcome{}, false
	}
	if !f.ended {
		waits := s.Pending.Count > 0 && f.mine >= s.Pending.First && f.mine <= s.Pending.Last ||
			s.Turn != nil && f.mine >= s.Turn.From && f.mine <= s.Turn.To
		if waits && s.Owner.Kind == message.OwnerBot {
			return adapters.Outcome{}, false
		}
	}
	out := adapters.Outcome{Conversation: conv, Messages: f.said, Cursor: cursor(conv, f.end)}
	for i := range out.Messages {
		out.Messages[i].Conversation = conv
	}
	if f.turn != nil && f.turn.To != f.mine && !f.taken {
		out.MergedInto, out.Messages = f.last, nil
	}
	return out, true
}
