package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// disagreements counts the rules and exchanges on which an explanation tells another story than Eval.
func disagreements(t *testing.T, seed uint64, sets, exchanges int, damage func(*Explainer)) (n int) {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, 2))}
	for range sets {
		text := g.file(25)
		set, err := Load([]Source{{Name: "r", Data: []byte(text)}})
		if err != nil {
			t.Fatalf("loading generated rules: %v\n%s", err, text)
		}
		e, err := NewExplainer(set)
		if err != nil {
			t.Fatal(err)
		}
		if damage != nil {
			damage(e)
		}
		for range exchanges {
			x := g.exchange()
			v := set.Eval(x)
			want := map[string]Result{}
			for _, m := range v.Matched {
				want[m.Rule] = Matched
			}
			for _, f := range v.Failed {
				want[f.Rule] = Failed
			}
			for _, r := range e.Explain(x).Rules {
				expected := NotMatched
				if w, ok := want[r.Rule]; ok {
					expected = w
				}
				if r.Result != expected || r.Because == "" {
					if n++; n <= 3 && damage == nil {
						t.Errorf("rule %s: explained as %s (%q), is %s on %+v", r.Rule, r.Result, r.Because, expected, x)
					}
				}
				if why := unsound(r.Condition); why != "" {
					if n++; n <= 3 && damage == nil {
						t.Errorf("rule %s: %s", r.Rule, why)
					}
				}
			}
		}
	}
	return n
}

// unsound says where a tree contradicts itself: its value is not that of its parts, or it goes on after it was decided.
func unsound(n *Node) string {
	stop, until := false, n.join == all
	value := until
	for _, p := range n.Parts {
		if why := unsound(p); why != "" {
			return why
		}
		switch n.join {
		case all, some:
			if (p.State == NotNeeded) != stop {
				return n.Source + " evaluates after it was decided, or stops before: at " + p.Source
			}
			if !stop {
				value = p.holds()
			}
			stop = stop || p.holds() != until
		case phrases:
			value = value || p.holds()
		case inverse:
			value = !p.holds()
		}
	}
	if n.join != leaf && n.join != word && n.join != choice && n.holds() != value {
		return n.Source + " is not made of its parts"
	}
	return ""
}

func TestExplainAgreesWithEval(t *testing.T) { disagreements(t, 11, 12, 40, nil) }

// TestExplainCanDisagree is the control: an explainer that reads another rule's condition, or cannot see phrases, is found
// out.
func TestExplainCanDisagree(t *testing.T) {
	for name, damage := range map[string]func(*Explainer){
		"another rule's condition": func(e *Explainer) { e.trees["r3"] = e.trees["r4"] },
		"no phrases":               func(e *Explainer) { e.phases[Answer].phrases = [textCount]phraseIndex{} },
	} {
		func() {
			defer func() { _ = recover() }() // phrases without a dictionary are out of range: that is found out as well
			if disagreements(t, 11, 4, 30, damage) == 0 {
				t.Errorf("%s goes unnoticed", name)
			}
		}()
	}
}

func explainText(t *testing.T, text string, x *Exchange) *Explanation {
	t.Helper()
	set, err := Load([]Source{{Name: "r.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewExplainer(set)
	if err != nil {
		t.Fatal(err)
	}
	return e.Explain(x)
}

func TestExplainWords(t *testing.T) {
	confidence := 0.3
	x := &Exchange{
		Phase: Answer, Message: message.Inbound{Text: "my chest hurts"}, Turns: 3, Tags: []string{"vip"},
		Scores: signal.Scores{Frustration: 0.35}, Bot: &BotView{Text: "Take two.", Confidence: &confidence},
	}
	for when, want := range map[string]string{
		`turns > 2 && signal.frustration > 0.7`:              "signal.frustration > 0.7 is false (signal.frustration is 0.35)",
		`phrase("chest pain", "chest hurts") || turns > 9`:   `"chest hurts" was found`,
		`phrase("refund", "money")`:                          `phrase("refund", "money") is false`,
		`profile.email != "x"`:                               `profile.email != "x" is false (profile.email absent)`,
		`!(bot.confidence < 0.4)`:                            `bot.confidence < 0.4 is true (bot.confidence is 0.3)`,
		`len(text) > 50`:                                     `len(text) > 50 is false (text is "my chest hurts")`,
		`tags[4] == "x"`:                                     `tags[4] == "x" could not be evaluated (tags is [vip])`,
		`turns > 9 ? turns > 1 : "vip" in tags`:              `turns > 9 is false (turns is 3); "vip" in tags is true (tags is [vip])`,
		`has(profile) || bot.end || turns < 1 || turns == 2`: `has(profile) is false; bot.end is false; turns < 1 is false (turns is 3); turns == 2 is false (turns is 3)`,
		`bot.intent not in ["a"] && turns > 1 && turns < 9`:  `bot.intent not in ["a"] is false (bot.intent absent)`,
		`turns in [1] || turns in [2] || turns in [4] || turns in [5] || turns in [6]`: `turns in [1] is false (turns is 3); turns in [2] is false (turns is 3); turns in [4] is false (turns is 3); turns in [5] is false (turns is 3); and 1 more`,
	} {
		got := explainText(t, answerText(when), x).Rules[0]
		if got.Because != want {
			t.Errorf("%s\n got %s\nwant %s", when, got.Because, want)
		}
	}
}

func answerText(when string) string {
	return "rules:\n  - id: r\n    why: w\n    on: answer\n    when: '" + strings.ReplaceAll(when, "'", "''") + "'\n    then: {tags: [x]}\n"
}

func TestExplainEffects(t *testing.T) {
	text := `
rules:
  - {id: first, why: w, locked: true, when: turns > 0, then: {handoff: {queue: a, priority: high}, say: {en: hi}, must_reach_human: true}}
  - {id: second, why: w, when: turns > 0, then: {handoff: {queue: b}, say: {en: no}, tags: [t], notify: [n]}}
  - {id: watcher, why: w, mode: shadow, when: turns > 0, then: {handoff: {queue: b}}}
  - {id: gone, why: w, mode: off, when: turns > 0, then: {tags: [t]}}
  - {id: later, why: w, on: answer, when: turns > 0, then: {tags: [t]}}
  - {id: broken, why: w, when: 'tags[3] == "x"', then: {tags: [t]}}
`
	want := []struct {
		id      string
		result  Result
		effects string
	}{
		{"first", Matched, "hands over to a, priority high|says its text|only a person may end the conversation"},
		{"second", Matched, "its handoff to b comes after that of rule first|rule first comes first with its text|tags t|tells n"},
		{"watcher", Matched, "does nothing: it only watches (shadow)"},
		{"gone", SwitchedOff, ""},
		{"later", OtherPhase, ""},
		{"broken", Failed, "is skipped"},
	}
	got := explainText(t, text, &Exchange{Turns: 1})
	for i, w := range want {
		r := got.Rules[i]
		if r.Rule != w.id || r.Result != w.result || strings.Join(r.Effects, "|") != w.effects {
			t.Errorf("got %s %s %q, want %+v", r.Rule, r.Result, r.Effects, w)
		}
	}
	if b := got.Rules[3].Because; !strings.HasPrefix(b, "it would have matched: turns > 0") {
		t.Errorf("a rule that is off: %q", b)
	}
}

func TestExplainNotNeeded(t *testing.T) {
	x := &Exchange{Phase: Answer, Turns: 1, Bot: &BotView{Text: "x"}}
	n := explainText(t, answerText(`turns > 1 && bot.confidence < 0.4 && (turns > 3 || text == "a")`), x).Rules[0].Condition
	if len(n.Parts) != 3 || n.Parts[0].State != Evaluated || n.Parts[1].State != NotNeeded || n.Parts[2].State != NotNeeded {
		t.Errorf("parts %+v", n.Parts)
	}
	inner := explainText(t, answerText(`(turns > 0 ? turns : len(tags)) == 1`), x).Rules[0].Condition.Parts[0]
	if len(inner.Parts) != 3 || inner.Parts[1].State != Evaluated || inner.Parts[2].State != NotNeeded {
		t.Errorf("a choice inside a comparison: %+v", inner)
	}
}

// TestExplainWholeText holds what an explanation says of a long text against what a locked rule sees of it.
func TestExplainWholeText(t *testing.T) {
	text := `
rules:
  - {id: locked, why: w, locked: true, when: 'phrase("chest pain")', then: {tags: [t]}}
  - {id: ordinary, why: w, when: 'phrase("chest pain")', then: {tags: [t]}}
`
	x := &Exchange{Message: message.Inbound{Text: strings.Repeat("filler ", 3000) + "chest pain"}}
	got := explainText(t, text, x).Rules
	if got[0].Result != Matched || !got[0].Whole || got[1].Result != NotMatched || got[1].Whole {
		t.Errorf("got %+v, %+v", got[0], got[1])
	}
}

func TestExplainRedacted(t *testing.T) {
	x := &Exchange{Message: message.Inbound{Text: "canary-4711"}, Tags: []string{"canary-4711"}}
	e := explainText(t, "rules: [{id: r, why: w, when: 'text == \"x\" || len(text) > 3 && \"y\" in tags', then: {tags: [x]}}]", x)
	var b strings.Builder
	dump(&b, e.Rules[0].Condition)
	if !strings.Contains(b.String(), "canary-4711") {
		t.Fatal("the control does not show the text at all")
	}
	e.Redact()
	b.Reset()
	dump(&b, e.Rules[0].Condition)
	if strings.Contains(b.String()+e.Rules[0].Because, "canary") {
		t.Errorf("a text is left: %s", b.String())
	}
}

func dump(b *strings.Builder, n *Node) {
	b.WriteString(n.Source + "=" + n.Show(1000) + "\n")
	for _, p := range n.Parts {
		dump(b, p)
	}
}

func TestWithout(t *testing.T) {
	set, err := Load([]Source{{Name: "r", Data: []byte(`
rules:
  - {id: a, why: w, when: 'phrase("refund")', then: {tags: [a]}}
  - {id: b, why: w, when: 'phrase("refund") && turns > 0', then: {tags: [b]}}
  - {id: c, why: w, locked: true, when: turns > 0, then: {tags: [c]}}
`)}})
	if err != nil {
		t.Fatal(err)
	}
	x := &Exchange{Turns: 1, Message: message.Inbound{Text: "a refund"}}
	less := set.Without("a", "c", "nobody")
	if got := less.Eval(x).Tags; strings.Join(got, ",") != "c,b" {
		t.Errorf("tags %v, want c and b: a locked rule stays", got)
	}
	if got := set.Eval(x).Tags; len(got) != 3 {
		t.Errorf("the set itself changed: %v", got)
	}
	e, err := NewExplainer(less)
	if err != nil {
		t.Fatal(err)
	}
	if r := e.Explain(x).Rules[1]; r.Rule != "a" || r.Result != Tripped || !strings.HasPrefix(r.Because, "it would have matched") {
		t.Errorf("a tripped rule is explained as %+v", r)
	}
}

// TestExplainHoldsLittle holds that every value can be written as JSON and that long ones are cut.
func TestExplainHoldsLittle(t *testing.T) {
	deep := any("end")
	for range 3000 {
		deep = []any{deep}
	}
	x := &Exchange{
		Message: message.Inbound{Text: strings.Repeat("é", 40_000)}, Turns: 1,
		Profile: &message.Profile{Fields: map[string]any{"nan": math.NaN(), "list": []any{math.Inf(1)}, "deep": deep, "long": strings.Repeat("x", 5000)}},
	}
	var b strings.Builder
	b.WriteString("rules:\n")
	for i, when := range []string{
		`turns / (turns - 1) > 3`, `profile.fields.nan == profile.fields.list`, `profile.fields.deep == 1 || profile.fields.long == "y"`,
		`text + text == "x"`, `upper(text) contains "zzz"`,
	} {
		fmt.Fprintf(&b, "  - {id: r%d, why: w, when: '%s', then: {tags: [x]}}\n", i, when)
	}
	e := explainText(t, b.String(), x)
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) > 30_000 || !strings.Contains(string(out), `"+Inf"`) || !strings.Contains(string(out), `"NaN"`) {
		t.Errorf("%d bytes: %.3000s", len(out), out)
	}
}

// TestExplainConcurrently shares one explainer. The race detector is the judge.
func TestExplainConcurrently(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(5, 5))}
	set, err := Load([]Source{{Name: "r", Data: []byte(g.file(15))}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewExplainer(set)
	if err != nil {
		t.Fatal(err)
	}
	exchanges := make([]*Exchange, 10)
	want := make([]string, len(exchanges))
	said := func(x *Exchange) string {
		var b strings.Builder
		for _, r := range e.Explain(x).Rules {
			b.WriteString(r.Rule + string(r.Result) + r.Because)
		}
		return b.String()
	}
	for i := range exchanges {
		exchanges[i] = g.exchange()
		want[i] = said(exchanges[i])
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i, x := range exchanges {
				if got := said(x); got != want[i] {
					t.Errorf("exchange %d is explained in two ways", i)
				}
			}
		})
	}
	group.Wait()
}
