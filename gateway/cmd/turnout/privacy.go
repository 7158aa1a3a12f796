package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"
)

type privacyCmd struct {
	Erase     privacyEraseCmd     `cmd:"" help:"Erase a person: everything that they wrote, and that was written to them and about them."`
	Status    privacyStatusCmd    `cmd:"" help:"Tell how far erasures have come."`
	Export    privacyExportCmd    `cmd:"" help:"Write everything that is held of a person."`
	Hold      privacyHoldCmd      `cmd:"" help:"Keep a person's conversations, one conversation, or everything from being destroyed."`
	Holds     privacyHoldsCmd     `cmd:"" help:"List legal holds."`
	Lift      privacyLiftCmd      `cmd:"" help:"Lift a legal hold."`
	Retention privacyRetentionCmd `cmd:"" help:"Show how long a tenant keeps what, or what a run would destroy now."`
}

// personFlags name a person.
type personFlags struct {
	Conversation string `help:"By one of their conversations."`
	Contact      string `help:"By the contact's id."`
	Channel      string `help:"By an address on this channel."`
	Address      string `help:"The address; - reads it from standard input, which other users of the machine do not see."`
}

func (f *personFlags) body(more map[string]any) (map[string]any, error) {
	if f.Address == "-" {
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if f.Address = strings.TrimRight(line, "\r\n"); f.Address == "" {
			return nil, errors.Join(errors.New("reading the address from standard input: the line is empty"), ignoreEOF(err))
		}
	}
	for name, v := range map[string]string{"conversation": f.Conversation, "contact": f.Contact, "channel": f.Channel, "address": f.Address} {
		if v != "" {
			more[name] = v
		}
	}
	return more, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// erasure is what the node says of one.
type erasure struct {
	ID            string     `json:"id"`
	State         string     `json:"state"`
	Conversations []string   `json:"conversations"`
	Waiting       string     `json:"waiting"`
	DoneAt        *time.Time `json:"done_at"`
}

type privacyEraseCmd struct {
	output
	personFlags
	DryRun bool `help:"Only say what would be erased."`
	Defer  bool `help:"If a hold or a rule stands in the way, wait until it does not any more."`
	Wait   bool `help:"Return when no file holds anything of it any more."`
}

func (c *privacyEraseCmd) Run(ctx context.Context) error {
	body, err := c.body(map[string]any{"defer": c.Defer, "dry_run": c.DryRun})
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	var e erasure
	if err := node.Do(ctx, "POST", "/v1/admin/erasures", body, &e); err != nil {
		return err
	}
	for c.Wait && !c.DryRun && e.State != "done" && e.State != "waiting" {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		if err := node.Do(ctx, "GET", "/v1/admin/erasures/"+url.PathEscape(e.ID), nil, &e); err != nil {
			return err
		}
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(e)
	}
	switch {
	case c.DryRun:
		fmt.Printf("%d conversations would be erased: %s\n", len(e.Conversations), strings.Join(e.Conversations, " "))
		if e.Waiting != "" {
			fmt.Println("in the way stands", e.Waiting)
		}
	case e.State == "waiting":
		fmt.Printf("%s waits for %s\n", e.ID, e.Waiting)
	default:
		fmt.Printf("%s: %s, %d conversations\n", e.ID, e.State, len(e.Conversations))
	}
	return nil
}

type privacyStatusCmd struct {
	output
	ID string `arg:"" optional:"" help:"One erasure; without it all are listed."`
}

func (c *privacyStatusCmd) Run(ctx context.Context) error {
	if c.ID != "" {
		return c.show(ctx, c.JSON, "GET", "/v1/admin/erasures/"+url.PathEscape(c.ID), nil)
	}
	return c.rows(ctx, c.JSON, "/v1/admin/erasures", "id", "state", "waiting", "requested_at", "done_at", "by")
}

type privacyExportCmd struct {
	nodeFlags
	personFlags
	Format string `enum:"zip,jsonl" default:"zip" help:"zip, with attachments, or jsonl."`
	Out    string `short:"o" default:"-" help:"The file to write; - for standard output."`
}

func (c *privacyExportCmd) Run(ctx context.Context) error {
	body, err := c.body(map[string]any{"format": c.Format})
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	return toFile(c.Out, func(w io.Writer) error {
		answer, err := node.Stream(ctx, "POST", "/v1/admin/persons/export", body)
		if err != nil {
			return err
		}
		defer answer.Close()
		if _, err := io.Copy(w, answer); err != nil {
			return fmt.Errorf("the node has ended the export early, its log says why: %w", err)
		}
		return nil
	})
}

type privacyHoldCmd struct {
	output
	personFlags
	Everything bool   `help:"Everything of the tenant."`
	Reason     string `required:"" help:"Why, for whoever looks at it later."`
}

func (c *privacyHoldCmd) Run(ctx context.Context) error {
	body, err := c.body(map[string]any{"everything": c.Everything, "reason": c.Reason})
	if err != nil {
		return err
	}
	return c.show(ctx, c.JSON, "POST", "/v1/admin/holds", body)
}

type privacyHoldsCmd struct{ output }

func (c *privacyHoldsCmd) Run(ctx context.Context) error {
	return c.rows(ctx, c.JSON, "/v1/admin/holds", "id", "at", "by", "conversation", "contact", "channel", "everything", "reason")
}

type privacyLiftCmd struct {
	output
	ID string `arg:"" help:"The hold's id."`
}

func (c *privacyLiftCmd) Run(ctx context.Context) error {
	return c.show(ctx, c.JSON, "POST", "/v1/admin/holds/"+url.PathEscape(c.ID)+"/lift", nil)
}

type privacyRetentionCmd struct {
	output
	DryRun bool `help:"Say what a run would destroy now."`
}

func (c *privacyRetentionCmd) Run(ctx context.Context) error {
	if c.DryRun {
		return c.show(ctx, c.JSON, "POST", "/v1/admin/retention/dry-run", nil)
	}
	return c.show(ctx, c.JSON, "GET", "/v1/admin/retention", nil)
}
