package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/pipeline"
)

// refusal hands a message in that must be refused, and returns for how long.
func (w *world) refusal(in message.Inbound) time.Duration {
	w.t.Helper()
	_, err := w.edge.Accept(ctxT(w.t), in)
	var refused *adapters.RefusedError
	if !errors.As(err, &refused) || refused.Code != "rate_limited" || refused.RetryAfter <= 0 {
		w.t.Fatalf("accept %s: %v, want rate_limited and when to come again", in.ID, err)
	}
	return refused.RetryAfter
}

// still makes the clock of a world stand, so that buckets fill when the test says so. It returns what moves it.
func still(w *world) func(time.Duration) {
	w.clock.mu.Lock()
	w.clock.still = time.Now()
	w.clock.mu.Unlock()
	return w.clock.Advance
}

func human(from, id string) message.Inbound {
	return message.Inbound{ID: id, From: visitor(from), Kind: message.Human}
}

func TestAVisitorIsLimited(t *testing.T) {
	w := newWorld(t, setup{limits: pipeline.Limits{VisitorPerMinute: 12}})
	advance := still(w)
	for i := range 12 {
		w.accept(text("v1", key(i), "hello"))
	}
	if wait := w.refusal(text("v1", "over", "hello")); wait > 5*time.Second {
		t.Errorf("come again in %v, at one in 5 s", wait)
	}
	if r := w.accept(text("v1", key(3), "hello")); !r.Dup {
		t.Error("a repeat was taken for a new message")
	}
	w.accept(text("v2", "a", "hello")) // another visitor is another bucket
	thread := text("v1", "thread", "hello")
	thread.From.Thread = "t1"
	w.refusal(thread) // and another thread is not
	advance(5 * time.Second)
	w.accept(text("v1", "over", "hello"))
	w.refusal(text("v1", "over again", "hello"))
}

func TestTheControlWithoutLimitsTakesEverything(t *testing.T) {
	w := newWorld(t, setup{})
	still(w)
	for i := range 100 {
		w.accept(text("v1", key(i), "hello"))
	}
}

func TestNoLimitKeepsACustomerFromAPerson(t *testing.T) {
	for name, limits := range map[string]pipeline.Limits{
		"visitor": {VisitorPerMinute: 10}, "tenant": {TenantPerMinute: 10},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{limits: limits})
			still(w)
			for i := range 10 {
				w.accept(text("v1", key(i), "hello"))
			}
			w.refusal(text("v1", "more", "and another thing"))
			if r := w.accept(text("v1", "word", "agent")); r.Owner.Kind != message.OwnerQueued {
				t.Fatalf("owner %+v", r.Owner)
			}
			w.refusal(text("v1", "after", "hello")) // those owned by people are limited, too
			for i := range 39 {
				w.accept(human("v1", "button-"+key(i)))
			}
			w.refusal(human("v1", "too often"))
		})
	}
}

func TestATenantIsLimited(t *testing.T) {
	w := newWorld(t, setup{limits: pipeline.Limits{VisitorPerMinute: 15, TenantPerMinute: 20}})
	advance := still(w)
	for i := range 20 {
		w.accept(text(fmt.Sprint("v", i), "a", "hello"))
	}
	for i := range 20 { // what the tenant's limit refuses costs the visitor nothing
		w.refusal(text("v0", "b", fmt.Sprint("hello", i)))
	}
	advance(3 * time.Second)
	w.accept(text("v0", "b", "hello"))
	w.refusal(text("v1", "b", "hello"))
}

// Over the day's budget the bot is not called: the turn goes to people with an honest word, and comes back with the next
// day's first call if nobody has touched it.
func TestABudgetOfBotCalls(t *testing.T) {
	w := newWorld(t, setup{limits: pipeline.Limits{BotCallsPerDay: 2}})
	advance := still(w)
	for i := range 2 {
		if out := w.ask(text("v1", key(i), "hello")); out.Owner.Kind != message.OwnerBot {
			t.Fatalf("turn %d: owner %+v", i, out.Owner)
		}
	}
	over := w.ask(text("v2", "a", "hello"))
	if over.Owner.Kind != message.OwnerQueued || len(over.Messages) != 1 || over.Messages[0].By != message.BySystem {
		t.Fatalf("owner %+v, said %q", over.Owner, texts(over))
	}
	var kinds []string
	for _, e := range w.log(over.Conversation) {
		if d, ok := e.Data.(*conversation.TurnBroken); ok {
			kinds = append(kinds, d.Kind)
		}
	}
	if !slices.Equal(kinds, []string{"budget"}) || len(w.bot.turns()) != 2 {
		t.Errorf("failures %v, %d calls", kinds, len(w.bot.turns()))
	}
	w.ask(text("v3", "a", "hello"))
	if n := w.logged("used up"); n != 1 {
		t.Errorf("the log says it %d times, want once", n)
	}
	advance(24 * time.Hour)
	if out := w.ask(text("v4", "a", "hello")); out.Owner.Kind != message.OwnerBot {
		t.Errorf("the next day: owner %+v", out.Owner)
	}
	w.until(over.Conversation, "it goes back to the bot", func(s *conversation.State) bool { return s.Owner.Kind == message.OwnerBot })
}

// A breaker that refuses a call leaves the budget as it is.
func TestABrokenBotCostsNoBudget(t *testing.T) {
	w := newWorld(t, setup{
		limits: pipeline.Limits{BotCallsPerDay: 2},
		bot:    &pipeline.Bot{Breaker: pipeline.BreakerSettings{Failures: 1, Window: time.Minute, OpenFor: time.Hour}},
	})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	})
	for i := range 5 {
		w.ask(text(fmt.Sprint("v", i), "a", "hello"))
	}
	if n := w.logged("used up"); n != 0 || len(w.bot.turns()) != 1 {
		t.Errorf("%d calls, and the budget of 2 is used up", len(w.bot.turns()))
	}
}
