package rules_test

import (
	"os"
	"strings"
	"testing"

	"turnout/rules"
	"turnout/rules/signal"
)

// TestReadme loads the example that the page begins with and runs its tests.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	results := mustLoad(t, rules.Source{Name: "clinic.yaml", Data: []byte(example)}).Test(d)
	if len(results) != 4 {
		t.Errorf("%d tests ran, want 4", len(results))
	}
	for _, r := range results {
		if !r.Passed() {
			t.Errorf("%s:%d: %s: got %v, want %v: %v", r.File, r.Line, r.Rule, r.Got, r.Want, r.Err)
		}
	}
}
