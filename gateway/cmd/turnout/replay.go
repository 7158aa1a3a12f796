package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"

	"turnout/gateway/admin"
)

type replayCmd struct {
	nodeFlags
	Conversation string `arg:"" help:"The conversation's id."`
	Recompute    bool   `help:"Judge everything again by the rules of then and say whether the same comes out. Exit code 2 if it does not."`
	Text         bool   `help:"Show what was said, too. Only for those who may read it; that they did is recorded."`
	JSON         bool   `name:"json" help:"Print the story as JSON."`
}

func (c *replayCmd) Run(ctx context.Context) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	q := url.Values{}
	if c.Recompute {
		q.Set("recompute", "1")
	}
	if c.Text {
		q.Set("text", "1")
	}
	var answer json.RawMessage
	path := "/v1/admin/conversations/" + url.PathEscape(c.Conversation) + "/replay?" + q.Encode()
	if err := node.Do(ctx, "GET", path, nil, &answer); err != nil {
		return err
	}
	var story admin.Replayed
	if err := json.Unmarshal(answer, &story); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	if c.JSON {
		fmt.Println(string(answer))
	} else {
		for _, l := range story.Lines {
			fmt.Fprintln(os.Stdout, l)
		}
		if c.Recompute {
			fmt.Printf("%d of %d judgements recomputed as they were\n", story.Equal, story.Judged)
		}
	}
	if c.Recompute && story.Differs > 0 {
		return exit{code: fails}
	}
	return nil
}
