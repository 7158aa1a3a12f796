package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/lookup"
	"turnout/gateway/store"
)

const lateRules = `
rules:
  - {id: gold, why: w, when: 'account.fields.plan == "gold" && phrase("cancel")', then: {handoff: {queue: emergency, priority: high}, say: {en: Somebody looks at it.}}}
  - {id: silver, why: w, when: 'account.fields.plan == "silver"', then: {tags: [silver], say: {en: Silver.}}}
  - {id: stranger, why: w, when: 'account.known == false', then: {tags: [stranger]}}
  - {id: watched, why: w, mode: shadow, when: 'account.tickets > 0 && queues.support.waiting >= 0', then: {tags: [never]}}
  - {id: hello, why: w, when: 'phrase("hello")', then: {tags: [hello]}}
  - {id: answer, why: w, on: answer, when: 'account.fields.plan == "silver" && phrase(bot.text, "price")', then: {replace: {en: Ask us.}}}
`

// crm is a lookup whose answers the test gives.
type crm struct {
	clock *clock
	mu    sync.Mutex
	known map[string]message.Account // at hand; fresh
	stale map[string]bool
	asked chan string
	// answer gives what a call brings; nil answers from says.
	answer func(ctx context.Context, subject string) (message.Account, error)
	says   map[string]message.Account
}

func newCRM() *crm {
	return &crm{known: map[string]message.Account{}, stale: map[string]bool{}, asked: make(chan string, 1000), says: map[string]message.Account{}}
}

func plan(name string, tickets int) message.Account {
	a := message.Account{Fields: map[string]any{"plan": name}}
	for i := range tickets {
		a.Tickets = append(a.Tickets, message.Ticket{ID: fmt.Sprint(i), Subject: "It broke", Status: "open", URL: "https://crm.example/1"})
	}
	return a
}

func (c *crm) at(subject string, a message.Account) *message.Account {
	a.Subject, a.At = subject, c.clock.Now().UTC().Truncate(time.Millisecond)
	return &a
}

func (c *crm) Known(p *message.Profile) (*message.Account, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.known[p.Subject]
	if !ok {
		return nil, false
	}
	return &a, !c.stale[p.Subject]
}

func (c *crm) Asks(p *message.Profile) bool { return p != nil }

func (c *crm) Ask(ctx context.Context, p *message.Profile) (*message.Account, error) {
	c.asked <- p.Subject
	c.mu.Lock()
	answer := c.answer
	a, ok := c.says[p.Subject]
	c.mu.Unlock()
	if answer != nil {
		var err error
		if a, err = answer(ctx, p.Subject); err != nil {
			return nil, err
		}
	} else if !ok {
		return nil, errors.New("it is down")
	}
	return c.at(p.Subject, a), nil
}

func (c *crm) hand(subject string, a message.Account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[subject] = *c.at(subject, a)
}

func (c *crm) does(answer func(ctx context.Context, subject string) (message.Account, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func from(in message.Inbound, subject string) message.Inbound {
	in.Profile = &message.Profile{Subject: subject, Name: "Eve"}
	return in
}

// lateWorld is a world with a lookup, whose waits end when the test says so: never, unless it does.
type lateWorld struct {
	*world
	crm   *crm
	waits chan time.Duration
	over  chan time.Time
}

func newLateWorld(t *testing.T, s setup) *lateWorld {
	t.Helper()
	l := &lateWorld{crm: newCRM(), waits: make(chan time.Duration, 100), over: make(chan time.Time)}
	if s.rules == "" {
		s.rules = lateRules
	}
	s.lookup = l.crm
	s.after = func(d time.Duration) <-chan time.Time {
		l.waits <- d
		return l.over
	}
	c := &clock{}
	l.crm.clock = c
	s.clock = c
	l.world = newWorld(t, s)
	return l
}

func (l *lateWorld) account(conv string) *message.Account { return l.state(conv).Account }

// equal recomputes a conversation's log.
func (l *lateWorld) equal(conv string) {
	l.t.Helper()
	odd, all := recompute(l.t, stored(l.t, l.log(conv)), lexical(l.t), book(l.t, lateRules))
	for seq, c := range odd {
		l.t.Errorf("event %d: %s", seq, c)
	}
	if all == 0 {
		l.t.Error("nothing was recomputed")
	}
}

func recv[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// TestLateInTime: what comes within the wait is judged before the bot is asked, by the rules that read it and no other.
func TestLateInTime(t *testing.T) {
	l := newLateWorld(t, setup{})
	l.crm.says["eve"] = plan("silver", 1)
	out := l.ask(from(text("v1", "1", "hello, what is the price"), "eve"))
	st := l.state(out.Conversation)
	if !slices.Equal(st.Tags, []string{"hello", "silver"}) || st.Account == nil || st.Account.Fields["plan"] != "silver" {
		t.Errorf("tags %v, account %+v", st.Tags, st.Account)
	}
	said := []string{}
	for _, m := range out.Messages {
		said = append(said, m.Part.Text)
	}
	if !slices.Equal(said, []string{"Silver.", "Ask us."}) {
		t.Errorf("the customer hears %q", said)
	}
	// The second message: it is known by now, so the rule acts as the message comes, and nothing is judged twice.
	l.crm.hand("eve", plan("silver", 1))
	if out = l.ask(from(text("v1", "2", "thank you"), "eve")); len(out.Messages) != 2 || out.Messages[0].Part.Text != "Silver." {
		t.Errorf("then %+v", out.Messages)
	}
	l.equal(out.Conversation)
	if len(l.crm.asked) != 1 {
		t.Errorf("it was asked %d times", len(l.crm.asked))
	}
}

// TestLateHandoff: a rule that reads what came in time hands over before the bot is asked.
func TestLateHandoff(t *testing.T) {
	for _, prompt := range []bool{false, true} {
		l := newLateWorld(t, setup{prompt: prompt})
		l.crm.says["eve"] = plan("gold", 0)
		out := l.ask(from(text("v1", "1", "cancel everything"), "eve"))
		if out.Owner.Kind != message.OwnerQueued || len(out.Messages) != 1 || out.Messages[0].Part.Text != "Somebody looks at it." {
			t.Errorf("%+v", out)
		}
		if n := len(l.bot.turns()); n != 0 {
			t.Errorf("the bot was asked %d times", n)
		}
		st := l.state(out.Conversation)
		if st.Handoff == nil || st.Handoff.Queue != "emergency" || st.Turn != nil || st.Orphan != nil || st.Working() {
			t.Errorf("the conversation is %+v", st)
		}
		l.equal(out.Conversation)
	}
}

// TestLateWait: the bot's call begins LateWait after the turn at the latest, whatever the system does; what comes after that is
// set on the conversation and counts from the next message.
func TestLateWait(t *testing.T) {
	l := newLateWorld(t, setup{still: true})
	release := make(chan struct{})
	l.crm.does(func(ctx context.Context, _ string) (message.Account, error) {
		select {
		case <-release:
			return plan("gold", 2), nil
		case <-ctx.Done():
			return message.Account{}, ctx.Err()
		}
	})
	r := l.accept(from(text("v1", "1", "cancel everything"), "eve"))
	recv(t, l.crm.asked, "the question")
	// The clock stands: the wait that is asked for is what is left of LateWait at the turn's start.
	if d := recv(t, l.waits, "the wait"); d != 300*time.Millisecond {
		t.Errorf("the turn waits %v", d)
	}
	if n := len(l.bot.turns()); n != 0 {
		t.Fatal("the bot is asked before the wait is over")
	}
	l.over <- time.Time{}
	recv(t, l.bot.called, "the call of the bot")
	out, err := l.edge.Outcome(ctxT(t), r)
	if err != nil || out.Owner.Kind != message.OwnerBot || l.account(r.Conversation) != nil {
		t.Errorf("%+v, %v", out, err)
	}
	grown := make(chan struct{}, 64)
	w := l.p.Follow(store.Ref{Tenant: l.tenant, ID: r.Conversation}, func() { grown <- struct{}{} })
	defer w.Close()
	close(release)
	for l.account(r.Conversation) == nil {
		recv(t, grown, "the account")
	}
	if st := l.state(r.Conversation); st.Owner.Kind != message.OwnerBot || len(st.Account.Tickets) != 2 {
		t.Errorf("what came late leads to %+v", st.Owner)
	}
	if out := l.ask(from(text("v1", "2", "cancel it now"), "eve")); out.Owner.Kind != message.OwnerQueued {
		t.Errorf("the next message leads to %+v", out.Owner)
	}
	l.equal(r.Conversation)
}

// TestLateTimePassed: what the turn's start took is not waited for once more.
func TestLateTimePassed(t *testing.T) {
	for passed, want := range map[time.Duration]time.Duration{200 * time.Millisecond: 100 * time.Millisecond, time.Second: 0} {
		l := newLateWorld(t, setup{still: true})
		l.crm.does(func(ctx context.Context, _ string) (message.Account, error) {
			<-ctx.Done()
			return message.Account{}, ctx.Err()
		})
		hit := fault.Injector(func(_ context.Context, p fault.Point) error {
			if p == fault.TurnTaken {
				l.clock.Advance(passed)
			}
			return nil
		})
		l.faults.Store(&hit)
		l.accept(from(text("v1", "1", "good morning"), "eve"))
		if want > 0 {
			if d := recv(t, l.waits, "the wait"); d != want {
				t.Errorf("after %v the turn waits %v", passed, d)
			}
			l.over <- time.Time{}
		}
		recv(t, l.bot.called, "the call of the bot")
		if len(l.waits) > 0 {
			t.Errorf("after %v the turn waits once more", passed)
		}
	}
}

// TestLateNever: a system that fails, and one whose answers no rule reads, keeps no turn waiting; a stale answer does at once.
func TestLateNever(t *testing.T) {
	l := newLateWorld(t, setup{})
	for i := range 3 {
		if out := l.ask(from(text("v1", fmt.Sprint(i), "good morning"), "eve")); out.Owner.Kind != message.OwnerBot || len(out.Messages) != 1 {
			t.Errorf("with a system that is down: %+v", out)
		}
	}
	if n := l.logged("level=ERROR"); n > 0 {
		t.Errorf("%d errors in the log", n)
	}
	l.crm.hand("stan", plan("silver", 0))
	l.crm.stale["stan"] = true
	l.crm.does(func(ctx context.Context, _ string) (message.Account, error) {
		<-ctx.Done()
		return message.Account{}, ctx.Err()
	})
	for len(l.waits) > 0 {
		<-l.waits
	}
	out := l.ask(from(text("v2", "1", "good morning"), "stan"))
	if len(l.waits) != 0 || !slices.Contains(l.state(out.Conversation).Tags, "silver") {
		t.Errorf("a stale answer is waited for, or not seen: %v", l.state(out.Conversation).Tags)
	}
	l.equal(out.Conversation)

	u := newLateWorld(t, setup{rules: `rules: [{id: hello, why: w, when: 'phrase("account")', then: {tags: [hello]}}]`})
	u.crm.does(func(ctx context.Context, _ string) (message.Account, error) {
		<-ctx.Done()
		return message.Account{}, ctx.Err()
	})
	u.ask(from(text("v1", "1", "good morning"), "eve"))
	if len(u.waits) != 0 {
		t.Error("a turn waits although no rule reads the account")
	}
	u.ask(text("v2", "1", "who am I")) // nobody verified: nobody is asked
	if n := len(u.crm.asked); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestLateRetaken: a turn that was left behind before its account came is judged by it when it is taken again, and one that
// was left behind after that does not act twice.
func TestLateRetaken(t *testing.T) {
	for _, point := range []fault.Point{fault.TurnTaken, fault.BotCalled} {
		l := newLateWorld(t, setup{})
		l.crm.says["eve"] = plan("silver", 0)
		var once sync.Once
		hit := fault.Injector(func(_ context.Context, p fault.Point) (err error) {
			if p == point {
				once.Do(func() { err = errors.New("left behind") })
			}
			return err
		})
		l.faults.Store(&hit)
		out := l.ask(from(text("v1", "1", "good morning"), "eve"))
		said := 0
		for _, e := range l.log(out.Conversation) {
			if s, ok := e.Data.(*conversation.Sent); ok && s.Part.Text == "Silver." {
				said++
			}
		}
		if said != 1 || out.Owner.Kind != message.OwnerBot {
			t.Errorf("%s: said %d times, %+v", point, said, out.Owner)
		}
		l.equal(out.Conversation)
	}
}

// TestLateTakenOver: people who take over while the turn waits have it; the bot is not asked.
func TestLateTakenOver(t *testing.T) {
	l := newLateWorld(t, setup{})
	release := make(chan struct{})
	l.crm.does(func(context.Context, string) (message.Account, error) { <-release; return plan("silver", 0), nil })
	r := l.accept(from(text("v1", "1", "good morning"), "eve"))
	recv(t, l.waits, "the wait")
	l.accept(from(text("v1", "2", "agent"), "eve"))
	grown := make(chan struct{}, 64)
	w := l.p.Follow(store.Ref{Tenant: l.tenant, ID: r.Conversation}, func() { grown <- struct{}{} })
	defer w.Close()
	close(release)
	for st := l.state(r.Conversation); st.Orphan != nil || st.Account == nil; st = l.state(r.Conversation) {
		recv(t, grown, "the end of the turn")
	}
	if n := len(l.bot.turns()); n != 0 {
		t.Errorf("the bot was asked %d times", n)
	}
	if st := l.state(r.Conversation); st.Owner.Kind != message.OwnerQueued || slices.Contains(st.Tags, "silver") {
		t.Errorf("%+v %v", st.Owner, st.Tags)
	}
	l.equal(r.Conversation)
}

// TestAccountOfAnother: an account is never seen with another customer's profile, nor after its time.
func TestAccountOfAnother(t *testing.T) {
	l := newLateWorld(t, setup{})
	l.crm.hand("eve", plan("gold", 0))
	l.ask(from(text("v1", "1", "good morning"), "eve"))
	out := l.ask(from(text("v1", "2", "cancel"), "mallory"))
	if st := l.state(out.Conversation); out.Owner.Kind != message.OwnerBot || st.Account != nil {
		t.Errorf("somebody else gets %+v with %+v", out.Owner, st.Account)
	}
	l.equal(out.Conversation)

	o := newLateWorld(t, setup{})
	o.crm.says["eve"] = plan("gold", 0)
	o.ask(from(text("v1", "1", "good morning"), "eve"))
	o.crm.says = nil
	o.clock.Advance(2 * time.Hour) // AccountFor is one
	out = o.ask(text("v1", "2", "cancel"))
	if out.Owner.Kind != message.OwnerBot || o.account(out.Conversation) == nil {
		t.Errorf("what is too old leads to %+v, or people do not see it any more", out.Owner)
	}
	o.equal(out.Conversation)
}

// TestRefresh: people ask once more, in their own name.
func TestRefresh(t *testing.T) {
	l := newLateWorld(t, setup{})
	by := conversation.Actor{Kind: conversation.Agent, ID: "ann"}
	nobody := l.ask(text("v0", "1", "good morning"))
	ref := func(conv string) store.Ref { return store.Ref{Tenant: l.tenant, ID: conv} }
	if _, err := l.p.Refresh(ctxT(t), ref(nobody.Conversation), by, "op0"); !errors.Is(err, lookup.ErrNotAsked) {
		t.Errorf("a customer whom nobody verified: %v", err)
	}
	out := l.ask(from(text("v1", "1", "good morning"), "eve"))
	if _, err := l.p.Refresh(ctxT(t), ref(out.Conversation), by, "op1"); !errors.Is(err, lookup.ErrFailed) {
		t.Errorf("a system that is down: %v", err)
	}
	l.crm.mu.Lock()
	l.crm.says["eve"] = plan("gold", 3)
	l.crm.mu.Unlock()
	st, err := l.p.Refresh(ctxT(t), ref(out.Conversation), by, "op2")
	if err != nil || st.Account == nil || len(st.Account.Tickets) != 3 {
		t.Errorf("%+v, %v", st, err)
	}
	events := l.log(out.Conversation)
	if last := events[len(events)-1]; last.Type != conversation.ProfileChanged || last.Actor != by {
		t.Errorf("the log ends with %s by %+v", last.Type, last.Actor)
	}
}

// TestIdentified: who signs in is asked for at once, and what comes is there before the first message.
func TestIdentified(t *testing.T) {
	l := newLateWorld(t, setup{})
	l.crm.says["eve"] = plan("silver", 0)
	if err := l.edge.Identify(ctxT(t), visitor("v1"), message.Profile{Subject: "eve"}); err != nil {
		t.Fatal(err)
	}
	found, err := l.store.Find(ctxT(t), l.tenant, visitor("v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	grown := make(chan struct{}, 64)
	w := l.p.Follow(found.Snapshot.Ref, func() { grown <- struct{}{} })
	defer w.Close()
	for l.account(found.Snapshot.Ref.ID) == nil {
		recv(t, grown, "the account")
	}
	l.crm.hand("eve", plan("silver", 0))
	if err := l.edge.Identify(ctxT(t), visitor("v1"), message.Profile{Subject: "eve"}); err != nil {
		t.Fatal(err)
	}
	if n := len(l.crm.asked); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestLateRecomputes: whatever the system does, and whenever it answers, what was decided comes out again.
func TestLateRecomputes(t *testing.T) {
	late, kinds := 0, map[string]bool{}
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 7))
		l := newLateWorld(t, setup{noBare: seed%2 == 0})
		var mu sync.Mutex
		l.crm.does(func(ctx context.Context, subject string) (message.Account, error) {
			mu.Lock()
			defer mu.Unlock()
			switch rng.IntN(6) {
			case 0:
				return message.Account{}, errors.New("down")
			case 1:
				return message.Account{Unknown: true}, nil
			}
			return plan([]string{"gold", "silver", "iron"}[rng.IntN(3)], rng.IntN(3)), nil
		})
		words := []string{"hello", "cancel", "what is the price", "agent", "good morning", "cancel the account", "I want to cancel, hello"}
		pick := rand.New(rand.NewPCG(seed, 8))
		conv := ""
		for i := range 12 {
			in := text("v1", fmt.Sprint(i), words[pick.IntN(len(words))])
			if pick.IntN(3) > 0 {
				in = from(in, []string{"eve", "eve", "mallory"}[pick.IntN(3)])
			}
			conv = l.ask(in).Conversation
			if pick.IntN(5) == 0 {
				l.clock.Advance(2 * time.Hour)
			}
			if st := l.state(conv); st.Owner.Kind == message.OwnerQueued && st.Returns < 2 {
				if _, err := l.agent(conv, "ann", conversation.Claim{Name: "Ann"}, conversation.Release{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		events := l.log(conv)
		l.equal(conv)
		for _, e := range events {
			switch d := e.Data.(type) {
			case *conversation.Profiled:
				if d.Turn != "" {
					late++
				}
			case *conversation.Decision:
				if d.Phase == conversation.Inbound && d.Turn != "" {
					kinds[string(d.Kind)] = true
				}
			}
		}
		// The control: another account than the one that came is found out, in at least one of the logs.
		changed := stored(t, events)
		for i := range changed {
			if d, ok := changed[i].Data.(*conversation.Profiled); ok && d.Turn != "" && !d.Account.Unknown {
				d.Account.Fields = map[string]any{"plan": "gold"}
				d.Account.Tickets = append(d.Account.Tickets, message.Ticket{ID: "x"})
			}
		}
		if odd, _ := recompute(t, changed, lexical(t), book(t, lateRules)); len(odd) > 0 {
			kinds["found out"] = true
		}
	}
	if late < 10 {
		t.Errorf("only %d accounts came in time: the test proves too little", late)
	}
	for _, kind := range []string{"handoff", "say", "tag", "pass", "found out"} {
		if !kinds[kind] {
			t.Errorf("no late decision was %s: the test proves too little", kind)
		}
	}
}
