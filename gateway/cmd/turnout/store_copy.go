package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"turnout/gateway"
)

type storeCopyCmd struct {
	From string `required:"" type:"existingfile" help:"The settings file of the node whose store is copied."`
	To   string `required:"" type:"existingfile" help:"The settings file of the node whose store is made. There must be none yet, or what a copy that was interrupted has left."`
	JSON bool   `name:"json" help:"Print what came of it as JSON."`
}

func (c *storeCopyCmd) Run(ctx context.Context) error {
	from, err := optionsOf(c.From)
	if err != nil {
		return err
	}
	to, err := optionsOf(c.To)
	if err != nil {
		return err
	}
	show := shown()
	last, err := gateway.CopyStore(ctx, from, to, show.copied)
	show.end()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(os.Stdout).Encode(last); err != nil {
			return err
		}
	} else {
		for _, what := range append(last.Differences, last.Faults...) {
			fmt.Println(what)
		}
		fmt.Printf("%d conversations, %d events, %d items: %d differences, %d faults\n",
			last.Conversations, last.Events, last.Items, last.DifferenceCount, last.FaultCount)
	}
	if !last.Whole {
		return exit{1, errors.New("the target is not what it should be, and no node can open it: mend the source (turnout store check) and copy again")}
	}
	if !c.JSON {
		fmt.Fprintln(os.Stderr, "Start the node with the settings of --to. Do not start one on the old store again: take it away once the new one has proven itself.")
	}
	return nil
}

// copied shows how far a copy has come.
func (l *lines) copied(p gateway.CopyLine) {
	if l.out != nil {
		l.last = time.Now()
		fmt.Fprintf(l.out, "\r%s: %d conversations, %d items", p.Stage, p.Conversations, p.Items)
	}
}
