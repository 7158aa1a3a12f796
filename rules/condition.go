package rules

import (
	"errors"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"turnout/rules/safeexpr"
	"turnout/rules/words"
)

// condition is a compiled condition.
type condition struct {
	eval func(f *frame) bool
	// keys, when not nil, are such that the condition is false, and does not fail, unless one of them holds. The index
	// asks only for those.
	keys []key
	// fallible is set when the evaluation can fail.
	fallible bool
	// late is set, for a whole condition, when it reads something that may come late.
	late bool
}

// compiler turns conditions into functions. Boolean structure, the known comparisons and phrases become closures; what
// is left of a condition goes to the expression engine, piece by piece. Every piece that reads something absent is
// false: this is the one place where that is decided.
type compiler struct {
	names   names
	phrases [2][textCount]*phraseList // by phase
	// plain sends every comparison to the expression engine. Tests hold the closures against it.
	plain bool
}

func newCompiler() *compiler {
	c := &compiler{names: newNames()}
	for phase := range c.phrases {
		for t := range c.phrases[phase] {
			c.phrases[phase][t] = &phraseList{index: map[string]int{}}
		}
	}
	return c
}

// phraseList numbers the phrases that are looked for in one text.
type phraseList struct {
	phrases []string
	index   map[string]int
}

func (l *phraseList) add(phrase string) int {
	// Phrases that differ only in what folding removes are one.
	var folded strings.Builder
	words.Each(words.Fold(phrase), func(word string) bool {
		folded.WriteString(word)
		folded.WriteByte(' ')
		return true
	})
	i, ok := l.index[folded.String()]
	if !ok {
		i = len(l.phrases)
		l.index[folded.String()] = i
		l.phrases = append(l.phrases, phrase)
	}
	return i
}

// declared are phrase and has as the type checker sees them. Their calls are compiled here and never reach it at
// evaluation.
func declared() []safeexpr.Function {
	never := func(...any) (any, error) { return nil, errors.New("not evaluated here") }
	return []safeexpr.Function{
		{Name: "phrase", Call: never, Types: []any{(*func(...string) bool)(nil)}},
		{Name: "has", Call: never, Types: []any{(*func(any) bool)(nil)}},
	}
}

// compile compiles source. An error is a *safeexpr.Error, placed in source.
func (c *compiler) compile(source string, phase Phase) (condition, error) {
	options := safeexpr.Options{Bool: true, Functions: declared()}
	tree, err := safeexpr.Parse(source, env{}, options)
	if err != nil {
		return condition{}, err
	}
	p := &piece{compiler: c, phase: phase, source: source}
	if _, err := safeexpr.Compile(source, env{}, options); err != nil {
		// What the names say about signals and phases is clearer than the type checker's complaint.
		w := &nameWalk{piece: p, lenient: true}
		w.walk(tree)
		if p.fault != nil {
			return condition{}, p.fault
		}
		return condition{}, err
	}
	cond := p.boolean(tree)
	if p.fault != nil {
		return condition{}, p.fault
	}
	cond.late = p.late
	return cond, nil
}

// piece is the compilation of one condition.
type piece struct {
	*compiler
	phase  Phase
	source string
	fault  *safeexpr.Error
	late   bool // a name was read that may come late
}

func (p *piece) fail(node ast.Node, message string) condition {
	if p.fault == nil {
		line, column := lineColumn(p.source, node.Location().From)
		p.fault = &safeexpr.Error{Line: line, Column: column, Message: message}
	}
	return condition{eval: func(*frame) bool { return false }}
}

func lineColumn(source string, offset int) (line, column int) {
	line, column = 1, 1
	for _, r := range source {
		if offset == 0 {
			break
		}
		offset--
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}

// boolean compiles a node in a place where a condition stands.
func (p *piece) boolean(node ast.Node) condition {
	switch n := node.(type) {
	case *ast.BoolNode:
		value := n.Value
		return condition{eval: func(*frame) bool { return value }}
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			if inner, ok := n.Node.(*ast.BinaryNode); ok && n.Location().From > inner.Left.Location().From {
				return p.negated(inner) // "a not in b", which is not "not (a in b)"
			}
			a := p.boolean(n.Node)
			return condition{eval: func(f *frame) bool { return !a.eval(f) }, fallible: a.fallible}
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			return both(p.boolean(n.Left), p.boolean(n.Right))
		case "||", "or":
			return either(p.boolean(n.Left), p.boolean(n.Right))
		}
	case *ast.ConditionalNode:
		test, yes, no := p.boolean(n.Cond), p.boolean(n.Exp1), p.boolean(n.Exp2)
		return condition{
			eval: func(f *frame) bool {
				if test.eval(f) {
					return yes.eval(f)
				}
				return no.eval(f)
			},
			fallible: test.fallible || yes.fallible || no.fallible,
		}
	case *ast.CallNode:
		switch n.Callee.(*ast.IdentifierNode).Value {
		case "phrase":
			return p.phrase(n)
		case "has":
			return p.has(n)
		}
	}
	return p.atom(node)
}

func both(a, b condition) condition {
	c := condition{fallible: a.fallible || b.fallible, keys: a.keys}
	// The second side is skipped when the first is false, so its keys decide only where the first cannot fail.
	if b.keys != nil && !a.fallible && (a.keys == nil || cost(b.keys) < cost(a.keys)) {
		c.keys = b.keys
	}
	c.eval = func(f *frame) bool { return a.eval(f) && b.eval(f) }
	return c
}

func either(a, b condition) condition {
	c := condition{fallible: a.fallible || b.fallible}
	if a.keys != nil && b.keys != nil {
		c.keys = slices.Concat(a.keys, b.keys)
	}
	c.eval = func(f *frame) bool { return a.eval(f) || b.eval(f) }
	return c
}

// negated compiles the negative form of a comparison. It is an atom like others: absent things make it false, not true.
func (p *piece) negated(positive ast.Node) condition {
	guards := p.guards(positive)
	a := p.atom(positive)
	return condition{eval: func(f *frame) bool { return present(guards, f) && !a.eval(f) }, fallible: a.fallible}
}

func (p *piece) phrase(n *ast.CallNode) condition {
	target, args := customerText, n.Arguments
	if len(args) > 0 {
		if path := pathOf(args[0]); path != nil {
			switch strings.Join(path, ".") {
			case "text":
			case "quoted":
				target = quotedText
			case "bot.text":
				if p.phase != Answer {
					return p.fail(args[0], "bot.text is known only to rules with on: answer")
				}
				target = botText
			default:
				return p.fail(args[0], "phrase looks in text, quoted or bot.text")
			}
			args = args[1:]
		}
	}
	if len(args) == 0 {
		return p.fail(n, "phrase needs at least one text to look for")
	}
	var wanted []int
	var keys []key
	for _, arg := range args {
		s, ok := arg.(*ast.StringNode)
		if !ok {
			return p.fail(arg, "phrase takes constant texts")
		}
		if err := words.Check(s.Value); err != nil {
			return p.fail(arg, err.Error())
		}
		i := p.phrases[p.phase][target].add(s.Value)
		wanted = append(wanted, i)
		keys = append(keys, key{kind: phraseKey, target: target, phrase: i})
	}
	if len(wanted) == 1 {
		only := wanted[0]
		return condition{eval: func(f *frame) bool { return f.hits[target].has(only) }, keys: keys}
	}
	return condition{keys: keys, eval: func(f *frame) bool {
		for _, i := range wanted {
			if f.hits[target].has(i) {
				return true
			}
		}
		return false
	}}
}

func (p *piece) has(n *ast.CallNode) condition {
	if len(n.Arguments) != 1 {
		return p.fail(n, "has takes one name")
	}
	path := pathOf(n.Arguments[0])
	if path == nil {
		return p.fail(n.Arguments[0], "has takes a name, like profile.email")
	}
	f, problem := p.names.lookup(path, p.phase)
	if problem != "" {
		return p.fail(n.Arguments[0], problem)
	}
	if f.present == nil {
		return p.fail(n.Arguments[0], f.path+" is always present")
	}
	p.late = p.late || f.late
	return condition{eval: f.present}
}

// atom compiles a condition without boolean structure of its own. Whatever may be absent in it guards it.
func (p *piece) atom(node ast.Node) condition {
	guards := p.guards(node)
	if p.fault != nil {
		return p.fail(node, "")
	}
	if !p.plain {
		if c, ok := p.compare(node); ok {
			return guarded(guards, c)
		}
	}
	evaluate, err := engine(node)
	if err != nil {
		return p.fail(node, "this part of the condition is not supported here; write it more simply")
	}
	if n, ok := node.(*ast.BinaryNode); ok && !p.plain {
		if c, ok := p.compareCalculated(n, evaluate); ok {
			return guarded(guards, c)
		}
	}
	return guarded(guards, condition{fallible: true, eval: evaluate})
}

// engine returns the evaluation of node by the expression engine.
func engine(node ast.Node) (func(f *frame) bool, error) {
	program, err := safeexpr.Compile(node.String(), env{}, safeexpr.Options{Bool: true, Functions: declared()})
	if err != nil {
		return nil, err
	}
	return func(f *frame) bool {
		ok, err := program.Bool(f.env())
		if err != nil {
			f.failed = true
		}
		return ok && err == nil
	}, nil
}

func guarded(guards []func(*frame) bool, c condition) condition {
	switch len(guards) {
	case 0:
		return c
	case 1:
		guard, eval := guards[0], c.eval
		c.eval = func(f *frame) bool { return guard(f) && eval(f) }
	default:
		eval := c.eval
		c.eval = func(f *frame) bool { return present(guards, f) && eval(f) }
	}
	return c
}

func present(guards []func(*frame) bool, f *frame) bool {
	for _, guard := range guards {
		if !guard(f) {
			return false
		}
	}
	return true
}

// guards checks every name below node and returns the presence tests of those that may be absent.
func (p *piece) guards(node ast.Node) []func(*frame) bool {
	w := &nameWalk{piece: p}
	w.walk(node)
	return w.guards
}
