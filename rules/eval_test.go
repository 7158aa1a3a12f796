package rules_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/message"
	"turnout/rules"
	"turnout/rules/signal"
)

func ptr[T any](v T) *T { return &v }

// full is an exchange in which nothing is absent.
func full() *rules.Exchange {
	now := time.Date(2026, 3, 8, 14, 30, 0, 0, time.UTC) // a Sunday
	return &rules.Exchange{
		Phase: rules.Answer,
		Message: message.Inbound{
			From: message.Address{Channel: "acme.web"}, Kind: message.Action, Text: "Where is my Refund?", Quoted: "old words",
			Choice: &message.Choice{ID: "refund"}, Attachments: []message.Attachment{{Type: "image/png"}, {Type: "text/plain"}},
		},
		Lang:    "en",
		Scores:  signal.Scores{HumanRequest: 0.4, Frustration: 0.6, BotFallback: 0.7},
		Bot:     &rules.BotView{Text: "We guarantee a refund.", Confidence: ptr(0.35), Intent: "refund", Fallback: ptr(true), Sources: 2, Parts: 1},
		Profile: &message.Profile{Subject: "s1", Name: "Ada", Email: "ada@example.com", Phone: "+4930", Level: "2fa", Fields: map[string]any{"plan": "gold", "balance": 1200.0, "vip": true}},
		Account: &message.Account{Name: "A. Lovelace", Fields: map[string]any{"open": 2.0}, Tickets: make([]message.Ticket, 3)},
		Turns:   3, Returns: 1, Handoffs: 2, OpenedAt: now.Add(-90 * time.Second), Now: now,
		Queues: map[string]rules.QueueView{"sales": {Waiting: 4, Online: 2}},
		Tags:   []string{"vip", "beta"},
	}
}

// bare is an answer exchange in which everything that may be absent is.
func bare() *rules.Exchange {
	return &rules.Exchange{Phase: rules.Answer, Message: message.Inbound{Kind: message.Text, Text: "hi"}, Bot: &rules.BotView{Text: "Hello."}}
}

func quote(when string) string { return "'" + strings.ReplaceAll(when, "'", "''") + "'" }

func answerRule(when string) string {
	return "rules:\n  - id: r\n    why: w\n    on: answer\n    when: " + quote(when) + "\n    then: {tags: [x]}\n"
}

func matches(t *testing.T, when string, x *rules.Exchange) bool {
	t.Helper()
	s, err := rules.Load([]rules.Source{{Name: "r", Data: []byte(answerRule(when))}})
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return false
	}
	v := s.Eval(x)
	if len(v.Failed) > 0 {
		t.Errorf("%s: failed: %+v", when, v.Failed)
	}
	return len(v.Matched) == 1
}

func TestNames(t *testing.T) {
	for when, want := range map[string]bool{
		`text == "Where is my Refund?"`:                                true,
		`text startsWith "Where" && text endsWith "?"`:                 true,
		`text contains "refund"`:                                       false,
		`lower(text) contains "refund"`:                                true,
		`text matches "(?i)refund\\?$"`:                                true,
		`quoted == "old words"`:                                        true,
		`kind == "action" && choice == "refund"`:                       true,
		`channel in ["acme.web", "acme.sms"]`:                          true,
		`channel not in ["acme.web", "acme.sms"]`:                      false,
		`lang != "en"`:                                                 false,
		`attachments.count == 2`:                                       true,
		`any(attachments.types, # startsWith "image/")`:                true,
		`"vip" in tags && !("gone" in tags)`:                           true,
		`signal.frustration >= 0.6 && signal.human_request < 0.5`:      true,
		`signal.bot_fallback > 0.5`:                                    true,
		`bot.confidence < 0.4 && bot.fallback && !bot.end`:             true,
		`0.4 > bot.confidence`:                                         true,
		`bot.sources == 2 and bot.parts != 2 and not bot.handoff`:      true,
		`profile.level == "2fa" && profile.email endsWith ".com"`:      true,
		`profile.fields.plan == "gold" && profile.fields.vip`:          true,
		`profile.fields["balance"] > 1000`:                             true,
		`profile.fields.plan in ["gold", "silver"]`:                    true,
		`turns > 2 && returns >= 1 && handoffs == 2`:                   true,
		`minutes_open > 1 && minutes_open < 2`:                         true,
		`now.hour == 14 && now.minute == 30 && now.weekday == 7`:       true,
		`queues.sales.waiting > 3 && queues["sales"].online == 2`:      true,
		`phrase("my refund")`:                                          true,
		`phrase("REFUND", "money")`:                                    true,
		`phrase("refunds")`:                                            false,
		`phrase("guarantee")`:                                          false,
		`phrase(bot.text, "guarantee") && phrase(quoted, "OLD words")`: true,
		`phrase("money") ? turns > 9 : turns < 9`:                      true,
		`bot.confidence * 2 < 0.8`:                                     true,
		`len(text) > 5 && len(profile.name) == 3`:                      true,
		`account.known && account.tickets == 3 && account.name startsWith "A." && account.fields.open + 1 == 3`: true,
		`turns == 3.0 && turns > -1`: true,
		`true`:                       true,
	} {
		if got := matches(t, when, full()); got != want {
			t.Errorf("%s = %v, want %v", when, got, want)
		}
	}
}

// TestAbsent holds the one rule about absent values: whatever reads one is false, also when it says "not equal".
func TestAbsent(t *testing.T) {
	absent := []string{"lang", "choice", "bot.confidence", "bot.intent", "bot.fallback", "profile", "profile.subject", "profile.name",
		"profile.email", "profile.phone", "profile.level", "profile.fields.plan", "queues.sales", "queues.sales.waiting",
		"account", "account.known", "account.name", "account.tickets", "account.fields.open"}
	for _, name := range absent {
		if matches(t, "has("+name+")", bare()) || !matches(t, "!has("+name+")", bare()) {
			t.Errorf("has(%s) on an exchange without it", name)
		}
		if !matches(t, "has("+name+")", full()) {
			t.Errorf("has(%s) on an exchange with it", name)
		}
	}
	for _, when := range []string{
		`bot.confidence < 0.4`, `bot.confidence > 0.4`, `bot.confidence != 0.4`, `bot.confidence == 0.0`, `0.4 > bot.confidence`,
		`bot.confidence <= 1.0`, `bot.confidence * 2 < 1`, `abs(bot.confidence) < 1`, `bot.fallback`, `bot.fallback == false`, `bot.fallback != true`,
		`bot.intent != "refund"`, `bot.intent == ""`, `bot.intent not in ["a"]`, `bot.intent in ["a", ""]`, `not (bot.intent in ["x"]) && has(bot.intent)`,
		`profile.email != "x"`, `profile.name == ""`, `len(profile.name) == 0`, `profile.name contains ""`, `profile.name matches "^$"`,
		`profile.fields.plan != "gold"`, `profile.fields.plan == ""`, `profile.fields.balance < 10`, `profile.fields.vip`, `profile.fields.plan == profile.fields.other`,
		`lang != "en"`, `choice != "x"`, `queues.sales.waiting < 5`, `queues.sales.waiting == 0`, `queues.gone.online != 3`,
		`any(tags, # == profile.name) || none(tags, # == profile.name)`, `(bot.confidence < 0.4 ? 1 : 1) == 1`, `turns > 0 && bot.confidence < 1.0`,
		`[bot.confidence][0] < 2`,
	} {
		if matches(t, when, bare()) {
			t.Errorf("%s is true although it reads something absent", when)
		}
	}
	// A negation stands outside the comparison, so it turns the false around.
	for _, when := range []string{`!(bot.confidence < 0.4)`, `!bot.fallback`, `not (profile.email == "x")`, `has(bot.confidence) ? false : true`, `bot.fallback ? false : true`} {
		if !matches(t, when, bare()) {
			t.Errorf("%s is false", when)
		}
	}
	if matches(t, `!(bot.confidence < 0.4)`, full()) {
		t.Error("a negation of a true comparison is true")
	}
	noBot := bare()
	noBot.Bot = nil
	for _, when := range []string{`bot.text == ""`, `bot.parts == 0`, `bot.end == false`, `phrase(bot.text, "hello")`, `has(bot)`} {
		if matches(t, when, noBot) {
			t.Errorf("%s is true without a bot's answer", when)
		}
	}
}

const orderRules = `
rules:
  - {id: low, why: low, rank: 1, when: turns > 0, then: {handoff: {queue: q1}, say: {en: low}, tags: [a, b], notify: [n]}}
  - {id: high, why: high, rank: 5, when: turns > 0, then: {handoff: {queue: q2, priority: high, skills: [s]}, tags: [b, c]}}
  - {id: shadow, why: shadow, mode: shadow, rank: 9, when: turns > 0, then: {handoff: {queue: q3}, must_reach_human: true, tags: [z]}}
  - {id: off, why: off, mode: off, rank: 9, when: turns > 0, then: {handoff: {queue: q4}}}
  - {id: locked, why: locked, locked: true, rank: -3, when: turns > 1, then: {must_reach_human: true, say: {en: locked, de: gesperrt}}}
  - {id: also-low, why: w, rank: 1, when: turns > 0, then: {say: {en: also}}}
`

func TestOrder(t *testing.T) {
	s := loadText(t, orderRules)
	got := s.Eval(&rules.Exchange{Turns: 2})
	want := rules.Verdict{
		Handoff:        &rules.Handoff{Rule: "high", Queue: "q2", Priority: 7, Skills: []string{"s"}, Reason: "high"},
		MustReachHuman: true,
		Say:            &rules.Saying{Rule: "locked", Texts: map[string]string{"en": "locked", "de": "gesperrt"}},
		Tags:           []string{"b", "c", "a"}, Notify: []string{"n"},
		Matched: []rules.Match{{Rule: "locked", Locked: true}, {Rule: "shadow", Mode: rules.Shadow}, {Rule: "high"}, {Rule: "low"}, {Rule: "also-low"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict differs (-want +got):\n%s", diff)
	}
	if got := s.Eval(&rules.Exchange{Turns: 0}); !cmp.Equal(got, rules.Verdict{}) {
		t.Errorf("verdict of nothing: %+v", got)
	}
	if got := s.Eval(&rules.Exchange{Phase: rules.Answer, Turns: 2}); !cmp.Equal(got, rules.Verdict{}) {
		t.Errorf("inbound rules judged an answer: %+v", got)
	}
}

func TestFilesAreOrderedByName(t *testing.T) {
	file := func(name, queue string) rules.Source {
		return rules.Source{Name: name, Data: []byte("rules: [{id: " + queue + ", why: w, when: turns > 0, then: {handoff: {queue: " + queue + "}}}]")}
	}
	s := mustLoad(t, file("20-b.yaml", "second"), file("10-a.yaml", "first"))
	if got := s.Eval(&rules.Exchange{Turns: 1}).Handoff.Queue; got != "first" {
		t.Errorf("handoff to %s, want first", got)
	}
}

func TestHandoffSuppressesReplace(t *testing.T) {
	s := loadText(t, `
rules:
  - {id: polish, why: w, on: answer, rank: 1, when: 'phrase(bot.text, "guarantee")', then: {replace: {en: better}}}
  - {id: hand, why: w, on: answer, when: bot.confidence < 0.2, then: {handoff: {queue: q}}}
`)
	x := full()
	if v := s.Eval(x); v.Replace == nil || v.Handoff != nil {
		t.Errorf("want a replacement only: %+v", v)
	}
	x.Bot.Confidence = ptr(0.1)
	if v := s.Eval(x); v.Replace != nil || v.Handoff == nil {
		t.Errorf("want a handoff only: %+v", v)
	}
}

func TestFailingRules(t *testing.T) {
	s := loadText(t, `
rules:
  - {id: ordinary, why: w, rank: 3, when: 'tags[9] == "x"', then: {handoff: {queue: q1}}}
  - {id: shadowed, why: w, locked: true, mode: shadow, rank: 9, when: 'tags[9] == "x"', then: {handoff: {queue: q2}}}
  - {id: negated, why: w, rank: 2, when: '!(tags[9] == "x")', then: {tags: [never]}}
  - {id: tagger, why: stays safe, locked: true, when: 'tags[9] == "x"', then: {tags: [y]}}
  - {id: sender, why: w, locked: true, when: 'tags[9] == "x"', then: {must_reach_human: true, handoff: {queue: q3}}}
`)
	got := s.Eval(&rules.Exchange{})
	want := rules.Verdict{Handoff: &rules.Handoff{Rule: "tagger", Priority: 5, Reason: "stays safe"}, MustReachHuman: true}
	for _, id := range []string{"shadowed", "tagger", "sender", "ordinary", "negated"} {
		want.Failed = append(want.Failed, rules.Failure{Rule: id, Reason: "the condition could not be evaluated"})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdict differs (-want +got):\n%s", diff)
	}
}

func TestLongText(t *testing.T) {
	s := loadText(t, `
rules:
  - {id: ordinary, why: w, when: 'phrase("chest pain")', then: {tags: [o]}}
  - {id: locked, why: w, locked: true, when: 'phrase("chest pain") && text matches "(?i)help"', then: {tags: [l]}}
`)
	filler := strings.Repeat("lorem ipsum ", 1000)
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"help, chest pain " + filler, []string{"l", "o"}},
		{filler + "help, chest pain", []string{"l"}},
		{"Help! " + filler + filler + "I have chest pain", []string{"l"}},
		{"chest pain " + filler + "help", []string{"l", "o"}},
		{filler, nil},
		{strings.Repeat("é", 9000) + " help chest pain", []string{"l"}},
	} {
		if got := s.Eval(&rules.Exchange{Message: message.Inbound{Text: tc.text}}).Tags; !cmp.Equal(got, tc.want) {
			t.Errorf("%.20q…: tags %v, want %v", tc.text, got, tc.want)
		}
	}
}

func TestSayingFor(t *testing.T) {
	s := rules.Saying{Texts: map[string]string{"en": "hello", "pt-br": "oi", "pt": "olá"}}
	for lang, want := range map[string]string{"pt-BR": "oi pt-br", "pt-PT": "olá pt", "fr": "hello en", "": "hello en", "EN-us": "hello en"} {
		text, in := s.For(lang)
		if got := text + " " + in; got != want {
			t.Errorf("For(%q) = %q, want %q", lang, got, want)
		}
	}
	other := rules.Saying{Texts: map[string]string{"sv": "hej", "de": "hallo"}}
	if text, in := other.For("fr"); text != "hallo" || in != "de" {
		t.Errorf("For without English = %q in %q", text, in)
	}
}

func TestEvalConcurrently(t *testing.T) {
	s := loadText(t, orderRules+answerRule(`phrase(bot.text, "guarantee") && any(tags, # == "vip")`)[len("rules:\n"):])
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				x := full()
				if i%2 == 0 {
					x.Bot.Text = "nothing"
				}
				if got, want := len(s.Eval(x).Matched), i%2; got != want {
					t.Errorf("%d matches, want %d", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestNothingMatchedDoesNotAllocate allows the folded copy of the text and nothing else. Under the race detector, which
// empties pools at random, it may find more.
func TestNothingMatchedDoesNotAllocate(t *testing.T) {
	s := loadText(t, mixed(100))
	x := full()
	x.Phase = rules.Inbound
	x.Message.Text = "where is my order, it should have been here on monday"
	s.Eval(x)
	if n := testing.AllocsPerRun(100, func() { s.Eval(x) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// mixed is a file of n rules: a quarter phrases, a fifth patterns, a fifth signal thresholds, and so on.
func mixed(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		when := ""
		switch k := i % 20; {
		case k < 5:
			when = fmt.Sprintf(`phrase("topic %d", "subject%d word")`, i, i)
		case k < 9:
			when = fmt.Sprintf(`text matches "(?i)\\bcase-%d[0-9]*\\b"`, i)
		case k < 13:
			when = fmt.Sprintf(`signal.frustration > 0.%d`, 95+i%5)
		case k < 16:
			when = fmt.Sprintf(`profile.fields.segment == "s%d" && lang == "en"`, i)
		case k < 18:
			when = fmt.Sprintf(`handoffs > %d`, 3+i%50)
		default:
			when = fmt.Sprintf(`!(lang == "en") && turns != %d`, i)
		}
		fmt.Fprintf(&b, "  - {id: r%d, why: w, when: '%s', then: {tags: [t%d]}}\n", i, when, i)
	}
	return b.String()
}

func BenchmarkEval(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		s := loadText(b, mixed(n))
		x := full()
		x.Phase = rules.Inbound
		x.Message.Text = "Hello, I ordered a lamp two weeks ago and it has still not arrived. Could you please look into it and tell me where the parcel is right now? Thank you very much in advance."
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Eval(x)
			}
		})
		hit := full()
		hit.Phase, hit.Lang = rules.Inbound, "de"
		hit.Scores.Frustration = 0.99
		hit.Message.Text = x.Message.Text + " topic 0, case-5, subject20 word"
		b.Run(fmt.Sprintf("%d-hits", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Eval(hit)
			}
		})
	}
}
