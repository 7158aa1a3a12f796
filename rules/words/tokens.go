package words

import (
	"unicode"
	"unicode/utf8"
)

// next finds the first word of folded at or after byte i and returns where it begins and ends; start is len(folded)
// when there is none. A word is a run of letters, marks and digits. In scripts that do not put spaces between words
// (Han, kana, Hangul, Thai, Lao, Khmer, Burmese) every character is a word of its own, so that looking for a phrase
// finds it anywhere. An English contraction is one word ("can't"); other apostrophes separate ("l'agent").
func next(folded string, i int) (start, end int) {
	for i < len(folded) {
		if c := folded[i]; asciiWord[c] {
			return i, wordEnd(folded, i+1)
		} else if c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(folded[i:])
		if kind := kindOf(r); kind == wordRune {
			return i, wordEnd(folded, i+size)
		} else if kind == loneRune {
			return i, markEnd(folded, i+size)
		}
		i += size
	}
	return len(folded), len(folded)
}

func wordEnd(s string, i int) int {
	for i < len(s) {
		if asciiWord[s[i]] {
			i++
			continue
		}
		r, size := decode(s, i)
		if r == '\'' {
			if n := contraction(s[i+1:]); n > 0 {
				return i + 1 + n
			}
			return i
		}
		if kindOf(r) != wordRune {
			return i
		}
		i += size
	}
	return i
}

// markEnd keeps the marks of a lone character with it.
func markEnd(s string, i int) int {
	for i < len(s) {
		r, size := decode(s, i)
		if !unicode.Is(unicode.M, r) {
			return i
		}
		i += size
	}
	return i
}

// contraction is the length of the English ending that s begins with, 0 when there is none.
func contraction(s string) int {
	n := 0
	for n < len(s) && n < 3 && 'a' <= s[n] && s[n] <= 'z' {
		n++
	}
	if r, _ := utf8.DecodeRuneInString(s[n:]); kindOf(r) == wordRune && n < len(s) {
		return 0
	}
	switch s[:n] {
	case "t", "s", "m", "d", "re", "ve", "ll":
		return n
	}
	return 0
}

type runeKind uint8

const (
	otherRune runeKind = iota
	wordRune
	loneRune
)

// asciiWord are the bytes that are a letter or a digit by themselves.
var asciiWord = func() (table [256]bool) {
	for c := range utf8.RuneSelf {
		table[c] = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z'
	}
	return table
}()

func kindOf(r rune) runeKind {
	if r < utf8.RuneSelf {
		if asciiWord[byte(r)] {
			return wordRune
		}
		return otherRune
	}
	if spaceless(r) {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.M, r) {
			return loneRune
		}
		return otherRune
	}
	if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.M, r) {
		return wordRune
	}
	return otherRune
}

func spaceless(r rune) bool {
	return r >= 0x3040 && r <= 0x9fff || r >= 0xac00 && r <= 0xd7a3 || r >= 0x0e00 && r <= 0x0eff ||
		r >= 0x1000 && r <= 0x109f || r >= 0x1780 && r <= 0x17ff || r >= 0xf900 && r <= 0xfaff || r >= 0x20000 && r <= 0x3ffff
}

func decode(s string, i int) (rune, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return rune(c), 1
	}
	return utf8.DecodeRuneInString(s[i:])
}

// Each calls yield with every word of folded, in order, until it returns false.
func Each(folded string, yield func(word string) bool) {
	for start, end := next(folded, 0); start < len(folded); start, end = next(folded, end) {
		if !yield(folded[start:end]) {
			return
		}
	}
}
