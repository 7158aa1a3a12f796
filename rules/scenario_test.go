package rules_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/rules"
	"turnout/rules/signal"
)

// TestTestFaults holds the faults of each file in testdata/badtests against what stands beside it.
func TestTestFaults(t *testing.T) {
	golden(t, "testdata/badtests", func(name string, data []byte) error {
		_, err := rules.ReadTests([]rules.Source{{Name: name, Data: data}})
		return err
	})
}

// TestExchangeFaults is the same for files with an exchange.
func TestExchangeFaults(t *testing.T) {
	golden(t, "testdata/badexchanges", func(name string, data []byte) error {
		_, err := rules.ReadExample(rules.Source{Name: name, Data: data})
		return err
	})
}

// golden compares the faults that read finds in each file of a folder with the file's golden.
func golden(t *testing.T, folder string, read func(name string, data []byte) error) {
	files, err := filepath.Glob(folder + "/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var faults rules.Faults
			if err := read(filepath.Base(file), data); !errors.As(err, &faults) {
				t.Fatalf("read, or no Faults: %v", err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			got := faults.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("faults differ (-want +got):\n%s", diff)
			}
		})
	}
}

func lexical(t testing.TB) *signal.Lexical {
	t.Helper()
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// policy is what the scenarios below are played by.
const policy = `
rules:
  - {id: pain, why: w, locked: true, when: 'phrase("chest pain")', then: {handoff: {queue: emergency, priority: urgent}, must_reach_human: true, say: {en: A nurse reads this., es: Una enfermera lo lee.}, tags: [safety], notify: [oncall]}}
  - {id: lost, why: w, on: answer, when: 'signal.bot_fallback > 0.5 && signal.bot_repeat > 0.5', then: {handoff: {queue: support}}}
  - {id: promise, why: w, on: answer, when: 'phrase(bot.text, "guarantee")', then: {replace: {en: We will do our best.}, tags: [promised]}}
  - {id: again, why: w, when: 'signal.repeat > 0.8', then: {tags: [repeats]}}
  - {id: patient, why: w, when: 'minutes_open > 29', then: {tags: [long]}}
  - {id: third, why: w, when: 'turns == 3 && "promised" in tags', then: {tags: [third]}}
  - {id: back, why: w, when: 'returns == 1 && handoffs == 1', then: {tags: [back]}}
  - {id: gold, why: w, when: 'profile.fields.plan == "gold" && queues.vip.online > 0 && now.hour > 8', then: {handoff: {queue: vip, priority: high}}}
`

func play(t *testing.T, tests string) []*rules.Played {
	t.Helper()
	scenarios, err := rules.ReadTests([]rules.Source{{Name: "t.yaml", Data: []byte(tests)}})
	if err != nil {
		t.Fatal(err)
	}
	set, d := loadText(t, policy), lexical(t)
	var played []*rules.Played
	for i := range scenarios {
		played = append(played, set.Play(&scenarios[i], d))
	}
	return played
}

func TestPlay(t *testing.T) {
	for _, p := range play(t, `
tests:
  - name: emergency
    text: I have chest pain
    expect: {handoff: {queue: emergency, rule: pain, priority: urgent}, say: nurse, tags: [safety], notify: [oncall], must_reach_human: true, match: [pain], no_match: [lost], answer: withheld}
    bot: Take two.
  - name: in Spanish
    lang: es
    text: tengo chest pain
    expect: {say: enfermera}
  - name: the bot says the same nonsense again
    turns:
      - {text: where is my parcel with the lamp, bot: "Sorry, I did not understand that, please say it again.", expect: {handoff: false, answer: sent}}
      - {text: the parcel with my lamp is late, bot: "Sorry, I did not understand that, please say it again.", expect: {handoff: support, answer: withheld}}
  - name: what happened before counts
    turns:
      - {text: will it work, bot: "I guarantee it.", expect: {answer: replaced, replace: our best, tags: [promised]}}
      - {text: will it work at all or not, bot: Maybe.}
      - {text: will it work at all or not, after: 30m, bot: Maybe., expect: {match: [third, again, patient], handoff: false}}
  - name: people have it and give it back
    turns:
      - {text: agent, expect: {handoff: {rule: builtin.human_request}}}
      - {text: hello again my friend, expect: {no_match: [back]}}
      - {text: and what now, returned: true, bot: Hello., expect: {match: [back], handoff: false}}
  - name: the button
    kind: human
    expect: {handoff: {rule: builtin.talk_to_a_person}}
  - name: the bot wants a person
    text: hello there
    bot: {text: One moment., handoff: true}
    expect: {handoff: {rule: builtin.bot_request}, answer: sent}
  - name: mocked world
    profile: {fields: {plan: gold}}
    queues: {vip: {online: 1}}
    now: 2026-03-09 07:30
    turns:
      - {text: hello there, bot: Hi., expect: {handoff: false}}
      - {text: hello to you, after: 2h, expect: {handoff: vip}}
`) {
		if !p.Passed() {
			t.Errorf("%s: %q", p.Scenario.Name, p.Problems)
		}
	}
}

// TestPlayFails holds what is said of each expectation that is not met: a test that cannot fail proves nothing.
func TestPlayFails(t *testing.T) {
	want := map[string][]string{
		"nothing happens": {"rule pain does not match", "nobody is called: there is no handoff", "no rule says anything", "no rule replaces the answer by anything",
			"the answer is sent, the test wants it withheld", "there is no tag x", "there is no notice to y", "must_reach_human is false, the test wants true"},
		"too much happens": {"there is no rule nobody", "rule pain matches", "rule pain hands over", `rule pain says "A nurse reads this.", which does not contain "doctor"`, "the answer is withheld, the test wants it sent"},
		"other handoffs":   {`rule pain hands over to "emergency", the test wants "support"`},
		"other rule":       {"rule pain hands over, the test wants rule lost"},
		"other priority":   {"rule pain hands over with priority urgent, the test wants low"},
		"a bot that talks over people": {"turn 2: the bot is silent: rule pain handed over, and no turn since is marked returned: true",
			"turn 3: turns can be set only for the first turn: from there on it is counted, and is 1 here"},
	}
	for _, p := range play(t, `
tests:
  - {name: nothing happens, text: hello there, bot: Hi., expect: {match: [pain], handoff: true, say: x, replace: x, answer: withheld, tags: [x], notify: [y], must_reach_human: true}}
  - {name: too much happens, text: chest pain, expect: {match: [nobody], no_match: [pain], handoff: false, say: doctor, answer: sent}}
  - {name: other handoffs, text: chest pain, expect: {handoff: support}}
  - {name: other rule, text: chest pain, expect: {handoff: {rule: lost}}}
  - {name: other priority, text: chest pain, expect: {handoff: {priority: low}}}
  - name: a bot that talks over people
    turns: [{text: chest pain}, {text: hello there, bot: Hi.}, {text: well well well, turns: 4, expect: {handoff: false}}]
`) {
		if diff := cmp.Diff(want[p.Scenario.Name], p.Problems); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Scenario.Name, diff)
		}
	}
}

func TestInlineBefore(t *testing.T) {
	s := loadText(t, `
rules:
  - id: again
    why: w
    when: signal.repeat > 0.8 && turns == 2
    then: {tags: [x]}
    tests:
      - {before: [{text: where is my parcel with the lamp, bot: No idea.}], text: where is my parcel with the lamp, match: true}
      - {text: where is my parcel with the lamp, match: false}
`)
	for _, r := range s.Test(lexical(t)) {
		if !r.Passed() {
			t.Errorf("line %d: got %v, want %v", r.Line, r.Got, r.Want)
		}
	}
}

func TestSelfTest(t *testing.T) {
	text := `
rules:
  - {id: pain, why: w, locked: true, when: 'phrase("chest pain")', then: {handoff: {queue: q}}, tests: [{text: I have chest pain, match: true}, {text: a chest of drawers, match: false}]}
  - {id: wrong, why: w, locked: true, when: 'phrase("smoke")', then: {handoff: {queue: q}}, tests: [{text: fire, match: true}]}
  - {id: broken, why: w, locked: true, when: 'tags[2] == "x"', then: {handoff: {queue: q}}, tests: [{text: fire, match: false}]}
  - {id: ordinary, why: w, when: turns > 5, then: {tags: [x]}, tests: [{text: hi, match: true}]}
  - {id: watching, why: w, locked: true, mode: shadow, when: turns > 5, then: {tags: [x]}, tests: [{text: hi, match: true}]}
`
	failed := loadText(t, text).SelfTest(lexical(t))
	if len(failed) != 2 || failed[0].Rule != "wrong" || failed[0].Err != nil || failed[1].Rule != "broken" || failed[1].Err == nil {
		t.Errorf("failed %+v, want wrong and broken", failed)
	}
}

func FuzzReadTests(f *testing.F) {
	files, _ := filepath.Glob("testdata/badtests/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte("tests: [{name: a, text: agent, expect: {handoff: true}}]"))
	f.Add([]byte("tests:\n  - name: b\n    turns: [{text: x, bot: y}, {text: x, returned: true, after: 5m, expect: {answer: sent}}]\n"))
	set, err := rules.Load([]rules.Source{{Name: "p", Data: []byte(policy)}})
	if err != nil {
		f.Fatal(err)
	}
	d := lexical(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		scenarios, err := rules.ReadTests([]rules.Source{{Name: "f.yaml", Data: data}})
		var faults rules.Faults
		if err != nil && (!errors.As(err, &faults) || len(faults) == 0) {
			t.Fatalf("error without faults: %v", err)
		}
		for i := range scenarios {
			set.Play(&scenarios[i], d)
		}
	})
}

func FuzzReadExample(f *testing.F) {
	for _, seed := range []string{"text: hello\nbot: {text: hi, confidence: 0.2}\nbefore: [{text: a, bot: b}]\n", "- a", "", "{text: a, now: 2026-03-09, queues: {a: {waiting: 1}}}"} {
		f.Add([]byte(seed))
	}
	set, err := rules.Load([]rules.Source{{Name: "p", Data: []byte(policy)}})
	if err != nil {
		f.Fatal(err)
	}
	explainer, err := rules.NewExplainer(set)
	if err != nil {
		f.Fatal(err)
	}
	d := lexical(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := rules.ReadExample(rules.Source{Name: "f.yaml", Data: data})
		var faults rules.Faults
		if err != nil {
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("error without faults: %v", err)
			}
			return
		}
		for _, phase := range []rules.Phase{rules.Inbound, rules.Answer} {
			explainer.Explain(e.Exchange(phase, d))
		}
	})
}
