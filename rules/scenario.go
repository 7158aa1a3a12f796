package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"turnout/rules/signal"
)

// Limits on a file of tests.
const (
	maxScenarios = 2000
	maxSteps     = 100 // turns of one test
)

// Scenario is one test of a file of tests: a conversation, and what all rules together must make of it.
type Scenario struct {
	Name         string
	File         string
	Line, Column int

	steps []step
}

// step is one turn of a scenario.
type step struct {
	sample
	after    time.Duration // since the step before; 0 with an own now
	hasNow   bool
	has      map[string]bool // fields that the step sets itself; the others go on
	returned bool            // people gave the conversation back before
	expect   *expectation
}

// expectation is what a step must come to. What it does not name is not looked at.
type expectation struct {
	match, noMatch []string
	handoff        *handoffWish
	says, replaces string
	answer         string // sent, withheld or replaced
	bot            string // that a rule chooses
	tags, notify   []string
	mustReachHuman *bool
}

type handoffWish struct {
	any, none   bool
	queue, rule string
	priority    int
}

// NamedTests reports whether data is a file of tests, as opposed to one of rules.
func NamedTests(data []byte) bool {
	for line := range strings.Lines(string(data)) {
		if key, _, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, " ") {
			return strings.TrimSpace(key) == "tests"
		}
	}
	return false
}

// ReadTests reads files of tests, in the order given. The error is a Faults with every mistake of every file.
func ReadTests(sources []Source) ([]Scenario, error) {
	var out []Scenario
	var faults Faults
	for _, source := range sources {
		d := &document{name: source.Name, lines: strings.Split(string(source.Data), "\n")}
		out = append(out, d.readScenarios(source.Data)...)
		faults = append(faults, d.faults...)
	}
	if len(faults) > 0 {
		faults.sort()
		return nil, faults
	}
	return out, nil
}

func (d *document) readScenarios(data []byte) []Scenario {
	body := d.parse(data)
	if body == nil {
		if len(d.faults) == 0 {
			d.failAt(1, 1, "file has no tests: it needs a list under tests:")
		}
		return nil
	}
	top, ok := d.mapping(body, "a file of tests")
	if !ok {
		return nil
	}
	var out []Scenario
	names := map[string]int{}
	for _, p := range top {
		if p.key != "tests" {
			d.unknown(p, "a file of tests", "tests")
			continue
		}
		items := d.sequence(p.value, "tests")
		if len(items) > maxScenarios {
			d.fail(p.value, "a file may have at most %d tests", maxScenarios)
			return nil
		}
		for _, item := range items {
			s, ok := d.readScenario(item)
			if !ok {
				continue
			}
			if line := names[s.Name]; line > 0 && s.Name != "" {
				d.failAt(s.Line, s.Column, "a test of this name stands at line %d already", line)
			}
			names[s.Name] = s.Line
			out = append(out, s)
		}
	}
	if !hasKey(top, "tests") {
		d.fail(body, "file has no tests: it needs a list under tests:")
	}
	return out
}

const scenarioFields = "name, turns, expect, and what a turn has"

// readScenario reads a test: its one turn written out in it, or a list under turns.
func (d *document) readScenario(node ast.Node) (Scenario, bool) {
	pairs, ok := d.mapping(node, "a test")
	if !ok {
		return Scenario{}, false
	}
	s := Scenario{File: d.name}
	s.Line, s.Column = place(node)
	start := step{sample: newSample(node), has: map[string]bool{}}
	listed := false
	for _, p := range pairs {
		switch p.key {
		case "name":
			s.Name = d.text(p.value, "name", 200)
		case "turns":
			if _, list := p.value.(*ast.SequenceNode); list {
				listed = true
				s.steps = d.readSteps(p, true)
				continue
			}
			d.stepField(&start, p, true)
		default:
			if !d.stepField(&start, p, true) {
				d.unknown(p, "a test", scenarioFields+": "+stepFields)
			}
		}
	}
	switch {
	case s.Name == "":
		d.fail(node, "a test needs a name")
	case listed && s.steps == nil:
		return s, false // what is wrong with the turns was said
	case s.steps == nil:
		if !start.has["text"] && !start.has["kind"] && !start.has["choice"] && !start.has["attachments"] {
			d.fail(node, "a test needs a text, or a list of turns")
		}
		s.steps = []step{start}
	default:
		if start.has["text"] || start.has["bot"] {
			d.fail(node, "a test has either a text and a bot of its own or a list of turns")
		}
		// What stands beside the turns holds from the first one on.
		s.steps[0].inherit(&start, false)
		if e := start.expect; e != nil {
			last := &s.steps[len(s.steps)-1]
			if last.expect != nil {
				d.fail(node, "the last turn says what to expect already")
			}
			last.expect = e
		}
	}
	if !slices.ContainsFunc(s.steps, func(t step) bool { return t.expect != nil }) {
		d.fail(node, "a test needs to say what to expect")
	}
	return s, true
}

const stepFields = shownFields + ", after, returned, expect"

// readSteps reads a list of turns. Those before an inline test have nothing to expect.
func (d *document) readSteps(list pair, expect bool) []step {
	items := d.sequence(list.value, list.key)
	if len(items) > maxSteps {
		d.fail(list.value, "%s may have at most %d turns", list.key, maxSteps)
		return nil
	}
	if len(items) == 0 {
		d.fail(list.name, "%s needs at least one turn", list.key)
	}
	var steps []step
	for _, item := range items {
		pairs, ok := d.mapping(item, "a turn")
		if !ok {
			continue
		}
		s := step{sample: newSample(item), has: map[string]bool{}}
		for _, p := range pairs {
			if !d.stepField(&s, p, expect) {
				d.unknown(p, "a turn", stepFields)
			}
		}
		steps = append(steps, s)
	}
	return steps
}

func (d *document) stepField(s *step, p pair, expect bool) bool {
	s.has[p.key] = true
	switch p.key {
	case "after":
		text := d.text(p.value, p.key, 32)
		after, err := time.ParseDuration(text)
		if text != "" && (err != nil || after < 0 || after > 365*24*time.Hour) {
			d.fail(p.value, "after must be a time like 90s, 5m or 2h, not %q", text)
		}
		s.after = after
	case "returned":
		s.returned = d.boolean(p.value, p.key)
	case "expect":
		if !expect {
			d.fail(p.name, "nothing can be expected of a turn before the one under test")
			return true
		}
		s.expect = d.readExpectation(p)
	case "now":
		s.hasNow = true
		return d.shownField(&s.sample, p)
	default:
		return d.shownField(&s.sample, p)
	}
	return true
}

const expectFields = "match, no_match, handoff, say, replace, answer, bot, tags, notify, must_reach_human"

func (d *document) readExpectation(expect pair) *expectation {
	e := &expectation{}
	pairs, ok := d.mapping(expect.value, "expect")
	if !ok {
		return e
	}
	if len(pairs) == 0 {
		d.fail(expect.name, "expect says nothing; it has %s", expectFields)
	}
	for _, p := range pairs {
		switch p.key {
		case "match":
			e.match = d.names(p.value, p.key)
		case "no_match":
			e.noMatch = d.names(p.value, p.key)
		case "handoff":
			e.handoff = d.readWish(p)
		case "say":
			e.says = d.text(p.value, p.key, maxText)
		case "replace":
			e.replaces = d.text(p.value, p.key, maxText)
		case "answer":
			switch e.answer = d.text(p.value, p.key, 32); e.answer {
			case "sent", "withheld", "replaced", "":
			default:
				d.fail(p.value, "answer must be sent, withheld or replaced, not %q", e.answer)
			}
		case "bot":
			e.bot = d.text(p.value, p.key, 64)
		case "tags":
			e.tags = d.names(p.value, p.key)
		case "notify":
			e.notify = d.names(p.value, p.key)
		case "must_reach_human":
			must := d.boolean(p.value, p.key)
			e.mustReachHuman = &must
		default:
			d.unknown(p, "expect", expectFields)
		}
	}
	return e
}

// readWish reads handoff: true, false, a queue, or {queue, priority, rule}.
func (d *document) readWish(handoff pair) *handoffWish {
	switch n := handoff.value.(type) {
	case *ast.BoolNode:
		return &handoffWish{any: n.Value, none: !n.Value}
	case *ast.StringNode:
		return &handoffWish{queue: d.text(n, "handoff", 64)}
	}
	w := &handoffWish{}
	pairs, _ := d.mapping(handoff.value, "handoff")
	for _, p := range pairs {
		switch p.key {
		case "queue":
			w.queue = d.text(p.value, p.key, 64)
		case "rule":
			w.rule = d.text(p.value, p.key, 64)
		case "priority":
			w.priority = d.priority(p.value)
		default:
			d.unknown(p, "handoff", "queue, priority, rule")
		}
	}
	return w
}

// remember carries the memory of a conversation over a turn that is past.
func (s *step) remember(d signal.Detector, m signal.Memory, lang string) signal.Memory {
	x := &s.exchange
	if x.Lang != "" {
		lang = x.Lang
	}
	_, m = d.Customer(x.Message.Text, lang, m)
	if x.Bot != nil {
		_, m = d.Bot(x.Bot.Text, m)
	}
	return m
}

// inherit takes from an earlier turn what holds on and the turn does not say itself. Counts are only taken from what stands
// beside the turns: from there on they are counted.
func (s *step) inherit(from *step, counted bool) {
	x, y := &s.exchange, &from.exchange
	take := func(field string, do func()) {
		if !s.has[field] && (from.has[field] || counted) {
			do()
			s.has[field] = true
		}
	}
	take("channel", func() { x.Message.From.Channel = y.Message.From.Channel })
	take("lang", func() { x.Lang = y.Lang })
	take("profile", func() { x.Profile = y.Profile })
	take("account", func() { x.Account = y.Account })
	take("queues", func() { x.Queues = y.Queues })
	if counted {
		return
	}
	take("turns", func() { x.Turns = y.Turns })
	take("returns", func() { x.Returns = y.Returns })
	take("handoffs", func() { x.Handoffs = y.Handoffs })
	take("tags", func() { x.Tags = y.Tags })
	take("minutes_open", func() { s.minutes = from.minutes })
	take("now", func() { x.Now, s.hasNow = y.Now, true })
}

// Rules are the rules that the scenario's expectations name, each once.
func (s *Scenario) Rules() []string {
	var ids []string
	add := func(id string) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, step := range s.steps {
		e := step.expect
		if e == nil {
			continue
		}
		for _, id := range slices.Concat(e.match, e.noMatch) {
			add(id)
		}
		if e.handoff != nil {
			add(e.handoff.rule)
		}
	}
	return ids
}
