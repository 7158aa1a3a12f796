package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

type serveCmd struct {
	Config string        `required:"" type:"existingfile" help:"The settings file, turnout.yaml."`
	Grace  time.Duration `default:"25s" help:"How long running bot calls may take to end on SIGTERM."`
	JSON   bool          `name:"log-json" help:"Write the log as JSON."`
	Debug  bool          `help:"Log more. Texts and secrets stay out of it."`
}

func (c *serveCmd) Run(ctx context.Context) error {
	log := c.logger()
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	g, err := gateway.New(context.WithoutCancel(ctx), gateway.Options{
		Config: cfg, Registry: builtin.Registry(), Log: log,
		Fatal: func(err error) {
			// What the kernel holds and what the disk holds may differ now: only a new process may read the disk again.
			log.Error("ending the process: the disk failed a synchronous write", "err", err)
			os.Exit(70)
		},
	})
	if err != nil {
		return err
	}
	if err := g.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(err, g.Stop(ctx))
	}
	fmt.Printf("turnout is serving on http://%s (health on http://%s)\n", g.Addr(), g.OpsAddr())
	c.reloads(ctx, g, log)
	log.Info("stopping", "grace", c.Grace)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Grace)
	defer cancel()
	return g.Stop(end)
}

// reloads lets the node read its files again on each SIGHUP, until ctx ends.
func (c *serveCmd) reloads(ctx context.Context, g *gateway.Gateway, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if _, err := g.Reload(context.WithoutCancel(ctx), "system"); err != nil {
				log.Error("reloading: what was in force before stays in force", "err", err)
			}
		}
	}
}

func (c *serveCmd) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.Debug {
		o.Level = slog.LevelDebug
	}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
