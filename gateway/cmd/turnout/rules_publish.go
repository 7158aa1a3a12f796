package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"turnout/gateway/rulebook"
	"turnout/rules"
	"turnout/rules/lab"
)

type ruleFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// filesToPublish reads rule files under their base names: rules of equal rank are ordered by them, wherever the files lie.
// Files of tests are left out; whoever publishes has run them.
func filesToPublish(names []string) ([]ruleFile, error) {
	sources, err := readFiles(names, "")
	if err != nil {
		return nil, err
	}
	var files []ruleFile
	seen := map[string]string{}
	for _, s := range sources {
		if rules.NamedTests(s.Data) {
			continue
		}
		name := filepath.Base(s.Name)
		if other := seen[name]; other != "" {
			return nil, exit{2, fmt.Errorf("%s and %s have the same name, and rules are ordered by it: rename one", other, s.Name)}
		}
		seen[name] = s.Name
		files = append(files, ruleFile{name, string(s.Data)})
	}
	if len(files) == 0 {
		return nil, exit{2, errors.New(`there are no rules among the files: name at least one that begins with "rules:"`)}
	}
	return files, nil
}

// checked is what a node says of rules that might be published.
type checked struct {
	Base    int          `json:"base"`
	Pending int          `json:"pending"`
	OK      bool         `json:"ok"`
	Faults  rules.Faults `json:"faults"`
	Failed  []struct {
		Rule, File   string
		Line, Column int
		Want, Got    bool
	} `json:"failed"`
	Changes []rules.Change `json:"changes"`
}

func (c *checked) err() error {
	switch {
	case len(c.Faults) > 0:
		return exit{2, c.Faults}
	case len(c.Failed) > 0:
		var lines []string
		for _, f := range c.Failed {
			lines = append(lines, fmt.Sprintf("%s:%d:%d: rule %s: match is %t, the test wants %t", f.File, f.Line, f.Column, f.Rule, f.Got, f.Want))
		}
		return exit{1, errors.New("tests fail\n" + strings.Join(lines, "\n"))}
	}
	return nil
}

type rulesPublishCmd struct {
	nodeFlags
	Files   []string `arg:"" help:"The files of rules, all of them: they take the place of what is in force. Files of tests among them are run first."`
	Why     string   `required:"" help:"One sentence for whoever reads the list of versions."`
	Replace bool     `help:"Take the place of a version that still waits for nodes to confirm it."`
	JSON    bool     `name:"json" help:"Print the answer as JSON."`
}

func (c *rulesPublishCmd) Run(ctx context.Context) error {
	// What can be found wrong here is told with the files' own paths.
	bench, err := (&ruleFiles{Files: c.Files, Tenant: c.Tenant}).open()
	if err != nil {
		return err
	}
	if report := bench.Test(); report.Failed > 0 {
		fmt.Fprintln(os.Stderr, report)
		return exit{1, errors.New("nothing was published: tests fail")}
	}
	files, err := filesToPublish(c.Files)
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	body := map[string]any{"files": files}
	var check checked
	if err := node.Do(ctx, "POST", "/v1/admin/rules/check", body, &check); err != nil {
		return err
	}
	if err := check.err(); err != nil {
		return err
	}
	if body["why"], body["base"] = c.Why, check.Base; c.Replace && check.Pending > 0 {
		body["base"] = check.Pending
	}
	var raw json.RawMessage
	if err := node.Do(ctx, "POST", "/v1/admin/rules/publish", body, &raw); err != nil {
		return err
	}
	return printPublished(c.JSON, raw)
}

type rulesRollbackCmd struct {
	nodeFlags
	Version int    `arg:"" help:"The version whose rules are published again."`
	Why     string `required:"" help:"One sentence for whoever reads the list of versions."`
	Replace bool   `help:"Take the place of a version that still waits for nodes to confirm it."`
	JSON    bool   `name:"json" help:"Print the answer as JSON."`
}

func (c *rulesRollbackCmd) Run(ctx context.Context) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	body := map[string]any{"version": c.Version, "why": c.Why}
	if c.Replace {
		var state rulebook.State
		if err := node.Do(ctx, "GET", "/v1/admin/rules", nil, &state); err != nil {
			return err
		}
		if state.Pending != nil {
			body["base"] = state.Pending.N
		}
	}
	var raw json.RawMessage
	if err := node.Do(ctx, "POST", "/v1/admin/rules/rollback", body, &raw); err != nil {
		return err
	}
	return printPublished(c.JSON, raw)
}

func printPublished(asJSON bool, raw json.RawMessage) error {
	if asJSON {
		fmt.Println(string(raw))
		return nil
	}
	var p rulebook.Published
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	if err := lab.ShowChanges(os.Stdout, p.Changes); err != nil {
		return err
	}
	if p.Effective {
		fmt.Printf("version %d is in force (digest %.12s)\n", p.N, p.Digest)
	} else {
		fmt.Printf("version %d waits for %s to confirm it (digest %.12s)\n", p.N, strings.Join(p.Waiting, ", "), p.Digest)
	}
	return nil
}

type rulesVersionsCmd struct {
	nodeFlags
	Before int  `help:"Begin below this version."`
	Limit  int  `default:"20" help:"How many to list."`
	JSON   bool `name:"json" help:"Print the answers as JSON, what is in force first."`
}

func (c *rulesVersionsCmd) Run(ctx context.Context) error {
	node, err := c.client()
	if err != nil {
		return err
	}
	var state rulebook.State
	if err := node.Do(ctx, "GET", "/v1/admin/rules", nil, &state); err != nil {
		return err
	}
	var list struct {
		Versions []rulebook.Version `json:"versions"`
	}
	if err := node.Do(ctx, "GET", fmt.Sprintf("/v1/admin/rules/versions?before=%d&limit=%d", c.Before, c.Limit), nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"state": state, "versions": list.Versions})
	}
	fmt.Printf("managed by %s\n", state.Managed)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, v := range list.Versions {
		mark, why := " ", v.Why
		if v.N == state.Version.N {
			mark = "*"
		}
		switch {
		case v.Of > 0:
			why = fmt.Sprintf("back to version %d: %s", v.Of, v.Why)
		case v.From != "":
			why = "from " + v.From
		}
		fmt.Fprintf(w, "%s %d\t%s\t%s\t%.12s\t%s\n", mark, v.N, v.At.Format("2006-01-02 15:04"), v.By, v.Digest, why)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range state.Tripped {
		fmt.Printf("rule %s is left out until %s: it failed %d times\n", t.Rule, t.Until.Format("15:04:05"), t.Failures)
	}
	return nil
}

type rulesDiffCmd struct {
	nodeFlags
	Old  []string `help:"The files as they were; without them the rules in force on a node."`
	From int      `help:"A version of a node, instead of files."`
	To   int      `help:"The version to compare it with; what is in force by default."`
	New  []string `arg:"" optional:"" help:"The files as they are."`
	JSON bool     `name:"json" help:"Print the changes as JSON."`
}

func (c *rulesDiffCmd) Run(ctx context.Context) error {
	switch {
	case len(c.New) == 0 && c.From == 0 || len(c.New) > 0 && c.From+c.To > 0:
		return exit{2, errors.New("compare files with --old FILE or with a node's rules, or two versions of a node with --from N --to M")}
	case len(c.Old) > 0:
		old, err := (&ruleFiles{Files: c.Old, Tenant: c.Tenant}).open()
		if err != nil {
			return err
		}
		is, err := (&ruleFiles{Files: c.New, Tenant: c.Tenant}).open()
		if err != nil {
			return err
		}
		return printChanges(c.JSON, rules.Diff(old.Set, is.Set))
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	if c.From > 0 {
		var answer struct{ Changes []rules.Change }
		if err := node.Do(ctx, "GET", fmt.Sprintf("/v1/admin/rules/diff?from=%d&to=%d", c.From, c.To), nil, &answer); err != nil {
			return err
		}
		return printChanges(c.JSON, answer.Changes)
	}
	files, err := filesToPublish(c.New)
	if err != nil {
		return err
	}
	var check checked
	if err := node.Do(ctx, "POST", "/v1/admin/rules/check", map[string]any{"files": files}, &check); err != nil {
		return err
	}
	if err := check.err(); err != nil {
		return err
	}
	return printChanges(c.JSON, check.Changes)
}
