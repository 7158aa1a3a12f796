package signal

import (
	"unicode"
	"unicode/utf8"
)

// shape is what a text shows beside its words.
type shape struct {
	shouting    bool // mostly capitals, more than a word of them
	exclaims    int  // exclamation marks in the longest run of ! and ?
	questioning int  // question marks in that run
}

func shapeOf(text string) shape {
	var s shape
	letters, capitals, spaces := 0, 0, 0
	run, exclaims, questions := 0, 0, 0
	for i, size := 0, 0; i < len(text); i += size {
		r := rune(text[i])
		size = 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		switch r {
		case '!', '！':
			run, exclaims = run+1, exclaims+1
		case '?', '？', '؟':
			run, questions = run+1, questions+1
		default:
			run, exclaims, questions = 0, 0, 0
			switch {
			case r == ' ':
				spaces++
			case r >= 'a' && r <= 'z':
				letters++
			case r >= 'A' && r <= 'Z', r >= utf8.RuneSelf && unicode.IsUpper(r):
				letters, capitals = letters+1, capitals+1
			case r >= utf8.RuneSelf && unicode.IsLower(r):
				letters++
			}
		}
		if run >= 2 {
			s.exclaims, s.questioning = max(s.exclaims, exclaims), max(s.questioning, questions)
		}
	}
	s.shouting = letters >= 10 && spaces >= 2 && capitals*10 >= letters*8
	return s
}

// frustration weighs angry words first, then how the text is written, then how the conversation has gone; what is only
// dynamics stays in the middle of the scale.
//
// One language's curse is another's preposition, so when the language of the message is known (languages is not 0),
// words of the others do not count.
func frustration(entries []entry, languages uint32, s shape, scores Scores, m Memory) float64 {
	words := 0.0
	raise := func(to, more float64) {
		if words == 0 {
			words = to
		} else {
			words = max(words, to) + more
		}
	}
	for _, e := range entries {
		if languages != 0 && e.languages&languages == 0 {
			continue
		}
		switch {
		case e.class&furious != 0:
			raise(0.75, 0.1)
		case e.class&told != 0:
			raise(0.6, 0.15)
		case e.class&curse != 0:
			raise(0.6, 0.1)
		case e.class&annoyed != 0:
			raise(0.55, 0.1)
		}
	}
	score := min(words, 0.95)
	if s.shouting {
		score += 0.3
	}
	score += 0.08 * float64(min(s.exclaims, 3))
	if s.exclaims > 0 && s.questioning > 0 || s.questioning > 2 {
		score += 0.1
	}
	if scores.Repeat >= 0.7 {
		score += 0.3
	}
	score += 0.08 * float64(min(m.Fallbacks, 3))
	if words > 0 || scores.Repeat >= 0.7 || scores.HumanRequest >= 0.5 {
		score += float64(m.Trend) / 100 * 0.3
	}
	if words == 0 {
		return min(score, 0.7)
	}
	return min(score, 0.98)
}

// botFallback scores an answer that is none. A long answer that contains such words among others is more likely one.
func botFallback(entries []entry, length int) float64 {
	score, apology := 0.0, false
	for _, e := range entries {
		switch {
		case e.class&miss != 0:
			score = max(score, 0.85)
		case e.class&cannot != 0:
			score = max(score, 0.7)
		case e.class&unsure != 0:
			score = max(score, 0.55)
		}
		apology = apology || e.class&sorry != 0
	}
	if score == 0 {
		return 0
	}
	if apology {
		score += 0.1
	}
	if length > 45 {
		score *= 0.6
	}
	return score
}
