// Package lab is the workbench of rule authors: it runs tests of rules and writes their report, shows explanations and
// differences to people, looks for what is probably not meant, judges old dialogues, and measures. It decides nothing; package
// rules does.
package lab

import (
	"errors"

	"turnout/rules"
	"turnout/rules/signal"
)

// Bench is a set of rules with what is needed to work on it.
type Bench struct {
	Set       *rules.Set
	Tests     []rules.Scenario
	Detector  signal.Detector
	explainer *rules.Explainer
}

// Open compiles files of rules and reads files of tests; which is which is seen from their first key. Faults of all files
// come together, as rules.Faults.
func Open(files []rules.Source, d signal.Detector) (*Bench, error) {
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
		return nil, errNoRules
	}
	explainer, err := rules.NewExplainer(set)
	if err != nil {
		return nil, err
	}
	return &Bench{Set: set, Tests: scenarios, Detector: d, explainer: explainer}, nil
}

var errNoRules = errors.New(`there are no rules among the files: name at least one that begins with "rules:"`)
