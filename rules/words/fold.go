// Package words is how rules and signals read text: folded to one form, cut into words, looked up in a dictionary of
// phrases in one pass.
package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold maps text to the form in which phrases are compared: compatibility forms (full width, ligatures) replaced,
// lower case, diacritics of the alphabets stripped, invisible characters removed, typographic apostrophes straightened.
// Marks that carry a letter of their own (kana voicing, Indic vowels) stay. Invalid UTF-8 becomes U+FFFD. Text that is
// folded already is returned as it is, without an allocation; ASCII costs one copy at most.
func Fold(text string) string {
	upper := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= utf8.RuneSelf {
			return foldUnicode(text)
		}
		upper = upper || 'A' <= c && c <= 'Z'
	}
	if !upper {
		return text
	}
	return strings.ToLower(text)
}

func foldUnicode(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	compose := false
	decomposed, quick := text, quickFolds(text)
	if !quick {
		decomposed = norm.NFKD.String(text)
	}
	for _, r := range decomposed {
		switch {
		case r < utf8.RuneSelf:
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			b.WriteByte(byte(r))
			continue
		case r < 0x180:
			b.WriteString(latin[r-utf8.RuneSelf])
			continue
		case strippedMark(r):
			continue
		case r >= 0xff01 && r <= 0xff5e: // full-width ASCII
			b.WriteRune(unicode.ToLower(r - 0xfee0))
			continue
		case r >= 0x4e00 && r <= 0x9fff:
			b.WriteRune(r)
			continue
		case r >= 0x900 && r < 0x1e00 || r >= 0x3040:
			compose = compose || !quick
		}
		if s, ok := special(r); ok {
			b.WriteString(s)
			continue
		}
		b.WriteRune(unicode.ToLower(r))
	}
	if compose {
		return norm.NFC.String(b.String())
	}
	return b.String()
}

// quickFolds reports whether the tables below fold text without decomposing it first and composing it again, to the
// same result: true for nearly all text that people type.
func quickFolds(text string) bool {
	for _, r := range text {
		switch {
		case r < 0x180 && r != 0x132 && r != 0x133 && r != 0x13f && r != 0x140:
		case r >= 0x2010 && r <= 0x2023: // dashes, quotation marks, bullets
		case r >= 0x430 && r <= 0x44f && r != 0x439, r >= 0x410 && r <= 0x42f && r != 0x419:
		case r >= 0x628 && r <= 0x64a, r == 0x627, r == 0x60c, r == 0x61f:
		case r >= 0x904 && r <= 0x94d && r != 0x929 && r != 0x931 && r != 0x934: // Devanagari
		case r >= 0x4e00 && r <= 0x9fff, r >= 0xac00 && r <= 0xd7a3, r >= 0x3001 && r <= 0x3002:
		case r >= 0x3041 && r <= 0x3096, r >= 0x30a1 && r <= 0x30fc && r != 0x30fb: // kana, voiced ones composed
		case r >= 0xff01 && r <= 0xff5e:
		case r >= 0x2600 && r <= 0x27bf, r >= 0x1f300 && r <= 0x1faff: // emoji
		default:
			return false
		}
	}
	return true
}

// latin folds U+0080 to U+017F. It is computed from the Unicode decompositions, so that the quick way and the long one
// agree.
var latin = func() (table [0x180 - utf8.RuneSelf]string) {
	for r := rune(utf8.RuneSelf); r < 0x180; r++ {
		var b strings.Builder
		for _, d := range norm.NFKD.String(string(r)) {
			if strippedMark(d) {
				continue
			}
			if s, ok := special(d); ok {
				b.WriteString(s)
				continue
			}
			b.WriteRune(unicode.ToLower(d))
		}
		table[r-utf8.RuneSelf] = b.String()
	}
	return table
}()

// strippedMark reports whether r is a mark that people leave out when they type, or an invisible character.
func strippedMark(r rune) bool {
	switch {
	case r >= 0x300 && r <= 0x36f, // Latin, Greek, Cyrillic
		r >= 0x591 && r <= 0x5c7 && unicode.Is(unicode.Mn, r), // Hebrew points
		r >= 0x64b && r <= 0x65f, r == 0x670, r == 0x640,      // Arabic vowels, hamza on a carrier, tatweel
		r >= 0x200b && r <= 0x200f, r == 0x2060, r == 0xfeff, r == 0xad,
		r >= 0xfe00 && r <= 0xfe0f: // variation selectors
		return true
	}
	return false
}

// special are the letters that fold to something else than their lower case.
func special(r rune) (string, bool) {
	switch r {
	case 'ß', 'ẞ':
		return "ss", true
	case 'ı':
		return "i", true
	case 'ł', 'Ł':
		return "l", true
	case 'ø', 'Ø':
		return "o", true
	case 'đ', 'Đ', 'ð', 'Ð':
		return "d", true
	case 'æ', 'Æ':
		return "ae", true
	case 'œ', 'Œ':
		return "oe", true
	case 'ς':
		return "σ", true
	case 'ى', 'ی': // Arabic alef maksura and Persian yeh are typed for each other and for yeh
		return "ي", true
	case 'ة':
		return "ه", true
	case 'ک':
		return "ك", true
	case '’', '‘', 'ʼ', '´':
		return "'", true
	}
	return "", false
}
