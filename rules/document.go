package rules

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on a rule file.
const (
	MaxFile     = 1 << 20 // bytes
	maxBrackets = 200     // flow collections open at once
	maxFaults   = 100     // faults reported of one file
)

// document reads the nodes of one YAML file and collects what is wrong with them, each at its place. Methods that read
// a value return its zero value after a fault, so that reading goes on and finds the other faults.
type document struct {
	name   string
	lines  []string
	rule   string // id of the rule being read
	faults Faults
}

func (d *document) failAt(line, column int, format string, args ...any) {
	if len(d.faults) >= maxFaults {
		return
	}
	message := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	d.faults = append(d.faults, Fault{File: d.name, Line: max(line, 1), Column: max(column, 1), Rule: d.rule, Message: message})
}

func (d *document) fail(node ast.Node, format string, args ...any) {
	line, column := place(node)
	d.failAt(line, column, format, args...)
}

func place(node ast.Node) (line, column int) {
	if node == nil {
		return 1, 1
	}
	// The token of a mapping is its first colon; people look for its first key.
	switch n := node.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return place(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return place(n.Key)
	}
	return tokenPlace(node.GetToken())
}

func tokenPlace(t *token.Token) (line, column int) {
	if t == nil || t.Position == nil {
		return 1, 1
	}
	return t.Position.Line, t.Position.Column
}

// parse returns the top node of the only document in data, or nil after a fault.
func (d *document) parse(data []byte) (body ast.Node) {
	if len(data) > MaxFile {
		d.failAt(1, 1, "file is larger than 1 MiB")
		return nil
	}
	if line := deepFlow(data); line > 0 {
		d.failAt(line, 1, "brackets are nested too deep")
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			body = nil
			d.failAt(1, 1, "file is not valid YAML")
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		line, column, message := 1, 1, err.Error()
		if at, ok := errors.AsType[yaml.Error](err); ok {
			line, column = tokenPlace(at.GetToken())
			message = plainer(at.GetMessage())
		}
		d.failAt(line, column, "%s", message)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(doc.Body, "only one YAML document is allowed in a file")
			return nil
		}
		body = doc.Body
	}
	return body
}

// deepFlow returns the first line at which too many brackets are open, 0 when there is none. Brackets in texts count as
// well: two hundred unclosed ones are no text.
func deepFlow(data []byte) int {
	depth, line, dashes := 0, 1, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		case '-', '?', ' ', ':', '!', '&', '*', '|', '>':
			if c == '-' || c == '?' || c == ':' {
				dashes++
			}
		case '\n':
			line++
			dashes = 0
		default:
			if c > ' ' {
				dashes = 0
			}
		}
		if depth > maxBrackets || dashes > maxBrackets {
			return line
		}
	}
	return 0
}

// pair is a key of a mapping with its value.
type pair struct {
	key   string
	name  ast.Node
	value ast.Node
}

// mapping reads node as a mapping. What says which mapping it is.
func (d *document) mapping(node ast.Node, what string) ([]pair, bool) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.wrong(node, what, "a mapping")
		return nil, false
	}
	pairs := make([]pair, 0, len(values))
	for _, v := range values {
		if _, merge := v.Key.(*ast.MergeKeyNode); merge {
			d.fail(v, "merge keys (<<) are not supported")
			continue
		}
		pairs = append(pairs, pair{key: v.Key.GetToken().Value, name: v.Key, value: v.Value})
	}
	return pairs, true
}

// unknown reports a key that means nothing, and names those that do.
func (d *document) unknown(p pair, what, known string) {
	d.fail(p.name, "unknown field %q in %s; it has %s", p.key, what, known)
}

func (d *document) sequence(node ast.Node, what string) []ast.Node {
	n, ok := node.(*ast.SequenceNode)
	if !ok {
		d.wrong(node, what, "a list")
		return nil
	}
	return n.Values
}

// wrong says that node is not what was wanted.
func (d *document) wrong(node ast.Node, what, wanted string) {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		d.fail(node, "anchors and aliases are not supported")
	case *ast.TagNode:
		d.fail(node, "YAML tags are not supported")
	case *ast.NullNode:
		d.fail(node, "%s is empty", what)
	default:
		d.fail(node, "%s must be %s", what, wanted)
	}
}

// text reads a non-empty string of at most limit bytes.
func (d *document) text(node ast.Node, what string, limit int) string {
	s := ""
	switch n := node.(type) {
	case *ast.StringNode:
		s = n.Value
	case *ast.LiteralNode:
		s = n.Value.Value
	default:
		d.wrong(node, what, "a text")
		return ""
	}
	switch {
	case strings.TrimSpace(s) == "":
		d.fail(node, "%s is empty", what)
		return ""
	case len(s) > limit:
		d.fail(node, "%s is longer than %d bytes", what, limit)
		return ""
	}
	return s
}

func (d *document) boolean(node ast.Node, what string) bool {
	n, ok := node.(*ast.BoolNode)
	if !ok {
		d.wrong(node, what, "true or false")
		return false
	}
	return n.Value
}

func (d *document) integer(node ast.Node, what string) int {
	if n, ok := node.(*ast.IntegerNode); ok {
		switch v := n.Value.(type) {
		case int64:
			if v >= math.MinInt32 && v <= math.MaxInt32 {
				return int(v)
			}
		case uint64:
			if v <= math.MaxInt32 {
				return int(v)
			}
		}
	}
	d.wrong(node, what, "a whole number")
	return 0
}

func (d *document) number(node ast.Node, what string) float64 {
	switch n := node.(type) {
	case *ast.FloatNode:
		return n.Value
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			return float64(v)
		case uint64:
			return float64(v)
		}
	}
	d.wrong(node, what, "a number")
	return 0
}

// expression reads the source of a condition and returns it with a function that maps a place in it to one in the file.
func (d *document) expression(node ast.Node, what string) (source string, at func(line, column int) (int, int)) {
	if b, ok := node.(*ast.BoolNode); ok {
		line, column := place(node)
		return b.GetToken().Value, func(int, int) (int, int) { return line, column }
	}
	source = d.text(node, what, 1<<16)
	return source, func(line, column int) (int, int) { return d.locate(node, source, line, column) }
}

// locate finds where the character at (line, column) of a scalar's value stands in the file. YAML folds, indents and
// quotes, but keeps every other character in order, so counting those that are not blank leads to the place.
func (d *document) locate(node ast.Node, value string, line, column int) (int, int) {
	solid := 0
	atLine, atColumn := 1, 1
	for _, r := range value {
		if atLine > line || atLine == line && atColumn >= column {
			break
		}
		if !blank(r) {
			solid++
		}
		if atColumn++; r == '\n' {
			atLine, atColumn = atLine+1, 1
		}
	}
	startLine, startColumn := place(node)
	quote := rune(0)
	if n, ok := node.(*ast.LiteralNode); ok {
		startLine, _ = tokenPlace(n.Start)
		startLine, startColumn = startLine+1, 1
	} else if t := node.GetToken(); t.Type == token.DoubleQuoteType || t.Type == token.SingleQuoteType {
		quote = '"'
		if t.Type == token.SingleQuoteType {
			quote = '\''
		}
		startColumn++
	}
	lastLine, lastColumn := startLine, startColumn
	for i := startLine - 1; i >= 0 && i < len(d.lines); i++ {
		runes := []rune(d.lines[i])
		from := 0
		if i == startLine-1 {
			from = min(startColumn-1, len(runes))
		}
		for j := from; j < len(runes); j++ {
			if blank(runes[j]) {
				continue
			}
			if solid == 0 {
				if quote != 0 && runes[j] == quote {
					return lastLine, lastColumn
				}
				return i + 1, j + 1
			}
			solid--
			if j+1 < len(runes) && (quote == '"' && runes[j] == '\\' || quote == '\'' && runes[j] == '\'' && runes[j+1] == '\'') {
				j++
			}
			lastLine, lastColumn = i+1, j+2
			if solid == 0 && endOf(value, line, column) {
				return lastLine, lastColumn
			}
		}
	}
	return lastLine, lastColumn
}

func blank(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || r == '\r' }

// endOf reports whether only blanks follow (line, column) in value.
func endOf(value string, line, column int) bool {
	atLine, atColumn := 1, 1
	for _, r := range value {
		if (atLine > line || atLine == line && atColumn >= column) && !blank(r) {
			return false
		}
		if atColumn++; r == '\n' {
			atLine, atColumn = atLine+1, 1
		}
	}
	return true
}
