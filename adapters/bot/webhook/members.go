package webhook

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
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

// valueAt returns what stands at path in body, as decoding gives it. It is not ok when body is not valid JSON, when path
// leads through something that is no object, and when only a decoding of the whole can tell.
func valueAt(body []byte, path []string) (v any, ok bool) {
	raw := body
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

// usualNames are the members that the usual shapes are read from.
var usualNames = [...]string{"messages", "text", "reply", "confidence", "intent", "fallback", "handoff", "end", "sources"}

// usualMembers returns the members of the object body that the usual shapes may have. It is not ok when body is no object
// in valid JSON, and when only a decoding of the whole can tell.
func usualMembers(body []byte) (o map[string]any, ok bool) {
	o = make(map[string]any, 4)
	ok = true
	walked := eachMember(body, func(key, value []byte) {
		for _, name := range usualNames {
			if string(key) == name {
				v, read := valueOf(value)
				o[name], ok = v, ok && read
			}
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
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		f, err := strconv.ParseFloat(string(raw), 64)
		return f, err == nil
	}
	err := json.Unmarshal(raw, &v)
	return v, err == nil
}

// eachMember calls yield with the name, as it is written, and the value of every member of the object raw. It reports
// false, after any number of calls, when raw is no object in valid JSON and when it is one that is better left alone: one
// of its names has escapes, it is nested very deep, or it has a number that may be none that a float64 holds, so that the
// whole cannot be decoded.
func eachMember(raw []byte, yield func(key, value []byte)) bool {
	i := skipSpace(raw, 0)
	if i == len(raw) || raw[i] != '{' {
		return false
	}
	end := skipObject(raw, i, 0, yield)
	return end >= 0 && skipSpace(raw, end) == len(raw)
}

const (
	// maxWalkDepth is how deep objects and lists may lie in each other.
	maxWalkDepth = 64
	// maxPlainNumber is a length up to which a number without an exponent is one that a float64 holds.
	maxPlainNumber = 300
)

// The functions below return where what begins at i ends, or -1 when it is not valid or better left alone.

func skipValue(raw []byte, i, depth int) int {
	if i == len(raw) {
		return -1
	}
	switch c := raw[i]; {
	case c == '"':
		return skipString(raw, i)
	case c == '{':
		return skipObject(raw, i, depth, nil)
	case c == '[':
		return skipList(raw, i, depth)
	case c == '-' || c >= '0' && c <= '9':
		return skipNumber(raw, i)
	}
	for _, literal := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(raw[i:], []byte(literal)) {
			return i + len(literal)
		}
	}
	return -1
}

func skipObject(raw []byte, i, depth int, yield func(key, value []byte)) int {
	if depth == maxWalkDepth {
		return -1
	}
	if i = skipSpace(raw, i+1); i < len(raw) && raw[i] == '}' {
		return i + 1
	}
	for {
		if i == len(raw) || raw[i] != '"' {
			return -1
		}
		end := skipString(raw, i)
		if end < 0 {
			return -1
		}
		key := raw[i+1 : end-1]
		if i = skipSpace(raw, end); i == len(raw) || raw[i] != ':' {
			return -1
		}
		i = skipSpace(raw, i+1)
		if end = skipValue(raw, i, depth+1); end < 0 {
			return -1
		}
		if yield != nil {
			if bytes.IndexByte(key, '\\') >= 0 {
				return -1
			}
			yield(key, raw[i:end])
		}
		if i = skipSpace(raw, end); i == len(raw) {
			return -1
		}
		switch raw[i] {
		case ',':
			i = skipSpace(raw, i+1)
		case '}':
			return i + 1
		default:
			return -1
		}
	}
}

func skipList(raw []byte, i, depth int) int {
	if depth == maxWalkDepth {
		return -1
	}
	if i = skipSpace(raw, i+1); i < len(raw) && raw[i] == ']' {
		return i + 1
	}
	for {
		if i = skipValue(raw, i, depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(raw, i); i == len(raw) {
			return -1
		}
		switch raw[i] {
		case ',':
			i = skipSpace(raw, i+1)
		case ']':
			return i + 1
		default:
			return -1
		}
	}
}

func skipString(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i++; i == len(raw) {
				return -1
			}
			switch raw[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, err := hex.Decode(make([]byte, 2), raw[i+1:min(i+5, len(raw))]); err != nil || len(raw) < i+5 {
					return -1
				}
				i += 4
			default:
				return -1
			}
		}
	}
	return -1
}

func skipNumber(raw []byte, i int) int {
	start := i
	if raw[i] == '-' {
		i++
	}
	whole := skipDigits(raw, i)
	if whole == i || raw[i] == '0' && whole > i+1 {
		return -1
	}
	if i = whole; i < len(raw) && raw[i] == '.' {
		if i = skipDigits(raw, whole+1); i == whole+1 {
			return -1
		}
	}
	if i-start > maxPlainNumber {
		return -1
	}
	return i // before an exponent, which nothing takes
}

func skipDigits(raw []byte, i int) int {
	for i < len(raw) && raw[i] >= '0' && raw[i] <= '9' {
		i++
	}
	return i
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r') {
		i++
	}
	return i
}
