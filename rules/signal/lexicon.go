package signal

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"sync"

	"turnout/rules/words"
)

//go:embed lexicon/*.txt
var lexiconFiles embed.FS

// class is a set of roles that a phrase can play in a message.
type class uint32

const (
	staff   class = 1 << iota // words for somebody who works here: "agent", "a real person"
	person                    // words for anybody: "someone"
	contact                   // "speak", "put me through"
	after                     // ways to ask for contact that follow the person: "mit jemandem sprechen"
	want                      // "I need"
	link                      // what may stand between these
	art                       // the part of link that may stand before a bare "agent"
	polite
	exist   // "is there"
	deny    // "I don't want to"
	bot     // "a robot"
	nobot   // refusals of a bot that are a request for a person
	request // whole requests
	bare    // requests only when they are the whole message
	veto    // "travel agent": takes its words away from the other classes
	furious
	annoyed
	curse
	told   // "I already said"
	miss   // of a bot: "I didn't understand"
	cannot // of a bot: "I can't help"
	unsure // of a bot, weak: "I don't know"
	sorry
	stop // words that only tell the language
)

var classNames = map[string]class{
	"staff": staff, "person": person, "contact": contact, "after": after, "want": want, "link": link, "art": art | link,
	"polite": polite | link, "exist": exist, "deny": deny, "bot": bot, "nobot": nobot, "request": request, "bare": bare,
	"veto": veto, "furious": furious, "annoyed": annoyed, "curse": curse, "told": told, "miss": miss,
	"cannot": cannot, "unsure": unsure, "sorry": sorry, "stop": stop,
}

// entry is what the lexicon knows of one phrase: its roles in any language, and the languages that have it.
type entry struct {
	class     class
	languages uint32
}

type lexicon struct {
	dictionary *words.Dictionary
	entries    []entry
	languages  []string // by bit of entry.languages
	digest     string
}

// loadLexicon reads the embedded lexicon once. A fault in it is a fault of the build.
var loadLexicon = sync.OnceValues(func() (*lexicon, error) {
	files, err := lexiconFiles.ReadDir("lexicon")
	if err != nil {
		return nil, fmt.Errorf("reading lexicon: %w", err)
	}
	l := &lexicon{}
	sum := sha256.New()
	index := map[string]int{}
	var phrases []string
	for _, file := range files {
		data, err := lexiconFiles.ReadFile(path.Join("lexicon", file.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading lexicon: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", file.Name(), len(data), data)
		language := strings.TrimSuffix(file.Name(), ".txt")
		mask := uint32(0)
		if len(language) == 2 {
			mask = 1 << len(l.languages)
			l.languages = append(l.languages, language)
		}
		err = parseLexicon(string(data), func(phrase string, c class) error {
			if err := words.Check(phrase); err != nil {
				return err
			}
			key := canonical(phrase)
			i, ok := index[key]
			if !ok {
				i = len(phrases)
				index[key] = i
				phrases = append(phrases, phrase)
				l.entries = append(l.entries, entry{})
			}
			l.entries[i].class |= c
			l.entries[i].languages |= mask
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading lexicon %s: %w", file.Name(), err)
		}
	}
	if l.dictionary, err = words.New(phrases); err != nil {
		return nil, fmt.Errorf("building lexicon: %w", err)
	}
	for i, e := range l.entries {
		if e.class&veto != 0 {
			l.entries[i].class = veto | e.class&(furious|annoyed|curse|told)
		}
	}
	l.digest = hex.EncodeToString(sum.Sum(nil))
	return l, nil
})

// parseLexicon reads "[class]" headings, comma-separated phrases and lines that begin with #.
func parseLexicon(data string, add func(phrase string, c class) error) error {
	current := class(0)
	for n, line := range strings.Split(data, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "[") {
			name, rest, _ := strings.Cut(line[1:], "]")
			c, ok := classNames[name]
			if !ok {
				return fmt.Errorf("line %d: unknown class %q", n+1, name)
			}
			current, line = c, rest
		}
		for phrase := range strings.SplitSeq(line, ",") {
			if phrase = strings.TrimSpace(phrase); phrase == "" {
				continue
			}
			if err := add(phrase, current); err != nil {
				return fmt.Errorf("line %d: %q: %w", n+1, phrase, err)
			}
		}
	}
	return nil
}

func canonical(phrase string) string {
	var b strings.Builder
	words.Each(words.Fold(phrase), func(word string) bool {
		b.WriteString(word)
		b.WriteByte(' ')
		return true
	})
	return b.String()
}

// segment cuts tokens into the longest phrases of the lexicon; a word that begins none is an entry of no class.
func (l *lexicon) segment(tokens []words.Token, dst []entry) []entry {
	for len(tokens) > 0 {
		i, n := l.dictionary.Longest(tokens)
		if n == 0 {
			dst = append(dst, entry{})
			n = 1
		} else {
			dst = append(dst, l.entries[i])
		}
		tokens = tokens[n:]
	}
	return dst
}
