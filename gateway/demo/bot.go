package demo

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// bot is a shop's assistant of the old kind: it looks for words, knows three things (when the shop is open, where a parcel
// is, how to return something), guesses at a few more without believing in it, and does not understand the rest. It keeps
// nothing between calls.
//
// It speaks turnout's own webhook contract, as adapters/README.md has it.
type bot struct{}

type (
	turn struct {
		Message struct {
			Text   string  `json:"text"`
			Choice *choice `json:"choice"`
		} `json:"message"`
	}
	choice struct {
		ID    string `json:"id"`
		Label string `json:"label"`
	}
	bubble struct {
		Text    string   `json:"text"`
		Choices []choice `json:"choices,omitempty"`
	}
	reply struct {
		Messages   []bubble `json:"messages"`
		Intent     string   `json:"intent,omitempty"`
		Confidence *float64 `json:"confidence,omitempty"`
		Fallback   bool     `json:"fallback,omitempty"`
	}
)

// maxTurn is more than any turn needs, in bytes.
const maxTurn = 1 << 20

func (bot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	var t turn
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTurn)).Decode(&t); err != nil {
		http.Error(w, "the body must be a turn as JSON", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer(t)) // whoever is gone needs no answer
}

var (
	topics = []choice{{"hours", "Opening hours"}, {"parcel", "Where is my order?"}, {"return", "Return something"}}

	parcels = map[string]string{
		"2041": "Order KL-2041 (stoneware teapot, moss) left us on Monday. The courier says that it was delivered today at 11:02.",
		"2042": "Order KL-2042 (linen napkins, set of four) is being packed and leaves us tomorrow.",
		"2043": "Order KL-2043 (wool throw, oat) has been with the courier since yesterday.",
	}
)

// subject is something that the bot knows, or believes to know, by the words that it looks for.
type subject struct {
	intent     string
	words      []string
	say        string
	confidence float64
	choices    []choice
}

// subjects are tried in this order.
var subjects = []subject{
	{"hours", []string{"hours", "open", "opening", "close", "closed", "closing", "horario", "abren"},
		"We are open Monday to Friday from 9 to 18 and on Saturday from 10 to 14.", 0.94, nil},
	{"return", []string{"return", "returns", "returning", "refund", "back", "exchange", "devolver"},
		"You can return anything unused within 30 days. The label is in the parcel; a refund takes five working days from when we have it.", 0.91,
		[]choice{{"parcel", "Where is my order?"}, {"hours", "Opening hours"}}},
	{"parcel", []string{"order", "parcel", "package", "delivery", "delivered", "track", "shipped", "arrive", "arrived", "pedido"},
		"Which order is it? The number is in your mail, for example KL-2041.", 0.9,
		[]choice{{"2041", "KL-2041"}, {"2042", "KL-2042"}, {"2043", "KL-2043"}}},
	{"greeting", []string{"hello", "hi", "hey", "hola", "morning", "afternoon", "evening"},
		"Hello. I can tell you our opening hours, where your order is and how returns work.", 0.97, topics},
	{"thanks", []string{"thanks", "thank", "gracias", "bye", "goodbye"}, "You are welcome.", 0.95, nil},
	// Guesses.
	{"shipping", []string{"ship", "shipping", "abroad", "country", "norway"}, "We ship to most countries, I think.", 0.31, nil},
	{"care", []string{"glaze", "dishwasher", "oven", "microwave", "crack", "cracked", "chipped"}, "Everything can go into the oven, probably.", 0.24, nil},
	{"stock", []string{"stock", "available", "colour", "color", "size", "discount", "voucher", "gift"}, "That may be in stock.", 0.28, nil},
}

// answer is what the bot says to a turn.
func answer(t turn) reply {
	words := strings.FieldsFunc(strings.ToLower(t.Message.Text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if c := t.Message.Choice; c != nil {
		words = append([]string{c.ID}, words...)
		if i := slices.IndexFunc(subjects, func(s subject) bool { return s.intent == c.ID }); i >= 0 {
			return subjects[i].reply()
		}
	}
	for _, w := range words {
		if said, ok := parcels[strings.TrimPrefix(w, "kl")]; ok {
			sure := 0.96
			return reply{Messages: []bubble{{Text: said}}, Intent: "parcel", Confidence: &sure}
		}
	}
	for _, s := range subjects {
		if slices.ContainsFunc(words, func(w string) bool { return slices.Contains(s.words, w) }) {
			return s.reply()
		}
	}
	return reply{Messages: []bubble{{Text: "I did not understand that. I know our opening hours, orders and returns.", Choices: topics}}, Fallback: true}
}

func (s subject) reply() reply {
	return reply{Messages: []bubble{{Text: s.say, Choices: s.choices}}, Intent: s.intent, Confidence: &s.confidence}
}
