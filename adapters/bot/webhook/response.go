package webhook

import (
	"encoding/json"
	"errors"
	"fmt"

	"turnout/adapters"
	"turnout/adapters/clean"
	"turnout/adapters/message"
)

const (
	maxParts     = 32
	maxTextBytes = 64 << 10 // of all parts together
	maxChoices   = 32
	maxSources   = 32
	// A calculated confidence may miss the ends of 0..1 by this much.
	confidenceSlack = 1e-6
)

// decode makes an answer of a body, by the mapping or, without one, by the usual shapes. The error is a
// *adapters.BotError and holds nothing of the body.
func decode(body []byte, status int, m *responseMapping) (adapters.Answer, error) {
	if len(body) == 0 {
		return adapters.Answer{}, garbage("the response is empty")
	}
	a, ok, err := decodePlaces(body, m)
	if !ok {
		a, err = decodeWhole(body, status, m)
	}
	if err != nil {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotGarbage, Err: err}
	}
	size := 0
	for _, p := range a.Parts {
		size += len(p.Text)
	}
	if len(a.Parts) > maxParts || size > maxTextBytes {
		return adapters.Answer{}, &adapters.BotError{
			Kind: adapters.BotTooLarge, Err: fmt.Errorf("the answer has more than %d parts or %d bytes of text", maxParts, maxTextBytes),
		}
	}
	return a, nil
}

// decodeWhole decodes a body whatever it is and whatever the mapping.
func decodeWhole(body []byte, status int, m *responseMapping) (adapters.Answer, error) {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return adapters.Answer{}, errors.New("the response is not JSON")
	}
	if m != nil {
		return m.apply(v, status)
	}
	return usual(v)
}

// decodePlaces is decodeWhole for bodies and mappings of which only a few places need decoding. It is not ok for others;
// a and err mean nothing then.
func decodePlaces(body []byte, m *responseMapping) (a adapters.Answer, ok bool, err error) {
	if m != nil && !m.simple {
		return adapters.Answer{}, false, nil
	}
	if m != nil {
		return m.pick(body)
	}
	o, ok := usualMembers(body)
	if !ok {
		return adapters.Answer{}, false, nil
	}
	a, err = usual(o)
	return a, true, err
}

// usual understands an object with text, reply or messages and the fields of turnout's own contract, and a bare list of
// messages as Rasa sends it. Fields that it does not know are passed over.
func usual(v any) (a adapters.Answer, err error) {
	if list, ok := v.([]any); ok {
		a.Parts, err = readParts("the response", list)
		return a, err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return a, fmt.Errorf("the response is neither an object nor a list")
	}
	known := false
	for _, name := range []string{"messages", "text", "reply"} {
		said, there := o[name]
		if !there || said == nil {
			continue
		}
		known = true
		if a.Parts, err = readParts(name, said); err != nil {
			return a, err
		}
		break
	}
	known = readExtras(&a, o, &err) || known
	if err == nil && !known {
		err = fmt.Errorf("the response has none of messages, text, reply, handoff and end")
	}
	return a, err
}

// readExtras reads everything but what is said, and reports whether any of it makes an answer by itself.
func readExtras(a *adapters.Answer, o map[string]any, err *error) bool {
	keep := func(e error) {
		if *err == nil {
			*err = e
		}
	}
	var e error
	a.Confidence, e = readConfidence("confidence", o["confidence"])
	keep(e)
	intent := o["intent"]
	// Understanding services put the intent's name beside its own confidence.
	if named, ok := intent.(map[string]any); ok {
		intent = named["name"]
	}
	a.Intent, e = readName("intent", intent)
	keep(e)
	a.Fallback, e = readFlag("fallback", o["fallback"])
	keep(e)
	a.Handoff, e = readHandoff("handoff", o["handoff"])
	keep(e)
	end, e := readFlag("end", o["end"])
	keep(e)
	a.End = end != nil && *end
	a.Sources, e = readSources("sources", o["sources"])
	keep(e)
	return a.Handoff != nil || end != nil
}

// readParts reads what is said: a string, an object, or a list of these.
func readParts(field string, v any) ([]message.Part, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) > maxParts {
		list = list[:maxParts+1]
	}
	var parts []message.Part
	for _, item := range list {
		p, err := readPart(item)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		if !p.Empty() {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

func readPart(v any) (p message.Part, err error) {
	switch v := v.(type) {
	case nil:
		return p, nil
	case string:
		p.Text = clean.Text(v)
		return p, nil
	case map[string]any:
		text, ok := v["text"].(string)
		if !ok && v["text"] != nil {
			return p, fmt.Errorf("text is not a string")
		}
		p.Text = clean.Text(text)
		if lang, ok := v["lang"].(string); ok && len(lang) <= 35 {
			p.Lang = clean.Name(lang)
		}
		for _, name := range []string{"choices", "buttons", "quick_replies"} {
			if p.Choices = append(p.Choices, readChoices(v[name])...); len(p.Choices) > maxChoices {
				p.Choices = p.Choices[:maxChoices]
			}
		}
		for _, name := range []string{"link", "image", "attachment"} {
			if link, ok := v[name].(string); ok && p.Link == "" {
				p.Link = clean.Link(link)
			}
		}
		return p, nil
	}
	return p, fmt.Errorf("a message is neither a string nor an object")
}

// readChoices reads buttons; what is none is passed over, because the text still says what there is to say.
func readChoices(v any) []message.Choice {
	list, _ := v.([]any)
	var choices []message.Choice
	for _, item := range list {
		var c message.Choice
		switch item := item.(type) {
		case string:
			c = message.Choice{ID: item, Label: item}
		case map[string]any:
			c = message.Choice{ID: first(item, "id", "payload", "value"), Label: first(item, "label", "title", "text")}
		}
		c.ID, c.Label = clean.Name(c.ID), clean.Name(c.Label)
		if c.ID == "" {
			c.ID = c.Label
		}
		if c.Label != "" {
			choices = append(choices, c)
		}
	}
	return choices
}

func first(o map[string]any, names ...string) string {
	for _, name := range names {
		if s, ok := o[name].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

func readConfidence(field string, v any) (*float64, error) {
	if v == nil {
		return nil, nil
	}
	f, ok := v.(float64)
	if i, isInt := v.(int); isInt {
		f, ok = float64(i), true
	}
	if !ok || !(f >= -confidenceSlack && f <= 1+confidenceSlack) {
		return nil, fmt.Errorf("%s is not a number from 0 to 1", field)
	}
	f = min(max(f, 0), 1)
	return &f, nil
}

func readName(field string, v any) (string, error) {
	if v == nil {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is not a string", field)
	}
	return clean.Name(s), nil
}

func readFlag(field string, v any) (*bool, error) {
	if v == nil {
		return nil, nil
	}
	b, ok := v.(bool)
	if !ok {
		return nil, fmt.Errorf("%s is not true or false", field)
	}
	return &b, nil
}

func readHandoff(field string, v any) (*adapters.HandoffRequest, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		if !v {
			return nil, nil
		}
		return &adapters.HandoffRequest{}, nil
	case string:
		if v == "" {
			return nil, nil
		}
		return &adapters.HandoffRequest{Reason: clean.Name(v)}, nil
	case map[string]any:
		return &adapters.HandoffRequest{Reason: clean.Name(first(v, "reason")), Queue: clean.Name(first(v, "queue"))}, nil
	}
	return nil, fmt.Errorf("%s is neither true or false, nor a reason, nor an object", field)
}

func readSources(field string, v any) ([]adapters.Source, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", field)
	}
	var sources []adapters.Source
	for _, item := range list[:min(len(list), maxSources)] {
		switch item := item.(type) {
		case string:
			if link := clean.Link(item); link != "" {
				sources = append(sources, adapters.Source{URL: link})
			} else {
				sources = append(sources, adapters.Source{Title: clean.Name(item)})
			}
		case map[string]any:
			sources = append(sources, adapters.Source{Title: clean.Name(first(item, "title", "name")), URL: clean.Link(first(item, "url", "link"))})
		default:
			return nil, fmt.Errorf("%s has something that is neither a string nor an object", field)
		}
	}
	return sources, nil
}
