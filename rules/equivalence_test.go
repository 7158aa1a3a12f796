package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// generator makes random conditions and exchanges out of a small vocabulary, so that they meet often.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) word() string {
	return pick(g, "refund", "Case", "kelvin", "sos", "café", "chest", "pain", "order 17", "转人工", "ſo", "K9", "can't", "İzmir", "izmir")
}

func (g generator) condition(depth int) string {
	if depth > 0 {
		a, b := g.condition(depth-1), g.condition(depth-1)
		switch g.IntN(7) {
		case 0, 1:
			return "(" + a + " && " + b + ")"
		case 2, 3:
			return "(" + a + " || " + b + ")"
		case 4:
			return "!(" + a + ")"
		case 5:
			return "(" + a + " ? " + b + " : " + g.condition(0) + ")"
		}
	}
	text := pick(g, "text", "text", "bot.text", "quoted")
	number := pick(g, "turns", "handoffs", "signal.frustration", "bot.confidence", "minutes_open", "queues.sales.waiting", "bot.sources")
	compare := pick(g, "<", "<=", ">", ">=", "==", "!=")
	constant := pick(g, "0", "1", "2", "0.5", "3", "-1")
	name := pick(g, "lang", "choice", "profile.name", "profile.fields.plan", "bot.intent", "channel", "kind")
	value := pick(g, `"en"`, `"gold"`, `"x"`, `""`, `"text"`)
	switch g.IntN(17) {
	case 0, 1:
		return fmt.Sprintf("phrase(%s, %q)", text, g.word())
	case 2:
		return fmt.Sprintf("phrase(%q, %q)", g.word(), g.word())
	case 3:
		return fmt.Sprintf(`%s matches "(?i)%s"`, text, pick(g, g.word(), `\\b`+g.word(), g.word()+"|"+g.word(), "("+g.word()+")?x", "[a-c]+"+g.word(), g.word()+"{2}"))
	case 4:
		return fmt.Sprintf("%s %s %q", text, pick(g, "contains", "startsWith", "endsWith", "not contains"), g.word())
	case 5, 6:
		return number + " " + compare + " " + constant
	case 7:
		return constant + " " + compare + " " + number
	case 8, 9:
		return name + " " + pick(g, "==", "!=") + " " + value
	case 10:
		return fmt.Sprintf("%s %s [%s, %s]", name, pick(g, "in", "not in"), value, pick(g, `"gold"`, `"de"`))
	case 11:
		return pick(g, "bot.fallback", "bot.end", "has(bot.confidence)", "has(profile.fields.plan)", "profile.fields.vip", "has(lang)", "account.known", "account.tickets > 1", "account.fields.vip")
	case 12:
		return pick(g, `tags[1] == "x"`, `any(tags, # == "x")`, `"x" in tags`, `"a" in tags`, `"x" not in tags`, `profile.fields.plan > 3`, `len(text) > 12`)
	}
	if g.IntN(2) == 0 {
		return g.number(2) + " " + compare + " " + g.number(g.IntN(3))
	}
	if g.IntN(2) == 0 {
		return fmt.Sprintf("lower(%s) %s %q", pick(g, text, "lang", "profile.name"), pick(g, "contains", "not contains", "startsWith", "endsWith", "==", "!=", "matches"), strings.ToLower(g.word()))
	}
	return pick(g, "true", "lower(text) contains "+fmt.Sprintf("%q", g.word()), "profile.fields.plan == profile.name")
}

// number is an expression of numbers.
func (g generator) number(depth int) string {
	if depth > 0 {
		a, b := g.number(depth-1), g.number(depth-1)
		switch g.IntN(4) {
		case 0:
			return "(" + a + ")"
		case 1:
			return "-(" + a + ")"
		}
		return "(" + a + " " + pick(g, "+", "+", "-", "*", "/") + " " + b + ")"
	}
	return pick(g, "turns", "returns", "handoffs", "signal.frustration", "bot.confidence", "minutes_open", "queues.sales.waiting", "bot.sources",
		"len(text)", "len(bot.text)", "len(quoted)", "len(lang)", "len(tags)", "(turns % (handoffs - 1))", "0", "1", "2", "12", "0.5", "9007199254740993", "9223372036854775807")
}

func (g generator) text() string {
	var b strings.Builder
	for range g.IntN(6) {
		b.WriteString(pick(g, g.word(), strings.ToUpper(g.word()), g.word()+g.word(), "and", "Kelvin"))
		b.WriteString(pick(g, " ", " ", ", ", "", "\n"))
	}
	if g.IntN(20) == 0 {
		return strings.Repeat("filler ", 1300) + b.String()
	}
	return b.String()
}

func maybe[T any](g generator, v T) *T {
	if g.IntN(2) == 0 {
		return nil
	}
	return &v
}

func (g generator) exchange() *Exchange {
	now := time.Date(2026, 3, 8, 14, 30, 0, 0, time.UTC)
	x := &Exchange{
		Phase:   Answer,
		Message: message.Inbound{Kind: message.Text, Text: g.text(), Quoted: g.text()},
		Lang:    pick(g, "", "en", "gold"), Turns: g.IntN(4), Handoffs: g.IntN(4),
		Scores: signal.Scores{Frustration: pick(g, 0, 0.5, 1)},
		Now:    now, OpenedAt: now.Add(-time.Duration(g.IntN(4)) * time.Minute),
		Bot: maybe(g, BotView{
			Text: g.text(), Confidence: maybe(g, pick(g, 0, 0.5, 1)), Fallback: maybe(g, g.IntN(2) == 0),
			Intent: pick(g, "", "x", "gold"), Sources: g.IntN(4), End: g.IntN(2) == 0,
		}),
		Profile: maybe(g, message.Profile{Name: pick(g, "", "x", "gold")}),
		Tags:    pick(g, nil, []string{"x"}, []string{"a", "x"}),
	}
	if x.Profile != nil {
		x.Profile.Fields = pick(g, nil, map[string]any{"plan": "gold", "vip": true}, map[string]any{"plan": 4.0}, map[string]any{"plan": ""})
	}
	switch x.Turns {
	case 1:
		x.Account = &message.Account{Unknown: true}
	case 2, 3:
		x.Account = &message.Account{Name: x.Lang, Tickets: make([]message.Ticket, x.Handoffs), Fields: map[string]any{"vip": x.Turns == 2}}
	}
	if g.IntN(2) == 0 {
		x.Queues = map[string]QueueView{"sales": {Waiting: g.IntN(4)}}
	}
	return x
}

func (g generator) file(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - id: r%d\n    why: w\n    on: answer\n    locked: %v\n    when: |\n      %s\n    then: {tags: [t%d]}\n", i, g.IntN(4) == 0, g.condition(g.IntN(4)), i)
	}
	return b.String()
}

// differences counts the exchanges on which the indexed closures of one set disagree with the other evaluated rule by
// rule by the expression engine.
func differences(t *testing.T, seed uint64, sets, exchanges int, damage func(*Set)) (n int) {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	for range sets {
		source := []Source{{Name: "r", Data: []byte(g.file(30))}}
		indexed, err := Load(source)
		if err != nil {
			t.Fatalf("loading generated rules: %v\n%s", err, source[0].Data)
		}
		plain, err := LoadPlain(source)
		if err != nil {
			t.Fatal(err)
		}
		if damage != nil {
			damage(indexed)
		}
		for range exchanges {
			x := g.exchange()
			v := indexed.Eval(x)
			matched, failed := plain.Eval(x)
			if cmp.Equal(v.Matched, matched) && cmp.Equal(v.Failed, failed) {
				continue
			}
			if n++; n <= 3 && damage == nil {
				t.Errorf("matched %s\nfailed %s\non %+v\nbot %+v\nrules\n%s", cmp.Diff(matched, v.Matched), cmp.Diff(failed, v.Failed), x, x.Bot, source[0].Data)
			}
		}
	}
	return n
}

func TestIndexedEqualsNaive(t *testing.T) {
	differences(t, 7, 25, 80, nil)
}

// TestEquivalenceCanFail is the control: an index that forgets one rule, or a set that forgets that a rule is locked, is
// found out.
func TestEquivalenceCanFail(t *testing.T) {
	for name, damage := range map[string]func(*Set){
		"a forgotten threshold": func(s *Set) {
			for i := range s.phases[Answer].numbers {
				s.phases[Answer].numbers[i].above = nil
			}
		},
		"a calculated number a little off": func(s *Set) {
			for i, n := range s.phases[Answer].numbers {
				if read := n.field.number; strings.Contains(n.field.path, " ") {
					s.phases[Answer].numbers[i].field.number = func(f *frame) float64 { return read(f) + 1 }
				}
			}
		},
		"forgotten tags":     func(s *Set) { s.phases[Answer].members = nil },
		"forgotten literals": func(s *Set) { s.phases[Answer].literals = [textCount]*scanner{} },
		"forgotten lock":     func(s *Set) { s.phases[Answer].locked = newBits(len(s.phases[Answer].rules)) },
	} {
		if differences(t, 7, 6, 60, damage) == 0 {
			t.Errorf("%s goes unnoticed", name)
		}
	}
}

func FuzzEval(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(3, 3))}
	source := []Source{{Name: "r", Data: []byte(g.file(60))}}
	indexed, err := Load(source)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := LoadPlain(source)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"chest pain", "ſos \u212aelvin K9", "\xff\xed\xa0\x80", strings.Repeat("转人工", 4000), "café cafe\u0301"} {
		f.Add(seed, "refund")
	}
	f.Fuzz(func(t *testing.T, text, answer string) {
		x := &Exchange{Phase: Answer, Message: message.Inbound{Text: text, Quoted: answer}, Bot: &BotView{Text: answer}}
		v := indexed.Eval(x)
		matched, failed := plain.Eval(x)
		if !cmp.Equal(v.Matched, matched) || !cmp.Equal(v.Failed, failed) {
			t.Fatalf("the index changes the verdict: %s %s", cmp.Diff(matched, v.Matched), cmp.Diff(failed, v.Failed))
		}
	})
}
