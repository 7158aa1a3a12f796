package outbox

import (
	"context"
	"time"

	"turnout/gateway/fair"
	"turnout/gateway/store"
)

// lookPause is how long the dispatcher sleeps at most: a clock may be set, a hint may be lost.
const lookPause = time.Second

// finish is what an attempt tells the dispatcher.
type finish struct {
	lane   *lane
	ref    store.Ref
	health health
	rest   time.Duration // of the channel
	alarm  bool
	code   string
	spare  time.Duration // the recipient
	took   time.Duration // the provider; 0: it was not asked
}

// Run sends until ctx ends: at once, because a new process owns what the last one left behind, then on every hint, at the
// end of every send, and when the next thing is due.
func (b *Outbox) Run(ctx context.Context) error {
	for {
		next := b.dispatch(ctx)
		pause := lookPause
		if !next.IsZero() {
			pause = min(pause, max(time.Millisecond, next.Sub(b.Now())))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-b.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// dispatch begins every send that may begin now and returns when to look again; the zero time is on a hint only.
//
// Tenants take turns by their shares (package fair), and so do the channels of a tenant: a tenant with much to send, or
// whose provider hangs, keeps others from nothing but the places that it may hold. One that has no send under way gets its
// first although all places are taken. Only who may have something to send is looked at.
func (b *Outbox) dispatch(ctx context.Context) (next time.Time) {
	defer b.recovered("the outbox")
	now := b.Now()
	b.mu.Lock()
	replaced, woken := b.replaced, b.woken
	b.replaced, b.woken = nil, nil
	bound := b.bound
	b.bound = 0
	b.mu.Unlock()
	b.settleFinished(ctx, now)
	if replaced != nil {
		b.lay(*replaced)
	}
	if bound > 0 {
		b.Sends = bound
		b.showBounds()
		for _, l := range *b.lanes.Load() { // whoever was at a bound looks again
			b.ring.Stir(l.tenant.flow)
		}
	}
	for _, l := range woken {
		b.stir(ctx, l.tenant, now)
	}
	for t := b.looks.due(now); t != nil && ctx.Err() == nil; t = b.looks.due(now) {
		b.stir(ctx, t, now)
	}
	for b.running < b.Sends && ctx.Err() == nil {
		f := b.ring.Next()
		if f == nil {
			break
		}
		b.one(ctx, f.Value, now)
	}
	return b.looks.next()
}

// stir notes that a tenant may have something to send. If it has no send under way it begins one.
func (b *Outbox) stir(ctx context.Context, t *tenant, now time.Time) {
	if len(t.lanes) == 0 {
		return
	}
	b.ring.Stir(t.flow)
	if t.running.Load() == 0 {
		b.one(ctx, t, now)
	}
}

// showBounds shows the tenants' bounds to Places.
func (b *Outbox) showBounds() {
	for _, l := range *b.lanes.Load() {
		l.tenant.bound.Store(int64(b.most(l.tenant)))
	}
	b.total.Store(int64(b.Sends))
}

// most is how many sends a tenant may have under way.
func (b *Outbox) most(t *tenant) int { return t.share.Of(b.Sends, b.tenants) }

// one begins one send of a tenant, of the first of its channels in turn that may. A tenant that has none is out of the ring
// until something happens, or for a time.
func (b *Outbox) one(ctx context.Context, t *tenant, now time.Time) {
	running := int(t.running.Load())
	if running >= b.most(t) {
		b.ring.Park(t.flow)
		return
	}
	next := time.Time{}
	for range t.lanes {
		l := t.lanes[t.turn]
		t.turn = (t.turn + 1) % len(t.lanes)
		r, ok, again, err := l.take(now, func(limit int) ([]store.Ref, int64, error) {
			return b.Store.Pending(ctx, l.Tenant, l.Key, now.UnixMilli(), limit)
		})
		if err != nil && ctx.Err() == nil {
			b.Log.Error("looking for what to send", "channel", l.Key, "err", err)
		}
		if ok {
			b.running++
			t.running.Add(1)
			b.ring.Charge(t.flow, fair.Cost(l.took))
			b.begin(l, r)
			return
		}
		if l.removed && l.alarm && again.IsZero() && err == nil && l.running == 0 {
			l.alarm = false // nothing waits any more
			b.raise(Alarm{Tenant: l.Tenant.Name(), Channel: l.Key, Over: true})
			l.publish(now)
		}
		if !again.IsZero() && (next.IsZero() || again.Before(next)) {
			next = again
		}
	}
	if running > 0 || !next.IsZero() {
		b.ring.Park(t.flow)
	} else {
		b.ring.Rest(t.flow)
	}
	b.looks.at(t, next)
}

// begin runs an attempt on a goroutine of its own.
func (b *Outbox) begin(l *lane, r store.Ref) {
	done := finish{lane: l, ref: r}
	if !b.enter() {
		b.finish(done)
		return
	}
	go func() {
		defer b.group.Done()
		defer func() { b.finish(done) }()
		defer b.recovered("a send")
		b.attempt(&done)
	}()
}

func (b *Outbox) finish(f finish) {
	b.mu.Lock()
	b.finished = append(b.finished, f)
	b.mu.Unlock()
	b.kick()
}

// settleFinished gives back the places of the sends that ended and draws what follows for their channels.
func (b *Outbox) settleFinished(ctx context.Context, now time.Time) {
	b.mu.Lock()
	finished := b.finished
	b.finished = nil
	b.mu.Unlock()
	for _, f := range finished {
		l := f.lane
		l.running--
		b.running--
		l.tenant.running.Add(-1)
		if f.took > 0 {
			l.took = fair.Smooth(l.took, f.took)
		}
		l.dirty.Store(true) // the conversation may have more
		current := (*b.lanes.Load())[laneKey{l.Tenant, l.Key}]
		if current != nil {
			current.dirty.Store(true) // and the channel another lane by now, for the sender that there is now
		}
		if f.spare > 0 {
			l.held.add(f.ref, now.Add(f.spare)) // it stays in hand
		} else {
			if l.inHand[f.ref] {
				l.ready = append(l.ready, f.ref)
			}
			delete(l.inHand, f.ref)
		}
		if until := now.Add(f.rest); f.rest > 0 && until.After(l.rest) {
			l.rest = until
			l.throttled.Add(1)
		}
		opened, closed := l.breaker.ends(f.health, now)
		switch {
		case opened:
			l.opened.Add(1)
			b.Log.Warn("resting a channel whose provider fails", "channel", l.Key, "code", f.code)
		case closed:
			b.Log.Info("the provider of a channel is back", "channel", l.Key)
		}
		if current != l { // of a sender that was replaced: what it met says nothing of the one that there is now
			continue
		}
		switch {
		case f.alarm && !l.alarm:
			l.alarm = true
			l.alarms.Add(1)
			b.raise(Alarm{Tenant: l.Tenant.Name(), Channel: l.Key, Code: f.code})
		case f.health == well && l.alarm:
			l.alarm = false
			b.raise(Alarm{Tenant: l.Tenant.Name(), Channel: l.Key, Over: true})
		}
		l.publish(now)
	}
	for _, f := range finished { // when all that ended is settled
		b.stir(ctx, f.lane.tenant, now)
	}
}

func (b *Outbox) raise(a Alarm) {
	switch {
	case b.Alarm != nil:
		b.Alarm(a)
	case a.Over:
		b.Log.Info("the channel is taken again", "tenant", a.Tenant, "channel", a.Channel)
	default:
		b.Log.Error("no message of the channel is taken until an operator mends it", "tenant", a.Tenant, "channel", a.Channel, "code", a.Code)
	}
}
