package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/store"
)

const sms = "acme.sms"

func TestPartsLeaveInOrder(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	ids := w.bot(r, "one", "two", "three")
	w.until("all are sent", w.says(r, ids[2], "sent"))
	if got := p.texts(); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("on the wire: %v", got)
	}
	for i, s := range p.sends() {
		if s.ID != ids[i] || s.Attempt != 1 || s.Retry || s.By != message.ByBot || s.To.Address != "+49-1" {
			t.Errorf("sent %+v", s)
		}
	}
	w.sound()
}

// A failure that may pass holds back what stands behind it, and is tried again after a pause of the outbox's own, or as
// long as the provider says.
func TestRetry(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	p.does(fails(adapters.SendError{Code: "busy", Class: adapters.SendRetry}))
	ids := w.bot(r, "one", "two")
	w.until("it has failed", func() bool { return w.box.Stats()[0].Retried == 1 })
	p.does(fails(adapters.SendError{Code: "slow", Class: adapters.SendRetry, RetryAfter: time.Minute}))
	w.move(time.Second)
	w.until("it has failed again", func() bool { return w.box.Stats()[0].Retried == 2 })
	p.does(nil)
	w.move(59 * time.Second)
	w.box.dispatchedOnce(t)
	if n := len(p.sends()); n != 2 {
		t.Errorf("%d sends before the provider's pause was over", n)
	}
	w.move(time.Second)
	w.until("both are sent", w.says(r, ids[1], "sent"))
	if got := p.texts(); !slices.Equal(got, []string{"one", "one", "one", "two"}) {
		t.Errorf("on the wire: %v", got)
	}
	if s := p.sends()[2]; s.Attempt != 3 || s.Retry {
		t.Errorf("the third attempt, after two that surely failed: %+v", s)
	}
	if !w.says(r, ids[0], "sent")() {
		t.Errorf("the log says %v", w.statuses(r, ids[0]))
	}
}

// dispatchedOnce returns after the dispatcher has looked at everything once more.
func (b *Outbox) dispatchedOnce(t *testing.T) {
	t.Helper()
	for range 2 { // the second kick is taken only after the first round
		select {
		case b.wake <- struct{}{}:
		case <-time.After(time.Minute):
			t.Fatal("the dispatcher does not look")
		}
	}
}

// Each class of failure, and each bound, ends as what it should.
func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		err    adapters.SendError
		policy adapters.SendPolicy
		moves  time.Duration
		status string
		sends  int
	}{
		"permanent": {adapters.SendError{Code: "blocked"}, adapters.SendPolicy{}, 0, "failed:blocked", 1},
		"window":    {adapters.SendError{Code: "131047", Class: adapters.SendWindow}, adapters.SendPolicy{}, 0, "failed:131047", 1},
		"attempts":  {adapters.SendError{Code: "busy", Class: adapters.SendRetry}, adapters.SendPolicy{Attempts: 3}, time.Minute, "failed:busy", 3},
		"age":       {adapters.SendError{Code: "busy", Class: adapters.SendRetry}, adapters.SendPolicy{MaxAge: time.Minute}, time.Hour, "failed:expired", 1},
		"too late by its own word": {
			adapters.SendError{Code: "busy", Class: adapters.SendRetry, RetryAfter: time.Hour}, adapters.SendPolicy{MaxAge: time.Minute}, 0, "failed:busy", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := &provider{policy: c.policy}
			p.does(fails(c.err))
			w.start(w.channel(w.tenant, sms, p))
			r := w.opened(w.tenant, sms, 1)
			ids := w.bot(r, "one")
			for round := int64(1); ; round++ {
				w.until("a round is over", func() bool { s := w.box.Stats()[0]; return s.Retried >= round || s.Dead == 1 })
				if w.box.Stats()[0].Dead == 1 {
					break
				}
				w.move(c.moves)
			}
			if got := w.statuses(r, ids[0]); !slices.Equal(got, []string{c.status}) {
				t.Errorf("the log says %v, want %s", got, c.status)
			}
			dead := w.dead()
			if len(p.sends()) != c.sends || len(dead) != 1 || dead[0].Row.Out.ID != ids[0] || dead[0].Unsure {
				t.Errorf("%d sends, want %d; dead letters %+v", len(p.sends()), c.sends, dead)
			}
			p.does(nil)
			next := w.bot(r, "two")
			w.until("what stands behind it leaves", w.says(r, next[0], "sent"))
			w.sound()
		})
	}
}

// What only an operator can mend raises one alarm, keeps the rows, rests the channel and goes on by itself afterwards.
func TestOperator(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{Concurrency: 1}}
	p.does(fails(adapters.SendError{Code: "401", Class: adapters.SendOperator}))
	w.start(w.channel(w.tenant, sms, p))
	var refs []store.Ref
	var last []string
	for n := range 5 {
		r := w.opened(w.tenant, sms, n)
		refs, last = append(refs, r), append(last, w.bot(r, "one")[0])
	}
	alarms := func(n int) func() bool {
		return func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.alarms) == n
		}
	}
	w.until("an alarm is raised", alarms(1))
	w.box.dispatchedOnce(t)
	if n := len(p.sends()); n != 1 {
		t.Errorf("%d sends while the channel rests", n)
	}
	w.move(operatorRest)
	w.until("it was tried once more", func() bool { return w.box.Stats()[0].Retried == 2 })
	w.box.dispatchedOnce(t)
	if s := w.box.Stats()[0]; s.Alarms != 1 || !s.NeedsOperator || s.RestUntil.IsZero() {
		t.Errorf("figures: %+v", s)
	}
	// However long it takes within the age of a message: it is not the message that fails.
	for tries := int64(3); tries < 2*int64(len(refs))*DefaultAttempts; tries++ {
		w.move(operatorRest)
		w.until("it was tried again", func() bool { return w.box.Stats()[0].Retried == tries })
		w.box.dispatchedOnce(t)
	}
	p.does(nil)
	w.move(operatorRest)
	for i := range refs {
		w.until("all are sent", func() bool {
			w.box.kick()
			return w.says(refs[i], last[i], "sent")()
		})
	}
	w.until("the alarm is over", alarms(2))
	if a := w.alarms[1]; !a.Over || a.Channel != sms || a.Tenant != "acme" {
		t.Errorf("the alarm ends with %+v", a)
	}
}

// A provider that asks all to wait is left alone by all.
func TestChannelRests(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{Concurrency: 1}}
	p.does(fails(adapters.SendError{Code: "429", Class: adapters.SendRetry, RetryAfter: 30 * time.Second, Channel: true}))
	w.start(w.channel(w.tenant, sms, p))
	for n := range 20 {
		w.bot(w.opened(w.tenant, sms, n), "one")
	}
	w.until("one has failed", func() bool { return w.box.Stats()[0].Throttled == 1 })
	w.box.dispatchedOnce(t)
	p.does(nil)
	if n := len(p.sends()); n != 1 {
		t.Errorf("%d sends to a provider that asked for a pause", n)
	}
	w.move(30 * time.Second)
	w.until("all are sent", func() bool { w.box.kick(); return w.box.Stats()[0].Sent == 20 })
	if s := w.box.Stats()[0]; s.Opened != 0 {
		t.Errorf("the breaker opened: %+v", s)
	}
}

// A provider that fails is left alone after a few failures, then asked by one send at a time.
func TestBreaker(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{Concurrency: 1}}
	p.does(fails(adapters.SendError{Code: "500", Class: adapters.SendRetry}))
	w.start(w.channel(w.tenant, sms, p))
	for n := range 30 {
		w.bot(w.opened(w.tenant, sms, n), "one")
	}
	w.until("the breaker is open", func() bool { return w.box.Stats()[0].Opened == 1 })
	w.box.dispatchedOnce(t)
	if n := len(p.sends()); n != breakAfter {
		t.Errorf("%d sends before the breaker opened", n)
	}
	w.move(firstPause)
	w.until("it was probed", func() bool { return len(p.sends()) == breakAfter+1 })
	w.until("the probe has failed", func() bool { return w.box.Stats()[0].Retried == breakAfter+1 })
	w.box.dispatchedOnce(t)
	p.does(nil)
	if n := len(p.sends()); n != breakAfter+1 {
		t.Errorf("%d sends after a probe that failed", n)
	}
	w.move(2 * firstPause)
	w.until("all are sent", func() bool { w.box.kick(); return w.box.Stats()[0].Sent == 30 })
}

// The pace of a channel and of a recipient, by the given clock.
func TestPace(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{PerSecond: 2, Burst: 3}}
	w.start(w.channel(w.tenant, sms, p))
	for n := range 6 {
		w.bot(w.opened(w.tenant, sms, n), "one")
	}
	w.until("the burst is sent", func() bool { return w.box.Stats()[0].Sent == 3 })
	w.box.dispatchedOnce(t)
	if n := len(p.sends()); n != 3 {
		t.Errorf("%d sends at once, want the burst of 3", n)
	}
	w.move(time.Second)
	w.until("a second's worth more is sent", func() bool { return w.box.Stats()[0].Sent == 5 })
	w.box.dispatchedOnce(t)
	if n := len(p.sends()); n != 5 {
		t.Errorf("%d sends after a second", n)
	}
}

func TestPaceOfRecipient(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{RecipientPerSecond: 0.5}}
	w.start(w.channel(w.tenant, sms, p))
	r, other := w.opened(w.tenant, sms, 1), w.opened(w.tenant, sms, 2)
	ids := w.bot(r, "one", "two")
	w.until("the first is sent", w.says(r, ids[0], "sent"))
	theirs := w.bot(other, "theirs")
	w.until("another is not held up", w.says(other, theirs[0], "sent"))
	w.box.dispatchedOnce(t)
	if n := len(p.sends()); n != 2 {
		t.Errorf("%d sends at once", n)
	}
	w.move(3 * time.Second)
	w.until("the second is sent", w.says(r, ids[1], "sent"))
	if s := p.sends()[2]; s.Attempt != 1 {
		t.Errorf("an attempt that never began was counted: %+v", s)
	}
}

// A provider that hangs, with more to send than it has places, keeps neither another channel nor another tenant waiting.
func TestHangingProvider(t *testing.T) {
	w := newWorld(t)
	hang, fine, theirs := &provider{}, &provider{}, &provider{}
	released := make(chan struct{})
	hang.does(func(ctx context.Context, _ message.Outbound) (message.Receipt, error) {
		select {
		case <-released:
		case <-ctx.Done():
		}
		return message.Receipt{}, nil
	})
	hang.policy.Timeout, hang.policy.Concurrency = time.Hour, 4
	globex := w.tenantNamed("globex")
	w.start(w.channel(w.tenant, sms, hang), w.channel(w.tenant, "acme.app", fine), w.channel(globex, "globex.sms", theirs))
	for n := range 50 {
		w.bot(w.opened(w.tenant, sms, n), "one")
	}
	w.until("the provider hangs", func() bool { return len(hang.sends()) == 4 })
	for n := range 50 {
		w.bot(w.opened(w.tenant, "acme.app", n), "one")
		w.bot(w.opened(globex, "globex.sms", n), "one")
	}
	w.until("the others are through", func() bool { return len(fine.sends()) == 50 && len(theirs.sends()) == 50 })
	if n := len(hang.sends()); n != 4 {
		t.Errorf("%d sends to the provider that hangs, want no more than its places", n)
	}
	close(released)
	w.until("it is through", func() bool { return len(hang.sends()) == 50 })
}

// Places that are scarce go round: a tenant with a hundred times the work takes no more than its share.
func TestShares(t *testing.T) {
	w := newWorld(t)
	big, small := &provider{}, &provider{}
	globex := w.tenantNamed("globex")
	w.build(nil, w.channel(w.tenant, sms, big), w.channel(globex, "globex.sms", small))
	w.box.Sends = 4
	for _, l := range *w.box.lanes.Load() {
		l.most = 100
	}
	hold := make(chan struct{})
	for _, p := range []*provider{big, small} {
		p.does(func(context.Context, message.Outbound) (message.Receipt, error) {
			<-hold
			return message.Receipt{}, nil
		})
	}
	for n := range 100 {
		w.bot(w.opened(w.tenant, sms, n), "one")
	}
	for n := range 2 {
		w.bot(w.opened(globex, "globex.sms", n), "one")
	}
	w.box.dispatch(t.Context())
	w.until("the places are taken", func() bool { return len(big.sends())+len(small.sends()) == 4 })
	if len(big.sends()) != 2 || len(small.sends()) != 2 {
		t.Errorf("%d and %d of 4 places", len(big.sends()), len(small.sends()))
	}
	close(hold)
	w.box.Stop(t.Context())
}

// An adapter that panics, or does not come back, is a send of unknown result, not the end of the outbox.
func TestBrokenAdapter(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{Timeout: 10 * time.Millisecond}}
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	p.does(func(context.Context, message.Outbound) (message.Receipt, error) { panic(canary) })
	first := w.bot(r, "one")
	w.until("the panic is known", w.says(r, first[0], "uncertain:panic"))
	stuck := make(chan struct{})
	defer close(stuck)
	p.does(func(context.Context, message.Outbound) (message.Receipt, error) {
		<-stuck
		return message.Receipt{}, nil
	})
	other := w.opened(w.tenant, sms, 2)
	second := w.bot(other, "two")
	w.until("the deadline is over", w.says(other, second[0], "uncertain:timeout"))
	p.does(func(context.Context, message.Outbound) (message.Receipt, error) {
		return message.Receipt{}, errors.New("who knows")
	})
	third := w.opened(w.tenant, sms, 3)
	ids := w.bot(third, "three")
	w.until("an error of no kind is uncertain", w.says(third, ids[0], "uncertain:unknown"))
}

// Stopping waits for what is under way, cuts off what does not end, and begins nothing.
func TestStop(t *testing.T) {
	w := newWorld(t)
	p := &provider{policy: adapters.SendPolicy{Concurrency: 2}}
	w.start(w.channel(w.tenant, sms, p))
	p.does(func(ctx context.Context, out message.Outbound) (message.Receipt, error) {
		<-ctx.Done()
		return message.Receipt{}, &adapters.SendError{Code: "cut", Uncertain: true, Err: context.Cause(ctx)}
	})
	refs := map[string]store.Ref{}
	for n := range 4 {
		r := w.opened(w.tenant, sms, n)
		refs[w.bot(r, fmt.Sprint(n))[0]] = r
	}
	w.until("two are under way", func() bool { return len(p.sends()) == 2 })
	soon, cancel := context.WithCancel(t.Context())
	cancel()
	w.box.Stop(soon)
	w.end()
	cut := 0
	for m, r := range refs {
		switch got := w.statuses(r, m); {
		case slices.Equal(got, []string{"uncertain:cut"}):
			cut++
		case len(got) != 0:
			t.Errorf("%s: %v", m, got)
		}
	}
	if cut != 2 || len(p.sends()) != 2 {
		t.Errorf("%d were cut off of %d sends", cut, len(p.sends()))
	}
	w.sound()
	// The next process sends the rest, and once more, marked, what was cut off.
	p.does(nil)
	w.start(w.channel(w.tenant, sms, p))
	w.move(time.Minute)
	for m, r := range refs {
		w.until("all are sent", func() bool { got := w.statuses(r, m); return len(got) > 0 && got[len(got)-1] == "sent" })
	}
}

// Other channels take the place of those that there are: what is under way ends, the rest leaves over the new.
func TestReplace(t *testing.T) {
	w := newWorld(t)
	old, fresh := &provider{policy: adapters.SendPolicy{Concurrency: 1}}, &provider{}
	release := make(chan struct{})
	old.does(func(context.Context, message.Outbound) (message.Receipt, error) {
		<-release
		return message.Receipt{}, nil
	})
	w.start(w.channel(w.tenant, sms, old))
	first, second := w.opened(w.tenant, sms, 1), w.opened(w.tenant, sms, 2)
	one := w.bot(first, "one")
	w.until("the first is under way", func() bool { return len(old.sends()) == 1 })
	w.box.Replace([]Channel{w.channel(w.tenant, sms, fresh)})
	two := w.bot(second, "two")
	w.until("the second leaves over the new", w.says(second, two[0], "sent"))
	close(release)
	w.until("the first ends", w.says(first, one[0], "sent"))
	if len(old.sends()) != 1 || len(fresh.sends()) != 1 {
		t.Errorf("%d and %d sends", len(old.sends()), len(fresh.sends()))
	}
	if s := w.box.Stats(); len(s) != 1 || s[0].Sent != 2 {
		t.Errorf("figures: %+v", s)
	}
	// The same sender again: the lane goes on as it was.
	lane := (*w.box.lanes.Load())[laneKey{w.tenant, sms}]
	w.box.Replace([]Channel{w.channel(w.tenant, sms, fresh), w.channel(w.tenant, "acme.app", &provider{})})
	w.box.dispatchedOnce(t)
	if (*w.box.lanes.Load())[laneKey{w.tenant, sms}] != lane || len(w.box.Stats()) != 2 {
		t.Error("a channel that stays was made anew")
	}
	fresh.does(fails(adapters.SendError{Code: "401", Class: adapters.SendOperator}))
	w.bot(first, "three")
	w.until("an alarm is raised", func() bool { return w.box.Stats()[1].NeedsOperator })
	w.box.Replace(nil)
	w.box.dispatchedOnce(t)
	w.mu.Lock()
	if n := len(w.alarms); n != 2 || !w.alarms[1].Over {
		t.Errorf("alarms: %+v; one of a channel that is gone stays", w.alarms)
	}
	w.mu.Unlock()
	if s := w.box.Stats(); len(s) != 0 {
		t.Errorf("figures of what is gone: %+v", s)
	}
}

// TestJudge holds the figures of the backoff to their bounds.
func TestJudge(t *testing.T) {
	row := &store.LeasedRow{Tries: 3}
	p := defaulted(adapters.SendPolicy{})
	busy := &adapters.SendError{Code: "busy", Class: adapters.SendRetry}
	for tries := 1; tries < 40; tries++ {
		lo := backoff(tries, func(int64) int64 { return 0 })
		hi := backoff(tries, func(n int64) int64 { return n - 1 })
		if lo != leastBackoff || hi >= mostBackoff+1 || hi < firstBackoff-1 {
			t.Errorf("after %d tries: %v to %v", tries, lo, hi)
		}
	}
	v := judge(row, &p, message.Receipt{}, busy, 0, func(n int64) int64 { return n - 1 })
	if v.end != store.Retry || v.due != (4*time.Second-time.Nanosecond).Milliseconds() || v.status != "" {
		t.Errorf("%+v", v)
	}
	busy.RetryAfter = 1000 * time.Hour
	if v := judge(row, &p, message.Receipt{}, busy, 0, func(int64) int64 { return 0 }); v.end != store.Retry || v.due != mostRest.Milliseconds() {
		t.Errorf("a provider may not ask for any pause it likes: %+v", v)
	}
	if v := judge(row, &p, message.Receipt{ProviderID: "x"}, nil, 0, nil); v.end != store.Gone || v.status != message.Sent || v.provider != "x" {
		t.Errorf("%+v", v)
	}
}
