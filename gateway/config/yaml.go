package config

import (
	"errors"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of one file. The parser's time grows with the square of the keys in one mapping (two seconds at this size), and
// its memory with the square of the nesting, which is why that is checked before it sees a file.
const (
	maxFile    = 256 << 10
	maxNesting = 32
	maxIndent  = 200
)

// parse returns the documents of a file. On a mistake in the syntax it returns none and one fault.
func parse(file string, data []byte) ([]*ast.DocumentNode, Faults) {
	var faults Faults
	switch {
	case len(data) > maxFile:
		faults.add(Pos{File: file}, "the file is larger than 256 KiB; split it")
		return nil, faults
	case !utf8.Valid(data):
		faults.add(Pos{File: file}, "the file is not UTF-8 text; save it as UTF-8")
		return nil, faults
	}
	tokens := lexer.Tokenize(string(data))
	if deep := tooDeep(tokens); deep != nil {
		faults.add(place(file, deep), "nested too deeply; a configuration needs no more than %d levels", maxNesting)
		return nil, faults
	}
	f, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, syntaxFaults(file, err)
	}
	docs := f.Docs[:0:0]
	for _, d := range f.Docs {
		switch d.Body.(type) {
		case nil:
		case *ast.DirectiveNode:
			faults.add(position(file, d.Body), "directives are not read here; remove the line")
		default:
			docs = append(docs, d)
		}
	}
	return docs, faults
}

func syntaxFaults(file string, err error) Faults {
	var faults Faults
	var at yaml.Error
	if errors.As(err, &at) {
		faults.add(place(file, at.GetToken()), "%s", at.GetMessage())
	} else {
		faults.add(Pos{File: file}, "this is not YAML")
	}
	return faults
}

// tooDeep returns the token at which brackets or indentation go beyond the limits, or nil.
func tooDeep(tokens token.Tokens) *token.Token {
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.AnchorType, token.TagType:
			// A block level takes at least one column more than the one around it.
			if depth <= 0 && t.Position.Column > maxIndent {
				return t
			}
		}
		if depth > maxNesting {
			return t
		}
	}
	return nil
}

func place(file string, t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{File: file}
	}
	return Pos{File: file, Line: t.Position.Line, Column: t.Position.Column}
}

// position returns where a node begins. A block mapping begins at its first key, not at that key's colon.
func position(file string, n ast.Node) Pos {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return position(file, v.Values[0])
		}
	case *ast.MappingValueNode:
		return place(file, v.Key.GetToken())
	}
	return place(file, n.GetToken())
}

// entries returns the pairs of a mapping; false if n is none.
func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch v := n.(type) {
	case *ast.MappingNode:
		return v.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}, true
	}
	return nil, false
}

// child returns the entry of a mapping with this key, or nil.
func child(n ast.Node, key string) *ast.MappingValueNode {
	pairs, _ := entries(n)
	for _, p := range pairs {
		if k, ok := p.Key.(*ast.StringNode); ok && k.Value == key {
			return p
		}
	}
	return nil
}

// valueOf returns the value under a key of a mapping, or nil.
func valueOf(n ast.Node, key string) ast.Node {
	if pair := child(n, key); pair != nil {
		return pair.Value
	}
	return nil
}

func emptyList(n ast.Node) bool {
	seq, ok := n.(*ast.SequenceNode)
	return ok && len(seq.Values) == 0
}

// what names the kind of a node for people.
func what(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	return "something else"
}
