package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"turnout/gateway/api/client"
	"turnout/gateway/config"
)

type statusCmd struct {
	nodeFlags
	JSON bool `name:"json" help:"Print the answer as JSON."`
}

func (c *statusCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "GET", "/v1/admin/status", nil)
}

// show sends a request and prints its answer: as the node gave it, or for people.
func (f *nodeFlags) show(ctx context.Context, asJSON bool, method, path string, body any) error {
	node, err := f.client()
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := node.Do(ctx, method, path, body, &answer); err != nil {
		return told(err)
	}
	switch {
	case len(answer) == 0:
		return nil
	case asJSON:
		fmt.Println(string(answer))
		return nil
	}
	return table(answer)
}

// told adds the faults of a configuration to a problem, one a line.
func told(err error) error {
	var p *client.Problem
	if !errors.As(err, &p) {
		return err
	}
	var more struct {
		Faults []struct {
			File         string
			Line, Column int
			Message      string
		}
	}
	if json.Unmarshal(p.Body, &more) != nil || len(more.Faults) == 0 {
		return err
	}
	faults := make(config.Faults, len(more.Faults))
	for i, f := range more.Faults {
		faults[i] = config.Fault{Pos: config.Pos{File: f.File, Line: f.Line, Column: f.Column}, Message: f.Message}
	}
	return faults
}

// rows prints the items of a list, a column for each of the names, page by page.
func (f *nodeFlags) rows(ctx context.Context, asJSON bool, path string, columns ...string) error {
	node, err := f.client()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if !asJSON {
		fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
	}
	for cursor, more := "", true; more; more = cursor != "" {
		var page struct {
			Items  []json.RawMessage
			Cursor string
		}
		at := path
		if cursor != "" {
			at += "?cursor=" + url.QueryEscape(cursor)
		}
		if err := node.Do(ctx, "GET", at, nil, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if asJSON {
				fmt.Println(string(item))
				continue
			}
			var fields map[string]any
			if err := json.Unmarshal(item, &fields); err != nil {
				return fmt.Errorf("decoding the answer: %w", err)
			}
			cells := make([]string, len(columns))
			for i, c := range columns {
				cells[i] = cell(fields[c])
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		cursor = page.Cursor
	}
	return w.Flush()
}

// cell is a value of a table: a list by commas, an object by its id, or by its fields if it has none.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = cell(item)
		}
		return strings.Join(parts, ",")
	case map[string]any:
		if id, ok := v["id"]; ok {
			return cell(id)
		}
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+" "+cell(v[name]))
		}
		return strings.Join(parts, " ")
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
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
		fmt.Fprintf(w, "%s\t%s\n", name, cell(value))
	}
	return w.Flush()
}
