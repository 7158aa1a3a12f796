package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"
)

type statusCmd struct {
	nodeFlags
	JSON bool `name:"json" help:"Print the answer as JSON."`
}

func (c *statusCmd) Run(ctx context.Context) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := node.Do(ctx, "GET", "/v1/admin/status", nil, &answer); err != nil {
		return err
	}
	if c.JSON {
		fmt.Println(string(answer))
		return nil
	}
	return table(answer)
}

// table prints the fields of a JSON object, one a line.
func table(object json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("decoding the answer: %w", err)
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("decoding the answer: %w", err)
		}
		fmt.Fprintf(w, "%s\t%v\n", name, value)
	}
	return w.Flush()
}
