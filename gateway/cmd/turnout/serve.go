package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
	"turnout/gateway/demo"
)

type serveCmd struct {
	Config string        `type:"existingfile" help:"The settings file, turnout.yaml. Without it the demo is served: a sample shop, its bot and rules, on this machine only."`
	Folder string        `help:"Of the demo: the folder that it keeps everything in; ./turnout-demo by default."`
	Listen string        `help:"Of the demo: the loopback address that it listens on; 127.0.0.1:8080 or the next free port by default."`
	Grace  time.Duration `default:"25s" help:"How long running bot calls may take to end on SIGTERM."`
	JSON   bool          `name:"log-json" help:"Write the log as JSON."`
	// CPUProfile is for turnout bench.
	CPUProfile string `name:"cpu-profile" hidden:"" help:"Write a CPU profile of the whole run to this file."`
	Debug      bool   `help:"Log more. Texts and secrets stay out of it."`
}

func (c *serveCmd) Run(ctx context.Context) error {
	if c.Config == "" {
		return c.demo(ctx)
	}
	if c.Folder != "" || c.Listen != "" {
		return errors.New("--folder and --listen are for the demo, which runs without --config; the settings file has data and listen")
	}
	return c.serve(ctx, c.logger(slog.LevelInfo), gateway.Options{Registry: builtin.Registry()}, func(io.Writer) error { return nil })
}

// demo serves the demo. Its log holds what is wrong, and no more: the terminal is for what there is to try.
func (c *serveCmd) demo(ctx context.Context) (err error) {
	d, err := demo.Open(demo.Options{Dir: cmp.Or(c.Folder, demo.Folder), Listen: c.Listen, Rand: rand.Reader})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	c.Config = d.Config()
	registry := builtin.Registry()
	registry.AddShared(d.Routes()...)
	return c.serve(ctx, c.logger(slog.LevelWarn), gateway.Options{Registry: registry, OneTime: d.OneTime()}, d.Hello)
}

// serve runs a node with the settings file until ctx ends. ready is called, with standard output, when it serves.
func (c *serveCmd) serve(ctx context.Context, log *slog.Logger, o gateway.Options, ready func(io.Writer) error) (err error) {
	stop, err := c.profile()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if o.Config, err = config.Load(c.Config); err != nil {
		return err
	}
	o.Log = log
	o.Fatal = func(err error) {
		// What the kernel holds and what the disk holds may differ now: only a new process may read the disk again.
		log.Error("ending the process: the disk failed a synchronous write", "err", err)
		os.Exit(70)
	}
	g, err := gateway.New(context.WithoutCancel(ctx), o)
	if err != nil {
		return err
	}
	if err := g.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(err, g.Stop(ctx))
	}
	fmt.Printf("turnout is serving on http://%s (health on http://%s)\n", g.Addr(), g.OpsAddr())
	if err := ready(os.Stdout); err != nil {
		log.Error("writing to standard output", "err", err)
	}
	c.reloads(ctx, g, log)
	log.Info("stopping", "grace", c.Grace)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Grace)
	defer cancel()
	return g.Stop(end)
}

// profile begins the CPU profile, if one is wanted, and returns what ends it.
func (c *serveCmd) profile() (stop func() error, err error) {
	if c.CPUProfile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(c.CPUProfile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
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

func (c *serveCmd) logger(least slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: least}
	if c.Debug {
		o.Level = slog.LevelDebug
	}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
