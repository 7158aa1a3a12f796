// Package exchange rebuilds from a conversation's log what the rules saw: each customer's message and each answer that was
// judged, with the inputs that were stored with the decision. What it rebuilds, the same version of the rules judges again
// as it did then.
package exchange

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/rules"
	"turnout/rules/signal"
)

// Inputs are what a decision rested on and the log does not hold otherwise. Counts, profile, account and the time of opening
// are those of the fold before the decision, the clock is the decision's own time.
type Inputs struct {
	Queues map[string]rules.QueueView `json:"queues,omitempty"`
	// Tripped are rules that were left out because they had failed too often.
	Tripped []string `json:"tripped,omitempty"`
	// Zone is how far the clock that rules read was ahead of UTC, in seconds.
	Zone int `json:"zone,omitempty"`
	// Queue is the tenant's default queue where a handoff took it, BotQueue the queue that a bot's own wish named.
	Queue    string `json:"queue,omitempty"`
	BotQueue string `json:"bot_queue,omitempty"`
	// BareOff: the message was a bare word for a person, and the tenant does not want those to be requests.
	BareOff bool `json:"bare_off,omitempty"`
	// AccountOff: what the conversation holds of the customer's account was too old to be seen.
	AccountOff bool `json:"account_off,omitempty"`
}

// Encode returns the stored form, nil for nothing.
func (in Inputs) Encode() json.RawMessage {
	if in.Queues == nil && in.Tripped == nil && in.Zone == 0 && in.Queue == "" && in.BotQueue == "" && !in.BareOff && !in.AccountOff {
		return nil
	}
	b, err := json.Marshal(in)
	if err != nil {
		panic("encoding inputs: " + err.Error()) // plain fields: cannot fail
	}
	return b
}

// Recorded is one side of a turn as the rules judged it.
type Recorded struct {
	// Seq is the event that was judged: the message, or the decision about the answer.
	Seq      uint64
	At       time.Time
	Turn     string // of an answer
	Rules    int    // version
	Exchange rules.Exchange
	Inputs   Inputs
	// Before is the conversation before it. Memory is what signals remembered after it, Model the digest of what computed
	// them; Asked are the signals of the message that an answer answers.
	Before conversation.State
	Memory signal.Memory
	Model  string
	Asked  signal.Scores
	// Decision is what was recorded; nil for a message about which no rule had anything to say.
	Decision *conversation.Decision
	// Late is set when a message was judged once more because the account had come late: by the rules that read it, but for
	// those in Acted. Seq is then the event of the decision, or, without one, of the account.
	Late  bool
	Acted []string
}

// Eval judges again by a set without what was tripped then.
func (r *Recorded) Eval(set *rules.Set) rules.Verdict {
	if r.Late {
		return set.EvalLate(&r.Exchange, r.Acted)
	}
	return set.Eval(&r.Exchange)
}

// Matched returns the rules that were recorded as matching, those that only watched included, and those that failed.
func (r *Recorded) Matched() (matched, failed []string) {
	if r.Decision == nil {
		return nil, nil
	}
	return slices.Concat(r.Decision.Matched, r.Decision.Shadow), r.Decision.Failed
}

// Read rebuilds every judgement of a log. events is the whole log, in order.
func Read(events []conversation.Event) ([]Recorded, error) {
	r := reader{events: events}
	for i := range events {
		if err := r.see(i); err != nil {
			return nil, fmt.Errorf("event %d: %w", events[i].Seq, err)
		}
		if err := r.state.Fold(events[i]); err != nil {
			return nil, err
		}
	}
	return r.out, nil
}

type reader struct {
	events []conversation.Event
	state  conversation.State // before the event that is seen
	out    []Recorded
}

func (r *reader) see(i int) error {
	e := &r.events[i]
	switch d := e.Data.(type) {
	case *conversation.Received:
		if d.Held {
			return nil // a person judged it
		}
		rec := r.record(e, &r.state, d.Rules)
		x := &rec.Exchange
		x.Phase, x.Message, x.Scores, x.Lang = rules.Inbound, d.In, d.Scores, d.Memory.Language
		Identified(x, d.In.Profile)
		rec.Memory, rec.Model = d.Memory, d.Model
		inputs := d.Inputs
		if i+1 < len(r.events) {
			if dec, ok := r.events[i+1].Data.(*conversation.Decision); ok && dec.Phase == conversation.Inbound && dec.Seq == e.Seq {
				rec.Decision, rec.Model, inputs = dec, dec.Model, dec.Inputs
			}
		}
		return r.add(rec, inputs)
	case *conversation.Profiled:
		if d.Account != nil && d.Turn != "" {
			return r.late(i, d)
		}
	case *conversation.Decision:
		if d.Phase != conversation.Answer {
			return nil
		}
		rec := r.record(e, &r.state, d.Rules)
		rec.Decision, rec.Turn, rec.Memory, rec.Model = d, d.Turn, d.Memory, d.Model
		x := &rec.Exchange
		x.Phase, x.Scores, x.Lang = rules.Answer, d.Scores, d.Memory.Language
		if asked := r.asked(i); asked != nil {
			x.Message, rec.Asked = asked.In, asked.Scores
		}
		x.Bot = r.answer(i, d)
		return r.add(rec, d.Inputs)
	}
	return nil
}

// record is the part that is the same for both sides.
func (r *reader) record(e *conversation.Event, s *conversation.State, version int) Recorded {
	at := time.UnixMilli(e.At).UTC()
	return Recorded{Seq: e.Seq, At: at, Rules: version, Before: *s, Exchange: rules.Exchange{
		Profile: s.Profile, Account: s.AccountOf(nil), Turns: s.Turns + 1, Returns: s.Returns, Handoffs: s.Handoffs,
		OpenedAt: time.UnixMilli(s.OpenedAt), Now: at, Tags: s.Tags,
	}}
}

func (r *reader) add(rec Recorded, inputs json.RawMessage) error {
	if len(inputs) > 0 {
		if err := json.Unmarshal(inputs, &rec.Inputs); err != nil {
			return fmt.Errorf("decoding the inputs of a decision: %w", err)
		}
	}
	rec.Exchange.Queues = rec.Inputs.Queues
	if rec.Inputs.AccountOff {
		rec.Exchange.Account = nil
	}
	if z := rec.Inputs.Zone; z != 0 {
		rec.Exchange.Now = rec.Exchange.Now.In(time.FixedZone("", z))
	}
	r.out = append(r.out, rec)
	return nil
}

// asked is the last message of the turn that event i ends; nil when the log has none.
func (r *reader) asked(i int) *conversation.Received {
	t := r.state.Turn
	if t == nil {
		return nil
	}
	for k := i - 1; k >= 0 && r.events[k].Seq >= t.From; k-- {
		d, ok := r.events[k].Data.(*conversation.Received)
		if ok && r.events[k].Seq <= t.To && d.In.Kind.StartsTurn() {
			return d
		}
	}
	return nil
}

// answer is what the bot said, from the decision and the parts that were kept back or sent after it in the same commit.
func (r *reader) answer(i int, d *conversation.Decision) *rules.BotView {
	parts := d.Withheld
	for k := i + 1; parts == nil && k < len(r.events) && r.events[k].Op == r.events[i].Op; k++ {
		if s, ok := r.events[k].Data.(*conversation.Sent); ok && s.By == message.ByBot && s.Turn == d.Turn {
			for ; k < len(r.events) && r.events[k].Op == r.events[i].Op; k++ {
				if s, ok := r.events[k].Data.(*conversation.Sent); ok && s.By == message.ByBot {
					parts = append(parts, s.Part)
				}
			}
		}
	}
	b := &rules.BotView{Text: Text(parts), Parts: len(parts)}
	if said := d.Bot; said != nil {
		b.Confidence, b.Intent, b.Fallback = said.Confidence, said.Intent, said.Fallback
		b.End, b.Handoff, b.Sources = said.End, said.Handoff != "", said.Sources
	}
	return b
}

// Text is the text of an answer as rules see it: its parts, a line each.
func Text(parts []message.Part) string {
	switch len(parts) {
	case 0:
		return ""
	case 1:
		return parts[0].Text
	}
	var b []byte
	for i, part := range parts {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, part.Text...)
	}
	return string(b)
}
