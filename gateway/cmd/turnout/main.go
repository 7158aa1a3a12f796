// Command turnout is the gateway: turnout serve --config FILE, or turnout serve for the demo. Run turnout --help for the rest.
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
	"turnout/rules"
)

type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run a gateway; without --config the demo."`
	Check     checkCmd     `cmd:"" help:"Check a configuration and its rules, and run the rules' own tests."`
	Admin     adminCmd     `cmd:"" help:"Make keys and password hashes, and look after a running node."`
	Rules     rulesCmd     `cmd:"" help:"Test, explain, measure and publish rules."`
	Audit     auditCmd     `cmd:"" help:"Export the audit log, and verify what was exported."`
	Replay    replayCmd    `cmd:"" help:"Tell a conversation's log as a story, and recompute what was decided in it."`
	Outbox    outboxCmd    `cmd:"" help:"Look after messages to customers that could not be delivered."`
	Export    exportCmd    `cmd:"" help:"Write figures of conversations for other programs."`
	Store     storeCmd     `cmd:"" help:"Back up, restore and check what a node keeps."`
	Privacy   privacyCmd   `cmd:"" help:"Erase, export and keep what is held of persons."`
	Bench     benchCmd     `cmd:"" help:"Measure what a turn costs, and the disk under it."`
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
		os.Exit(report(err))
	}
}

// report prints an error as its reader needs it, faults of a configuration or of rules one a line, in the form that editors
// jump to. It returns the code that the process ends with.
func report(err error) (code int) {
	code = 1
	var e exit
	if errors.As(err, &e) {
		code = e.code
	}
	var faults config.Faults
	var broken rules.Faults
	switch {
	case errors.As(err, &faults):
		for _, f := range faults {
			fmt.Fprintln(os.Stderr, f)
		}
	case errors.As(err, &broken):
		fmt.Fprintln(os.Stderr, broken)
	case err.Error() != "":
		fmt.Fprintln(os.Stderr, "turnout:", err)
	}
	return code
}
