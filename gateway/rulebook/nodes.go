package rulebook

import (
	"context"
	"errors"
	"fmt"

	"turnout/gateway/alarm"
	"turnout/gateway/store"
)

// Nodes is who else judges by a tenant's rules. What counts as a live heartbeat is its own affair.
type Nodes interface {
	// Confirm says that this node can judge by the rules of a digest. It is repeated at every beat and may forget the
	// digest before.
	Confirm(ctx context.Context, t store.Tenant, digest string) error
	// Unconfirmed names the live nodes that have not confirmed a digest, this one included.
	Unconfirmed(ctx context.Context, t store.Tenant, digest string) ([]string, error)
}

// Alone is the Nodes of a store that only one process can open: what it can judge by is confirmed.
type Alone struct{}

// Confirm implements Nodes.
func (Alone) Confirm(context.Context, store.Tenant, string) error { return nil }

// Unconfirmed implements Nodes.
func (Alone) Unconfirmed(context.Context, store.Tenant, string) ([]string, error) { return nil, nil }

// Beat is one heartbeat of the book: it tests the locked rules as they judge now, lets tripped rules try again, confirms a
// version that waits, makes it effective when nobody is missing, and follows what is in force. An error means that this
// could not be done now; what judges goes on.
func (b *Book) Beat(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retry()
	return errors.Join(b.test(), b.follow(ctx))
}

// test runs the self-test on what judges. The caller holds mu.
func (b *Book) test() error {
	c := b.current.Load()
	err := selfTest(c.judging, b.o.Detector)
	if err == nil {
		b.o.Board.Clear(AlarmSelfTest, b.o.Tenant.Name(), "")
		return nil
	}
	b.o.Board.Raise(alarm.Alarm{
		Name: AlarmSelfTest, Tenant: b.o.Tenant.Name(),
		Reason: fmt.Sprintf("rules version %d: %v; the rules in memory do not do what they did at the start: restart the node", c.n, err),
	})
	return err
}

// follow brings a waiting version forward and this node to what is in force. The caller holds mu.
func (b *Book) follow(ctx context.Context) error {
	newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for new rules: %w", err)
	}
	n, err := b.effective(ctx)
	if err != nil {
		return err
	}
	if newest.N > n {
		if n, err = b.advance(ctx, newest, n); err != nil {
			return err
		}
	}
	if b.current.Load().n == n {
		return nil
	}
	if err := b.enter(ctx, n); err != nil {
		b.behind.Store(&err)
		b.o.Board.Raise(alarm.Alarm{
			Name: AlarmBehind, Tenant: b.o.Tenant.Name(),
			Reason: fmt.Sprintf("rules version %d is in force and this node cannot judge by it, so it takes nothing: %v", n, err),
		})
		return err
	}
	b.o.Log.Info("rules in force", "tenant", b.o.Tenant.Name(), "version", n, "digest", b.current.Load().full.Digest())
	return nil
}

// advance confirms the newest version and makes it effective when every live node has. It returns what is in force then.
func (b *Book) advance(ctx context.Context, newest store.VersionedDoc, n int) (int, error) {
	if b.broken[newest.N] == nil {
		l, err := b.load(ctx, newest.N)
		if err == nil {
			err = selfTest(l.full, b.o.Detector)
		}
		if err != nil {
			// The store may be at fault, and not the version: only what was compiled is not tried again.
			if _, tested := errors.AsType[*SelfTestError](err); tested {
				b.broken[newest.N] = err
			}
			return n, fmt.Errorf("confirming rules version %d: %w", newest.N, err)
		}
	} else {
		return n, b.broken[newest.N]
	}
	if err := b.o.Nodes.Confirm(ctx, b.o.Tenant, newest.Digest); err != nil {
		return n, fmt.Errorf("confirming rules version %d: %w", newest.N, err)
	}
	missing, err := b.o.Nodes.Unconfirmed(ctx, b.o.Tenant, newest.Digest)
	if err != nil {
		return n, fmt.Errorf("looking who has confirmed rules version %d: %w", newest.N, err)
	}
	if len(missing) > 0 {
		return n, nil
	}
	if err := b.point(ctx, newest); err != nil {
		return n, err
	}
	return b.effective(ctx)
}
