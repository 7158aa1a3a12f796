package pipeline

import (
	"errors"
	"time"

	"turnout/adapters"
)

// Meter is told how long things took and how they ended. It must not block. What a durable commit did is not told here:
// the store tells it to everybody.
type Meter interface {
	// Accepted: a message came in. outcome is one of the Outcome… constants.
	Accepted(tenant, channel, outcome string, took time.Duration)
	// Called: a call of a bot ended: "ok", an adapters.BotErrorKind or "breaker_open".
	Called(tenant, bot, outcome string, took time.Duration)
	// Waited: a turn waited for what the tenant's own system says of the customer. outcome is one of the Wait… constants.
	Waited(tenant, channel, outcome string)
	// Spent: a bot says how many tokens a call took, of what it was asked and of what it answered.
	Spent(tenant, bot string, prompt, answer int64)
	// Answered: a turn that a bot answered ended in a durable commit, took after it was begun.
	Answered(tenant, channel string, took time.Duration)
}

// How an accept can end.
const (
	OutcomeAccepted    = "accepted"
	OutcomeDuplicate   = "duplicate"
	OutcomeRefused     = "refused"
	OutcomeUnavailable = "unavailable"
)

type noMeter struct{}

func (noMeter) Accepted(string, string, string, time.Duration) {}
func (noMeter) Called(string, string, string, time.Duration)   {}
func (noMeter) Waited(string, string, string)                  {}
func (noMeter) Spent(string, string, int64, int64)             {}
func (noMeter) Answered(string, string, time.Duration)         {}

func acceptOutcome(r adapters.Receipt, err error) string {
	var refused *adapters.RefusedError
	switch {
	case errors.As(err, &refused):
		return OutcomeRefused
	case err != nil:
		return OutcomeUnavailable
	case r.Dup:
		return OutcomeDuplicate
	}
	return OutcomeAccepted
}

func callOutcome(err error) string {
	var e *adapters.BotError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errBreakerOpen):
		return "breaker_open"
	case errors.As(err, &e):
		return string(e.Kind)
	}
	return "failed"
}

// BotStats is how a bot stands now.
type BotStats struct {
	Tenant, Bot string
	// Running calls, and Line, the conversations that wait for a place.
	Running, Line int
	BreakerOpen   bool
}

// BotStats returns how the bots stand that serve channels.
func (p *Pipeline) BotStats() []BotStats {
	r := p.routing.Load()
	line := map[*Bot]int{}
	for _, c := range r.channels {
		for _, l := range c.places {
			line[l.bot] += l.Waiting()
		}
	}
	out := make([]BotStats, 0, len(r.bots))
	for _, b := range r.bots {
		out = append(out, BotStats{Tenant: b.tenant, Bot: b.Name, Running: b.bound.Running(), Line: line[b], BreakerOpen: b.breaker.IsOpen()})
	}
	return out
}
