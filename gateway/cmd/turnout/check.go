package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

type checkCmd struct {
	File string `arg:"" type:"existingfile" help:"The settings file, or a file of rules."`
	JSON bool   `name:"json" help:"Print the report as JSON."`
	// Connect goes on to what the files alone do not show.
	Connect bool `help:"Look at what the files name as well: keys, secrets, the data folder and its store, the servers of bots. Run it as the user of the node."`
}

func (c *checkCmd) Run(ctx context.Context) error {
	report, err := c.check(ctx)
	if err != nil {
		return err
	}
	if c.Connect {
		return errors.Join(c.failed(report), c.connect(ctx, report))
	}
	if c.JSON {
		if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
			return err
		}
	} else {
		fmt.Println(report)
	}
	return c.failed(report)
}

func (c *checkCmd) failed(report gateway.CheckReport) error {
	if report.Failed > 0 {
		return fmt.Errorf("%d of the rules' own tests failed", report.Failed)
	}
	return nil
}

// connect prints what is found behind the files.
func (c *checkCmd) connect(ctx context.Context, report gateway.CheckReport) error {
	cfg, err := config.Load(c.File)
	if err != nil {
		return err
	}
	found := gateway.Connect(ctx, gateway.Options{Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.DiscardHandler)})
	if c.JSON {
		out := struct {
			gateway.CheckReport
			Findings []gateway.Finding `json:"findings"`
		}{report, found}
		if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
			return err
		}
	} else {
		fmt.Println(report)
		fmt.Println(gateway.ConnectReport(found))
	}
	faults := 0
	for _, f := range found {
		if !f.OK {
			faults++
		}
	}
	if faults > 0 {
		return fmt.Errorf("%d faults", faults)
	}
	return nil
}

// check takes a settings file with everything it names; a file that holds only rules is checked by itself.
func (c *checkCmd) check(ctx context.Context) (gateway.CheckReport, error) {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return gateway.CheckReport{}, err
	}
	if gateway.IsRules(data) {
		return gateway.CheckRules(c.File, data)
	}
	cfg, err := config.Load(c.File)
	if err != nil {
		return gateway.CheckReport{}, err
	}
	return gateway.Check(ctx, cfg, builtin.Registry())
}
