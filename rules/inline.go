package rules

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// TestResult is the outcome of one inline test.
type TestResult struct {
	Rule         string
	File         string
	Line, Column int // of the test
	Want, Got    bool
	// Exchange is what the rule was shown.
	Exchange Exchange
	// Err is set when the condition could not be evaluated; the test has failed then.
	Err error
}

// Passed reports whether the rule did what the test says.
func (r TestResult) Passed() bool { return r.Err == nil && r.Got == r.Want }

// sample is an inline test: an exchange and what is expected of the rule.
type sample struct {
	line, column int
	exchange     Exchange
	want         bool
	scores       map[string]float64 // set by the test; the others are computed
	before       []step             // the turns before
	minutes      float64            // that the conversation has been open
}

// testNow is the time of an exchange in a test that names none: a Monday noon, so that tests do not depend on the day
// they run.
func testNow() time.Time { return time.Date(2024, time.January, 1, 12, 0, 0, 0, time.UTC) }

// Test runs the inline tests of every rule, those switched off included, in order of evaluation. Each test judges its
// own rule alone. Signals that a test does not set are computed by d from its texts.
func (s *Set) Test(d signal.Detector) []TestResult {
	var results []TestResult
	for _, r := range s.rules {
		for _, t := range r.tests {
			x := t.shown(r.phase, d)
			got, err := s.evalOne(r, &x)
			results = append(results, TestResult{
				Rule: r.id, File: r.file, Line: t.line, Column: t.column, Want: t.want, Got: got, Exchange: x, Err: err,
			})
		}
	}
	return results
}

// SelfTest runs the inline tests of the enforced locked rules through Eval itself, as customers' messages go through it. It
// returns those that did not come out as written.
func (s *Set) SelfTest(d signal.Detector) []TestResult {
	var failed []TestResult
	for _, r := range s.rules {
		if !r.locked || r.mode != Enforce {
			continue
		}
		for _, t := range r.tests {
			x := t.shown(r.phase, d)
			v := s.Eval(&x)
			result := TestResult{Rule: r.id, File: r.file, Line: t.line, Column: t.column, Want: t.want, Exchange: x}
			result.Got = slices.ContainsFunc(v.Matched, func(m Match) bool { return m.Rule == r.id })
			if slices.ContainsFunc(v.Failed, func(f Failure) bool { return f.Rule == r.id }) {
				result.Err = errEvaluation
			}
			if !result.Passed() {
				failed = append(failed, result)
			}
		}
	}
	return failed
}

// shown is the exchange of a test as the rules of a phase see it.
func (t *sample) shown(phase Phase, d signal.Detector) Exchange {
	x := t.exchange
	x.Phase = phase
	var m signal.Memory
	for i := range t.before {
		m = t.before[i].remember(d, m, x.Lang)
	}
	x.Scores, m = d.Customer(x.Message.Text, x.Lang, m)
	if x.Bot != nil {
		answer, _ := d.Bot(x.Bot.Text, m)
		x.Scores = x.Scores.Merge(answer)
	}
	if x.Lang == "" {
		x.Lang = m.Language
	}
	for name, score := range t.scores {
		setScore(&x.Scores, name, score)
	}
	return x
}

var errEvaluation = errors.New(failureReason)

// evalOne evaluates the condition of r as Eval would.
func (s *Set) evalOne(r *rule, x *Exchange) (bool, error) {
	f := s.frames.get(x)
	defer s.frames.put(f)
	limits := []int{window}
	if r.locked {
		limits = append(limits, math.MaxInt)
	}
	for _, limit := range limits {
		f.show(s.phases[r.phase], limit)
		f.failed = false
		matches := r.condition.eval(f)
		if f.failed {
			return false, errEvaluation
		}
		if matches {
			return true, nil
		}
	}
	return false, nil
}

func setScore(s *signal.Scores, name string, score float64) {
	switch name {
	case "human_request":
		s.HumanRequest = score
	case "frustration":
		s.Frustration = score
	case "repeat":
		s.Repeat = score
	case "bot_fallback":
		s.BotFallback = score
	case "bot_repeat":
		s.BotRepeat = score
	}
}

// shownFields are what a test may say of an exchange.
const shownFields = "text, quoted, kind, channel, lang, choice, attachments, bot, profile, account, signal, turns, returns, handoffs, minutes_open, now, queues, tags"

const sampleFields = shownFields + ", before, match"

func (d *document) readSample(node ast.Node) (sample, bool) {
	pairs, ok := d.mapping(node, "a test")
	if !ok {
		return sample{}, false
	}
	s := newSample(node)
	hasMatch := false
	for _, p := range pairs {
		switch p.key {
		case "before":
			s.before = d.readSteps(p, false)
			if !hasKey(pairs, "turns") {
				s.exchange.Turns = len(s.before) + 1
			}
		case "match":
			hasMatch = true
			s.want = d.boolean(p.value, p.key)
		default:
			if !d.shownField(&s, p) {
				d.unknown(p, "a test", sampleFields)
			}
		}
	}
	s.open()
	if !hasMatch {
		d.fail(node, "a test needs match: true or match: false")
	}
	return s, true
}

func newSample(node ast.Node) sample {
	s := sample{exchange: Exchange{Now: testNow(), Turns: 1, Message: message.Inbound{Kind: message.Text}}}
	s.line, s.column = place(node)
	return s
}

func hasKey(pairs []pair, key string) bool {
	return slices.ContainsFunc(pairs, func(p pair) bool { return p.key == key })
}

// open dates the conversation's beginning back by the minutes that the test wants.
func (s *sample) open() {
	s.exchange.OpenedAt = s.exchange.Now.Add(-time.Duration(s.minutes * float64(time.Minute)))
}

// shownField reads one of shownFields into s. It reports false for any other.
func (d *document) shownField(s *sample, p pair) bool {
	x := &s.exchange
	switch p.key {
	case "text":
		x.Message.Text = d.sampleText(p)
	case "quoted":
		x.Message.Quoted = d.sampleText(p)
	case "kind":
		x.Message.Kind = message.Kind(d.text(p.value, p.key, 64))
		if x.Message.Kind != "" && !x.Message.Kind.Valid() {
			d.fail(p.value, "kind %q is not a kind of message", x.Message.Kind)
		}
	case "channel":
		x.Message.From.Channel = d.text(p.value, p.key, 200)
	case "lang":
		x.Lang = d.text(p.value, p.key, 35)
	case "choice":
		x.Message.Choice = &message.Choice{ID: d.text(p.value, p.key, 200)}
	case "attachments":
		for _, mediaType := range d.names(p.value, p.key) {
			x.Message.Attachments = append(x.Message.Attachments, message.Attachment{Type: mediaType})
		}
	case "bot":
		x.Bot = d.sampleBot(p)
	case "profile":
		x.Profile = d.sampleProfile(p)
	case "account":
		x.Account = d.sampleAccount(p)
	case "signal":
		s.scores = d.sampleScores(p)
	case "turns":
		x.Turns = d.integer(p.value, p.key)
	case "returns":
		x.Returns = d.integer(p.value, p.key)
	case "handoffs":
		x.Handoffs = d.integer(p.value, p.key)
	case "minutes_open":
		s.minutes = d.number(p.value, p.key)
	case "now":
		x.Now = d.sampleTime(p)
	case "queues":
		x.Queues = d.sampleQueues(p)
	case "tags":
		x.Tags = d.names(p.value, p.key)
	default:
		return false
	}
	return true
}

// sampleText reads a text that may be empty.
func (d *document) sampleText(p pair) string {
	if n, ok := p.value.(*ast.StringNode); ok && n.Value == "" {
		return ""
	}
	return d.text(p.value, p.key, maxSample)
}

// sampleBot reads an answer: its text alone, or its fields.
func (d *document) sampleBot(bot pair) *BotView {
	b := &BotView{Parts: 1}
	switch bot.value.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		b.Text = d.sampleText(bot)
		return b
	}
	pairs, _ := d.mapping(bot.value, "bot")
	for _, p := range pairs {
		switch p.key {
		case "text":
			b.Text = d.sampleText(p)
		case "confidence":
			confidence := d.number(p.value, p.key)
			b.Confidence = &confidence
		case "intent":
			b.Intent = d.text(p.value, p.key, 200)
		case "fallback":
			fallback := d.boolean(p.value, p.key)
			b.Fallback = &fallback
		case "end":
			b.End = d.boolean(p.value, p.key)
		case "handoff":
			b.Handoff = d.boolean(p.value, p.key)
		case "sources":
			b.Sources = d.integer(p.value, p.key)
		case "parts":
			b.Parts = d.integer(p.value, p.key)
		default:
			d.unknown(p, "bot", groups["bot"])
		}
	}
	return b
}

func (d *document) sampleProfile(profile pair) *message.Profile {
	pairs, _ := d.mapping(profile.value, "profile")
	out := &message.Profile{}
	for _, p := range pairs {
		switch p.key {
		case "subject":
			out.Subject = d.text(p.value, p.key, 200)
		case "name":
			out.Name = d.text(p.value, p.key, 200)
		case "email":
			out.Email = d.text(p.value, p.key, 200)
		case "phone":
			out.Phone = d.text(p.value, p.key, 200)
		case "level":
			out.Level = d.text(p.value, p.key, 200)
		case "fields":
			out.Fields = d.sampleValues(p)
		default:
			d.unknown(p, "profile", "subject, name, email, phone, level, fields")
		}
	}
	return out
}

// sampleValues reads attributes of a customer.
func (d *document) sampleValues(fields pair) map[string]any {
	out := map[string]any{}
	pairs, _ := d.mapping(fields.value, fields.key)
	for _, p := range pairs {
		switch n := p.value.(type) {
		case *ast.BoolNode:
			out[p.key] = n.Value
		case *ast.IntegerNode, *ast.FloatNode:
			out[p.key] = d.number(p.value, p.key)
		default:
			out[p.key] = d.text(p.value, p.key, 1000)
		}
	}
	return out
}

// sampleAccount reads what a tenant's own system says of a customer. The past tickets are only counted.
func (d *document) sampleAccount(account pair) *message.Account {
	pairs, _ := d.mapping(account.value, "account")
	out := &message.Account{}
	for _, p := range pairs {
		switch p.key {
		case "known":
			out.Unknown = !d.boolean(p.value, p.key)
		case "name":
			out.Name = d.text(p.value, p.key, 200)
		case "tickets":
			n := d.integer(p.value, p.key)
			if n < 0 || n > seenItems {
				d.fail(p.value, "tickets is how many there are, at most 50")
				n = 0
			}
			out.Tickets = make([]message.Ticket, n)
		case "fields":
			out.Fields = d.sampleValues(p)
		default:
			d.unknown(p, "account", "known, name, tickets, fields")
		}
	}
	return out
}

func (d *document) sampleScores(scores pair) map[string]float64 {
	pairs, _ := d.mapping(scores.value, "signal")
	out := map[string]float64{}
	for _, p := range pairs {
		if _, problem := newNames().lookup([]string{"signal", p.key}, Answer); problem != "" {
			d.fail(p.name, "%s", problem)
			continue
		}
		score := d.number(p.value, p.key)
		if !(score >= 0 && score <= 1) {
			d.fail(p.value, "a signal is between 0 and 1")
			continue
		}
		out[p.key] = score
	}
	return out
}

func (d *document) sampleTime(now pair) time.Time {
	s := d.text(now.value, "now", 64)
	if s == "" {
		return testNow()
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	d.fail(now.value, "now must be a time like 2026-03-08 14:30")
	return testNow()
}

func (d *document) sampleQueues(queues pair) map[string]QueueView {
	pairs, _ := d.mapping(queues.value, "queues")
	out := map[string]QueueView{}
	for _, q := range pairs {
		figures, _ := d.mapping(q.value, "a queue")
		var view QueueView
		for _, p := range figures {
			switch p.key {
			case "waiting":
				view.Waiting = d.integer(p.value, p.key)
			case "online":
				view.Online = d.integer(p.value, p.key)
			default:
				d.unknown(p, "a queue", "waiting, online")
			}
		}
		out[q.key] = view
	}
	return out
}
