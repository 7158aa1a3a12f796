package pipeline

import (
	"slices"
	"strings"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
)

// A bot that remembers nothing itself (adapters.Rememberer) is told what was said before its turn, by whomever: what people
// promised while they had the conversation is before the bot when it gets it back. It is what the customer wrote and saw, in the order of the
// log, up to the event that began the turn, so that a turn brings the same however often it is put. Notes cannot be part of
// it: what is collected is messages only.

const (
	// leastPage is the least that is read of a log at a time.
	leastPage = 32
	// eventsPerMessage is how many events a message has around it, about: what was begun, decided and delivered.
	eventsPerMessage = 4
	// mostPages bounds how far back a log is searched that is full of other things.
	mostPages = 16
)

// history reads what was said before the turn of f, as far as its bot wants it. cut says that there was more.
func (p *Pipeline) history(f *flight) (said []adapters.Said, cut bool, err error) {
	h := history{turn: &f.turn, memory: f.bot.memory}
	if h.memory.Messages <= 0 || h.memory.Bytes <= 0 {
		return nil, false, nil
	}
	// What came between the turn's last message and its beginning: the answer to the turn before, if that was under way.
	late, err := p.upToTurn(f)
	if err != nil {
		return nil, false, err
	}
	h.add(late)
	page := min(max(leastPage, eventsPerMessage*h.memory.Messages), logPage)
	hi := f.turn.To
	for range mostPages {
		if h.full || hi == 0 {
			break
		}
		lo := hi - min(hi, uint64(page))
		events, err := p.Store.Log(p.root, f.ref, lo, int(hi-lo))
		if err != nil {
			return nil, false, err
		}
		h.add(events)
		hi = lo
	}
	slices.Reverse(h.said)
	return h.said, h.full || hi > 0, nil
}

// upToTurn returns the events behind the turn's last message and before its beginning, from what is at hand or from the log.
func (p *Pipeline) upToTurn(f *flight) ([]conversation.Event, error) {
	var late []conversation.Event
	// until adds events and reports whether the beginning was among them.
	until := func(events []conversation.Event) bool {
		for i := range events {
			if b, ok := events[i].Data.(*conversation.TurnBegun); ok && b.ID == f.turn.ID {
				return true
			}
			if events[i].Seq > f.turn.To {
				late = append(late, events[i])
			}
		}
		return false
	}
	if k := f.known; len(k) > 0 && k[0].Seq <= f.turn.To+1 && until(k) {
		return late, nil
	}
	late = nil
	for after := f.turn.To; ; {
		events, err := p.Store.Log(p.root, f.ref, after, leastPage)
		if err != nil || len(events) == 0 || until(events) {
			return late, err
		}
		after = events[len(events)-1].Seq
	}
}

// history collects messages, the newest first.
type history struct {
	turn   *conversation.Turn
	memory adapters.Memory
	said   []adapters.Said
	bytes  int
	full   bool // there was one more than it may have
	// gone holds of each message that was sent whether its last status says that the customer has not got it.
	gone map[string]bool
}

// add takes a stretch of the log, which is in order; the next one is the stretch before it.
func (h *history) add(events []conversation.Event) {
	for i := len(events) - 1; i >= 0 && !h.full; i-- {
		e := &events[i]
		switch d := e.Data.(type) {
		case *conversation.StatusChanged:
			h.status(d)
		case *conversation.Received:
			if e.Seq < h.turn.From && d.In.Kind.StartsTurn() { // what is behind To is for another turn
				h.take(adapters.Said{By: message.ByCustomer, Text: inboundText(&d.In), Attachments: d.In.Attachments})
			}
		case *conversation.Sent:
			if !h.gone[d.ID] {
				h.take(adapters.Said{By: d.By, Text: partText(&d.Part), Attachments: d.Part.Attachments})
			}
		}
	}
}

func (h *history) status(d *conversation.StatusChanged) {
	if _, later := h.gone[d.ID]; later {
		return
	}
	if h.gone == nil {
		h.gone = map[string]bool{}
	}
	switch d.Status {
	case message.Failed, conversation.StatusCancelled, conversation.StatusDiscarded:
		h.gone[d.ID] = true
	default:
		h.gone[d.ID] = false
	}
}

func (h *history) take(s adapters.Said) {
	if s.Text == "" && len(s.Attachments) == 0 {
		return
	}
	if len(h.said) == h.memory.Messages || h.bytes+len(s.Text) > h.memory.Bytes {
		h.full = true
		return
	}
	h.bytes += len(s.Text)
	h.said = append(h.said, s)
}

// inboundText is what a message says.
func inboundText(in *message.Inbound) string {
	if in.Text == "" && in.Choice != nil {
		return in.Choice.Label
	}
	return in.Text
}

// partText is what a part says: its text, what there was to press, and its link.
func partText(part *message.Part) string {
	lines := []string{part.Text}
	for _, c := range part.Choices {
		lines = append(lines, "["+c.Label+"]")
	}
	lines = append(lines, part.Link)
	return strings.Join(slices.DeleteFunc(lines, func(s string) bool { return s == "" }), "\n")
}
