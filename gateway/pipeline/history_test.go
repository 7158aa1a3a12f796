package pipeline_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/pipeline"
)

// remembering is a bot that is told what was said before.
type remembering struct {
	*scripted
	memory adapters.Memory
}

func (r remembering) Remembers() adapters.Memory { return r.memory }

// lines are what a turn brings of its conversation, as "by: text".
func lineUp(t adapters.Turn) (out []string) {
	for _, s := range t.History {
		line := fmt.Sprintf("%s: %s", s.By, s.Text)
		for _, a := range s.Attachments {
			line += " +" + a.Name
		}
		out = append(out, line)
	}
	return out
}

// history is what the last call brought.
func (w *world) history() ([]string, bool) {
	turns := w.bot.turns()
	last := turns[len(turns)-1]
	return lineUp(last), last.Cut
}

func remember(w *world, m adapters.Memory) func(*pipeline.Bot) {
	return func(b *pipeline.Bot) { b.Bot = remembering{w.bot, m} }
}

// A bot that gets a conversation back sees what was said before, by the customer, by itself, by rules and by people, and
// nothing else: no note, no answer that was withheld.
func TestHistoryAfterPeopleHadIt(t *testing.T) {
	w := newWorld(t, setup{adjust: func(w *world) func(*pipeline.Bot) { return remember(w, adapters.Memory{Messages: 50, Bytes: 1 << 20}) }, rules: `
rules:
  - {id: no-advice, why: w, on: answer, when: 'bot.text contains "shares"', then: {replace: {en: "I do not know about that."}}}
`})
	w.ask(text("v1", "a", "hello"))
	if h, cut := w.history(); len(h) != 0 || cut {
		t.Fatalf("the first turn brings %q", h)
	}
	w.ask(text("v1", "b", "which shares?"))
	conv := w.ask(text("v1", "c", "agent")).Conversation
	for i, c := range []conversation.Command{
		conversation.Claim{Name: "Rosa"},
		conversation.AddNote{ID: "m_note", Text: "a secret note"},
		conversation.Reply{ID: "m_1", Name: "Rosa", Part: message.Part{Text: "You get your money back."}},
	} {
		if _, err := w.agent(conv, "rosa", c); err != nil {
			t.Fatalf("command %d: %v", i, err)
		}
	}
	w.ask(text("v1", "d", "when?"))
	if _, err := w.agent(conv, "rosa", conversation.Release{}); err != nil {
		t.Fatal(err)
	}
	w.ask(text("v1", "e", "and the rest?"))
	got, cut := w.history()
	var handed string
	for _, line := range got {
		if strings.HasPrefix(line, "system: ") && !strings.Contains(line, "know about that") {
			handed = line // what the system says at a handoff, in its own words
		}
	}
	want := []string{
		"customer: hello", "bot: you said: hello", "customer: which shares?", "system: I do not know about that.",
		"customer: agent", handed, "agent: You get your money back.", "customer: when?",
	}
	got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "system: ") && s != handed && s != want[3] })
	if handed == "" || !slices.Equal(got, want) || cut {
		t.Errorf("brought %q, %v\nwant %q", got, cut, want)
	}
}

// A message that came while the bot was answering is asked after that answer, and has it before itself.
func TestHistoryHasTheAnswerThatOvertookAMessage(t *testing.T) {
	w := newWorld(t, setup{adjust: func(w *world) func(*pipeline.Bot) { return remember(w, adapters.Memory{Messages: 50, Bytes: 1 << 20}) }})
	release := make(chan struct{})
	w.bot.does(func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		if turn.Messages[0].Text == "first" {
			<-release
		}
		return echo(ctx, turn)
	})
	w.accept(text("v1", "a", "first"))
	<-w.bot.called
	r := w.accept(text("v1", "b", "second"))
	close(release)
	if _, err := w.edge.Outcome(ctxT(t), r); err != nil {
		t.Fatal(err)
	}
	if got, cut := w.history(); !slices.Equal(got, []string{"customer: first", "bot: you said: first"}) || cut {
		t.Errorf("brought %q, %v", got, cut)
	}
}

// The history has an end, in messages and in bytes, and says when there was more.
func TestHistoryIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		memory adapters.Memory
		want   []string
		cut    bool
	}{
		"messages":  {adapters.Memory{Messages: 3, Bytes: 1 << 20}, []string{"bot: you said: m2", "customer: m3", "bot: you said: m3"}, true},
		"exactly":   {adapters.Memory{Messages: 8, Bytes: 1 << 20}, []string{"customer: m0", "bot: you said: m0", "customer: m1", "bot: you said: m1", "customer: m2", "bot: you said: m2", "customer: m3", "bot: you said: m3"}, false},
		"bytes":     {adapters.Memory{Messages: 50, Bytes: len("m3you said: m3") + 1}, []string{"customer: m3", "bot: you said: m3"}, true},
		"none":      {adapters.Memory{Bytes: 100}, nil, false},
		"no bytes":  {adapters.Memory{Messages: 100}, nil, false},
		"too small": {adapters.Memory{Messages: 5, Bytes: 1}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{adjust: func(w *world) func(*pipeline.Bot) { return remember(w, tt.memory) }})
			for i := range 5 {
				w.ask(text("v1", key(i), fmt.Sprint("m", i)))
			}
			if got, cut := w.history(); !slices.Equal(got, tt.want) || cut != tt.cut {
				t.Errorf("brought %q, %v; want %q, %v", got, cut, tt.want, tt.cut)
			}
		})
	}
}

// A long log is read from its end, over several pages.
func TestHistoryOverPages(t *testing.T) {
	w := newWorld(t, setup{adjust: func(w *world) func(*pipeline.Bot) { return remember(w, adapters.Memory{Messages: 60, Bytes: 1 << 20}) }})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) { return says("x", "y"), nil })
	for i := range 40 {
		w.ask(text("v1", fmt.Sprint("k", i), fmt.Sprint("m", i)))
	}
	got, cut := w.history()
	if len(got) != 60 || !cut || got[59] != "bot: y" || got[57] != "customer: m38" || got[0] != "customer: m19" {
		t.Errorf("%d messages, %v: %q", len(got), cut, got)
	}
}

// A turn that is put again, by another process, brings the same: not what was written meanwhile.
func TestHistoryIsTheSameWhenATurnIsTakenAgain(t *testing.T) {
	adjust := func(w *world) func(*pipeline.Bot) { return remember(w, adapters.Memory{Messages: 50, Bytes: 1 << 20}) }
	w := newWorld(t, setup{adjust: adjust})
	w.ask(text("v1", "a", "hello"))
	w.bot.does(func(ctx context.Context, _ adapters.Turn) (adapters.Answer, error) {
		<-ctx.Done()
		return adapters.Answer{}, ctx.Err()
	})
	r := w.accept(text("v1", "b", "second"))
	for (<-w.bot.called).Messages[0].Text != "second" {
	}
	w.accept(text("v1", "c", "third"))
	w.stop()
	w.bot.does(echo)
	w.start(setup{adjust: adjust})
	if _, err := w.edge.Outcome(ctxT(t), r); err != nil {
		t.Fatal(err)
	}
	turns := w.bot.turns()
	if len(turns) < 3 || turns[1].ID != turns[2].ID || !slices.Equal(lineUp(turns[1]), lineUp(turns[2])) || len(turns[2].History) != 2 {
		t.Errorf("first %q, again %q", lineUp(turns[1]), lineUp(turns[2]))
	}
}

// A bot that remembers by itself is told nothing.
func TestNoHistoryUnasked(t *testing.T) {
	w := newWorld(t, setup{})
	w.ask(text("v1", "a", "hello"))
	w.ask(text("v1", "b", "again"))
	if got, cut := w.history(); got != nil || cut {
		t.Errorf("brought %q", got)
	}
}

// A busy bot that says when to come back, soon, gets the time; when there is another one, that is asked.
func TestARetryAfterIsWaitedFor(t *testing.T) {
	busy := func(after time.Duration) func(context.Context, adapters.Turn) (adapters.Answer, error) {
		return func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
			if turn.Attempt == 1 {
				return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: 429, RetryAfter: after}
			}
			return echo(ctx, turn)
		}
	}
	w := newWorld(t, setup{})
	w.bot.does(busy(10 * time.Millisecond))
	if out := w.ask(text("v1", "a", "hello")); !slices.Equal(texts(out), []string{"bot: you said: hello"}) || len(w.bot.turns()) != 2 {
		t.Errorf("%q after %d calls", texts(out), len(w.bot.turns()))
	}
	w.bot.does(busy(time.Hour))
	if out := w.ask(text("v2", "a", "hello")); out.Owner.Kind != message.OwnerQueued || len(w.bot.turns()) != 3 {
		t.Errorf("told to come back in an hour: owner %s after %d calls", out.Owner.Kind, len(w.bot.turns()))
	}
	second := newScripted()
	w = newWorld(t, setup{bot: &pipeline.Bot{Alternate: &pipeline.Bot{Name: "second", Bot: second, Deadline: 20 * time.Second, Concurrency: 1}}})
	w.bot.does(busy(10 * time.Millisecond))
	if w.ask(text("v1", "a", "hello")); len(w.bot.turns()) != 1 || len(second.turns()) != 1 {
		t.Errorf("with an alternate: %d and %d calls", len(w.bot.turns()), len(second.turns()))
	}
}

// What a bot says that its calls took is counted against its own budget and its tenant's; a bot whose own is used up is
// passed over for its alternate, and asked again in the next hour.
func TestABudgetOfTokens(t *testing.T) {
	costly := func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		a, err := echo(ctx, turn)
		a.Usage = &adapters.Usage{Prompt: 70, Answer: 40}
		return a, err
	}
	second := newScripted()
	w := newWorld(t, setup{bot: &pipeline.Bot{
		Budget:    pipeline.Budget{TokensPerHour: 200},
		Alternate: &pipeline.Bot{Name: "second", Bot: second, Deadline: 20 * time.Second, Concurrency: 8},
	}})
	advance := still(w)
	w.bot.does(costly)
	for i := range 4 {
		w.ask(text("v1", key(i), "hello"))
	}
	if len(w.bot.turns()) != 2 || len(second.turns()) != 2 || w.logged("used up") != 1 {
		t.Errorf("%d calls, %d of the alternate, said %d times", len(w.bot.turns()), len(second.turns()), w.logged("used up"))
	}
	advance(time.Hour)
	if w.ask(text("v1", "later", "hello")); len(w.bot.turns()) != 3 {
		t.Errorf("%d calls in the next hour", len(w.bot.turns()))
	}

	w = newWorld(t, setup{limits: pipeline.Limits{BotTokensPerDay: 200}})
	advance = still(w)
	w.bot.does(costly)
	w.ask(text("v1", "a", "hello"))
	w.ask(text("v1", "b", "hello"))
	over := w.ask(text("v2", "a", "hello"))
	if over.Owner.Kind != message.OwnerQueued || len(w.bot.turns()) != 2 {
		t.Errorf("over the tenant's budget: owner %s after %d calls", over.Owner.Kind, len(w.bot.turns()))
	}
	advance(24 * time.Hour)
	w.ask(text("v3", "a", "hello"))
	w.until(over.Conversation, "it goes back to the bot", func(s *conversation.State) bool { return s.Owner.Kind == message.OwnerBot })
}

// However much a bot says that a call took, it has taken no more than all there is, and no less than it said.
func TestABudgetOfMoreTokensThanThereAre(t *testing.T) {
	w := newWorld(t, setup{limits: pipeline.Limits{BotTokensPerDay: 200}})
	still(w)
	w.bot.does(func(ctx context.Context, turn adapters.Turn) (adapters.Answer, error) {
		a, err := echo(ctx, turn)
		a.Usage = &adapters.Usage{Prompt: math.MaxInt64, Answer: 100}
		return a, err
	})
	w.ask(text("v1", "a", "hello"))
	if over := w.ask(text("v2", "a", "hello")); over.Owner.Kind != message.OwnerQueued || len(w.bot.turns()) != 1 {
		t.Errorf("owner %s after %d calls", over.Owner.Kind, len(w.bot.turns()))
	}
}

// A budget of calls of one bot leaves those of others alone.
func TestABudgetOfOneBot(t *testing.T) {
	w := newWorld(t, setup{bot: &pipeline.Bot{Budget: pipeline.Budget{CallsPerDay: 1}}})
	still(w)
	w.ask(text("v1", "a", "hello"))
	over := w.ask(text("v2", "a", "hello"))
	if over.Owner.Kind != message.OwnerQueued || len(w.bot.turns()) != 1 {
		t.Errorf("owner %s after %d calls", over.Owner.Kind, len(w.bot.turns()))
	}
}
