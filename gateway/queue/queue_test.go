package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/queue"
	"turnout/gateway/queue/queuetest"
	"turnout/gateway/store"
)

var (
	acme  = queuetest.Tenant("acme")
	other = queuetest.Tenant("other")

	ann   = queue.Agent{Tenant: acme, ID: "ann", Name: "Ann", Queues: []string{"support"}, Capacity: 3}
	bob   = queue.Agent{Tenant: acme, ID: "bob", Name: "Bob", Queues: []string{"support"}, Capacity: 3}
	cleo  = queue.Agent{Tenant: acme, ID: "cleo", Name: "Cleo", Queues: []string{"emergency"}, Capacity: 3}
	sue   = queue.Agent{Tenant: acme, ID: "sue", Name: "Sue", Queues: nil, Capacity: 3, Supervisor: true}
	alien = queue.Agent{Tenant: other, ID: "ann", Name: "Not Ann", Queues: []string{"support", "emergency"}, Capacity: 3, Supervisor: true}
)

type fixture struct {
	*queuetest.Kit
	q   *queue.Queue
	dir *queuetest.Directory
	ctx context.Context
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Kit: queuetest.New(t), ctx: context.Background()}
	f.dir = &queuetest.Directory{People: []queue.Agent{ann, bob, cleo, sue, alien}, Desks: []string{"support", "emergency"}}
	f.q = f.Queue(t, f.dir)
	for _, a := range f.dir.People {
		f.present(t, a)
	}
	return f
}

func (f *fixture) present(t *testing.T, a queue.Agent) {
	t.Helper()
	if _, err := f.q.Heartbeat(f.ctx, a, true); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) claimed(t *testing.T, a queue.Agent) store.Ref {
	t.Helper()
	ref := f.Queued(t, a.Tenant, "support", "hello")
	if _, err := f.q.Claim(f.ctx, to(a, ref)); err != nil {
		t.Fatal(err)
	}
	return ref
}

func to(a queue.Agent, r store.Ref) queue.To { return queue.To{Agent: a, Conversation: r.ID} }

func keyed(a queue.Agent, r store.Ref, key string) queue.To {
	return queue.To{Agent: a, Conversation: r.ID, Key: key}
}

func override(a queue.Agent, r store.Ref) queue.To {
	return queue.To{Agent: a, Conversation: r.ID, Override: true}
}

func text(s string) queue.Reply { return queue.Reply{Part: message.Part{Text: s}} }

func count(events []conversation.Event, typ conversation.Type) (n int) {
	for _, e := range events {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestClaimHasOneWinner(t *testing.T) {
	for _, n := range []int{2, 32} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := setup(t)
			ref := f.Queued(t, acme, "support", "help")
			agents := make([]queue.Agent, n)
			for i := range agents {
				agents[i] = queue.Agent{
					Tenant: acme, ID: fmt.Sprintf("a%d", i), Name: fmt.Sprintf("Agent %d", i), Queues: []string{"support"}, Capacity: 1,
				}
				f.present(t, agents[i])
			}
			errs := make([]error, n)
			var start, end sync.WaitGroup
			start.Add(1)
			for i := range agents {
				end.Add(1)
				go func() {
					defer end.Done()
					start.Wait()
					_, errs[i] = f.q.Claim(f.ctx, to(agents[i], ref))
				}()
			}
			start.Done()
			end.Wait()
			owner := f.State(t, ref).Owner
			wins := 0
			for i, err := range errs {
				var lost *conversation.ClaimedError
				switch {
				case err == nil:
					wins++
					if owner.Agent != agents[i].ID {
						t.Errorf("%s was told to have won, the owner is %s", agents[i].ID, owner.Agent)
					}
				case !errors.As(err, &lost):
					t.Errorf("%s got %v, want a ClaimedError", agents[i].ID, err)
				case lost.Winner != owner:
					t.Errorf("%s was told that %+v won, it was %+v", agents[i].ID, lost.Winner, owner)
				}
			}
			if wins != 1 {
				t.Errorf("%d winners, want 1", wins)
			}
			for _, a := range agents {
				p, err := f.q.Presence(f.ctx, a)
				if err != nil {
					t.Fatal(err)
				}
				want := 0
				if a.ID == owner.Agent {
					want = 1
				}
				if p.Load != want {
					t.Errorf("load of %s is %d, want %d: a reservation was left behind", a.ID, p.Load, want)
				}
			}
		})
	}
}

func TestClaimKeepsToCapacity(t *testing.T) {
	f := setup(t)
	refs := make([]store.Ref, 12)
	for i := range refs {
		refs[i] = f.Queued(t, acme, "support", "help")
	}
	var wg sync.WaitGroup
	errs := make([]error, len(refs))
	for i := range refs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, errs[i] = f.q.Claim(f.ctx, to(ann, refs[i]))
		}()
	}
	wg.Wait()
	held := 0
	for i, err := range errs {
		if err == nil {
			held++
		} else if !errors.Is(err, store.ErrCapacity) {
			t.Errorf("claim %d: %v, want success or ErrCapacity", i, err)
		}
	}
	if held != ann.Capacity {
		t.Errorf("ann holds %d conversations, want %d", held, ann.Capacity)
	}
}

func TestClaimGivesBackItsReservation(t *testing.T) {
	f := setup(t)
	tight := ann
	tight.Capacity = 1
	f.present(t, tight)
	ref := f.Queued(t, acme, "support", "help")
	boom := errors.New("boom")
	f.Faults = func(_ context.Context, p fault.Point) error {
		if p == fault.ClaimReserved {
			return boom
		}
		return nil
	}
	_, err := f.q.Claim(f.ctx, to(tight, ref))
	wantErr(t, err, boom)
	f.Faults = nil
	if _, err := f.q.Claim(f.ctx, to(tight, ref)); err != nil {
		t.Errorf("claiming after a failed attempt: %v", err)
	}
}

func TestClaimStartsOverWhenTheConversationMoves(t *testing.T) {
	f := setup(t)
	ref := f.Queued(t, acme, "support", "help")
	tries := 0
	f.Faults = func(context.Context, fault.Point) error {
		if tries++; tries == 1 {
			f.Do(t, ref, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1 << 50}})
		}
		return nil
	}
	if _, err := f.q.Claim(f.ctx, to(ann, ref)); err != nil {
		t.Fatal(err)
	}
	if tries != 2 {
		t.Errorf("%d attempts, want 2", tries)
	}
	if p, _ := f.q.Presence(f.ctx, ann); p.Load != 1 {
		t.Errorf("load %d, want 1", p.Load)
	}
}

func TestClaimRights(t *testing.T) {
	f := setup(t)
	waiting := f.Queued(t, acme, "support", "help")
	withBot := f.Open(t, acme, "hello")
	held := f.claimed(t, bob)
	absent := queue.Agent{Tenant: acme, ID: "absent", Queues: []string{"support"}, Capacity: 1}
	tests := []struct {
		name string
		to   queue.To
		want error
	}{
		{"another tenant's", to(alien, waiting), store.ErrNotFound},
		{"malformed id", queue.To{Agent: ann, Conversation: "nonsense"}, store.ErrNotFound},
		{"another queue", to(cleo, waiting), queue.ErrForbidden},
		{"with the bot, by an agent", to(ann, withBot), queue.ErrForbidden},
		{"override by an agent", override(ann, held), queue.ErrForbidden},
		{"not present", to(absent, waiting), store.ErrCapacity},
		{"own", to(bob, held), nil},
		{"with the bot, by a supervisor", to(sue, withBot), nil},
		{"override by a supervisor", override(sue, held), nil},
		{"waiting", to(ann, waiting), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.q.Claim(f.ctx, tt.to)
			wantErr(t, err, tt.want)
		})
	}
	events := f.Log(t, held)
	if last := events[len(events)-1]; last.Actor != (conversation.Actor{Kind: conversation.Supervisor, ID: "sue"}) {
		t.Errorf("the override was by %+v, want the supervisor", last.Actor)
	}
	entries, err := f.Store.Entries(f.ctx, acme, "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, e := range entries {
		all += string(e) + "\n"
	}
	for _, want := range []string{"claim override " + held.ID, "claim " + waiting.ID, `"actor":"agent:cleo"`} {
		if !strings.Contains(all, want) {
			t.Errorf("the tenant's chain has no entry with %q:\n%s", want, all)
		}
	}
}

func TestReplyNeedsOwnership(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	if _, err := f.q.Reply(f.ctx, to(ann, ref), text("hi")); err != nil {
		t.Error(err)
	}
	_, err := f.q.Reply(f.ctx, to(bob, ref), text("me too"))
	wantErr(t, err, conversation.ErrNotOwner)
	_, err = f.q.Reply(f.ctx, to(alien, ref), text("me too"))
	wantErr(t, err, store.ErrNotFound)
	var invalid *queue.InvalidError
	if _, err = f.q.Reply(f.ctx, to(ann, ref), queue.Reply{}); !errors.As(err, &invalid) {
		t.Errorf("an empty reply: %v, want an InvalidError", err)
	}
	if n := count(f.Log(t, ref), conversation.MessageSent); n != 1 {
		t.Errorf("%d messages sent, want 1", n)
	}
}

func TestRepeatsTakeEffectOnce(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	first, err := f.q.Reply(f.ctx, keyed(ann, ref, "k1"), text("once"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Partition(id.Message, first.Message); err != nil {
		t.Errorf("message id %q: %v", first.Message, err)
	}
	for range 200 { // further than the store remembers operations and than one page of the log
		if _, err := f.q.Note(f.ctx, to(ann, ref), "a remark"); err != nil {
			t.Fatal(err)
		}
	}
	again, err := f.q.Reply(f.ctx, keyed(ann, ref, "k1"), text("once"))
	if err != nil {
		t.Fatal(err)
	}
	if again.Message != first.Message || !again.Repeated {
		t.Errorf("the repeat returned %+v, want message %s", again, first.Message)
	}
	_, err = f.q.Reply(f.ctx, keyed(ann, ref, "k1"), text("something else"))
	wantErr(t, err, queue.ErrMismatch)
	if n := count(f.Log(t, ref), conversation.MessageSent); n != 1 {
		t.Errorf("%d messages sent, want 1", n)
	}
	// The key belongs to one agent, one act and one conversation.
	if _, err := f.q.Note(f.ctx, keyed(ann, ref, "k1"), "a note under the same key"); err != nil {
		t.Error(err)
	}
	f.Clock.Add(queue.KeyLife + time.Hour)
	late, err := f.q.Reply(f.ctx, keyed(ann, ref, "k1"), text("once"))
	if err != nil || late.Repeated {
		t.Errorf("a key was remembered for longer than KeyLife: %+v, %v", late, err)
	}
}

func TestRepeatsAtOnceTakeEffectOnce(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	second := f.Queue(t, f.dir) // another queue, as after a restart or on another node: no gate in common
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Add(1)
		go func() {
			defer wg.Done()
			q := f.q
			if i%2 == 1 {
				q = second
			}
			r, err := q.Reply(f.ctx, keyed(ann, ref, "k"), text("once"))
			if err != nil {
				t.Error(err)
			}
			ids[i] = r.Message
		}()
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("two ids for one message: %s and %s", id, ids[0])
		}
	}
	if n := count(f.Log(t, ref), conversation.MessageSent); n != 1 {
		t.Errorf("%d messages sent, want 1", n)
	}
}

func TestRepeatAfterTheConversationLeft(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	for i := range 2 {
		r, err := f.q.Resolve(f.ctx, keyed(ann, ref, "bye"), "done")
		if err != nil || r.Repeated != (i == 1) {
			t.Errorf("resolve %d: %+v, %v", i, r, err)
		}
	}
	ref = f.claimed(t, ann)
	for i := range 2 {
		r, err := f.q.Transfer(f.ctx, keyed(ann, ref, "over"), queue.Transfer{Queue: "emergency"})
		if err != nil || r.Repeated != (i == 1) || r.Owner.Queue != "emergency" {
			t.Errorf("transfer %d: %+v, %v", i, r, err)
		}
	}
}

func TestSendHold(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	hold := queue.Reply{Part: message.Part{Text: "wait"}, Hold: 10 * time.Second}
	r, err := f.q.Reply(f.ctx, to(ann, ref), hold)
	if err != nil || r.HeldUntil == nil || !r.HeldUntil.Equal(f.Clock.Now().Add(10*time.Second)) {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = f.q.Undo(f.ctx, to(bob, ref), r.Message)
	wantErr(t, err, conversation.ErrNotOwner)
	if _, err := f.q.Undo(f.ctx, to(ann, ref), r.Message); err != nil {
		t.Error(err)
	}
	_, err = f.q.Undo(f.ctx, to(ann, ref), r.Message)
	wantErr(t, err, conversation.ErrStale)
	if r, err = f.q.Reply(f.ctx, to(ann, ref), hold); err != nil {
		t.Fatal(err)
	}
	f.Clock.Add(11 * time.Second)
	f.Pipeline.Sweep(f.ctx)
	sent := 0
	for _, e := range f.Log(t, ref) {
		if d, ok := e.Data.(*conversation.Sent); ok {
			sent++
			if d.ID != r.Message || e.VSeq == 0 {
				t.Errorf("sent %+v", d)
			}
		}
	}
	if sent != 1 {
		t.Errorf("%d messages sent, want the one that was not undone", sent)
	}
}

func TestTransfer(t *testing.T) {
	f := setup(t)
	ref := f.claimed(t, ann)
	var invalid *queue.InvalidError
	for _, bad := range []queue.Transfer{{}, {Agent: "bob", Queue: "support"}, {Agent: "nobody"}, {Queue: "nowhere"}} {
		if _, err := f.q.Transfer(f.ctx, to(ann, ref), bad); !errors.As(err, &invalid) {
			t.Errorf("transfer to %+v: %v, want an InvalidError", bad, err)
		}
	}
	_, err := f.q.Transfer(f.ctx, to(bob, ref), queue.Transfer{Agent: "bob"})
	wantErr(t, err, conversation.ErrNotOwner)
	if _, err := f.q.Heartbeat(f.ctx, bob, false); err != nil {
		t.Fatal(err)
	}
	_, err = f.q.Transfer(f.ctx, to(ann, ref), queue.Transfer{Agent: "bob"})
	wantErr(t, err, store.ErrCapacity)
	f.present(t, bob)
	before := len(f.Log(t, ref))
	r, err := f.q.Transfer(f.ctx, to(ann, ref), queue.Transfer{Agent: "bob", Note: "knows the case"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Owner.Agent != "bob" || r.Owner.Name != "Bob" || r.Note == "" {
		t.Errorf("%+v", r)
	}
	for _, e := range f.Log(t, ref)[before:] {
		if e.Op != f.Log(t, ref)[before].Op {
			t.Error("note and transfer are not one commit")
		}
	}
	if p, _ := f.q.Presence(f.ctx, bob); p.Load != 1 {
		t.Errorf("bob's load is %d, want 1", p.Load)
	}
	if r, err = f.q.Escalate(f.ctx, to(bob, ref), queue.Escalate{Queue: "emergency", Priority: conversation.PriorityUrgent}); err != nil {
		t.Fatal(err)
	}
	if s := f.State(t, ref); s.Owner.Queue != "emergency" || s.Handoff.Priority != conversation.PriorityUrgent {
		t.Errorf("owner %+v, handoff %+v", s.Owner, s.Handoff)
	}
}

func TestReleaseStaysWithPeopleAfterTwoReturns(t *testing.T) {
	f := setup(t)
	ref := f.Queued(t, acme, "support", "help")
	for range conversation.MaxReturns {
		if _, err := f.q.Claim(f.ctx, to(sue, ref)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.q.Release(f.ctx, to(sue, ref), ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.q.Claim(f.ctx, to(sue, ref)); err != nil {
		t.Fatal(err)
	}
	_, err := f.q.Release(f.ctx, to(sue, ref), "")
	wantErr(t, err, conversation.ErrReturnLimit)
	if _, err := f.q.Release(f.ctx, override(sue, ref), "the bot knows this one"); err != nil {
		t.Error(err)
	}
}

func TestListShowsWhatAnAgentMayTake(t *testing.T) {
	f := setup(t)
	early := f.Queued(t, acme, "support", "first")
	f.Clock.Add(time.Minute)
	late := f.Queued(t, acme, "support", "second", strings.Repeat("long ", 60))
	aside := f.Queued(t, acme, "support", "set aside")
	f.Do(t, aside, conversation.Capture{Queue: "support"})
	f.Clock.Add(time.Minute)
	later := f.Queued(t, acme, "emergency", "set aside, urgent")
	f.Do(t, later, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "emergency", Priority: conversation.PriorityUrgent}})
	f.Do(t, later, conversation.Capture{Queue: "emergency"})
	urgent := f.Queued(t, acme, "emergency", "third")
	f.Do(t, urgent, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "emergency", Priority: conversation.PriorityUrgent}})
	f.Queued(t, other, "support", "foreign")
	f.present(t, ann)
	mine := f.claimed(t, ann)

	list := func(a queue.Agent, filter queue.Filter) string {
		t.Helper()
		rows, err := f.q.List(f.ctx, a, filter)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range rows {
			ids = append(ids, fmt.Sprintf("%s@%d", r.Conversation, r.Position))
		}
		return strings.Join(ids, " ")
	}
	for _, tt := range []struct {
		agent  queue.Agent
		filter queue.Filter
		want   string
	}{
		{ann, queue.Filter{}, early.ID + "@1 " + late.ID + "@2"},
		{ann, queue.Filter{Limit: 1}, early.ID + "@1"},
		{cleo, queue.Filter{}, urgent.ID + "@1"},
		{sue, queue.Filter{}, urgent.ID + "@1 " + early.ID + "@1 " + late.ID + "@2"},
		{sue, queue.Filter{Queue: "support"}, early.ID + "@1 " + late.ID + "@2"},
		{ann, queue.Filter{View: queue.Mine}, mine.ID + "@0"},
		{bob, queue.Filter{View: queue.Mine}, ""},
		{ann, queue.Filter{View: queue.Captured}, aside.ID + "@0"},
		{cleo, queue.Filter{View: queue.Captured}, later.ID + "@0"},
		{sue, queue.Filter{View: queue.Captured}, aside.ID + "@0 " + later.ID + "@0"},
		{sue, queue.Filter{View: queue.Captured, Queue: "emergency"}, later.ID + "@0"},
		{alien, queue.Filter{View: queue.Captured}, ""},
	} {
		if got := list(tt.agent, tt.filter); got != tt.want {
			t.Errorf("%s %+v: %s, want %s", tt.agent.ID, tt.filter, got, tt.want)
		}
	}
	_, err := f.q.List(f.ctx, ann, queue.Filter{Queue: "emergency"})
	wantErr(t, err, queue.ErrForbidden)
	rows, err := f.q.List(f.ctx, ann, queue.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	r := rows[1]
	if r.Rule != "test.rule" || r.Reason == "" || r.Since == nil || r.Channel != "acme.web" || r.Priority != conversation.PriorityNormal {
		t.Errorf("row %+v", r)
	}
	if r.Last == nil || r.Last.By != message.ByCustomer || len([]rune(r.Last.Text)) != 160 {
		t.Errorf("last words %+v", r.Last)
	}
}

func TestGetTellsEverything(t *testing.T) {
	f := setup(t)
	from := message.Address{Channel: "acme.web", Address: "v_x"}
	before := f.OpenFrom(t, acme, from, "long ago")
	ref := f.OpenFrom(t, acme, from, "I want my money back")
	f.Do(t, ref, conversation.StartTurn{ID: "t_1", Bot: "shop"})
	f.Do(t, ref, conversation.AnswerTurn{Turn: "t_1", Decision: conversation.Decision{
		Kind: conversation.DecisionHandoff, Rule: "refund", Matched: []string{"refund"}, Withheld: []message.Part{{Text: "no refunds"}},
	}})
	f.Do(t, ref, conversation.SetProfile{Profile: message.Profile{Subject: "42", Name: "Dana"}})
	f.Do(t, ref, conversation.Divert{Handoff: conversation.Handoff{Rule: "refund", Reason: "Refunds are for people.", Queue: "support", Priority: 7}})
	if _, err := f.q.Claim(f.ctx, to(ann, ref)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.q.Note(f.ctx, to(ann, ref), "be kind"); err != nil {
		t.Fatal(err)
	}
	c, err := f.q.Get(f.ctx, ann, ref.ID, queue.Window{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Customer != "Dana" || c.Owner.Agent != "ann" || c.Rule != "refund" || c.Reason != "Refunds are for people." || c.Address != "v_x" {
		t.Errorf("context %+v", c)
	}
	if len(c.Previous) != 1 || c.Previous[0].Conversation != before.ID {
		t.Errorf("previous %+v", c.Previous)
	}
	var decision *queue.Decision
	var moved *queue.Moved
	var epoch conversation.Epoch
	var note *queue.Note
	for _, e := range c.Events {
		switch {
		case e.Decision != nil:
			decision = e.Decision
		case e.Owner != nil:
			moved, epoch = e.Owner, e.Epoch
		case e.Note != nil:
			note = e.Note
			if e.VSeq != 0 {
				t.Error("a note has a place in what the customer sees")
			}
		}
	}
	if decision == nil || decision.Rule != "refund" || len(decision.Withheld) != 1 || decision.Withheld[0].Text != "no refunds" {
		t.Errorf("decision %+v", decision)
	}
	if moved == nil || moved.To.Agent != "ann" || epoch != c.Epoch {
		t.Errorf("owner line %+v of epoch %+v, the state's is %+v", moved, epoch, c.Epoch)
	}
	if note == nil || note.Text != "be kind" {
		t.Errorf("note %+v", note)
	}
	page, err := f.q.Get(f.ctx, ann, ref.ID, queue.Window{After: 2, Limit: 2})
	if err != nil || len(page.Events) != 2 || page.Events[0].Seq != 3 || !page.More {
		t.Errorf("page after 2: %+v, %v", page.Events, err)
	}
	_, err = f.q.Get(f.ctx, cleo, ref.ID, queue.Window{})
	wantErr(t, err, queue.ErrForbidden)
	_, err = f.q.Get(f.ctx, alien, ref.ID, queue.Window{})
	wantErr(t, err, store.ErrNotFound)
}

func TestPresenceLapses(t *testing.T) {
	f := setup(t)
	p, err := f.q.Heartbeat(f.ctx, ann, true)
	if err != nil || !p.On || !p.Until.Equal(f.Clock.Now().Add(queue.PresenceFor)) {
		t.Errorf("%+v, %v", p, err)
	}
	f.Clock.Add(queue.PresenceFor)
	if p, err = f.q.Presence(f.ctx, ann); err != nil || p.On {
		t.Errorf("after its time: %+v, %v", p, err)
	}
	if p, err = f.q.Heartbeat(f.ctx, ann, false); err != nil || p.On {
		t.Errorf("after leaving: %+v, %v", p, err)
	}
}

func TestChangesFollowTheQueues(t *testing.T) {
	f := setup(t)
	_, cursor, err := f.q.Changes(f.ctx, ann, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	wake := make(chan struct{}, 2)
	stop := f.q.WatchChanges(acme, func() { wake <- struct{}{} })
	defer stop()
	ref := f.Queued(t, acme, "support", "help")
	<-wake // the hint comes in the commit
	foreign := f.Queued(t, acme, "emergency", "help")
	changes, next, err := f.q.Changes(f.ctx, ann, cursor, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 2 || changes[0].Conversation != ref.ID || changes[0].Gone || changes[0].Owner.Queue != "support" {
		t.Errorf("changes %+v", changes)
	}
	if c := changes[1]; c != (queue.Change{Conversation: foreign.ID, Gone: true}) {
		t.Errorf("another queue's change tells %+v", c)
	}
	if more, _, err := f.q.Changes(f.ctx, ann, next, 10); err != nil || len(more) != 0 {
		t.Errorf("after the last: %+v, %v", more, err)
	}
	_, _, err = f.q.Changes(f.ctx, ann, "nonsense", 10)
	wantErr(t, err, store.ErrGap)
	if theirs, _, err := f.q.Changes(f.ctx, alien, "", 10); err != nil || len(theirs) != 0 {
		t.Errorf("another tenant sees %+v, %v", theirs, err)
	}
}
