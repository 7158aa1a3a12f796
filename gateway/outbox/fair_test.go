package outbox

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/fair"
	"turnout/gateway/store"
)

// held is a provider whose sends go on one by one, and that tells their order.
func held(name string, order chan<- string, step <-chan struct{}) *provider {
	p := &provider{policy: adapters.SendPolicy{Timeout: time.Hour, Concurrency: 100}}
	p.does(func(ctx context.Context, _ message.Outbound) (message.Receipt, error) {
		order <- name
		select {
		case <-step:
		case <-ctx.Done():
		}
		return message.Receipt{}, nil
	})
	return p
}

// The providers of two tenants hang and hold all places; a third still sends, one at a time.
func TestNoTenantIsSilenced(t *testing.T) {
	w := newWorld(t)
	order, never := make(chan string, 1000), make(chan struct{})
	defer close(never)
	globex, third := w.tenantNamed("globex"), w.tenantNamed("third")
	fine := &provider{}
	w.build(nil, w.channel(w.tenant, sms, held("acme", order, never)), w.channel(globex, "globex.sms", held("globex", order, never)),
		w.channel(third, "third.sms", fine))
	w.box.Bound(4)
	w.run()
	for n := range 20 {
		w.bot(w.opened(w.tenant, sms, n), "one")
		w.bot(w.opened(globex, "globex.sms", n), "one")
	}
	w.until("all places are taken", func() bool { return len(order) == 4 })
	for n := range 20 {
		w.bot(w.opened(third, "third.sms", n), "one")
	}
	w.until("the third is through", func() bool { return len(fine.sends()) == 20 })
	if n := len(order); n != 4 {
		t.Errorf("%d sends to providers that hang", n)
	}
	total, all := w.box.Places()
	if total.Most != 4 || len(all) != 3 || all[0].Running != 2 || all[0].Most != 2 || all[2].AtOnce != 20 {
		t.Errorf("%+v %+v", total, all)
	}
	if n, err := w.store.Backlog(t.Context(), w.tenant, sms); err != nil || n != 20 {
		t.Errorf("a backlog of %d, %v", n, err)
	}
}

// Of tenants with a backlog each gets what its weight says.
func TestTenantsSendByWeight(t *testing.T) {
	w := newWorld(t)
	order, step := make(chan string, 1000), make(chan struct{})
	globex := w.tenantNamed("globex")
	one, three := w.channel(w.tenant, sms, held("one", order, step)), w.channel(globex, "globex.sms", held("three", order, step))
	one.Share, three.Share = fair.Share{Weight: 1, Most: 100}, fair.Share{Weight: 3, Most: 100}
	w.build(nil, one, three)
	w.box.Bound(24) // many more than those that a tenant gets whatever its share
	for n := range 150 {
		w.bot(w.opened(w.tenant, sms, n), "one")
		w.bot(w.opened(globex, "globex.sms", n), "one")
	}
	w.run()
	got := map[string]int{}
	for range 24 {
		got[<-order]++
	}
	for range 120 { // while both have a backlog
		step <- struct{}{}
		got[<-order]++
	}
	if d := got["three"] - 3*got["one"]; d < -6*fair.Quantum || d > 6*fair.Quantum {
		t.Errorf("%v: want three times as many", got)
	}
	close(step)
}

// A channel's own bound holds besides its adapter's.
func TestAChannelHasABound(t *testing.T) {
	w := newWorld(t)
	order, step := make(chan string, 1000), make(chan struct{})
	c := w.channel(w.tenant, sms, held("it", order, step))
	c.Sends = 2
	w.start(c)
	for n := range 10 {
		w.bot(w.opened(w.tenant, sms, n), fmt.Sprint(n))
	}
	w.until("two are under way", func() bool { return len(order) == 2 })
	if _, all := w.box.Places(); all[0].Running != 2 {
		t.Errorf("%+v", all)
	}
	c.Sends = 3
	w.box.Replace([]Channel{c})
	w.until("a third is", func() bool { return len(order) == 3 })
	close(step)
	w.until("all are through", func() bool { return len(order) == 10 })
}

// counting counts who is asked for.
type counting struct {
	Store
	mu sync.Mutex
	by map[store.Tenant]int
}

func (c *counting) Pending(ctx context.Context, t store.Tenant, channel string, now int64, limit int) ([]store.Ref, int64, error) {
	c.mu.Lock()
	if c.by == nil {
		c.by = map[store.Tenant]int{}
	}
	c.by[t]++
	c.mu.Unlock()
	return c.Store.Pending(ctx, t, channel, now, limit)
}

func (c *counting) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.by)
}

// others is how often others than a tenant were asked for.
func (c *counting) others(than store.Tenant) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t, times := range c.by {
		if t != than {
			n += times
		}
	}
	return n
}

// A tenant with nothing to send is not looked at, however often another sends.
func TestIdleTenantsCostNothing(t *testing.T) {
	w := newWorld(t)
	busy := &provider{}
	channels := []Channel{w.channel(w.tenant, sms, busy)}
	for n := range 50 {
		name := fmt.Sprint("idle", n)
		channels = append(channels, w.channel(w.tenantNamed(name), name+".sms", &provider{}))
	}
	counts := &counting{Store: w.store}
	w.build(counts, channels...)
	w.run()
	w.until("everybody was looked at once", func() bool { return counts.seen() == len(channels) })
	for n := range 20 {
		w.bot(w.opened(w.tenant, sms, n), "one")
	}
	w.until("all are sent", func() bool { return len(busy.sends()) == 20 })
	if n := counts.others(w.tenant); n != 50 {
		t.Errorf("the idle ones were looked at %d times", n)
	}
}
