package callback

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"turnout/adapters/message"
	"turnout/rules/safeexpr"
)

// mapping finds messages in requests of any form by expressions over body and item.
type mapping struct {
	each   *safeexpr.Program // nil: the body is the one message
	fields []mapped
}

type mapped struct {
	name    string
	program *safeexpr.Program
	set     func(m *ownMessage, v any) error
}

func mappingShape() map[string]any { return map[string]any{"body": nil, "item": nil} }

func newMapping(cfg *InboundConfig) (*mapping, error) {
	if cfg == nil {
		return nil, nil
	}
	m := &mapping{}
	var errs []error
	compile := func(name, source string) *safeexpr.Program {
		p, err := safeexpr.Compile(source, mappingShape(), safeexpr.Options{})
		if err != nil {
			errs = append(errs, fmt.Errorf("inbound.%s: %w", name, err))
		}
		return p
	}
	if cfg.Each != "" {
		m.each = compile("each", cfg.Each)
	}
	for _, f := range []struct {
		name, source string
		set          func(m *ownMessage, v any) error
	}{
		{"id", cfg.ID, func(m *ownMessage, v any) (err error) { m.ID, err = name(v); return err }},
		{"from", cfg.From, func(m *ownMessage, v any) (err error) { m.From, err = name(v); return err }},
		{"text", cfg.Text, func(m *ownMessage, v any) (err error) { m.Text, err = text(v); return err }},
		{"kind", cfg.Kind, func(m *ownMessage, v any) error {
			s, err := text(v)
			m.Kind = message.Kind(s)
			return err
		}},
		{"choice", cfg.Choice, setChoice},
		{"lang", cfg.Lang, func(m *ownMessage, v any) (err error) { m.Lang, err = text(v); return err }},
		{"profile", cfg.Profile, setProfile},
	} {
		if f.source != "" {
			m.fields = append(m.fields, mapped{f.name, compile(f.name, f.source), f.set})
		}
	}
	return m, errors.Join(errs...)
}

// messages reads the messages of a request. An item whose id is nil is none: what the app's server posts besides messages.
// Errors name the field; what an evaluation says about values is not repeated.
func (m *mapping) messages(raw []byte, most int) ([]ownMessage, error) {
	var body any
	if !utf8.Valid(raw) || json.Unmarshal(raw, &body) != nil {
		return nil, badRequest("The body is not valid JSON.")
	}
	items := []any{body}
	if m.each != nil {
		v, err := m.each.Eval(map[string]any{"body": body, "item": nil})
		if err != nil {
			return nil, badRequest("The expression inbound.each does not fit the body.")
		}
		list, ok := v.([]any)
		if !ok {
			return nil, badRequest("The expression inbound.each finds no list in the body.")
		}
		items = list
	}
	if len(items) > most {
		return nil, badRequest("The request holds more than %d messages.", most)
	}
	var out []ownMessage
	for _, item := range items {
		msg, ok, err := m.message(map[string]any{"body": body, "item": item})
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, msg)
		}
	}
	return out, nil
}

func (m *mapping) message(env map[string]any) (msg ownMessage, ok bool, err error) {
	for _, f := range m.fields {
		v, err := f.program.Eval(env)
		if err != nil {
			return msg, false, badRequest("The expression inbound.%s does not fit the body.", f.name)
		}
		if v == nil {
			if f.name == "id" {
				return msg, false, nil
			}
			continue
		}
		if err := f.set(&msg, v); err != nil {
			return msg, false, badRequest("The expression inbound.%s finds %s.", f.name, err.Error())
		}
	}
	return msg, true, nil
}

// name reads what names something: a string, or a whole number that JSON carries exactly.
func name(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatFloat(v, 'f', -1, 64), nil
		}
		return "", errors.New("a number that JSON does not carry exactly; send it as a string")
	}
	return "", errors.New("no string")
}

func text(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", errors.New("no string")
	}
	return s, nil
}

func setChoice(m *ownMessage, v any) error {
	o, ok := v.(map[string]any)
	if !ok {
		return errors.New("no object with id and label")
	}
	id, err := name(o["id"])
	if err != nil {
		return err
	}
	label, err := text(o["label"])
	m.Choice = &message.Choice{ID: id, Label: label}
	return err
}

func setProfile(m *ownMessage, v any) error {
	// The forms are the same: what does not fit the struct does not fit the channel.
	raw, err := json.Marshal(v)
	if err != nil {
		return errors.New("no profile")
	}
	p := new(message.Profile)
	if decodeStrict(raw, p) != nil {
		return errors.New("no profile")
	}
	m.Profile = p
	return nil
}
