package jsonenc

import (
	"math"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain are the bytes that stand for themselves in a string.
var plain = plainBytes()

func plainBytes() (table [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		switch c {
		case '"', '\\', '<', '>', '&':
		default:
			table[c] = true
		}
	}
	return table
}

// appendString appends s as a JSON string that is safe in HTML and in JavaScript, too.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done, i := 0, 0 // s[done:i] is good as it is
	for {
		for i < len(s) && plain[s[i]] {
			i++
		}
		if i >= len(s) {
			return append(append(dst, s[done:]...), '"')
		}
		c, size := s[i], 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
			dst = append(append(dst, s[done:i]...), `\u`...)
			if size == 1 {
				dst = append(dst, "fffd"...)
			} else {
				dst = append(dst, '2', '0', '2', hexDigits[r&0xf])
			}
		} else {
			dst = appendEscape(append(dst, s[done:i]...), c)
		}
		i += size
		done = i
	}
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// appendFloat appends a finite number as ECMAScript prints it: plain from 1e-6 up to 1e21, and exponents without padding.
func appendFloat(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' { // e-07; there is no e+07 here
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}
