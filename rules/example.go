package rules

import (
	"strings"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// Example is an exchange that somebody made up to see what rules make of it.
type Example struct{ sample sample }

// NewExample returns the exchange of a message and, if it is not empty, an answer.
func NewExample(text, answer, lang string) *Example {
	e := &Example{sample{exchange: Exchange{Now: testNow(), OpenedAt: testNow(), Turns: 1, Lang: lang}}}
	e.sample.exchange.Message = message.Inbound{Kind: message.Text, Text: text}
	if answer != "" {
		e.sample.exchange.Bot = &BotView{Text: answer, Parts: 1}
	}
	return e
}

const exampleFields = shownFields + ", before"

// ReadExample reads an exchange from YAML with the fields of a test. The error is a Faults.
func ReadExample(source Source) (*Example, error) {
	d := &document{name: source.Name, lines: strings.Split(string(source.Data), "\n")}
	body := d.parse(source.Data)
	if body == nil {
		if len(d.faults) == 0 {
			d.failAt(1, 1, "file has no exchange: it needs a text, and what else is known")
		}
		return nil, d.faults
	}
	e := &Example{newSample(body)}
	pairs, _ := d.mapping(body, "an exchange")
	for _, p := range pairs {
		if p.key == "before" {
			e.sample.before = d.readSteps(p, false)
			if !hasKey(pairs, "turns") {
				e.sample.exchange.Turns = len(e.sample.before) + 1
			}
		} else if !d.shownField(&e.sample, p) {
			d.unknown(p, "an exchange", exampleFields)
		}
	}
	e.sample.open()
	if len(d.faults) > 0 {
		d.faults.sort()
		return nil, d.faults
	}
	return e, nil
}

// Answered reports whether the exchange has an answer.
func (e *Example) Answered() bool { return e.sample.exchange.Bot != nil }

// Exchange is the exchange as rules of a phase see it; what it does not say of signals is computed by d.
func (e *Example) Exchange(phase Phase, d signal.Detector) *Exchange {
	x := e.sample.shown(phase, d)
	return &x
}
