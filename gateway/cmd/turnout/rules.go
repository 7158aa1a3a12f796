package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"turnout/gateway"
	"turnout/gateway/config"
	"turnout/rules"
	"turnout/rules/lab"
	"turnout/rules/signal"
)

type rulesCmd struct {
	Test     rulesTestCmd     `cmd:"" help:"Run the tests of rules: those inside them, and files of tests. Ends with 1 if one fails, with 2 if a file has faults."`
	Explain  rulesExplainCmd  `cmd:"" help:"Say of every rule why it matches an exchange, or why not."`
	Lint     rulesLintCmd     `cmd:"" help:"Say what is allowed but probably not meant. Ends with 1 if there is something."`
	Backtest rulesBacktestCmd `cmd:"" help:"Judge old dialogues and say how many would have gone to people, and by which rule."`
	Bench    rulesBenchCmd    `cmd:"" help:"Measure what judging an exchange costs."`
	Diff     rulesDiffCmd     `cmd:"" help:"Say rule by rule what differs: from files or a node's rules to files, or between two versions of a node."`
	Publish  rulesPublishCmd  `cmd:"" help:"Make files the rules of a running node, as a new version."`
	Rollback rulesRollbackCmd `cmd:"" help:"Publish the rules of an earlier version of a running node again."`
	Versions rulesVersionsCmd `cmd:"" help:"List the versions of a running node's rules: when, by whom and why."`
}

// ruleFiles are the files that a command works on.
type ruleFiles struct {
	Files  []string `arg:"" help:"Files of rules and of tests, or one settings file, whose rules are taken."`
	Tenant string   `help:"The tenant, if the settings file has several."`
}

// open reads and compiles the files.
func (f *ruleFiles) open() (*lab.Workbench, error) {
	sources, err := readFiles(f.Files, f.Tenant)
	if err != nil {
		return nil, err
	}
	detector, err := signal.NewLexical()
	if err != nil {
		return nil, fmt.Errorf("building signals: %w", err)
	}
	bench, err := lab.Open(sources, detector)
	if err != nil {
		return nil, exit{2, err}
	}
	return bench, nil
}

// readFiles reads files of rules and tests under the names that were typed. A settings file stands for the rules that it
// lists.
func readFiles(names []string, tenant string) ([]rules.Source, error) {
	var sources []rules.Source
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, exit{2, err}
		}
		if !gateway.IsSettings(data) {
			sources = append(sources, rules.Source{Name: name, Data: data})
			continue
		}
		more, err := rulesOf(name, tenant)
		if err != nil {
			return nil, exit{2, err}
		}
		sources = append(sources, more...)
	}
	return sources, nil
}

// rulesOf are the rules of a tenant of a settings file.
func rulesOf(settings, tenant string) ([]rules.Source, error) {
	cfg, err := config.Load(settings)
	if err != nil {
		return nil, err
	}
	for _, t := range cfg.Tenants {
		if t.Name != tenant && (tenant != "" || len(cfg.Tenants) > 1) {
			continue
		}
		var sources []rules.Source
		for _, r := range t.Rules {
			sources = append(sources, rules.Source{Name: filepath.Join(cfg.Dir, r.Name), Data: r.Data})
		}
		return sources, nil
	}
	return nil, fmt.Errorf("%s: name one of its tenants with --tenant", settings)
}

type rulesTestCmd struct {
	ruleFiles
	Rule  []string `help:"Run only the own tests of this rule."`
	JUnit string   `name:"junit" type:"path" help:"Write a report in JUnit's XML into this file."`
	JSON  bool     `name:"json" help:"Print the report as JSON."`
}

func (c *rulesTestCmd) Run() error {
	bench, err := c.open()
	if err != nil {
		return err
	}
	report := bench.Test(c.Rule...)
	if c.JUnit != "" {
		if err := writeFile(c.JUnit, report.JUnit); err != nil {
			return exit{2, err}
		}
	}
	if err := print(c.JSON, report); err != nil {
		return err
	}
	switch {
	case report.Failed > 0:
		return exit{1, fmt.Errorf("%d of %d tests failed", report.Failed, report.Tests)}
	case report.Tests == 0:
		return exit{1, errors.New("there are no tests to run")}
	}
	return nil
}

type rulesLintCmd struct {
	ruleFiles
	JSON bool `name:"json" help:"Print the findings as JSON."`
}

func (c *rulesLintCmd) Run() error {
	bench, err := c.open()
	if err != nil {
		return err
	}
	start := time.Now()
	findings := bench.Lint(func() time.Duration { return time.Since(start) })
	if c.JSON {
		if findings == nil {
			findings = rules.Faults{}
		}
		err = json.NewEncoder(os.Stdout).Encode(findings)
	} else {
		for _, f := range findings {
			fmt.Println(f)
		}
		fmt.Printf("%d rules, %d findings\n", bench.Set.Len(), len(findings))
	}
	if err == nil && len(findings) > 0 {
		err = exit{1, nil}
	}
	return err
}

type rulesBacktestCmd struct {
	ruleFiles
	Dialogues string `required:"" type:"existingfile" help:"The dialogues, one JSON object a line: {\"turns\": [{\"side\": \"customer\", \"text\": …}, …]}, with id, lang, source and labels if they are known."`
	JSON      bool   `name:"json" help:"Print the report as JSON."`
}

func (c *rulesBacktestCmd) Run() error {
	bench, err := c.open()
	if err != nil {
		return err
	}
	f, err := os.Open(c.Dialogues)
	if err != nil {
		return exit{2, err}
	}
	defer f.Close()
	report, err := bench.Backtest(f)
	if err != nil {
		return exit{2, fmt.Errorf("%s: %w", c.Dialogues, err)}
	}
	return print(c.JSON, report)
}

type rulesBenchCmd struct {
	Rules int           `default:"1000" help:"How many rules."`
	For   time.Duration `default:"2s" help:"For how long to measure."`
	JSON  bool          `name:"json" help:"Print the figures as JSON."`
}

func (c *rulesBenchCmd) Run() error {
	if c.Rules < 1 || c.Rules > rules.MaxRules {
		return exit{2, fmt.Errorf("--rules is between 1 and %d", rules.MaxRules)}
	}
	cost, err := lab.Measure(c.Rules, c.For)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(cost)
	}
	fmt.Printf("%d rules: %.0f ns of CPU time and %.2f allocations an exchange; one by one it would be %.0f ns\n", cost.Rules, cost.NS, cost.Allocs, cost.Naive)
	return nil
}

// exit is an error with the code that the process ends with. Its error may be nil when everything was said already.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// print prints a report as JSON or as its String.
func print(asJSON bool, report fmt.Stringer) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(report)
	}
	fmt.Println(report)
	return nil
}

// writeFile writes a whole file or leaves an error.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func printChanges(asJSON bool, changes []rules.Change) error {
	if !asJSON {
		return lab.ShowChanges(os.Stdout, changes)
	}
	if changes == nil {
		changes = []rules.Change{}
	}
	return json.NewEncoder(os.Stdout).Encode(changes)
}
