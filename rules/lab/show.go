package lab

import (
	"fmt"
	"io"
	"strings"

	"turnout/rules"
)

// Explain explains x by the rules of its phase.
func (b *Workbench) Explain(x *rules.Exchange) *rules.Explanation { return b.explainer.Explain(x) }

// Show writes an explanation for people: the rules that matched or failed part by part, the others in a line each. With
// full, all part by part; with only, that rule and no other.
func Show(w io.Writer, e *rules.Explanation, full bool, only string) error {
	var b strings.Builder
	for _, r := range e.Rules {
		if only != "" && r.Rule != only || only == "" && r.Result == rules.OtherPhase {
			continue
		}
		ShowRule(&b, r, full || only != "")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ShowRule writes one rule of an explanation.
func ShowRule(b *strings.Builder, r rules.RuleTrace, full bool) {
	marks := []string{r.On}
	if r.Locked {
		marks = append(marks, "locked")
	}
	if r.Mode != "enforce" {
		marks = append(marks, r.Mode)
	}
	if r.Rank != 0 {
		marks = append(marks, fmt.Sprintf("rank %d", r.Rank))
	}
	fmt.Fprintf(b, "%-11s %s  (%s, %s)\n", strings.ToUpper(string(r.Result)), r.Rule, r.At, strings.Join(marks, ", "))
	for _, e := range r.Effects {
		fmt.Fprintf(b, "    -> %s\n", e)
	}
	if r.Because != "" {
		fmt.Fprintf(b, "    because %s\n", r.Because)
	}
	if r.Whole {
		fmt.Fprintf(b, "    it looked at the whole of a long text\n")
	}
	if r.Condition != nil && (full || r.Result == rules.Matched || r.Result == rules.Failed) {
		showNode(b, r.Condition, 1)
	}
}

func showNode(b *strings.Builder, n *rules.Node, depth int) {
	value := n.Show(60)
	if len(n.Absent) > 0 && n.State == rules.Evaluated {
		value += " (" + strings.Join(n.Absent, ", ") + " absent)"
	}
	source := n.Source
	if r := []rune(source); len(r) > 100 {
		source = string(r[:100]) + "…"
	}
	fmt.Fprintf(b, "    %s%s = %s\n", strings.Repeat("  ", depth), source, value)
	for _, p := range n.Parts {
		showNode(b, p, depth+1)
	}
}

// ShowChanges writes differences for people, rule by rule.
func ShowChanges(w io.Writer, changes []rules.Change) error {
	var b strings.Builder
	if len(changes) == 0 {
		b.WriteString("no difference: the rules do the same\n")
	}
	for _, c := range changes {
		lock := ""
		if c.Locked {
			lock = " (locked)"
		}
		switch c.Kind {
		case rules.Added:
			fmt.Fprintf(&b, "+ %s%s  added, judged %s\n", c.Rule, lock, nth(c.Place))
		case rules.Removed:
			fmt.Fprintf(&b, "- %s%s  removed, was judged %s\n", c.Rule, lock, nth(c.Before))
		case rules.Moved:
			fmt.Fprintf(&b, "~ %s%s  judged %s, was %s\n", c.Rule, lock, nth(c.Place), nth(c.Before))
		default:
			fmt.Fprintf(&b, "~ %s%s  changed", c.Rule, lock)
			if c.Place != c.Before {
				fmt.Fprintf(&b, ", judged %s, was %s", nth(c.Place), nth(c.Before))
			}
			b.WriteString("\n")
		}
		for _, f := range c.Fields {
			if f.Was != "" {
				fmt.Fprintf(&b, "    - %s: %s\n", f.Field, f.Was)
			}
			if f.Is != "" {
				fmt.Fprintf(&b, "    + %s: %s\n", f.Field, f.Is)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func nth(n int) string {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return fmt.Sprintf("%d%s", n, suffix)
}
