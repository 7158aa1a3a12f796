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
	"turnout/gateway/fault"
)

// A process that dies in the middle of a bot call leaves a turn behind; the next one repeats it under the same id.
func TestATurnLeftBehindIsTakenAgain(t *testing.T) {
	w := newWorld(t, setup{})
	w.bot.does(func(ctx context.Context, _ adapters.Turn) (adapters.Answer, error) {
		<-ctx.Done()
		return adapters.Answer{}, ctx.Err()
	})
	r := w.accept(text("v1", "a", "hello"))
	<-w.bot.called
	w.stop() // cuts the call off without writing anything
	w.bot.does(echo)
	w.start(setup{})
	out, err := w.edge.Outcome(ctxT(t), r)
	if err != nil || !slices.Equal(texts(out), []string{"bot: you said: hello"}) {
		t.Fatalf("%q, %v", texts(out), err)
	}
	turns := w.bot.turns()
	if len(turns) != 2 || turns[0].ID != turns[1].ID || turns[1].Attempt != 2 {
		t.Errorf("calls %+v", turns)
	}
	if n := count[*conversation.TurnBegun](w.log(r.Conversation)); n != 2 {
		t.Errorf("the log shows %d calls, want 2", n)
	}
}

func TestASendHoldEndsByItselfOrIsUndone(t *testing.T) {
	w := newWorld(t, setup{})
	conv := w.ask(text("v1", "a", "agent")).Conversation
	if _, err := w.agent(conv, "rosa", conversation.Claim{Name: "Rosa"}); err != nil {
		t.Fatal(err)
	}
	hold := func(id, s string) {
		t.Helper()
		until := w.clock.Now().Add(time.Hour).UnixMilli()
		if _, err := w.agent(conv, "rosa", conversation.Reply{ID: id, Name: "Rosa", Part: message.Part{Text: s}, HoldUntil: until}); err != nil {
			t.Fatal(err)
		}
	}
	hold("m_1", "kept back")
	hold("m_2", "taken back")
	if _, err := w.agent(conv, "rosa", conversation.UndoHeld{ID: "m_2"}); err != nil {
		t.Fatal(err)
	}
	if got := sentBy(w.log(conv), message.ByAgent); len(got) != 0 {
		t.Fatalf("sent at once: %q", got)
	}
	w.clock.Advance(2 * time.Hour)
	w.p.Sweep(ctxT(t))
	if got := sentBy(w.log(conv), message.ByAgent); !slices.Equal(got, []string{"kept back"}) {
		t.Errorf("sent %q", got)
	}
	w.p.Sweep(ctxT(t))
	if got := sentBy(w.log(conv), message.ByAgent); len(got) != 1 {
		t.Errorf("the timer fired twice: %q", got)
	}
}

func TestAnIdleConversationEndsAndLeadsOn(t *testing.T) {
	w := newWorld(t, setup{idle: 24 * time.Hour})
	first := w.ask(text("v1", "a", "hello"))
	w.clock.Advance(20 * time.Hour)
	w.ask(text("v1", "b", "still here"))
	w.clock.Advance(5 * time.Hour)
	w.p.Sweep(ctxT(t))
	if s := w.state(first.Conversation); s.Owner.Kind != message.OwnerBot {
		t.Fatalf("closed although it was active 5 h ago")
	}
	w.clock.Advance(20 * time.Hour)
	w.p.Sweep(ctxT(t))
	if s := w.state(first.Conversation); s.Owner.Kind != message.OwnerClosed {
		t.Fatalf("owner %+v after a day of silence", s.Owner)
	}
	// Soon after, it reopens; later, another one follows it and the cursor leads there.
	again := w.ask(text("v1", "c", "me again"))
	if again.Conversation != first.Conversation {
		t.Error("it did not reopen within the time for that")
	}
	w.clock.Advance(48 * time.Hour)
	w.p.Sweep(ctxT(t))
	w.clock.Advance(48 * time.Hour)
	w.p.Sweep(ctxT(t))
	next := w.ask(text("v1", "d", "new matter"))
	if next.Conversation == first.Conversation {
		t.Fatal("a closed conversation went on after the time to reopen")
	}
	page, err := w.edge.Read(ctxT(t), visitor("v1"), again.Cursor, 100)
	for err == nil && page.More {
		page, err = w.edge.Read(ctxT(t), visitor("v1"), page.Next, 100)
	}
	if err != nil || page.Conversation != next.Conversation || len(page.Events) == 0 || page.Events[0].ClientID != "d" {
		t.Errorf("the old cursor leads to %+v, %v", page, err)
	}
}

func TestAConversationThatPeopleWereAskedForNeverIdlesAway(t *testing.T) {
	w := newWorld(t, setup{idle: time.Hour})
	conv := w.ask(text("v1", "a", "agent")).Conversation
	w.clock.Advance(1000 * time.Hour)
	w.p.Sweep(ctxT(t))
	if s := w.state(conv); s.Owner.Kind != message.OwnerQueued {
		t.Errorf("owner %+v", s.Owner)
	}
}

// At every named step: an error, a panic or a delay loses nothing, says nothing twice and mends itself.
func TestEveryStepMayFail(t *testing.T) {
	actions := map[string]func() error{
		"error": func() error { return errors.New("injected") },
		"panic": func() error { panic("injected") },
		"delay": func() error { time.Sleep(20 * time.Millisecond); return nil },
	}
	for _, point := range fault.Points() {
		for name, act := range actions {
			for _, prompt := range []bool{false, true} {
				t.Run(fmt.Sprint(point, "/", name, "/prompt=", prompt), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, setup{prompt: prompt})
					w.bot.does(func(ctx context.Context, tn adapters.Turn) (adapters.Answer, error) { return echo(ctx, tn) })
					w.ladder.Deadline = 300 * time.Millisecond
					armed := make(chan struct{}, 1)
					armed <- struct{}{}
					inject := fault.Injector(func(_ context.Context, p fault.Point) error {
						if p != point {
							return nil
						}
						select {
						case <-armed:
							return act()
						default:
							return nil
						}
					})
					w.faults.Store(&inject)
					send := func(in message.Inbound) adapters.Receipt { // a client that repeats until it is acknowledged
						for {
							r, err := acceptSafely(w, in)
							if err == nil {
								return r
							}
							if !errors.Is(err, adapters.ErrUnavailable) && !errors.Is(err, adapters.ErrUnknownOutcome) && !errors.Is(err, errPanicked) {
								t.Fatalf("accept: %v", err)
							}
						}
					}
					out, err := w.edge.Outcome(ctxT(t), send(text("v1", "a", "hello")))
					if err != nil {
						t.Fatalf("outcome: %v", err)
					}
					conv := out.Conversation
					out, err = w.edge.Outcome(ctxT(t), send(text("v1", "b", "agent")))
					if err != nil || out.Owner.Kind != message.OwnerQueued {
						t.Fatalf("owner %+v, %v", out.Owner, err)
					}
					for _, c := range []conversation.Command{conversation.Claim{Name: "Rosa"}, conversation.Reply{ID: "m_1", Part: message.Part{Text: "hi"}}} {
						for {
							if err := agentSafely(w, conv, c); err == nil || errors.Is(err, conversation.ErrNothing) {
								break
							}
						}
					}
					log := w.log(conv)
					if n := count[*conversation.Received](log); n != 2 {
						t.Errorf("%d messages, want 2", n)
					}
					if got := sentBy(log, message.ByBot); len(got) > 1 {
						t.Errorf("the bot said %q", got)
					}
					if got := sentBy(log, message.ByAgent); !slices.Equal(got, []string{"hi"}) {
						t.Errorf("the agent said %q", got)
					}
					if w.bot.overlap {
						t.Error("bot calls overlapped")
					}
					if rep, err := w.store.Check(ctxT(t)); err != nil || len(rep.Faults) > 0 {
						t.Errorf("check: %+v, %v", rep.Faults, err)
					}
				})
			}
		}
	}
}

var errPanicked = errors.New("panicked")

// acceptSafely is what a server does: a panic of a handler is a 500 and the client tries again.
func acceptSafely(w *world, in message.Inbound) (r adapters.Receipt, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return w.edge.Accept(ctxT(w.t), in)
}

func agentSafely(w *world, conv string, c conversation.Command) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	_, err = w.agent(conv, "rosa", c)
	return err
}
