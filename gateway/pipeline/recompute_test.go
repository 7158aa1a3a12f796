package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/gateway/replay"
	"turnout/rules"
	"turnout/rules/signal"
)

const recomputedRules = `
rules:
  - {id: pain, why: w, locked: true, when: 'phrase("chest pain")', then: {handoff: {queue: emergency, priority: urgent, skills: [clinical]}, must_reach_human: true, say: {en: A nurse reads this., de: Eine Schwester liest das.}, notify: [oncall]}}
  - {id: alone, why: w, when: 'queues.support.waiting == 0 && queues.support.online == 0', then: {tags: [alone]}}
  - {id: hours, why: w, when: 'phrase("opening hours")', then: {say: {en: From nine to five.}}}
  - {id: watched, why: w, mode: shadow, when: 'turns > 1', then: {tags: [never]}}
  - {id: breaks, why: w, when: 'tags[0] == "nobody" || tags[7] == "x"', then: {tags: [never]}}
  - {id: lost, why: w, when: 'phrase("fraud")', then: {handoff: {queue: nowhere}}}
  - {id: annoyed, why: w, when: 'signal.frustration > 0.6', then: {handoff: {queue: support, priority: high}}}
  - {id: vip, why: w, when: 'profile.level == "2fa" && now.hour >= 0', then: {tags: [vip]}}
  - {id: promise, why: w, on: answer, when: 'phrase(bot.text, "guarantee")', then: {replace: {en: I cannot promise that.}}}
  - {id: unsure, why: w, on: answer, when: 'bot.confidence < 0.3', then: {handoff: {queue: support}, say: {en: I am not sure.}}}
  - {id: billing, why: w, when: 'phrase("a guess") || phrase("shipping")', then: {bot: spare}}
  - {id: back, why: w, on: answer, when: 'phrase(bot.text, "well")', then: {bot: legacy}}
  - {id: more, why: w, on: answer, when: 'phrase(bot.text, "shipping") && minutes_open >= 0', then: {say: {en: Shipping is free.}, tags: [shipping]}}
`

// sayings are what customers and the bot of the test say.
var (
	customers = []string{
		"hello there my friend", "I have chest pain", "what are your opening hours", "this is fraud", "agent", "I want a human",
		"this is the worst service ever, you useless stupid bot!!!", "do you promise", "have a guess", "tell me of shipping",
		"give me to somebody else", "hello there my friend", "Guten Tag, ich habe eine Frage zu meiner Bestellung",
	}
	answers = map[string]func() adapters.Answer{
		"do you promise": func() adapters.Answer {
			a := says("well")
			a.Parts = append(a.Parts, message.Part{Text: "we guarantee it"})
			return a
		},
		"have a guess": func() adapters.Answer {
			low := 0.1
			a := says("no idea")
			a.Confidence = &low
			return a
		},
		"tell me of shipping": func() adapters.Answer { return says("shipping takes a day") },
		"give me to somebody else": func() adapters.Answer {
			a := says("one moment")
			a.Handoff = &adapters.HandoffRequest{Reason: "beyond me", Queue: "emergency"}
			return a
		},
		"I want a human": func() adapters.Answer {
			a := says("we guarantee you a human")
			a.Handoff = &adapters.HandoffRequest{Queue: "of the bot's own"}
			return a
		},
	}
)

// talked lets a customer and the bot talk at random and returns the conversation's log. People give it back every time.
func talked(t *testing.T, s setup, seed uint64, messages int) []conversation.Event {
	t.Helper()
	w := newWorld(t, s)
	w.bot.does(func(_ context.Context, turn adapters.Turn) (adapters.Answer, error) {
		if make := answers[turn.Messages[len(turn.Messages)-1].Text]; make != nil {
			return make(), nil
		}
		return says("you said: " + turn.Messages[0].Text), nil
	})
	rng := rand.New(rand.NewPCG(seed, 1))
	conv := ""
	for i := range messages {
		in := text("v1", fmt.Sprint(i), customers[rng.IntN(len(customers))])
		switch rng.IntN(6) {
		case 0:
			in.Profile = &message.Profile{Subject: "u1", Name: "Eve", Level: "2fa"}
		case 1:
			in.Kind, in.Text = message.Human, ""
		}
		conv = w.ask(in).Conversation
		if rng.IntN(3) == 0 {
			continue
		}
		if st := w.state(conv); st.Owner.Kind == message.OwnerQueued && st.Returns < 2 {
			if _, err := w.agent(conv, "ann", conversation.Claim{Name: "Ann"}, conversation.Release{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w.log(conv)
}

func lexical(t *testing.T) *signal.Lexical {
	t.Helper()
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// book gives one set for every version.
func book(t *testing.T, text string) replay.Rules {
	t.Helper()
	set, err := rules.Load([]rules.Source{{Name: "rules.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context, int) (*rules.Set, error) { return set, nil }
}

// recompute returns the checks that are not equal, and how many there are in all.
func recompute(t *testing.T, events []conversation.Event, d signal.Detector, r replay.Rules) (odd map[uint64]*replay.Check, all int) {
	t.Helper()
	checks, err := replay.Recompute(t.Context(), events, d, r)
	if err != nil {
		t.Fatal(err)
	}
	odd = map[uint64]*replay.Check{}
	for seq, c := range checks {
		if !c.Equal {
			odd[seq] = c
		}
	}
	return odd, len(checks)
}

// TestRecompute: whatever was decided comes out again from what the log holds, whatever a customer, a bot and the settings
// do; also after the log went through its stored form.
func TestRecompute(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(12) {
		events := stored(t, talked(t, setup{rules: recomputedRules, noBare: seed%3 == 0}, seed, 14))
		odd, all := recompute(t, events, lexical(t), book(t, recomputedRules))
		for seq, c := range odd {
			t.Errorf("seed %d, event %d: %s", seed, seq, c)
		}
		if all < 14 {
			t.Errorf("seed %d: only %d judgements", seed, all)
		}
		for _, e := range events {
			var raw json.RawMessage
			switch d := e.Data.(type) {
			case *conversation.Decision:
				seen[string(d.Phase)+" "+string(d.Kind)], seen[d.Rule] = true, true
				raw = d.Inputs
			case *conversation.Received:
				raw = d.Inputs
			}
			var in exchange.Inputs
			if raw != nil && json.Unmarshal(raw, &in) == nil && in.BareOff {
				seen["bare off"] = true
			}
		}
	}
	for _, what := range []string{
		"inbound handoff", "inbound say", "inbound tag", "answer pass", "answer replace", "answer handoff", "bare off",
		"pain", "hours", "lost", "annoyed", "promise", "unsure", conversation.ByButton, conversation.ByBareRequest, conversation.ByBotRequest,
	} {
		if !seen[what] {
			t.Errorf("%s did not happen: the test proves too little", what)
		}
	}
}

// stored is a log as it is read back.
func stored(t *testing.T, events []conversation.Event) []conversation.Event {
	t.Helper()
	out := make([]conversation.Event, len(events))
	for i := range events {
		b, err := events[i].Encode()
		if err == nil {
			out[i], err = conversation.Decode(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestRecomputeDiffers changes one thing of a log, of the rules or of the model: it is named, and without text.
func TestRecomputeDiffers(t *testing.T) {
	var logs [][]conversation.Event
	for seed := range uint64(12) {
		logs = append(logs, talked(t, setup{rules: recomputedRules}, seed, 14))
	}
	find := func(events []conversation.Event, ok func(*conversation.Decision) bool) *conversation.Decision {
		for _, e := range events {
			if d, is := e.Data.(*conversation.Decision); is && ok(d) {
				return d
			}
		}
		return new(conversation.Decision) // another log has one
	}
	rule := func(id string) func(*conversation.Decision) bool {
		return func(d *conversation.Decision) bool { return d.Rule == id }
	}
	any := func(d *conversation.Decision) bool { return d.Phase == conversation.Inbound && d.Inputs != nil }
	for name, test := range map[string]struct {
		change func([]conversation.Event)
		rules  [2]string // replaced
		want   string
	}{
		"a rule that matched less": {nil, [2]string{"opening hours", "closing hours"}, "the rule was hours, now ; matched was [alone hours], now [alone]"},
		"a rule that acts more":    {nil, [2]string{"id: watched, why: w, mode: shadow", "id: watched, why: w"}, "matched in the shadow was [watched], now []"},
		"another queue":            {nil, [2]string{"queue: emergency, priority", "queue: support, priority"}, "the queue was emergency, now support"},
		"another priority":         {nil, [2]string{"priority: urgent", "priority: low"}, "the priority was 9, now 3"},
		"another text":             {nil, [2]string{"From nine to five", "From ten to five"}, "what rule hours says is not what was said"},
		"another replacement":      {nil, [2]string{"I cannot promise", "I do not promise"}, "what rule promise says is not what was said"},
		"another reason":           {nil, [2]string{"{id: pain, why: w", "{id: pain, why: another"}, "the reason that the rule gives is another"},
		"a recorded score": {func(events []conversation.Event) {
			find(events, any).Scores.Frustration = 0.37
			for i := range events { // the message holds it too
				if m, ok := events[i].Data.(*conversation.Received); ok {
					m.Scores.Frustration = 0.37
				}
			}
		}, [2]string{}, "signal frustration was 0.37, now 0"},
		"a recorded rule": {func(events []conversation.Event) { find(events, rule("hours")).Rule = "pain" }, [2]string{}, "the rule was pain, now hours"},
		"a recorded kind": {func(events []conversation.Event) { find(events, rule("hours")).Kind = conversation.DecisionPass }, [2]string{},
			"the decision was pass, now say"},
		"a tag that nobody gave": {func(events []conversation.Event) { find(events, any).Tags = []string{"x"} }, [2]string{}, "tags was [x], now"},
		"inputs that are gone":   {func(events []conversation.Event) { find(events, any).Inputs = nil }, [2]string{}, "matched was [alone"},
		"a memory": {func(events []conversation.Event) {
			find(events, any).Memory.Trend++
			firstMessage(events).Memory.Trend++
		}, [2]string{},
			"what signals remember"},
		"another model": {func(events []conversation.Event) { find(events, any).Model = "beef" }, [2]string{}, "not recomputed: signals: they were computed by model beef"},
	} {
		text := recomputedRules
		if test.rules[0] != "" {
			if text = strings.ReplaceAll(text, test.rules[0], test.rules[1]); text == recomputedRules {
				t.Fatalf("%s: no %q in the rules", name, test.rules[0])
			}
		}
		var all []string
		for _, events := range logs {
			log := stored(t, events)
			if test.change != nil {
				test.change(log)
			}
			odd, _ := recompute(t, log, lexical(t), book(t, text))
			for _, c := range odd {
				all = append(all, c.String())
			}
		}
		joined := strings.Join(all, "\n")
		if !strings.Contains(joined, test.want) {
			t.Errorf("%s: %q, want %q", name, joined, test.want)
		}
		for _, said := range append(customers[:len(customers):len(customers)], "nurse", "Eve") {
			if said != "agent" && strings.Contains(joined, said) {
				t.Errorf("%s: it quotes %q: %s", name, said, joined)
			}
		}
	}
}

func firstMessage(events []conversation.Event) *conversation.Received {
	for i := range events {
		if m, ok := events[i].Data.(*conversation.Received); ok {
			return m
		}
	}
	return nil
}

// TestStoryHoldsNoText tells every kind of event, with text in every string that can hold some: none of it is in a story
// that was not asked for text, and all that was said is in one that was.
func TestStoryHoldsNoText(t *testing.T) {
	events := talked(t, setup{rules: recomputedRules}, 3, 20)
	lines, err := json.Marshal(replay.Story(events, false))
	if err != nil {
		t.Fatal(err)
	}
	told, err := json.Marshal(replay.Story(events, true))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		for _, said := range spoken(reflect.ValueOf(e.Data)) {
			quoted, err := json.Marshal(said)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(lines), string(quoted)) {
				t.Errorf("%s: %q is in the story", e.Type, said)
			}
			if !strings.Contains(string(told), string(quoted)) {
				t.Errorf("%s: %q is not in the story with text", e.Type, said)
			}
		}
	}
}

// spoken are the strings of a value under names that hold what somebody said.
func spoken(v reflect.Value) (list []string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			list = spoken(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			list = append(list, spoken(v.Index(i))...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			switch v.Type().Field(i).Name {
			case "Text", "Quoted", "Label", "Subject", "Email":
				if s := f.String(); s != "" {
					list = append(list, s)
				}
			default:
				if v.Type().Field(i).IsExported() {
					list = append(list, spoken(f)...)
				}
			}
		}
	}
	return list
}
