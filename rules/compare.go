package rules

import (
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// compare compiles the comparisons that most rules are made of: a name against a constant. It reports false for
// anything else, which the expression engine evaluates.
func (p *piece) compare(node ast.Node) (condition, bool) {
	if f, ok := p.field(node); ok && f.kind == boolField {
		return condition{eval: f.boolean}, true
	}
	n, ok := node.(*ast.BinaryNode)
	if !ok {
		return condition{}, false
	}
	operator, left, right := n.Operator, n.Left, n.Right
	if c, ok := p.member(n); ok {
		return c, true
	}
	if f, ok := p.lowered(left); ok {
		return compareText(f, operator, right)
	}
	f, ok := p.field(left)
	if !ok {
		if f, ok = p.field(right); !ok {
			return condition{}, false
		}
		if operator, ok = mirrored[operator]; !ok {
			return condition{}, false
		}
		right = left
	}
	switch f.kind {
	case textField:
		return compareText(f, operator, right)
	case numberField:
		return compareNumber(f, operator, right)
	case valueField:
		return compareValue(f, operator, right)
	}
	return condition{}, false
}

// member compiles "text" in list.
func (p *piece) member(n *ast.BinaryNode) (condition, bool) {
	s, ok := n.Left.(*ast.StringNode)
	if !ok || n.Operator != "in" {
		return condition{}, false
	}
	f, ok := p.field(n.Right)
	if !ok || f.list == nil {
		return condition{}, false
	}
	read, want := f.list, s.Value
	return condition{
		eval: func(f *frame) bool { return slices.Contains(read(f), want) },
		keys: []key{{kind: memberKey, field: f, text: want}},
	}, true
}

// mirrored are the operators that can be read from the right, as what they are then.
var mirrored = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

func (p *piece) field(node ast.Node) (field, bool) {
	path := pathOf(node)
	if path == nil {
		return field{}, false
	}
	f, problem := p.names.lookup(path, p.phase)
	return f, problem == ""
}

// lowered is the field of lower(name), where name is a text.
func (p *piece) lowered(node ast.Node) (field, bool) {
	n, ok := node.(*ast.BuiltinNode)
	if !ok || n.Name != "lower" || len(n.Arguments) != 1 {
		return field{}, false
	}
	f, ok := p.field(n.Arguments[0])
	if !ok || f.kind != textField {
		return field{}, false
	}
	read := f.text
	f.path = "lower(" + f.path + ")"
	f.text = func(f *frame) string { return strings.ToLower(read(f)) }
	return f, true
}

func compareText(f field, operator string, right ast.Node) (condition, bool) {
	read := f.text
	if operator == "in" {
		values, ok := textList(right)
		if !ok {
			return condition{}, false
		}
		var keys []key
		for _, v := range values {
			keys = append(keys, key{kind: textKey, field: f, text: v})
		}
		return condition{eval: func(f *frame) bool { return slices.Contains(values, read(f)) }, keys: keys}, true
	}
	s, ok := right.(*ast.StringNode)
	if !ok {
		return condition{}, false
	}
	want := s.Value
	switch operator {
	case "==":
		return condition{eval: func(f *frame) bool { return read(f) == want }, keys: []key{{kind: textKey, field: f, text: want}}}, true
	case "!=":
		return condition{eval: func(f *frame) bool { return read(f) != want }}, true
	case "contains":
		return condition{eval: func(f *frame) bool { return strings.Contains(read(f), want) }, keys: literalKeys(f, []string{asciiRun(want)})}, true
	case "startsWith":
		return condition{eval: func(f *frame) bool { return strings.HasPrefix(read(f), want) }, keys: literalKeys(f, []string{asciiRun(want)})}, true
	case "endsWith":
		return condition{eval: func(f *frame) bool { return strings.HasSuffix(read(f), want) }, keys: literalKeys(f, []string{asciiRun(want)})}, true
	case "matches":
		re, err := regexp.Compile(want)
		if err != nil {
			return condition{}, false
		}
		return condition{eval: func(f *frame) bool { return re.MatchString(read(f)) }, keys: literalKeys(f, requiredLiterals(want))}, true
	}
	return condition{}, false
}

func compareNumber(f field, operator string, right ast.Node) (condition, bool) {
	read := f.number
	want, ok := constantNumber(right)
	if !ok {
		return condition{}, false
	}
	above := []key{{kind: aboveKey, field: f, number: want}}
	below := []key{{kind: belowKey, field: f, number: want}}
	switch operator {
	case "==":
		return condition{eval: func(f *frame) bool { return read(f) == want }, keys: []key{{kind: numberKey, field: f, number: want}}}, true
	case "!=":
		return condition{eval: func(f *frame) bool { return read(f) != want }}, true
	case ">":
		return condition{eval: func(f *frame) bool { return read(f) > want }, keys: above}, true
	case ">=":
		return condition{eval: func(f *frame) bool { return read(f) >= want }, keys: above}, true
	case "<":
		return condition{eval: func(f *frame) bool { return read(f) < want }, keys: below}, true
	case "<=":
		return condition{eval: func(f *frame) bool { return read(f) <= want }, keys: below}, true
	}
	return condition{}, false
}

// compareValue takes only equality with a text: that cannot fail whatever the value is.
func compareValue(f field, operator string, right ast.Node) (condition, bool) {
	s, ok := right.(*ast.StringNode)
	if !ok {
		return condition{}, false
	}
	read, want := f.value, s.Value
	equal := func(f *frame) bool { v, ok := read(f).(string); return ok && v == want }
	switch operator {
	case "==":
		f.text = func(f *frame) string { s, _ := read(f).(string); return s }
		if want == "" {
			return condition{eval: equal}, true
		}
		return condition{eval: equal, keys: []key{{kind: textKey, field: f, text: want}}}, true
	case "!=":
		return condition{eval: func(f *frame) bool { return !equal(f) }}, true
	}
	return condition{}, false
}

func textList(node ast.Node) ([]string, bool) {
	list, ok := node.(*ast.ArrayNode)
	if !ok {
		return nil, false
	}
	var values []string
	for _, item := range list.Nodes {
		s, ok := item.(*ast.StringNode)
		if !ok {
			return nil, false
		}
		values = append(values, s.Value)
	}
	return values, len(values) > 0
}

func constantNumber(node ast.Node) (float64, bool) {
	switch n := node.(type) {
	case *ast.IntegerNode:
		return float64(n.Value), true
	case *ast.FloatNode:
		return n.Value, true
	case *ast.UnaryNode:
		v, ok := constantNumber(n.Node)
		return -v, ok && n.Operator == "-"
	}
	return 0, false
}
