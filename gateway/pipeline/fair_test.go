package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fair"
	"turnout/gateway/pipeline"
	"turnout/gateway/store"
)

// neighbour adds a second tenant to the world's channels, with a bot of its own, and returns the edge of its channel.
func (w *world) neighbour(acme, other *pipeline.Tenant, b *pipeline.Bot) *pipeline.Edge {
	w.t.Helper()
	handle, err := store.NewTenant("other")
	if err != nil {
		w.t.Fatal(err)
	}
	for t, h := range map[*pipeline.Tenant]store.Tenant{acme: w.tenant, other: handle} {
		if t.Rules, err = rulesOf(ctxT(w.t), w.store, h, nil, w.clock.Now); err != nil {
			w.t.Fatal(err)
		}
		t.Handle, t.Queue, t.Queues, t.BareRequests = h, "support", map[string]bool{"support": true}, true
	}
	w.p.Replace([]*pipeline.Channel{
		{Key: "acme.web", Tenant: acme, Bot: w.ladder, ReopenWithin: 30 * time.Minute},
		{Key: "other.web", Tenant: other, Bot: b, ReopenWithin: 30 * time.Minute},
	})
	edge, err := w.p.Edge("other.web")
	if err != nil {
		w.t.Fatal(err)
	}
	return edge
}

// hang makes the world's bot hang until the returned function is called.
func (w *world) hang() (release func()) {
	held := make(chan struct{})
	w.bot.does(func(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
		select {
		case <-held:
		case <-ctx.Done():
		}
		return echo(ctx, t)
	})
	var done bool
	release = func() {
		if !done {
			done = true
			close(held)
		}
	}
	w.t.Cleanup(release)
	return release
}

// places are how those of a tenant stand.
func (w *world) places(tenant string) fair.Stats {
	w.t.Helper()
	_, all := w.p.Places()
	for _, s := range all {
		if s.Tenant == tenant {
			return s
		}
	}
	w.t.Fatalf("nothing is known of the places of %s", tenant)
	return fair.Stats{}
}

// A tenant whose bot hangs, and that has ten times as much waiting as the node has places, takes none of the other's.
func TestATenantWhoseBotHangsLeavesTheOtherItsPlaces(t *testing.T) {
	w := newWorld(t, setup{calls: 8})
	still(w)
	b, bot := another("quick")
	bot.does(echo)
	edge := w.neighbour(&pipeline.Tenant{}, &pipeline.Tenant{}, b)
	release := w.hang()
	var busy []adapters.Receipt
	for i := range 80 {
		busy = append(busy, w.accept(text(fmt.Sprint("v", i), "1", "hello"))) // accept waits for nothing
	}
	for range 4 {
		<-w.bot.called
	}
	if s := w.places("acme"); s.Running != 4 || s.Waiting != 76 || s.Most != 4 {
		t.Fatalf("%+v", s)
	}
	for i := range 20 {
		in := text(fmt.Sprint("q", i), "1", "hello")
		in.From.Channel = ""
		r, err := edge.Accept(ctxT(t), in)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := edge.Outcome(ctxT(t), r); err != nil || !slices.Equal(texts(out), []string{"bot: you said: hello"}) {
			t.Fatalf("%q, %v", texts(out), err)
		}
	}
	if s := w.places("other"); s.AtOnce != 20 || s.Waited != 0 {
		t.Errorf("the quiet tenant waited: %+v", s)
	}
	if n := len(w.bot.turns()); n != 4 {
		t.Errorf("%d calls of the bot that hangs", n)
	}
	release()
	for _, r := range busy {
		if out, err := w.edge.Outcome(ctxT(t), r); err != nil || len(out.Messages) != 1 {
			t.Fatalf("%q, %v", texts(out), err)
		}
	}
	if w.bot.overlap {
		t.Error("two calls of one conversation ran at once")
	}
}

// The place that becomes free is the quiet tenant's, not that of the backlog which has waited longer.
func TestAQuietTenantComesBeforeABacklog(t *testing.T) {
	w := newWorld(t, setup{calls: 3})
	still(w)
	b, bot := another("slow")
	edge := w.neighbour(&pipeline.Tenant{Share: fair.Share{Most: 3}}, &pipeline.Tenant{Share: fair.Share{Most: 3}}, b)
	step := make(chan struct{})
	order := make(chan string, 100)
	scripted := func(name string) func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
			order <- name
			select {
			case <-step:
			case <-ctx.Done():
			}
			return echo(ctx, turn)
		}
	}
	w.bot.does(scripted("busy"))
	bot.does(scripted("quiet"))
	for i := range 20 {
		w.accept(text(fmt.Sprint("v", i), "1", "hello"))
	}
	for range 3 {
		<-order
	}
	step <- struct{}{} // the backlog has begun to be served
	<-order
	accept := func(from string) {
		in := text(from, "1", "hello")
		if _, err := edge.Accept(ctxT(t), in); err != nil {
			t.Fatal(err)
		}
	}
	accept("q1") // goes beyond the node's bound: the tenant has no call under way
	if who := <-order; who != "quiet" {
		t.Fatalf("%s was called", who)
	}
	accept("q2")
	if s := w.places("other"); s.Waiting != 1 {
		t.Fatalf("%+v", s)
	}
	// Whichever calls end, with the second the node is below its bound, or the quiet tenant has no call any more.
	for range 2 {
		step <- struct{}{}
	}
	if who := <-order; who != "quiet" {
		t.Errorf("%s was called", who)
	}
	if s := w.places("other"); s.Waiting != 0 || s.Waited != 1 {
		t.Errorf("the quiet tenant waits behind the backlog: %+v", s)
	}
	close(step)
}

// A customer who waits for the bot and asks for a person is with people at once, and in no line any more.
func TestWhoAsksForAPersonWaitsForNoPlace(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Concurrency: 1}})
	still(w)
	w.hang()
	w.accept(text("v1", "1", "hello"))
	<-w.bot.called
	r := w.accept(text("v2", "1", "hello"))
	if s := w.places("acme"); s.Waiting != 1 {
		t.Fatalf("%+v", s)
	}
	again := w.accept(text("v2", "2", "agent"))
	if again.Owner.Kind != message.OwnerQueued || again.Conversation != r.Conversation {
		t.Errorf("%+v", again.Owner)
	}
	if s := w.places("acme"); s.Waiting != 0 {
		t.Errorf("it waits for the bot: %+v", s)
	}
	if n := len(w.bot.turns()); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// What is found due again and again while it waits is not looked at, and is called once.
func TestWhoWaitsIsNotTakenTwice(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Concurrency: 1}})
	release := w.hang()
	first := w.accept(text("v1", "1", "one"))
	<-w.bot.called
	second := w.accept(text("v2", "1", "two"))
	for range 3 {
		w.clock.Advance(6 * time.Second) // the store names it again
		w.p.Sweep(ctxT(t))
	}
	release()
	for _, r := range []adapters.Receipt{first, second} {
		if out, err := w.edge.Outcome(ctxT(t), r); err != nil || len(out.Messages) != 1 {
			t.Fatalf("%q, %v", texts(out), err)
		}
	}
	if n := len(w.bot.turns()); n != 2 {
		t.Errorf("%d calls", n)
	}
}

// The second attempt of a turn does not go to the end of the line, let alone to people, because others wait.
func TestAnotherAttemptKeepsItsPlace(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Concurrency: 1}})
	still(w)
	failed := false
	hold := make(chan struct{})
	w.bot.does(func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		if !failed {
			failed = true
			<-hold
			return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 503, Err: errBot}
		}
		return echo(ctx, turn)
	})
	receipts := []adapters.Receipt{w.accept(text("v1", "1", "one"))}
	<-w.bot.called
	for i := range 5 {
		receipts = append(receipts, w.accept(text(fmt.Sprint("w", i), "1", "two")))
	}
	close(hold)
	for _, r := range receipts {
		out, err := w.edge.Outcome(ctxT(t), r)
		if err != nil || len(out.Messages) != 1 || out.Owner.Kind != message.OwnerBot {
			t.Fatalf("%q with %s, %v", texts(out), out.Owner.Kind, err)
		}
	}
	turns := w.bot.turns()
	if len(turns) != 7 || turns[0].ID != turns[1].ID {
		t.Errorf("%d calls, the second of another turn", len(turns))
	}
}

// A channel's bound is its own: another channel of the same bot goes on.
func TestAChannelHasABound(t *testing.T) {
	w := newWorld(t, setup{})
	tenant := &pipeline.Tenant{Handle: w.tenant, Queue: "support", Queues: map[string]bool{"support": true}}
	var err error
	if tenant.Rules, err = rulesOf(ctxT(t), w.store, w.tenant, nil, w.clock.Now); err != nil {
		t.Fatal(err)
	}
	channels := func(calls int) []*pipeline.Channel {
		return []*pipeline.Channel{
			{Key: "acme.web", Tenant: tenant, Bot: w.ladder, ReopenWithin: time.Hour, BotCalls: calls},
			{Key: "acme.second", Tenant: tenant, Bot: w.ladder, ReopenWithin: time.Hour},
		}
	}
	w.p.Replace(channels(1))
	second, err := w.p.Edge("acme.second")
	if err != nil {
		t.Fatal(err)
	}
	release := w.hang()
	w.accept(text("v1", "1", "one"))
	<-w.bot.called
	waits := w.accept(text("v2", "1", "two"))
	if s := w.places("acme"); s.Running != 1 || s.Waiting != 1 {
		t.Fatalf("%+v", s)
	}
	if _, err := second.Accept(ctxT(t), text("v3", "1", "three")); err != nil {
		t.Fatal(err)
	}
	<-w.bot.called
	w.p.Replace(channels(2)) // while both run
	<-w.bot.called
	release()
	if out, err := w.edge.Outcome(ctxT(t), waits); err != nil || len(out.Messages) != 1 {
		t.Fatalf("%q, %v", texts(out), err)
	}
}

// The node's bound is changed while it works.
func TestTheBoundOfTheNodeChanges(t *testing.T) {
	w := newWorld(t, setup{calls: 1})
	release := w.hang()
	w.accept(text("v1", "1", "one"))
	<-w.bot.called
	waits := w.accept(text("v2", "1", "two"))
	if total, _ := w.p.Places(); total != (fair.Total{Running: 1, Most: 1, Waiting: 1}) {
		t.Fatalf("%+v", total)
	}
	w.p.Bound(2)
	<-w.bot.called
	release()
	if out, err := w.edge.Outcome(ctxT(t), waits); err != nil || len(out.Messages) != 1 {
		t.Fatalf("%q, %v", texts(out), err)
	}
	if n := count[*conversation.TurnBegun](w.log(waits.Conversation)); n != 1 {
		t.Errorf("%d calls in the log", n)
	}
}
