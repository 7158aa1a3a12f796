package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

func (f *fixture) receive(t *testing.T, ref store.Ref, text string) {
	t.Helper()
	part, err := id.Partition(id.Conversation, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	in := message.Inbound{ID: f.IDs.Token(), From: f.State(t, ref).From, Kind: message.Text, Text: text}
	f.Do(t, ref, conversation.Receive{ID: f.IDs.New(id.Message, part), In: in})
}

func (f *fixture) row(t *testing.T, a queue.Agent, ref store.Ref) queue.Row {
	t.Helper()
	c, err := f.q.Get(f.ctx, a, ref.ID, queue.Window{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Row
}

// TestPagesGoOnWhateverComes: what comes in ahead of a page hides nothing of what is behind it.
func TestPagesGoOnWhateverComes(t *testing.T) {
	two := ann
	two.Queues = []string{"support", "emergency"}
	for who, a := range map[string]queue.Agent{"an agent": ann, "an agent of two queues": two, "a supervisor": sue} {
		f := setup(t)
		urgent := func() {
			f.Do(t, f.Open(t, acme, "help"), conversation.Divert{Handoff: conversation.Handoff{Rule: "x", Queue: "support", Priority: conversation.PriorityUrgent}})
		}
		var want, got []string
		for i := range 5 {
			want = append(want, f.Queued(t, acme, append(slices.Clone(a.Queues), "support")[i%max(1, len(a.Queues))], "hello").ID)
			f.Clock.Add(time.Second)
		}
		for after := ""; ; {
			rows, next, err := f.q.Page(f.ctx, a, queue.Filter{View: queue.Waiting, Limit: 2, After: after})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				got = append(got, r.Conversation)
			}
			for range 7 {
				urgent()
			}
			if after = next; after == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d of %d: %q, want %q", who, len(got), len(want), got, want)
		}
	}
}

// TestWhatIsOwed: an answer is owed from the handoff on, until a person has said something, and again from the first
// message after that.
func TestWhatIsOwed(t *testing.T) {
	f := setup(t)
	owed := func(ref store.Ref, want time.Time) {
		t.Helper()
		got := f.row(t, sue, ref).Owed
		if want.IsZero() && got != nil || !want.IsZero() && (got == nil || !got.Equal(want)) {
			t.Errorf("owed since %v, want %v", got, want)
		}
	}
	ref := f.Open(t, acme, "good morning")
	owed(ref, time.Time{}) // the bot has it
	f.Clock.Add(time.Minute)
	handoff := f.Clock.Now()
	f.Do(t, ref, conversation.Divert{Handoff: conversation.Handoff{Rule: "x", Queue: "support", Priority: 5}})
	owed(ref, handoff)
	f.Clock.Add(time.Minute)
	f.receive(t, ref, "anybody?")
	owed(ref, handoff) // not the later message's
	f.present(t, ann)
	if _, err := f.q.Claim(f.ctx, to(ann, ref)); err != nil {
		t.Fatal(err)
	}
	owed(ref, handoff)
	if _, err := f.q.Reply(f.ctx, to(ann, ref), text("here")); err != nil {
		t.Fatal(err)
	}
	owed(ref, time.Time{})
	f.Clock.Add(time.Minute)
	first := f.Clock.Now()
	f.receive(t, ref, "one more")
	f.Clock.Add(time.Minute)
	f.receive(t, ref, "and another")
	owed(ref, first)
	if _, err := f.q.Note(f.ctx, to(ann, ref), "a note answers nobody"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.q.Reply(f.ctx, to(ann, ref), queue.Reply{Part: message.Part{Text: "held"}, Hold: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	owed(ref, first) // what is held has not been said
	if _, err := f.q.Resolve(f.ctx, to(ann, ref), ""); err != nil {
		t.Fatal(err)
	}
	owed(ref, time.Time{})

	// Far more than is looked through: the oldest one seen counts, and the list still has its last words.
	f.present(t, ann)
	long := f.claimed(t, ann)
	for i := range 300 {
		f.receive(t, long, fmt.Sprint("message ", i))
	}
	row := f.row(t, ann, long)
	if row.Owed == nil || row.Last == nil || row.Last.Text != "message 299" || row.Last.Seq != row.Seq {
		t.Errorf("after 300 messages: owed %v, last %+v", row.Owed, row.Last)
	}
}

// TestWindows: a log is read forwards from a place and backwards from a place, without gaps and with an honest word on
// what there is on either side.
func TestWindows(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	for i := range 40 {
		f.receive(t, ref, fmt.Sprint("message ", i))
	}
	last := f.State(t, ref).Seq
	read := func(w queue.Window) queue.Page {
		t.Helper()
		p, err := f.q.Events(f.ctx, ann, ref.ID, w)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		w             queue.Window
		first, last   uint64
		earlier, more bool
	}{
		{queue.Window{}, 1, last, false, false},
		{queue.Window{Limit: 10}, 1, 10, false, true},
		{queue.Window{After: 10, Limit: 10}, 11, 20, true, true},
		{queue.Window{Before: 1 << 62, Limit: 10}, last - 9, last, true, false},
		{queue.Window{Before: last, Limit: 10}, last - 10, last - 1, true, true},
		{queue.Window{Before: 6, Limit: 10}, 1, 5, false, true},
		{queue.Window{Before: last + 1, Limit: 500}, 1, last, false, false},
	} {
		p := read(c.w)
		if len(p.Events) == 0 || p.Events[0].Seq != c.first || p.Events[len(p.Events)-1].Seq != c.last {
			t.Errorf("%+v: %d events", c.w, len(p.Events))
			continue
		}
		for i, e := range p.Events {
			if e.Seq != c.first+uint64(i) {
				t.Errorf("%+v: event %d in the place of %d", c.w, e.Seq, c.first+uint64(i))
			}
		}
		if p.Earlier != c.earlier || p.More != c.more {
			t.Errorf("%+v: earlier %v, more %v", c.w, p.Earlier, p.More)
		}
	}
	if p := read(queue.Window{Before: 1, Limit: 10}); len(p.Events) != 0 || p.Earlier || !p.More {
		t.Errorf("before the first: %+v", p)
	}
	// Backwards to the beginning, page by page.
	seen := uint64(0)
	for before := uint64(1 << 62); ; {
		p := read(queue.Window{Before: before, Limit: 7})
		seen += uint64(len(p.Events))
		before = p.Events[0].Seq
		if !p.Earlier {
			break
		}
	}
	if seen != last {
		t.Errorf("read %d events backwards, want %d", seen, last)
	}
}

// TestPast: who sees what a customer wants now may read what there was before, and nothing of anybody else.
func TestPast(t *testing.T) {
	f := setup(t)
	from := message.Address{Channel: "acme.web", Address: "v_past"}
	before := f.OpenFrom(t, acme, from, "where is my parcel "+strings.Repeat("really ", 40))
	now := f.OpenFrom(t, acme, from, "hello again")
	f.Do(t, now, conversation.Divert{Handoff: conversation.Handoff{Rule: "x", Queue: "support", Priority: 5}})
	stranger := f.Open(t, acme, "somebody else")
	foreign := f.OpenFrom(t, other, message.Address{Channel: "acme.web", Address: "v_past"}, "another tenant")

	_, err := f.q.Get(f.ctx, ann, before.ID, queue.Window{})
	wantErr(t, err, queue.ErrForbidden) // the bot's, and no business of an agent by itself
	p, err := f.q.Past(f.ctx, ann, now.ID, before.ID, queue.Window{})
	if err != nil || p.Conversation != before.ID || len(p.Events) != 2 || p.Events[1].Message.Text[:5] != "where" {
		t.Errorf("%+v, %v", p, err)
	}
	c, err := f.q.Get(f.ctx, ann, now.ID, queue.Window{})
	if err != nil || len(c.Previous) != 1 || !strings.HasPrefix(c.Previous[0].About, "where is my parcel") || len([]rune(c.Previous[0].About)) != 160 {
		t.Errorf("previous %+v, %v", c.Previous, err)
	}
	for _, id := range []string{stranger.ID, foreign.ID, "c_nonsense"} {
		_, err = f.q.Past(f.ctx, ann, now.ID, id, queue.Window{})
		wantErr(t, err, store.ErrNotFound)
	}
	_, err = f.q.Past(f.ctx, cleo, now.ID, before.ID, queue.Window{})
	wantErr(t, err, queue.ErrForbidden)
	_, err = f.q.Past(f.ctx, alien, now.ID, before.ID, queue.Window{})
	wantErr(t, err, store.ErrNotFound)
}

func TestColleagues(t *testing.T) {
	f := setup(t)
	f.claimed(t, ann)
	if _, err := f.q.Heartbeat(f.ctx, bob, false); err != nil {
		t.Fatal(err)
	}
	c, err := f.q.Colleagues(f.ctx, cleo)
	if err != nil || len(c.Agents) != 4 || len(c.Queues) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	by := map[string]queue.Colleague{}
	for _, a := range c.Agents {
		by[a.ID] = a
	}
	if a := by["ann"]; !a.On || a.Load != 1 || a.Capacity != 3 || a.Name != "Ann" {
		t.Errorf("ann: %+v", a)
	}
	if b := by["bob"]; b.On || b.Load != 0 {
		t.Errorf("bob: %+v", b)
	}
	f.Clock.Add(queue.PresenceFor)
	if c, err = f.q.Colleagues(f.ctx, cleo); err != nil || c.Agents[0].On {
		t.Errorf("after its time: %+v, %v", c.Agents, err)
	}
}

// A channel that takes replies for some time only says until when, and after that takes none; a note is always possible.
func TestReplyWindow(t *testing.T) {
	f := setup(t)
	limited := f.claimed(t, ann)
	channel := f.State(t, limited).From.Channel
	f.q.Window = func(c string) time.Duration {
		if c == channel {
			return 24 * time.Hour
		}
		return 0
	}
	until := f.Clock.Now().Add(24 * time.Hour)
	rows, err := f.q.List(f.ctx, ann, queue.Filter{View: queue.Mine})
	if err != nil || len(rows) != 1 || rows[0].WindowUntil == nil || !rows[0].WindowUntil.Equal(until.UTC().Truncate(time.Millisecond)) {
		t.Fatalf("%+v, %v, want until %v", rows, err, until)
	}
	f.Clock.Add(24*time.Hour - time.Minute)
	f.present(t, ann)
	hold := queue.Reply{Part: message.Part{Text: "wait"}, Hold: 30 * time.Second}
	if _, err := f.q.Reply(f.ctx, to(ann, limited), hold); err != nil {
		t.Errorf("a minute before: %v", err)
	}
	f.Clock.Add(40 * time.Second)
	if _, err := f.q.Reply(f.ctx, to(ann, limited), hold); !errors.Is(err, queue.ErrWindowClosed) {
		t.Errorf("what would leave too late: %v", err)
	}
	if _, err := f.q.Reply(f.ctx, to(ann, limited), queue.Reply{Part: message.Part{Text: "now"}}); err != nil {
		t.Errorf("20 s before: %v", err)
	}
	f.Clock.Add(20 * time.Second)
	if _, err := f.q.Reply(f.ctx, to(ann, limited), queue.Reply{Part: message.Part{Text: "now"}}); !errors.Is(err, queue.ErrWindowClosed) {
		t.Errorf("at the end: %v", err)
	}
	if _, err := f.q.Note(f.ctx, to(ann, limited), "they have to write first"); err != nil {
		t.Errorf("a note: %v", err)
	}
}
