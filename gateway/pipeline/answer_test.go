package pipeline_test

import (
	"context"
	"slices"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
)

const sayAndTell = `
rules:
  - id: card
    why: Whoever speaks of a card is told what not to write, and the fraud desk hears of it.
    on: answer
    when: phrase("card")
    then: {say: {en: "Never write your PIN here."}, notify: [fraud]}
`

// A rule's sentence is said once, also when the bot itself asks for a person.
func TestARuleSpeaksOnceWhenTheBotAsksForAPerson(t *testing.T) {
	w := newWorld(t, setup{rules: sayAndTell})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		a := says("One moment.")
		a.Handoff = &adapters.HandoffRequest{Reason: "card"}
		return a, nil
	})
	out := w.ask(text("v1", "a", "block my card"))
	if got := texts(out); !slices.Equal(got, []string{"bot: One moment.", "system: Never write your PIN here."}) || out.Owner.Kind != message.OwnerQueued {
		t.Errorf("said %q, owner %+v", got, out.Owner)
	}
}

// An answer rule may have somebody told like one that looks at what comes in.
func TestAnAnswerRuleHasSomebodyTold(t *testing.T) {
	w := newWorld(t, setup{rules: sayAndTell})
	out := w.ask(text("v1", "a", "my card"))
	if got := texts(out); !slices.Equal(got, []string{"bot: you said: my card", "system: Never write your PIN here."}) {
		t.Errorf("said %q", got)
	}
	select {
	case n := <-w.notes:
		if n.Rule != "card" || !slices.Equal(n.Who, []string{"fraud"}) || n.Ref.ID != out.Conversation {
			t.Errorf("notice %+v", n)
		}
	case <-ctxT(t).Done():
		t.Error("nobody was told")
	}
}
