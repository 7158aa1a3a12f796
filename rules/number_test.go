package rules

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"turnout/adapters/message"
)

// TestCalculated holds calculated comparisons to the expression engine at the ends of what numbers can be.
func TestCalculated(t *testing.T) {
	for _, when := range []string{
		"len(text) > 2", "len(text) + turns < 5", "turns - returns >= handoffs", "-turns < -1", "turns * 2 == handoffs", "1 / turns > 1",
		"1 / -turns < 0", "turns / turns != 1", "minutes_open / 2 >= turns", "turns * turns * turns > 0", "turns + 1 > turns", "0.1 + 0.2 == 0.3",
		"signal.frustration * 10 >= 5", "turns + 9007199254740993 > 9007199254740992", "turns < returns", "turns == returns", "10 < len(text) * 2",
		"-signal.frustration / turns == 0", "turns - 9223372036854775807 > 0", "2 - 1 < turns", "len(lang) == 0",
	} {
		t.Run(when, func(t *testing.T) {
			indexed, plain := loadBoth(t, when)
			for _, text := range []string{"", "abc", "转人工 café", "\xff\xfe"} {
				for _, turns := range []int{-1, 0, 1, 2, 1 << 53, 1<<53 + 1, math.MaxInt, math.MinInt} {
					for _, returns := range []int{0, 1, 1<<53 - 1, math.MaxInt - 1} {
						x := &Exchange{Message: message.Inbound{Text: text}, Turns: turns, Returns: returns, Handoffs: 2, Lang: text}
						x.Scores.Frustration = 0.5
						got := indexed.Eval(x)
						want, failed := plain.Eval(x)
						if len(got.Matched) != len(want) || len(got.Failed) != len(failed) {
							t.Errorf("%q, %d turns, %d returns: %v, want %v, %v", text, turns, returns, got.Matched, want, failed)
						}
					}
				}
			}
		})
	}
}

// TestCalculatedNeedsNoEngine is about the cost: what is calculated here does not fail, so its keys may decide.
func TestCalculatedNeedsNoEngine(t *testing.T) {
	for when, calculated := range map[string]bool{
		"len(text) + turns < 5": true, "turns * 2 > returns": true, "len(text) == len(quoted)": true, "lower(text) contains \"abc\"": true,
		"turns % 2 == 0": false, "len(tags) > 1": false, "turns ** 2 > 3": false, "lower(text + lang) == \"x\"": false,
	} {
		c, err := newCompiler().compile(when, Inbound)
		if err != nil {
			t.Fatal(err)
		}
		if c.fallible == calculated {
			t.Errorf("%s: fallible is %v", when, c.fallible)
		}
	}
}

func loadBoth(t testing.TB, conditions ...string) (indexed *Set, plain *Plain) {
	t.Helper()
	var b strings.Builder
	b.WriteString("rules:\n")
	for i, when := range conditions {
		fmt.Fprintf(&b, "  - id: r%d\n    why: w\n    when: |\n      %s\n    then: {tags: [t]}\n", i, when)
	}
	source := []Source{{Name: "r", Data: []byte(b.String())}}
	indexed, err := Load(source)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err = LoadPlain(source); err != nil {
		t.Fatal(err)
	}
	return indexed, plain
}

// BenchmarkEvalSilent judges a message by rules of the dearer kinds, none of which matches.
func BenchmarkEvalSilent(b *testing.B) {
	for name, when := range map[string]string{
		"calculated": "len(text) + turns < %d",
		"pattern":    `text matches "(?i)\\bcase%d(s|ed|ing)?\\s+(all|every)\\s+account\\b"`,
		"lower":      `lower(text) contains "case%d"`,
	} {
		var conditions []string
		for i := range 20 {
			conditions = append(conditions, fmt.Sprintf(when, i))
		}
		s, plain := loadBoth(b, conditions...)
		x := &Exchange{Turns: 3, Message: message.Inbound{Text: "the order of two large lamps and a blue jacket was for friday morning, and the parcel is still in the shop near the river, which is not what I have written in the address box."}}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Eval(x)
			}
		})
		b.Run(name+"-engine", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				plain.Eval(x)
			}
		})
	}
}
