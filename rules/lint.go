package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"turnout/rules/safeexpr"
)

// Lint says what in a set is allowed but probably not meant, ordered by place. Each finding names its rule and how to mend
// it.
func (s *Set) Lint() Faults {
	l := &linter{set: s, names: newNames(), conditions: map[string]*rule{}}
	for _, r := range s.rules {
		l.rule(r)
	}
	l.faults.sort()
	return l.faults
}

type linter struct {
	set        *Set
	names      names
	conditions map[string]*rule // by phase and condition
	faults     Faults
}

func (l *linter) say(r *rule, format string, args ...any) {
	l.faults = append(l.faults, Fault{File: r.file, Line: r.line, Column: r.column, Rule: r.id, Message: fmt.Sprintf(format, args...)})
}

func (l *linter) rule(r *rule) {
	hits := slices.ContainsFunc(r.tests, func(t sample) bool { return t.want })
	misses := slices.ContainsFunc(r.tests, func(t sample) bool { return !t.want })
	switch {
	case r.locked && !hits:
		l.say(r, "a locked rule without a test that matches cannot be tested at start and by the heartbeat; add one")
	case len(r.tests) == 0:
		l.say(r, "it has no tests; add one that matches and one that does not")
	case !misses:
		l.say(r, "no test says what must not match; add one that comes close")
	case !hits:
		l.say(r, "no test says what must match")
	}
	if r.mode != Enforce && r.locked {
		l.say(r, "it is locked, and with mode %s it does nothing", r.mode)
	}
	for _, saying := range []*Saying{r.say, r.replace} {
		if saying != nil && saying.Texts["en"] == "" && len(saying.Texts) > 1 {
			l.say(r, "its texts have no en: who writes in another language than %s gets the first of them", strings.Join(slices.Sorted(maps.Keys(saying.Texts)), ", "))
		}
	}
	tree, err := safeexpr.Parse(r.when, env{}, safeexpr.Options{Bool: true, Functions: declared()})
	if err != nil {
		return // it was compiled: it parses
	}
	if !readsAnything(tree) {
		l.say(r, "its condition reads nothing of the exchange: it always comes to the same")
	}
	key := r.phase.String() + " " + tree.String()
	if other := l.conditions[key]; other != nil && r.mode != Off && other.mode != Off {
		l.say(r, "it has the same condition as rule %s; one rule can do both", other.id)
	}
	l.conditions[key] = r
	ast.Walk(&tree, lintVisitor{l, r})
}

func readsAnything(tree ast.Node) bool {
	v := &reads{}
	ast.Walk(&tree, v)
	return v.anything
}

type reads struct{ anything bool }

// Visit implements ast.Visitor.
func (v *reads) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		v.anything = v.anything || n.Value != "has"
	}
}

type lintVisitor struct {
	*linter
	r *rule
}

// Visit implements ast.Visitor.
func (v lintVisitor) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		v.comparison(n)
	case *ast.UnaryNode:
		if name := v.absentUnder(n); name != "" {
			v.say(v.r, "%s is true as well while %s is absent; if that is not meant, write has(%s) && … before it", n, name, name)
		}
	}
}

func (v lintVisitor) comparison(n *ast.BinaryNode) {
	name, constant, operator := n.Left, n.Right, n.Operator
	if pathOf(name) == nil {
		name, constant, operator = n.Right, n.Left, mirrored[n.Operator]
	}
	path := strings.Join(pathOf(name), ".")
	if want, ok := constantNumber(constant); ok && (strings.HasPrefix(path, "signal.") || path == "bot.confidence") {
		never := (operator == ">" && want >= 1) || (operator == ">=" || operator == "==") && want > 1 || operator == "<" && want <= 0
		always := (operator == "<" && want > 1) || operator == "<=" && want >= 1 || operator == ">=" && want <= 0
		switch {
		case never:
			v.say(v.r, "%s is never true: %s is between 0 and 1", n, path)
		case always:
			v.say(v.r, "%s is true for every value: %s is between 0 and 1", n, path)
		}
	}
	s, ok := n.Right.(*ast.StringNode)
	if !ok {
		return
	}
	lowered, isLower := n.Left.(*ast.BuiltinNode)
	switch {
	case isLower && lowered.Name == "lower" && s.Value != strings.ToLower(s.Value) && n.Operator != "matches":
		v.say(v.r, "%s is never true: the left side is in lower case", n)
	case n.Operator == "contains" && (path == "text" || path == "bot.text" || path == "quoted") && strings.ContainsFunc(s.Value, isLetter):
		v.say(v.r, "%s takes upper and lower case, accents and parts of words as they stand; phrase(%q) finds the words", n, s.Value)
	case n.Operator == "==" && path == "text":
		v.say(v.r, "%s holds only for the whole message, letter by letter; phrase(%q) finds the words anywhere", n, s.Value)
	}
}

func isLetter(r rune) bool { return r > 0x7f || r|0x20 >= 'a' && r|0x20 <= 'z' }

// absentUnder is a name that may be absent in the comparison under a negation, where nothing tests for its presence.
func (v lintVisitor) absentUnder(n *ast.UnaryNode) string {
	if n.Operator != "!" && n.Operator != "not" {
		return ""
	}
	inner, ok := n.Node.(*ast.BinaryNode)
	if !ok || n.Location().From > inner.Left.Location().From || inner.Operator == "&&" || inner.Operator == "||" {
		return ""
	}
	for _, side := range []ast.Node{inner.Left, inner.Right} {
		path := pathOf(side)
		if path == nil {
			continue
		}
		f, problem := v.names.lookup(path, v.r.phase)
		if problem == "" && f.present != nil && !strings.Contains(v.r.when, "has("+f.path) {
			return f.path
		}
	}
	return ""
}
