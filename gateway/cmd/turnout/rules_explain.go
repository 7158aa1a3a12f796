package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"turnout/rules"
	"turnout/rules/lab"
)

type rulesExplainCmd struct {
	ruleFiles
	Text     string `help:"The customer's message."`
	Answer   string `help:"The bot's answer."`
	Lang     string `help:"The language of the conversation; guessed from the message by default."`
	Exchange string `type:"existingfile" help:"A file with the exchange instead, with the fields that a test has."`
	Rule     string `help:"Explain this rule only."`
	All      bool   `help:"Show also the conditions that do not hold part by part."`
	JSON     bool   `name:"json" help:"Print the explanation as JSON."`
}

func (c *rulesExplainCmd) Run() error {
	bench, err := c.open()
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
func known(bench *lab.Bench, id string) error {
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

// sum is what all rules together came to.
func sum(e *rules.Explanation) string {
	v := &e.Verdict
	switch {
	case v.Handoff != nil && v.Handoff.Queue == "":
		return "\nTogether: the conversation goes to people.\n"
	case v.Handoff != nil:
		return fmt.Sprintf("\nTogether: the conversation goes to the queue %s.\n", v.Handoff.Queue)
	case v.Replace != nil:
		return "\nTogether: the answer is replaced.\n"
	case len(v.Matched) > 0:
		return "\nTogether: it stays with the bot.\n"
	}
	return "\nTogether: no rule matches, it stays with the bot.\n"
}
