package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
)

// cleanup is a stack of named steps: a failed New and Stop unwind the same one.
type cleanup []step

type step struct {
	name string
	run  func(context.Context) error
}

func (c *cleanup) add(name string, run func(context.Context) error) {
	*c = append(*c, step{name, run})
}

// run runs the steps, the last one first. It goes on after errors.
func (c *cleanup) run(ctx context.Context, log *slog.Logger) error {
	var errs []error
	for _, s := range slices.Backward(*c) {
		if err := s.run(ctx); err != nil {
			log.Error("stopping", "step", s.name, "err", err)
			errs = append(errs, fmt.Errorf("stopping %s: %w", s.name, err))
		}
	}
	*c = nil
	return errors.Join(errs...)
}

// SocketName is the name of the operator's socket in the data folder.
const SocketName = "turnout.sock"

// Start lets the gateway work: the sweep takes up what the last process left behind, then the listeners open. After nil
// customers are served.
func (g *Gateway) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	g.cancel = cancel
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		g.outbox.Run(sending)
	}()
	g.endOutbox = func() { stopSending(); <-sent }
	go func() {
		defer close(g.done)
		var beside sync.WaitGroup
		beside.Go(func() { g.notary.Run(ctx) })
		beside.Go(func() { g.rules.run(ctx) })
		beside.Go(func() { g.privacy.Run(ctx) })
		beside.Go(func() { g.runArchive(ctx) })
		beside.Go(func() { g.settle(ctx) })
		if g.store.shared {
			beside.Go(func() { g.follow(ctx) })
		}
		if g.store.bucket != nil {
			beside.Go(func() { g.watchBucket(ctx) })
		}
		g.pipeline.Run(ctx)
		beside.Wait()
	}()
	if err := g.server.Listen(g.cfg.Listen, g.cfg.OpsListen); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if err := g.server.ListenSocket(filepath.Join(g.cfg.Data, SocketName)); err != nil {
		return err
	}
	g.log.Info("serving", "listen", g.server.Addr(), "ops", g.server.OpsAddr(), "data", g.cfg.Data, "durability", g.store.Health(ctx).Level)
	return nil
}

// Addr and OpsAddr are where the gateway listens, also when the port was left to the system.
func (g *Gateway) Addr() string    { return g.server.Addr() }
func (g *Gateway) OpsAddr() string { return g.server.OpsAddr() }

// Stop ends the gateway within ctx: intake first, then streams, then the running bot calls, then the sends, then the store.
// A bot call that does not end in time is cut off and repeated by the next process under the same turn id; a send that does
// not is uncertain.
func (g *Gateway) Stop(ctx context.Context) error {
	err := g.server.StopIntake(ctx)
	g.changing.Lock()
	g.stopped = true
	running := g.running
	g.changing.Unlock()
	err = errors.Join(err, closeAll(running.pulling(nil)))
	if g.cancel != nil {
		g.cancel()
		<-g.done
	}
	g.pipeline.Stop(ctx)
	if g.endOutbox != nil {
		g.endOutbox()
	}
	g.outbox.Stop(ctx)
	err = errors.Join(err, closeAll(running.pushing(nil)))
	err = errors.Join(err, g.server.Shutdown(ctx))
	if g.cancel != nil {
		err = errors.Join(err, g.lastCheckpoint(ctx))
	}
	return errors.Join(err, g.cleanup.run(ctx, g.log))
}
