package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/pipeline"
)

func TestTheBotAnswers(t *testing.T) {
	for _, prompt := range []bool{false, true} {
		t.Run(fmt.Sprint("prompt=", prompt), func(t *testing.T) { theBotAnswers(t, prompt) })
	}
}

func theBotAnswers(t *testing.T, prompt bool) {
	w := newWorld(t, setup{prompt: prompt})
	out := w.ask(text("v1", "a", "hello"))
	if got := texts(out); !slices.Equal(got, []string{"bot: you said: hello"}) {
		t.Fatalf("said %q", got)
	}
	if out.Owner.Kind != message.OwnerBot || out.MergedInto != "" {
		t.Errorf("outcome %+v", out)
	}
	log := w.log(out.Conversation)
	ops := map[string]bool{}
	for _, e := range log {
		ops[e.Op] = true
	}
	if len(ops) != 2 {
		t.Errorf("a turn took %d commits, want 2: accept and answer", len(ops))
	}
	last := log[len(log)-2]
	if d, ok := last.Data.(*conversation.Decision); !ok || d.Kind != conversation.DecisionPass || d.Phase != conversation.Answer {
		t.Errorf("the turn ended with %s %+v, want the decision to pass", last.Type, last.Data)
	}
	if turns := w.bot.turns(); len(turns) != 1 || turns[0].Attempt != 1 || turns[0].Conversation != out.Conversation {
		t.Errorf("the bot was asked %+v", turns)
	}
}

// A bot that never answers does not keep a customer from people: the request is in the queue while the call still hangs.
func TestAPersonIsAskedForWhileTheBotHangs(t *testing.T) {
	w := newWorld(t, setup{})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
		<-release
		return says("too late"), nil
	})
	first := w.accept(text("v1", "a", "where is my parcel"))
	<-w.bot.called

	out := w.ask(text("v1", "b", "AGENT"))
	if out.Owner.Kind != message.OwnerQueued || out.Owner.Position != 1 {
		t.Fatalf("owner %+v, want queued at 1 while the bot call is blocked", out.Owner)
	}
	waiting, err := w.store.Waiting(ctxT(t), w.tenant, "support", 10)
	if err != nil || len(waiting) != 1 || waiting[0].Handoff.Rule != conversation.ByBareRequest {
		t.Fatalf("queue holds %+v, %v", waiting, err)
	}
	// Whoever waits for the first message hears at once that a person will answer.
	one, err := w.edge.Outcome(ctxT(t), first)
	if err != nil || one.Owner.Kind != message.OwnerQueued {
		t.Fatalf("the first message's outcome is %+v, %v", one, err)
	}

	close(release)
	w.until(first.Conversation, "the late answer is recorded", func(s *conversation.State) bool { return s.Orphan == nil })
	log := w.log(first.Conversation)
	if got := sentBy(log, message.ByBot); len(got) != 0 {
		t.Fatalf("the bot talked over the queue: %q", got)
	}
	var dropped *conversation.TurnDropped
	for _, e := range log {
		if d, ok := e.Data.(*conversation.TurnDropped); ok {
			dropped = d
		}
	}
	if dropped == nil || len(dropped.Answer) != 1 || dropped.Answer[0].Text != "too late" {
		t.Errorf("the late answer was recorded as %+v", dropped)
	}
}

func TestABurstIsOneTurnAndTheLastGetsTheAnswer(t *testing.T) {
	w := newWorld(t, setup{})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
		<-release
		return echo(ctx, t)
	})
	r1 := w.accept(text("v1", "a", "one"))
	<-w.bot.called
	r2 := w.accept(text("v1", "b", "two"))
	r3 := w.accept(text("v1", "c", "three"))
	close(release)
	outcome := func(r adapters.Receipt) adapters.Outcome {
		out, err := w.edge.Outcome(ctxT(t), r)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := texts(outcome(r1)); !slices.Equal(got, []string{"bot: you said: one"}) {
		t.Errorf("first: %q", got)
	}
	if out := outcome(r2); out.MergedInto != "c" || len(out.Messages) != 0 {
		t.Errorf("second: merged into %q with %q, want c", out.MergedInto, texts(out))
	}
	if got := texts(outcome(r3)); !slices.Equal(got, []string{"bot: you said: two + three"}) {
		t.Errorf("third: %q", got)
	}
	if n := len(w.bot.turns()); n != 2 {
		t.Errorf("%d turns, want 2", n)
	}
}

func TestTheSameMessageHasOneEffect(t *testing.T) {
	w := newWorld(t, setup{})
	var wg sync.WaitGroup
	outs := make([]adapters.Outcome, 32)
	for i := range outs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := w.edge.Accept(ctxT(t), text("v1", "a", "hello"))
			if err == nil {
				outs[i], err = w.edge.Outcome(ctxT(t), r)
			}
			if err != nil {
				t.Errorf("delivery %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	for i, out := range outs {
		if got := texts(out); !slices.Equal(got, []string{"bot: you said: hello"}) {
			t.Fatalf("delivery %d got %q", i, got)
		}
	}
	if n := count[*conversation.Received](w.log(outs[0].Conversation)); n != 1 {
		t.Errorf("%d messages in the log", n)
	}
	// Equal text under another id is another message; the same id of another sender too.
	if out := w.ask(text("v1", "b", "hello")); len(w.log(out.Conversation)) == 0 || len(w.bot.turns()) != 2 {
		t.Errorf("equal text was taken for a repeat")
	}
	if out := w.ask(text("v2", "a", "hello")); out.Conversation == outs[0].Conversation {
		t.Errorf("two senders share a conversation")
	}

	// The stored outcome is the same after a restart.
	w.stop()
	w.start(setup{})
	r := w.accept(text("v1", "a", "hello"))
	if !r.Dup {
		t.Fatal("a repeat after the restart was taken for new")
	}
	out, err := w.edge.Outcome(ctxT(t), r)
	if err != nil || !slices.Equal(texts(out), []string{"bot: you said: hello"}) {
		t.Errorf("after the restart: %q, %v", texts(out), err)
	}
}

const answerRules = `
rules:
  - id: unsure
    why: The bot is not sure.
    on: answer
    when: bot.confidence < 0.4
    then: {handoff: {queue: support, priority: high}, say: {en: "Let me get somebody."}}
  - id: no-prices
    why: Prices are said by people.
    on: answer
    when: phrase(bot.text, "guaranteed price")
    then: {replace: {en: "I cannot promise prices."}, tags: [pricing]}
  - id: chest-pain
    why: A patient who mentions chest pain reaches the emergency desk at once.
    on: inbound
    when: phrase("chest pain")
    then: {handoff: {queue: emergency, priority: urgent}, must_reach_human: true, notify: [oncall]}
    locked: true
`

func TestAnswerRulesHoldTheAnswerBack(t *testing.T) {
	w := newWorld(t, setup{rules: answerRules})
	low := 0.2
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		a := says("maybe it is in Ohio")
		a.Confidence = &low
		return a, nil
	})
	out := w.ask(text("v1", "a", "where is my parcel"))
	if got := texts(out); !slices.Equal(got, []string{"system: Let me get somebody."}) || out.Owner.Kind != message.OwnerQueued {
		t.Fatalf("said %q, owner %+v", got, out.Owner)
	}
	st := w.state(out.Conversation)
	if st.Handoff == nil || st.Handoff.Rule != "unsure" || st.Handoff.Priority != conversation.PriorityHigh {
		t.Errorf("handoff %+v", st.Handoff)
	}
	for _, e := range w.log(out.Conversation) {
		if d, ok := e.Data.(*conversation.Decision); ok && (len(d.Withheld) != 1 || d.Rules == 0 || d.Bot == nil) {
			t.Errorf("the decision does not say what was withheld, by which version: %+v", d)
		}
		if v, ok := e.Visible("c"); ok && v.Part != nil && strings.Contains(v.Part.Text, "Ohio") {
			t.Errorf("the withheld answer is visible")
		}
	}

	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return says("That is a guaranteed price of 5."), nil
	})
	out = w.ask(text("v2", "a", "how much"))
	if got := texts(out); !slices.Equal(got, []string{"system: I cannot promise prices."}) || out.Owner.Kind != message.OwnerBot {
		t.Errorf("said %q, owner %+v", got, out.Owner)
	}
	if st := w.state(out.Conversation); !slices.Contains(st.Tags, "pricing") {
		t.Errorf("tags %q", st.Tags)
	}
}

func TestAnUrgentInboundRuleDivertsBeforeTheBotIsAsked(t *testing.T) {
	w := newWorld(t, setup{rules: answerRules})
	out := w.ask(text("v1", "a", "I have chest pain"))
	st := w.state(out.Conversation)
	if st.Owner.Queue != "emergency" || !st.MustReachHuman || st.Handoff.Priority != conversation.PriorityUrgent {
		t.Fatalf("state %+v", st.Owner)
	}
	if len(w.bot.turns()) != 0 {
		t.Error("the bot was asked")
	}
	if n := <-w.notes; n.Rule != "chest-pain" || !slices.Equal(n.Who, []string{"oncall"}) {
		t.Errorf("notice %+v", n)
	}
}

func TestABotThatAsksForAPersonIsHeard(t *testing.T) {
	w := newWorld(t, setup{})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		a := says("One moment.")
		a.Handoff = &adapters.HandoffRequest{Reason: "card", Queue: "emergency"}
		return a, nil
	})
	out := w.ask(text("v1", "a", "block my card"))
	if got := texts(out); len(got) != 2 || got[0] != "bot: One moment." || out.Owner.Kind != message.OwnerQueued {
		t.Errorf("said %q, owner %+v", got, out.Owner)
	}
	if st := w.state(out.Conversation); st.Owner.Queue != "emergency" || st.Handoff.Rule != conversation.ByBotRequest {
		t.Errorf("handoff %+v", st.Handoff)
	}
}

func TestPeopleTakeOverAndGiveBack(t *testing.T) {
	w := newWorld(t, setup{})
	conv := w.ask(text("v1", "a", "agent")).Conversation
	if _, err := w.agent(conv, "rosa", conversation.Claim{Name: "Rosa"}); err != nil {
		t.Fatal(err)
	}
	if out := w.ask(text("v1", "b", "my parcel is lost")); out.Owner.Name != "Rosa" || len(out.Messages) != 0 {
		t.Errorf("while Rosa has it: %+v", out)
	}
	if _, err := w.agent(conv, "rosa", conversation.Reply{ID: "m_1", Name: "Rosa", Part: message.Part{Text: "On its way"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.agent(conv, "rosa", conversation.AddNote{ID: "m_2", Text: "NOTE-CANARY"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.agent(conv, "rosa", conversation.Release{}); err != nil {
		t.Fatal(err)
	}
	out := w.ask(text("v1", "c", "thanks"))
	if got := texts(out); !slices.Equal(got, []string{"bot: you said: thanks"}) {
		t.Errorf("after the release: %q; what was said to people is no turn", got)
	}
	page, err := w.edge.Read(ctxT(t), visitor("v1"), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range page.Events {
		if v.VSeq != uint64(i+1) {
			t.Errorf("visible event %d has sequence %d", i+1, v.VSeq)
		}
		if v.Part != nil && strings.Contains(v.Part.Text, "CANARY") {
			t.Error("a note is visible")
		}
	}
	if _, err := w.edge.Read(ctxT(t), visitor("v2"), page.Next, 10); !errors.Is(err, adapters.ErrNotFound) {
		t.Errorf("another visitor's cursor: %v", err)
	}
}

// The call of before the handoff still runs when people have given back: the next turn waits for it.
func TestAQuickReleaseDoesNotOverlapBotCalls(t *testing.T) {
	w := newWorld(t, setup{})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
		if t.Messages[0].ID == "a" {
			<-release
		}
		return echo(ctx, t)
	})
	conv := w.accept(text("v1", "a", "slow")).Conversation
	<-w.bot.called
	w.ask(text("v1", "b", "human"))
	for _, c := range []conversation.Command{conversation.Claim{Name: "Rosa"}, conversation.Release{}} {
		if _, err := w.agent(conv, "rosa", c); err != nil {
			t.Fatal(err)
		}
	}
	r := w.accept(text("v1", "c", "again"))
	if st := w.state(conv); st.Turn != nil || st.Pending.Count != 1 {
		t.Fatalf("a second call was started while the first runs: %+v", st.Turn)
	}
	close(release)
	out, err := w.edge.Outcome(ctxT(t), r)
	if err != nil || !slices.Equal(texts(out), []string{"bot: you said: again"}) {
		t.Errorf("%q, %v", texts(out), err)
	}
	if w.bot.overlap {
		t.Error("two bot calls of one conversation ran at once")
	}
}

func TestBotTroubleEndsWithPeople(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(ctx context.Context, t adapters.Turn) (adapters.Answer, error)
		kind  string
		calls int
	}{
		"500": {func(context.Context, adapters.Turn) (adapters.Answer, error) {
			return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
		}, "status", 1},
		"503 twice": {func(context.Context, adapters.Turn) (adapters.Answer, error) {
			return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 503}
		}, "status", 2},
		"unreachable": {func(context.Context, adapters.Turn) (adapters.Answer, error) {
			return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotUnreachable}
		}, "unreachable", 2},
		"garbage": {func(context.Context, adapters.Turn) (adapters.Answer, error) {
			return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotGarbage}
		}, "garbage", 1},
		"panics":  {func(context.Context, adapters.Turn) (adapters.Answer, error) { panic("in the adapter") }, "garbage", 1},
		"strange": {func(context.Context, adapters.Turn) (adapters.Answer, error) { return adapters.Answer{}, errBot }, "unreachable", 2},
		"never": {func(ctx context.Context, _ adapters.Turn) (adapters.Answer, error) {
			<-ctx.Done()
			return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotTimeout}
		}, "timeout", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{bot: &pipeline.Bot{Deadline: 150 * time.Millisecond}})
			w.bot.does(c.fail)
			out := w.ask(text("v1", "a", "hello"))
			st := w.state(out.Conversation)
			if out.Owner.Kind != message.OwnerQueued || st.Handoff.Rule != conversation.ByBotDown || st.Handoff.Priority != conversation.PriorityBotDown {
				t.Fatalf("owner %+v, handoff %+v", out.Owner, st.Handoff)
			}
			if got := texts(out); len(got) != 1 || !strings.HasPrefix(got[0], "system: ") {
				t.Errorf("the customer was told %q", got)
			}
			turns := w.bot.turns()
			if len(turns) != c.calls || turns[0].ID != turns[len(turns)-1].ID || turns[len(turns)-1].Attempt != c.calls {
				t.Errorf("%d calls, want %d under one id", len(turns), c.calls)
			}
			kind := ""
			for _, e := range w.log(out.Conversation) {
				if d, ok := e.Data.(*conversation.TurnBroken); ok {
					kind = d.Kind
				}
			}
			if kind != c.kind {
				t.Errorf("the failure is recorded as %q, want %q", kind, c.kind)
			}
		})
	}
}

// A call that cannot be cancelled keeps its place until it ends, but not its conversation.
func TestACallThatIgnoresItsDeadlineKeepsItsPlace(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Deadline: 100 * time.Millisecond, Concurrency: 1}})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
		if t.Messages[0].ID == "a" {
			<-release
		}
		return echo(ctx, t)
	})
	if out := w.ask(text("v1", "a", "hello")); out.Owner.Kind != message.OwnerQueued {
		t.Fatalf("owner %+v after the deadline", out.Owner)
	}
	r := w.accept(text("v2", "b", "next"))
	w.p.Sweep(ctxT(t))
	if len(w.bot.turns()) != 1 {
		t.Fatal("a second call was made beside the one that hangs")
	}
	close(release)
	out, err := w.edge.Outcome(ctxT(t), r)
	if err != nil || !slices.Equal(texts(out), []string{"bot: you said: next"}) {
		t.Errorf("%q, %v", texts(out), err)
	}
}

func TestTheAlternateBotIsAsked(t *testing.T) {
	other := newScripted()
	other.does(func(context.Context, adapters.Turn) (adapters.Answer, error) { return says("other here"), nil })
	alt := &pipeline.Bot{Name: "other", Bot: other, Deadline: time.Second, Concurrency: 4, Breaker: pipeline.BreakerSettings{Failures: 5, Window: time.Minute, OpenFor: time.Minute}}
	w := newWorld(t, setup{bot: &pipeline.Bot{Alternate: alt}})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	})
	out := w.ask(text("v1", "a", "hello"))
	if got := texts(out); !slices.Equal(got, []string{"bot: other here"}) {
		t.Errorf("said %q", got)
	}
}

func TestTheBreakerOpensAndWhatNobodyTouchedGoesBack(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Breaker: pipeline.BreakerSettings{Failures: 2, Window: time.Minute, OpenFor: time.Millisecond}}})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	})
	untouched := w.ask(text("v1", "a", "hello")).Conversation
	touched := w.ask(text("v2", "a", "hello")).Conversation
	if _, err := w.agent(touched, "rosa", conversation.Claim{Name: "Rosa"}); err != nil {
		t.Fatal(err)
	}
	w.bot.does(echo)
	// The breaker lets a probe through once its delay is over; until then people get the conversations.
	var back string
	for i := 0; back == ""; i++ {
		if out := w.ask(text("next-"+key(i), "a", "hello")); out.Owner.Kind == message.OwnerBot {
			back = out.Conversation
		}
	}
	s := w.until(untouched, "it goes back to the bot", func(s *conversation.State) bool { return s.Owner.Kind == message.OwnerBot })
	if s.Returns != 0 {
		t.Error("the system's return was counted as a person's")
	}
	if s := w.state(touched); s.Owner.Agent != "rosa" {
		t.Errorf("what an agent has touched went back: %+v", s.Owner)
	}
}

func TestTooManyWaitingCaptures(t *testing.T) {
	w := newWorld(t, setup{captureOver: 1})
	w.ask(text("v1", "a", "agent"))
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 500}
	})
	if out := w.ask(text("v2", "a", "hello")); out.Owner.Kind != message.OwnerCaptured || len(out.Messages) != 1 {
		t.Errorf("owner %+v, said %q", out.Owner, texts(out))
	}
}
