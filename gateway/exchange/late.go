package exchange

import (
	"slices"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/rules"
)

// LateMessage is a message of a turn that is judged once more because the account has come after it.
type LateMessage struct {
	Seq uint64
	*conversation.Received
	// Acted are the rules that have matched or failed on it by now: they do not act a second time.
	Acted []string
}

// LateMessages returns the messages of a turn in order. events is the log from the turn's first message on.
func LateMessages(events []conversation.Event, t *conversation.Turn) (list []LateMessage) {
	for i := range events {
		e := &events[i]
		switch d := e.Data.(type) {
		case *conversation.Received:
			if e.Seq >= t.From && e.Seq <= t.To && d.In.Kind.StartsTurn() {
				list = append(list, LateMessage{Seq: e.Seq, Received: d})
			}
		case *conversation.Decision:
			if d.Phase != conversation.Inbound || d.Seq == 0 {
				continue
			}
			if at := slices.IndexFunc(list, func(m LateMessage) bool { return m.Seq == d.Seq }); at >= 0 {
				list[at].Acted = slices.Concat(list[at].Acted, d.Matched, d.Shadow, d.Failed)
			}
		}
	}
	return list
}

// Show puts the message into what rules see of the conversation.
func (m *LateMessage) Show(x *rules.Exchange) {
	x.Phase, x.Message, x.Scores, x.Lang = rules.Inbound, m.In, m.Scores, m.Memory.Language
	Identified(x, m.In.Profile)
}

// Identified puts the profile that came with a message into what rules see of the conversation, nil for none. An account
// that is another's is not seen with it.
func Identified(x *rules.Exchange, p *message.Profile) {
	if p == nil {
		return
	}
	if x.Profile = p; x.Account != nil && x.Account.Subject != p.Subject {
		x.Account = nil
	}
}

// late rebuilds how the messages of a turn were judged when the account of event i had come. All are judged on the
// conversation as it was with the account and before any of what followed; the first that was handed over is the last.
func (r *reader) late(i int, d *conversation.Profiled) error {
	t := r.state.Turn
	if t == nil {
		return nil
	}
	e, s := &r.events[i], r.state
	if err := s.Fold(*e); err != nil {
		return err
	}
	for _, m := range LateMessages(r.events[:i], t) {
		rec := r.record(e, &s, d.Rules)
		rec.Turn, rec.Memory, rec.Model, rec.Late, rec.Acted = d.Turn, m.Memory, m.Model, true, m.Acted
		m.Show(&rec.Exchange)
		inputs := d.Inputs
		for k := i + 1; k < len(r.events) && r.events[k].Op == e.Op; k++ {
			dec, ok := r.events[k].Data.(*conversation.Decision)
			if ok && dec.Phase == conversation.Inbound && dec.Turn == d.Turn && dec.Seq == m.Seq {
				rec.Decision, rec.Seq, inputs = dec, r.events[k].Seq, dec.Inputs
			}
		}
		if err := r.add(rec, inputs); err != nil {
			return err
		}
		if rec.Decision != nil && rec.Decision.Kind == conversation.DecisionHandoff {
			return nil
		}
	}
	return nil
}
