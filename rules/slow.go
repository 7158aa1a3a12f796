package rules

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"turnout/rules/safeexpr"
)

// Slow returns the rules whose patterns take longer than budget on a text as long as ordinary rules see, and how long. Patterns
// cannot blow up here, but their cost is their size times that of the text, and a hostile author can make both large. The
// texts are runs of the characters that the pattern looks for; of three attempts the quickest counts. clock is one that only
// goes forward.
func (s *Set) Slow(budget time.Duration, clock func() time.Duration) []Timing {
	var slow []Timing
	for _, r := range s.rules {
		if !strings.Contains(r.when, "matches") {
			continue
		}
		tree, err := safeexpr.Parse(r.when, env{}, safeexpr.Options{Bool: true, Functions: declared()})
		if err != nil {
			continue // it was compiled: it parses
		}
		v := &patterns{}
		ast.Walk(&tree, v)
		if v.size() < smallPattern {
			continue
		}
		var took time.Duration
		for _, p := range v.found {
			took += patternCost(p, budget, clock)
		}
		if took > budget {
			slow = append(slow, Timing{Rule: r.id, Took: took})
		}
	}
	return slow
}

// smallPattern is the compiled size below which patterns need not be measured: a step takes less than 10 ns, and a window has
// 8,192 places.
const smallPattern = 60

type patterns struct{ found []string }

// size is the number of instructions of all patterns.
func (v *patterns) size() (n int) {
	for _, p := range v.found {
		if parsed, err := syntax.Parse(p, syntax.Perl); err == nil {
			if program, err := syntax.Compile(parsed.Simplify()); err == nil {
				n += len(program.Inst)
			}
		}
	}
	return n
}

// Visit implements ast.Visitor.
func (v *patterns) Visit(node *ast.Node) {
	n, ok := (*node).(*ast.BinaryNode)
	if !ok || n.Operator != "matches" {
		return
	}
	if s, ok := n.Right.(*ast.StringNode); ok {
		v.found = append(v.found, s.Value)
	}
}

// patternCost is the greatest time that a pattern takes on its probes.
func patternCost(pattern string, budget time.Duration, clock func() time.Duration) (worst time.Duration) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return 0
	}
	for _, probe := range probes(pattern) {
		best := time.Duration(-1)
		for range 3 {
			start := clock()
			re.MatchString(probe)
			if took := clock() - start; best < 0 || took < best {
				best = took
			}
			if best <= budget/4 {
				break // near enough to nothing: no need to be sure
			}
		}
		worst = max(worst, best)
	}
	return worst
}

// maxProbes bounds the characters of a pattern that are tried.
const maxProbes = 6

// probes are texts of a window's length that keep a pattern busy: each character that it looks for over and over, and all of
// them in turn.
func probes(pattern string) []string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	chars := []rune{'a'}
	collect(parsed, &chars)
	var texts []string
	for _, c := range chars[:min(len(chars), maxProbes)] {
		texts = append(texts, strings.Repeat(string(c), window/utf8.RuneLen(c)))
	}
	all := string(chars)
	return append(texts, strings.Repeat(all, window/len(all)+1)[:window])
}

func collect(re *syntax.Regexp, chars *[]rune) {
	add := func(r rune) {
		if utf8.RuneLen(r) > 0 && r >= ' ' && len(*chars) < 64 && !slices.Contains(*chars, r) {
			*chars = append(*chars, r)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			add(r)
		}
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			add(max(re.Rune[i], ' '))
		}
	}
	for _, sub := range re.Sub {
		collect(sub, chars)
	}
}
