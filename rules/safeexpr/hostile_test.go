package safeexpr_test

import (
	"maps"
	"strings"
	"testing"

	"turnout/rules/safeexpr"
)

// hostile are expressions of an author who means harm. Those with a refusal must not compile; the others must end.
var hostile = []struct {
	name, source, refusal string
}{
	{"too long", strings.Repeat("1+", 3000) + "1 == 1", "longer than"},
	{"nested parentheses", strings.Repeat("(", 1500) + "true" + strings.Repeat(")", 1500), "nested more than"},
	{"nested brackets", strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + " == 1", "nested more than"},
	{"parentheses behind a quote in a comment", "/* \" */ " + strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), "nested more than"},
	{"parentheses behind closing ones in a string", `")))))))))))))))))))))" == text || ` + strings.Repeat("(", 80) + "true" + strings.Repeat(")", 80), "nested more than"},
	{"nodes", "turns in [" + strings.Repeat("1,", 900) + "1]", "nodes"},
	{"unary chain", strings.Repeat("!", 4000) + "true", "nodes"},
	{"triple loop", "all(tags, all(tags, all(tags, # == \"\")))", "nested more than"},
	{"triple loop by in", `all(tags, all(tags, # in tags))`, "nested more than"},
	{"triple loop by a pipe", `tags | filter(any(tags, any(tags, true))) | len() > 1`, "nested more than"},
	{"range", "any(1..1000000, # > 3)", "ranges"},
	{"nested ranges", "any(1..300, any(1..300, # > 3))", "ranges"},
	{"range of names", "len(turns..1000000) > 1", "ranges"},
	{"pattern built at run time", `text matches ("(a?){1,1000}" + "b")`, "constant pattern"},
	{"pattern from the text", "text matches text", "constant pattern"},
	{"huge counted pattern", `text matches "(a?){1,1000}b"`, "complex"},
	{"nested counted pattern", `text matches "((a{0,30}){0,30}){0,30}"`, "pattern"},
	{"long pattern", `text matches "` + strings.Repeat("ab", 300) + `"`, "longer than"},
	{"many patterns", strings.Repeat(`text matches "(a?){1,80}b" || `, 9) + "true", "complex"},
	{"bad pattern", `text matches "("`, "pattern"},
	{"doubling by names", "let a = text + text; let b = a + a; let c = b + b; c == a", "let"},
	{"lists in lists by names", "let a = [tags, tags]; let b = [a, a]; b == a", "let"},
	{"doubling by reduce", `reduce(tags, #acc + #acc, text) == ""`, "reduce"},
	{"many concatenations", strings.Repeat("text + ", 100) + `text == ""`, "more than"},
	{"repeat", `repeat(text, 1000000) == ""`, "repeat"},
	{"replace", `replace(text, "", text) == ""`, "replace"},
	{"split", `len(split(text, "")) > 1`, "split"},
	{"concat", `len(concat(tags, tags)) > 1`, "concat"},
	{"flatten", `flatten(field) == 1`, "flatten"},
	{"toJSON", `toJSON(field) == ""`, "toJSON"},
	{"fromJSON", `fromJSON(text) == 1`, "fromJSON"},
	{"fromBase64", `fromBase64(text) == ""`, "fromBase64"},
	{"sort", `sort(tags) == 1`, "sort"},
	{"group", `groupBy(tags, #) == 1`, "groupBy"},
	{"clock", `now().Year() > 1`, "only functions"},
	{"duration", `duration("1h").Hours() > 1`, "only functions"},
	{"whole environment", `$env == $env`, "$env"},
	{"sequence", "true; true", ";"},
	{"linear work in a loop", "all(tags, lower(text) == #)", "element"},
	{"search in a loop", "all(tags, text contains \"a\")", "element"},
	{"pattern in a loop", "all(tags, text matches \"a\")", "element"},
	{"length in a loop", "all(tags, len(text) > 2)", "element"},
	{"deep comparison in a loop", "all(tags, field == field)", "element"},
	{"comparison of built lists", "map(tags, map(tags, field)) == map(tags, map(tags, field))", "compared"},
	{"nested map is too long", "len(map(list, map(list, 1))) > 1", ""},
	{"two loops", "count(list, any(list, # == 2)) == 1", ""},
	{"search in two loops", "count(list, # in list) == 1", ""},
	{"long text, pattern", `body matches "^(a+)+$"`, ""},
	{"long text, counted pattern", `body matches "(x+x+)+y{1,40}z"`, ""},
	{"long text, concatenated", "body + body + body + body == body", ""},
	{"joined texts", `len(join(map(items, find(items, true)), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) > 1`, ""},
	{"deep values", "body == deep", ""},
}

func TestHostile(t *testing.T) {
	list := make([]any, 5000)
	items := make([]any, 300)
	for i := range items {
		items[i] = strings.Repeat("b", 100_000)
	}
	for i := range list {
		list[i] = i
	}
	var deep any = "end"
	for range 10_000 {
		deep = []any{deep}
	}
	shape := map[string]any{
		"text": strings.Repeat("a", 8<<10), "turns": 1, "tags": []string{"x", "y"}, "field": map[string]any{"plan": "gold"},
		"list": list, "items": items, "body": any(strings.Repeat("a", 1<<20)), "deep": deep,
	}
	names := maps.Clone(shape)
	names["body"], names["deep"] = nil, nil
	for _, tc := range hostile {
		t.Run(tc.name, func(t *testing.T) {
			within(t, tc.source, func() {
				p, err := safeexpr.Compile(tc.source, names, safeexpr.Options{})
				switch {
				case err == nil && tc.refusal != "":
					t.Errorf("compiled, want a refusal with %q", tc.refusal)
				case err != nil && tc.refusal == "":
					t.Errorf("refused: %v", err)
				case err != nil && !strings.Contains(err.Error(), tc.refusal):
					t.Errorf("refused with %q, want %q", err, tc.refusal)
				}
				if err == nil {
					_, _ = p.Eval(shape) // an error is as good an end as a value
				}
			})
		})
	}
}

// TestItemLimits shows where the line lies: a long list passes one loop,
// and is turned away at the door of two.
func TestItemLimits(t *testing.T) {
	list := make([]any, 5000)
	shape := map[string]any{"list": list}
	one, err := safeexpr.Compile("count(list, # == nil)", shape, safeexpr.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.Eval(shape); err != nil || got != 5000 {
		t.Fatalf("one loop over 5000: %v, %v", got, err)
	}
	two, err := safeexpr.Compile("count(list, any(list, # == 1))", shape, safeexpr.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Eval(shape); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Fatalf("two loops over 5000: %v", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, tc := range hostile {
		f.Add(tc.source)
	}
	f.Add(`turns > 2 && lower(text) contains "order" || any(tags, # == "vip")`)
	f.Add("\"\\\xff\"")
	f.Add("a /* ) */ ? b : [c, {\"d\": 1}]")
	value := env{Text: strings.Repeat("ab ", 300), Turns: 4, Tags: []string{"a", "b"}, Field: map[string]any{"a": 1.0}}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := safeexpr.Compile(source, env{}, safeexpr.Options{})
		if err != nil {
			if p != nil {
				t.Fatal("a program and an error")
			}
			return
		}
		_, _ = p.Eval(value)
	})
}
