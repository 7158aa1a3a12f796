package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"
)

type outboxCmd struct {
	Channels outboxChannelsCmd `cmd:"" help:"Show how the channels of a running node do that send to a provider."`
	List     outboxListCmd     `cmd:"" help:"List the messages of a running node that could not be delivered, oldest first."`
	Replay   outboxReplayCmd   `cmd:"" help:"Send messages that could not be delivered once more."`
	Discard  outboxDiscardCmd  `cmd:"" help:"Give messages up that could not be delivered."`
}

type outboxChannelsCmd struct {
	nodeFlags
	JSON bool `name:"json" help:"Print the answer as JSON."`
}

func (c *outboxChannelsCmd) Run(ctx context.Context) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := node.Do(ctx, "GET", "/v1/admin/outbox", nil, &answer); err != nil {
		return err
	}
	if c.JSON {
		fmt.Println(string(answer))
		return nil
	}
	var list struct {
		Channels []struct {
			Channel                                  string
			Attempts, Sent, Retried, Uncertain, Dead int64
			Operator                                 bool       `json:"needs_operator"`
			OpenUntil                                *time.Time `json:"open_until"`
			RestUntil                                *time.Time `json:"rest_until"`
		}
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHANNEL\tATTEMPTS\tSENT\tRETRIED\tUNCERTAIN\tDEAD\tSTATE")
	for _, l := range list.Channels {
		state := "well"
		switch {
		case l.Operator:
			state = "needs an operator: see the node's log"
		case l.OpenUntil != nil:
			state = "its provider fails; next try " + l.OpenUntil.Local().Format(time.DateTime)
		case l.RestUntil != nil:
			state = "its provider asked for a pause until " + l.RestUntil.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", l.Channel, l.Attempts, l.Sent, l.Retried, l.Uncertain, l.Dead, state)
	}
	return w.Flush()
}

// deadPage is one page of dead letters.
type deadPage struct {
	Items []struct {
		ID, Message, Conversation, Channel, By, Code string
		Attempts                                     int
		MayHaveArrived                               bool `json:"may_have_arrived"`
		At                                           time.Time
	}
	Next string
}

type outboxListCmd struct {
	nodeFlags
	After string `help:"Go on after this cursor, as the list before printed it."`
	Limit int    `default:"50" help:"How many to list, at most 200."`
	JSON  bool   `name:"json" help:"Print the answer as JSON."`
}

func (c *outboxListCmd) Run(ctx context.Context) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	var answer json.RawMessage
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}, "after": {c.After}}
	if err := node.Do(ctx, "GET", "/v1/admin/dead-letters?"+query.Encode(), nil, &answer); err != nil {
		return err
	}
	if c.JSON {
		fmt.Println(string(answer))
		return nil
	}
	var page deadPage
	if err := json.Unmarshal(answer, &page); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	if len(page.Items) == 0 {
		fmt.Println("nothing waits for a decision")
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSINCE\tCHANNEL\tCONVERSATION\tBY\tATTEMPTS\tREASON")
	for _, d := range page.Items {
		reason := d.Code
		if d.MayHaveArrived {
			reason += ", may have arrived"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", d.ID, d.At.Local().Format(time.DateTime), d.Channel, d.Conversation, d.By, d.Attempts, reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Printf("more: --after %s\n", page.Next)
	}
	return nil
}

// deadFlags name dead letters.
type deadFlags struct {
	nodeFlags
	IDs []string `arg:"" name:"id" help:"The ids that turnout outbox list prints."`
}

// each does something to each of the named dead letters and goes on after those that are refused.
func (f *deadFlags) each(ctx context.Context, what, done string) error {
	node, err := f.client()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range f.IDs {
		if err := node.Do(ctx, "POST", "/v1/admin/dead-letters/"+url.PathEscape(id)+"/"+what, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
			continue
		}
		fmt.Println(id, done)
	}
	return errors.Join(errs...)
}

type outboxReplayCmd struct{ deadFlags }

func (c *outboxReplayCmd) Run(ctx context.Context) error {
	return c.each(ctx, "replay", "is in the outbox again")
}

type outboxDiscardCmd struct{ deadFlags }

func (c *outboxDiscardCmd) Run(ctx context.Context) error {
	return c.each(ctx, "discard", "is given up")
}
