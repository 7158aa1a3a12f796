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
