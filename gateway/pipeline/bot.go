package pipeline

import (
	"slices"
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
	// Budget is the bot's own, beside that of all of the tenant's bots.
	Budget Budget
	// Alternate is asked when this bot cannot answer; nil for none.
	Alternate *Bot

	tenant  string
	prompt  bool            // the adapter returns when its context ends
	memory  adapters.Memory // what its turns bring of the conversation
	breaker gate
	budgets budgets
	bound   *fair.Gate[store.Ref]
}

// BreakerSettings open the breaker after Failures within Window, for OpenFor; then single calls probe.
type BreakerSettings struct {
	Failures uint
	Window   time.Duration
	OpenFor  time.Duration
}

// gate lets a call through to a bot while the breaker is closed and the budgets of the bot and its tenant last.
type gate struct {
	circuitbreaker.CircuitBreaker[any]
	budgets budgets
}

// TryAcquirePermit lets one call through. The budgets go first: a permit that is not used would keep a breaker that probes
// from closing.
func (g gate) TryAcquirePermit() bool {
	if !g.budgets.take() {
		return false
	}
	if !g.CircuitBreaker.TryAcquirePermit() {
		g.budgets.back()
		return false
	}
	return true
}

// ready completes the bot's own state; back is called when the breaker closes again and when there is a budget again. was is
// the bot of that name before, nil for none.
func (b *Bot) ready(bound *fair.Gate[store.Ref], back func(), t *Tenant, was *Bot, now func() time.Time) {
	b.tenant, b.bound = t.Handle.Name(), bound
	_, b.prompt = b.Bot.(adapters.Prompt)
	if r, ok := b.Bot.(adapters.Rememberer); ok {
		b.memory = r.Remembers()
	}
	if was != nil && was.Budget == b.Budget {
		b.budgets = was.budgets
	} else {
		b.budgets = b.Budget.budgets(now, back)
	}
	breaker := circuitbreaker.NewBuilder[any]().
		WithFailureThresholdPeriod(max(1, b.Breaker.Failures), max(time.Second, b.Breaker.Window)).
		WithDelay(b.Breaker.OpenFor).
		WithSuccessThreshold(1).
		OnClose(func(circuitbreaker.StateChangedEvent) { back() }).
		Build()
	b.breaker = gate{breaker, slices.Concat(t.budgets, b.budgets)}
}

// SameSettings reports whether two bots have the same name and the same limits.
func (b *Bot) SameSettings(o *Bot) bool {
	return b.Name == o.Name && b.Deadline == o.Deadline && b.Concurrency == o.Concurrency && b.Breaker == o.Breaker &&
		b.Budget == o.Budget
}

// Anew returns a bot of the same adapter and settings, without an alternate, that nobody has asked yet.
func (b *Bot) Anew() *Bot {
	return &Bot{Name: b.Name, Bot: b.Bot, Deadline: b.Deadline, Concurrency: b.Concurrency, Breaker: b.Breaker, Budget: b.Budget}
}
