package pipeline

import (
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"turnout/adapters"
	"turnout/gateway/store"
)

// Bot is a bot with what protects it and us from each other: a deadline, a limit of concurrent calls and a breaker.
type Bot struct {
	Name string
	adapters.Bot
	// Deadline bounds one call, Concurrency the number of calls at once (a call that cannot be cancelled counts until it
	// ends).
	Deadline    time.Duration
	Concurrency int
	Breaker     BreakerSettings
	// Alternate is asked when this bot cannot answer; nil for none.
	Alternate *Bot

	tenant  string
	prompt  bool // the adapter returns when its context ends
	breaker gate

	mu      sync.Mutex
	running int
	starved bool // somebody was refused a place since the last release
	kick    func()
	// line are the conversations that the sweep found no place for, the first come first, each once. The store hands work
	// out again only after a while; a place that is free is not to stay empty until then.
	line   []store.Ref
	inLine map[store.Ref]bool
}

// BreakerSettings open the breaker after Failures within Window, for OpenFor; then single calls probe.
type BreakerSettings struct {
	Failures uint
	Window   time.Duration
	OpenFor  time.Duration
}

// gate lets a call through to a bot while the breaker is closed and the tenant's budget lasts.
type gate struct {
	circuitbreaker.CircuitBreaker[any]
	budget *budget
}

// TryAcquirePermit lets one call through. The budget goes first: a permit that is not used would keep a breaker that probes
// from closing.
func (g gate) TryAcquirePermit() bool {
	if !g.budget.take() {
		return false
	}
	if !g.CircuitBreaker.TryAcquirePermit() {
		g.budget.back()
		return false
	}
	return true
}

// ready completes the bot's own state; closed is called when the breaker closes again.
func (b *Bot) ready(kick, closed func(), t *Tenant) {
	b.tenant, b.kick, b.inLine = t.Handle.Name(), kick, map[store.Ref]bool{}
	_, b.prompt = b.Bot.(adapters.Prompt)
	breaker := circuitbreaker.NewBuilder[any]().
		WithFailureThresholdPeriod(max(1, b.Breaker.Failures), max(time.Second, b.Breaker.Window)).
		WithDelay(b.Breaker.OpenFor).
		WithSuccessThreshold(1).
		OnClose(func(circuitbreaker.StateChangedEvent) { closed() }).
		Build()
	b.breaker = gate{breaker, t.budget}
}

// enter takes a place for one call; leave gives it back.
func (b *Bot) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running >= b.Concurrency {
		b.starved = true
		return false
	}
	b.running++
	return true
}

func (b *Bot) leave() {
	b.mu.Lock()
	b.running--
	wanted := b.starved || len(b.line) > 0
	b.starved = false
	b.mu.Unlock()
	if wanted {
		b.kick()
	}
}

// wait puts a conversation that was refused a place into the line.
func (b *Bot) wait(r store.Ref) {
	b.mu.Lock()
	if !b.inLine[r] {
		b.line, b.inLine[r] = append(b.line, r), true
	}
	free := b.running < b.Concurrency
	b.mu.Unlock()
	if free { // a call ended in between
		b.kick()
	}
}

// next takes the first conversation out of the line if there is a place for it.
func (b *Bot) next() (r store.Ref, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.line) == 0 || b.running >= b.Concurrency {
		return store.Ref{}, false
	}
	r, b.line = b.line[0], b.line[1:]
	delete(b.inLine, r)
	return r, true
}

// disband empties the line of a bot that serves no channel any more. Who is refused a place after that is found by the
// store.
func (b *Bot) disband() []store.Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := b.line
	b.line = nil
	clear(b.inLine)
	return line
}

// SameSettings reports whether two bots have the same name and the same limits.
func (b *Bot) SameSettings(o *Bot) bool {
	return b.Name == o.Name && b.Deadline == o.Deadline && b.Concurrency == o.Concurrency && b.Breaker == o.Breaker
}

// Anew returns a bot of the same adapter and settings, without an alternate, that nobody has asked yet.
func (b *Bot) Anew() *Bot {
	return &Bot{Name: b.Name, Bot: b.Bot, Deadline: b.Deadline, Concurrency: b.Concurrency, Breaker: b.Breaker}
}
