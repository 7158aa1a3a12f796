package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"turnout/adapters/message"
	"turnout/rules"
	"turnout/rules/signal"
)

// Dialogue is an old conversation: one JSON object a line.
type Dialogue struct {
	ID   string `json:"id"`
	Lang string `json:"lang"`
	// Source groups dialogues in the report, Labels says what they are about.
	Source string   `json:"source"`
	Labels []string `json:"labels"`
	Turns  []struct {
		Side string `json:"side"` // customer; anything else answers
		Text string `json:"text"`
	} `json:"turns"`
}

// noon is when old dialogues are judged: they do not say when they were, and a Monday noon is no special time.
var noon = time.Date(2024, time.January, 1, 12, 0, 0, 0, time.UTC)

const (
	maxDialogue = 4 << 20 // bytes of one line
	maxSaid     = 64 << 10
)

// Backtest is what rules would have made of old dialogues.
type Backtest struct {
	Dialogues int `json:"dialogues"`
	Turns     int `json:"turns"` // customers' messages that were judged
	// Handoffs are the dialogues that would have gone to people; Requests those of them that no rule but a bare word for a
	// person would have sent.
	Handoffs int `json:"handoffs"`
	Requests int `json:"requests"`
	// Rules are all rules in order of evaluation, Labels and Sources the groups of dialogues by name.
	Rules   []RuleCount `json:"rules"`
	Labels  []Group     `json:"labels,omitempty"`
	Sources []Group     `json:"sources,omitempty"`
}

// RuleCount is how often a rule matched.
type RuleCount struct {
	Rule      string `json:"rule"`
	Mode      string `json:"mode"`
	Dialogues int    `json:"dialogues"` // in which it matched
	Handoffs  int    `json:"handoffs"`  // that it made
	Failed    int    `json:"failed,omitempty"`
}

// Group are the dialogues with one label or source.
type Group struct {
	Name      string `json:"name"`
	Dialogues int    `json:"dialogues"`
	Handoffs  int    `json:"handoffs"`
	// Rules are those that made most of the handoffs, the first five.
	Rules []string `json:"rules,omitempty"`
}

// Backtest judges the dialogues of in, a JSON object a line, turn by turn until the first handoff, as live messages are
// judged. A broken line ends it with its number.
func (b *Workbench) Backtest(in io.Reader) (*Backtest, error) {
	t := &Backtest{}
	at := map[string]int{}
	for _, r := range b.Set.Rules() {
		at[r.ID] = len(t.Rules)
		t.Rules = append(t.Rules, RuleCount{Rule: r.ID, Mode: r.Mode})
	}
	labels, sources := groups{}, groups{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxDialogue)
	for n := 1; lines.Scan(); n++ {
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var d Dialogue
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			return nil, fmt.Errorf("line %d is not a dialogue: %w", n, err)
		}
		if len(d.Turns) == 0 {
			return nil, fmt.Errorf(`line %d is not a dialogue: it has no "turns", a list of {"side", "text"}`, n)
		}
		t.Dialogues++
		rule := b.judge(&d, t, at)
		if rule != "" {
			t.Handoffs++
			if i, ok := at[rule]; ok {
				t.Rules[i].Handoffs++
			} else {
				t.Requests++
			}
		}
		for _, l := range d.Labels {
			labels.add(l, rule)
		}
		if d.Source != "" {
			sources.add(d.Source, rule)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading dialogues: %w", err)
	}
	t.Labels, t.Sources = labels.list(), sources.list()
	return t, nil
}

// judge plays a dialogue and returns the rule that hands it over, "" for none.
func (b *Workbench) judge(d *Dialogue, t *Backtest, at map[string]int) (handoff string) {
	var m signal.Memory
	var tags []string
	matched := map[string]bool{}
	x := &rules.Exchange{Turns: 1, Now: noon, OpenedAt: noon}
	note := func(v rules.Verdict) bool {
		for _, r := range v.Matched {
			if !matched[r.Rule] {
				matched[r.Rule] = true
				t.Rules[at[r.Rule]].Dialogues++
			}
		}
		for _, f := range v.Failed {
			t.Rules[at[f.Rule]].Failed++
		}
		for _, tag := range v.Tags {
			if !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
		if v.Handoff != nil {
			handoff = v.Handoff.Rule
		}
		return v.Handoff != nil
	}
	var scores signal.Scores
	asked := false
	for _, turn := range d.Turns {
		text := turn.Text[:min(len(turn.Text), maxSaid)]
		x.Tags = tags
		if turn.Side == "customer" {
			t.Turns++
			x.Phase, x.Bot = rules.Inbound, nil
			x.Message = message.Inbound{Kind: message.Text, Text: text}
			scores, m = b.Detector.Customer(text, d.Lang, m)
			x.Scores, x.Lang, asked = scores, m.Language, true
			if note(b.Set.Eval(x)) {
				return handoff
			}
			if signal.BareRequest(text) {
				return rules.BuiltinRequest
			}
			continue
		}
		if !asked {
			continue // a greeting before the customer has said anything is no answer
		}
		var answer signal.Scores
		answer, m = b.Detector.Bot(text, m)
		x.Phase, x.Bot, x.Scores = rules.Answer, &rules.BotView{Text: text, Parts: 1}, scores.Merge(answer)
		if note(b.Set.Eval(x)) {
			return handoff
		}
		x.Turns++
	}
	return ""
}

// groups counts by name, and within a name by rule.
type groups map[string]map[string]int

const noHandoff = ""

func (g groups) add(name, rule string) {
	if g[name] == nil {
		g[name] = map[string]int{}
	}
	g[name][rule]++
}

func (g groups) list() []Group {
	var out []Group
	for _, name := range slices.Sorted(maps.Keys(g)) {
		group := Group{Name: name, Dialogues: g[name][noHandoff]}
		delete(g[name], noHandoff)
		names := slices.Sorted(maps.Keys(g[name]))
		slices.SortStableFunc(names, func(a, b string) int { return g[name][b] - g[name][a] })
		for _, rule := range names {
			group.Handoffs += g[name][rule]
		}
		group.Dialogues += group.Handoffs
		group.Rules = names[:min(len(names), 5)]
		out = append(out, group)
	}
	return out
}

// String is the report for people, in the form of Markdown tables.
func (t *Backtest) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d dialogues, %d customers' messages: %d dialogues (%s) would have gone to people, %d of them for a bare word for a person alone.\n",
		t.Dialogues, t.Turns, t.Handoffs, percent(t.Handoffs, t.Dialogues), t.Requests)
	for _, table := range []struct {
		name   string
		groups []Group
	}{{"label", t.Labels}, {"source", t.Sources}} {
		if len(table.groups) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n| %s | dialogues | handed over | mostly by |\n|---|---:|---:|---|\n", table.name)
		for _, g := range table.groups {
			fmt.Fprintf(&b, "| %s | %d | %d (%s) | %s |\n", g.Name, g.Dialogues, g.Handoffs, percent(g.Handoffs, g.Dialogues), strings.Join(g.Rules[:min(len(g.Rules), 3)], ", "))
		}
	}
	b.WriteString("\n| rule | matched in | handed over |\n|---|---:|---:|\n")
	for _, r := range t.Rules {
		name := r.Rule
		if r.Mode != "enforce" {
			name += " (" + r.Mode + ")"
		}
		fmt.Fprintf(&b, "| %s | %d | %d |\n", name, r.Dialogues, r.Handoffs)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func percent(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(max(of, 1))) }
