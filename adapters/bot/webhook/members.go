package webhook

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// Most answers are read at one or two places. This file finds those places in the bytes of an answer and decodes what
// stands there, without building the rest. It knows when it is out of its depth: whatever it does not read exactly as
// encoding/json does, it leaves to a decoding of the whole, which is the definition of what an answer means.

// memberPath returns the names of an expression that is nothing else than a path from body: body.result.speech is [result speech]. It is nil for other
// expressions.
func memberPath(node ast.Node) []string {
	member, ok := node.(*ast.MemberNode)
	if !ok || member.Optional || member.Method {
		return nil
	}
	name, ok := member.Property.(*ast.StringNode)
	if !ok || !plainName(name.Value) {
		return nil
	}
	if base, ok := member.Node.(*ast.IdentifierNode); ok && base.Value == "body" {
		return []string{name.Value}
	}
	if path := memberPath(member.Node); path != nil {
		return append(path, name.Value)
	}
	return nil
}

// plainName reports whether the bytes of a name in JSON are the name, unless it is written with escapes.
func plainName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= utf8.RuneSelf || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
}

// valueAt returns what stands at path in body, which is valid JSON, as decoding gives it. It is not ok when path leads
// through something that is no object, and when only a decoding of the whole can tell.
func valueAt(body []byte, path []string) (v any, ok bool) {
	raw := bytes.TrimLeft(body, jsonSpace)
	for _, name := range path {
		var found []byte
		ok := eachMember(raw, func(key, value []byte) {
			if string(key) == name {
				found = value // the last one counts
			}
		})
		if !ok {
			return nil, false
		}
		raw = found
	}
	if raw == nil {
		return nil, true
	}
	return valueOf(raw)
}

// usualMembers returns the members of the object body, which is valid JSON, that the usual shapes may have. It is not ok
// when body is no object, and when only a decoding of the whole can tell.
func usualMembers(body []byte) (o map[string]any, ok bool) {
	o = make(map[string]any, 4)
	ok = true
	walked := eachMember(bytes.TrimLeft(body, jsonSpace), func(key, value []byte) {
		switch string(key) {
		case "messages", "text", "reply", "confidence", "intent", "fallback", "handoff", "end", "sources":
			v, read := valueOf(value)
			o[string(key)], ok = v, ok && read
		}
	})
	return o, ok && walked
}

// valueOf decodes one value.
func valueOf(raw []byte) (v any, ok bool) {
	switch raw[0] {
	case '"':
		if text := raw[1 : len(raw)-1]; bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
			return string(text), true
		}
	case 't':
		return true, true
	case 'f':
		return false, true
	case 'n':
		return nil, true
	}
	err := json.Unmarshal(raw, &v)
	return v, err == nil
}

const jsonSpace = " \t\r\n"

// eachMember calls yield with the name, as it is written, and the value of every member of the object that raw, which is
// valid JSON, begins with. It reports false, after any number of calls, when raw begins with something else, when a name
// has escapes, and when a number may be none that a float64 holds: the whole cannot be decoded then.
func eachMember(raw []byte, yield func(key, value []byte)) bool {
	if len(raw) == 0 || raw[0] != '{' {
		return false
	}
	i := skipSpace(raw, 1)
	for raw[i] != '}' {
		end := skipString(raw, i)
		key := raw[i+1 : end-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			return false
		}
		i = skipSpace(raw, skipSpace(raw, end)+1) // over the colon
		if end = skipValue(raw, i); end < 0 {
			return false
		}
		yield(key, raw[i:end])
		if i = skipSpace(raw, end); raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
	}
	return true
}

func skipSpace(raw []byte, i int) int {
	for raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r' {
		i++
	}
	return i
}

// skipString returns where the string ends whose first quotation mark is at i.
func skipString(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// maxPlainNumber is a length up to which a number without an exponent is one that a float64 holds.
const maxPlainNumber = 300

// skipValue returns where the value ends that begins at i, or -1 when it has a number that may be too large.
func skipValue(raw []byte, i int) int {
	for depth := 0; ; {
		switch c := raw[i]; {
		case c == '"':
			i = skipString(raw, i)
		case c == '{' || c == '[':
			depth++
			i++
		case c == '}' || c == ']':
			depth--
			i++
		case c == '-' || c >= '0' && c <= '9':
			start := i
			for i < len(raw) && (raw[i] == '-' || raw[i] == '.' || raw[i] >= '0' && raw[i] <= '9') {
				i++
			}
			if i-start > maxPlainNumber || i < len(raw) && raw[i]|0x20 == 'e' {
				return -1
			}
		case c == 't' || c == 'n':
			i += len("true")
		case c == 'f':
			i += len("false")
		default: // a comma, a colon, space
			i++
		}
		if depth == 0 {
			return i
		}
	}
}
