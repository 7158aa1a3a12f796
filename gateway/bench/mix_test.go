package bench

import (
	"strings"
	"testing"

	"turnout/adapters/message"
	"turnout/rules"
	"turnout/rules/signal"
)

// TestMix counts the kinds of rules: the shares are part of what the figures mean.
func TestMix(t *testing.T) {
	text := mixedRules()
	for name, want := range map[string]int{"phrase": 25, "pattern": 20, "signal": 20, "field": 15, "history": 10, "other": 10} {
		if n := strings.Count(text, "- id: "+name+"-"); n != want {
			t.Errorf("%d rules are of kind %s, want %d", n, name, want)
		}
	}
	if n := strings.Count(text, "on: answer"); n < 30 || n > 40 {
		t.Errorf("%d rules watch the answer, want about a third", n)
	}
	if set := loadMix(t); set.Len() != rulesInMix {
		t.Errorf("there are %d rules, want %d", set.Len(), rulesInMix)
	}
}

func loadMix(t *testing.T) *rules.Set {
	t.Helper()
	set, err := rules.Load([]rules.Source{{Name: "rules.yaml", Data: []byte(mixedRules())}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestMixStaysSilent puts conversations of the bench to the rules, with the signals that grow over a conversation.
func TestMixStaysSilent(t *testing.T) {
	set := loadMix(t)
	detector, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	confidence := 0.93
	for v := range 20 {
		var memory signal.Memory
		for n := range 100 {
			x := &rules.Exchange{
				Message: message.Inbound{Kind: message.Text, Text: string(appendText(nil, v, n)), From: message.Address{Channel: channelKey}},
				Turns:   n + 1,
			}
			x.Scores, memory = detector.Customer(x.Message.Text, "", memory)
			if verdict := set.Eval(x); verdict.Handoff != nil || len(verdict.Matched) > 0 || len(verdict.Failed) > 0 {
				t.Fatalf("visitor %d, turn %d: %+v with %+v", v, n, verdict, x.Scores)
			}
			x.Phase = rules.Answer
			x.Bot = &rules.BotView{Text: string(appendAnswer(nil, v, n)), Confidence: &confidence, Intent: "order_status", Parts: 1}
			var scores signal.Scores
			scores, memory = detector.Bot(x.Bot.Text, memory)
			x.Scores = x.Scores.Merge(scores)
			if verdict := set.Eval(x); verdict.Handoff != nil || len(verdict.Matched) > 0 || len(verdict.Failed) > 0 {
				t.Fatalf("visitor %d, turn %d, answer: %+v with %+v", v, n, verdict, x.Scores)
			}
		}
	}
}

// TestMixCanMatch is the control of the test above: the rules do match what they are made for.
func TestMixCanMatch(t *testing.T) {
	x := &rules.Exchange{Message: message.Inbound{Kind: message.Text, Text: "Cancel my account, and refund every mortgage!" + strings.Repeat(" Now.", 10)}}
	var ids []string
	for _, m := range loadMix(t).Eval(x).Matched {
		ids = append(ids, m.Rule)
	}
	if got := strings.Join(ids, " "); got != "phrase-0 pattern-1" {
		t.Errorf("matched %q, want phrase-0 and pattern-1", got)
	}
}
