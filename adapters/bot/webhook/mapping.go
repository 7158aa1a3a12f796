package webhook

import (
	"errors"
	"fmt"

	"turnout/adapters"
	"turnout/rules/safeexpr"
)

// responseMapping finds the fields of an answer by expressions over the names body, the decoded JSON, and status.
type responseMapping struct {
	fields []responseField
	// simple is set when every field has a path.
	simple bool
}

type responseField struct {
	name    string
	program *safeexpr.Program
	path    []string // of the member that the expression names; nil when it does something else
	set     func(a *adapters.Answer, field string, v any) error
}

func responseShape() map[string]any { return map[string]any{"body": nil, "status": 0} }

func newResponseMapping(cfg *ResponseConfig) (*responseMapping, error) {
	if cfg == nil {
		return nil, nil
	}
	m := &responseMapping{simple: true}
	var errs []error
	for _, f := range []struct {
		name, source string
		set          func(a *adapters.Answer, field string, v any) error
	}{
		{"text", cfg.Text, setParts},
		{"parts", cfg.Parts, setParts},
		{"confidence", cfg.Confidence, func(a *adapters.Answer, field string, v any) (err error) {
			a.Confidence, err = readConfidence(field, v)
			return err
		}},
		{"intent", cfg.Intent, func(a *adapters.Answer, field string, v any) (err error) {
			a.Intent, err = readName(field, v)
			return err
		}},
		{"fallback", cfg.Fallback, func(a *adapters.Answer, field string, v any) (err error) {
			a.Fallback, err = readFlag(field, v)
			return err
		}},
		{"handoff", cfg.Handoff, func(a *adapters.Answer, field string, v any) (err error) {
			a.Handoff, err = readHandoff(field, v)
			return err
		}},
		{"end", cfg.End, func(a *adapters.Answer, field string, v any) error {
			end, err := readFlag(field, v)
			a.End = end != nil && *end
			return err
		}},
		{"sources", cfg.Sources, func(a *adapters.Answer, field string, v any) (err error) {
			a.Sources, err = readSources(field, v)
			return err
		}},
	} {
		if f.source == "" {
			continue
		}
		p, err := compile("response."+f.name, f.source, responseShape())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		path := memberPath(p.Tree())
		m.simple = m.simple && path != nil
		m.fields = append(m.fields, responseField{name: "response." + f.name, program: p, path: path, set: f.set})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(m.fields) == 0 {
		return nil, errors.New("response: has no expressions; leave it out to use the usual shapes")
	}
	return m, nil
}

func setParts(a *adapters.Answer, field string, v any) (err error) {
	a.Parts, err = readParts(field, plain(v))
	return err
}

// apply reads an answer out of a body. Errors name the field; what an evaluation says about values is not repeated.
func (m *responseMapping) apply(body any, status int) (a adapters.Answer, err error) {
	env := map[string]any{"body": body, "status": status}
	for _, f := range m.fields {
		v, err := f.program.Eval(env)
		if err != nil {
			return adapters.Answer{}, fmt.Errorf("%s: evaluating failed", f.name)
		}
		if err := f.set(&a, f.name, v); err != nil {
			return adapters.Answer{}, err
		}
	}
	return a, nil
}

// pick is apply for a body that is not decoded yet, and a mapping that is simple. It is not ok when the answer takes a
// decoding of the whole body; a and err mean nothing then.
func (m *responseMapping) pick(body []byte) (a adapters.Answer, ok bool, err error) {
	for _, f := range m.fields {
		v, ok := valueAt(body, f.path)
		if !ok {
			return adapters.Answer{}, false, nil
		}
		if err := f.set(&a, f.name, v); err != nil {
			return adapters.Answer{}, true, err
		}
	}
	return a, true, nil
}

// plain turns the lists of strings that some functions of expressions return into the form that JSON decodes to.
func plain(v any) any {
	list, ok := v.([]string)
	if !ok {
		return v
	}
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
