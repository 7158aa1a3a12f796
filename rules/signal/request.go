package signal

import (
	"strings"
	"unicode"

	"turnout/rules/words"
)

// How many phrases may stand between the parts of a request.
const (
	maxBetween = 6
	maxDeny    = 3
	maxShort   = 6 // phrases in a message that may be nothing but "a real agent please"
)

// humanRequest scores the wish for a person. The parts of a request ("speak", "to a", "person") are classes of phrases,
// in the order that the language puts them; any other word between them breaks the chain, and a denial right before
// it turns it around.
func humanRequest(entries []entry) float64 {
	if isBare(entries, maxShort, staff|request|nobot, 0) {
		return 0.95
	}
	best, denied := 0.0, false
	for i, e := range entries {
		score := 0.0
		switch {
		case e.class&(request|nobot) != 0:
			score = 0.9
		case e.class&contact != 0 && chain(entries[i+1:], staff|person|request):
			score = 0.93
		case e.class&want != 0 && chain(entries[i+1:], staff|request):
			score = 0.88
		case e.class&exist != 0 && chain(entries[i+1:], staff):
			score = 0.75
		case e.class&(staff|person) != 0 && chain(entries[i+1:], after):
			score = 0.88
		case e.class&deny != 0 && deniesBot(entries[i+1:]):
			score = 0.85
		}
		if score == 0 || i > 0 && entries[i-1].class&veto != 0 {
			continue
		}
		if deniedBefore(entries[:i]) {
			denied = true
			continue
		}
		best = max(best, score)
	}
	if best == 0 && denied {
		return 0.1
	}
	return best
}

// chain reports whether a phrase of class goal follows with nothing but connecting phrases before it.
func chain(entries []entry, goal class) bool {
	for i, e := range entries {
		if e.class&goal != 0 {
			return true
		}
		if i == maxBetween || e.class&(link|want|contact|staff) == 0 {
			return false
		}
	}
	return false
}

func deniesBot(entries []entry) bool {
	for i, e := range entries {
		if e.class&bot != 0 {
			return true
		}
		if i == maxBetween || e.class&(link|want|contact) == 0 {
			return false
		}
	}
	return false
}

func deniedBefore(entries []entry) bool {
	for n := 1; n <= maxDeny && n <= len(entries); n++ {
		e := entries[len(entries)-n]
		if e.class&deny != 0 {
			return true
		}
		if e.class&(link|want|contact) == 0 {
			return false
		}
	}
	return false
}

// isBare reports whether a message of at most limit phrases has nothing but articles, courtesies and words of class
// core, at least one of them. With a chain, verbs may stand there too, if a person follows.
func isBare(entries []entry, limit int, core, verbs class) bool {
	if len(entries) > limit {
		return false
	}
	found := false
	for _, e := range entries {
		switch {
		case e.class&core != 0:
			found = true
		case e.class&(art|polite) == 0 && e.class&verbs == 0:
			return false
		}
	}
	return found
}

// BareRequest reports whether the whole of text is a bare word or short formula for a person: "agent", "0", "speak to a
// person, please", in any shipped language, whatever its case, punctuation, diacritics and width. It is exact by
// design, since it diverts without any rule: a word that the lexicon does not know makes it false.
func BareRequest(text string) bool {
	const longest = 200 // bytes; no formula comes near
	if len(text) > longest {
		return false
	}
	l, err := loadLexicon()
	if err != nil {
		return false
	}
	folded := words.Fold(text)
	tokens, known := make([]words.Token, 0, 16), true
	words.Each(folded, func(word string) bool {
		token := l.dictionary.Token(word)
		tokens, known = append(tokens, token), token != 0
		return known
	})
	if !known {
		return false
	}
	if len(tokens) == 0 {
		return onlyHash(folded)
	}
	entries := l.segment(tokens, make([]entry, 0, 16))
	if isBare(entries, maxShort, staff|request|bare|nobot, 0) {
		return true
	}
	const verbs = contact | want | after | link | exist
	if !isBare(entries, 9, staff|person|request, verbs) {
		return false
	}
	for i, e := range entries {
		rest := entries[i+1:]
		if e.class&request != 0 || e.class&contact != 0 && chain(rest, staff|person) || e.class&want != 0 && chain(rest, staff) ||
			e.class&staff != 0 && chain(rest, after) || e.class&person != 0 && e.class&staff == 0 && chain(rest, after&^want) {
			return true
		}
	}
	return false
}

// onlyHash reports whether folded is the key # of a telephone and nothing else.
func onlyHash(folded string) bool {
	return strings.Contains(folded, "#") && strings.IndexFunc(folded, func(r rune) bool {
		return r != '#' && !unicode.IsSpace(r) && r != '.' && r != '!'
	}) < 0
}
