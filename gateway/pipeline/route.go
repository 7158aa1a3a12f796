package pipeline

import (
	"maps"
	"slices"
	"strings"

	"turnout/gateway/conversation"
)

// Which bot answers is looked up when a turn begins, from the conversation as the log has it and from what is configured then:
// the bot that a rule gave it to, else the bot of its language, else that of its channel. The turn keeps the name (turn.started), so
// that a repeat asks the same bot, and whoever reads the log sees who was asked. A bot that is configured no more is passed over.

// botOf returns the bot that answers the next turn of a conversation.
func (c *Channel) botOf(s *conversation.State) *Bot {
	if b := c.Bots[s.Bot]; b != nil && s.Bot != "" {
		return b
	}
	if len(c.ByLanguage) == 0 {
		return c.Bot
	}
	lang := strings.ToLower(s.Memory.Language)
	if b := c.ByLanguage[lang]; b != nil {
		return b
	}
	primary, _, _ := strings.Cut(lang, "-")
	if b := c.ByLanguage[primary]; b != nil {
		return b
	}
	return c.Bot
}

// botNamed returns the named bot of the channel, or another when there is none of that name.
func (c *Channel) botNamed(name string, other *Bot) *Bot {
	for b := range c.bots {
		if b.Name == name {
			return b
		}
	}
	return other
}

// bots yields every bot that the channel's turns may come to, each once, in an order that is always the same.
func (c *Channel) bots(yield func(*Bot) bool) {
	firsts := []*Bot{c.Bot}
	for _, byName := range []map[string]*Bot{c.ByLanguage, c.Bots} {
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			firsts = append(firsts, byName[name])
		}
	}
	seen := map[*Bot]bool{}
	for _, first := range firsts {
		for b := first; b != nil && !seen[b]; b = b.Alternate {
			seen[b] = true
			if !yield(b) {
				return
			}
		}
	}
}

// ladder yields the bots that a turn of b may come to, in order. Alternates may lead back to where they began.
func (b *Bot) ladder(yield func(*Bot) bool) {
	for range maxAttempts {
		if b == nil || !yield(b) {
			return
		}
		b = b.Alternate
	}
}
