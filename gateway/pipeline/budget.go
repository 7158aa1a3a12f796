package pipeline

import (
	"sync"
	"time"

	"turnout/adapters"
)

// Budget bounds what the calls of one bot may cost. A zero figure is no limit. Hours and days are those of UTC.
type Budget struct {
	CallsPerHour, CallsPerDay int64
	// Tokens are those that a bot says its calls took. What a call takes is known after it, so the calls that are under way
	// when the last is used up may go beyond.
	TokensPerHour, TokensPerDay int64
}

const (
	hour = time.Hour
	day  = 24 * time.Hour
)

// budgets returns the budgets of a bot.
func (b Budget) budgets(now func() time.Time, renewed func()) budgets {
	return budgets{
		{most: b.CallsPerHour, period: hour, calls: true, now: now, renewed: renewed},
		{most: b.CallsPerDay, period: day, calls: true, now: now, renewed: renewed},
		{most: b.TokensPerHour, period: hour, now: now, renewed: renewed},
		{most: b.TokensPerDay, period: day, now: now, renewed: renewed},
	}.limited()
}

// budgets returns the budgets of all of a tenant's bots together.
func (l Limits) budgets(now func() time.Time, renewed func()) budgets {
	return budgets{
		{most: l.BotCallsPerDay, period: day, calls: true, now: now, renewed: renewed},
		{most: l.BotTokensPerDay, period: day, now: now, renewed: renewed},
	}.limited()
}

// budgets are several budgets that each call must fit.
type budgets []*budget

// limited leaves out those that are no limit.
func (bs budgets) limited() (out budgets) {
	for _, b := range bs {
		if b.most > 0 {
			out = append(out, b)
		}
	}
	return out
}

// take takes a call out of all budgets, or out of none; back returns one that was not made.
func (bs budgets) take() bool {
	for i, b := range bs {
		if !b.take() {
			bs[:i].back()
			return false
		}
	}
	return true
}

func (bs budgets) back() {
	for _, b := range bs {
		b.back()
	}
}

// spend counts what a call took.
func (bs budgets) spend(u *adapters.Usage) {
	if u == nil {
		return
	}
	for _, b := range bs {
		b.spend(min(max(0, u.Prompt), b.most) + min(max(0, u.Answer), b.most)) // whatever a bot says: the sum is one
	}
}

// spent returns a budget of which nothing is left, nil when there is none, and whether nobody has asked before in its period.
func (bs budgets) spent() (over *budget, first bool) {
	for _, b := range bs {
		if spent, first := b.spent(); spent {
			return b, first
		}
	}
	return nil, false
}

// budget counts the calls of bots, or the tokens that they take, in a period: an hour, or a day that begins at midnight UTC.
//
// The count is this process' own and begins anew with it. It is a guard against a loop or a flood that would cost the
// tenant a fortune, not a bill: to make it durable would cost every turn a write outside its partition, and a restart can
// at most double what a period may cost.
type budget struct {
	most    int64
	period  time.Duration
	calls   bool // it counts calls; otherwise tokens
	now     func() time.Time
	renewed func() // called when a new period begins after one that was used up

	mu   sync.Mutex
	nth  int64 // the period since 1970
	used int64
	over bool // a call was refused in it
}

func (b *budget) take() bool {
	ok, renewed := b.count()
	if renewed {
		b.renewed()
	}
	return ok
}

func (b *budget) count() (ok, renewed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	renewed = b.turn()
	if b.used >= b.most {
		return false, renewed
	}
	if b.calls {
		b.used++
	}
	return true, renewed
}

// turn begins the period of now, and reports whether it is another one than before and that one was used up.
func (b *budget) turn() (renewed bool) {
	if nth := b.current(); nth != b.nth {
		renewed = b.over
		b.nth, b.used, b.over = nth, 0, false
	}
	return renewed
}

func (b *budget) back() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls {
		b.used = max(0, b.used-1)
	}
}

func (b *budget) spend(tokens int64) {
	if b.calls {
		return
	}
	b.mu.Lock()
	renewed := b.turn()
	b.used += min(tokens, b.most) // however many it says: no more than all
	b.mu.Unlock()
	if renewed {
		b.renewed()
	}
}

// spent reports whether nothing is left of the period, and first whether nobody has asked before in it.
func (b *budget) spent() (spent, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nth != b.current() || b.used < b.most {
		return false, false
	}
	first, b.over = !b.over, true
	return true, first
}

func (b *budget) current() int64 { return b.now().Unix() / int64(b.period.Seconds()) }

// what names what the budget is of, for people: "calls", "tokens"; and "hour", "day".
func (b *budget) what() (kind, period string) {
	kind, period = "tokens", "day"
	if b.calls {
		kind = "calls"
	}
	if b.period == hour {
		period = "hour"
	}
	return kind, period
}

// overBudget reports whether a tenant's bots may not be called any more today, and says so once in the log.
func (p *Pipeline) overBudget(t *Tenant) bool {
	over, first := t.budgets.spent()
	if first {
		kind, _ := over.what()
		p.Log.Warn("the bot "+kind+" of the day are used up: turns go to people until midnight UTC", "tenant", t.Handle.Name(), kind, over.most)
	}
	return over != nil
}

// spentUp reports whether a bot's own budget is used up, and says so once in the log.
func (p *Pipeline) spentUp(b *Bot) bool {
	over, first := b.budgets.spent()
	if first {
		kind, period := over.what()
		p.Log.Warn("a bot's "+kind+" of the "+period+" are used up: its turns go to its alternate or to people", "tenant", b.tenant, "bot", b.Name, kind, over.most)
	}
	return over != nil
}
