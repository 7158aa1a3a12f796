package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/pipeline"
)

// named is another bot of the tenant; it says its name.
func named(name string) (*scripted, *pipeline.Bot) {
	b := newScripted()
	b.does(func(_ context.Context, t adapters.Turn) (adapters.Answer, error) {
		return says(name + ": " + t.Messages[0].Text), nil
	})
	return b, &pipeline.Bot{
		Name: name, Bot: b, Deadline: 20 * time.Second, Concurrency: 64,
		Breaker: pipeline.BreakerSettings{Failures: 1000, Window: time.Minute, OpenFor: time.Minute},
	}
}

// asked are the bots that turns were begun with, by the log.
func askedBots(events []conversation.Event) (names []string) {
	for _, e := range events {
		if b, ok := e.Data.(*conversation.TurnBegun); ok {
			names = append(names, b.Bot)
		}
	}
	return names
}

// A rule gives the conversation to another bot: the message that it matched goes there, and what follows, until another rule says
// otherwise. A new conversation begins with the channel's bot.
func TestARuleChoosesTheBot(t *testing.T) {
	_, billing := named("billing")
	_, lawyer := named("lawyer")
	w := newWorld(t, setup{others: []*pipeline.Bot{billing, lawyer}, rules: `
rules:
  - {id: invoices, why: w, when: 'phrase("invoice")', then: {bot: billing, tags: [money]}}
  - {id: law, why: w, on: answer, when: 'phrase(bot.text, "court")', then: {bot: lawyer}}
  - {id: nowhere, why: w, when: 'phrase("nowhere")', then: {bot: gone}}
`})
	for i, tt := range []struct{ text, want string }{
		{"hello", "bot: you said: hello"},
		{"my invoice", "bot: billing: my invoice"},
		{"thanks", "bot: billing: thanks"},
		{"see you in court", "bot: billing: see you in court"}, // the answer sends it on
		{"and now?", "bot: lawyer: and now?"},
		{"go nowhere", "bot: you said: go nowhere"}, // that bot is not there: the channel's answers
	} {
		if out := w.ask(text("v1", key(i), tt.text)); !slices.Equal(texts(out), []string{tt.want}) {
			t.Errorf("%s: %q, want %q", tt.text, texts(out), tt.want)
		}
	}
	conv := w.ask(text("v1", "last", "bye")).Conversation
	events := w.log(conv)
	if got, want := askedBots(events), []string{"legacy", "billing", "billing", "billing", "lawyer", "legacy", "legacy"}; !slices.Equal(got, want) {
		t.Errorf("the log says %q, want %q", got, want)
	}
	var routes []string
	for _, e := range events {
		if d, ok := e.Data.(*conversation.Decision); ok && d.Route != "" {
			routes = append(routes, string(d.Kind)+" "+string(d.Phase)+" "+d.Rule+" "+d.Route)
		}
	}
	if want := []string{"route inbound invoices billing", "route answer law lawyer", "route inbound nowhere gone"}; !slices.Equal(routes, want) {
		t.Errorf("decisions %q, want %q", routes, want)
	}
	if out := w.ask(text("v2", "a", "hello")); !slices.Equal(texts(out), []string{"bot: you said: hello"}) {
		t.Errorf("another customer: %q", texts(out))
	}
}

// The language of a conversation chooses the bot, a whole tag before its first part; a rule goes before it.
func TestTheLanguageChoosesTheBot(t *testing.T) {
	_, german := named("german")
	_, billing := named("billing")
	w := newWorld(t, setup{
		others:     []*pipeline.Bot{german, billing},
		byLanguage: map[string]*pipeline.Bot{"de": german},
		rules:      "rules:\n  - {id: invoices, why: w, when: 'phrase(\"Rechnung\")', then: {bot: billing}}\n",
	})
	const hello, question = "hello, I have a question about my order", "Guten Tag, ich habe eine Frage zu meiner Bestellung"
	if out := w.ask(text("v1", "a", hello)); !slices.Equal(texts(out), []string{"bot: you said: " + hello}) {
		t.Errorf("%q", texts(out))
	}
	if out := w.ask(text("v2", "a", question)); !slices.Equal(texts(out), []string{"bot: german: " + question}) {
		t.Errorf("%q", texts(out))
	}
	if out := w.ask(text("v2", "b", "die Rechnung bitte")); !slices.Equal(texts(out), []string{"bot: billing: die Rechnung bitte"}) {
		t.Errorf("%q", texts(out))
	}
}

// While a turn is under way a rule changes the bot of the next one only, and a turn that is taken again goes to the bot that it
// began with.
func TestARunningTurnKeepsItsBot(t *testing.T) {
	_, billing := named("billing")
	s := setup{others: []*pipeline.Bot{billing}, rules: "rules:\n  - {id: invoices, why: w, when: 'phrase(\"invoice\")', then: {bot: billing}}\n"}
	w := newWorld(t, s)
	w.bot.does(func(ctx context.Context, _ adapters.Turn) (adapters.Answer, error) {
		<-ctx.Done()
		return adapters.Answer{}, ctx.Err()
	})
	w.accept(text("v1", "a", "hello"))
	<-w.bot.called
	r := w.accept(text("v1", "b", "my invoice"))
	w.stop()
	w.bot.does(echo)
	w.start(s)
	if out, err := w.edge.Outcome(ctxT(t), r); err != nil || !slices.Contains(texts(out), "bot: billing: my invoice") {
		t.Errorf("%q, %v", texts(out), err)
	}
	if got, want := askedBots(w.log(r.Conversation)), []string{"legacy", "legacy", "billing"}; !slices.Equal(got, want) {
		t.Errorf("the log says %q, want %q", got, want)
	}
}

// A bot that a rule chose has breaker, alternate and way back of its own.
func TestAChosenBotThatFails(t *testing.T) {
	script, billing := named("billing")
	spareScript, spare := named("spare")
	billing.Alternate = spare
	w := newWorld(t, setup{others: []*pipeline.Bot{billing}, rules: "rules:\n  - {id: invoices, why: w, when: 'phrase(\"invoice\")', then: {bot: billing}}\n"})
	broken := func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	}
	script.does(broken)
	if out := w.ask(text("v1", "a", "my invoice")); !slices.Equal(texts(out), []string{"bot: spare: my invoice"}) {
		t.Errorf("%q", texts(out))
	}
	spareScript.does(broken)
	if out := w.ask(text("v1", "b", "again")); out.Owner.Kind != message.OwnerQueued {
		t.Errorf("owner %+v", out.Owner)
	}
	if len(w.bot.turns()) != 0 {
		t.Error("the channel's bot was asked")
	}
}
