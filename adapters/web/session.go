package web

import (
	"context"
	"encoding/json"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

// session is the answer to a request for one.
type session struct {
	Token     string    `json:"token"`
	Visitor   string    `json:"visitor"`
	ExpiresAt time.Time `json:"expires_at"`
	// What follows is there only if the visitor has a conversation.
	Conversation string         `json:"conversation,omitempty"`
	Owner        *message.Owner `json:"owner,omitempty"`
	// Cursor is the end of the conversation so far, left out when that is very long.
	Cursor adapters.Cursor `json:"cursor,omitempty"`
}

// postSession gives a new visitor a token, renews the token of one that has one, and takes up a proven identity. The
// visitor stays the same unless the identity is another person's than the one proven before.
func (c *Channel) postSession(ctx *fasthttp.RequestCtx) {
	var token, statement, lang string
	if body := ctx.PostBody(); len(body) > 0 {
		var err error
		if token, statement, lang, err = c.readSession(body); err != nil {
			problem.WriteError(ctx, err)
			return
		}
	}
	v := visitor{id: c.newVisitor(), lang: lang}
	if token != "" {
		known, err := c.tokens.read([]byte(token))
		if err != nil {
			refuseToken(ctx, err)
			return
		}
		if lang != "" {
			known.lang = lang
		}
		v = known
	}
	work, cancel := c.request()
	defer cancel()
	if statement != "" {
		profile, err := c.verify(statement)
		if err != nil {
			problem.WriteError(ctx, err)
			return
		}
		if v.subject != "" && v.subject != profile.Subject {
			v.id = c.newVisitor()
		}
		v.subject = profile.Subject
		if err := c.deps.Inbox.Identify(work, c.address(v.address()), profile); err != nil {
			problem.WriteError(ctx, err)
			return
		}
	}
	v.expires = c.deps.Now().Add(c.cfg.SessionTTL)
	s := session{Token: c.tokens.sign(v), Visitor: v.address(), ExpiresAt: v.expires.UTC().Truncate(time.Second)}
	if token != "" {
		if err := c.describe(work, &s); err != nil {
			problem.WriteError(ctx, err)
			return
		}
	}
	writeJSON(ctx, fasthttp.StatusOK, s)
}

func (c *Channel) readSession(body []byte) (token, statement, lang string, err error) {
	if len(body) > bodySlack {
		return "", "", "", tooLarge("The body is longer than %d bytes.", bodySlack)
	}
	p := c.parsers.Get()
	defer c.parsers.Put(p)
	o, err := parseObject(p, body)
	if err != nil {
		return "", "", "", err
	}
	token, statement, lang = o.str("token"), o.str("identity"), o.str("lang")
	if o.err != nil {
		return "", "", "", o.err
	}
	return token, statement, lang, checkLang(lang)
}

func (c *Channel) verify(statement string) (message.Profile, error) {
	if c.identity == nil {
		return message.Profile{}, badRequest("This channel takes no identity. Leave it out, or configure identity.secret.")
	}
	profile, err := c.identity.verify(statement)
	if err != nil {
		return message.Profile{}, &adapters.RefusedError{
			Code:   problem.CodeUnauthenticated,
			Detail: "The identity is not valid: it must be a JWT with HS256, sub and an exp to come, signed with the channel's secret.",
		}
	}
	return profile, nil
}

func (c *Channel) newVisitor() [visitorBytes]byte {
	return [visitorBytes]byte(c.deps.NewID(visitorBytes))
}

const (
	describePage  = 200
	describePages = 10
)

// describe adds what the visitor's conversation is at.
func (c *Channel) describe(ctx context.Context, s *session) error {
	from := c.address(s.Visitor)
	var after adapters.Cursor
	for range describePages {
		page, err := c.deps.Timeline.Read(ctx, from, after, describePage)
		if err != nil {
			return err
		}
		if page.Conversation == "" {
			return nil
		}
		s.Conversation, s.Owner, after = page.Conversation, &page.Owner, page.Next
		if !page.More {
			s.Cursor = page.Next
			return nil
		}
	}
	return nil
}

// ticketAnswer is the answer to a request for a ticket.
type ticketAnswer struct {
	Ticket    string    `json:"ticket"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (c *Channel) postTicket(ctx *fasthttp.RequestCtx, v visitor) {
	ticket, expires := c.tickets.issue(v)
	writeJSON(ctx, fasthttp.StatusOK, ticketAnswer{Ticket: ticket, ExpiresAt: expires.UTC().Truncate(time.Second)})
}

func writeJSON(ctx *fasthttp.RequestCtx, status int, v any) {
	buf := buffers.get()
	defer buffers.put(buf)
	body, ok := (*buf)[:0], false
	if a, quick := v.(appender); quick {
		body, ok = a.appendJSON(body)
		*buf = body
	}
	if !ok {
		var err error
		if body, err = json.Marshal(v); err != nil {
			problem.WriteError(ctx, err)
			return
		}
	}
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBody(body)
}
