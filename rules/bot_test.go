package rules_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/message"
	"turnout/rules"
)

const chosen = `rules:
  - {id: watched, why: w, mode: shadow, when: 'true', then: {bot: nobody}}
  - {id: second, why: w, when: 'lang == "de"', then: {bot: german, tags: [de]}}
  - {id: first, why: w, rank: 5, when: 'phrase("invoice")', then: {bot: billing}}
  - {id: later, why: w, on: answer, when: 'bot.intent == "legal"', then: {bot: lawyer}}
`

// The first rule that names a bot chooses it, on either side of a turn; one that only watches does not.
func TestBotChoice(t *testing.T) {
	s, err := rules.Load([]rules.Source{{Name: "r.yaml", Data: []byte(chosen)}})
	if err != nil {
		t.Fatal(err)
	}
	say := func(text, lang string) *rules.Exchange {
		return &rules.Exchange{Message: message.Inbound{Kind: message.Text, Text: text}, Lang: lang}
	}
	answered := say("hi", "en")
	answered.Phase, answered.Bot = rules.Answer, &rules.BotView{Text: "x", Intent: "legal"}
	for name, tt := range map[string]struct {
		x    *rules.Exchange
		want *rules.BotChoice
	}{
		"none":               {say("hello", "en"), nil},
		"one":                {say("hallo", "de"), &rules.BotChoice{Rule: "second", Bot: "german"}},
		"the first of two":   {say("my invoice", "de"), &rules.BotChoice{Rule: "first", Bot: "billing"}},
		"after what it says": {answered, &rules.BotChoice{Rule: "later", Bot: "lawyer"}},
	} {
		if diff := cmp.Diff(tt.want, s.Eval(tt.x).Bot); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	var refs []string
	for _, r := range s.BotRefs() {
		refs = append(refs, r.Rule+" "+r.Bot)
	}
	slices.Sort(refs)
	if want := []string{"first billing", "later lawyer", "second german", "watched nobody"}; !slices.Equal(refs, want) {
		t.Errorf("refs %q, want %q", refs, want)
	}
	if r := s.BotRefs()[0]; r.Rule != "first" || r.File != "r.yaml" || r.Line != 4 || r.Column != 73 {
		t.Errorf("the first is at %s:%d:%d", r.File, r.Line, r.Column)
	}
	for then, says := range map[string]string{"{bot: [a]}": "bot must be a text", "{bot: Not_A!}": "is not a bot's name", "{bot: ''}": "bot is empty"} {
		_, err := rules.Load([]rules.Source{{Name: "r", Data: []byte("rules:\n  - {id: a, why: w, when: 'true', then: " + then + "}\n")}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", then, err, says)
		}
	}
}
