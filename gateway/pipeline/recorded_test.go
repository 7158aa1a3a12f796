package pipeline_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/exchange"
	"turnout/rules"
)

const recordedRules = `
rules:
  - {id: pain, why: w, locked: true, when: 'phrase("chest pain")', then: {handoff: {queue: emergency}, must_reach_human: true}}
  - {id: idle-desk, why: w, when: 'queues.support.waiting == 0 && queues.support.online == 0', then: {tags: [alone]}}
  - {id: never-busy, why: w, mode: shadow, when: 'queues.support.waiting == 0 && turns > 1', then: {tags: [never]}}
  - {id: busy, why: w, when: 'queues.support.waiting > 3', then: {tags: [busy]}}
  - {id: second, why: w, when: 'turns == 2 && "alone" in tags && profile.level == "2fa"', then: {tags: [second]}}
  - {id: breaks, why: w, when: 'tags[0] == "nobody" || tags[7] == "x"', then: {tags: [never]}}
  - {id: promise, why: w, on: answer, when: 'phrase(bot.text, "guarantee") && bot.parts == 2', then: {replace: {en: no}}}
  - {id: unsure, why: w, on: answer, when: 'bot.confidence < 0.3 && bot.intent == "guess"', then: {handoff: {queue: support}}}
  - {id: passed, why: w, on: answer, when: 'bot.confidence > 0.8 && handoffs == 0 && minutes_open >= 0', then: {tags: [sure]}}
`

// TestRecorded holds that the rules come to the same verdicts on what the log has of an exchange as they did then.
func TestRecorded(t *testing.T) {
	w := newWorld(t, setup{rules: recordedRules})
	confidence := 0.9
	w.bot.does(func(_ context.Context, turn adapters.Turn) (adapters.Answer, error) {
		a := says("you said: " + turn.Messages[0].Text)
		switch {
		case strings.Contains(turn.Messages[0].Text, "promise"):
			a = says("yes")
			a.Parts = append(a.Parts, message.Part{Text: "we guarantee it"})
		case strings.Contains(turn.Messages[0].Text, "guess"):
			low := 0.2
			a.Confidence, a.Intent = &low, "guess"
		default:
			a.Confidence = &confidence
		}
		return a, nil
	})
	ask := func(id, said string, pr *message.Profile) {
		in := text("v1", id, said)
		in.Profile = pr
		w.ask(in)
	}
	ask("1", "hello there my friend", nil)
	ask("2", "and now with a second factor", &message.Profile{Subject: "u1", Level: "2fa"})
	ask("3", "do you promise", nil)
	ask("4", "have a guess", nil)
	ask("5", "and I have chest pain", nil)

	found, err := w.store.Find(ctxT(t), w.tenant, message.Address{Channel: "acme.web", Address: "v1"}, nil)
	if err != nil || found.Snapshot == nil {
		t.Fatal("no conversation", err)
	}
	events := w.log(found.Snapshot.Ref.ID)
	recorded, err := exchange.Read(events)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load([]rules.Source{{Name: "rules.yaml", Data: []byte(recordedRules)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := disagree(set, recorded); len(recorded) != 9 || len(got) > 0 {
		t.Errorf("%d judgements, want 9; on these the rules disagree with the log: %v", len(recorded), got)
	}
	seen := map[string]bool{}
	for _, r := range recorded {
		matched, failed := r.Matched()
		for _, id := range slices.Concat(matched, failed) {
			seen[id] = true
		}
	}
	for _, id := range []string{"pain", "idle-desk", "never-busy", "second", "breaks", "promise", "unsure", "passed"} {
		if !seen[id] {
			t.Errorf("rule %s was never recorded: the test proves too little", id)
		}
	}
	// The control: without the inputs that are stored with the decisions, the rules come to something else.
	for i := range recorded {
		recorded[i].Exchange.Queues = nil
	}
	if len(disagree(set, recorded)) == 0 {
		t.Error("the figures of the queues are not needed: the test proves too little")
	}
}

func disagree(set *rules.Set, recorded []exchange.Recorded) (seqs []uint64) {
	for _, r := range recorded {
		v := r.Eval(set)
		var matched, failed []string
		for _, m := range v.Matched {
			matched = append(matched, m.Rule)
		}
		for _, f := range v.Failed {
			failed = append(failed, f.Rule)
		}
		was, broke := r.Matched()
		for _, list := range []*[]string{&matched, &was, &failed, &broke} {
			slices.Sort(*list)
		}
		if !slices.Equal(matched, was) || !slices.Equal(failed, broke) {
			seqs = append(seqs, r.Seq)
		}
	}
	return seqs
}
