package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
)

type exportCmd struct {
	Conversations exportConversationsCmd `cmd:"" help:"Write a line per conversation: times, owner, rule, counts. No text, unless asked for."`
	Metrics       exportMetricsCmd       `cmd:"" help:"Write a line per day and channel: how many conversations, handed off, claimed, resolved, and how long customers waited."`
}

// exportFlags are common to what is exported.
type exportFlags struct {
	nodeFlags
	Format string `enum:"jsonl,csv" default:"jsonl" help:"jsonl or csv."`
	From   string `help:"Only what was opened from this day (2026-11-25, UTC) or instant (RFC 3339) on."`
	To     string `help:"Only what was opened before this day or instant."`
	Out    string `short:"o" default:"-" help:"The file to write; - for standard output."`
}

type exportConversationsCmd struct {
	exportFlags
	Text bool `help:"Add what was said, for those who may read it; that they did is recorded. Not with csv."`
}

func (c *exportConversationsCmd) Run(ctx context.Context) error {
	q := url.Values{}
	if c.Text {
		q.Set("text", "1")
	}
	return c.export(ctx, "conversations", q)
}

type exportMetricsCmd struct{ exportFlags }

func (c *exportMetricsCmd) Run(ctx context.Context) error {
	return c.export(ctx, "metrics", url.Values{})
}

// export fetches what is exported from the node.
func (f *exportFlags) export(ctx context.Context, what string, q url.Values) error {
	node, err := f.client()
	if err != nil {
		return err
	}
	q.Set("format", f.Format)
	for name, v := range map[string]string{"from": f.From, "to": f.To} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return toFile(f.Out, func(w io.Writer) error {
		body, err := node.Stream(ctx, "GET", "/v1/admin/export/"+what+"?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		defer body.Close()
		if _, err := io.Copy(w, body); err != nil {
			return fmt.Errorf("the node has ended the export early, its log says why: %w", err)
		}
		return nil
	})
}

// toFile writes by write to a file or, for "-", to standard output. What is there under the name is whole.
func toFile(name string, write func(io.Writer) error) error {
	if name == "-" {
		return write(os.Stdout)
	}
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Sync(), f.Close()); err == nil {
		return os.Rename(part, name)
	}
	return errors.Join(err, os.Remove(part))
}
