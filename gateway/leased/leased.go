// Package leased runs jobs of which one at a time may run, whichever node does it.
package leased

import (
	"context"
	"errors"
	"time"

	"turnout/gateway/store"
)

// Jobs hands out the leases; store.Records has them.
type Jobs interface {
	LeaseJob(ctx context.Context, t store.Tenant, job string, token store.Token, until int64) error
	DropJob(ctx context.Context, t store.Tenant, job string, token store.Token) error
}

// Job is a job of a tenant.
type Job struct {
	Tenant store.Tenant
	Name   string
	// Token is not used for anything else.
	Token store.Token
	// For is how long the job is somebody's who does not renew it: when a node dies another goes on after it.
	For time.Duration
}

// Run runs f while a job is this caller's. It does nothing when the job is somebody else's. f's context ends when the lease
// is lost, and f must end with it.
func Run(ctx context.Context, jobs Jobs, j Job, now func() time.Time, f func(context.Context) error) error {
	take := func() error { return jobs.LeaseJob(ctx, j.Tenant, j.Name, j.Token, now().Add(j.For).UnixMilli()) }
	if err := take(); err != nil {
		if errors.Is(err, store.ErrStale) {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(j.For / 4)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := take(); err != nil {
					cancel(err)
					return
				}
			}
		}
	}()
	err := f(ctx)
	cancel(nil)
	<-done
	return errors.Join(err, jobs.DropJob(context.WithoutCancel(ctx), j.Tenant, j.Name, j.Token))
}
