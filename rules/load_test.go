package rules_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/rules"
	"turnout/rules/signal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestFaults holds the faults of each file in testdata/bad, one mistake a file, against what stands beside it.
func TestFaults(t *testing.T) {
	golden(t, "testdata/bad", func(name string, data []byte) error {
		_, err := rules.Load([]rules.Source{{Name: name, Data: data}})
		return err
	})
}

func TestFaultsOfSeveralFiles(t *testing.T) {
	one := `rules: [{id: a, why: w, when: turns > 1, then: {tags: [x]}}]`
	_, err := rules.Load([]rules.Source{{Name: "b.yaml", Data: []byte(one)}, {Name: "a.yaml", Data: []byte(one)}})
	if want := "b.yaml:1:14: rule a: id a is used already at a.yaml:1"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLimits(t *testing.T) {
	for name, data := range map[string]string{
		"larger than":      "# " + strings.Repeat("x", rules.MaxFile),
		"nested too deep":  "rules: " + strings.Repeat("[", 5000),
		"brackets":         "rules: " + strings.Repeat("{a: ", 5000),
		"when is longer":   "rules: [{id: a, why: w, then: {tags: [x]}, when: '" + strings.Repeat(" ", 70_000) + "turns > 1'}]",
		"4096 bytes":       "rules: [{id: a, why: w, then: {tags: [x]}, when: 'turns > 1" + strings.Repeat(" ", 5000) + "'}]",
		"say in en is lon": "rules: [{id: a, why: w, when: turns > 1, then: {say: {en: " + strings.Repeat("x", 5000) + "}}}]",
	} {
		_, err := rules.Load([]rules.Source{{Name: "f", Data: []byte(data)}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want a fault with %q, got %v", name, err)
		}
	}
}

func TestDigest(t *testing.T) {
	a, b := rules.Source{Name: "a", Data: []byte(simple("a"))}, rules.Source{Name: "b", Data: []byte(simple("b"))}
	one, two := mustLoad(t, a, b), mustLoad(t, b, a)
	if one.Digest() != two.Digest() {
		t.Error("the order in which files are given changes the digest")
	}
	a.Data = append(a.Data, '\n')
	if changed := mustLoad(t, a, b); changed.Digest() == one.Digest() {
		t.Error("another content has the same digest")
	}
	if rules.Empty().Len() != 0 || one.Len() != 2 {
		t.Error("wrong number of rules")
	}
}

func simple(id string) string {
	return "rules: [{id: " + id + ", why: w, when: turns > 1, then: {tags: [x]}}]"
}

func mustLoad(t testing.TB, sources ...rules.Source) *rules.Set {
	t.Helper()
	s, err := rules.Load(sources)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loadText(t testing.TB, text string) *rules.Set {
	t.Helper()
	return mustLoad(t, rules.Source{Name: "rules.yaml", Data: []byte(text)})
}

func TestInlineTests(t *testing.T) {
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	s := loadText(t, `
rules:
  - id: chest-pain
    why: A patient who mentions chest pain reaches the emergency desk at once.
    when: phrase("chest pain", "can't breathe")
    then: {handoff: {queue: emergency, priority: urgent}}
    tests:
      - {text: "I have CHEST pain", match: true}
      - {text: "a chest of drawers", match: false}
      - {text: "a chest of drawers", match: true}
  - id: unsure
    why: A bot that is not sure does not answer.
    on: answer
    mode: off
    when: bot.confidence < 0.4 || signal.bot_fallback > 0.5
    then: {handoff: {queue: general}}
    tests:
      - {text: hi, bot: {text: Hello there., confidence: 0.3}, match: true}
      - {text: hi, bot: "Sorry, I did not understand that.", match: true}
      - {text: hi, bot: Hello there., match: false}
  - id: night
    why: At night the night desk answers.
    when: now.hour < 6 && queues.night.online > 0 && signal.human_request > 0.5 && lang == "en"
    then: {handoff: {queue: night}}
    tests:
      - {text: "I want to talk to a person", now: "2026-03-08 04:30", queues: {night: {online: 2}}, match: true}
      - {text: "I want to talk to a person", now: "2026-03-08 14:30", queues: {night: {online: 2}}, match: false}
      - {text: "hello there my friend", signal: {human_request: 0.9}, now: "2026-03-08T04:30", queues: {night: {online: 2}}, lang: en, match: true}
  - id: broken
    why: This condition fails.
    when: tags[3] == "x"
    then: {tags: [y]}
    tests: [{text: hi, match: false}]
`)
	failed := map[int]bool{}
	for i, r := range s.Test(d) {
		if !r.Passed() {
			failed[i] = true
		}
	}
	if want := map[int]bool{2: true, 9: true}; !cmp.Equal(failed, want) {
		t.Errorf("failed tests %v, want %v: %+v", failed, want, s.Test(d))
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte(simple("a")))
	f.Add([]byte("rules:\n  - id: a\n    why: \"\\x80\"\n    when: !!str >\n      a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := rules.Load([]rules.Source{{Name: "f.yaml", Data: data}})
		if err == nil {
			s.Eval(&rules.Exchange{})
			return
		}
		var faults rules.Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("error without faults: %v", err)
		}
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Message == "" || strings.Contains(fault.Message, "\n") {
				t.Fatalf("bad fault %+v", fault)
			}
		}
	})
}
