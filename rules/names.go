package rules

import "github.com/expr-lang/expr/ast"

// pathOf returns the names of a.b.c or a["b"].c, nil for anything else.
func pathOf(node ast.Node) []string {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return []string{n.Value}
	case *ast.ChainNode:
		return pathOf(n.Node)
	case *ast.MemberNode:
		name, ok := n.Property.(*ast.StringNode)
		if !ok {
			return nil
		}
		if path := pathOf(n.Node); path != nil {
			return append(path, name.Value)
		}
	}
	return nil
}

// nameWalk checks the names of an expression and collects the presence tests of those that may be absent.
type nameWalk struct {
	piece  *piece
	guards []func(*frame) bool
	fields []field // whatever was named, each once
	seen   map[string]bool
	// lenient looks only for wrong names.
	lenient bool
}

func (w *nameWalk) walk(node ast.Node) {
	switch n := node.(type) {
	case nil:
	case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode:
		w.name(node)
	case *ast.UnaryNode:
		w.walk(n.Node)
	case *ast.BinaryNode:
		if n.Operator == "??" && !w.lenient {
			w.piece.fail(n, "?? is not supported: test with has(…)")
			return
		}
		w.walk(n.Left)
		w.walk(n.Right)
	case *ast.SliceNode:
		w.all(n.Node, n.From, n.To)
	case *ast.CallNode:
		w.call(n)
	case *ast.BuiltinNode:
		w.all(n.Arguments...)
	case *ast.PredicateNode:
		w.walk(n.Node)
	case *ast.ConditionalNode:
		w.all(n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		w.all(n.Nodes...)
	case *ast.MapNode:
		w.all(n.Pairs...)
	case *ast.PairNode:
		w.all(n.Key, n.Value)
	}
}

func (w *nameWalk) all(nodes ...ast.Node) {
	for _, n := range nodes {
		w.walk(n)
	}
}

func (w *nameWalk) call(n *ast.CallNode) {
	name, ok := n.Callee.(*ast.IdentifierNode)
	if ok && !w.lenient && (name.Value == "phrase" || name.Value == "has") {
		w.piece.fail(n, name.Value+" must stand on its own between &&, || and !")
		return
	}
	if ok && w.lenient && name.Value == "has" {
		return
	}
	w.all(n.Arguments...)
}

// name checks a name or a member of one. The longest part that is a path is the name; what follows (an index, a field of
// an element) belongs to the expression engine.
func (w *nameWalk) name(node ast.Node) {
	path := pathOf(node)
	if path == nil {
		if chain, ok := node.(*ast.ChainNode); ok {
			w.walk(chain.Node)
			return
		}
		member, ok := node.(*ast.MemberNode)
		if !ok {
			return
		}
		if base := pathOf(member.Node); base != nil && isGroup(base) {
			w.piece.fail(member, "a name under "+base[0]+" must be written out")
			return
		}
		w.walk(member.Node)
		w.walk(member.Property)
		return
	}
	f, problem := w.piece.names.lookup(path, w.piece.phase)
	if problem == "" && f.kind == groupField {
		problem = f.path + " is a group: it can only be tested with has(" + f.path + ")"
	}
	if problem != "" {
		w.piece.fail(node, problem)
		return
	}
	w.piece.late = w.piece.late || f.late
	if w.seen[f.path] {
		return
	}
	if w.seen == nil {
		w.seen = map[string]bool{}
	}
	w.seen[f.path] = true
	w.fields = append(w.fields, f)
	if f.present != nil {
		w.guards = append(w.guards, f.present)
	}
}
