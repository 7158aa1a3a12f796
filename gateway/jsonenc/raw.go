package jsonenc

import (
	"bytes"
	"encoding/json"
)

// appendRaw appends src, which must be JSON, compacted and escaped. What encoding/json itself has written is in that form
// already and is copied as it is; anything else goes through encoding/json.
func appendRaw(dst, src []byte) ([]byte, error) {
	if n := skipValue(src, 0, 0); n == len(src) {
		return append(dst, src...), nil
	}
	var compact, escaped bytes.Buffer
	if err := json.Compact(&compact, src); err != nil {
		return dst, err
	}
	json.HTMLEscape(&escaped, compact.Bytes())
	return append(dst, escaped.Bytes()...), nil
}

// The skip functions return the index after the value at i, or none when it is no JSON or not in the form that appendRaw
// may copy. They may say none of what is JSON, and never the other way round.
const (
	none     = -1
	maxDepth = 32
)

func skipValue(b []byte, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return none
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i+1)
	case c == '{' || c == '[':
		return skipMembers(b, i+1, depth, c == '{')
	case c == '-' || isDigit(c):
		return skipNumber(b, i)
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
			return i + len(word)
		}
	}
	return none
}

// skipMembers skips what follows the opening bracket of an object or a list.
func skipMembers(b []byte, i, depth int, object bool) int {
	end := byte(']')
	if object {
		end = '}'
	}
	if i < len(b) && b[i] == end {
		return i + 1
	}
	for i < len(b) {
		if object {
			if b[i] != '"' {
				return none
			}
			if i = skipString(b, i+1); i < 0 || i >= len(b) || b[i] != ':' {
				return none
			}
			i++
		}
		if i = skipValue(b, i, depth+1); i < 0 || i >= len(b) {
			return none
		}
		switch b[i] {
		case end:
			return i + 1
		case ',':
			i++
		default:
			return none
		}
	}
	return none
}

// skipString skips what follows the opening quote of a string. A byte that begins U+2028 begins much else, too: there
// encoding/json has to look.
func skipString(b []byte, i int) int {
	for i < len(b) {
		switch c := b[i]; {
		case plain[c] || c >= 0x80 && c != 0xe2:
			i++
		case c == '"':
			return i + 1
		case c == '\\':
			if i = skipEscape(b, i+1); i < 0 {
				return none
			}
		default:
			return none
		}
	}
	return none
}

// skipEscape skips what follows a backslash.
func skipEscape(b []byte, i int) int {
	if i >= len(b) {
		return none
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if len(b)-i <= 4 {
			return none
		}
		for _, c := range b[i+1 : i+5] {
			if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
				return none
			}
		}
		return i + 5
	}
	return none
}

func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	default:
		if i = skipDigits(b, i); i < 0 {
			return none
		}
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return none
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i
}

// skipDigits skips one digit or more.
func skipDigits(b []byte, i int) int {
	from := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == from {
		return none
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
