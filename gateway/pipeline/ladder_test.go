package pipeline_test

import (
	"context"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/pipeline"
)

// What was set aside only because the bot was down and too many waited goes back like what waits in the queue.
func TestWhatWasSetAsideForABotThatWasDownGoesBack(t *testing.T) {
	w := newWorld(t, setup{
		captureOver: 1,
		bot:         &pipeline.Bot{Breaker: pipeline.BreakerSettings{Failures: 1, Window: time.Minute, OpenFor: time.Millisecond}},
	})
	asked := w.ask(text("v1", "a", "agent")).Conversation
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	})
	aside := w.ask(text("v2", "a", "hello"))
	if aside.Owner.Kind != message.OwnerCaptured {
		t.Fatalf("owner %+v", aside.Owner)
	}
	w.bot.does(echo)
	for i := 0; ; i++ { // until the breaker's delay is over
		if out := w.ask(text("next-"+key(i), "a", "hello")); out.Owner.Kind == message.OwnerBot {
			break
		}
	}
	w.until(aside.Conversation, "it goes back to the bot", func(s *conversation.State) bool { return s.Owner.Kind == message.OwnerBot })
	if s := w.state(asked); s.Owner.Kind != message.OwnerQueued {
		t.Errorf("what asked for a person has owner %+v", s.Owner)
	}
}

// A bot that is back does not take the customers of another that is still down, and what stands behind a full page of the
// queue goes back too.
func TestOnlyTheBotThatIsBackTakesItsConversationsBack(t *testing.T) {
	other := newScripted()
	down := func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	}
	other.does(down)
	w := newWorld(t, setup{
		bot: &pipeline.Bot{Breaker: pipeline.BreakerSettings{Failures: 1, Window: time.Minute, OpenFor: time.Millisecond}},
		second: &pipeline.Bot{
			Name: "other", Bot: other, Deadline: time.Second, Concurrency: 4,
			Breaker: pipeline.BreakerSettings{Failures: 1, Window: time.Minute, OpenFor: time.Hour},
		},
		page: 1,
	})
	w.bot.does(down)
	var mine []string
	for _, v := range []string{"v1", "v2", "v3"} {
		mine = append(mine, w.ask(text(v, "a", "hello")).Conversation)
	}
	edge, err := w.p.Edge("acme.second")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute) // behind the others in the queue
	r, err := edge.Accept(ctxT(t), text("v1", "a", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := edge.Outcome(ctxT(t), r)
	if err != nil || theirs.Owner.Kind != message.OwnerQueued {
		t.Fatalf("owner %+v, %v", theirs.Owner, err)
	}
	w.bot.does(echo)
	for i := 0; ; i++ { // until the breaker's delay is over
		if out := w.ask(text("next-"+key(i), "a", "hello")); out.Owner.Kind == message.OwnerBot {
			break
		}
	}
	for _, conv := range mine {
		w.until(conv, "it goes back to the bot", func(s *conversation.State) bool { return s.Owner.Kind == message.OwnerBot })
	}
	if s := w.state(theirs.Conversation); s.Owner.Kind != message.OwnerQueued {
		t.Errorf("the customer of the bot that is down has owner %+v", s.Owner)
	}
}
