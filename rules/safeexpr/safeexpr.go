// Package safeexpr is the one hardened use of the expression language expr. Whoever writes an expression is treated as
// hostile: everything that could run long, grow large or reach out is refused when the expression is compiled, because
// an evaluation, once started, cannot be stopped.
//
// The argument, in short. The source is at most 4 KiB and 64 brackets deep before any parser sees it, and at most 500
// nodes after. There are no variables, so no value can be doubled again and again under a name. Loops are the
// predicate functions (any, map, filter, …), nested at most twice, over collections whose length is bounded; functions
// and operators whose cost grows with their input may, inside a loop, be applied only to the element. Patterns are
// constants whose compiled size is bounded over the whole expression. Functions come from an allow-list. What is left
// is linear in the size of the environment, with a constant that the limits keep small.
//
// The environment must be plain data: a struct or map without methods, because every exported method would be
// callable.
package safeexpr

import (
	"errors"
	"fmt"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// The limits that hold for every expression.
const (
	MaxSource     = 4 << 10 // bytes
	MaxDepth      = 64      // brackets, open at once
	MaxNodes      = 500
	MaxLoopDepth  = 2
	MaxLoopCost   = 100_000 // product of the lengths of nested loops
	MaxPattern    = 256     // bytes of one pattern
	MaxPatternOps = 600     // compiled instructions of all patterns of an expression
	MaxConcats    = 16      // uses of +
	MaxJoined     = 1 << 20 // bytes that join may return
	memoryBudget  = 200_000 // expr's own units: roughly one per element that an evaluation creates
)

// Function is a function that expressions may call beside the allowed built-in ones. It must be pure, bounded and safe
// for concurrent use.
type Function struct {
	Name string
	// Call receives the arguments as they were evaluated.
	Call func(args ...any) (any, error)
	// Types are the signatures, each a nil function value of the type: (*func(string) bool)(nil) or a func.
	Types []any
}

// Options says what an expression may be. The zero value allows any result and no further functions.
type Options struct {
	// Bool demands a boolean result.
	Bool bool
	// Functions are added to the allowed built-in functions.
	Functions []Function
}

// Error is a fault of an expression with its place in the source.
type Error struct {
	Line, Column int    // 1-based; Column counts characters
	Message      string // one line
	Snippet      string // the source line and a caret under the fault; empty when there is nothing to show
}

// Error returns the message with its place and the snippet.
func (e *Error) Error() string {
	if e.Snippet == "" {
		return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
	}
	return fmt.Sprintf("%d:%d: %s%s", e.Line, e.Column, e.Message, e.Snippet)
}

// Program is a compiled expression. It is immutable and safe for concurrent use.
type Program struct {
	program  *vm.Program
	tree     ast.Node
	maxItems int // longest collection that Eval accepts in a map environment; 0 when the expression has no loop
}

// Compile checks and compiles source against env: a struct whose exported fields (renamed by `expr` tags) are the
// names that exist, or a map[string]any whose entries are: the value says the type, and nil leaves it to the evaluation.
// The error is an *Error.
func Compile(source string, env any, opts Options) (*Program, error) {
	options := exprOptions(env, opts)
	check, tree, err := parseChecked(source, options, opts.Functions)
	if err != nil {
		return nil, err
	}
	program, err := compile(source, options)
	if err != nil {
		return nil, asError(err)
	}
	p := &Program{program: program, tree: tree}
	switch check.deepest {
	case 0:
	case 1:
		p.maxItems = singleLoopItems
	default:
		p.maxItems = nestedLoopItems
	}
	return p, nil
}

// Parse checks source against every limit and returns its tree, without looking at names and types. The error is an
// *Error.
func Parse(source string, env any, opts Options) (ast.Node, error) {
	_, tree, err := parseChecked(source, exprOptions(env, opts), opts.Functions)
	return tree, err
}

func parseChecked(source string, options []expr.Option, functions []Function) (*checker, ast.Node, error) {
	if err := checkSource(source); err != nil {
		return nil, nil, err
	}
	config := conf.CreateNew()
	for _, option := range options {
		option(config)
	}
	tree, err := parse(source, config)
	if err != nil {
		return nil, nil, asError(err)
	}
	check := newChecker(functions)
	check.root(tree.Node)
	if check.fault != nil {
		return nil, nil, asError(check.fault.Bind(file.NewSource(source)))
	}
	return check, tree.Node, nil
}

// Tree returns the syntax tree as written, before any optimisation. It must not be changed.
func (p *Program) Tree() ast.Node { return p.tree }

// Eval evaluates the expression over env, which must have the type that the expression was compiled against. With a
// map environment, a collection too long for the expression's loops is an error; arrays in a struct environment are
// bounded by whoever fills it. Panics of the evaluation come back as errors.
func (p *Program) Eval(env any) (result any, err error) {
	if m, ok := env.(map[string]any); ok && p.maxItems > 0 {
		if err := checkItems(m, p.maxItems); err != nil {
			return nil, err
		}
	}
	machine := getMachine()
	defer func() {
		putMachine(machine)
		if r := recover(); r != nil {
			result, err = nil, fmt.Errorf("evaluating expression: %v", r)
		}
	}()
	result, err = machine.Run(p.program, env)
	if err != nil {
		return nil, asError(err)
	}
	return result, nil
}

// Bool evaluates like Eval and demands a boolean.
func (p *Program) Bool(env any) (bool, error) {
	result, err := p.Eval(env)
	if err != nil {
		return false, err
	}
	b, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("evaluating expression: result is %T, not a boolean", result)
	}
	return b, nil
}

func exprOptions(env any, opts Options) []expr.Option {
	if names, ok := env.(map[string]any); ok {
		env = shape(names)
	}
	options := []expr.Option{expr.Env(env), expr.MaxNodes(MaxNodes), expr.DisableAllBuiltins()}
	for name := range allowedBuiltins {
		options = append(options, expr.EnableBuiltin(name))
	}
	for _, f := range ownFunctions() {
		options = append(options, expr.Function(f.Name, f.Call, f.Types...))
	}
	for _, f := range opts.Functions {
		options = append(options, expr.Function(f.Name, f.Call, f.Types...))
	}
	if opts.Bool {
		options = append(options, expr.AsBool())
	}
	return options
}

// shape declares the names of a map environment. A nil value is of unknown type, where expr would take it for the
// type of nil itself.
func shape(names map[string]any) types.Map {
	m := make(types.Map, len(names))
	for name, value := range names {
		if value == nil {
			m[name] = types.Any
		} else {
			m[name] = types.TypeOf(value)
		}
	}
	return m
}

// parse and compile seal expr: it reports most faults as errors and some by panicking.
func parse(source string, config *conf.Config) (tree *parser.Tree, err error) {
	defer recoverInto(&err)
	for name := range config.Disabled {
		delete(config.Builtins, name)
	}
	return parser.ParseWithConfig(source, config)
}

func compile(source string, options []expr.Option) (program *vm.Program, err error) {
	defer recoverInto(&err)
	return expr.Compile(source, options...)
}

func recoverInto(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("compiling expression: %v", r)
	}
}

// asError turns what expr reports into an Error.
func asError(err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if at, ok := errors.AsType[*file.Error](err); ok {
		return &Error{Line: max(at.Line, 1), Column: at.Column + 1, Message: at.Message, Snippet: at.Snippet}
	}
	return &Error{Line: 1, Column: 1, Message: err.Error()}
}

// machines is shared by all programs: a machine keeps only its grown stack between runs.
var machines = sync.Pool{New: func() any { return &vm.VM{MemoryBudget: memoryBudget} }}

func getMachine() *vm.VM { return machines.Get().(*vm.VM) }

func putMachine(m *vm.VM) {
	clear(m.Stack[:cap(m.Stack)])
	clear(m.Variables)
	machines.Put(m)
}
