package signal

import (
	"math"
	"sync"

	"turnout/rules/words"
)

// Lexical is a Detector by words: a lexicon in each shipped language, and how the conversation has gone.
type Lexical struct {
	lexicon *lexicon
	key     uint64
	scratch *sync.Pool
}

var _ Detector = (*Lexical)(nil)

// NewLexical returns the detector of this build. An error means that the build is broken.
func NewLexical() (*Lexical, error) {
	l, err := loadLexicon()
	if err != nil {
		return nil, err
	}
	return &Lexical{lexicon: l, scratch: &sync.Pool{New: func() any { return new(scratch) }}}, nil
}

// Keyed returns the detector with another key for the digests in Memory, so that they cannot be compared with those of
// guessed texts. The key must stay the same for as long as the memories live.
func (l *Lexical) Keyed(key []byte) *Lexical {
	keyed := *l
	keyed.key = hashString(string(key), 0x9e3779b97f4a7c15)
	return &keyed
}

// Digest names the lexicon.
func (l *Lexical) Digest() string { return l.lexicon.digest }

// Customer implements Detector.
func (l *Lexical) Customer(text, langHint string, m Memory) (Scores, Memory) {
	s := l.scratch.Get().(*scratch)
	defer l.scratch.Put(s)
	digest := s.read(l, text)
	if len(s.entries) == 0 {
		return Scores{}, m
	}
	scores := Scores{
		HumanRequest: humanRequest(s.entries),
		Repeat:       repeated(m.Customer.closest(digest), len(s.tokens)),
	}
	signs := l.lexicon.signsOf(text, s.entries)
	scores.Frustration = round(frustration(s.entries, l.lexicon.plausible(signs), shapeOf(text), scores, m))
	scores.HumanRequest, scores.Repeat = round(scores.HumanRequest), round(scores.Repeat)

	m.Customer = m.Customer.push(digest)
	m = language(text, langHint, signs, len(s.entries), m)
	if scores.Frustration >= 0.5 {
		m.Annoyed = min(m.Annoyed+1, 99)
	} else {
		m.Annoyed = 0
	}
	m.Trend = uint8(math.Round(float64(m.Trend)*0.6 + scores.Frustration*40))
	return scores, m
}

// Bot implements Detector.
func (l *Lexical) Bot(text string, m Memory) (Scores, Memory) {
	s := l.scratch.Get().(*scratch)
	defer l.scratch.Put(s)
	digest := s.read(l, text)
	if len(s.entries) == 0 {
		return Scores{}, m
	}
	scores := Scores{
		BotFallback: round(botFallback(s.entries, len(s.tokens))),
		BotRepeat:   round(repeated(m.Bot.closest(digest), len(s.tokens))),
	}
	m.Bot = m.Bot.push(digest)
	if scores.BotFallback >= 0.5 {
		m.Fallbacks = min(m.Fallbacks+1, 99)
	} else {
		m.Fallbacks = 0
	}
	return scores, m
}

// scratch is the working memory of one message, reused.
type scratch struct {
	tokens  []words.Token
	entries []entry
}

// read sets s to what the lexicon knows of a text and returns the text's digest, in one pass over its words.
func (s *scratch) read(l *Lexical, text string) (digest uint64) {
	s.tokens = s.tokens[:0]
	d := newDigester(l.key)
	words.Each(words.Fold(text), func(word string) bool {
		s.tokens = append(s.tokens, l.lexicon.dictionary.Token(word))
		d.add(word)
		return true
	})
	s.entries = l.lexicon.segment(s.tokens, s.entries[:0])
	return d.digest()
}

// round keeps two decimals: more would be noise, and audits store the scores.
func round(score float64) float64 {
	return math.Round(min(max(score, 0), 1)*100) / 100
}

// repeated weighs a likeness by the length of the text: a second "yes" says little.
func repeated(likeness float64, words int) float64 {
	if words < 3 {
		return likeness * 0.4
	}
	return likeness
}
