package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

type checkCmd struct {
	File string `arg:"" type:"existingfile" help:"The settings file, or a file of rules."`
	JSON bool   `name:"json" help:"Print the report as JSON."`
}

func (c *checkCmd) Run(ctx context.Context) error {
	report, err := c.check(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
			return err
		}
	} else {
		fmt.Println(report)
	}
	if report.Failed > 0 {
		return fmt.Errorf("%d of the rules' own tests failed", report.Failed)
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
