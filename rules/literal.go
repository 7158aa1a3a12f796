package rules

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// minLiteral is the shortest literal that the index looks for.
const minLiteral = 3

// literalKeys are the keys of a comparison of field that needs one of literals, lower-case ASCII, in the text. They are
// nil, for no key, where a literal is too short to look for or the field is not one of the scanned texts.
func literalKeys(f field, literals []string) []key {
	target, ok := scannedTexts[f.path]
	if !ok || len(literals) == 0 {
		return nil
	}
	var keys []key
	for _, l := range literals {
		if len(l) < minLiteral {
			return nil
		}
		keys = append(keys, key{kind: literalKey, target: target, text: l})
	}
	return keys
}

// scannedTexts are the fields whose literals are looked for: a text, and its lower case, which has the same ones.
var scannedTexts = map[string]textID{
	"text": customerText, "bot.text": botText, "quoted": quotedText,
	"lower(text)": customerText, "lower(bot.text)": botText, "lower(quoted)": quotedText,
}

// requiredLiterals returns texts of which every match of the pattern contains at least one, as lower-case ASCII; nil
// when there are none.
func requiredLiterals(pattern string) []string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	return required(re.Simplify())
}

func required(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if run := asciiRun(string(re.Rune)); run != "" {
			return []string{run}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if r := required(sub); r != nil && (best == nil || shortest(r) > shortest(best)) {
				best = r
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			r := required(sub)
			if r == nil {
				return nil
			}
			all = append(all, r...)
		}
		return all
	}
	return nil
}

func shortest(literals []string) int {
	n := len(literals[0])
	for _, l := range literals {
		n = min(n, len(l))
	}
	return n
}

// asciiRun is the longest run of ASCII in s, in lower case.
func asciiRun(s string) string {
	best, start := "", 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] < utf8.RuneSelf {
			continue
		}
		if i-start > len(best) {
			best = s[start:i]
		}
		start = i + 1
	}
	return strings.ToLower(best)
}

// lowerASCII is the text in which literals are looked for. A case-insensitive pattern takes two letters outside ASCII for
// k and s, and the lower case of a third one is i, so they are replaced.
func lowerASCII(text string) string {
	plain := true
	for i := 0; i < len(text) && plain; i++ {
		c := text[i]
		plain = c < utf8.RuneSelf && (c < 'A' || c > 'Z')
	}
	if plain {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c == 0xc5 && strings.HasPrefix(text[i:], "ſ"):
			c, i = 's', i+1
		case c == 0xc4 && strings.HasPrefix(text[i:], "İ"):
			c, i = 'i', i+1
		case c == 0xe2 && strings.HasPrefix(text[i:], "\u212a"): // the Kelvin sign
			c, i = 'k', i+2
		}
		b.WriteByte(c)
	}
	return b.String()
}

// scanner finds which of a set of literals occur in a text: by their first three bytes, and then in full.
type scanner struct {
	seen   [1 << 10]uint64 // by hash of three bytes
	starts map[uint32][]scanned
}

type scanned struct {
	literal string
	rules   []int32
}

func newScanner(literals map[string][]int32) *scanner {
	s := &scanner{starts: map[uint32][]scanned{}}
	for literal, rules := range literals {
		gram := gramOf(literal)
		h := gramHash(gram)
		s.seen[h>>6] |= 1 << (h & 63)
		s.starts[gram] = append(s.starts[gram], scanned{literal, rules})
	}
	return s
}

func gramOf(s string) uint32 { return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 }

func gramHash(gram uint32) uint32 { return gram * 0x9e3779b1 >> 16 }

// scan marks the rules of every literal that occurs in text.
func (s *scanner) scan(text string, mark *bits) {
	for i := 0; i+minLiteral <= len(text); i++ {
		gram := gramOf(text[i:])
		h := gramHash(gram)
		if s.seen[h>>6]&(1<<(h&63)) == 0 {
			continue
		}
		for _, candidate := range s.starts[gram] {
			if strings.HasPrefix(text[i:], candidate.literal) {
				mark.addAll(candidate.rules)
			}
		}
	}
}
