package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/pipeline"
)

// another is a bot with a name of its own, whose answers say so.
func another(name string) (*pipeline.Bot, *scripted) {
	s := newScripted()
	s.does(func(context.Context, adapters.Turn) (adapters.Answer, error) { return says(name + " here"), nil })
	return &pipeline.Bot{
		Name: name, Bot: s, Deadline: 20 * time.Second, Concurrency: 4,
		Breaker: pipeline.BreakerSettings{Failures: 1000, Window: time.Minute, OpenFor: time.Minute},
	}, s
}

// replaced puts a channel of the world's key with another bot in the place of its channels.
func (w *world) replaced(b *pipeline.Bot) {
	w.t.Helper()
	book, err := rulesOf(ctxT(w.t), w.store, w.tenant, nil, w.clock.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	tenant := &pipeline.Tenant{Handle: w.tenant, Rules: book, Queue: "support", Queues: map[string]bool{"support": true}, BareRequests: true}
	w.p.Replace([]*pipeline.Channel{{Key: "acme.web", Tenant: tenant, Bot: b, ReopenWithin: 30 * time.Minute}})
}

// A turn that runs ends with the bot it was put to; what waited behind it, and all that comes later, goes to the new one.
func TestReplaceLeavesRunningTurnsAlone(t *testing.T) {
	w := newWorld(t, setup{})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		<-release
		return echo(ctx, turn)
	})
	first := w.accept(text("v1", "1", "one"))
	<-w.bot.called
	second := w.accept(text("v1", "2", "two"))
	fresh, _ := another("fresh")
	w.replaced(fresh)
	third := w.ask(text("v2", "1", "three"))
	if !slices.Equal(texts(third), []string{"bot: fresh here"}) {
		t.Errorf("another customer got %q", texts(third))
	}
	close(release)
	for r, want := range map[*adapters.Receipt]string{&first: "bot: you said: one", &second: "bot: fresh here"} {
		out, err := w.edge.Outcome(ctxT(t), *r)
		if err != nil || !slices.Equal(texts(out), []string{want}) || out.Owner.Kind != message.OwnerBot {
			t.Errorf("got %q, %v, want %q", texts(out), err, want)
		}
	}
	if n := len(w.bot.turns()); n != 1 {
		t.Errorf("the old bot was called %d times", n)
	}
}

// Who stood in the line of a bot that is gone is not forgotten, although nothing becomes due: the clock stands still.
func TestReplaceServesTheLineOfABotThatIsGone(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Concurrency: 1}})
	still(w)
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		<-release
		return echo(ctx, turn)
	})
	first := w.accept(text("v1", "1", "one"))
	<-w.bot.called
	waits := w.accept(text("v2", "1", "two"))
	w.p.Sweep(ctxT(t)) // there is no place for it
	fresh, _ := another("fresh")
	w.replaced(fresh)
	out, err := w.edge.Outcome(ctxT(t), waits)
	if err != nil || !slices.Equal(texts(out), []string{"bot: fresh here"}) {
		t.Errorf("who waited got %q, %v", texts(out), err)
	}
	close(release)
	if out, err := w.edge.Outcome(ctxT(t), first); err != nil || !slices.Equal(texts(out), []string{"bot: you said: one"}) {
		t.Errorf("who was there first got %q, %v", texts(out), err)
	}
}

// A bot that stays keeps its limit: what runs counts on.
func TestReplaceKeepsABotThatStays(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Concurrency: 1}})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		if turn.Messages[0].Text == "one" {
			<-release
		}
		return echo(ctx, turn)
	})
	first := w.accept(text("v1", "1", "one"))
	<-w.bot.called
	w.replaced(w.ladder)
	waits := w.accept(text("v2", "1", "two"))
	w.p.Sweep(ctxT(t))
	if n := len(w.bot.turns()); n != 1 {
		t.Fatalf("%d calls at once, the limit is 1", n)
	}
	close(release)
	for _, r := range []adapters.Receipt{first, waits} {
		if out, err := w.edge.Outcome(ctxT(t), r); err != nil || len(out.Messages) != 1 {
			t.Errorf("got %q, %v", texts(out), err)
		}
	}
}

// A channel that is gone lets its customers come to an end.
func TestReplaceWithoutAChannel(t *testing.T) {
	w := newWorld(t, setup{})
	w.p.Replace(nil)
	if _, err := w.p.Edge("acme.web"); err == nil {
		t.Error("the channel is still there")
	}
	if out := w.ask(text("v1", "1", "one")); !slices.Equal(texts(out), []string{"bot: you said: one"}) {
		t.Errorf("got %q", texts(out))
	}
}

// What was counted for a tenant is not forgotten by a change of its settings.
func TestReplaceKeepsWhatWasCounted(t *testing.T) {
	limits := pipeline.Limits{VisitorPerMinute: 1, BotCallsPerDay: 1}
	w := newWorld(t, setup{limits: limits})
	still(w)
	w.ask(text("v1", "1", "one"))
	book, err := rulesOf(ctxT(t), w.store, w.tenant, nil, w.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	tenant := &pipeline.Tenant{Handle: w.tenant, Rules: book, Queue: "support", Queues: map[string]bool{"support": true}, Limits: limits}
	w.p.Replace([]*pipeline.Channel{{Key: "acme.web", Tenant: tenant, Bot: w.ladder, ReopenWithin: 30 * time.Minute}})
	if out := w.ask(text("v2", "1", "two")); out.Owner.Kind != message.OwnerQueued {
		t.Errorf("a second call on a budget of one: %q", texts(out))
	}
	for i := 2; ; i++ {
		if _, err := w.edge.Accept(ctxT(t), text("v1", key(i), "more")); err != nil {
			if i != 11 { // the burst is ten
				t.Errorf("message %d was the first to be refused", i)
			}
			return
		}
	}
}
