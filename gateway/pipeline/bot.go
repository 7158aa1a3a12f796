package pipeline

import (
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"turnout/adapters"
	"turnout/gateway/fair"
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
	bound   *fair.Gate[store.Ref]
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
func (b *Bot) ready(bound *fair.Gate[store.Ref], closed func(), t *Tenant) {
	b.tenant, b.bound = t.Handle.Name(), bound
	_, b.prompt = b.Bot.(adapters.Prompt)
	breaker := circuitbreaker.NewBuilder[any]().
		WithFailureThresholdPeriod(max(1, b.Breaker.Failures), max(time.Second, b.Breaker.Window)).
		WithDelay(b.Breaker.OpenFor).
		WithSuccessThreshold(1).
		OnClose(func(circuitbreaker.StateChangedEvent) { closed() }).
		Build()
	b.breaker = gate{breaker, t.budget}
}

// SameSettings reports whether two bots have the same name and the same limits.
func (b *Bot) SameSettings(o *Bot) bool {
	return b.Name == o.Name && b.Deadline == o.Deadline && b.Concurrency == o.Concurrency && b.Breaker == o.Breaker
}

// Anew returns a bot of the same adapter and settings, without an alternate, that nobody has asked yet.
func (b *Bot) Anew() *Bot {
	return &Bot{Name: b.Name, Bot: b.Bot, Deadline: b.Deadline, Concurrency: b.Concurrency, Breaker: b.Breaker}
}
