package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
	"turnout/adapters/traceparent"
)

// ownMessages is turnout's own form of a request.
type ownMessages struct {
	Messages []ownMessage `json:"messages"`
}

type ownMessage struct {
	ID      string           `json:"id"`
	From    string           `json:"from"`
	Kind    message.Kind     `json:"kind"` // text (default), action, human
	Text    string           `json:"text"`
	Choice  *message.Choice  `json:"choice"`
	Lang    string           `json:"lang"`
	SentAt  time.Time        `json:"sent_at"`
	Profile *message.Profile `json:"profile"`
}

const (
	maxIDChars      = 128
	maxAddressBytes = 256
	maxLangChars    = 35
	maxLabelBytes   = 256
	maxFields       = 64
)

func badRequest(format string, args ...any) error {
	return &adapters.RefusedError{Code: problem.CodeBadRequest, Detail: fmt.Sprintf(format, args...)}
}

// decodeStrict reads exactly one JSON value. What it says of a fault repeats nothing of the body.
func decodeStrict(body []byte, v any) error {
	if !utf8.Valid(body) {
		return badRequest("The body is not valid UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &kind) && kind.Field != "":
			return badRequest("The body has a value of a wrong type at %s.", kind.Field)
		case strings.HasPrefix(err.Error(), "json: unknown field"):
			return badRequest("The body has a member that is not known. See the form of requests of the callback channel.")
		}
		return badRequest("The body is not JSON of the form that the channel takes.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("Something follows the JSON object in the body.")
	}
	return nil
}

// inbounds reads the messages of a request.
func (c *Channel) inbounds(body []byte) ([]message.Inbound, error) {
	var own ownMessages
	if c.mapping != nil {
		list, err := c.mapping.messages(body, c.cfg.Limits.Batch)
		if err != nil {
			return nil, err
		}
		own.Messages = list
	} else if err := decodeStrict(body, &own); err != nil {
		return nil, err
	}
	switch n := len(own.Messages); {
	case n == 0:
		return nil, badRequest("The request holds no messages.")
	case n > c.cfg.Limits.Batch:
		return nil, badRequest("The request holds more than %d messages.", c.cfg.Limits.Batch)
	}
	out := make([]message.Inbound, len(own.Messages))
	for i := range own.Messages {
		in, err := c.inbound(&own.Messages[i])
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		out[i] = in
	}
	return out, nil
}

// inbound normalises one message. Text comes from people: what no text holds is dropped rather than refused, because only
// programs can be mended.
func (c *Channel) inbound(m *ownMessage) (message.Inbound, error) {
	in := message.Inbound{
		ID: m.ID, From: message.Address{Channel: c.deps.Key, Address: m.From}, Kind: m.Kind, Text: clean(m.Text), Choice: m.Choice,
		Lang: m.Lang, SentAt: m.SentAt, Profile: m.Profile,
	}
	if in.Kind == "" {
		in.Kind = message.Text
		if in.Choice != nil {
			in.Kind = message.Action
		}
	}
	switch {
	case !visibleASCII(in.ID, maxIDChars):
		return in, badRequest("id must be 1 to %d visible ASCII characters.", maxIDChars)
	case m.From == "" || len(m.From) > maxAddressBytes || clean(m.From) != m.From || strings.TrimSpace(m.From) != m.From:
		return in, badRequest("from must be 1 to %d bytes, without control characters and spaces around it.", maxAddressBytes)
	case len(in.Text) > c.cfg.Limits.TextBytes:
		return in, &adapters.RefusedError{Code: problem.CodeTooLarge, Detail: fmt.Sprintf("text is longer than %d bytes.", c.cfg.Limits.TextBytes)}
	case in.Lang != "" && !visibleASCII(in.Lang, maxLangChars):
		return in, badRequest("lang must be a language tag.")
	}
	switch in.Kind {
	case message.Text:
		if strings.TrimSpace(in.Text) == "" {
			return in, badRequest("text is empty.")
		}
	case message.Action:
		ch := in.Choice
		if ch == nil || !visibleASCII(ch.ID, maxIDChars) || len(ch.Label) > maxLabelBytes {
			return in, badRequest("choice needs an id of 1 to %d visible ASCII characters and a label of at most %d bytes.", maxIDChars, maxLabelBytes)
		}
		ch.Label = clean(ch.Label)
		if in.Text == "" {
			in.Text = ch.Label
		}
	case message.Human:
	default:
		return in, badRequest("kind must be text, action or human.")
	}
	return in, checkProfile(in.Profile)
}

// checkProfile looks that a profile is one. It is the app's server's word, and that is signed.
func checkProfile(p *message.Profile) error {
	if p == nil {
		return nil
	}
	if p.Subject == "" || len(p.Fields) > maxFields {
		return badRequest("profile needs a subject and has at most %d fields.", maxFields)
	}
	for _, v := range p.Fields {
		switch v.(type) {
		case string, float64, bool:
		default:
			return badRequest("profile.fields holds strings, numbers and booleans only.")
		}
	}
	return nil
}

// clean drops control characters other than newline and tab, and makes line ends "\n".
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) < 0 {
		return s
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return '\n'
		case unicode.IsControl(r) && r != '\n' && r != '\t':
			return -1
		}
		return r
	}, s)
}

func visibleASCII(s string, most int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// outcome is what became of one element of a request.
type outcome struct {
	ID           string        `json:"id"`
	Conversation string        `json:"conversation,omitempty"`
	Message      string        `json:"message,omitempty"`
	Error        *elementError `json:"error,omitempty"`
}

type elementError struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// postMessages takes in what customers wrote. It answers when every message is durable.
func (c *Channel) postMessages(ctx *fasthttp.RequestCtx, body []byte) {
	list, err := c.inbounds(body)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	results := make([]outcome, len(list))
	trace := string(traceparent.Parse(ctx.Request.Header.Peek(traceparent.Header)))
	c.each(ctx, len(list), "messages", results, func(life context.Context, i int) error {
		results[i].ID, list[i].Trace = list[i].ID, trace
		r, err := c.deps.Inbox.Accept(life, list[i])
		results[i].Conversation, results[i].Message = r.Conversation, r.Message
		return err
	})
}

// each does the elements of a request in order and answers. What may work later fails the whole request: its sender repeats
// it, and what is done already takes no second effect. What never will fails only itself, unless it is alone.
func (c *Channel) each(ctx *fasthttp.RequestCtx, n int, name string, results []outcome, do func(context.Context, int) error) {
	for i := range n {
		life, cancel := context.WithTimeout(c.life, c.accepted)
		err := do(life, i)
		cancel()
		if err == nil {
			continue
		}
		var refused *adapters.RefusedError
		forGood := errors.As(err, &refused) && refused.Code != problem.CodeRateLimited || errors.Is(err, adapters.ErrNotFound)
		if !forGood || n == 1 {
			problem.WriteError(ctx, err)
			return
		}
		d := problem.Of(err)
		results[i].Error = &elementError{Code: d.Code, Detail: d.Detail}
	}
	answer, err := json.Marshal(map[string]any{name: results})
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(answer)
}
