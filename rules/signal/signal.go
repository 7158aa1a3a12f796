// Package signal says what a message expresses: that its writer wants a person, is frustrated, says the same again;
// that the bot did not understand, or says the same again; in which language. Signals are computed offline, once per
// message, from the words of the message and from the Memory that a conversation carries from message to message.
package signal

// Detector computes signals. It is pure (the same arguments give the same result) and safe for concurrent use, so a
// decision can be recomputed from its inputs.
type Detector interface {
	// Customer judges a message of the customer. langHint is the language that the client claims, a BCP 47 tag or
	// empty. It returns the memory for the next message; m is not changed.
	Customer(text, langHint string, m Memory) (Scores, Memory)
	// Bot judges an answer of the bot in the same way.
	Bot(text string, m Memory) (Scores, Memory)
	// Digest names the model or lexicon, in hex: equal digests mean equal results.
	Digest() string
}

// Scores are the signals of one exchange, each from 0 (no sign of it) to 1. The zero value is no signal at all; JSON
// holds only the scores that are not zero.
type Scores struct {
	// HumanRequest: the customer asks for a person.
	HumanRequest float64 `json:"human_request,omitempty"`
	// Frustration: the customer is annoyed, by words and by how the conversation went so far.
	Frustration float64 `json:"frustration,omitempty"`
	// Repeat: the customer writes the same words again.
	Repeat float64 `json:"repeat,omitempty"`
	// BotFallback: the bot says that it did not understand or cannot help.
	BotFallback float64 `json:"bot_fallback,omitempty"`
	// BotRepeat: the bot says the same again.
	BotRepeat float64 `json:"bot_repeat,omitempty"`
}

// Names returns the names of the scores as rules write them, in alphabetical order.
func Names() []string {
	return []string{"bot_fallback", "bot_repeat", "frustration", "human_request", "repeat"}
}

// OfBot reports whether the named score judges the bot's answer and not the customer's message.
func OfBot(name string) bool { return name == "bot_fallback" || name == "bot_repeat" }

// Get returns the score of that name, and false when this build computes none.
func (s Scores) Get(name string) (score float64, ok bool) {
	switch name {
	case "human_request":
		return s.HumanRequest, true
	case "frustration":
		return s.Frustration, true
	case "repeat":
		return s.Repeat, true
	case "bot_fallback":
		return s.BotFallback, true
	case "bot_repeat":
		return s.BotRepeat, true
	}
	return 0, false
}

// Merge returns the greater of each score: an answer's exchange carries what its customer message expressed as well.
func (s Scores) Merge(o Scores) Scores {
	return Scores{
		HumanRequest: max(s.HumanRequest, o.HumanRequest),
		Frustration:  max(s.Frustration, o.Frustration),
		Repeat:       max(s.Repeat, o.Repeat),
		BotFallback:  max(s.BotFallback, o.BotFallback),
		BotRepeat:    max(s.BotRepeat, o.BotRepeat),
	}
}
