// Package lab is the workbench of rule authors: it runs tests of rules and writes their report, shows explanations and
// differences to people, looks for what is probably not meant, judges old dialogues, and measures. It decides nothing; package
// rules does.
package lab

import (
	"errors"
	"fmt"
	"time"

	"turnout/rules"
	"turnout/rules/signal"
)

// Workbench is a set of rules with what is needed to work on it.
type Workbench struct {
	Set       *rules.Set
	Tests     []rules.Scenario
	Detector  signal.Detector
	explainer *rules.Explainer
}

// Open compiles files of rules and reads files of tests; which is which is seen from their first key. Faults of all files
// come together, as rules.Faults.
func Open(files []rules.Source, d signal.Detector) (*Workbench, error) {
	var sources, tests []rules.Source
	for _, f := range files {
		if rules.NamedTests(f.Data) {
			tests = append(tests, f)
		} else {
			sources = append(sources, f)
		}
	}
	var faults rules.Faults
	set, err := rules.Load(sources)
	if err != nil && !errors.As(err, &faults) {
		return nil, err
	}
	scenarios, err := rules.ReadTests(tests)
	var more rules.Faults
	if errors.As(err, &more) {
		faults = append(faults, more...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	if set.Len() == 0 {
		return nil, ErrNoRules
	}
	explainer, err := rules.NewExplainer(set)
	if err != nil {
		return nil, err
	}
	return &Workbench{Set: set, Tests: scenarios, Detector: d, explainer: explainer}, nil
}

// Budget is what the patterns of a rule may take on a text of 8 KiB, as a node has it.
const Budget = 5 * time.Millisecond

// Lint says what is probably not meant, and which rules a node would refuse because their patterns take too long. clock is
// one that only goes forward.
func (b *Workbench) Lint(clock func() time.Duration) rules.Faults {
	findings := b.Set.Lint()
	refs := map[string]rules.RuleRef{}
	for _, r := range b.Set.Rules() {
		refs[r.ID] = r
	}
	for _, t := range b.Set.Slow(Budget, clock) {
		r := refs[t.Rule]
		findings = append(findings, rules.Fault{
			File: r.File, Line: r.Line, Column: 1, Rule: r.ID,
			Message: fmt.Sprintf("its patterns take %v on a text of 8 KiB; a node takes no more than %v: make counted repetitions smaller, or look for phrases", t.Took.Round(time.Millisecond/10), Budget),
		})
	}
	return findings
}

// ErrNoRules says that none of the files has a rule.
var ErrNoRules = errors.New(`there are no rules among the files: name at least one that begins with "rules:"`)
