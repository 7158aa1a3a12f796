package hostile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"turnout/gateway/config"
	"turnout/rules"
)

// rule is a rule file of one rule with the given condition.
func rule(when string) string {
	return "rules:\n  - id: one\n    why: Because.\n    on: inbound\n    when: '" + strings.ReplaceAll(when, "'", "''") +
		"'\n    then: {tags: [seen]}\n"
}

var place = regexp.MustCompile(`(?m)^.*acme\.yaml(:[1-9][0-9]*:[1-9][0-9]*: .{10}|: the file is larger than )`)

// TestHostileRules: rules that would cost others something are refused at load, with their place; no gateway comes up.
func TestHostileRules(t *testing.T) {
	bombs := "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nrules: *c\n"
	for name, source := range map[string]string{
		"a long condition":      rule(`text == "` + strings.Repeat("x", 5000) + `"`),
		"many parts":            rule(strings.Repeat(`turns == 1 || `, 300) + "turns == 2"),
		"open brackets":         rule(strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100)),
		"many nots":             rule(strings.Repeat("!", 2000) + "true"),
		"nested loops":          rule(`any(tags, any(tags, any(tags, # == "x")))`),
		"a huge range":          rule(`any(1..1000000000, # == 7)`),
		"a text that grows":     rule(`repeat(text, 1000000) == "x"`),
		"texts that grow":       rule(strings.Repeat("text + ", 160) + `text == "x"`),
		"a variable":            rule(`let x = text; x == "a"`),
		"a pattern by customer": rule(`text matches text`),
		"a pattern with counts": rule(`text matches "((a{100}){100}){100}"`),
		"a long pattern":        rule(`text matches "` + strings.Repeat("a?", 200) + `"`),
		"a broken pattern":      rule(`text matches "(["`),
		"an unknown name":       rule(`process.env.SECRET == "x"`),
		"an unknown function":   rule(`exec("rm")`),
		"a method":              rule(`text.ToUpper() == "x"`),
		"no condition":          rule(`text`),
		"a number":              rule(`1`),
		"a division by zero":    rule(`1/0 == 1 && nosuch`),
		"the environment":       rule(`$env["text"] == "x"`),
		"a pipe":                rule(`text | split("") | len() > 1`),
		"NUL":                   "rules:\n  - id: one\n    when: \"text == 'a\\0b' && nosuch\"\n    then: {tags: [x]}\n",
		"aliases":               bombs,
		"nested YAML":           "rules: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n",
		"nested maps":           "rules:\n  - id: " + strings.Repeat("{a: ", 3000) + "x" + strings.Repeat("}", 3000) + "\n",
		"not YAML":              "rules:\n  - id: one\n   when: \"\n",
		"a tag of Go":           "rules: !!binary aGVsbG8=\n",
		"a key twice":           rule("true") + "    locked: true\n    locked: false\n",
		"an id twice":           rule("true") + strings.TrimPrefix(rule("true"), "rules:\n"),
		"an unknown field":      rule("true") + "    shell: rm -rf\n",
		"an id of a path":       strings.Replace(rule("true"), "id: one", "id: ../one", 1),
		"a queue of nobody":     strings.Replace(rule("true"), "{tags: [seen]}", "{handoff: {queue: nobody}}", 1),
		"a rank of infinity":    rule("true") + "    rank: .inf\n",
		"a huge rank":           rule("true") + "    rank: 99999999999999999999999\n",
		"a long text to say":    strings.Replace(rule("true"), "{tags: [seen]}", "{say: {en: "+strings.Repeat("x", 5000)+"}}", 1),
		"a large file":          rule("true") + strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", 1100),
		"many rules":            "rules:\n" + many(10_001, `turns == 1`),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cfg, err := config.Load(w.write(setup{rules: map[string]string{"acme": source}}))
			if err == nil {
				g, built := w.build(cfg, setup{})
				if err = built; err == nil {
					w.gateway = g
					w.stop()
					t.Fatal("a gateway came up with it")
				}
			}
			var places rules.Faults
			var faults config.Faults
			if !errors.As(err, &places) && !errors.As(err, &faults) || !place.MatchString(err.Error()) {
				t.Errorf("no place in: %.300v", err)
			}
			if n := len(err.Error()); n > 64<<10 {
				t.Errorf("the error has %d bytes", n)
			}
		})
	}
}

// many is n rules with the same condition.
func many(n int, when string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - {id: r%d, why: Because., on: inbound, when: '%s', then: {tags: [x]}}\n", i, when)
	}
	return b.String()
}

// costly are rules as expensive as they may be: many patterns over the whole of a long text, loops in loops, phrases.
func costly() string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 300 {
		when := []string{
			fmt.Sprintf(`text matches "(?i)(x+x+)+y%d$"`, i),
			fmt.Sprintf(`any(tags, any(tags, # == "%d")) || text contains "%d%d"`, i, i, i),
			strings.Repeat(`phrase("never", "ever") || `, 30) + fmt.Sprintf(`phrase("word %d")`, i),
		}[i%3]
		fmt.Fprintf(&b, "  - {id: r%d, why: Because., on: inbound, when: '%s', then: {tags: [x]}, locked: true}\n", i, when)
	}
	return b.String()
}

// TestCostlyRules: a tenant with the most expensive rules that are allowed, whose customers send the longest texts and
// whose bot hangs, gets its answers; and while none of its turns can end, every turn of another tenant does.
func TestCostlyRules(t *testing.T) {
	const customers = 12
	w := start(t, setup{rules: map[string]string{"acme": costly()}})
	long := strings.Repeat("x", 8000)
	w.visitor(t, "acme").say(t, long)

	hung := make([]*visitor, customers)
	var busy sync.WaitGroup
	for i := range hung {
		hung[i] = w.visitor(t, "acme")
		busy.Go(func() { hung[i].say(t, holdText) })
	}
	eventually(t, "all of them hang in their bot", func() bool {
		for _, v := range hung {
			if _, heard := w.bots["acme"].text(v.addr + "-1"); !heard {
				return false
			}
		}
		return true
	})
	var flood sync.WaitGroup
	for range customers {
		v := w.visitor(t, "acme")
		flood.Go(func() { v.say(t, long) })
	}
	for range customers {
		w.healthy(t, "other") // while acme's customers hang and flood
	}
	flood.Wait()
	close(w.bots["acme"].held)
	busy.Wait()
}
