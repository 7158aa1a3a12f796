package rules

import (
	"strings"
	"sync"
	"unicode/utf8"

	"turnout/rules/words"
)

// textID names one of the texts of an exchange.
type textID uint8

const (
	customerText textID = iota
	botText
	quotedText
	textCount
)

// window is how many bytes of each text ordinary rules see. Locked rules are judged once more over the whole text, so
// that nothing escapes them by standing late in it.
const window = 8 << 10

// frame is one look at an exchange: the texts as far as they are shown, what was found in them, and what came of the
// rules. It is reused.
type frame struct {
	x     *Exchange
	texts [textCount]string
	hits  [textCount]bits // phrases found, by number
	found [textCount][]int
	// folded are the texts as phrases see them, where some rule looks for phrases.
	folded [textCount]string
	// candidates, matched and broken are rules by their place in the order.
	candidates, matched, broken bits

	failed bool // the condition being evaluated could not be
	values env
	hasEnv bool
	tokens []words.Token
}

// show sets the texts to their first limit bytes and looks for phrases there.
func (f *frame) show(x *index, limit int) {
	for t := range f.texts {
		f.texts[t] = cut(fullText(f.x, textID(t)), limit)
		f.hits[t].reset(len(x.phrases[t].rules))
		f.found[t] = f.found[t][:0]
		f.folded[t] = ""
		if x.phrases[t].dictionary == nil || f.texts[t] == "" {
			continue
		}
		f.folded[t] = words.Fold(f.texts[t])
		f.tokens = x.phrases[t].dictionary.Tokens(f.folded[t], f.tokens[:0])
		x.phrases[t].dictionary.All(f.tokens, func(phrase int) {
			if !f.hits[t].has(phrase) {
				f.hits[t].add(phrase)
				f.found[t] = append(f.found[t], phrase)
			}
		})
	}
	f.hasEnv = false
}

// lowered is the text in which literals are looked for. Folding ASCII does the same, so it is not done twice.
func (f *frame) lowered(t textID) string {
	if len(f.folded[t]) == len(f.texts[t]) && ascii(f.texts[t]) {
		return f.folded[t]
	}
	return lowerASCII(f.texts[t])
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// env returns the values for the expression engine, filled at the first use.
func (f *frame) env() *env {
	if !f.hasEnv {
		f.values.fill(f)
		f.hasEnv = true
	}
	return &f.values
}

func fullText(x *Exchange, t textID) string {
	switch {
	case t == customerText:
		return x.Message.Text
	case t == quotedText:
		return x.Message.Quoted
	case x.Bot != nil && x.Phase == Answer:
		return x.Bot.Text
	}
	return ""
}

// cut returns at most limit bytes of text, to the end of a word if one is near, else of a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	if space := strings.LastIndexAny(text[limit-min(limit, 64):limit], " \n\t"); space >= 0 {
		return text[:limit-min(limit, 64)+space]
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// framePool hands out frames. Each set has its own, so that their sizes fit.
type framePool struct{ pool sync.Pool }

func (p *framePool) get(x *Exchange) *frame {
	f, ok := p.pool.Get().(*frame)
	if !ok {
		f = new(frame)
	}
	f.x = x
	return f
}

func (p *framePool) put(f *frame) {
	// A pooled frame must not keep a customer's texts alive.
	f.x, f.texts, f.folded = nil, [textCount]string{}, [textCount]string{}
	f.values = env{}
	p.pool.Put(f)
}
