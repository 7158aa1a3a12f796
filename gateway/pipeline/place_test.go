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

// Who was refused a place is next when one is free, whatever time it is then: the clock stands still here, so nothing
// becomes due by waiting.
func TestAFreePlaceGoesToWhoWaitsForIt(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Concurrency: 1}})
	still(w)
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
		if t.Messages[0].ID == "first" {
			<-release
		}
		return echo(ctx, t)
	})
	first := w.accept(text("v1", "first", "hello"))
	<-w.bot.called
	var waiting []adapters.Receipt
	for _, v := range []string{"v2", "v3", "v4"} {
		waiting = append(waiting, w.accept(text(v, "a", v)))
	}
	w.p.Sweep(ctxT(t)) // hands out all three; there is no place for them
	if n := len(w.bot.turns()); n != 1 {
		t.Fatalf("%d calls at once, the limit is 1", n)
	}
	close(release)
	for i, r := range append([]adapters.Receipt{first}, waiting...) {
		out, err := w.edge.Outcome(ctxT(t), r)
		if err != nil || len(out.Messages) != 1 || out.Owner.Kind != message.OwnerBot {
			t.Fatalf("number %d: %q, %v", i, texts(out), err)
		}
	}
	if w.bot.overlap {
		t.Error("two calls of one conversation ran at once")
	}
}

// A ladder may lead back to where it began. A turn that was left behind under a bot's former name is asked of the first.
func TestALadderThatLeadsBackEnds(t *testing.T) {
	other := newScripted()
	alt := &pipeline.Bot{Name: "other", Bot: other, Deadline: time.Second, Concurrency: 4, Breaker: pipeline.BreakerSettings{Failures: 5, Window: time.Minute, OpenFor: time.Minute}}
	b := &pipeline.Bot{Alternate: alt}
	alt.Alternate = b
	w := newWorld(t, setup{bot: b})
	w.bot.does(func(ctx context.Context, _ adapters.Turn) (adapters.Answer, error) {
		<-ctx.Done()
		return adapters.Answer{}, ctx.Err()
	})
	r := w.accept(text("v1", "a", "hello"))
	<-w.bot.called
	w.stop()
	w.bot.does(echo)
	b.Name = "renamed"
	w.start(setup{})
	out, err := w.edge.Outcome(ctxT(t), r)
	if err != nil || !slices.Equal(texts(out), []string{"bot: you said: hello"}) {
		t.Fatalf("%q, %v", texts(out), err)
	}
	if turns := w.bot.turns(); len(turns) != 2 || turns[0].ID != turns[1].ID {
		t.Errorf("calls %+v", turns)
	}
	if n := count[*conversation.TurnBegun](w.log(r.Conversation)); n != 2 {
		t.Errorf("%d calls in the log", n)
	}
}
