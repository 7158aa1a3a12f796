package pipeline

import (
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"turnout/adapters"
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

	prompt  bool // the adapter returns when its context ends
	breaker gate

	mu      sync.Mutex
	running int
	starved bool // somebody was refused a place since the last release
	kick    func()
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
func (b *Bot) ready(kick, closed func(), budget *budget) {
	b.kick = kick
	_, b.prompt = b.Bot.(adapters.Prompt)
	breaker := circuitbreaker.NewBuilder[any]().
		WithFailureThresholdPeriod(max(1, b.Breaker.Failures), max(time.Second, b.Breaker.Window)).
		WithDelay(b.Breaker.OpenFor).
		WithSuccessThreshold(1).
		OnClose(func(circuitbreaker.StateChangedEvent) { closed() }).
		Build()
	b.breaker = gate{breaker, budget}
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
	starved := b.starved
	b.starved = false
	b.mu.Unlock()
	if starved {
		b.kick()
	}
}
