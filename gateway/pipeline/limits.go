package pipeline

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/rules/signal"
)

// Limits bound what one tenant's customers take of a node. A zero figure is no limit.
type Limits struct {
	// VisitorPerMinute and TenantPerMinute are messages: of one sender on a channel, and of all the tenant's together. A
	// minute's worth, and ten at the least, may come at once. They hold whoever owns the conversation.
	VisitorPerMinute int
	TenantPerMinute  int
	// BotCallsPerDay are the calls of the tenant's bots in a day (UTC), BotTokensPerDay what those take that count in tokens; see
	// budget.
	BotCallsPerDay  int64
	BotTokensPerDay int64
}

const (
	leastBurst = 10
	// overdraw is how many bursts a request for a person may go below an empty bucket. A limit keeps floods out; it must
	// not keep a customer from a person.
	overdraw = 4
	// maxVisitors bounds the senders whose buckets a tenant remembers at a time.
	maxVisitors = 50_000
)

// throttle holds the token buckets of a tenant.
type throttle struct {
	limits Limits

	mu     sync.Mutex
	tenant *rate.Limiter
	// Buckets are remembered in two generations: when the young one is full it becomes the old one, and what the old one
	// held was not used since the last time that this happened. So room costs no search, and a flood of new senders makes
	// the node forget, not refuse.
	young, old map[message.Address]*rate.Limiter
}

func newThrottle(l Limits) *throttle {
	return &throttle{limits: l, tenant: bucket(l.TenantPerMinute), young: map[message.Address]*rate.Limiter{}}
}

// bucket returns the bucket for a rate, nil for no limit.
func bucket(perMinute int) *rate.Limiter {
	if perMinute <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(float64(perMinute)/60), max(leastBurst, perMinute))
}

// admit takes one message out of the buckets of its sender and of the tenant, or out of neither and says how long to wait.
func (t *throttle) admit(from message.Address, person bool, now time.Time) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	visitor := t.visitor(from)
	if wait = max(lacks(visitor, person, now), lacks(t.tenant, person, now)); wait > 0 {
		return wait, false
	}
	for _, b := range []*rate.Limiter{visitor, t.tenant} {
		if b != nil {
			b.ReserveN(now, 1)
		}
	}
	return 0, true
}

// lacks returns the time until a bucket has room for one message; 0 when it has room already.
func lacks(b *rate.Limiter, person bool, now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	have := b.TokensAt(now)
	if person {
		have += float64(overdraw * b.Burst())
	}
	if have >= 1 {
		return 0
	}
	return time.Duration(math.Ceil((1 - have) / float64(b.Limit()) * float64(time.Second)))
}

// visitor returns the bucket of a sender.
func (t *throttle) visitor(from message.Address) *rate.Limiter {
	if t.limits.VisitorPerMinute <= 0 {
		return nil
	}
	from.Thread = "" // a sender has one bucket for all threads
	if b := t.young[from]; b != nil {
		return b
	}
	b := t.old[from]
	if b == nil {
		b = bucket(t.limits.VisitorPerMinute)
	}
	if len(t.young) >= maxVisitors/2 {
		t.old, t.young = t.young, make(map[message.Address]*rate.Limiter, maxVisitors/2)
	}
	t.young[from] = b
	return b
}

// admit returns nil when the limits let a message in, and the refusal otherwise. A message that is known already is never
// refused: it costs nothing but the one look that a refusal takes.
func (p *Pipeline) admit(ctx context.Context, ch *Channel, in message.Inbound) error {
	now := p.Now()
	wait, ok := ch.Tenant.throttle.admit(in.From, false, now)
	if ok {
		return nil
	}
	if in.Kind == message.Human || in.Kind == message.Text && signal.BareRequest(in.Text) {
		if wait, ok = ch.Tenant.throttle.admit(in.From, true, now); ok {
			return nil
		}
	}
	found, err := p.Store.Find(ctx, ch.Tenant.Handle, in.From, []string{in.ID})
	if err != nil {
		return unavailable(err)
	}
	if _, known := found.Known[in.ID]; known {
		return nil
	}
	return &adapters.RefusedError{
		Code: "rate_limited", RetryAfter: wait,
		Detail: fmt.Sprintf("Too many messages. Send this one again in %d seconds.", int(math.Ceil(wait.Seconds()))),
	}
}
