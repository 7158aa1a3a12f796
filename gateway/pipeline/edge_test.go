package pipeline_test

import (
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
)

// A message that people were sent has its outcome in its own commit. Whoever repeats it later hears the same, not what the
// gateway said to another message meanwhile, and no cursor that leads past what was never delivered with it.
func TestARepeatedMessageOfTheHumanTimeHasItsOwnOutcome(t *testing.T) {
	w := newWorld(t, setup{})
	conv := w.ask(text("v1", "a", "agent")).Conversation
	if _, err := w.agent(conv, "rosa", conversation.Claim{Name: "Rosa"}); err != nil {
		t.Fatal(err)
	}
	first := w.ask(text("v1", "b", "my parcel is lost"))
	if _, err := w.agent(conv, "rosa", conversation.Reply{ID: "m_1", Name: "Rosa", Part: message.Part{Text: "On its way"}}); err != nil {
		t.Fatal(err)
	}
	w.ask(text("v1", "c", "thanks"))
	same := func(when string) {
		t.Helper()
		again := w.ask(text("v1", "b", "my parcel is lost"))
		if !slices.Equal(texts(again), texts(first)) || again.Cursor != first.Cursor || again.MergedInto != "" {
			t.Errorf("%s: %q at %s, at first %q at %s", when, texts(again), again.Cursor, texts(first), first.Cursor)
		}
	}
	same("after a reply")
	if _, err := w.agent(conv, "rosa", conversation.Release{}); err != nil {
		t.Fatal(err)
	}
	same("after the release")
	w.ask(text("v1", "d", "agent"))
	same("after the next handoff")
}

// What starts no turn is settled by its own commit too, also when it lies among messages that wait for the bot.
func TestAReactionHasItsOwnOutcome(t *testing.T) {
	w := newWorld(t, setup{})
	w.ask(text("v1", "a", "hello"))
	reaction := message.Inbound{ID: "b", From: visitor("v1"), Kind: message.Reaction}
	first := w.ask(reaction)
	w.ask(text("v1", "c", "agent"))
	again := w.ask(reaction)
	if len(first.Messages) != 0 || len(again.Messages) != 0 || again.Cursor != first.Cursor {
		t.Errorf("at first %q at %s, again %q at %s", texts(first), first.Cursor, texts(again), again.Cursor)
	}
}

// Only a message reopens: that somebody looks in, or uploads what he may never send, puts nothing into a queue.
func TestLookingInDoesNotReopen(t *testing.T) {
	w := newWorld(t, setup{})
	conv := w.ask(text("v1", "a", "agent")).Conversation
	for _, c := range []conversation.Command{conversation.Claim{Name: "Rosa"}, conversation.Resolve{}} {
		if _, err := w.agent(conv, "rosa", c); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.edge.Identify(ctxT(t), visitor("v1"), message.Profile{Subject: "7", Name: "Dana"}); err != nil {
		t.Fatal(err)
	}
	s := w.state(conv)
	if s.Owner.Kind != message.OwnerClosed || s.Profile == nil || s.Profile.Subject != "7" {
		t.Errorf("owner %+v, profile %+v", s.Owner, s.Profile)
	}
	files := w.edge.Files(memory{})
	a, err := files.Put(ctxT(t), visitor("v1"), "photo.png", reader("bytes"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if s := w.state(conv); s.Owner.Kind != message.OwnerClosed {
		t.Errorf("owner %+v after an upload", s.Owner)
	}
	if waiting, err := w.store.Waiting(ctxT(t), w.tenant, "", 10); err != nil || len(waiting) != 0 {
		t.Errorf("the queue holds %+v, %v", waiting, err)
	}
	// The message that names the file reopens, and its people find it.
	in := message.Inbound{ID: "b", From: visitor("v1"), Kind: message.Media, Attachments: []message.Attachment{a}}
	if out := w.ask(in); out.Conversation != conv || out.Owner.Kind != message.OwnerQueued {
		t.Errorf("%s, owner %+v", out.Conversation, out.Owner)
	}
	if _, body, err := files.Open(ctxT(t), w.ref(conv), a.ID); err != nil {
		t.Error(err)
	} else {
		body.Close()
	}
	// After the time to reopen the profile is that of a new conversation.
	if _, err := w.agent(conv, "rosa", conversation.Claim{Name: "Rosa"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.agent(conv, "rosa", conversation.Resolve{}); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Hour)
	if err := w.edge.Identify(ctxT(t), visitor("v1"), message.Profile{Subject: "7", Name: "Dana"}); err != nil {
		t.Fatal(err)
	}
	var page adapters.Page
	if page, err = w.edge.Read(ctxT(t), visitor("v1"), "", 10); err != nil || page.Conversation == conv {
		t.Errorf("the page is of %s, %v", page.Conversation, err)
	}
}

// A page that vouches for its user at every load adds to the log only what is new.
func TestTheSameProfileIsRecordedOnce(t *testing.T) {
	w := newWorld(t, setup{})
	conv := w.ask(text("v1", "a", "hello")).Conversation
	for _, name := range []string{"Ada", "Ada", "Ada L."} {
		p := message.Profile{Subject: "7", Name: name, Fields: map[string]any{"plan": "gold", "balance": 2.5}}
		if err := w.edge.Identify(ctxT(t), visitor("v1"), p); err != nil {
			t.Fatal(err)
		}
	}
	if n := count[*conversation.Profiled](w.log(conv)); n != 2 {
		t.Errorf("%d changes of the profile, want 2", n)
	}
}

// Who presses the button before writing anything is answered in the language that their chat is set to.
func TestTheButtonIsAnsweredInTheCustomersLanguage(t *testing.T) {
	w := newWorld(t, setup{})
	in := human("v1", "a")
	in.Lang = "es-MX"
	out := w.ask(in)
	if len(out.Messages) != 1 || out.Messages[0].Part.Lang != "es" {
		t.Errorf("said %+v", out.Messages)
	}
}

// A client knows by the end that a page names when it has caught up.
func TestAPageNamesTheEnd(t *testing.T) {
	w := newWorld(t, setup{})
	w.ask(text("v1", "a", "hello"))
	edge, err := w.p.Edge(visitor("v1").Channel)
	if err != nil {
		t.Fatal(err)
	}
	page, err := edge.Read(ctxT(t), visitor("v1"), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	end := page.End
	for range 10 {
		if page.Next == end {
			break
		}
		if page, err = edge.Read(ctxT(t), visitor("v1"), page.Next, 1); err != nil {
			t.Fatal(err)
		}
	}
	if page.Next != end {
		t.Fatalf("the pages end at %s, the end is %s", page.Next, end)
	}
	if page, err = edge.Read(ctxT(t), visitor("v1"), end, 1); err != nil || len(page.Events) != 0 {
		t.Errorf("after the end comes %+v, %v", page.Events, err)
	}
}
