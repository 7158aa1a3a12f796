package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// People take over while rows wait and one is under way: on the wire nothing of the bot's follows but that one, and the
// log says which it was and what was cancelled.
func TestTakeover(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	r, ids, release := flyingAt(w, w.store, p)
	w.handoff(r)
	close(release)
	w.until("the one under way has ended", w.says(r, ids[0], "sent"))
	said := w.agent(r, "Ann here")
	w.until("the agent's word is sent", w.says(r, said, "sent"))
	if got := p.texts(); !slices.Equal(got, []string{"one", "Ann here"}) {
		t.Errorf("on the wire: %v", got)
	}
	for _, m := range ids[1:] {
		if !w.says(r, m, "cancelled:owner_changed")() {
			t.Errorf("the log says %v of what was cancelled", w.statuses(r, m))
		}
	}
	if h, o := w.inFlight(r); !slices.Equal(h, ids[:1]) || !slices.Equal(o, ids[:1]) {
		t.Errorf("in flight: %v in the handoff, %v in the change of owner, want %v", h, o, ids[:1])
	}
	w.sound()
}

// flyingAt starts an outbox on s whose provider holds the first of three parts until release is closed.
func flyingAt(w *world, s Store, p *provider) (r store.Ref, ids []string, release chan struct{}) {
	release = make(chan struct{})
	p.does(func(_ context.Context, out message.Outbound) (message.Receipt, error) {
		if strings.HasSuffix(out.Part.Text, "one") {
			<-release
		}
		return message.Receipt{}, nil
	})
	w.build(s, w.channel(w.tenant, sms, p))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	box := w.box
	go func() { defer close(done); box.Run(ctx) }()
	var once sync.Once
	w.end = func() { once.Do(func() { cancel(); <-done; box.Stop(context.Background()) }) }
	r = w.opened(w.tenant, sms, 1)
	ids = w.bot(r, "one", "two", "three")
	w.until("the first is under way", func() bool { return len(p.sends()) == 1 })
	return r, ids, release
}

// inFlight is what the log names at the takeover.
func (w *world) inFlight(r store.Ref) (handoff, owner []string) {
	events, err := w.store.Log(context.Background(), r, 0, 10_000)
	if err != nil {
		w.Fatal(err)
	}
	for _, e := range events {
		switch d := e.Data.(type) {
		case *conversation.Handoff:
			handoff = append(handoff, d.InFlight...)
		case *conversation.OwnerMoved:
			if d.Reason == conversation.ReasonHandoff {
				owner = append(owner, d.InFlight...)
			}
		}
	}
	return handoff, owner
}

// careless is a store that hands out, once, what people have overtaken.
type careless struct {
	Store
	mu     sync.Mutex
	handed map[string]bool
}

func (c *careless) Lease(ctx context.Context, r store.Ref, now, until int64) (store.LeasedRow, error) {
	row, err := c.Store.Lease(ctx, r, now, until)
	var lapsed *store.LapsedError
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.As(err, &lapsed) && !c.handed[lapsed.Row.Row.ID] {
		c.handed[lapsed.Row.Row.ID] = true
		return lapsed.Row, nil
	}
	return row, err
}

// The control: with a store that hands out a row whose term is over, the test of the wire sees the bot speak.
func TestTakeoverControl(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	var died atomic.Bool
	w.faults = func(_ context.Context, at fault.Point) error {
		if at == fault.SendMade && died.CompareAndSwap(false, true) {
			return errors.New("died")
		}
		return nil
	}
	r, _, release := flyingAt(w, &careless{Store: w.store, handed: map[string]bool{}}, p)
	w.handoff(r)
	close(release)
	w.until("the bot speaks after the handoff", func() bool {
		w.move(leaseMargin + DefaultTimeout)
		return len(p.sends()) == 2
	})
	if got := p.texts(); !slices.Equal(got, []string{"one", "one"}) {
		t.Errorf("on the wire: %v", got)
	}
}

// An attempt that has begun and has no result: the log says so before the message goes out again, an agent's does not go
// out again by itself, and a provider that takes an id once is simply asked again.
func TestUncertain(t *testing.T) {
	type row struct {
		agent, idempotent bool
		crash             fault.Point // empty: the provider's answer is lost
		status            []string
		sends             int
		dead              bool
	}
	for name, c := range map[string]row{
		"bot, answer lost":              {status: []string{"uncertain:broken", "sent"}, sends: 2},
		"bot, died before the send":     {crash: fault.SendLeased, status: []string{"uncertain:unknown", "sent"}, sends: 1},
		"bot, died after the send":      {crash: fault.SendMade, status: []string{"uncertain:unknown", "sent"}, sends: 2},
		"bot, died after the settling":  {crash: fault.SendSettled, status: []string{"sent"}, sends: 1},
		"agent, answer lost":            {agent: true, status: []string{"uncertain:broken"}, sends: 1, dead: true},
		"agent, died before the send":   {agent: true, crash: fault.SendLeased, status: []string{"uncertain:unknown"}, dead: true},
		"agent, died after the send":    {agent: true, crash: fault.SendMade, status: []string{"uncertain:unknown"}, sends: 1, dead: true},
		"idempotent, answer lost":       {agent: true, idempotent: true, status: []string{"sent"}, sends: 2},
		"idempotent, died before it":    {idempotent: true, crash: fault.SendLeased, status: []string{"sent"}, sends: 1},
		"idempotent, died after it":     {idempotent: true, crash: fault.SendMade, status: []string{"sent"}, sends: 2},
		"idempotent, died after it all": {agent: true, idempotent: true, crash: fault.SendSettled, status: []string{"sent"}, sends: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := &provider{policy: adapters.SendPolicy{Idempotent: c.idempotent}}
			var once sync.Once
			w.faults = func(_ context.Context, at fault.Point) (err error) {
				if at == c.crash {
					once.Do(func() { err = errors.New("died") })
				}
				return err
			}
			if c.crash == "" {
				p.does(func(context.Context, message.Outbound) (_ message.Receipt, err error) {
					once.Do(func() { err = &adapters.SendError{Code: "broken", Uncertain: true} })
					return message.Receipt{}, err
				})
			}
			r := w.opened(w.tenant, sms, 1)
			w.start(w.channel(w.tenant, sms, p))
			var m string
			if c.agent {
				m = w.agent(r, "one")
			} else {
				m = w.bot(r, "one")[0]
			}
			w.until("it ends as it should", func() bool {
				w.move(DefaultTimeout + leaseMargin)
				return w.says(r, m, c.status...)()
			})
			if n := len(p.sends()); n != c.sends {
				t.Errorf("%d sends, want %d", n, c.sends)
			}
			for i, s := range p.sends() {
				again := i > 0 || c.crash == fault.SendLeased
				if s.ID != m || s.Retry != again {
					t.Errorf("send %d: %+v, want it marked: %v", i+1, s, again)
				}
			}
			dead := w.dead()
			if c.dead != (len(dead) == 1) || c.dead && !dead[0].Unsure {
				t.Errorf("dead letters: %+v", dead)
			}
			// What stands behind it leaves all the same.
			next := w.agent(r, "next")
			w.until("the next leaves", w.says(r, next, "sent"))
			w.sound()
		})
	}
}

// A bot's text is sent a second time once, not more.
func TestUncertainTwice(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	p.does(fails(adapters.SendError{Code: "broken", Uncertain: true}))
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	m := w.bot(r, "one")[0]
	w.until("it is a dead letter", func() bool { w.move(mostBackoff); return len(w.dead()) == 1 })
	if n := len(p.sends()); n != 2 || !w.says(r, m, "uncertain:broken")() {
		t.Errorf("%d sends, the log says %v", n, w.statuses(r, m))
	}
}

// What the provider has reported on meanwhile arrived: it is not sent again.
func TestReportedMeanwhile(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	var once sync.Once
	w.faults = func(_ context.Context, at fault.Point) (err error) {
		if at == fault.SendMade {
			once.Do(func() { err = errors.New("died") })
		}
		return err
	}
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	m := w.agent(r, "one")
	w.until("it was sent", func() bool { return len(p.sends()) == 1 })
	reports := (&Reports{Store: w.store, IDs: w.ids, Now: w.Now}).Channel(w.tenant, sms)
	if err := reports.Report(t.Context(), message.Report{To: message.Address{Address: "+49-1"}, ID: m, Status: message.Delivered}); err != nil {
		t.Fatal(err)
	}
	next := w.agent(r, "two")
	w.until("the next is sent", func() bool { w.move(DefaultTimeout + leaseMargin); return w.says(r, next, "sent")() })
	if got := p.texts(); !slices.Equal(got, []string{"one", "two"}) || !w.says(r, m, "delivered")() {
		t.Errorf("on the wire %v, the log says %v", got, w.statuses(r, m))
	}
	if len(w.dead()) != 0 {
		t.Errorf("dead letters: %+v", w.dead())
	}
}

// A thousand messages of a hundred conversations over a provider that does everything wrong, with handoffs in between:
// nothing is lost, the order holds, nobody is sent something twice without the log saying so, and after a handoff the bot
// is silent but for what was in flight.
func TestFlakyProvider(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent=%v", idempotent), func(t *testing.T) { flaky(t, idempotent) })
	}
}

func flaky(t *testing.T, idempotent bool) {
	conversations, parts := 100, 10
	if testing.Short() { // the race detector makes each of them slow
		conversations = 20
	}
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{Idempotent: idempotent, Attempts: 1000, MaxAge: 1 << 62}}
	var mu sync.Mutex
	n, took := 0, map[string]int{}
	p.does(func(_ context.Context, out message.Outbound) (message.Receipt, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		take := func() { took[out.ID]++ }
		switch n * 2654435761 >> 7 % 8 { // a fixed mix, spread over the sends
		case 0:
			return message.Receipt{}, &adapters.SendError{Code: "503", Class: adapters.SendRetry}
		case 1:
			return message.Receipt{}, &adapters.SendError{Code: "429", Class: adapters.SendRetry, RetryAfter: 1, Channel: true}
		case 2: // taken, and the answer is lost
			take()
			return message.Receipt{}, &adapters.SendError{Code: "broken", Uncertain: true}
		case 3: // not taken, and nobody knows
			return message.Receipt{}, &adapters.SendError{Code: "broken", Uncertain: true}
		}
		take()
		return message.Receipt{ProviderID: "sm-" + out.ID}, nil
	})
	w.start(w.channel(w.tenant, sms, p))
	all, refs := map[string]store.Ref{}, make([]store.Ref, conversations)
	order := make([][]string, conversations)
	for i := range refs {
		refs[i] = w.opened(w.tenant, sms, i)
	}
	for part := range parts {
		for i, r := range refs {
			var m string
			switch {
			case i%4 == 3 && part >= 5: // people have taken over
				m = w.agent(r, fmt.Sprint(part))
			default:
				m = w.bot(r, fmt.Sprint(part))[0]
			}
			all[m] = r
			order[i] = append(order[i], m)
		}
		w.move(0)
	}
	open := maps.Clone(all)
	ended := func() bool {
		w.move(mostBackoff)
		for m, r := range open {
			got := w.statuses(r, m)
			if len(got) == 0 {
				return false
			}
			switch last := got[len(got)-1]; {
			case last == "sent", strings.HasPrefix(last, "cancelled"):
			case strings.HasPrefix(last, "uncertain"):
				dead, err := w.store.DeadLetter(context.Background(), w.tenant, store.RowOf(m))
				if (err != nil || !dead.Unsure) && last != "uncertain:owner_changed" && !w.overtaken(r, m) {
					return false
				}
			default:
				t.Fatalf("%s ends as %v", m, got)
			}
			delete(open, m)
		}
		return true
	}
	w.until("every message has an end", ended)
	if p.overlap {
		t.Error("two sends of one conversation overlapped")
	}
	mu.Lock()
	defer mu.Unlock()
	lost, doubled := 0, 0
	for m, r := range all {
		got := w.statuses(r, m)
		marked := strings.HasPrefix(fmt.Sprint(got), "[uncertain")
		switch {
		case took[m] > 1 && !idempotent && !marked:
			t.Errorf("%s was taken %d times, and the log does not say so: %v", m, took[m], got)
		case took[m] > 1:
			doubled++
		case took[m] == 0 && got[len(got)-1] == "sent":
			t.Errorf("%s was not taken and the log says %v", m, got)
		case took[m] == 0:
			lost++
		}
	}
	if idempotent && lost > conversations/4*5 {
		t.Errorf("%d messages did not leave", lost)
	}
	if doubled == 0 || !idempotent && lost == 0 {
		t.Errorf("%d were doubled, %d did not leave: the provider was not flaky", doubled, lost)
	}
	// The first time that each message is on the wire, it comes after those before it.
	first := map[string]int{}
	for i, s := range p.sends() {
		if _, ok := first[s.ID]; !ok {
			first[s.ID] = i
		}
	}
	for _, ids := range order {
		last := -1
		for _, m := range ids {
			if at, ok := first[m]; ok {
				if at < last {
					t.Errorf("%s was sent before one that was said before it", m)
				}
				last = at
			}
		}
	}
	for _, s := range w.box.Stats() {
		t.Logf("idempotent=%v: %+v; %d doubled and marked, %d dead or cancelled", idempotent, s, doubled, lost)
	}
	w.sound()
}

// overtaken reports whether a message is the bot's and people have its conversation: what is uncertain of it stays so.
func (w *world) overtaken(r store.Ref, m string) bool {
	snap, err := w.store.Load(context.Background(), r)
	if err != nil {
		w.Fatal(err)
	}
	for _, o := range snap.Outgoing {
		if o.Message == m {
			return false
		}
	}
	return snap.State.Open()
}
