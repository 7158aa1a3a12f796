// Package traceparent reads and passes on W3C trace context: the header traceparent (https://www.w3.org/TR/trace-context/,
// section 3.2). turnout makes no spans of its own. It passes a customer's trace on to the bot, so that the bot's spans stand
// in the trace of whoever asked.
package traceparent

import (
	"crypto/sha256"
	"encoding/hex"
)

// Header is the name of the header.
const Header = "traceparent"

// Parent is the value of a header that follows the specification, lower-case: version, trace id, parent id, flags. The zero
// Parent is none.
type Parent string

const (
	size       = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-00")
	traceBegin = len("00-")
	traceEnd   = traceBegin + 32
	spanBegin  = traceEnd + 1
	spanEnd    = spanBegin + 16
)

// Parse reads a header. What does not follow the specification is no trace context and must be ignored: it returns none.
// Of a later version than 00 the part that version 00 knows is kept, as the specification says.
func Parse(header []byte) Parent {
	b := header
	if len(b) < size || len(b) > size && (b[size] != '-' || b[0] == '0' && b[1] == '0') {
		return ""
	}
	b = b[:size]
	if b[2] != '-' || b[traceEnd] != '-' || b[spanEnd] != '-' || b[0] == 'f' && b[1] == 'f' {
		return ""
	}
	for i, c := range b {
		switch {
		case i == 2 || i == traceEnd || i == spanEnd:
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		default:
			return ""
		}
	}
	if zero(b[traceBegin:traceEnd]) || zero(b[spanBegin:spanEnd]) {
		return ""
	}
	return Parent("00" + string(b[2:]))
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}

// Child returns the header for a request that follows from p: the same trace and flags, with a parent id that is always the
// same for the same name. "" for none.
func (p Parent) Child(name string) string {
	if len(p) != size {
		return ""
	}
	sum := sha256.Sum256([]byte(string(p) + "\x00" + name))
	sum[0] |= 1 // never all zero
	return string(p[:spanBegin]) + hex.EncodeToString(sum[:8]) + string(p[spanEnd:])
}
