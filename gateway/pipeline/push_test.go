package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// send takes the head of a conversation's outbox, as a sender does, and lets it have left; nil: there is none.
func (w *world) send(conv string) *store.LeasedRow {
	w.t.Helper()
	r, ctx := w.ref(conv), context.Background()
	row := w.lease(conv)
	if row == nil {
		return nil
	}
	for {
		snap, err := w.store.Load(ctx, r)
		if err != nil {
			w.t.Fatal(err)
		}
		s := store.Step{Ref: r, Op: store.Token(w.ids.Token()), Base: snap.Version, State: snap.State}
		s.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token}
		if _, err = w.store.Commit(ctx, s); err == nil {
			return row
		}
		if !errors.Is(err, store.ErrStale) {
			w.t.Fatal(err)
		}
	}
}

func (w *world) lease(conv string) *store.LeasedRow {
	w.t.Helper()
	now := w.clock.Now().UnixMilli()
	row, err := w.store.Lease(context.Background(), w.ref(conv), now, now+60_000)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		w.t.Fatalf("leasing: %v", err)
	}
	return &row
}

// sends empties the outbox of a conversation.
func (w *world) sends(conv string) (out []message.Outbound) {
	for row := w.send(conv); row != nil; row = w.send(conv) {
		out = append(out, row.Row.Out)
	}
	return out
}

// Everything that is said on a push channel, whoever says it, is in the outbox with the commit that says it, in order; on
// a pull channel nothing is.
func TestRowsOfAPushChannel(t *testing.T) {
	w := newWorld(t, setup{push: true})
	w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) { return says("one", "two"), nil })
	out := w.ask(text("ann", "1", "hello"))
	got := w.sends(out.Conversation)
	if len(got) != 2 || got[0].Part.Text != "one" || got[1].Part.Text != "two" || got[0].By != message.ByBot || got[0].To != visitor("ann") {
		t.Fatalf("the bot's: %+v", got)
	}
	var logged []string
	for _, e := range w.log(out.Conversation) {
		if s, ok := e.Data.(*conversation.Sent); ok {
			logged = append(logged, s.ID)
		}
	}
	if !slices.Equal(logged, []string{got[0].ID, got[1].ID}) {
		t.Errorf("the log says %v", logged)
	}
	w.ask(text("ann", "2", "agent"))
	if got = w.sends(out.Conversation); len(got) != 1 || got[0].By != message.BySystem {
		t.Errorf("the word of the handoff: %+v", got)
	}
	if _, err := w.agent(out.Conversation, "kim", conversation.Claim{Name: "Kim"}, conversation.Reply{ID: "m_kim", Name: "Kim", Part: message.Part{Text: "Kim here"}}); err != nil {
		t.Fatal(err)
	}
	if got = w.sends(out.Conversation); len(got) != 1 || got[0].By != message.ByAgent || got[0].Part.Text != "Kim here" {
		t.Errorf("the agent's: %+v", got)
	}
	if _, err := w.agent(out.Conversation, "kim", conversation.AddNote{ID: "m_note", Text: "not for the customer"}); err != nil {
		t.Fatal(err)
	}
	if got = w.sends(out.Conversation); len(got) != 0 {
		t.Errorf("a note is in the outbox: %+v", got)
	}

	pull := newWorld(t, setup{})
	if out := pull.ask(text("ann", "1", "hello")); pull.lease(out.Conversation) != nil {
		t.Error("a pull channel has an outbox")
	}
}

// Whoever takes the word from the bot cancels what it had still to say, in the same commit, and the log names what was on
// its way.
func TestTakeoverCancelsRows(t *testing.T) {
	for name, take := range map[string]func(w *world, conv string){
		"a bare request": func(w *world, _ string) { w.accept(text("ann", "2", "agent")) },
		"a claim": func(w *world, conv string) {
			if _, err := w.agent(conv, "kim", conversation.Claim{Name: "Kim"}); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{push: true})
			w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) { return says("one", "two", "three"), nil })
			out := w.ask(text("ann", "1", "hello"))
			flying := w.lease(out.Conversation)
			take(w, out.Conversation)
			var cancelled, inFlight []string
			var op string
			for _, e := range w.log(out.Conversation) {
				switch d := e.Data.(type) {
				case *conversation.OwnerMoved:
					inFlight, op = append(inFlight, d.InFlight...), e.Op
				case *conversation.StatusChanged:
					if cancelled = append(cancelled, d.ID); d.Status != conversation.StatusCancelled || e.Op != op {
						t.Errorf("%+v in another commit than the takeover", d)
					}
				}
			}
			if len(cancelled) != 2 || !slices.Equal(inFlight, []string{flying.Row.Out.ID}) {
				t.Errorf("cancelled %v, in flight %v, want %s", cancelled, inFlight, flying.Row.Out.ID)
			}
		})
	}
}

// What the bot says with its own wish for a person, or as its last word, was decided with the end of its term: it leaves.
func TestLastWordsLeave(t *testing.T) {
	for name, answer := range map[string]adapters.Answer{
		"wish":    {Parts: says("wait").Parts, Handoff: &adapters.HandoffRequest{Reason: "asked"}},
		"goodbye": {Parts: says("bye").Parts, End: true},
	} {
		w := newWorld(t, setup{push: true})
		w.bot.does(func(context.Context, adapters.Turn) (adapters.Answer, error) { return answer, nil })
		out := w.ask(text("ann", "1", "hello"))
		got := w.sends(out.Conversation)
		if len(got) == 0 || got[0].By != message.ByBot || got[0].Part.Text != answer.Parts[0].Text {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A provider's report finds what was said by its id among the ids of the recipient.
func TestSaidIsKnown(t *testing.T) {
	w := newWorld(t, setup{push: true})
	out := w.ask(text("ann", "1", "hello"))
	row := w.send(out.Conversation)
	found, err := w.store.Find(t.Context(), w.tenant, visitor("ann"), []string{store.OutID(row.Row.Out.ID), store.OutID("m_other")})
	if err != nil {
		t.Fatal(err)
	}
	if k := found.Known[store.OutID(row.Row.Out.ID)]; k.Conversation != out.Conversation || k.Seq != row.Row.Seq || len(found.Known) != 1 {
		t.Errorf("known: %+v", found.Known)
	}
}
