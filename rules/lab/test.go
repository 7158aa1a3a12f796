package lab

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"turnout/rules"
)

// Report is the outcome of a run of tests.
type Report struct {
	Rules  int    `json:"rules"`
	Tests  int    `json:"tests"`
	Failed int    `json:"failed"`
	Cases  []Case `json:"cases"`
	// Untested are the rules that no test of their own names, in order of evaluation.
	Untested []string `json:"untested,omitempty"`
}

// Case is one test that was run.
type Case struct {
	// Rule is the rule whose inline test it is; empty for a test of a file of tests, which has a Name.
	Rule   string `json:"rule,omitempty"`
	Name   string `json:"name"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Passed bool   `json:"passed"`
	// Problems say what was not as expected; Because, for each rule that mattered, what decided its condition.
	Problems []string `json:"problems,omitempty"`
	Because  []string `json:"because,omitempty"`
}

// Test runs all tests: the rules' own, each against its rule, and the files', each against all rules. only, when not
// empty, are the rules whose own tests are run, and then no others.
func (b *Workbench) Test(only ...string) *Report {
	r := &Report{Rules: b.Set.Len()}
	tested := map[string]bool{}
	counts := map[string]int{}
	for _, t := range b.Set.Test(b.Detector) {
		tested[t.Rule] = true
		counts[t.Rule]++
		if len(only) > 0 && !slices.Contains(only, t.Rule) {
			continue
		}
		c := Case{
			Rule: t.Rule, Name: fmt.Sprintf("%s, test %d", t.Rule, counts[t.Rule]), File: t.File, Line: t.Line, Column: t.Column,
			Passed: t.Passed(),
		}
		if !c.Passed {
			c.Problems = []string{fmt.Sprintf("match is %t, the test wants %t", t.Got, t.Want)}
			if t.Err != nil {
				c.Problems = []string{t.Err.Error()}
			}
			c.Because = b.because(t.Rule, &t.Exchange)
		}
		r.add(c)
	}
	if len(only) == 0 {
		for i := range b.Tests {
			t := &b.Tests[i]
			played := b.Set.Play(t, b.Detector)
			c := Case{Name: t.Name, File: t.File, Line: t.Line, Column: t.Column, Passed: played.Passed(), Problems: played.Problems}
			for _, id := range t.Rules() {
				tested[id] = true
				if !c.Passed {
					c.Because = append(c.Because, b.becauseOf(id, played.Exchanges)...)
				}
			}
			r.add(c)
		}
		for _, rule := range b.Set.Rules() {
			if !tested[rule.ID] {
				r.Untested = append(r.Untested, rule.ID)
			}
		}
	}
	return r
}

func (r *Report) add(c Case) {
	r.Tests++
	if !c.Passed {
		r.Failed++
	}
	r.Cases = append(r.Cases, c)
}

func (b *Workbench) because(id string, x *rules.Exchange) []string {
	trace, ok := b.explainer.Rule(id, x)
	if !ok || trace.Because == "" {
		return nil
	}
	return []string{fmt.Sprintf("%s %s: %s", id, trace.Result, trace.Because)}
}

// becauseOf explains a rule on the last exchange of its phase.
func (b *Workbench) becauseOf(id string, played []*rules.Exchange) []string {
	on := ""
	for _, rule := range b.Set.Rules() {
		if rule.ID == id {
			on = rule.On
		}
	}
	for _, x := range slices.Backward(played) {
		if x.Phase.String() == on {
			return b.because(id, x)
		}
	}
	return nil
}

// String is the report for people: what failed, each with its place first, and the sum.
func (r *Report) String() string {
	var b strings.Builder
	for _, c := range r.Cases {
		if c.Passed {
			continue
		}
		fmt.Fprintf(&b, "%s:%d:%d: FAIL %s\n", c.File, c.Line, c.Column, c.Name)
		for _, p := range c.Problems {
			fmt.Fprintf(&b, "    %s\n", p)
		}
		for _, why := range c.Because {
			fmt.Fprintf(&b, "    because %s\n", why)
		}
	}
	if len(r.Untested) > 0 {
		fmt.Fprintf(&b, "without a test: %s\n", strings.Join(r.Untested, ", "))
	}
	fmt.Fprintf(&b, "%d rules, %d tests, %d failed", r.Rules, r.Tests, r.Failed)
	return b.String()
}

// The elements of a JUnit report, as the XML schema that most CI servers read has them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		File      string        `xml:"file,attr"`
		Line      int           `xml:"line,attr"`
		Failure   *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report as JUnit XML: a suite per file.
func (r *Report) JUnit(w io.Writer) error {
	all := junitSuites{Tests: r.Tests, Failures: r.Failed}
	at := map[string]int{}
	for _, c := range r.Cases {
		i, ok := at[c.File]
		if !ok {
			i = len(all.Suites)
			at[c.File] = i
			all.Suites = append(all.Suites, junitSuite{Name: c.File})
		}
		s := &all.Suites[i]
		s.Tests++
		jc := junitCase{Name: c.Name, ClassName: c.File, File: c.File, Line: c.Line}
		if c.Rule != "" {
			jc.ClassName = c.Rule
		}
		if !c.Passed {
			s.Failures++
			jc.Failure = &junitFailure{Message: strings.Join(c.Problems, "; "), Text: strings.Join(c.Because, "\n")}
		}
		s.Cases = append(s.Cases, jc)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return fmt.Errorf("writing JUnit XML: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}
