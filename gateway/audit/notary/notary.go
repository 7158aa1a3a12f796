// Package notary makes the checkpoints of the audit chains: every minute and at the end it signs what moved, and sends a
// copy outside.
//
// A checkpoint is stored before anything is sent, by a comparison with the one before, so that of several nodes one makes
// it. Sending hangs on nothing and nothing hangs on it: what could not be sent is sent later, in order, and how far it came
// is written down after it came there. A crash in between sends a copy twice, which says nothing new.
package notary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"turnout/gateway/audit"
	"turnout/gateway/fault"
	"turnout/gateway/store"
)

// Ledger is what a notary needs of a store.
type Ledger interface {
	Tenants(ctx context.Context) ([]store.Tenant, error)
	Frontier(ctx context.Context, t store.Tenant, limit int) (store.Frontier, error)
	Seal(ctx context.Context, t store.Tenant, c audit.Sealed) error
	Checkpoints(ctx context.Context, t store.Tenant, after uint64, limit int) ([]audit.Sealed, error)
	Sent(ctx context.Context, t store.Tenant, n uint64) error
}

// Options are the parts of a Notary. Ledger, Signer, Now and Log are required.
type Options struct {
	// Ledger is the store. All its tenants are looked after, also those that the configuration does not name any more.
	Ledger Ledger
	Signer *audit.Signer
	// Count, when set, is called before each round: what was only counted until then becomes an entry, and is covered.
	Count func(context.Context) error
	// To takes the copies; nil: none are made.
	To     Destination
	Every  time.Duration // 0: a minute
	Now    func() time.Time
	Log    *slog.Logger
	Faults fault.Injector
}

// Notary makes checkpoints. It is safe for concurrent use.
type Notary struct {
	o    Options
	wake chan struct{} // for the sender: there is something new

	mu     sync.Mutex
	health Health

	sealing sync.Mutex // one round at a time
	sending sync.Mutex // one delivery at a time
}

// Health is how checkpoints are.
type Health struct {
	// SealedAt is when the last round ended well; SealFailing what the one after it met.
	SealedAt    time.Time
	SealFailing string
	// Unsent are the checkpoints whose copies are not outside yet, SendFailing why, Since since when.
	Unsent      uint64
	SendFailing string
	Since       time.Time
}

// New returns a notary that does nothing yet.
func New(o Options) *Notary {
	if o.Every == 0 {
		o.Every = time.Minute
	}
	return &Notary{o: o, wake: make(chan struct{}, 1)}
}

const (
	// headsPerCheckpoint bounds a checkpoint: a tenant with more chains that moved gets several at once.
	headsPerCheckpoint = 4096
	sendPage           = 16
	// roundTime and sendTime bound what hangs on others.
	roundTime = 30 * time.Second
	sendTime  = 15 * time.Second
	// Pauses after failures to send, with full jitter.
	firstPause   = 2 * time.Second
	longestPause = 5 * time.Minute
)

// Run works until ctx ends. What moves after its last round is left to whoever calls Round and Deliver at the end.
func (n *Notary) Run(ctx context.Context) {
	var sender sync.WaitGroup
	if n.o.To != nil {
		sender.Go(func() { n.send(ctx) })
	}
	tick := time.NewTicker(n.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			sender.Wait()
			return
		case <-tick.C:
			n.guarded("sealing", func() { n.round(ctx) })
		}
	}
}

// Health returns how checkpoints are.
func (n *Notary) Health() Health {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.health
}

// round is Round with its outcome written down.
func (n *Notary) round(ctx context.Context) {
	work, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	if err := n.Round(work); err != nil && ctx.Err() == nil {
		n.o.Log.Error("sealing the audit chains: tried again at the next round", "err", err)
	}
}

// Round makes checkpoints over everything that moved.
func (n *Notary) Round(ctx context.Context) error {
	n.sealing.Lock()
	defer n.sealing.Unlock()
	var errs []error
	if n.o.Count != nil {
		errs = append(errs, n.o.Count(ctx))
	}
	tenants, err := n.o.Ledger.Tenants(ctx)
	errs = append(errs, err)
	for _, t := range append(tenants, store.Operator) {
		if err := n.seal(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name(), err))
		}
	}
	err = errors.Join(errs...)
	n.mu.Lock()
	if n.health.SealFailing = ""; err != nil {
		n.health.SealFailing = err.Error()
	} else {
		n.health.SealedAt = n.o.Now()
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return err
}

// seal makes the checkpoints of one tenant.
func (n *Notary) seal(ctx context.Context, t store.Tenant) error {
	for {
		f, err := n.o.Ledger.Frontier(ctx, t, headsPerCheckpoint)
		if err != nil || len(f.Heads) == 0 {
			return err
		}
		full := len(f.Heads) == headsPerCheckpoint
		c, err := n.o.Signer.Seal(t.Name(), f.Newest, n.o.Now().UnixMilli(), f.Heads)
		if err != nil {
			return err
		}
		switch err := n.o.Ledger.Seal(ctx, t, c); {
		case errors.Is(err, store.ErrStale):
			return nil // another node has made it
		case err != nil:
			return err
		}
		if err := n.o.Faults.Hit(ctx, fault.CheckpointSealed); err != nil {
			return err
		}
		if !full {
			return nil
		}
	}
}

// send delivers whenever there is something new, and after a failure once more after a pause that grows.
func (n *Notary) send(ctx context.Context) {
	pause := firstPause
	retry := time.NewTimer(0) // what an earlier process has left behind
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
		case <-n.wake:
			if n.Health().SendFailing != "" {
				continue // its turn comes with the pause
			}
		}
		var err error
		n.guarded("sending checkpoints", func() { err = n.Deliver(ctx) })
		if err == nil || ctx.Err() != nil {
			pause = firstPause
			continue
		}
		n.o.Log.Warn("sending checkpoints outside: tried again later", "err", err, "unsent", n.Health().Unsent)
		wait := time.Duration(rand.Int64N(int64(pause))) + time.Second
		var busy *BusyError
		if errors.As(err, &busy) {
			wait = max(wait, busy.RetryAfter)
		}
		retry.Reset(wait)
		pause = min(2*pause, longestPause)
	}
}

// Deliver sends what is unsent, the oldest first, up to the first failure of each tenant. Without a destination it does
// nothing.
func (n *Notary) Deliver(ctx context.Context) error {
	if n.o.To == nil {
		return nil
	}
	n.sending.Lock()
	defer n.sending.Unlock()
	var errs []error
	var unsent uint64
	tenants, err := n.o.Ledger.Tenants(ctx)
	errs = append(errs, err)
	for _, t := range append(tenants, store.Operator) {
		left, err := n.deliver(ctx, t)
		unsent += left
		if err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", t.Name(), err))
		}
	}
	err = errors.Join(errs...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.health.Unsent = unsent
	switch {
	case err == nil:
		n.health.SendFailing, n.health.Since = "", time.Time{}
	case n.health.SendFailing == "":
		n.health.Since = n.o.Now()
		fallthrough
	default:
		n.health.SendFailing = err.Error()
	}
	return err
}

// deliver sends the copies of one tenant and returns how many are left.
func (n *Notary) deliver(ctx context.Context, t store.Tenant) (left uint64, err error) {
	f, err := n.o.Ledger.Frontier(ctx, t, 0)
	if err != nil || f.Newest == nil {
		return 0, err
	}
	newest, err := audit.ReadCheckpoint(f.Newest)
	if err != nil {
		return 0, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	for sent := f.Sent; ; {
		list, err := n.o.Ledger.Checkpoints(ctx, t, sent, sendPage)
		if err != nil || len(list) == 0 {
			return newest.Number - min(sent, newest.Number), err
		}
		for _, c := range list {
			if err := n.deliverOne(ctx, t, sent+1, c.Note); err != nil {
				return newest.Number - min(sent, newest.Number), err
			}
			sent++
		}
	}
}

func (n *Notary) deliverOne(ctx context.Context, t store.Tenant, number uint64, note []byte) error {
	work, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if err := n.o.To.Send(work, t.Name(), number, note); err != nil {
		return fmt.Errorf("sending checkpoint %d: %w", number, err)
	}
	if err := n.o.Faults.Hit(ctx, fault.CheckpointSent); err != nil {
		return err
	}
	return n.o.Ledger.Sent(ctx, t, number)
}

// guarded keeps a panic from ending the process; its value may hold anything, so only its type is told.
func (n *Notary) guarded(what string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			n.o.Log.Error("recovered from a panic", "in", what, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
		}
	}()
	f()
}
