package rules

import (
	"time"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// Phase says which side of a turn a rule watches.
type Phase uint8

// The phases.
const (
	Inbound Phase = iota // the customer's message, before the bot is asked
	Answer               // the bot's answer, before it is sent; the customer's message is known as well
)

// String returns the phase as rule files write it.
func (p Phase) String() string {
	if p == Answer {
		return "answer"
	}
	return "inbound"
}

// Exchange is the turn so far, as rules see it. The pipeline fills it; rules only read it, and keep nothing of it.
type Exchange struct {
	Phase   Phase
	Message message.Inbound
	// Lang is the language of the conversation, a BCP 47 tag or an ISO 639 code; empty while unknown.
	Lang   string
	Scores signal.Scores
	// Bot is the answer, in phase Answer. Without one, everything about the bot is absent.
	Bot *BotView
	// Profile is what is known of the customer for certain; nil when nothing is.
	Profile *message.Profile
	// Account is what the tenant's own system says of that customer; nil when it was not asked, or has not answered yet. It
	// is the one thing that may come late: see EvalLate.
	Account *message.Account
	// Turns counts the customer's turns including this one, Returns the releases by people, Handoffs the handoffs.
	Turns, Returns, Handoffs int
	OpenedAt                 time.Time // of the conversation
	// Now is the time of the decision, in the tenant's time zone.
	Now time.Time
	// Queues are the queues by name.
	Queues map[string]QueueView
	// Tags are the conversation's; rules see the first 50.
	Tags []string
}

// BotView is the bot's answer as rules see it. What a bot's protocol does not tell is nil or empty, and absent in rules.
type BotView struct {
	Text       string
	Confidence *float64 // 0..1
	Intent     string
	Fallback   *bool // the bot says itself that this is its fallback
	End        bool  // the bot ends the conversation
	Handoff    bool  // the bot asks for a handoff
	Sources    int   // documents that the answer cites
	Parts      int   // bubbles of the answer
}

// QueueView is the state of a human queue.
type QueueView struct {
	Waiting int // conversations that no agent has yet
	Online  int // agents who can take one
}
