package rules

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Limits on a rule.
const (
	MaxRules   = 10_000   // of a set
	maxText    = 4 << 10  // bytes of one text to say
	maxWhy     = 500      // bytes
	maxNames   = 32       // skills, tags, notices, languages of a rule
	maxTests   = 200      // of a rule
	maxSample  = 64 << 10 // bytes of a test's text
	maxTagText = 64       // bytes of a tag, skill or notice
)

var (
	idPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	langPattern = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$`)
)

// rule is one rule as read. Its condition is compiled later, when the whole set is known.
type rule struct {
	id, why string
	phase   Phase
	rank    int
	mode    Mode
	locked  bool

	handoff        *Handoff
	queueLine      int // where the handoff's queue is named
	queueColumn    int
	bot            *BotChoice
	botLine        int // where the bot is named
	botColumn      int
	mustReachHuman bool
	say, replace   *Saying
	notify, tags   []string

	file         string
	line, column int // of the id
	order        int // place in the set's files
	when         string
	whenAt       func(line, column int) (int, int)
	tests        []sample

	condition condition
}

const ruleFields = "id, why, on, when, rank, then, mode, locked, tests"

func (d *document) readRule(node ast.Node) *rule {
	d.rule = ""
	pairs, ok := d.mapping(node, "a rule")
	if !ok {
		return nil
	}
	r := &rule{file: d.name, phase: Inbound}
	r.line, r.column = place(node)
	fields := map[string]pair{}
	for _, p := range pairs {
		fields[p.key] = p
	}
	if p, ok := fields["id"]; ok {
		r.id = d.text(p.value, "id", 64)
		if r.id != "" && !idPattern.MatchString(r.id) {
			d.fail(p.value, "id %q must be lower-case letters, digits, '.', '-' and '_', at most 64", r.id)
		}
		r.line, r.column = place(p.value)
		d.rule = r.id
	}
	for _, p := range pairs {
		d.readField(r, p)
	}
	for _, required := range []string{"id", "why", "when", "then"} {
		if _, ok := fields[required]; !ok {
			d.fail(node, "%s is missing", required)
		}
	}
	if r.handoff != nil {
		r.handoff.Reason = r.why
	}
	if p, ok := fields["then"]; ok && r.replace != nil && r.phase == Inbound {
		d.fail(p.name, "replace needs an answer to replace: use on: answer, or say")
	}
	return r
}

func (d *document) readField(r *rule, p pair) {
	switch p.key {
	case "id":
	case "why":
		r.why = d.text(p.value, "why", maxWhy)
	case "on":
		switch on := d.text(p.value, "on", 64); on {
		case "inbound", "":
		case "answer":
			r.phase = Answer
		case "event":
			d.fail(p.value, "on: event is not supported by this build; it has inbound and answer")
		default:
			d.fail(p.value, "on must be inbound or answer, not %q", on)
		}
	case "when":
		r.when, r.whenAt = d.expression(p.value, "when")
	case "rank":
		r.rank = d.integer(p.value, "rank")
	case "then":
		d.readThen(r, p)
	case "mode":
		switch mode := d.word(p.value, "mode"); mode {
		case "enforce", "":
		case "shadow":
			r.mode = Shadow
		case "off":
			r.mode = Off
		default:
			d.fail(p.value, "mode must be enforce, shadow or off, not %q", mode)
		}
	case "locked":
		r.locked = d.boolean(p.value, "locked")
	case "tests":
		items := d.sequence(p.value, "tests")
		if len(items) > maxTests {
			d.fail(p.value, "a rule may have at most %d tests", maxTests)
			return
		}
		for _, item := range items {
			if s, ok := d.readSample(item); ok {
				r.tests = append(r.tests, s)
			}
		}
	default:
		d.unknown(p, "a rule", ruleFields)
	}
}

// word reads a text, and off, which YAML may take for a boolean.
func (d *document) word(node ast.Node, what string) string {
	if b, ok := node.(*ast.BoolNode); ok {
		return b.GetToken().Value
	}
	return d.text(node, what, 64)
}

func (d *document) readThen(r *rule, then pair) {
	pairs, ok := d.mapping(then.value, "then")
	if !ok {
		return
	}
	for _, p := range pairs {
		switch p.key {
		case "handoff":
			r.handoff = d.readHandoff(r, p)
		case "must_reach_human":
			r.mustReachHuman = d.boolean(p.value, p.key)
		case "say":
			r.say = d.readSaying(r, p)
		case "replace":
			r.replace = d.readSaying(r, p)
		case "bot":
			r.bot = d.readBot(r, p)
		case "notify":
			r.notify = d.names(p.value, p.key)
		case "tags":
			r.tags = d.names(p.value, p.key)
		default:
			d.unknown(p, "then", "handoff, must_reach_human, say, replace, bot, notify, tags")
		}
	}
	if len(pairs) == 0 {
		d.fail(then.name, "then says nothing to do")
	}
}

func (d *document) readHandoff(r *rule, handoff pair) *Handoff {
	pairs, ok := d.mapping(handoff.value, "handoff")
	if !ok {
		return nil
	}
	h := &Handoff{Rule: r.id, Priority: PriorityNormal}
	hasQueue := false
	for _, p := range pairs {
		switch p.key {
		case "queue":
			hasQueue = true
			h.Queue = d.text(p.value, "queue", 64)
			r.queueLine, r.queueColumn = place(p.value)
			if h.Queue != "" && !idPattern.MatchString(h.Queue) {
				d.fail(p.value, "queue %q is not a queue's name", h.Queue)
			}
		case "priority":
			h.Priority = d.priority(p.value)
		case "skills":
			h.Skills = d.names(p.value, p.key)
		default:
			d.unknown(p, "handoff", "queue, priority, skills")
		}
	}
	if !hasQueue {
		d.fail(handoff.name, "handoff needs a queue")
	}
	return h
}

func (d *document) readBot(r *rule, p pair) *BotChoice {
	b := &BotChoice{Rule: r.id, Bot: d.text(p.value, "bot", 64)}
	r.botLine, r.botColumn = place(p.value)
	if b.Bot != "" && !idPattern.MatchString(b.Bot) {
		d.fail(p.value, "bot %q is not a bot's name", b.Bot)
	}
	return b
}

func (d *document) priority(node ast.Node) int {
	switch name := d.text(node, "priority", 64); name {
	case "low":
		return PriorityLow
	case "normal", "":
	case "high":
		return PriorityHigh
	case "urgent":
		return PriorityUrgent
	default:
		d.fail(node, "priority must be low, normal, high or urgent, not %q", name)
	}
	return PriorityNormal
}

func (d *document) readSaying(r *rule, saying pair) *Saying {
	pairs, ok := d.mapping(saying.value, saying.key)
	if !ok {
		return nil
	}
	s := &Saying{Rule: r.id, Texts: map[string]string{}}
	if len(pairs) > maxNames {
		d.fail(saying.name, "%s may have at most %d languages", saying.key, maxNames)
		return s
	}
	for _, p := range pairs {
		if !langPattern.MatchString(p.key) {
			d.fail(p.name, "%q is not a language: write texts by language, like en", p.key)
			continue
		}
		s.Texts[strings.ToLower(p.key)] = d.text(p.value, fmt.Sprintf("%s in %s", saying.key, p.key), maxText)
	}
	if len(pairs) == 0 {
		d.fail(saying.name, "%s needs a text in at least one language", saying.key)
	}
	return s
}

func (d *document) names(node ast.Node, what string) []string {
	items := d.sequence(node, what)
	if len(items) > maxNames {
		d.fail(node, "%s may have at most %d entries", what, maxNames)
		return nil
	}
	var names []string
	for _, item := range items {
		if name := d.text(item, "an entry of "+what, maxTagText); name != "" {
			names = append(names, name)
		}
	}
	return names
}
