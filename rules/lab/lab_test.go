package lab_test

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/rules"
	"turnout/rules/lab"
	"turnout/rules/signal"
)

func open(t *testing.T, files ...rules.Source) *lab.Workbench {
	t.Helper()
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	b, err := lab.Open(files, d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func source(name, text string) rules.Source { return rules.Source{Name: name, Data: []byte(text)} }

// policy is the example policy as its users have it.
func policy(t *testing.T) []rules.Source {
	t.Helper()
	names, err := filepath.Glob("../examples/policy/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no policy", err)
	}
	var files []rules.Source
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, rules.Source{Name: name, Data: data})
	}
	return files
}

// TestPolicy is about the example policy: its tests pass, each rule has some, and there is nothing to say against it.
func TestPolicy(t *testing.T) {
	b := open(t, policy(t)...)
	r := b.Test()
	if r.Rules != 30 || r.Failed > 0 || len(r.Untested) > 0 {
		t.Errorf("%s", r)
	}
	if findings := b.Set.Lint(); len(findings) > 0 {
		t.Error(findings)
	}
	if failed := b.Set.SelfTest(b.Detector); len(failed) > 0 {
		t.Errorf("self-test: %+v", failed)
	}
}

const failing = `rules:
  - id: pain
    why: w
    when: phrase("chest pain") && turns > 3
    then: {handoff: {queue: q}}
    tests:
      - {text: I have chest pain, match: true}
      - {text: I have chest pain, turns: 4, match: true}
  - {id: broken, why: w, when: 'tags[2] == "x"', then: {tags: [y]}, tests: [{text: hi, match: false}]}
  - {id: bare, why: w, when: turns > 9, then: {tags: [y]}}
`

const failingTests = `tests:
  - {name: nobody comes, text: I have chest pain, expect: {match: [pain]}}
  - {name: all is well, text: hello there, expect: {handoff: false}}
`

func TestReport(t *testing.T) {
	r := open(t, source("a.yaml", failing), source("a.tests.yaml", failingTests)).Test()
	want := `a.yaml:7:10: FAIL pain, test 1
    match is false, the test wants true
    because pain not matched: turns > 3 is false (turns is 1)
a.yaml:9:78: FAIL broken, test 1
    the condition could not be evaluated
    because broken failed: tags[2] == "x" could not be evaluated (tags is [])
a.tests.yaml:2:6: FAIL nobody comes
    rule pain does not match
    because pain not matched: turns > 3 is false (turns is 1)
without a test: bare
3 rules, 5 tests, 3 failed`
	if diff := cmp.Diff(want, r.String()); diff != "" {
		t.Errorf("report differs (-want +got):\n%s", diff)
	}
	if only := open(t, source("a.yaml", failing), source("a.tests.yaml", failingTests)).Test("broken"); only.Tests != 1 || only.Failed != 1 {
		t.Errorf("only one rule: %s", only)
	}
}

func TestJUnit(t *testing.T) {
	var b strings.Builder
	if err := open(t, source("a.yaml", failing), source("a.tests.yaml", failingTests)).Test().JUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		XMLName  xml.Name `xml:"testsuites"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suites   []struct {
			Name     string `xml:"name,attr"`
			Failures int    `xml:"failures,attr"`
			Cases    []struct {
				Name    string `xml:"name,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
				} `xml:"failure"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 5 || got.Failures != 3 || len(got.Suites) != 2 || got.Suites[0].Failures != 2 || len(got.Suites[0].Cases) != 3 {
		t.Errorf("got %+v", got)
	}
	if f := got.Suites[1].Cases[0].Failure; f == nil || f.Message != "rule pain does not match" || got.Suites[1].Cases[1].Failure != nil {
		t.Errorf("failures of the second file: %+v", got.Suites[1].Cases)
	}
}

func TestOpenTellsAllFaults(t *testing.T) {
	_, err := lab.Open([]rules.Source{source("a.yaml", "rules: [{id: a}]"), source("b.yaml", "tests: [{name: x}]")}, nil)
	for _, want := range []string{"a.yaml:1:10: rule a: why is missing", "b.yaml:1:10: a test needs to say what to expect"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("faults %v, want %s among them", err, want)
		}
	}
	if _, err := lab.Open([]rules.Source{source("b.yaml", "tests: []")}, nil); err == nil || !strings.Contains(err.Error(), "no rules among") {
		t.Errorf("tests alone: %v", err)
	}
}

func TestBacktest(t *testing.T) {
	f, err := os.Open("../examples/dialogues.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := open(t, policy(t)...).Backtest(f)
	if err != nil {
		t.Fatal(err)
	}
	if got.Dialogues != 6 || got.Turns != 10 || got.Handoffs != 4 || got.Requests != 1 {
		t.Errorf("%s", got)
	}
	want := []lab.Group{
		{Name: "fraud", Dialogues: 1, Handoffs: 1, Rules: []string{"fraud"}},
		{Name: "human_request", Dialogues: 1, Handoffs: 1, Rules: []string{"builtin.human_request"}},
		{Name: "medical_emergency", Dialogues: 1, Handoffs: 1, Rules: []string{"chest-pain"}},
		{Name: "none", Dialogues: 3, Handoffs: 1, Rules: []string{"lost-twice"}},
	}
	if diff := cmp.Diff(want, got.Labels); diff != "" {
		t.Errorf("labels differ (-want +got):\n%s", diff)
	}
	for bad, says := range map[string]string{
		"{}\n":     `line 1 is not a dialogue: it has no "turns"`,
		"\n\nnot":  "line 3 is not a dialogue",
		`{"turns"`: "line 1 is not a dialogue",
	} {
		if _, err := open(t, policy(t)...).Backtest(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", bad, err, says)
		}
	}
}

// TestBacktestOverPublicDialogues makes the report that the README shows, from the dialogues in the folder that
// TURNOUT_DIALOGUES names. Without one there is nothing to do: they are not part of the repository.
func TestBacktestOverPublicDialogues(t *testing.T) {
	name := os.Getenv("TURNOUT_DIALOGUES")
	if name == "" {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := open(t, policy(t)...).Backtest(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + got.String())
}

func TestShow(t *testing.T) {
	b := open(t, source("a.yaml", failing))
	var out strings.Builder
	e := rules.NewExample("I have chest pain", "", "")
	if err := lab.Show(&out, b.Explain(e.Exchange(rules.Inbound, b.Detector)), false, "pain"); err != nil {
		t.Fatal(err)
	}
	want := `NOT MATCHED pain  (a.yaml:2, inbound)
    because turns > 3 is false (turns is 1)
      phrase("chest pain") && turns > 3 = false
        phrase("chest pain") = true
          "chest pain" = true
        turns > 3 = false
          turns = 1
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
}

func TestShowChanges(t *testing.T) {
	from := open(t, source("a.yaml", "rules: [{id: a, why: w, when: turns > 1, then: {tags: [x]}}, {id: b, why: w, when: turns > 1, then: {tags: [x]}}]"))
	to := open(t, source("a.yaml", "rules: [{id: b, why: w, when: turns > 2, locked: true, then: {tags: [x]}}, {id: c, why: w, when: turns > 1, then: {tags: [x]}}]"))
	var out strings.Builder
	if err := lab.ShowChanges(&out, rules.Diff(from.Set, to.Set)); err != nil {
		t.Fatal(err)
	}
	want := `~ b (locked)  changed, judged 1st, was 2nd
    - when: turns > 1
    + when: turns > 2
    + locked: true
+ c  added, judged 2nd
    + on: inbound
    + when: turns > 1
    + mode: enforce
    + tags: x
    + why: w
- a  removed, was judged 1st
    - on: inbound
    - when: turns > 1
    - mode: enforce
    - tags: x
    - why: w
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	b := open(t, source("a.yaml", `rules:
  - {id: untested, why: w, when: turns > 1, then: {tags: [x]}}
  - {id: locked, why: w, locked: true, when: turns > 2, then: {tags: [x]}, tests: [{text: hi, match: false}]}
  - {id: asleep, why: w, locked: true, mode: shadow, when: turns > 3, then: {tags: [x]}, tests: [{text: hi, turns: 4, match: true}, {text: hi, match: false}]}
  - {id: never, why: w, when: signal.frustration > 1, then: {tags: [x]}, tests: [{text: hi, match: false}]}
  - {id: always, why: w, when: 0 <= signal.frustration, then: {tags: [x]}, tests: [{text: hi, match: true}]}
  - {id: constant, why: w, when: 'true', then: {tags: [x]}, tests: [{text: hi, match: true}, {text: hi, match: false}]}
  - {id: twice, why: w, when: turns > 1, then: {tags: [x]}, tests: [{text: hi, turns: 2, match: true}, {text: hi, match: false}]}
  - {id: letters, why: w, when: 'text contains "refund" || text == "agent" || lower(text) contains "Refund"', then: {tags: [x]}, tests: [{text: refund, match: true}, {text: hi, match: false}]}
  - {id: absent, why: w, on: answer, when: '!(bot.confidence > 0.4)', then: {say: {de: ja, fr: oui}}, tests: [{text: hi, bot: x, match: true}, {text: hi, bot: {text: x, confidence: 0.9}, match: false}]}
  - {id: fine, why: w, on: answer, when: 'has(bot.confidence) && !(bot.confidence > 0.4)', then: {tags: [x]}, tests: [{text: hi, bot: {text: x, confidence: 0.1}, match: true}, {text: hi, bot: x, match: false}]}
`))
	var got []string
	for _, f := range b.Set.Lint() {
		got = append(got, f.String())
	}
	want := []string{
		`a.yaml:2:10: rule untested: it has no tests; add one that matches and one that does not`,
		`a.yaml:3:10: rule locked: a locked rule without a test that matches cannot be tested at start and by the heartbeat; add one`,
		`a.yaml:4:10: rule asleep: it is locked, and with mode shadow it does nothing`,
		`a.yaml:5:10: rule never: no test says what must match`,
		`a.yaml:5:10: rule never: signal.frustration > 1 is never true: signal.frustration is between 0 and 1`,
		`a.yaml:6:10: rule always: no test says what must not match; add one that comes close`,
		`a.yaml:6:10: rule always: 0 <= signal.frustration is true for every value: signal.frustration is between 0 and 1`,
		`a.yaml:7:10: rule constant: its condition reads nothing of the exchange: it always comes to the same`,
		`a.yaml:8:10: rule twice: it has the same condition as rule untested; one rule can do both`,
		`a.yaml:9:10: rule letters: text contains "refund" takes upper and lower case, accents and parts of words as they stand; phrase("refund") finds the words`,
		`a.yaml:9:10: rule letters: text == "agent" holds only for the whole message, letter by letter; phrase("agent") finds the words anywhere`,
		`a.yaml:9:10: rule letters: lower(text) contains "Refund" is never true: the left side is in lower case`,
		`a.yaml:10:10: rule absent: its texts have no en: who writes in another language than de, fr gets the first of them`,
		`a.yaml:10:10: rule absent: !(bot.confidence > 0.4) is true as well while bot.confidence is absent; if that is not meant, write has(bot.confidence) && … before it`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings differ (-want +got):\n%s", diff)
	}
}

// TestMeasure holds what the figures mean, not what they are.
func TestMeasure(t *testing.T) {
	cost, err := lab.Measure(60, 40*time.Millisecond)
	if err != nil || cost.Rules != 60 || cost.NS < 0 || cost.Naive < 0 {
		t.Errorf("%+v, %v", cost, err)
	}
	for _, n := range []int{1, 2001} { // more than one file holds
		if set, err := rules.Load(lab.Mixed(n)); err != nil || set.Len() != n {
			t.Errorf("%d rules: %v", n, err)
		}
	}
}
