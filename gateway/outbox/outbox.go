// Package outbox sends what was said over push channels. A message's row was made durable in the commit that said it; from
// there the way is:
//
//	Run     (dispatch.go)  whose turn it is: tenants by their shares, channels in turn, within what each may take
//	lane    (lane.go)      what one channel may take now: places, pace, breaker, rest
//	attempt (attempt.go)   lease, send, settle: the attempt is durable before the send, its end after
//	judge   (judge.go)     what an outcome means: pure
//	Reports (reports.go)   what the provider says later
//	Resend  (dead.go)      dead letters, brought back or discarded by people
//
// Three promises hold by construction. A bot's row of a term that has ended is never handed out: the lease of the attempt
// looks at the epoch in the step that makes the attempt durable (H1). Rows of one conversation leave one at a time and in
// order, because only the head of a conversation's outbox can be leased (O3). Nobody is sent a message a second time
// without the log saying so first, unless the provider takes an id once (I2): an attempt that has begun and has no result
// counts as one that may have arrived.
//
// Time, randomness and the log are given; nothing here holds a text for longer than its send.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fair"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Store is what the outbox needs of a store.
type Store interface {
	store.Outbox
	store.Hints
	Load(ctx context.Context, r store.Ref) (*store.Snapshot, error)
	Commit(ctx context.Context, s store.Step) (store.Done, error)
	Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
}

// Channel is a push channel. The Sender of one that was removed is Removed.
type Channel struct {
	Key    string
	Tenant store.Tenant
	Sender adapters.Sender
	// Sends bounds the channel's sends under way, besides the adapter's own bound; 0: only that.
	Sends int
	// Share is what the tenant gets of the node's sends, the same for all its channels.
	Share fair.Share
}

// Removed stands for the sender of a channel that was taken out of the configuration. Nothing is sent: what is said over the
// channel waits for another sender, an alarm says that it does, and what has waited for DefaultMaxAge becomes a dead letter.
type Removed struct{}

// Policy implements adapters.Sender.
func (Removed) Policy() adapters.SendPolicy { return adapters.SendPolicy{Concurrency: 1} }

// Send implements adapters.Sender.
func (Removed) Send(context.Context, message.Outbound) (message.Receipt, error) {
	return message.Receipt{}, &adapters.SendError{Code: CodeRemoved, Class: adapters.SendOperator}
}

// Options are the parts and the settings of an outbox. Store, IDs and Now are required.
type Options struct {
	Store    Store
	IDs      *id.Source
	Now      func() time.Time
	Channels []Channel
	Faults   fault.Injector
	Log      *slog.Logger
	// Random returns a number in [0, n) for jitter; nil draws one.
	Random func(n int64) int64
	// Alarm is told when a channel needs an operator, and when it is well again. It must not block; nil logs.
	Alarm func(Alarm)
	// Sends bounds the sends under way on this node; 0: DefaultSends. Bound changes it. A tenant of whose share nothing is
	// said takes at most half of them while there are others.
	Sends int
}

// DefaultSends is how many sends run at once when nothing else is said.
const DefaultSends = 256

// Alarm says that no message of a channel is taken until somebody mends something, or, when Over, that one was.
type Alarm struct {
	Tenant  string
	Channel string
	Code    string
	Over    bool
}

// Outbox sends. Make one with New, let it work with Run, end it with Stop.
type Outbox struct {
	Options
	lanes atomic.Pointer[map[laneKey]*lane]
	// The dispatcher's: whose turn it is, who has to be looked at when, the number of tenants and of sends under way.
	ring    fair.Ring[*tenant]
	looks   looks
	tenants int
	running int
	total   atomic.Int64 // Sends, as last seen
	hints   io.Closer
	wake    chan struct{} // capacity 1: look again

	root  context.Context // ends sends when Stop's patience is over
	abort context.CancelCauseFunc
	group sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	finished []finish   // since the dispatcher last looked
	woken    []*lane    // likewise: that something may be due on
	replaced *[]Channel // to put in the place of those that there are; nil: nothing
	bound    int        // to put in the place of Sends; 0: nothing
}

type laneKey struct {
	tenant  store.Tenant
	channel string
}

// tenant is the channels of one tenant and how many of its sends run. The dispatcher's, but for running.
type tenant struct {
	share   fair.Share
	flow    *fair.Flow[*tenant]
	lanes   []*lane
	turn    int // the lane to look at first
	running atomic.Int64
	bound   atomic.Int64 // on running, as last seen
	weight  atomic.Int64 // likewise
	look    time.Time    // when to look at it again; zero: when something happens
	place   int          // in looks; -1: none
}

// New returns an outbox. It does nothing by itself until Run. Sends live under ctx.
func New(ctx context.Context, o Options) *Outbox {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Random == nil {
		o.Random = rand.Int64N
	}
	if o.Sends <= 0 {
		o.Sends = DefaultSends
	}
	b := &Outbox{Options: o, wake: make(chan struct{}, 1)}
	b.root, b.abort = context.WithCancelCause(ctx)
	b.lay(o.Channels)
	b.hints = o.Store.Subscribe(b.hint)
	return b
}

// Replace puts other channels in the place of those that there are. Sends under way end with the sender that they began
// with; it may be closed when they have. A channel whose sender stays goes on as it was; one that gets another keeps its
// figures, not its pace and its breaker.
func (b *Outbox) Replace(channels []Channel) {
	b.mu.Lock()
	b.replaced = &channels
	b.mu.Unlock()
	b.kick()
}

// Bound sets how many sends may be under way on this node; 0: DefaultSends. Those that are go on.
func (b *Outbox) Bound(sends int) {
	if sends <= 0 {
		sends = DefaultSends
	}
	b.mu.Lock()
	b.bound = sends
	b.mu.Unlock()
	b.kick()
}

// lay makes the lanes of channels.
func (b *Outbox) lay(channels []Channel) {
	was, lanes, by := map[laneKey]*lane{}, map[laneKey]*lane{}, map[store.Tenant]*tenant{}
	if old := b.lanes.Load(); old != nil {
		was = *old
	}
	for _, l := range was {
		by[l.Tenant] = l.tenant // its sends that are under way go on counting
		l.tenant.lanes, l.tenant.turn = nil, 0
		l.tenant.rest()
	}
	b.ring, b.looks, b.tenants = fair.Ring[*tenant]{}, nil, 0
	for _, c := range channels {
		t := by[c.Tenant]
		if t == nil {
			t = new(tenant)
			t.rest()
			by[c.Tenant] = t
		}
		if len(t.lanes) == 0 {
			b.tenants++
			t.share = c.Share
			t.weight.Store(int64(max(1, c.Share.Weight)))
			t.flow.Weigh(c.Share.Weight)
			b.ring.Stir(t.flow) // every lane has to be looked at
		}
		key := laneKey{c.Tenant, c.Key}
		l := was[key]
		if l == nil || !same(l.Sender, c.Sender) {
			l = newLane(c, t)
			if old := was[key]; old != nil {
				l.counters = old.counters
			}
		}
		l.most = l.policy.Concurrency
		if c.Sends > 0 {
			l.most = min(l.most, c.Sends)
		}
		t.lanes = append(t.lanes, l)
		lanes[key] = l
	}
	b.lanes.Store(&lanes)
	b.showBounds()
	for key, l := range was {
		if l.alarm && lanes[key] != l {
			b.raise(Alarm{Tenant: l.Tenant.Name(), Channel: l.Key, Over: true})
		}
	}
}

// same reports whether two senders are one.
func same(a, b adapters.Sender) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}

// hint hears of a durable step. It does not block.
func (b *Outbox) hint(h store.Hint) {
	lanes := *b.lanes.Load()
	if h.State == nil || len(lanes) == 0 {
		return
	}
	l := lanes[laneKey{h.Ref.Tenant, h.State.From.Channel}]
	if l == nil {
		return
	}
	for i := range h.Events {
		switch d := h.Events[i].Data.(type) {
		case *conversation.Sent:
			b.wakes(l)
			return
		case *conversation.StatusChanged:
			if d.Status == message.Queued {
				b.wakes(l)
				return
			}
		}
	}
}

// wakes has the dispatcher look at a lane.
func (b *Outbox) wakes(l *lane) {
	if l.dirty.Swap(true) {
		return // it will
	}
	b.mu.Lock()
	b.woken = append(b.woken, l)
	b.mu.Unlock()
	b.kick()
}

func (b *Outbox) kick() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

var errStopped = errors.New("the outbox is stopping")

// Stop begins no new attempt, waits for those under way until ctx ends, and then cuts them off: what they sent is uncertain.
// Run must have ended, or end with it.
func (b *Outbox) Stop(ctx context.Context) {
	b.mu.Lock()
	b.stopping = true
	b.mu.Unlock()
	b.hints.Close()
	done := make(chan struct{})
	go func() { b.group.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	b.abort(errStopped)
	select {
	case <-done:
	case <-time.After(cutOff):
		b.Log.Error("left a send behind that does not end when it is cut off")
	}
}

// cutOff is how long a send may take to notice that it was cut off, and to be written down.
const cutOff = 2 * time.Second

// enter counts an attempt in, unless the outbox is stopping.
func (b *Outbox) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping {
		return false
	}
	b.group.Add(1)
	return true
}

func (b *Outbox) isStopping() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopping
}

func (b *Outbox) recovered(what string) {
	if v := recover(); v != nil {
		// The value of a panic may hold text of a customer: only its type is logged.
		b.Log.Error("recovered from a panic", "in", what, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	}
}

func (b *Outbox) ms() int64 { return b.Now().UnixMilli() }

var system = conversation.Actor{Kind: conversation.System}
