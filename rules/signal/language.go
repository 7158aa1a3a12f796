package signal

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/abadojack/whatlanggo"
)

// minLetters is the length below which a statistical guess of the language is worse than none.
const minLetters = 24

// signs are the cheap signs of a message's language: its script, and the words of the lexicon.
type signs struct {
	script  string // the language, if the script tells it
	latin   bool
	letters int
	// voted is the language with the most entries, if it is ahead of all others; votes is how many it has, lead by how
	// many it leads.
	voted       string
	votes, lead int
}

func (l *lexicon) signsOf(text string, entries []entry) signs {
	var s signs
	s.script, s.latin, s.letters = scriptLanguage(text)
	s.voted, s.votes, s.lead = l.vote(entries)
	return s
}

// language settles the language of the conversation in m. The cheap signs come first: the script, then the words of the
// lexicon. Only when they say nothing, the text is long enough and no guess was made before, the statistical guess is
// paid for, about a millisecond.
func language(text, hint string, s signs, entries int, m Memory) Memory {
	if s.script != "" {
		m.Language = s.script
		return m
	}
	// Languages of the lexicon share words with those that are not in it: a third of the phrases must be known.
	if s.votes*3 >= entries && s.voted != "" && (m.Language == "" || s.lead >= 3) {
		m.Language = s.voted
		return m
	}
	if m.Language != "" {
		return m
	}
	if s.letters >= minLetters && !m.Guessed {
		m.Guessed = true
		if info := whatlanggo.Detect(firstBytes(text, 600)); info.IsReliable() {
			if m.Language = info.Lang.Iso6391(); m.Language != "" {
				return m
			}
		}
	}
	if s.latin || s.letters == 0 {
		m.Language = hintLanguage(hint)
	}
	return m
}

// plausible returns the shipped languages that a message is in, as far as its script and words tell, as a mask of
// entry.languages; 0 when they do not.
func (l *lexicon) plausible(s signs) uint32 {
	code := s.script
	if code == "" {
		code = s.voted
	}
	if i := slices.Index(l.languages, code); i >= 0 {
		return 1 << i
	}
	return 0
}

// vote counts the entries that belong to each language and returns the one with the most, if it is ahead of all others,
// how many it has, and by how many it leads.
func (l *lexicon) vote(entries []entry) (code string, count, lead int) {
	var counts [32]int
	for _, e := range entries {
		for mask, i := e.languages, 0; mask != 0; mask, i = mask>>1, i+1 {
			counts[i] += int(mask & 1)
		}
	}
	best, first, second := -1, 0, 0
	for i, n := range counts {
		switch {
		case n > first:
			best, first, second = i, n, first
		case n > second:
			second = n
		}
	}
	if first < 2 || first == second {
		return "", 0, 0
	}
	return l.languages[best], first, first - second
}

// scriptLanguage returns the language of a text whose script tells it, whether it is Latin, and how many letters it has
// up to a bound that is enough to know.
func scriptLanguage(text string) (language string, latin bool, letters int) {
	counts := struct{ latin, kana, han, hangul, arabic, devanagari, cyrillic, greek, hebrew, thai int }{}
	for i, size := 0, 0; i < len(text) && letters < 200; i += size {
		c := text[i]
		size = 1
		if c < utf8.RuneSelf {
			if c|0x20 >= 'a' && c|0x20 <= 'z' {
				counts.latin++
				letters++
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		size = n
		switch {
		case r < 0x250:
			counts.latin++
		case r >= 0x370 && r < 0x400:
			counts.greek++
		case r >= 0x400 && r < 0x530:
			counts.cyrillic++
		case r >= 0x590 && r < 0x600:
			counts.hebrew++
		case r >= 0x600 && r < 0x700:
			counts.arabic++
		case r >= 0x900 && r < 0x980:
			counts.devanagari++
		case r >= 0xe00 && r < 0xe80:
			counts.thai++
		case r >= 0x3040 && r < 0x3100:
			counts.kana++
		case r >= 0x4e00 && r < 0xa000:
			counts.han++
		case r >= 0xac00 && r < 0xd7b0:
			counts.hangul++
		default:
			if !unicode.IsLetter(r) {
				continue
			}
		}
		letters++
	}
	most := func(n int) bool { return n*2 > letters }
	switch {
	case counts.kana > 0 && most(counts.kana+counts.han):
		return "ja", false, letters
	case most(counts.han):
		return "zh", false, letters
	case most(counts.hangul):
		return "ko", false, letters
	case most(counts.devanagari):
		return "hi", false, letters
	case most(counts.greek):
		return "el", false, letters
	case most(counts.hebrew):
		return "he", false, letters
	case most(counts.thai):
		return "th", false, letters
	}
	return "", most(counts.latin), letters
}

// hintLanguage is the primary language of a BCP 47 tag, or nothing for what is no tag.
func hintLanguage(tag string) string {
	primary, _, _ := strings.Cut(strings.ReplaceAll(tag, "_", "-"), "-")
	if len(primary) < 2 || len(primary) > 3 {
		return ""
	}
	primary = strings.ToLower(primary)
	for i := range len(primary) {
		if primary[i] < 'a' || primary[i] > 'z' {
			return ""
		}
	}
	return primary
}

func firstBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
