package web

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
	"turnout/adapters/traceparent"
)

// answered is what became of a message in time.
type answered struct {
	Conversation string            `json:"conversation"`
	Owner        message.Owner     `json:"owner"`
	Position     int               `json:"position,omitempty"`
	Messages     []message.Visible `json:"messages"`
	Cursor       adapters.Cursor   `json:"cursor,omitempty"`
}

// merged says that a later message of a burst carries the answer.
type merged struct {
	Conversation string          `json:"conversation"`
	MergedInto   string          `json:"merged_into"`
	Cursor       adapters.Cursor `json:"cursor,omitempty"`
}

// pending says that a message is safe and its outcome still to come: it will be read after the cursor.
type pending struct {
	Conversation string          `json:"conversation"`
	Owner        message.Owner   `json:"owner"`
	Position     int             `json:"position,omitempty"`
	Cursor       adapters.Cursor `json:"cursor,omitempty"`
}

func (c *Channel) postMessage(ctx *fasthttp.RequestCtx, v visitor) {
	in, wait, err := c.posted(ctx, v)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	c.take(ctx, in, wait)
}

// posted reads the message of a request.
func (c *Channel) posted(ctx *fasthttp.RequestCtx, v visitor) (message.Inbound, bool, error) {
	buf := buffers.get()
	defer buffers.put(buf)
	body, err := readBody(ctx, buf, c.maxBody())
	if err != nil {
		ctx.SetConnectionClose()
		return message.Inbound{}, false, err
	}
	return c.readInbound(body, v)
}

// readBody returns the body of a request whose route has a limit of its own, which the server may leave as a stream: it is
// read into buf then. One byte over the limit is enough to know: PostBody would read a body without a declared length to
// its end, if it has one.
func readBody(ctx *fasthttp.RequestCtx, buf *[]byte, most int) ([]byte, error) {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return ctx.PostBody(), nil
	}
	body, err := readMost(buf, stream, most+1)
	switch {
	case len(body) > most:
		return nil, tooLarge("The body is longer than %d bytes.", most)
	case err != nil:
		return nil, badRequest("The body ended early, did not come in time or is not framed as HTTP says. Send it again.")
	}
	return body, nil
}

// postHuman is the one-step request for a person. Its body may be empty; an id makes a repeat safe.
func (c *Channel) postHuman(ctx *fasthttp.RequestCtx, v visitor) {
	in, wait, err := c.readHuman(ctx.PostBody(), v)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	c.take(ctx, in, wait)
}

// take accepts a message and, if asked to wait, answers with its outcome. From the moment of acceptance the answer is a
// success: whatever goes wrong later, the message is safe.
func (c *Channel) take(ctx *fasthttp.RequestCtx, in message.Inbound, wait bool) {
	in.Trace = string(traceparent.Parse(ctx.Request.Header.Peek(traceparent.Header)))
	receipt, err := c.accept(in)
	if err != nil {
		writeRefusal(ctx, err)
		return
	}
	if wait {
		out, err := c.outcome(receipt)
		if err == nil {
			writeOutcome(ctx, out)
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			c.deps.Log.Error("reading an outcome", "channel", c.deps.Key, "conversation_id", receipt.Conversation, "error", err)
		}
	}
	writeJSON(ctx, fasthttp.StatusAccepted, &pending{
		Conversation: receipt.Conversation, Owner: receipt.Owner, Position: receipt.Owner.Position, Cursor: receiptCursor(receipt),
	})
}

func writeOutcome(ctx *fasthttp.RequestCtx, out adapters.Outcome) {
	if out.MergedInto != "" {
		writeJSON(ctx, fasthttp.StatusOK, &merged{Conversation: out.Conversation, MergedInto: out.MergedInto, Cursor: out.Cursor})
		return
	}
	if out.Messages == nil {
		out.Messages = []message.Visible{}
	}
	writeJSON(ctx, fasthttp.StatusOK, &answered{
		Conversation: out.Conversation, Owner: out.Owner, Position: out.Owner.Position, Messages: out.Messages, Cursor: out.Cursor,
	})
}

// tooFast is the refusal of a visitor who sends more than the channel allows.
type tooFast struct{ wait time.Duration }

func (e *tooFast) Error() string { return "too many messages" }

func (e *tooFast) Unwrap() error {
	return &adapters.RefusedError{Code: problem.CodeRateLimited, Detail: "Too many messages. Wait for the time in Retry-After."}
}

// accept hands a message in, within the visitor's rate. The one-step request for a person is never held up here: the
// gateway's own limits know what to do with a flood of them.
func (c *Channel) accept(in message.Inbound) (adapters.Receipt, error) {
	if in.Kind != message.Human {
		if wait, ok := c.rate.allow(in.From.Address, c.deps.Now()); !ok {
			return adapters.Receipt{}, &tooFast{wait: wait}
		}
	}
	work, cancel := c.request()
	defer cancel()
	return c.deps.Inbox.Accept(work, in)
}

func (c *Channel) outcome(r adapters.Receipt) (adapters.Outcome, error) {
	work := newBrief(c.life, c.cfg.Wait)
	defer work.end()
	return c.deps.Timeline.Outcome(work, r)
}

func writeRefusal(ctx *fasthttp.RequestCtx, err error) {
	var fast *tooFast
	if errors.As(err, &fast) {
		seconds := int(math.Ceil(fast.wait.Seconds()))
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(max(seconds, 1)))
	}
	problem.WriteError(ctx, err)
}

func receiptCursor(r adapters.Receipt) adapters.Cursor {
	if r.VSeq == 0 {
		return ""
	}
	return cursorAt(r.Conversation, r.VSeq)
}

func (c *Channel) readInbound(body []byte, v visitor) (message.Inbound, bool, error) {
	if most := c.maxBody(); len(body) > most {
		return message.Inbound{}, false, tooLarge("The body is longer than %d bytes.", most)
	}
	p := c.parsers.Get()
	defer c.parsers.Put(p)
	o, err := parseObject(p, body)
	if err != nil {
		return message.Inbound{}, false, err
	}
	w, err := readMessage(o, c.cfg.Limits.TextBytes)
	if err != nil {
		return message.Inbound{}, false, err
	}
	in, err := c.inbound(w, v)
	return in, w.wait, err
}

func (c *Channel) readHuman(body []byte, v visitor) (message.Inbound, bool, error) {
	if len(body) > bodySlack {
		return message.Inbound{}, false, tooLarge("The body is longer than %d bytes.", bodySlack)
	}
	if len(body) == 0 {
		return c.human("", v), true, nil
	}
	p := c.parsers.Get()
	defer c.parsers.Put(p)
	o, err := parseObject(p, body)
	if err != nil {
		return message.Inbound{}, false, err
	}
	id, wait := o.str("id"), o.flag("wait", true)
	if o.err != nil {
		return message.Inbound{}, false, o.err
	}
	if id != "" {
		if err := checkID(id); err != nil {
			return message.Inbound{}, false, err
		}
	}
	return c.human(id, v), wait, nil
}

// inbound makes the normal form of a message. Attachments that the visitor may not see are not found.
func (c *Channel) inbound(w wanted, v visitor) (message.Inbound, error) {
	in := message.Inbound{
		ID: w.id, From: c.address(v.address()), Kind: w.kind, Text: w.text, Choice: w.choice, Lang: w.lang,
	}
	if in.Lang == "" {
		in.Lang = v.lang
	}
	if len(w.attachments) == 0 {
		return in, nil
	}
	work, cancel := c.request()
	defer cancel()
	for _, id := range w.attachments {
		a, content, err := c.deps.Blobs.Get(work, in.From, id)
		if err != nil {
			return message.Inbound{}, err
		}
		if err := content.Close(); err != nil {
			c.deps.Log.Warn("closing an attachment", "channel", c.deps.Key, "attachment_id", a.ID, "error", err)
		}
		in.Attachments = append(in.Attachments, a)
	}
	return in, nil
}

// human makes the request for a person; without an id of the client's it gets one, and a repeat counts as another.
func (c *Channel) human(id string, v visitor) message.Inbound {
	if id == "" {
		id = c.randomID()
	}
	return message.Inbound{ID: id, From: c.address(v.address()), Kind: message.Human, Lang: v.lang}
}

func (c *Channel) randomID() string { return hex.EncodeToString(c.deps.NewID(16)) }

func (c *Channel) maxBody() int { return bodySlack + jsonExpansion*c.cfg.Limits.TextBytes }

// postObserve reports typing and reading for clients that use event streams. It is lossy: the answer says nothing.
func (c *Channel) postObserve(ctx *fasthttp.RequestCtx, v visitor) {
	if len(ctx.PostBody()) > bodySlack {
		problem.WriteError(ctx, tooLarge("The body is longer than %d bytes.", bodySlack))
		return
	}
	p := c.parsers.Get()
	defer c.parsers.Put(p)
	o, err := parseObject(p, ctx.PostBody())
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	seen := message.Observation{From: c.address(v.address()), Typing: o.flag("typing", false)}
	read := o.str("read")
	if o.err != nil {
		problem.WriteError(ctx, o.err)
		return
	}
	if read != "" {
		var ok bool
		if seen.ReadIn, seen.Read, ok = parseCursor(read); !ok {
			problem.WriteError(ctx, badRequest("read is not a cursor. Send the cursor of the last event that was seen."))
			return
		}
	}
	c.deps.Inbox.Observe(seen)
	ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
}
