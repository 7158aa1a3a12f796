package api

import (
	"math"
	"net/url"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/queue"
)

// me is an account as it sees itself.
type me struct {
	Tenant   string   `json:"tenant"`
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Role     Role     `json:"role"`
	Queues   []string `json:"queues"`
	Capacity int      `json:"capacity"`
}

func meOf(a *Account) me {
	return me{Tenant: a.Tenant.Name(), ID: a.ID, Name: a.Name, Role: a.Role, Queues: a.Queues, Capacity: a.Capacity}
}

// presentMe is me with the presence.
type presentMe struct {
	me
	Presence queue.Presence `json:"presence"`
}

func (s *Server) getMe(c *Call) (any, error) {
	presence, err := s.o.Queue.Presence(c.Context(), c.who.agent())
	if err != nil {
		return nil, err
	}
	return presentMe{meOf(c.who.account), presence}, nil
}

// presenceBody is the body of a heartbeat.
type presenceBody struct {
	On *bool `json:"on"`
}

func (s *Server) postPresence(c *Call) (any, error) {
	var body presenceBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	return s.o.Queue.Heartbeat(c.Context(), c.who.agent(), body.On == nil || *body.On)
}

// queueList is what a view of the queue holds.
type queueList struct {
	Items  []queue.Row `json:"items"`
	Cursor string      `json:"cursor,omitempty"`
}

func (s *Server) getQueue(c *Call) (any, error) {
	limit, err := c.Number("limit", queue.MaxList)
	if err != nil {
		return nil, err
	}
	after, err := c.Cursor()
	if err != nil {
		return nil, err
	}
	rows, next, err := s.o.Queue.Page(c.Context(), c.who.agent(), queue.Filter{
		View: queue.View(c.Query("view")), Queue: c.Query("queue"), Limit: int(limit), After: after,
	})
	if err != nil {
		return nil, err
	}
	out := queueList{Items: rows}
	if next != "" {
		out.Cursor = c.CursorOf(next)
	}
	return out, nil
}

func (s *Server) getConversation(c *Call) (any, error) {
	w, err := c.window()
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Get(c.Context(), c.who.agent(), c.Param("id"), w)
}

func (s *Server) getEarlier(c *Call) (any, error) {
	w, err := c.window()
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Past(c.Context(), c.who.agent(), c.Param("id"), c.Param("earlier"), w)
}

// window reads which stretch of a log is wanted.
func (c *Call) window() (w queue.Window, err error) {
	if w.After, err = c.Number("after", math.MaxInt64); err != nil {
		return w, err
	}
	if w.Before, err = c.Number("before", math.MaxInt64); err != nil {
		return w, err
	}
	limit, err := c.Number("limit", queue.MaxEvents)
	w.Limit = int(limit)
	if w.After > 0 && w.Before > 0 {
		return w, badRequest("Give after or before, not both.")
	}
	return w, err
}

func (s *Server) getColleagues(c *Call) (any, error) {
	return s.o.Queue.Colleagues(c.Context(), c.who.agent())
}

// overrideBody is the body of acts that take nothing but a word for those who come after.
type overrideBody struct {
	Override bool   `json:"override"`
	Note     string `json:"note"`
}

// claimBody is the body of a claim.
type claimBody struct {
	Override bool `json:"override"`
}

func (s *Server) postClaim(c *Call) (any, error) {
	var body claimBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	to, err := c.to(body.Override)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Claim(c.Context(), to)
}

type replyBody struct {
	Text    string           `json:"text"`
	Lang    string           `json:"lang"`
	Choices []message.Choice `json:"choices"`
	Link    string           `json:"link"`
	Hold    float64          `json:"hold"` // seconds
}

const maxChoices = 10

// reply checks a body and makes the reply that it asks for. raw is what the body was read from.
func (b *replyBody) reply(raw []byte, limit int) (queue.Reply, error) {
	r := queue.Reply{Part: message.Part{Text: b.Text, Lang: b.Lang, Choices: b.Choices, Link: b.Link}}
	if err := checkText("text", b.Text, raw, limit); err != nil {
		return r, err
	}
	if len(b.Choices) > maxChoices || len(b.Lang) > 35 {
		return r, badRequest("A reply has at most 10 choices, and lang is a language tag.")
	}
	for _, choice := range b.Choices {
		if choice.ID == "" || choice.Label == "" || len(choice.ID) > 256 {
			return r, badRequest("Each choice has an id of at most 256 bytes and a label.")
		}
		for field, text := range map[string]string{"choices.id": choice.ID, "choices.label": choice.Label} {
			if err := checkText(field, text, raw, 1024); err != nil {
				return r, err
			}
		}
	}
	if err := checkText("lang", b.Lang, raw, 35); err != nil {
		return r, err
	}
	if b.Link != "" {
		u, err := url.Parse(b.Link)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(b.Link) > 2048 {
			return r, badRequest("link is an http or https URL of at most 2048 bytes.")
		}
		if err := checkText("link", b.Link, raw, 2048); err != nil {
			return r, err
		}
	}
	if b.Hold < 0 || b.Hold > queue.MaxHold.Seconds() {
		return r, badRequest("hold is a number of seconds between 0 and 30.")
	}
	r.Hold = time.Duration(b.Hold * float64(time.Second))
	return r, nil
}

func (s *Server) postReply(c *Call) (any, error) {
	var body replyBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	reply, err := body.reply(c.ctx.PostBody(), s.o.Limits.TextBytes)
	if err != nil {
		return nil, err
	}
	to, err := c.to(false)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Reply(c.Context(), to, reply)
}

// undoBody is the body of an undo.
type undoBody struct {
	Message string `json:"message"`
}

func (s *Server) postUndo(c *Call) (any, error) {
	var body undoBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	to, err := c.to(false)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Undo(c.Context(), to, body.Message)
}

// resendBody is the body that sends again, or gives up, what did not leave.
type resendBody struct {
	Message  string `json:"message"`
	Discard  bool   `json:"discard"`
	Override bool   `json:"override"`
}

func (s *Server) postResend(c *Call) (any, error) {
	var body resendBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	to, err := c.to(body.Override)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Resend(c.Context(), to, body.Message, body.Discard)
}

// emptyBody is the body of acts that take nothing.
type emptyBody struct{}

func (s *Server) postAccount(c *Call) (any, error) {
	var body emptyBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	to, err := c.to(false)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Account(c.Context(), to)
}

// noteBody is the body of a note.
type noteBody struct {
	Text string `json:"text"`
}

func (s *Server) postNote(c *Call) (any, error) {
	var body noteBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	text, err := s.note(c, "text", body.Text)
	if err != nil {
		return nil, err
	}
	to, err := c.to(false)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Note(c.Context(), to, text)
}

// note checks the text of a note; empty is none.
func (s *Server) note(c *Call, field, text string) (conversation.NoteText, error) {
	return conversation.NoteText(text), checkText(field, text, c.ctx.PostBody(), s.o.Limits.TextBytes)
}

// transferBody is the body of a transfer.
type transferBody struct {
	Agent    string `json:"agent"`
	Queue    string `json:"queue"`
	Note     string `json:"note"`
	Override bool   `json:"override"`
}

func (s *Server) postTransfer(c *Call) (any, error) {
	var body transferBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	note, err := s.note(c, "note", body.Note)
	if err != nil {
		return nil, err
	}
	to, err := c.to(body.Override)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Transfer(c.Context(), to, queue.Transfer{Agent: body.Agent, Queue: body.Queue, Note: note})
}

var priorities = map[string]int{
	"": 0, "low": conversation.PriorityLow, "normal": conversation.PriorityNormal,
	"high": conversation.PriorityHigh, "urgent": conversation.PriorityUrgent,
}

// escalateBody is the body of an escalation.
type escalateBody struct {
	Queue    string `json:"queue"`
	Priority string `json:"priority"`
	Note     string `json:"note"`
	Override bool   `json:"override"`
}

func (s *Server) postEscalate(c *Call) (any, error) {
	var body escalateBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	priority, ok := priorities[body.Priority]
	if !ok {
		return nil, badRequest("priority is one of low, normal, high, urgent.")
	}
	note, err := s.note(c, "note", body.Note)
	if err != nil {
		return nil, err
	}
	to, err := c.to(body.Override)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Escalate(c.Context(), to, queue.Escalate{Queue: body.Queue, Priority: priority, Note: note})
}

func (s *Server) postRelease(c *Call) (any, error) {
	to, note, err := s.parting(c)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Release(c.Context(), to, note)
}

func (s *Server) postResolve(c *Call) (any, error) {
	to, note, err := s.parting(c)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Resolve(c.Context(), to, note)
}

// parting reads the body of an act that ends an agent's part.
func (s *Server) parting(c *Call) (to queue.To, note conversation.NoteText, err error) {
	var body overrideBody
	if err := decode(c.ctx, &body); err != nil {
		return to, "", err
	}
	if note, err = s.note(c, "note", body.Note); err != nil {
		return to, "", err
	}
	to, err = c.to(body.Override)
	return to, note, err
}

// snoozeBody is the body of a snooze.
type snoozeBody struct {
	Until time.Time `json:"until"`
}

func (s *Server) postSnooze(c *Call) (any, error) {
	var body snoozeBody
	if err := decode(c.ctx, &body); err != nil {
		return nil, err
	}
	to, err := c.to(false)
	if err != nil {
		return nil, err
	}
	return s.o.Queue.Snooze(c.Context(), to, body.Until)
}

func (s *Server) postTyping(c *Call) (any, error) {
	return nil, s.o.Queue.Typing(c.Context(), c.who.agent(), c.Param("id"))
}

// getAttachment sends a file that came with a conversation, as something to save and never to show.
func (s *Server) getAttachment(c *Call) (any, error) {
	// The stream is read after this handler: it must not hang on the request's own context.
	a, body, err := s.o.Queue.File(s.life, c.who.agent(), c.Param("id"), c.Param("attachment"))
	if err != nil {
		return nil, err
	}
	return &Stream{Type: a.Type, Name: a.Name, Size: int(a.Size), Body: body}, nil
}

// to names the conversation, the agent and the idempotency key of a request.
func (c *Call) to(override bool) (queue.To, error) {
	key := string(c.ctx.Request.Header.Peek(keyHeader))
	return queue.To{Agent: c.who.agent(), Conversation: c.Param("id"), Key: key, Override: override}, nil
}
