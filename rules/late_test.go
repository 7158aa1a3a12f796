package rules_test

import (
	"slices"
	"testing"

	"turnout/adapters/message"
	"turnout/rules"
)

const lateRules = `
rules:
  - {id: phrase, why: w, when: 'phrase("account", "account.known")', then: {tags: [phrase]}}
  - {id: vip, why: w, when: 'account.fields.plan == "gold" && phrase("cancel")', then: {tags: [vip], say: {en: Gold.}}}
  - {id: locked, why: w, locked: true, when: 'account.tickets >= 2', then: {handoff: {queue: q}}}
  - {id: unknown, why: w, when: '!account.known', then: {tags: [unknown]}}
  - {id: stranger, why: w, when: 'account.known == false', then: {tags: [stranger]}}
  - {id: named, why: w, mode: shadow, when: 'has(account.name)', then: {tags: [named]}}
  - {id: here, why: w, when: 'turns > 1 ? has(account) : len(text) > 100', then: {tags: [here]}}
  - {id: calculated, why: w, when: 'account.fields.balance + 1 > 10', then: {tags: [calculated]}}
  - {id: off, why: w, mode: off, when: 'account.known', then: {tags: [off]}}
  - {id: breaks, why: w, when: 'account.known && tags[3] == "x"', then: {tags: [breaks]}}
  - {id: answer, why: w, on: answer, when: 'account.known', then: {tags: [answer]}}
`

func lateSet(t *testing.T) *rules.Set {
	t.Helper()
	s, err := rules.Load([]rules.Source{{Name: "r", Data: []byte(lateRules)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLate: when the account comes late, only the inbound rules that read it are asked, and none acts a second time.
func TestLate(t *testing.T) {
	s := lateSet(t)
	want := []string{"locked", "vip", "unknown", "stranger", "named", "here", "calculated", "breaks"}
	if got := s.Late(); !slices.Equal(got, want) {
		t.Errorf("rules that read the account: %v, want %v", got, want)
	}
	x := &rules.Exchange{Message: message.Inbound{Kind: message.Text, Text: "cancel my account, account known"}, Turns: 2}
	ids := func(v rules.Verdict) (out []string) {
		for _, m := range v.Matched {
			out = append(out, m.Rule)
		}
		for _, f := range v.Failed {
			out = append(out, "failed "+f.Rule)
		}
		return out
	}
	f := func(name string, got rules.Verdict, want ...string) {
		t.Helper()
		if ids := ids(got); !slices.Equal(ids, want) {
			t.Errorf("%s: %v, want %v", name, ids, want)
		}
	}
	// As long as nobody has answered, nothing about the account holds, and its negation does: that is known at once.
	f("before it is known", s.Eval(x), "phrase", "unknown")
	x.Account = &message.Account{Name: "Eve", Tickets: make([]message.Ticket, 2), Fields: map[string]any{"plan": "gold", "balance": 12.0}}
	late := s.EvalLate(x, nil)
	f("when it is", late, "locked", "vip", "named", "here", "calculated", "failed breaks")
	if late.Handoff == nil || late.Say == nil || !slices.Equal(late.Tags, []string{"vip", "here", "calculated"}) {
		t.Errorf("the verdict is %+v", late)
	}
	again := s.EvalLate(x, []string{"vip", "locked", "breaks", "here"})
	f("without those that acted", again, "named", "calculated")
	if again.Handoff != nil || again.Say != nil || !slices.Equal(again.Tags, []string{"calculated"}) {
		t.Errorf("the verdict is %+v", again)
	}
	f("without one that is left out", s.Without("vip", "locked").EvalLate(x, nil), "locked", "named", "here", "calculated", "failed breaks")
	x.Account = &message.Account{Unknown: true}
	f("when the system knows no such customer", s.EvalLate(x, nil), "unknown", "stranger")
}
