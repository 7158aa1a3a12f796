// Command turnout is the gateway: turnout serve --config FILE. Run turnout --help for the rest.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"turnout/gateway/config"
)

type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run a gateway."`
	Check     checkCmd     `cmd:"" help:"Check a configuration and its rules, and run the rules' own tests."`
	Admin     adminCmd     `cmd:"" help:"Make keys and password hashes, and look after a running node."`
	Bench     benchCmd     `cmd:"" help:"Measure a gateway beside bare proxies."`
	BenchPeer benchPeerCmd `cmd:"" hidden:""`
}

func main() {
	var c cli
	parser := kong.Must(&c,
		kong.Name("turnout"),
		kong.Description("A gateway in front of chatbots: it passes turns to the bot that is there, and conversations to people."),
		kong.UsageOnError(),
	)
	k, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	k.BindTo(ctx, (*context.Context)(nil))
	err = k.Run()
	stop()
	if err != nil {
		report(err)
		os.Exit(1)
	}
}

// report prints an error as its reader needs it: faults of a configuration one a line, in the form that editors jump to.
func report(err error) {
	var faults config.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			fmt.Fprintln(os.Stderr, f)
		}
		return
	}
	fmt.Fprintln(os.Stderr, "turnout:", err)
}
