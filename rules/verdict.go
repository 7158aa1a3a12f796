package rules

import (
	"maps"
	"slices"
	"strings"
)

// The handoff priorities that rule files name.
const (
	PriorityLow    = 3
	PriorityNormal = 5
	PriorityHigh   = 7
	PriorityUrgent = 9
)

// Mode says what a matching rule does.
type Mode uint8

// The modes.
const (
	Enforce Mode = iota // act
	Shadow              // report the match, do nothing
	Off                 // do not look
)

// String returns the mode as rule files write it.
func (m Mode) String() string {
	switch m {
	case Shadow:
		return "shadow"
	case Off:
		return "off"
	}
	return "enforce"
}

// Verdict is what the rules say of an exchange. The zero value means: nothing matched. It shares maps and slices with
// the Set: treat it as read-only.
type Verdict struct {
	// Handoff is not nil when the conversation goes to people; on an answer it also means that the answer is not sent.
	Handoff *Handoff
	// MustReachHuman is set when a matching rule demands that only a person may end the conversation.
	MustReachHuman bool
	// Say is said to the customer in addition, Replace instead of the answer. With a Handoff, Replace is nil.
	Say, Replace *Saying
	// Bot is the bot that the conversation goes to from its next turn on; nil: it stays with the one that it has.
	Bot *BotChoice
	// Tags and Notify are of all matching rules, each name once.
	Tags, Notify []string
	// Matched are the rules that matched, in order, shadow rules included.
	Matched []Match
	// Failed are the rules whose condition could not be evaluated, in order.
	Failed []Failure
}

// Handoff sends a conversation to a queue.
type Handoff struct {
	Rule     string // id of the rule
	Queue    string // empty for the tenant's default queue: a locked rule failed that names none
	Priority int    // 1..9, higher first
	Skills   []string
	Reason   string // the rule's why
}

// BotChoice gives a conversation to a bot.
type BotChoice struct {
	Rule string // id of the rule
	Bot  string
}

// Saying is a text of a rule in one or more languages.
type Saying struct {
	Rule  string
	Texts map[string]string // by language tag, lower case
}

// For returns the text for a reader of lang and the language it is in: that language, else its primary language, else
// English, else the first by name.
func (s *Saying) For(lang string) (text, in string) {
	lang = strings.ToLower(lang)
	primary, _, _ := strings.Cut(lang, "-")
	for _, candidate := range []string{lang, primary, "en"} {
		if text, ok := s.Texts[candidate]; ok {
			return text, candidate
		}
	}
	languages := slices.Sorted(maps.Keys(s.Texts))
	if len(languages) == 0 {
		return "", ""
	}
	return s.Texts[languages[0]], languages[0]
}

// Match is a rule that matched.
type Match struct {
	Rule   string
	Mode   Mode
	Locked bool
}

// Failure is a rule that could not be evaluated.
type Failure struct {
	Rule string
	// Reason says what kind of failure it was. It never holds a value of the exchange.
	Reason string
}
