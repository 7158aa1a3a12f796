package web

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
)

// pageSize is how many events are read from the Timeline at a time: the memory that a slow client can hold.
const pageSize = 64

var errGap = errors.New("the timeline has a gap")

// follower reads what a visitor may see, strictly in order: it drops what the client has and stops at a gap rather than
// pass over it. It belongs to one goroutine.
type follower struct {
	timeline adapters.Timeline
	from     message.Address
	cursor   adapters.Cursor
	// conversation and vseq are the last event that the client has; "" before the first.
	conversation string
	vseq         uint64
	owner        message.Owner
	end          adapters.Cursor // of the conversation when it was last read
	place        int             // the place in the queue that the client was last told apart from events
}

// newFollower begins after a cursor, or at the start of the open conversation if it is empty. What is not a cursor is
// treated like somebody else's: adapters.ErrNotFound.
func newFollower(t adapters.Timeline, from message.Address, after string) (*follower, error) {
	f := &follower{timeline: t, from: from, cursor: adapters.Cursor(after)}
	if after == "" {
		return f, nil
	}
	var ok bool
	if f.conversation, f.vseq, ok = parseCursor(after); !ok {
		return nil, adapters.ErrNotFound
	}
	return f, nil
}

// next returns the next events, perhaps none, and whether there are more right now.
func (f *follower) next(ctx context.Context) (events []message.Visible, more bool, err error) {
	page, err := f.timeline.Read(ctx, f.from, f.cursor, pageSize)
	if err != nil {
		return nil, false, err
	}
	for _, e := range page.Events {
		switch {
		case e.Conversation == f.conversation && e.VSeq <= f.vseq:
			continue
		case e.Conversation == f.conversation && e.VSeq != f.vseq+1, e.Conversation != f.conversation && e.VSeq != 1:
			return events, false, errGap
		}
		f.conversation, f.vseq = e.Conversation, e.VSeq
		events = append(events, e)
	}
	if page.Next != "" {
		f.cursor = page.Next
	}
	if page.Conversation != "" {
		f.owner, f.end = page.Owner, page.End
	}
	return events, page.More, nil
}

// moved looks whether the place in the queue is another than the client knows. People leave the queue without anything
// happening in the conversations of those behind them, so nobody tells: one has to look.
func (f *follower) moved(ctx context.Context) (signalFrame, bool) {
	page, err := f.timeline.Read(ctx, f.from, f.cursor, 1)
	if err != nil || page.Owner.Kind != message.OwnerQueued || page.Owner.Position == 0 || page.Owner.Position == f.place {
		return signalFrame{}, false // an error is for the next read of events to meet
	}
	f.place = page.Owner.Position
	return f.frame(adapters.Signal{Position: f.place})
}

// look is moved for a stream that looks every so often, and only while somebody waits: at says when next; zero: not while
// nothing happens.
func (f *follower) look(ctx context.Context, at *time.Time, now time.Time, every time.Duration) (frame signalFrame, moved bool) {
	switch {
	case f.owner.Kind != message.OwnerQueued:
		f.place, *at = 0, time.Time{}
		return signalFrame{}, false
	case at.IsZero(): // only just queued: the event said so
	case now.Before(*at):
		return signalFrame{}, false
	default:
		frame, moved = f.moved(ctx)
	}
	*at = now.Add(every)
	return frame, moved
}

// eventCursor is the client's place after e.
func eventCursor(e message.Visible) adapters.Cursor { return cursorAt(e.Conversation, e.VSeq) }

// signalFrame is a signal as clients see it, on sockets with its type inside and on event streams as the event's name.
type signalFrame struct {
	Type     string          `json:"type"`
	On       *bool           `json:"on,omitempty"`       // typing
	By       message.By      `json:"by,omitempty"`       // typing
	Name     string          `json:"name,omitempty"`     // typing
	Position int             `json:"position,omitempty"` // position
	Cursor   adapters.Cursor `json:"cursor,omitempty"`   // read
}

// frame translates a signal. What the other side has read is given as a cursor, so it needs a conversation.
func (f *follower) frame(s adapters.Signal) (signalFrame, bool) {
	switch {
	case s.Read > 0 && f.conversation == "":
		return signalFrame{}, false
	case s.Read > 0:
		return signalFrame{Type: "read", Cursor: cursorAt(f.conversation, s.Read)}, true
	case s.Position > 0:
		return signalFrame{Type: "position", Position: s.Position}, true
	}
	return signalFrame{Type: "typing", On: &s.Typing, By: s.By, Name: s.Name}, true
}

// frameHint is room for a frame with a message of usual length.
const frameHint = 512

// encode marshals a frame of this package; none of them can fail.
func encode(v any) []byte {
	if a, ok := v.(appender); ok {
		if b, ok := a.appendJSON(make([]byte, 0, frameHint)); ok {
			return b
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(`{"type":"error","code":"internal"}`)
	}
	return b
}
