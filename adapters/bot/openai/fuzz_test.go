package openai

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"turnout/adapters"
	"turnout/adapters/wire/openai"
)

// No form of the sentinel is left in what the customer reads, whatever the model makes of it.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"[[TALK_TO_HUMAN]]", "a [[talk_to_human: b]] c", "[[TALK_[[TALK_TO_HUMAN]]TO_HUMAN]]", "[TALK_TO_HUMAN", "<think>x</think>y", "[[T", "\\[\\[TALK\\_TO\\_HUMAN\\]\\]"} {
		f.Add(s, "stop")
	}
	f.Fuzz(func(t *testing.T, text, finish string) {
		a, err := answer(&openai.Reply{Text: text, Finish: finish})
		if err != nil {
			var failure *adapters.BotError
			if !errors.As(err, &failure) {
				t.Fatalf("%v is no BotError", err)
			}
			return
		}
		if len(a.Parts) == 0 && a.Handoff == nil {
			t.Fatalf("%q came to nothing", text)
		}
		for _, p := range a.Parts {
			if p.Empty() || !utf8.ValidString(p.Text) || strings.ContainsAny(p.Text, "\x00\r\x1b") || strings.HasPrefix(p.Text, agentMark) {
				t.Errorf("part %+v", p)
			}
			for _, form := range sentinels {
				if form.MatchString(p.Text) {
					t.Errorf("%q became %q, which has a sentinel", text, p.Text)
				}
			}
			if strings.HasSuffix(p.Text, "[[TALK_TO") {
				t.Errorf("%q became %q, which ends in a sentinel", text, p.Text)
			}
		}
	})
}
