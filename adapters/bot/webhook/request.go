package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/rules/safeexpr"
)

// ownRequest is the body when no mapping is given.
type ownRequest struct {
	V            int            `json:"v"` // 1
	TurnID       string         `json:"turn_id"`
	Attempt      int            `json:"attempt"`
	Tenant       string         `json:"tenant"`
	Conversation string         `json:"conversation_id"`
	Channel      string         `json:"channel"`
	User         ownUser        `json:"user"`
	Message      ownMessage     `json:"message"`  // the whole turn as one message
	Messages     []ownMessage   `json:"messages"` // the messages of the turn, one or a burst
	Context      map[string]any `json:"context"`
}

type ownUser struct {
	ID      string           `json:"id"`
	Contact string           `json:"contact,omitempty"`
	Profile *message.Profile `json:"profile,omitempty"`
}

type ownMessage struct {
	ID          string               `json:"id"`
	Kind        message.Kind         `json:"kind"`
	Text        string               `json:"text"`
	Quoted      string               `json:"quoted,omitempty"`
	Choice      *message.Choice      `json:"choice,omitempty"`
	Attachments []message.Attachment `json:"attachments"`
}

func newOwnRequest(t adapters.Turn) ownRequest {
	r := ownRequest{
		V: 1, TurnID: t.ID, Attempt: max(t.Attempt, 1), Tenant: t.Tenant, Conversation: t.Conversation,
		Channel: t.From.Channel, User: ownUser{ID: t.From.Address, Contact: t.Contact, Profile: t.Profile},
		Context: map[string]any{"lang": t.Lang},
	}
	for _, in := range t.Messages {
		r.Messages = append(r.Messages, newOwnMessage(in))
	}
	if n := len(r.Messages); n > 0 {
		r.Message = r.Messages[n-1]
		r.Message.Text = turnText(&t)
		r.Message.Attachments = []message.Attachment{}
		for _, m := range r.Messages {
			r.Message.Attachments = append(r.Message.Attachments, m.Attachments...)
		}
	}
	return r
}

func newOwnMessage(in message.Inbound) ownMessage {
	m := ownMessage{ID: in.ID, Kind: in.Kind, Text: in.Text, Quoted: in.Quoted, Choice: in.Choice, Attachments: in.Attachments}
	if m.Attachments == nil {
		m.Attachments = []message.Attachment{}
	}
	return m
}

// turnText is what was written in the turn, one line per message.
func turnText(t *adapters.Turn) string {
	if len(t.Messages) == 1 {
		return t.Messages[0].Text
	}
	texts := make([]string, 0, len(t.Messages))
	for _, in := range t.Messages {
		if in.Text != "" {
			texts = append(texts, in.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// requestShape declares the names of request expressions; a nil value is of unknown type.
func requestShape() map[string]any {
	return map[string]any{
		"id": "", "attempt": 0, "tenant": "", "channel": "", "conversation": "", "address": "", "contact": "",
		"text": "", "lang": "", "messages": nil, "profile": nil,
	}
}

func requestEnv(t adapters.Turn) map[string]any {
	messages := make([]any, 0, len(t.Messages))
	for _, in := range t.Messages {
		messages = append(messages, messageEnv(in))
	}
	env := map[string]any{
		"id": t.ID, "attempt": max(t.Attempt, 1), "tenant": t.Tenant, "channel": t.From.Channel,
		"conversation": t.Conversation, "address": t.From.Address, "contact": t.Contact, "text": turnText(&t),
		"lang": t.Lang, "messages": messages, "profile": nil,
	}
	if p := t.Profile; p != nil {
		env["profile"] = map[string]any{
			"subject": p.Subject, "name": p.Name, "email": p.Email, "phone": p.Phone, "level": p.Level, "fields": p.Fields,
		}
	}
	return env
}

func messageEnv(in message.Inbound) map[string]any {
	attachments := make([]any, 0, len(in.Attachments))
	for _, a := range in.Attachments {
		attachments = append(attachments, map[string]any{"id": a.ID, "name": a.Name, "type": a.Type, "size": float64(a.Size)})
	}
	m := map[string]any{
		"id": in.ID, "kind": string(in.Kind), "text": in.Text, "quoted": in.Quoted, "choice": nil, "attachments": attachments,
	}
	if in.Choice != nil {
		m["choice"] = map[string]any{"id": in.Choice.ID, "label": in.Choice.Label}
	}
	return m
}

// requestMapping makes the body of a call. The zero value makes turnout's own.
type requestMapping struct {
	whole  *safeexpr.Program
	fields []requestField
	// quick makes the same body without an evaluation; nil when the expressions are more than names and constants.
	quick template
}

type requestField struct {
	name    string
	program *safeexpr.Program
}

func newRequestMapping(cfg Config) (m requestMapping, err error) {
	if cfg.RequestBody != "" {
		if m.whole, err = compile("request_body", cfg.RequestBody, requestShape()); err != nil {
			return requestMapping{}, err
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Request)) {
		p, err := compile("request."+name, cfg.Request[name], requestShape())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.fields = append(m.fields, requestField{name: name, program: p})
	}
	m.quick = m.template()
	return m, errors.Join(errs...)
}

// template returns the template of the whole body; nil when there is none.
func (m requestMapping) template() template {
	if m.whole != nil {
		return newTemplate(m.whole.Tree())
	}
	var members []member
	for _, f := range m.fields {
		members = append(members, member{name: f.name, value: newTemplate(f.program.Tree())})
	}
	if len(members) == 0 {
		return nil
	}
	return object(members)
}

func compile(field, source string, shape map[string]any) (*safeexpr.Program, error) {
	p, err := safeexpr.Compile(source, shape, safeexpr.Options{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return p, nil
}

// encode returns the body for a turn, which is the caller's. Its errors name the field and hold nothing of the turn.
func (m requestMapping) encode(t adapters.Turn) ([]byte, error) {
	own := m.whole == nil && len(m.fields) == 0
	switch {
	case own && plainTurn(&t):
		return appendOwnRequest(make([]byte, 0, 2*(bodyHint+textBytes(&t))), &t), nil
	case m.quick != nil:
		return m.quick.append(make([]byte, 0, bodyHint+textBytes(&t)), &t), nil
	}
	return m.evaluate(t)
}

// bodyHint is room for what bodies have beside texts.
const bodyHint = 256

func textBytes(t *adapters.Turn) (n int) {
	for i := range t.Messages {
		n += len(t.Messages[i].Text)
	}
	return n
}

// evaluate is encode for any mapping and any turn.
func (m requestMapping) evaluate(t adapters.Turn) ([]byte, error) {
	if m.whole == nil && len(m.fields) == 0 {
		return json.Marshal(newOwnRequest(t))
	}
	env := requestEnv(t)
	if m.whole != nil {
		value, err := m.whole.Eval(env)
		if err != nil {
			return nil, errors.New("evaluating request_body failed")
		}
		return marshal("request_body", value)
	}
	body := make(map[string]any, len(m.fields))
	for _, f := range m.fields {
		value, err := f.program.Eval(env)
		if err != nil {
			return nil, fmt.Errorf("evaluating request.%s failed", f.name)
		}
		body[f.name] = value
	}
	return marshal("request", body)
}

func marshal(field string, value any) ([]byte, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%s: the result cannot be written as JSON", field)
	}
	return body, nil
}
