package outbox

import (
	"context"
	"time"

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
// Tenants take turns, one send each, and so do the channels of a tenant: a tenant with much to send, or whose provider
// hangs, keeps others from nothing but the places that it may hold, and these are at most half.
func (b *Outbox) dispatch(ctx context.Context) (next time.Time) {
	defer b.recovered("the outbox")
	now := b.Now()
	b.settleFinished(now)
	b.mu.Lock()
	replaced := b.replaced
	b.replaced = nil
	b.mu.Unlock()
	if replaced != nil {
		b.lay(*replaced)
	}
	running := 0
	for _, t := range b.tenants {
		running += t.running
	}
	most := b.Sends
	if len(b.tenants) > 1 {
		most = max(1, most/2)
	}
	for progress := true; progress && ctx.Err() == nil; {
		progress, next = false, time.Time{}
		for _, t := range b.tenants {
			if running >= b.Sends || t.running >= most {
				continue
			}
			began, again := b.one(ctx, t, now)
			if began {
				progress = true
				running++
			}
			if !again.IsZero() && (next.IsZero() || again.Before(next)) {
				next = again
			}
		}
	}
	if len(b.tenants) > 1 { // who begins changes from time to time
		b.tenants = append(b.tenants[1:], b.tenants[0])
	}
	return next
}

// one begins one send of a tenant, of the first of its channels in turn that may.
func (b *Outbox) one(ctx context.Context, t *tenant, now time.Time) (began bool, next time.Time) {
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
			b.begin(l, r)
			return true, next
		}
		if !again.IsZero() && (next.IsZero() || again.Before(next)) {
			next = again
		}
	}
	return false, next
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
func (b *Outbox) settleFinished(now time.Time) {
	b.mu.Lock()
	finished := b.finished
	b.finished = nil
	b.mu.Unlock()
	for _, f := range finished {
		l := f.lane
		l.running--
		l.tenant.running--
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
