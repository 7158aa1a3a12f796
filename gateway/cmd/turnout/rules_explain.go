package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"turnout/rules"
	"turnout/rules/lab"
)

type rulesExplainCmd struct {
	nodeFlags
	Files        []string `arg:"" optional:"" help:"Files of rules, or one settings file; none for a conversation of a running node."`
	Conversation string   `help:"A conversation of a running node: what was judged is explained from what was recorded then."`
	Seq          uint64   `help:"Explain only the message or answer with this number in the conversation."`

	Text     string `help:"The customer's message."`
	Answer   string `help:"The bot's answer."`
	Lang     string `help:"The language of the conversation; guessed from the message by default."`
	Exchange string `type:"existingfile" help:"A file with the exchange instead, with the fields that a test has."`
	Rule     string `help:"Explain this rule only."`
	All      bool   `help:"Show also the conditions that do not hold part by part."`
	JSON     bool   `name:"json" help:"Print the explanation as JSON."`
}

func (c *rulesExplainCmd) Run(ctx context.Context) error {
	if c.Conversation != "" {
		return c.recorded(ctx)
	}
	if len(c.Files) == 0 {
		return exit{2, errors.New("name the files of the rules, or a conversation with --conversation")}
	}
	bench, err := (&ruleFiles{Files: c.Files, Tenant: c.Tenant}).open()
	if err != nil {
		return err
	}
	example, err := c.example()
	if err != nil {
		return exit{2, err}
	}
	if err := known(bench, c.Rule); err != nil {
		return exit{2, err}
	}
	phases := []rules.Phase{rules.Inbound}
	if example.Answered() {
		phases = append(phases, rules.Answer)
	}
	var out []*rules.Explanation
	for _, phase := range phases {
		out = append(out, bench.Explain(example.Exchange(phase, bench.Detector)))
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	for _, e := range out {
		if err := showExplanation(e, c.All, c.Rule); err != nil {
			return err
		}
	}
	return nil
}

// recorded explains what a node judged.
func (c *rulesExplainCmd) recorded(ctx context.Context) error {
	if len(c.Files) > 0 || c.Text+c.Answer+c.Exchange != "" {
		return exit{2, errors.New("a conversation is explained by the rules that judged it: leave out the files, and --text, --answer and --exchange")}
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	query := url.Values{}
	if c.Seq != 0 {
		query.Set("seq", fmt.Sprint(c.Seq))
	}
	if c.Rule != "" {
		query.Set("rule", c.Rule)
	}
	if err := node.Do(ctx, "GET", "/v1/admin/rules/explain/"+url.PathEscape(c.Conversation)+"?"+query.Encode(), nil, &raw); err != nil {
		return err
	}
	if c.JSON {
		fmt.Println(string(raw))
		return nil
	}
	var answer struct {
		Exchanges []struct {
			Seq      uint64
			At       time.Time
			Version  int
			Agrees   bool
			Recorded []string
			rules.Explanation
		}
		Complete bool
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	for _, e := range answer.Exchanges {
		fmt.Printf("event %d, %s, rules version %d: ", e.Seq, e.At.Format(time.DateTime), e.Version)
		if err := showExplanation(&e.Explanation, c.All, c.Rule); err != nil {
			return err
		}
		if !e.Agrees {
			fmt.Printf("NOTE: recorded were other matches: %s\n", strings.Join(e.Recorded, ", "))
		}
	}
	if !answer.Complete {
		fmt.Println("NOTE: the conversation is too long for one answer; name a message or an answer with --seq, or a rule with --rule")
	}
	return nil
}

func (c *rulesExplainCmd) example() (*rules.Example, error) {
	switch {
	case c.Exchange != "" && c.Text+c.Answer+c.Lang != "":
		return nil, errors.New("give either --exchange or --text, --answer and --lang")
	case c.Exchange != "":
		data, err := os.ReadFile(c.Exchange)
		if err != nil {
			return nil, err
		}
		return rules.ReadExample(rules.Source{Name: c.Exchange, Data: data})
	case c.Text == "":
		return nil, errors.New(`what is to be explained? Give --text "…", and --answer "…" for the bot's side, or --exchange FILE`)
	}
	return rules.NewExample(c.Text, c.Answer, c.Lang), nil
}

// known reports a rule that is not there as an error.
func known(bench *lab.Workbench, id string) error {
	for _, r := range bench.Set.Rules() {
		if id == "" || r.ID == id {
			return nil
		}
	}
	return fmt.Errorf("there is no rule %s", id)
}

func showExplanation(e *rules.Explanation, all bool, only string) error {
	side := "the customer's message"
	if e.Phase == rules.Answer.String() {
		side = "the bot's answer"
	}
	fmt.Printf("%s (on: %s)\n\n", side, e.Phase)
	if err := lab.Show(os.Stdout, e, all, only); err != nil {
		return err
	}
	if only == "" {
		fmt.Println(sum(e))
	}
	return nil
}

// sum is what all rules together came to, read off the effects of each.
func sum(e *rules.Explanation) string {
	matched, does := 0, []string(nil)
	for _, r := range e.Rules {
		if r.Result == rules.Matched {
			matched++
		}
		for _, effect := range r.Effects {
			if strings.HasPrefix(effect, "hands over") || effect == "replaces the answer" {
				does = append(does, "rule "+r.Rule+" "+effect)
			}
		}
	}
	switch {
	case len(does) > 0:
		return "\nTogether: " + strings.Join(slices.Compact(does), "; ") + ".\n"
	case matched > 0:
		return "\nTogether: it stays with the bot.\n"
	}
	return "\nTogether: no rule matches, it stays with the bot.\n"
}
