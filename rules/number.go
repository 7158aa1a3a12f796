package rules

import (
	"math"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// exactLimit bounds the whole numbers that a float64 holds one by one.
const exactLimit = 1 << 53

// calculated compiles an expression of numbers: fields, the length of a text, constants, and +, -, * and / over these. The
// value reads as NaN where float64 might not give what the expression engine gives, which calculates in whole numbers
// where it can. It reports false for any other expression.
func (p *piece) calculated(node ast.Node) (read func(f *frame) float64, ok bool) {
	switch n := node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		value, _ := constantNumber(node)
		return func(*frame) float64 { return value }, math.Abs(value) < exactLimit
	case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode:
		f, ok := p.field(node)
		return f.number, ok && f.kind == numberField
	case *ast.UnaryNode:
		inner, ok := p.calculated(n.Node)
		if !ok || n.Operator != "-" {
			return nil, false
		}
		return func(f *frame) float64 { return -inner(f) }, true
	case *ast.BuiltinNode:
		if n.Name != "len" || len(n.Arguments) != 1 {
			return nil, false
		}
		f, ok := p.field(n.Arguments[0])
		if !ok || f.kind != textField {
			return nil, false
		}
		text := f.text
		return func(f *frame) float64 { return float64(utf8.RuneCountInString(text(f))) }, true
	case *ast.BinaryNode:
		left, ok := p.calculated(n.Left)
		if !ok {
			return nil, false
		}
		right, ok := p.calculated(n.Right)
		if !ok {
			return nil, false
		}
		return arithmetic(n.Operator, left, right)
	}
	return nil, false
}

func arithmetic(operator string, left, right func(f *frame) float64) (read func(f *frame) float64, ok bool) {
	switch operator {
	case "+":
		return func(f *frame) float64 { return exact(exact(left(f)) + exact(right(f))) }, true
	case "-":
		return func(f *frame) float64 { return exact(exact(left(f)) - exact(right(f))) }, true
	case "*":
		return func(f *frame) float64 { return exact(exact(left(f)) * exact(right(f))) }, true
	case "/":
		return func(f *frame) float64 {
			divisor := exact(right(f))
			if divisor == 0 {
				return math.NaN() // the sign of the result is that of a zero, which whole numbers do not have
			}
			return exact(left(f)) / divisor
		}, true
	}
	return nil, false
}

// exact is v, or NaN when whole numbers of that size are too close for a float64.
func exact(v float64) float64 {
	if math.Abs(v) < exactLimit {
		return v
	}
	return math.NaN()
}

// compareCalculated compiles the comparison of two expressions of numbers. What does not calculate exactly is left to
// evaluate, the same comparison in the expression engine.
func (p *piece) compareCalculated(n *ast.BinaryNode, evaluate func(f *frame) bool) (condition, bool) {
	left, ok := p.calculated(n.Left)
	if !ok {
		return condition{}, false
	}
	right, ok := p.calculated(n.Right)
	if !ok {
		return condition{}, false
	}
	holds, ok := comparisons[n.Operator]
	if !ok {
		return condition{}, false
	}
	c := condition{eval: func(f *frame) bool {
		a, b := exact(left(f)), exact(right(f))
		if math.IsNaN(a) || math.IsNaN(b) {
			return evaluate(f)
		}
		return holds(a, b)
	}}
	if want, ok := constantNumber(n.Right); ok {
		c.keys = calculatedKeys(field{path: n.Left.String(), kind: numberField, number: left}, n.Operator, want)
	} else if want, ok := constantNumber(n.Left); ok {
		c.keys = calculatedKeys(field{path: n.Right.String(), kind: numberField, number: right}, mirrored[n.Operator], want)
	}
	return c, true
}

var comparisons = map[string]func(a, b float64) bool{
	"==": func(a, b float64) bool { return a == b },
	"!=": func(a, b float64) bool { return a != b },
	"<":  func(a, b float64) bool { return a < b },
	"<=": func(a, b float64) bool { return a <= b },
	">":  func(a, b float64) bool { return a > b },
	">=": func(a, b float64) bool { return a >= b },
}

// calculatedKeys are the thresholds of a calculated number, so that rules about the same one are found together. A value
// that is not exact is on both sides of every threshold, but equal to none: equality has no key.
func calculatedKeys(of field, operator string, want float64) []key {
	read := of.number
	of.number = func(f *frame) float64 { return exact(read(f)) }
	switch operator {
	case ">", ">=":
		return []key{{kind: aboveKey, field: of, number: want}}
	case "<", "<=":
		return []key{{kind: belowKey, field: of, number: want}}
	}
	return nil
}
