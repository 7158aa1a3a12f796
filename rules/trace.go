package rules

import (
	"errors"
	"slices"
	"strconv"

	"github.com/expr-lang/expr/ast"

	"turnout/rules/safeexpr"
)

// tracer evaluates a part of a condition and says how. A failure sets f.failed, as in a condition.
type tracer func(f *frame) *Node

// trace compiles a condition for explaining. It follows piece.boolean node by node; what decides (absence, comparison, the
// expression engine) is the same code.
func (c *compiler) trace(source string, phase Phase) (tracer, error) {
	tree, err := safeexpr.Parse(source, env{}, safeexpr.Options{Bool: true, Functions: declared()})
	if err != nil {
		return nil, err
	}
	p := &piece{compiler: c, phase: phase, source: source}
	t := p.traced(tree)
	if p.fault != nil {
		return nil, p.fault
	}
	return t, nil
}

// traced is boolean, for explaining.
func (p *piece) traced(node ast.Node) tracer {
	source := node.String()
	switch n := node.(type) {
	case *ast.UnaryNode:
		if inner, ok := n.Node.(*ast.BinaryNode); ok && (n.Operator == "!" || n.Operator == "not") && n.Location().From > inner.Left.Location().From {
			// The printer would make "not (a in b)" of it, which means something else.
			source = inner.Left.String() + " not " + inner.Operator + " " + inner.Right.String()
			return p.tracedAtom(source, p.negated(inner), inner)
		}
		if n.Operator == "!" || n.Operator == "not" {
			a := p.traced(n.Node)
			return func(f *frame) *Node {
				part := a(f)
				return &Node{Source: source, State: Evaluated, Value: !part.holds(), Parts: []*Node{part}, join: inverse}
			}
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			return chainOf(source, all, p.tracedChain(n, "&&", "and"))
		case "||", "or":
			return chainOf(source, some, p.tracedChain(n, "||", "or"))
		}
	case *ast.ConditionalNode:
		test, yes, no := p.traced(n.Cond), p.traced(n.Exp1), p.traced(n.Exp2)
		return func(f *frame) *Node {
			parts := []*Node{test(f), {Source: n.Exp1.String(), State: NotNeeded}, {Source: n.Exp2.String(), State: NotNeeded}}
			chosen := 2
			if parts[0].holds() {
				chosen = 1
				parts[1] = yes(f)
			} else {
				parts[2] = no(f)
			}
			return &Node{Source: source, State: Evaluated, Value: parts[chosen].holds(), Parts: parts, join: choice}
		}
	case *ast.CallNode:
		switch n.Callee.(*ast.IdentifierNode).Value {
		case "phrase":
			return p.tracedPhrase(n)
		case "has":
			c := p.has(n)
			return func(f *frame) *Node { return &Node{Source: source, State: Evaluated, Value: c.eval(f)} }
		}
	}
	return p.tracedAtom(source, p.boolean(node), node)
}

// tracedChain takes a && b && c apart into its links.
func (p *piece) tracedChain(n *ast.BinaryNode, operators ...string) []link {
	var links []link
	for _, side := range []ast.Node{n.Left, n.Right} {
		if inner, ok := side.(*ast.BinaryNode); ok && slices.Contains(operators, inner.Operator) {
			links = append(links, p.tracedChain(inner, operators...)...)
			continue
		}
		links = append(links, link{side.String(), p.traced(side)})
	}
	return links
}

type link struct {
	source string
	trace  tracer
}

// chainOf evaluates links until one decides.
func chainOf(source string, how join, links []link) tracer {
	return func(f *frame) *Node {
		n := &Node{Source: source, State: Evaluated, Value: how == all, join: how}
		for _, l := range links {
			if n.Value != (how == all) {
				n.Parts = append(n.Parts, &Node{Source: l.source, State: NotNeeded})
				continue
			}
			part := l.trace(f)
			n.Parts = append(n.Parts, part)
			n.Value = part.holds()
		}
		return n
	}
}

// tracedPhrase says of each phrase whether it was found.
func (p *piece) tracedPhrase(n *ast.CallNode) tracer {
	whole := p.phrase(n)
	source := n.String()
	type one struct {
		source string
		found  condition
	}
	var each []one
	var where []ast.Node
	for _, arg := range n.Arguments {
		s, ok := arg.(*ast.StringNode)
		if !ok {
			where = []ast.Node{arg}
			continue
		}
		single := &ast.CallNode{Callee: n.Callee, Arguments: append(slices.Clip(where), s)}
		each = append(each, one{strconv.Quote(s.Value), p.phrase(single)})
	}
	return func(f *frame) *Node {
		n := &Node{Source: source, State: Evaluated, Value: whole.eval(f), join: phrases}
		for _, o := range each {
			n.Parts = append(n.Parts, &Node{Source: o.source, State: Evaluated, Value: o.found.eval(f), join: word})
		}
		return n
	}
}

// tracedAtom explains a condition without boolean structure of its own by the values below node.
func (p *piece) tracedAtom(source string, c condition, below ast.Node) tracer {
	fields := p.fieldsOf(below)
	var parts []sub
	if _, isName := p.field(below); !isName {
		parts = p.valuesBelow(below)
	}
	return func(f *frame) *Node {
		outer := f.failed
		f.failed = false
		n := &Node{Source: source, State: Evaluated, Value: c.eval(f), Absent: absentOf(fields, f)}
		if f.failed {
			n.State, n.Value = Broken, nil
		}
		own := f.failed
		for _, part := range parts {
			n.Parts = append(n.Parts, part.trace(f))
		}
		f.failed = outer || own
		return n
	}
}

func (p *piece) fieldsOf(node ast.Node) []field {
	w := &nameWalk{piece: p, lenient: true}
	w.walk(node)
	return w.fields
}

func absentOf(fields []field, f *frame) []string {
	var names []string
	for _, field := range fields {
		if field.present != nil && !field.present(f) {
			names = append(names, field.path)
		}
	}
	return names
}

// sub is a part of a comparison that has a value worth telling. At is its place among the children of what it is part of.
type sub struct {
	at     int
	source string
	trace  tracer
}

// valuesBelow explains the direct parts of an expression. Constants explain themselves; what stands inside a loop has a
// value per element and is left to the value of the loop.
func (p *piece) valuesBelow(node ast.Node) []sub {
	var out []sub
	for i, child := range childrenOf(node) {
		switch n := child.(type) {
		case nil, *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NilNode, *ast.PredicateNode, *ast.PointerNode:
		case *ast.ArrayNode, *ast.MapNode, *ast.PairNode:
			for _, s := range p.valuesBelow(n) {
				s.at = i
				out = append(out, s)
			}
		default:
			out = append(out, sub{i, child.String(), p.value(child)})
		}
	}
	return out
}

func childrenOf(node ast.Node) []ast.Node {
	switch n := node.(type) {
	case *ast.UnaryNode:
		return []ast.Node{n.Node}
	case *ast.BinaryNode:
		return []ast.Node{n.Left, n.Right}
	case *ast.ConditionalNode:
		return []ast.Node{n.Cond, n.Exp1, n.Exp2}
	case *ast.MemberNode:
		return []ast.Node{n.Node, n.Property}
	case *ast.ChainNode:
		return []ast.Node{n.Node}
	case *ast.SliceNode:
		return []ast.Node{n.Node, n.From, n.To}
	case *ast.CallNode:
		return n.Arguments
	case *ast.BuiltinNode:
		return n.Arguments
	case *ast.ArrayNode:
		return n.Nodes
	case *ast.MapNode:
		return n.Pairs
	case *ast.PairNode:
		return []ast.Node{n.Key, n.Value}
	}
	return nil
}

// value explains a part of a comparison. Parts that the evaluation does not come to are not needed, as elsewhere.
func (p *piece) value(node ast.Node) tracer {
	source := node.String()
	fields := p.fieldsOf(node)
	read := p.reader(node)
	if _, ok := p.field(node); ok {
		return func(f *frame) *Node { return valueNode(source, fields, read, f) }
	}
	parts := p.valuesBelow(node)
	needed := neededIn(node)
	return func(f *frame) *Node {
		n := valueNode(source, fields, read, f)
		var first *Node
		for _, part := range parts {
			if first != nil && first.State == Evaluated && !needed(part.at, first.holds()) {
				n.Parts = append(n.Parts, &Node{Source: part.source, State: NotNeeded})
				continue
			}
			got := part.trace(f)
			if part.at == 0 {
				first = got
			}
			n.Parts = append(n.Parts, got)
		}
		return n
	}
}

// neededIn tells of an expression which of its parts are evaluated, given the value of the first.
func neededIn(node ast.Node) func(at int, first bool) bool {
	switch n := node.(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			return func(at int, first bool) bool { return at == 0 || first }
		case "||", "or":
			return func(at int, first bool) bool { return at == 0 || !first }
		}
	case *ast.ConditionalNode:
		return func(at int, first bool) bool { return at == 0 || (at == 1) == first }
	}
	return func(int, bool) bool { return true }
}

func valueNode(source string, fields []field, read func(f *frame) (any, error), f *frame) *Node {
	n := &Node{Source: source}
	if n.Absent = absentOf(fields, f); len(n.Absent) > 0 {
		n.State = Absent
		return n
	}
	value, err := read(f)
	if err != nil {
		n.State = Broken
		return n
	}
	n.State, n.Value = Evaluated, told(value)
	return n
}

// errUnread stands for parts that have no value by themselves.
var errUnread = errors.New("this part has no value of its own")

// reader returns how to read the value of a part: a field directly, anything else through the expression engine.
func (p *piece) reader(node ast.Node) func(f *frame) (any, error) {
	if fd, ok := p.field(node); ok {
		switch {
		case fd.kind == textField:
			return func(f *frame) (any, error) { return fd.text(f), nil }
		case fd.kind == numberField:
			return func(f *frame) (any, error) { return fd.number(f), nil }
		case fd.kind == boolField:
			return func(f *frame) (any, error) { return fd.boolean(f), nil }
		case fd.list != nil:
			return func(f *frame) (any, error) { return fd.list(f), nil }
		case fd.kind == valueField:
			return func(f *frame) (any, error) { return fd.value(f), nil }
		}
	}
	program, err := safeexpr.Compile(node.String(), env{}, safeexpr.Options{Functions: declared()})
	if err != nil {
		return func(*frame) (any, error) { return nil, errUnread }
	}
	return func(f *frame) (any, error) { return program.Eval(f.env()) }
}
