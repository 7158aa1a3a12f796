package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"turnout/adapters/message"
	"turnout/rules/safeexpr"
)

const (
	maxText = 256      // bytes of a name, a status, an id, a ticket's subject and a value
	maxURL  = 1024     // bytes of a ticket's URL
	maxSize = 16 << 10 // bytes of a whole account, as it is stored with every step of a conversation
)

var fieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// mapping reads accounts out of answers.
type mapping struct {
	known, name, tickets *safeexpr.Program // nil: not mapped
	fields               []mappedField
	maxTickets           int
}

type mappedField struct {
	name    string
	program *safeexpr.Program
}

func responseShape() map[string]any { return map[string]any{"body": nil, "status": 0} }

func newMapping(cfg *Config) (mapping, error) {
	m := mapping{maxTickets: cfg.MaxTickets}
	var errs []error
	compile := func(field, source string) *safeexpr.Program {
		if source == "" {
			return nil
		}
		p, err := safeexpr.Compile(source, responseShape(), safeexpr.Options{})
		if err != nil {
			errs = append(errs, fmt.Errorf("response.%s: %w", field, err))
		}
		return p
	}
	r := &cfg.Response
	m.known, m.name, m.tickets = compile("known", r.Known), compile("name", r.Name), compile("tickets", r.Tickets)
	for _, name := range slices.Sorted(maps.Keys(r.Fields)) {
		if !fieldName.MatchString(name) {
			errs = append(errs, errors.New("response.fields: a name is letters, digits and underscores, for rules to write account.fields.<name>"))
			continue
		}
		m.fields = append(m.fields, mappedField{name, compile("fields."+name, r.Fields[name])})
	}
	return m, errors.Join(errs...)
}

// account reads an answer; a nil body is that there is no such customer. Its errors name the field and hold nothing of the
// answer.
func (m *mapping) account(body []byte, status int) (a message.Account, err error) {
	if body == nil {
		return message.Account{Unknown: true}, nil
	}
	var decoded any
	if err := json.Unmarshal(body, &decoded); err != nil {
		return a, garbage("the response is not JSON")
	}
	env := map[string]any{"body": decoded, "status": status}
	if m.known != nil {
		v, err := m.known.Eval(env)
		known, ok := v.(bool)
		if err != nil || v != nil && !ok {
			return a, garbage("response.known: is not true or false")
		}
		if !known {
			return message.Account{Unknown: true}, nil
		}
	}
	if m.name != nil {
		v, err := m.name.Eval(env)
		name, ok := v.(string)
		if err == nil && v != nil && !ok {
			return a, garbage("response.name: is not a text")
		}
		a.Name = clean(name)
	}
	for _, f := range m.fields {
		v, err := f.program.Eval(env)
		if err != nil {
			continue // it looks into something that the answer has not: the value is absent
		}
		value, ok := scalar(v)
		if !ok {
			return a, garbage("response.fields." + f.name + ": is neither a text, a number nor a boolean")
		}
		if value != nil {
			if a.Fields == nil {
				a.Fields = map[string]any{}
			}
			a.Fields[f.name] = value
		}
	}
	if m.tickets != nil {
		v, err := m.tickets.Eval(env)
		list, ok := v.([]any)
		if err == nil && v != nil && !ok {
			return a, garbage("response.tickets: is not a list")
		}
		a.Tickets = m.read(list)
	}
	return a, fit(&a)
}

// read reads past tickets. What is none, for want of an id, is passed over.
func (m *mapping) read(list []any) (out []message.Ticket) {
	for _, item := range list {
		if len(out) == m.maxTickets {
			break
		}
		o, ok := item.(map[string]any)
		if !ok {
			continue
		}
		t := message.Ticket{ID: text(o["id"]), Subject: text(o["subject"]), Status: text(o["status"]), At: instant(o["at"]), URL: link(o["url"])}
		if t.ID != "" {
			out = append(out, t)
		}
	}
	return out
}

// fit cuts past tickets off until the account has its size; one that is too large without them is an error.
func fit(a *message.Account) error {
	for {
		b, err := json.Marshal(a)
		switch {
		case err != nil:
			return garbage("the account cannot be written as JSON")
		case len(b) <= maxSize:
			return nil
		case len(a.Tickets) == 0:
			return garbage("the mapped account is larger than 16 KiB")
		}
		a.Tickets = a.Tickets[:len(a.Tickets)-1]
	}
}

// scalar takes what may be the value of a field; nil for null.
func scalar(v any) (any, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case bool:
		return v, true
	case string:
		return clean(v), true
	case int:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return nil, false
}

// text is a text, or a number as one writes it: many systems count their tickets.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return clean(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return fmt.Sprintf("%.0f", v)
		}
	case int:
		return fmt.Sprint(v)
	}
	return ""
}

// clean keeps one line of valid UTF-8 without control characters, at most maxText bytes, cut between characters.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case r < ' ' || r >= 0x7f && r <= 0x9f:
			return -1
		}
		return r
	}, s)
	if len(s) > maxText {
		end := maxText
		for !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.TrimSpace(s)
}

// instant reads a time as RFC 3339, a date, or seconds or milliseconds since 1970; zero for anything else.
func instant(v any) time.Time {
	switch v := v.(type) {
	case string:
		for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
			if t, err := time.Parse(layout, v); err == nil && t.Year() > 0 && t.Year() < 10_000 {
				return t.UTC().Truncate(time.Millisecond)
			}
		}
	case float64:
		if v > 0 && v < 1e14 {
			if v < 1e11 {
				v *= 1000
			}
			return time.UnixMilli(int64(v)).UTC()
		}
	case int:
		return instant(float64(v))
	}
	return time.Time{}
}

// link returns an absolute http or https URL, and "" for everything else: agents will follow it.
func link(v any) string {
	s, ok := v.(string)
	if !ok || len(s) > maxURL {
		return ""
	}
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}
