package redis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// clusterOptions are those of a new store on a Cluster.
func clusterOptions(c *redistest.Cluster, now func() time.Time) redis.Options {
	o := options(c.Servers[0], now)
	o.Addr, o.Cluster = "", c.Addrs()
	o.Prefix = fmt.Sprintf("test%d:", stores.Add(1))
	o.Wait, o.WaitFor = 1, 4*time.Second
	return o
}

// TestCluster is all on one Cluster of three primaries with a replica each, which stays up from one part to the next: the
// suite, slots that move, a replica that is gone, primaries that are killed.
func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 1, everysec()...)
	t.Run("suite", func(t *testing.T) {
		suite(t, func(now func() time.Time) redis.Options {
			o := clusterOptions(c, now)
			o.Patience = 20 * time.Second // for a machine that is busy
			return o
		})
	})
	t.Run("settings", func(t *testing.T) { clusterJudged(t, c) })
	t.Run("moving slots", func(t *testing.T) { slotsMove(t, c) })
	t.Run("without a replica", func(t *testing.T) { replicaGone(t, c) })
	t.Run("failover", func(t *testing.T) { primariesDie(t, c) })
}

// clusterJudged: a Cluster on which a failover would lose something is refused, one that is named as what it is not too, and
// health sees the settings of a primary that were changed.
func clusterJudged(t *testing.T, c *redistest.Cluster) {
	o := clusterOptions(c, time.Now)
	for want, change := range map[string]func(*redis.Options){
		"set store.wait: 1":              func(o *redis.Options) { o.Wait = 0 },
		"belongs to a Cluster":           func(o *redis.Options) { o.Cluster, o.Addr = nil, c.Servers[0].Addr() },
		"has one database":               func(o *redis.Options) { o.DB = 1 },
		"addresses of its servers alone": func(o *redis.Options) { o.Addr = c.Servers[0].Addr() },
		"braces":                         func(o *redis.Options) { o.Prefix = "{shop}:" },
	} {
		bad := o
		change(&bad)
		if s, err := redis.Open(t.Context(), bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("opened: %v, want a word on %q", err, want)
			if err == nil {
				_ = s.Close()
			}
		}
	}
	s := open(t, o)
	healthy(t, s)
	set := func(policy string) {
		t.Helper()
		if err := c.Primaries()[1].Client().ConfigSet(t.Context(), "maxmemory-policy", policy).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("allkeys-lru")
	if h := s.Health(t.Context()); h.OK || !strings.Contains(h.Reason, "maxmemory-policy is allkeys-lru") {
		t.Errorf("health with a primary that evicts: %+v", h)
	}
	set("noeviction")
	healthy(t, s)
}

// customers write until they are stopped. A message is sent until it is acknowledged, like a provider does, and every third
// once more after that; each has one identity whatever becomes of it.
type customers struct {
	*testing.T
	s      *redis.Store
	load   *storetest.Load
	ids    *id.Source
	tenant store.Tenant

	refused atomic.Int64 // attempts that were
	stop    chan struct{}
	wg      sync.WaitGroup
}

// thinks is the pause between two messages of a customer.
const thinks = 20 * time.Millisecond

// askFor bounds how long one message is tried: who is refused longer is refused for good.
const askFor = 3 * time.Minute

func newCustomers(t *testing.T, s *redis.Store) *customers {
	tenant, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	return &customers{T: t, s: s, load: storetest.NewLoad(time.Now), ids: id.NewSource(rand.Reader, time.Now), tenant: tenant}
}

func (c *customers) address(n int) message.Address {
	return message.Address{Channel: "acme.sms", Address: fmt.Sprintf("+49-%d", n)}
}

// part is the partition in which a customer writes, and slot the slot in which it lies.
func (c *customers) part(n int) int {
	a := c.address(n)
	return id.PartitionOf("acme", a.Channel, a.Address)
}

func (c *customers) slot(n int) int { return 16*c.part(n) + 8 }

// write lets so many customers write until end is called.
func (c *customers) write(n int) {
	c.stop = make(chan struct{})
	for i := range n {
		c.wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-c.stop:
					return
				default:
				}
				if !c.message(i, k%3 == 0) {
					return
				}
				time.Sleep(thinks)
			}
		})
	}
}

// end stops the customers and returns when each has its last acknowledgement.
func (c *customers) end() {
	close(c.stop)
	c.wg.Wait()
}

// more waits until so many more messages are acknowledged.
func (c *customers) more(n int) {
	c.Helper()
	until := len(c.load.Acked()) + n
	for began := time.Now(); len(c.load.Acked()) < until; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > askFor {
			c.Fatalf("%d messages in %v, want %d", len(c.load.Acked()), askFor, until)
		}
	}
}

// message sends one message until it is acknowledged, and again.
func (c *customers) message(customer int, again bool) bool {
	clientID := c.ids.Token()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		ack, err := c.deliver(customer, clientID)
		if err == nil {
			c.load.Add(ack)
			if again {
				_, _ = c.deliver(customer, clientID) // whatever it says, there is one effect
			}
			return true
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrStale) {
			c.Errorf("a message of customer %d: %v", customer, err)
			return false
		}
		c.refused.Add(1)
		if time.Since(began) > askFor {
			c.Errorf("a message of customer %d was refused for %v, at last: %v", customer, askFor, err)
			return false
		}
	}
}

// deliver delivers a message once: what is known already is acknowledged as what it is.
func (c *customers) deliver(customer int, clientID string) (storetest.Acked, error) {
	ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
	defer cancel()
	a := c.address(customer)
	ack := storetest.Acked{From: a, ClientID: clientID}
	found, err := c.s.Find(ctx, c.tenant, a, []string{clientID})
	if err != nil {
		return ack, err
	}
	if known, ok := found.Known[clientID]; ok {
		ack.Conversation, ack.Seq, ack.Op = known.Conversation, known.Seq, "op-"+clientID
		return ack, nil
	}
	st := store.Step{Op: store.Token("op-" + clientID)}
	state := new(conversation.State)
	var cmds []conversation.Command
	if snap := found.Snapshot; snap != nil {
		st.Ref, st.Base, state = snap.Ref, snap.Version, snap.State
	} else {
		st.Ref = store.Ref{Tenant: c.tenant, ID: c.ids.New(id.Conversation, c.part(customer))}
		st.Bind = &store.Bind{Address: a}
		cmds = append(cmds, conversation.Open{ID: st.Ref.ID, From: a})
	}
	cmds = append(cmds, conversation.Receive{ID: c.ids.New(id.Message, 0), In: message.Inbound{ID: clientID, From: a, Kind: message.Text, Text: "hello"}})
	d := conversation.Begin(state, conversation.Env{Now: time.Now().UnixMilli(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.Customer}})
	for _, cmd := range cmds {
		if err := d.Do(cmd); err != nil {
			return ack, err
		}
	}
	st.Events, st.State = d.Events, &d.State
	ack.Conversation, ack.Op, ack.Seq = st.Ref.ID, string(st.Op), st.Events[len(st.Events)-1].Seq
	st.Dedupe = []store.Dedupe{{From: a, ID: clientID, Seq: ack.Seq}}
	_, err = c.s.Commit(ctx, st)
	var known *store.DuplicateError
	if errors.As(err, &known) {
		ack.Conversation, ack.Seq = known.Known.Conversation, known.Known.Seq
		return ack, nil
	}
	return ack, err
}

// judged compares the store with what was acknowledged.
func (c *customers) judged(what string) {
	c.Helper()
	acked := c.load.Acked()
	lost, faults, err := c.load.Lost(c.Context(), c.s, acked)
	if err != nil || lost != 0 || len(faults) != 0 {
		c.Fatalf("%s: %d of %d acknowledged messages are gone, %v, %v", what, lost, len(acked), faults, err)
	}
	c.Logf("%s: %d messages acknowledged, %d attempts refused", what, len(acked), c.refused.Load())
}

// healthy waits until every primary takes writes.
func healthy(t *testing.T, s *redis.Store) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		h := s.Health(t.Context())
		if h.OK && h.Reason == "" {
			return
		}
		if time.Since(began) > askFor {
			t.Fatalf("the store does not find back: %+v", h)
		}
	}
}

// slotsMove moves the slots that customers write in to another primary and back while they write: nobody is refused for
// good, nothing is lost and nothing is there twice.
func slotsMove(t *testing.T, c *redistest.Cluster) {
	s := open(t, clusterOptions(c, time.Now))
	load := newCustomers(t, s)
	const writers = 8
	load.write(writers)
	load.more(40)
	for range failovers() {
		for n := range writers {
			from := c.Owner(load.slot(n))
			for _, to := range c.Primaries() {
				if to != from {
					c.Move(load.slot(n), from, to)
					break
				}
			}
			load.more(10)
		}
	}
	load.end()
	load.judged("moving slots")
}

// replicaGone stops the only replica of a primary: what lies there is refused, all of it, and nothing else is. Without
// waiting the same primary acknowledges what nobody else has.
func replicaGone(t *testing.T, c *redistest.Cluster) {
	o := clusterOptions(c, time.Now)
	o.WaitFor, o.Patience = 300*time.Millisecond, 100*time.Millisecond
	s := open(t, o)
	load := newCustomers(t, s)
	healthy(t, s)
	if h := s.Health(t.Context()); !h.OK || h.Reason != "" || h.Level != "redis cluster, primaries=3, replicas=1, wait=1, aof=everysec" {
		t.Errorf("health: %+v", h)
	}
	primary := c.Owner(load.slot(0))
	var on, off []int // customers of that primary, and of others
	for n := range 60 {
		if c.Owner(load.slot(n)) == primary {
			on = append(on, n)
		} else {
			off = append(off, n)
		}
	}
	if !load.message(off[0], false) || !load.message(on[0], false) {
		t.Fatal("nothing is acknowledged")
	}
	replica := c.ReplicasOf(primary)[0]
	replica.Kill()
	primary.Info("replication", func(info string) bool { return !strings.Contains(info, "state=online") })
	for _, n := range on[:5] {
		if _, err := load.deliver(n, load.ids.Token()); !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a message without a replica: %v", err)
		}
	}
	for _, n := range off[:5] {
		if !load.message(n, false) {
			t.Errorf("another primary's message is refused")
		}
	}
	if h := s.Health(t.Context()); !h.OK || !strings.Contains(h.Reason, "the primary of slots") || !strings.Contains(h.Reason, "0 of 1 replicas confirmed") {
		t.Errorf("health without a replica: %+v", h)
	}
	control := o
	control.Wait, control.AllowUnsafe = 0, true
	control.Prefix = fmt.Sprintf("test%d:", stores.Add(1))
	unsafe := newCustomers(t, open(t, control))
	for _, n := range on[:3] {
		if _, err := unsafe.deliver(n, unsafe.ids.Token()); err != nil {
			t.Errorf("without waiting: %v", err)
		}
	}
	replica.Restart()
	c.Settled()
	healthy(t, s)
	load.write(4)
	load.more(20)
	load.end()
	load.judged("without a replica")
}

// primariesDie kills one primary after the other while customers write. Its replica takes over and takes writes when the
// dead one is back to confirm them: nothing acknowledged is gone, nothing is there twice, nobody is refused for good.
func primariesDie(t *testing.T, c *redistest.Cluster) {
	s := open(t, clusterOptions(c, time.Now))
	load := newCustomers(t, s)
	for n := range failovers() {
		const writers = 12
		load.write(writers)
		load.more(40)
		slot := load.slot(n % writers)
		dead := c.Owner(slot)
		dead.Kill()
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			if now := c.Owner(slot); now != nil && now != dead {
				break
			}
			if time.Since(began) > askFor {
				t.Fatal("nobody takes over")
			}
		}
		dead.Restart()
		c.Settled()
		load.more(40)
		load.end()
		healthy(t, s)
		load.judged(fmt.Sprintf("failover %d", n+1))
	}
}
