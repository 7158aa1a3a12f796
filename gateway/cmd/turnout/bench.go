package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"turnout/gateway/bench"
)

type benchCmd struct {
	Turns  benchTurnsCmd  `cmd:"" default:"withargs" help:"Measure a gateway beside bare proxies (the default)."`
	Growth benchGrowthCmd `cmd:"" help:"Measure a turn with few conversations and with many."`
	Redis  benchRedisCmd  `cmd:"" help:"Measure nodes that share a Redis server, and say what a number of conversations a day needs."`
	Disk   benchDiskCmd   `cmd:"" help:"Measure how long a folder's disk takes to make a small write durable: every answer to a customer waits for one."`
}

type benchDiskCmd struct {
	Folder string `arg:"" optional:"" default:"." type:"existingdir" help:"A folder on the disk, best the data folder of a node; this one by default."`
	JSON   bool   `name:"json" help:"Print the figures as JSON."`
}

func (c *benchDiskCmd) Run() error {
	d, err := bench.MeasureDisk(c.Folder)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(d)
	}
	fmt.Println(d)
	return nil
}

type benchTurnsCmd struct {
	Rounds        int           `default:"5" help:"How often each side is loaded."`
	Round         time.Duration `default:"3s" help:"How long each time."`
	Connections   int           `default:"64" help:"Open at a time."`
	Conversations int           `default:"1000" help:"Spread over the connections."`
	Peers         []string      `help:"The sides to measure: gateway, fasthttp, durable, nethttp, nginx. All by default."`
	Dir           string        `help:"A folder on the disk that is to be paid for."`
	Keep          bool          `help:"Leave the run's folder behind."`
	Turnout       string        `help:"The program that is run as the gateway and the peers; this one by default."`
	JSON          bool          `name:"json" help:"Print the report as JSON."`
}

func (c *benchTurnsCmd) Run(ctx context.Context) error {
	report, err := bench.Run(ctx, bench.Options{
		Rounds: c.Rounds, Round: c.Round, Connections: c.Connections, Conversations: c.Conversations,
		Peers: c.Peers, Dir: c.Dir, Keep: c.Keep, Turnout: c.Turnout, Progress: os.Stderr,
	})
	if err != nil && !errors.Is(err, bench.ErrLog) {
		return err
	}
	if c.JSON {
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(report))
	}
	fmt.Print(report) // also when the log lost something: it says what
	return err
}

type benchGrowthCmd struct {
	Conversations []int         `default:"10000,100000,1000000" help:"How many there are, step by step. A million takes many minutes and some GB of disk."`
	Round         time.Duration `default:"10s" help:"How long each step is measured."`
	Connections   int           `default:"64" help:"Open at a time."`
	Dir           string        `help:"A folder on the disk that is to be paid for."`
	Keep          bool          `help:"Leave the run's folder behind."`
	JSON          bool          `name:"json" help:"Print the figures as JSON."`
}

func (c *benchGrowthCmd) Run(ctx context.Context) error {
	g, err := bench.Grow(ctx, bench.Options{
		Round: c.Round, Connections: c.Connections, Dir: c.Dir, Keep: c.Keep, Progress: os.Stderr,
	}, c.Conversations)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(g)
	}
	fmt.Print(g)
	return nil
}

type benchRedisCmd struct {
	Nodes         []int         `default:"1,2,4" help:"How many gateways share the server."`
	Conversations []int         `default:"2000,10000" help:"How many there are, step by step; up to a million takes many minutes and some GB of memory."`
	IDs           int           `name:"ids" default:"200000" help:"Message ids whose memory is measured."`
	Rounds        int           `default:"3" help:"How often each setup is loaded."`
	Round         time.Duration `default:"3s" help:"How long each time."`
	Warmup        time.Duration `default:"1s" help:"How long before."`
	Connections   int           `default:"64" help:"Open at a time."`
	Server        string        `default:"redis-server" help:"The program of the server. It is started, with a replica, on this machine."`
	PerDay        []float64     `default:"1000000,100000000" help:"Conversations a day that the model is made for."`
	Turns         float64       `default:"10" help:"Turns of a conversation in the model."`
	HotDays       float64       `default:"8" help:"Days from the beginning of a conversation until it is archived, in the model."`
	Days          float64       `default:"90" help:"Days for which conversations are kept, in the model."`
	Dir           string        `help:"A folder on the disk that is to be paid for."`
	Keep          bool          `help:"Leave the run's folder behind."`
	JSON          bool          `name:"json" help:"Print the report as JSON."`
}

func (c *benchRedisCmd) Run(ctx context.Context) error {
	report, err := bench.RunRedis(ctx, bench.RedisOptions{
		Options: bench.Options{
			Rounds: c.Rounds, Round: c.Round, Warmup: c.Warmup, Connections: c.Connections, Dir: c.Dir, Keep: c.Keep, Progress: os.Stderr,
		},
		Server: c.Server, Nodes: c.Nodes, Steps: c.Conversations, IDs: c.IDs,
		Load: bench.ModelInput{ConversationsPerDay: c.PerDay, Turns: c.Turns, HotDays: c.HotDays, KeptDays: c.Days},
	})
	if err != nil && !errors.Is(err, bench.ErrLog) {
		return err
	}
	if c.JSON {
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(report))
	}
	fmt.Print(report) // also when the log lost something: it says what
	return err
}

type benchPeerCmd struct {
	Kind     string `arg:""`
	Upstream string `arg:"" optional:""`
	Folder   string `arg:"" optional:""`
}

func (c *benchPeerCmd) Run(ctx context.Context) error {
	return bench.Peer(ctx, c.Kind, c.Upstream, c.Folder, os.Stdin, os.Stdout)
}
