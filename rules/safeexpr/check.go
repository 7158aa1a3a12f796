package safeexpr

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// Lengths up to which collections may be looped over, so that the product of nested loops stays within MaxLoopCost.
const (
	singleLoopItems = 10_000
	nestedLoopItems = 316 // its square is just below MaxLoopCost
)

// allowedBuiltins are the functions of expr that are linear in their input and return no more than they were given.
var allowedBuiltins = set(
	"all", "any", "none", "one", "filter", "map", "count", "find", "findIndex", "findLast", "findLastIndex", "sum",
	"len", "abs", "ceil", "floor", "round", "int", "float", "trim", "trimPrefix", "trimSuffix", "upper", "lower",
	"indexOf", "lastIndexOf", "hasPrefix", "hasSuffix", "max", "min", "first", "last", "get", "take", "keys", "values",
)

// loops are the functions that run a predicate once per element.
var loops = set("all", "any", "none", "one", "filter", "map", "count", "find", "findIndex", "findLast",
	"findLastIndex", "sum")

// builders return collections that did not exist before.
var builders = set("filter", "map", "keys", "values", "take")

// linear are the operators whose cost grows with their operands.
var linear = set("+", "contains", "startsWith", "endsWith", "matches", "in", "not in")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

// checker walks a parsed expression and keeps the first fault.
type checker struct {
	functions  map[string]bool
	fault      *file.Error
	deepest    int // loops inside loops
	concats    int
	patternOps int
}

func newChecker(extra []Function) *checker {
	c := &checker{functions: map[string]bool{}}
	for _, f := range ownFunctions() {
		c.functions[f.Name] = true
	}
	for _, f := range extra {
		c.functions[f.Name] = true
	}
	return c
}

func (c *checker) root(node ast.Node) { c.walk(node, 0) }

func (c *checker) fail(node ast.Node, format string, args ...any) {
	if c.fault == nil {
		c.fault = &file.Error{Location: node.Location(), Message: fmt.Sprintf(format, args...)}
	}
}

// walk checks node, which stands inside depth loops.
func (c *checker) walk(node ast.Node, depth int) {
	if c.fault != nil {
		return
	}
	switch n := node.(type) {
	case nil, *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.BytesNode,
		*ast.PointerNode:
	case *ast.IdentifierNode:
		if strings.HasPrefix(n.Value, "$") {
			c.fail(n, "%s is not supported", n.Value)
		}
	case *ast.UnaryNode:
		c.walk(n.Node, depth)
	case *ast.BinaryNode:
		c.binary(n, depth)
	case *ast.ChainNode:
		c.walk(n.Node, depth)
	case *ast.MemberNode:
		c.walk(n.Node, depth)
		c.walk(n.Property, depth)
	case *ast.SliceNode:
		c.walkAll(depth, n.Node, n.From, n.To)
	case *ast.CallNode:
		c.call(n, depth)
	case *ast.BuiltinNode:
		c.builtin(n, depth)
	case *ast.PredicateNode:
		c.walk(n.Node, depth)
	case *ast.ConditionalNode:
		c.walkAll(depth, n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		c.walkAll(depth, n.Nodes...)
	case *ast.MapNode:
		c.walkAll(depth, n.Pairs...)
	case *ast.PairNode:
		c.walkAll(depth, n.Key, n.Value)
	case *ast.VariableDeclaratorNode:
		c.fail(n, "let is not supported: write the value where it is used")
	case *ast.SequenceNode:
		c.fail(n, "only one expression is allowed: ; is not supported")
	default:
		c.fail(n, "this syntax is not supported")
	}
}

func (c *checker) walkAll(depth int, nodes ...ast.Node) {
	for _, n := range nodes {
		c.walk(n, depth)
	}
}

func (c *checker) binary(n *ast.BinaryNode, depth int) {
	switch n.Operator {
	case "..":
		c.fail(n, "ranges are not supported")
		return
	case "matches":
		c.pattern(n.Right)
	case "+":
		if c.concats++; c.concats > MaxConcats {
			c.fail(n, "+ is used more than %d times", MaxConcats)
		}
	case "==", "!=":
		if depth > 0 && readsEnv(n.Left) && readsEnv(n.Right) {
			c.fail(n, "inside a loop a comparison needs the element or a constant on one side")
		}
		if builds(n.Left) || builds(n.Right) {
			c.fail(n, "a list or object that the expression builds cannot be compared")
		}
	case "in", "not in":
		if builds(n.Right) && !constantList(n.Right) {
			c.fail(n, "%s needs a constant list or a collection that exists already", n.Operator)
		}
		if depth > 0 && readsEnv(n.Right) {
			c.enter(n, depth) // a search of the collection is a loop in itself
			c.walkAll(depth, n.Left, n.Right)
			if readsEnv(n.Left) {
				c.fail(n, "inside a loop %s may be applied only to the element", n.Operator)
			}
			return
		}
	}
	if depth > 0 && linear[n.Operator] && (readsEnv(n.Left) || readsEnv(n.Right)) {
		c.fail(n, "inside a loop %s may be applied only to the element", n.Operator)
	}
	c.walkAll(depth, n.Left, n.Right)
}

func (c *checker) pattern(node ast.Node) {
	s, ok := node.(*ast.StringNode)
	if !ok {
		c.fail(node, "matches needs a constant pattern")
		return
	}
	if len(s.Value) > MaxPattern {
		c.fail(node, "pattern is longer than %d bytes", MaxPattern)
		return
	}
	parsed, err := syntax.Parse(s.Value, syntax.Perl)
	if err != nil {
		c.fail(node, "pattern: %v", err)
		return
	}
	compiled, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		c.fail(node, "pattern: %v", err)
		return
	}
	if c.patternOps += len(compiled.Inst); c.patternOps > MaxPatternOps {
		c.fail(node, "the patterns are too complex: their compiled size is over %d", MaxPatternOps)
	}
}

func (c *checker) call(n *ast.CallNode, depth int) {
	name, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		c.fail(n, "only functions can be called")
		return
	}
	if !c.functions[name.Value] {
		c.fail(n, "unknown function %s", name.Value)
		return
	}
	if depth > 0 && slices.ContainsFunc(n.Arguments, readsEnv) {
		c.fail(n, "inside a loop %s may be applied only to the element", name.Value)
	}
	c.walkAll(depth, n.Arguments...)
}

func (c *checker) builtin(n *ast.BuiltinNode, depth int) {
	if !allowedBuiltins[n.Name] {
		c.fail(n, "function %s is not supported", n.Name)
		return
	}
	if !loops[n.Name] {
		if depth > 0 && slices.ContainsFunc(n.Arguments, readsEnv) {
			c.fail(n, "inside a loop %s may be applied only to the element", n.Name)
		}
		c.walkAll(depth, n.Arguments...)
		return
	}
	c.enter(n, depth)
	c.walk(n.Arguments[0], depth)
	c.walkAll(depth+1, n.Arguments[1:]...)
}

func (c *checker) enter(n ast.Node, depth int) {
	if depth+1 > MaxLoopDepth {
		c.fail(n, "loops are nested more than %d deep", MaxLoopDepth)
	}
	c.deepest = max(c.deepest, depth+1)
}

// readsEnv reports whether node mentions a name of the environment, as opposed to loop elements and constants.
func readsEnv(node ast.Node) bool {
	return contains(node, func(n ast.Node) bool { _, ok := n.(*ast.IdentifierNode); return ok })
}

// builds reports whether node makes a new collection.
func builds(node ast.Node) bool {
	return contains(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ArrayNode, *ast.MapNode:
			return true
		case *ast.BuiltinNode:
			return builders[n.Name]
		}
		return false
	})
}

func constantList(node ast.Node) bool {
	list, ok := node.(*ast.ArrayNode)
	return ok && !slices.ContainsFunc(list.Nodes, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			return false
		}
		return true
	})
}

func contains(node ast.Node, is func(ast.Node) bool) bool {
	f := &finder{is: is}
	ast.Walk(&node, f)
	return f.found
}

type finder struct {
	is    func(ast.Node) bool
	found bool
}

// Visit implements ast.Visitor.
func (f *finder) Visit(node *ast.Node) {
	f.found = f.found || f.is(*node)
}
