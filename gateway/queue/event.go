package queue

import (
	"maps"
	"slices"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/rules/signal"
)

// Event is one entry of a conversation's log as the tenant's people see it. Exactly one of the pointers is set, or none
// for events that say it all by their type.
type Event struct {
	Seq   uint64             `json:"seq"`
	VSeq  uint64             `json:"vseq,omitempty"` // its place in what the customer sees; 0: the customer does not
	At    time.Time          `json:"at"`
	Type  conversation.Type  `json:"type"`
	Actor conversation.Actor `json:"actor"`
	Epoch conversation.Epoch `json:"epoch"`

	Message  *Message         `json:"message,omitempty"`
	Note     *Note            `json:"note,omitempty"`
	Status   *Status          `json:"status,omitempty"`
	Turn     *Turn            `json:"turn,omitempty"`
	Decision *Decision        `json:"decision,omitempty"`
	Handoff  *Handoff         `json:"handoff,omitempty"`
	Owner    *Moved           `json:"owner,omitempty"`
	Timer    *Timer           `json:"timer,omitempty"`
	Offer    *Offer           `json:"offer,omitempty"`
	Profile  *message.Profile `json:"profile,omitempty"`
	Account  *message.Account `json:"account,omitempty"`
	Contact  string           `json:"contact,omitempty"`
	Reason   string           `json:"reason,omitempty"` // of a close
	Previous string           `json:"previous,omitempty"`
}

// Message is something said: by the customer, the bot, an agent or the system. Held is set while it waits.
type Message struct {
	ID          string               `json:"id"`
	By          message.By           `json:"by"`
	Name        string               `json:"name,omitempty"`
	Kind        message.Kind         `json:"kind,omitempty"`
	Text        string               `json:"text,omitempty"`
	Quoted      string               `json:"quoted,omitempty"`
	Lang        string               `json:"lang,omitempty"`
	Choice      *message.Choice      `json:"choice,omitempty"`
	Choices     []message.Choice     `json:"choices,omitempty"`
	Attachments []message.Attachment `json:"attachments,omitempty"`
	Link        string               `json:"link,omitempty"`
	Scores      signal.Scores        `json:"scores,omitzero"`
	Rules       int                  `json:"rules,omitempty"` // the version that judged it
	Rule        string               `json:"rule,omitempty"`  // the one that said it
	Turn        string               `json:"turn,omitempty"`
	Held        bool                 `json:"held,omitempty"`
	Until       *time.Time           `json:"until,omitempty"`
	Reason      string               `json:"reason,omitempty"` // why it is held
}

// Note is a remark among the tenant's people.
type Note struct {
	ID   string                `json:"id"`
	Text conversation.NoteText `json:"text"`
}

// Status is a step in the delivery of a message, or the end of a held one.
type Status struct {
	Message string         `json:"message"`
	Status  message.Status `json:"status"`
	Code    string         `json:"code,omitempty"`
}

// Turn is a step of a bot turn. Answer is what the bot said too late: the customer never got it.
type Turn struct {
	ID      string         `json:"id"`
	From    uint64         `json:"from,omitempty"`
	To      uint64         `json:"to,omitempty"`
	Bot     string         `json:"bot,omitempty"`
	Attempt int            `json:"attempt,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Status  int            `json:"status,omitempty"`
	Final   bool           `json:"final,omitempty"`
	Answer  []message.Part `json:"answer,omitempty"`
}

// Decision is what the rules made of an exchange. Withheld is what the bot said and the customer did not get.
type Decision struct {
	Kind           conversation.DecisionKind `json:"kind"`
	Phase          conversation.Phase        `json:"phase"`
	Turn           string                    `json:"turn,omitempty"`
	Message        uint64                    `json:"message,omitempty"` // seq of the message judged
	Rules          int                       `json:"rules,omitempty"`
	Rule           string                    `json:"rule,omitempty"`
	Matched        []string                  `json:"matched,omitempty"`
	Shadow         []string                  `json:"shadow,omitempty"`
	Failed         []string                  `json:"failed,omitempty"`
	Tags           []string                  `json:"tags,omitempty"`
	Notify         []string                  `json:"notify,omitempty"`
	Route          string                    `json:"route,omitempty"` // the bot from the next turn on
	MustReachHuman bool                      `json:"must_reach_human,omitempty"`
	Scores         signal.Scores             `json:"scores,omitzero"`
	Bot            *conversation.BotSaid     `json:"bot,omitempty"`
	Withheld       []message.Part            `json:"withheld,omitempty"`
}

// Handoff is a diversion to people. Reason is the rule's own sentence. InFlight names messages whose send was already
// under way at the takeover.
type Handoff struct {
	Rule     string   `json:"rule"`
	Reason   string   `json:"reason,omitempty"`
	Queue    string   `json:"queue"`
	Priority int      `json:"priority"`
	Skills   []string `json:"skills,omitempty"`
	Turn     string   `json:"turn,omitempty"`
	InFlight []string `json:"in_flight,omitempty"`
}

// Moved is a change of owner. The epoch it began is that of its event.
type Moved struct {
	From     conversation.Owner `json:"from"`
	To       conversation.Owner `json:"to"`
	Reason   string             `json:"reason"`
	Position int                `json:"position,omitempty"`
	// InFlight names, at a takeover, the bot's messages whose send was already under way.
	InFlight []string `json:"in_flight,omitempty"`
}

// Offer puts a waiting conversation to one agent.
type Offer struct {
	Agent string     `json:"agent"`
	Until *time.Time `json:"until,omitempty"`
}

// eventOf makes the people's view of an event. What it does not know it shows by its type only.
func eventOf(e *conversation.Event) Event {
	v := Event{Seq: e.Seq, VSeq: e.VSeq, At: time.UnixMilli(e.At).UTC(), Type: e.Type, Actor: e.Actor, Epoch: e.Epoch}
	switch d := e.Data.(type) {
	case *conversation.Received:
		v.Message = inbound(d.ID, &d.In)
		v.Message.Scores, v.Message.Rules = d.Scores, d.Rules
	case *conversation.Held:
		v.Message = heldMessage(d)
	case *conversation.Sent:
		v.Message = part(d.ID, d.By, d.Name, &d.Part)
		v.Message.Turn, v.Message.Rule = d.Turn, d.Rule
	case *conversation.StatusChanged:
		v.Status = &Status{Message: d.ID, Status: d.Status, Code: d.Code}
	case *conversation.Note:
		v.Note = &Note{ID: d.ID, Text: d.Note}
	case *conversation.TurnBegun:
		v.Turn = &Turn{ID: d.ID, From: d.From, To: d.To, Bot: d.Bot, Attempt: d.Attempt}
	case *conversation.TurnDropped:
		v.Turn = &Turn{ID: d.ID, Reason: d.Reason, Answer: d.Answer}
	case *conversation.TurnBroken:
		v.Turn = &Turn{ID: d.ID, Reason: d.Kind, Status: d.Status, Attempt: d.Attempt, Final: d.Final}
	case *conversation.Decision:
		v.Decision = &Decision{
			Kind: d.Kind, Phase: d.Phase, Turn: d.Turn, Message: d.Seq, Rules: d.Rules, Rule: d.Rule, Matched: d.Matched,
			Shadow: d.Shadow, Failed: d.Failed, Tags: d.Tags, Notify: d.Notify, Route: d.Route, MustReachHuman: d.MustReachHuman,
			Scores: d.Scores, Bot: d.Bot, Withheld: d.Withheld,
		}
	case *conversation.Handoff:
		v.Handoff = &Handoff{
			Rule: d.Rule, Reason: d.Reason, Queue: d.Queue, Priority: d.Priority, Skills: d.Skills, Turn: d.Turn, InFlight: d.InFlight,
		}
	case *conversation.OwnerMoved:
		v.Owner = &Moved{From: d.From, To: d.To, Reason: d.Reason, Position: d.Position, InFlight: d.InFlight}
	case *conversation.Timer:
		v.Timer = &Timer{Name: d.Name, At: time.UnixMilli(d.At).UTC()}
	case *conversation.Offered:
		v.Offer = &Offer{Agent: d.Agent, Until: instant(d.Until)}
	case *conversation.Profiled:
		v.Profile, v.Account = d.Profile, d.Account
	case *conversation.Linked:
		v.Contact = d.Contact
	case *conversation.Begun:
		v.Previous = d.Previous
	case *conversation.Ended:
		v.Reason = d.Reason
	}
	return v
}

func inbound(id string, in *message.Inbound) *Message {
	return &Message{
		ID: id, By: message.ByCustomer, Kind: in.Kind, Text: in.Text, Quoted: in.Quoted, Lang: in.Lang, Choice: in.Choice,
		Attachments: in.Attachments,
	}
}

func part(id string, by message.By, name string, p *message.Part) *Message {
	return &Message{
		ID: id, By: by, Name: name, Text: p.Text, Lang: p.Lang, Choices: p.Choices, Attachments: p.Attachments, Link: p.Link,
	}
}

func heldMessage(d *conversation.Held) *Message {
	m := &Message{ID: d.ID, By: d.By, Name: d.Name}
	switch {
	case d.In != nil:
		m = inbound(d.ID, d.In)
	case d.Part != nil:
		m = part(d.ID, d.By, d.Name, d.Part)
	}
	m.Held, m.Until, m.Reason = true, instant(d.Until), d.Reason
	return m
}

// timers lists the timers of a state by name.
func timers(set map[string]int64) (out []Timer) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out = append(out, Timer{Name: name, At: time.UnixMilli(set[name]).UTC()})
	}
	return out
}
