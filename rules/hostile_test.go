package rules_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/rules"
	"turnout/rules/signal"
)

// hostileConditions is what an author writes who means harm. Those with a refusal do not compile; the others are bounded
// when they run.
var hostileConditions = []struct{ name, when, refusal string }{
	// The source.
	{"source of 4 KiB and a byte", `text == "` + strings.Repeat("x", 4<<10) + `"`, "longer than 4096"},
	{"source of 100 KiB", strings.Repeat("turns == 1 || ", 7000) + "true", "longer than"},
	{"source of one huge line in a list", "turns in [" + strings.Repeat("1,", 1900) + "1]", "maximum allowed nodes"},
	{"not UTF-8", "text == \"\xff\xfe\"", ""}, // YAML makes replacement characters of it
	{"a byte order mark", "\ufeffturns > 1", "unrecognized character"},
	// Nodes and nesting.
	{"65 brackets", strings.Repeat("(", 65) + "true" + strings.Repeat(")", 65), "nested more than 64"},
	{"1000 brackets", strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000), "nested more than"},
	{"lists in lists", strings.Repeat("[", 300) + strings.Repeat("]", 300) + " == 1", "nested too deep"},
	{"brackets in a comment", "/* ' */" + strings.Repeat("(", 90) + "true" + strings.Repeat(")", 90), "nested more than"},
	{"501 nodes", strings.Repeat("turns > 1 || ", 130) + "true", "nodes"},
	{"a chain of nots", strings.Repeat("!", 1500) + "true", "nodes"},
	{"a chain of minuses", strings.Repeat("-", 1500) + "turns > 1", "nested too deep"},
	{"a chain of spaced minuses", strings.Repeat("- ", 190) + "turns > 1 && " + strings.Repeat("!", 400) + "true", "nodes"},
	{"nested choices", strings.Repeat("turns > 1 ? true : (", 64) + "true" + strings.Repeat(")", 64), ""},
	{"nested choices, one more", strings.Repeat("turns > 1 ? true : (", 65) + "true" + strings.Repeat(")", 65), "nested more than"},
	// Loops.
	{"three loops", `any(tags, any(tags, any(tags, # == "x")))`, "nested more than 2"},
	{"three loops, one a search", `any(tags, any(tags, # in tags))`, "nested more than 2"},
	{"a range", "any(1..100000, # > 3)", "ranges"},
	{"a range of names", "len(turns..returns) > 3", "ranges"},
	{"linear work in a loop", `any(tags, text contains #)`, "element"},
	{"a pattern in a loop", `any(tags, text matches "a+")`, "element"},
	{"a length in a loop", `any(tags, len(text) > 3)`, "element"},
	{"a sum over a sum", `sum(tags, sum(tags, 1)) > 3`, ""},
	{"two loops", `count(tags, any(tags, # == "x")) > 30`, ""},
	{"two loops over files", `count(attachments.types, any(tags, # == "x")) > 30`, ""},
	{"loops side by side", strings.Repeat(`any(tags, any(tags, # == "a")) || `, 20) + "false", ""},
	{"maps of maps", `len(map(tags, map(tags, map(tags, 1)))) > 3`, "nested more than"},
	// Memory.
	{"repeat", `repeat(text, 100000) == ""`, "repeat"},
	{"join of texts", `join([text, text], text) == ""`, "cannot be compared"},
	{"join of texts, contained", `len(join([text, bot.text], text)) > 3`, ""},
	{"join of a map", `len(join(map(tags, string(turns) + lang))) > 3`, "element"},
	{"doubling", strings.Repeat("text + ", 17) + `text == ""`, "more than 16"},
	{"sixteen concatenations", strings.Repeat("text + ", 16) + `text == ""`, ""},
	{"let", "let a = text + text; a + a == a", "let"},
	{"reduce", `reduce(tags, #acc + #acc, text) == ""`, "reduce"},
	{"split", `len(split(text, "")) > 3`, "split"},
	{"replace", `replace(text, "", text) == ""`, "replace"},
	{"toJSON of everything", `toJSON($env) == ""`, "toJSON"},
	{"the environment", `len($env) > 3`, "$env"},
	{"a map of texts", `{"a": text, "b": text} == {}`, "compared"},
	{"upper and lower", `upper(lower(upper(lower(text)))) + upper(bot.text) contains "zz"`, ""},
	{"slices of texts", `text[0:4000] + text[1:4001] + bot.text[2:9999] contains "zz"`, ""},
	// Patterns.
	{"a pattern from the customer", "text matches text", "constant pattern"},
	{"a pattern from the bot", "text matches bot.text", "constant pattern"},
	{"a pattern put together", `text matches ("(a?){1,50}" + "b")`, "constant pattern"},
	{"a huge counted pattern", `text matches "(a?){1,1000}b"`, "complex"},
	{"nested counts", `text matches "((a{0,30}){0,30}){0,30}"`, "pattern"},
	{"a long pattern", `text matches "` + strings.Repeat("ab", 129) + `"`, "longer than 256"},
	{"many patterns", strings.Repeat(`text matches "(a?){1,90}b" || `, 5) + "true", "complex"},
	{"an unclosed group", `text matches "((((("`, "pattern"},
	{"backtracking", `text matches "^(a+)+$" || bot.text matches "^(a|aa)+$"`, ""},
	{"many stars", `text matches "(.*)(.*)(.*)(.*)(.*)(.*)x"`, ""},
	{"the greatest counted pattern", `text matches "([a-z]{1,30}){1,9}9"`, ""},
	{"an empty pattern", `text matches ""`, ""},
	// Reaching out.
	{"a method", `text.ToUpper() == ""`, "only functions"},
	{"a method of time", `now.Year() > 1`, "only functions"},
	{"a function of the system", `exec("x") == ""`, "unknown function"},
	{"the clock", `now() > 1`, "unknown function"},
	{"fields of everything", `profile.fields[text] == 1`, "written out"},
	{"a field far down", `profile.fields.a.b.c.d.e == 1`, "unknown name"},
	{"deep comparison", `profile.fields.deep == profile.fields.deep`, ""},
	{"deep comparison in a loop", `any(tags, profile.fields.deep == profile.fields.deep)`, "element"},
	{"a pipe", `text | split("") | len() > 1`, "split"},
	{"two expressions", "true; true", ";"},
	{"an index out of the world", `tags[9999999999] == "x" || tags[-1] == "x"`, ""},
	{"division by nothing", `turns / (turns - turns) > 1 || turns % 0 == 1`, ""},
	{"numbers without end", strings.Repeat("9", 4000) + " > turns", "integer"},
	{"phrases of 33 words", `phrase("` + strings.Repeat("a ", 33) + `")`, "at most 32 words"},
	{"300 phrases", `phrase("a` + strings.Repeat(`", "a b`, 300) + `")`, ""},
	{"a phrase of nothing", `phrase("")`, "at least one word"},
}

// worst is the exchange that costs most: the longest texts that a node takes, and all else full.
func worst() *rules.Exchange {
	x := full()
	x.Message.Text = strings.Repeat("a", 64<<10)
	x.Message.Quoted = strings.Repeat("ab ", 20<<10)
	x.Bot.Text = strings.Repeat("a ", 32<<10)
	x.Tags, x.Message.Attachments = nil, nil
	for i := range 500 {
		x.Tags = append(x.Tags, fmt.Sprintf("tag %d", i))
		x.Message.Attachments = append(x.Message.Attachments, message.Attachment{Type: "image/png"})
	}
	deep := any("end")
	for range 5000 {
		deep = []any{deep}
	}
	x.Profile.Fields["deep"] = deep
	return x
}

// bytesPerEval is what one evaluation may allocate on the worst exchange: folded copies of the texts, and what 16
// concatenations of them make.
const bytesPerEval = 24 << 20

// TestHostileConditions holds that each is refused with its reason, or ends, and allocates within bounds.
func TestHostileConditions(t *testing.T) {
	x := worst()
	for _, tc := range hostileConditions {
		t.Run(tc.name, func(t *testing.T) {
			ends(t, func() {
				set, err := rules.Load([]rules.Source{{Name: "r", Data: []byte(hostileRule(tc.when))}})
				switch {
				case err == nil && tc.refusal != "":
					t.Errorf("compiled, want a refusal with %q", tc.refusal)
				case err != nil && tc.refusal == "":
					t.Errorf("refused: %v", err)
				case err != nil && !strings.Contains(err.Error(), tc.refusal):
					t.Errorf("refused with %v, want %q", err, tc.refusal)
				}
				if err != nil {
					return
				}
				set.Eval(x) // pools and the engine's caches are filled
				const runs = 3
				before := allocated()
				for range runs {
					set.Eval(x)
				}
				if per := (allocated() - before) / runs; per > bytesPerEval {
					t.Errorf("an evaluation allocates %d KiB", per>>10)
				}
			})
		})
	}
}

func hostileRule(when string) string {
	return "rules:\n  - id: r\n    why: w\n    on: answer\n    locked: true\n    when: '" + strings.ReplaceAll(when, "'", "''") + "'\n    then: {tags: [x]}\n"
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// ends fails the test when work still runs after what is, for everything that is bounded, a very long time. There is no way to
// stop it then, which is why it must never be reached.
func ends(t *testing.T, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); work() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("still running")
	}
}

// TestHostileMemoryIsFlat judges the worst exchange by everything hostile that compiles, again and again, and looks whether
// anything is kept.
func TestHostileMemoryIsFlat(t *testing.T) {
	var b strings.Builder
	b.WriteString("rules:\n")
	n := 0
	for _, tc := range hostileConditions {
		if tc.refusal == "" && !strings.Contains(tc.when, "{1,30}") { // that one costs time alone
			fmt.Fprintf(&b, "  - id: r%d\n    why: w\n    on: answer\n    when: '%s'\n    then: {tags: [x]}\n", n, strings.ReplaceAll(strings.ToValidUTF8(tc.when, "?"), "'", "''"))
			n++
		}
	}
	if n < 17 {
		t.Fatalf("only %d conditions compile: the test proves too little", n)
	}
	set, x := loadText(t, b.String()), worst()
	live := func(evals int) uint64 {
		for range evals {
			set.Eval(x)
		}
		runtime.GC()
		runtime.GC() // pools give up what they hold in the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	first := live(3)
	if last := live(40); last > first+(2<<20) {
		t.Errorf("%d KiB are live after 3 evaluations, %d KiB after 43", first>>10, last>>10)
	}
}

// TestHostileFiles are whole files that mean harm, and test files.
func TestHostileFiles(t *testing.T) {
	many := func(n int, line string) string { return "rules:\n" + strings.Repeat(line, n) }
	var numbered strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&numbered, "- {id: r%d, why: w, when: 'true', then: {tags: [x]}}\n", i)
	}
	halves := []rules.Source{
		{Name: "a", Data: []byte("rules:\n" + numbered.String()[:len(numbered.String())/2+1])},
	}
	cut := strings.LastIndexByte(string(halves[0].Data), '\n')
	rest := "rules:\n" + ("rules:\n" + numbered.String())[cut+1:]
	halves[0].Data = halves[0].Data[:cut+1]
	halves = append(halves, rules.Source{Name: "b", Data: []byte(rest)})
	tests := func(n int) string {
		return "rules:\n- {id: r, why: w, when: 'true', then: {tags: [x]}, tests: [" + strings.Repeat("{text: a, match: true}, ", n) + "]}\n"
	}
	for name, c := range map[string]struct {
		files  []rules.Source
		refuse string
	}{
		"a file of more than 1 MiB":    {[]rules.Source{{Name: "a", Data: []byte(many(30_000, "- {id: r, why: w, when: 'true', then: {tags: [x]}}\n"))}}, "larger than 1 MiB"},
		"10,001 rules":                 {halves, "at most 10000 rules"},
		"201 tests of a rule":          {[]rules.Source{{Name: "a", Data: []byte(tests(201))}}, "at most 200 tests"},
		"aliases that multiply":        {[]rules.Source{{Name: "a", Data: []byte("a: &a [x,x,x]\nb: &b [*a,*a,*a]\nrules: *b\n")}}, "anchors and aliases"},
		"brackets in brackets":         {[]rules.Source{{Name: "a", Data: []byte("rules: " + strings.Repeat("[", 100_000))}}, "nested too deep"},
		"dashes in dashes":             {[]rules.Source{{Name: "a", Data: []byte("rules:\n" + strings.Repeat("- ", 100_000) + "x")}}, "nested too deep"},
		"a million faults":             {[]rules.Source{{Name: "a", Data: []byte(many(20_000, "- {x: y}\n"))}}, "unknown field"},
		"a thousand languages":         {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: w, when: 'true', then: {say: {" + strings.Repeat("en: x, ", 1) + languages(40) + "}}}]")}}, "at most 32 languages"},
		"a why of a page":              {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: " + strings.Repeat("w", 501) + ", when: 'true', then: {tags: [x]}}]")}}, "longer than 500"},
		"a tag of a page":              {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: w, when: 'true', then: {tags: [" + strings.Repeat("w", 65) + "]}}]")}}, "longer than 64"},
		"33 tags":                      {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: w, when: 'true', then: {tags: [" + strings.Repeat("w,", 33) + "]}}]")}}, "at most 32"},
		"a test of more than 64 KiB":   {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: w, when: 'true', then: {tags: [x]}, tests: [{text: " + strings.Repeat("w", 65<<10) + ", match: true}]}]")}}, "longer than 65536"},
		"a time of a million years":    {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: w, when: 'true', then: {tags: [x]}, tests: [{text: a, now: 1000000-01-01, match: true}]}]")}}, "now must be a time"},
		"a count that is not a number": {[]rules.Source{{Name: "a", Data: []byte("rules: [{id: r, why: w, when: 'true', then: {tags: [x]}, tests: [{text: a, turns: .nan, match: true}]}]")}}, "whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			ends(t, func() {
				_, err := rules.Load(c.files)
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("%.300v, want %q", err, c.refuse)
				}
				if err != nil && len(err.Error()) > 64<<10 {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
			})
		})
	}
	for name, c := range map[string]struct{ text, refuse string }{
		"2,001 tests":     {"tests:\n" + strings.Repeat("- {x: y}\n", 2001), "at most 2000 tests"},
		"101 turns":       {"tests: [{name: a, expect: {handoff: false}, turns: [" + strings.Repeat("{text: a}, ", 101) + "]}]", "at most 100 turns"},
		"a long wait":     {"tests: [{name: a, text: a, after: 999999h, expect: {handoff: false}}]", "after must be a time"},
		"a way into time": {"tests: [{name: a, text: a, after: -5m, expect: {handoff: false}}]", "after must be a time"},
	} {
		if _, err := rules.ReadTests([]rules.Source{{Name: "t", Data: []byte(c.text)}}); err == nil || !strings.Contains(err.Error(), c.refuse) {
			t.Errorf("%s: %.300v, want %q", name, err, c.refuse)
		}
	}
}

func languages(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%c%c: x, ", 'a'+i/26, 'a'+i%26)
	}
	return b.String()
}

// TestHostileExplained holds that explaining is bounded as judging is.
func TestHostileExplained(t *testing.T) {
	x := worst()
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range hostileConditions {
		if tc.refusal != "" {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			ends(t, func() {
				set := loadText(t, hostileRule(tc.when))
				e, err := rules.NewExplainer(set)
				if err != nil {
					t.Fatal(err)
				}
				before := allocated()
				e.Explain(x)
				if n := allocated() - before; n > 4*bytesPerEval {
					t.Errorf("an explanation allocates %d KiB", n>>10)
				}
				set.Test(d)
			})
		})
	}
}
