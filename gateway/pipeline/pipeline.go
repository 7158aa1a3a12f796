// Package pipeline is the way of a turn. Read it from the top:
//
//	Accept (accept.go)   a message comes in: find its conversation, let the inbound rules look, and make message, decision,
//	                     handoff and the start of the turn durable in one commit. It never waits for a bot.
//	turn   (turn.go)     one bot call at a time per conversation, under a lease; the answer rules look at the whole answer;
//	                     decision, parts and the start of the next turn are one commit again.
//	late   (late.go)     what the tenant's own system says of the customer, if a rule reads it, before the bot is asked.
//	route  (route.go)    which of several bots is asked; place (place.go): whose turn it is when many want to be asked.
//	ladder (ladder.go)   when the bot fails: once more, the alternate bot, a person.
//	Act    (act.go)      what people do: claim, reply, release … the same load, decide, commit.
//	sweep  (sweep.go)    what is due: turns that a dead process left behind, timers.
//	Edge   (edge.go)     what a channel sees of all this: Inbox and Timeline.
//
// Every step is the same three lines: load a snapshot, decide on a conversation.Draft (pure), commit it against the
// snapshot's version. A commit that comes too late is refused by the store and decided again on what is there now. That is
// why a bot cannot talk over a person: its answer is decided on a state in which its turn no longer exists.
//
// What profiles have taught: a turn's cost is spread thin, and most of it is not here. A goroutine that hands over to another
// pays for the wake-up, so whoever waits for an answer runs the bot call itself (board); contexts and timers cost as much as
// judging a short text, so a request sets one where it can; what every step asks (the partition of an id, who watches a
// conversation, whether timers changed) must be answered without building a key or a map. What a turn costs step by step is
// the end of turnout bench's report.
//
// Nothing leaves the process that derives from a commit before the commit is durable: Store.Commit returns after that.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"turnout/adapters/worker"
	"turnout/gateway/conversation"
	"turnout/gateway/fair"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/rules/signal"
)

// Store is what the pipeline needs of a store.
type Store interface {
	store.Inbox
	store.Conversations
	store.Work
	store.Hints
	Waiting(ctx context.Context, t store.Tenant, queue string, limit int) ([]store.Waiting, error)
	Captured(ctx context.Context, t store.Tenant, queue string, limit int) ([]store.Waiting, error)
	Position(ctx context.Context, r store.Ref) (int, error)
	Depth(ctx context.Context, t store.Tenant) (map[string]int, error)
	Present(ctx context.Context, t store.Tenant) ([]store.Presence, error)
}

// Options are the parts and the settings of a pipeline.
type Options struct {
	Store    Store
	IDs      *id.Source
	Now      func() time.Time
	Detector signal.Detector
	Channels []*Channel
	Faults   fault.Injector
	Log      *slog.Logger
	Meter    Meter // nil: none
	// Notify is told the names that a rule wants to have told; it must not block. nil drops them.
	Notify func(Notice)
	// After is time.After; nil for that of the process.
	After func(time.Duration) <-chan time.Time
	// BotCalls bounds the bot calls under way on this node; 0: DefaultBotCalls. Bound changes it.
	BotCalls int
}

// Notice says that a rule asked for somebody to be told about a conversation.
type Notice struct {
	Ref  store.Ref
	Rule string
	Who  []string
}

// Tenant is what a turn needs to know of a tenant.
type Tenant struct {
	Handle store.Tenant
	Rules  Rulebook
	// Queue is where a handoff goes that names none.
	Queue string
	// Queues are the tenant's queues; a bot's wish for another is ignored.
	Queues map[string]bool
	// BareRequests hands over on a bare word for a person, without any rule.
	BareRequests bool
	// IdleNew is after how long without a message a conversation that no person was involved in ends.
	IdleNew time.Duration
	// CaptureOver is the number of waiting conversations above which a conversation that comes only because the bot is
	// down is captured instead of queued; 0: never.
	CaptureOver int
	// Limits are what the tenant's customers may take.
	Limits Limits
	// Share is what the tenant gets of the node's places for bot calls.
	Share fair.Share

	throttle *throttle
	budgets  budgets
}

// ready completes the tenant's own state; renewed is called when a day begins after one whose budget was used up.
func (t *Tenant) ready(now func() time.Time, renewed func()) {
	if t.throttle == nil {
		t.throttle, t.budgets = newThrottle(t.Limits), t.Limits.budgets(now, renewed)
	}
}

// inherit takes over what was counted for the tenant under the settings before.
func (t *Tenant) inherit(old *Tenant) {
	if old == nil || old == t || t.throttle != nil || old.Limits != t.Limits {
		return
	}
	t.throttle, t.budgets = old.throttle, old.budgets
}

// Channel is what a turn needs to know of a channel.
type Channel struct {
	Key    string
	Tenant *Tenant
	// Bot answers, unless a rule has given the conversation to one of Bots, or its language to one of ByLanguage (by tags in
	// lower case). See botOf.
	Bot          *Bot
	ByLanguage   map[string]*Bot
	Bots         map[string]*Bot // all of the tenant's, by name
	ReopenWithin time.Duration
	// Push says that the channel's provider has to be sent what is said: it goes through the outbox.
	Push bool
	// Lookup says who the channel's customers are to the tenant's own system; nil: nobody does. A turn waits for it until
	// LateWait after it began, and rules see what it said for AccountFor.
	Lookup     Lookup
	LateWait   time.Duration
	AccountFor time.Duration
	// BotCalls bounds the calls to bots for this channel; 0: nothing but the bounds of its bots does.
	BotCalls int

	places []botPlace // of bots
}

// Pipeline carries turns. It is safe for concurrent use.
type Pipeline struct {
	Options
	routing atomic.Pointer[routing]
	hub     *hub
	hints   io.Closer
	wake    chan struct{} // capacity 1: there may be work
	places  *fair.Places[store.Ref]
	calls   atomic.Int64                         // Options.BotCalls, or what Bound has set
	gates   map[channelKey]*fair.Gate[store.Ref] // Replace's

	crew  *worker.Crew
	root  context.Context // ends the bot calls when Stop's patience is over
	abort context.CancelCauseFunc
	mu    sync.Mutex
	stop  bool
	group sync.WaitGroup

	looking sync.Map // of store.Ref: conversations for whom a lookup is under way that nobody waits for
}

// routing is which channel there is, and whose bots. It is never changed, only replaced.
type routing struct {
	channels map[string]*Channel
	bots     []*Bot
}

// botKey is a tenant and the name of its bot.
type botKey struct{ tenant, name string }

// New returns a pipeline. It does nothing by itself until Run. Bot calls live under ctx.
func New(ctx context.Context, o Options) *Pipeline {
	if o.Meter == nil {
		o.Meter = noMeter{}
	}
	if o.After == nil {
		o.After = time.After
	}
	p := &Pipeline{Options: o, hub: newHub(), wake: make(chan struct{}, 1), crew: worker.New()}
	p.root, p.abort = context.WithCancelCause(ctx)
	if o.BotCalls <= 0 {
		o.BotCalls = DefaultBotCalls
	}
	p.calls.Store(int64(o.BotCalls))
	p.places = fair.New(fair.Options[store.Ref]{Most: o.BotCalls, Line: line, Now: o.Now, Run: p.granted})
	p.hints = o.Store.Subscribe(p.heard)
	p.routing.Store(&routing{})
	p.Replace(o.Channels)
	return p
}

// Replace puts other channels in the place of those that there are. What runs goes on as it began: a turn ends with the
// tenant, the channel and the bot it was started with. A *Bot that is in the new list as well keeps its calls, its breaker
// and its lines; who waited for one that is not goes to the bot that the channel has now. A *Tenant of the name of an old one takes over what was
// counted for that one, if their limits are the same. Only one call runs at a time.
func (p *Pipeline) Replace(channels []*Channel) {
	old := p.routing.Load()
	tenants := map[string]*Tenant{}
	for _, c := range old.channels {
		tenants[c.Tenant.Handle.Name()] = c.Tenant
	}
	seen, before := map[*Bot]bool{}, map[botKey]*Bot{}
	for _, b := range old.bots {
		seen[b] = true
		before[botKey{b.tenant, b.Name}] = b
	}
	next := &routing{channels: map[string]*Channel{}}
	listed := map[*Bot]bool{}
	for _, c := range channels {
		next.channels[c.Key] = c
		back := func() { p.goes("returning conversations", func() { p.returnAll(c.Tenant) }) }
		c.Tenant.inherit(tenants[c.Tenant.Handle.Name()])
		c.Tenant.ready(p.Now, back)
		for b := range c.bots {
			if listed[b] {
				continue
			}
			listed[b] = true
			next.bots = append(next.bots, b)
			if !seen[b] {
				b.ready(p.places.Gate(b.Concurrency), back, c.Tenant, before[botKey{c.Tenant.Handle.Name(), b.Name}], p.Now)
			}
		}
	}
	homeless := p.lay(old, channels)
	p.share(next)
	p.routing.Store(next)
	if len(homeless) == 0 {
		return
	}
	p.goes("handing on the lines of bots that are gone", func() {
		for _, r := range homeless {
			p.take(p.root, r, nil)
		}
	})
}

// Bound sets how many bot calls may be under way on this node; 0: DefaultBotCalls. Those that are go on.
func (p *Pipeline) Bound(calls int) {
	if calls <= 0 {
		calls = DefaultBotCalls
	}
	p.calls.Store(int64(calls))
	p.share(p.routing.Load())
}

// Tenants returns the tenants that have channels now.
func (p *Pipeline) Tenants() []*Tenant {
	var out []*Tenant
	for _, c := range p.routing.Load().channels {
		if !slices.Contains(out, c.Tenant) {
			out = append(out, c.Tenant)
		}
	}
	return out
}

// channel returns the channel of a key, nil when there is none.
func (p *Pipeline) channel(key string) *Channel { return p.routing.Load().channels[key] }

// latest returns a channel as it is now; one that was taken away, or whose key is another tenant's now, as it was.
func (p *Pipeline) latest(c *Channel) *Channel {
	if now := p.channel(c.Key); now != nil && now.Tenant.Handle == c.Tenant.Handle {
		return now
	}
	return c
}

// errStopped says that the pipeline takes no new work.
var errStopped = errors.New("the pipeline is stopping")

// Run hands out due work until ctx ends. It sweeps at once: a new process owns what the last one left behind.
func (p *Pipeline) Run(ctx context.Context) error { return p.sweepUntil(ctx) }

// Stop takes no new turns, waits for the running bot calls until ctx ends, and then cuts them off: their leases stay, and
// the next process repeats them under the same turn ids. An adapter that does not even end then is left behind.
func (p *Pipeline) Stop(ctx context.Context) {
	p.mu.Lock()
	p.stop = true
	p.mu.Unlock()
	p.places.Close()
	done := make(chan struct{})
	go func() { p.group.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	p.abort(errStopped)
	select {
	case <-done:
	case <-time.After(cutOff):
		p.Log.Error("left a bot call behind that does not end when it is cut off")
	}
	p.hints.Close()
	p.hub.close()
	p.crew.Close()
}

// cutOff is how long a bot call may take to notice that it was cut off.
const cutOff = 2 * time.Second

// goes runs f on a goroutine of its own unless the pipeline is stopping. A panic ends that work, not the process; what it
// held is taken up again when its lease runs out.
func (p *Pipeline) goes(what string, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop {
		return false
	}
	p.group.Add(1)
	p.crew.Go(func() {
		defer p.group.Done()
		defer p.recovered(what)
		f()
	})
	return true
}

func (p *Pipeline) recovered(what string) {
	if v := recover(); v != nil {
		// The value of a panic may hold text of a customer: only its type is logged.
		p.Log.Error("recovered from a panic", "in", what, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	}
}

// kick says that there may be work. It never blocks.
func (p *Pipeline) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Pipeline) ms() int64 { return p.Now().UnixMilli() }

var system = conversation.Actor{Kind: conversation.System}

// commit tries a step until its outcome is known or ctx ends. ErrUnknown is repeated under the same op, which is safe.
func (p *Pipeline) commit(ctx context.Context, s store.Step) (store.Done, error) {
	if ch := p.channel(s.State.From.Channel); ch != nil && ch.Push {
		pushed(&s)
	}
	for {
		done, err := p.Store.Commit(ctx, s)
		if !errors.Is(err, store.ErrUnknown) {
			return done, err
		}
		select {
		case <-ctx.Done():
			return done, err
		case <-time.After(unknownPause):
		}
	}
}

// unknownPause is how long a step of unknown outcome rests before it is repeated.
const unknownPause = 50 * time.Millisecond

// enter counts a caller in, unless the pipeline is stopping; the caller ends with p.group.Done.
func (p *Pipeline) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop {
		return false
	}
	p.group.Add(1)
	return true
}
