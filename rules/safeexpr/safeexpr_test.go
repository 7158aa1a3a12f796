package safeexpr_test

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/rules/safeexpr"
)

type env struct {
	Text  string         `expr:"text"`
	Turns int            `expr:"turns"`
	Score float64        `expr:"score"`
	Tags  []string       `expr:"tags"`
	Field map[string]any `expr:"field"`
}

func TestEval(t *testing.T) {
	e := env{Text: "Where is my Order?", Turns: 3, Score: 0.5, Tags: []string{"vip", "new"}, Field: map[string]any{"plan": "gold", "age": 41.0}}
	for _, tc := range []struct {
		source string
		want   any
	}{
		{`turns > 2 && score <= 0.5`, true},
		{`lower(text) contains "order"`, true},
		{`text matches "(?i)^where"`, true},
		{`"vip" in tags`, true},
		{`any(tags, # startsWith "v")`, true},
		{`count(tags, # == "vip") == 1`, true},
		{`field.plan == "gold" && field.age > 40`, true},
		{`turns in [1, 2, 3]`, true},
		{`turns > 2 ? "many" : "few"`, "many"},
		{`string(turns) + "/" + string(score)`, "3/0.5"},
		{`join(tags, ", ")`, "vip, new"},
		{`map(tags, upper(#))`, []any{"VIP", "NEW"}},
		{`field?.missing?.deeper`, nil},
		{`{"say": text}`, map[string]any{"say": "Where is my Order?"}},
	} {
		p, err := safeexpr.Compile(tc.source, env{}, safeexpr.Options{})
		if err != nil {
			t.Errorf("%s: %v", tc.source, err)
			continue
		}
		got, err := p.Eval(e)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s = %#v, %v; want %#v", tc.source, got, err, tc.want)
		}
	}
}

func TestMapEnvironment(t *testing.T) {
	shape := map[string]any{"body": any(nil), "status": 0}
	p, err := safeexpr.Compile(`status == 200 ? map(body.messages, #.text) : []`, shape, safeexpr.Options{})
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"messages": []any{map[string]any{"text": "hi"}, map[string]any{"text": "there"}}}
	got, err := p.Eval(map[string]any{"body": body, "status": 200})
	if err != nil || !reflect.DeepEqual(got, []any{"hi", "there"}) {
		t.Fatalf("got %#v, %v", got, err)
	}
	if _, err := safeexpr.Compile(`boddy.messages`, shape, safeexpr.Options{}); err == nil {
		t.Fatal("an unknown top-level name compiled")
	}
	if _, err := p.Eval(map[string]any{"body": "no object", "status": 200}); err == nil {
		t.Fatal("a field of a string evaluated")
	}
}

func TestFunctions(t *testing.T) {
	opts := safeexpr.Options{Bool: true, Functions: []safeexpr.Function{{
		Name:  "short",
		Call:  func(args ...any) (any, error) { return len(args[0].(string)) < 5, nil },
		Types: []any{(*func(string) bool)(nil)},
	}}}
	p, err := safeexpr.Compile(`short(text)`, env{}, opts)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Bool(env{Text: "hey"}); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	if _, err := safeexpr.Compile(`short(turns)`, env{}, opts); err == nil {
		t.Fatal("a wrongly typed argument compiled")
	}
	if _, err := safeexpr.Compile(`text`, env{}, opts); err == nil {
		t.Fatal("a text passed for a boolean")
	}
}

func TestErrorsCarryTheirPlace(t *testing.T) {
	for _, tc := range []struct {
		source       string
		line, column int
		message      string
	}{
		{"turns >", 1, 7, "unexpected token"},
		{"turns > 1 &&\n  wrong == 2", 2, 3, "unknown name wrong"},
		{"turns > \"a\"", 1, 7, "invalid operation"},
		{"turns > 1 &&\n\n    text matches text", 3, 18, "constant pattern"},
		{`"é" == text || repeat(text, 3) == ""`, 1, 16, "repeat"},
	} {
		_, err := safeexpr.Compile(tc.source, env{}, safeexpr.Options{})
		var fault *safeexpr.Error
		if !errors.As(err, &fault) {
			t.Errorf("%q: error is %T (%v)", tc.source, err, err)
			continue
		}
		if fault.Line != tc.line || fault.Column != tc.column || !strings.Contains(fault.Message, tc.message) {
			t.Errorf("%q: %d:%d %q; want %d:%d %q", tc.source, fault.Line, fault.Column, fault.Message, tc.line, tc.column, tc.message)
		}
		if !strings.Contains(fault.Snippet, "^") {
			t.Errorf("%q: no caret in %q", tc.source, fault.Snippet)
		}
	}
}

func TestEvalReportsFailure(t *testing.T) {
	for _, source := range []string{`tags[7] == "x"`, `turns % 0 == 1`, `field.plan > 3`, `field.plan.deeper == 1`} {
		p, err := safeexpr.Compile(source, env{}, safeexpr.Options{Bool: true})
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if _, err := p.Bool(env{Field: map[string]any{"plan": "gold"}}); err == nil {
			t.Errorf("%s: evaluated without an error", source)
		}
	}
}

func TestProgramIsSafeForConcurrentUse(t *testing.T) {
	p, err := safeexpr.Compile(`any(tags, # == "vip") && turns > 1`, env{}, safeexpr.Options{Bool: true})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 500 {
				if got, err := p.Bool(env{Tags: []string{"vip"}, Turns: i}); err != nil || got != (i > 1) {
					t.Errorf("turns %d: %v, %v", i, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// within fails the test when work is still running after what is, for every bounded expression, a very long time. The
// runaway goroutine is abandoned: there is no way to stop it, which is why it must never be reached.
func within(t *testing.T, source string, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); work() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatalf("still running: %.80s", source)
	}
}
