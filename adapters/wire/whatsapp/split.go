package whatsapp

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Units is the length of a text in UTF-16 units.
func Units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// fits reports whether a text has at most most units. It looks at no more of it than it must.
func fits(s string, most int) bool {
	return len(s) <= most || len(s) <= 3*most && Units(s) <= most // a unit takes up to 3 bytes
}

// Split cuts a text into pieces of at most most units, of which there are at least 2: where it can between paragraphs, else between lines, sentences, words,
// and never within what a reader sees as one character, unless that alone is too long. White space at a cut goes; nothing
// else does. A text that fits is one piece; one of nothing but white space is none.
func Split(text string, most int) []string {
	var out []string
	for text = strings.TrimSpace(text); text != ""; {
		if fits(text, most) {
			return append(out, text)
		}
		at := cut(text, most)
		if piece := strings.TrimRightFunc(text[:at], unicode.IsSpace); piece != "" {
			out = append(out, piece)
		}
		text = strings.TrimLeftFunc(text[at:], unicode.IsSpace)
	}
	return out
}

// Shorten returns a text of at most most units: as it is, or cut between characters with an ellipsis at its end.
func Shorten(text string, most int) string {
	if fits(text, most) {
		return text
	}
	at, last := whole(text, most-1)
	if last {
		at = 0 // a part of a character says nothing
	}
	return strings.TrimRightFunc(text[:at], unicode.IsSpace) + "…"
}

// The kinds of places to cut at, the best last.
const (
	betweenCharacters = iota
	betweenWords
	betweenSentences
	betweenLines
	betweenParagraphs
	kinds
)

// cut returns the best place, in bytes, at which the first piece of a text that is too long may end. A piece is at least half
// full, if there is any place for it that is no worse than between words.
func cut(text string, most int) int {
	end, last := whole(text, most)
	if last {
		return end
	}
	var best [kinds]int
	state, units, at := -1, 0, 0
	for rest := text; at < end; {
		var c string
		var boundaries int
		c, rest, boundaries, state = uniseg.StepString(rest, state)
		units, at = units+Units(c), at+len(c)
		kind := betweenCharacters
		switch {
		case strings.HasSuffix(text[:at], "\n\n") || strings.HasSuffix(text[:at], "\r\n\r\n"):
			kind = betweenParagraphs
		case strings.HasSuffix(text[:at], "\n"):
			kind = betweenLines
		case boundaries&uniseg.MaskSentence != 0:
			kind = betweenSentences
		case boundaries&uniseg.MaskLine == uniseg.LineCanBreak:
			kind = betweenWords
		}
		if kind == betweenWords || units*2 >= most {
			best[kind] = at
		}
	}
	for kind := kinds - 1; kind >= betweenWords; kind-- {
		if best[kind] > 0 {
			return best[kind]
		}
	}
	return end
}

// whole returns how many bytes of text hold most units without cutting a character. last is set when the first character
// alone holds more: then it is cut between code points.
func whole(text string, most int) (at int, last bool) {
	state, units := -1, 0
	for rest := text; rest != ""; {
		var c string
		c, rest, _, state = uniseg.StepString(rest, state)
		if units += Units(c); units > most {
			break
		}
		at += len(c)
	}
	if at > 0 {
		return at, false
	}
	for units = 0; at < len(text); {
		r, n := utf8.DecodeRuneInString(text[at:])
		if units += Units(string(r)); units > most && at > 0 {
			break
		}
		at += n
	}
	return at, true
}
