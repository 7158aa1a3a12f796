package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

func (n *Node) holds() bool {
	b, _ := n.Value.(bool)
	return b
}

// because names the leaves that decided a condition.
func (n *Node) because(failed bool) string {
	var decided []string
	n.deciders(failed, func(l *Node) {
		if s := l.sentence(); !slices.Contains(decided, s) {
			decided = append(decided, s)
		}
	})
	const most = 4
	if more := len(decided) - most; more > 0 {
		decided = append(decided[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(decided, "; ")
}

// deciders calls found with the leaves on which the value of n rests; with broken, those that failed.
func (n *Node) deciders(broken bool, found func(*Node)) {
	if broken && n.join != leaf {
		for _, p := range n.Parts {
			p.deciders(true, found)
		}
		return
	}
	switch n.join {
	case phrases:
		if !n.holds() {
			found(n) // its phrases, none of which is there, say no more
			return
		}
		for _, p := range n.Parts {
			if p.holds() {
				found(p)
			}
		}
	case all, some:
		for _, p := range n.Parts {
			// The part that stopped the chain decides; if none did, all of them.
			if p.State != NotNeeded && (n.holds() == (n.join == all) || p.holds() == (n.join == some)) {
				p.deciders(false, found)
			}
		}
	case inverse:
		n.Parts[0].deciders(false, found)
	case choice:
		for _, p := range n.Parts {
			if p.State != NotNeeded {
				p.deciders(false, found)
			}
		}
	default:
		if !broken || n.State == Broken {
			found(n)
		}
	}
}

// sentence is a leaf with its value and the values that it read.
func (n *Node) sentence() string {
	if n.join == phrases && len(n.Parts) > 3 {
		return fmt.Sprintf("none of the %d phrases was found", len(n.Parts))
	}
	s := n.Source + " " + n.verb()
	if len(n.Absent) > 0 {
		return s + " (" + strings.Join(n.Absent, ", ") + " absent)"
	}
	var read []string
	if n.join == leaf {
		n.each(func(p *Node) {
			if len(p.Parts) == 0 && p.State == Evaluated {
				read = append(read, p.Source+" is "+p.Show(80))
			}
		})
	}
	if len(read) > 0 {
		s += " (" + strings.Join(read, ", ") + ")"
	}
	return s
}

func (n *Node) each(f func(*Node)) {
	for _, p := range n.Parts {
		f(p)
		p.each(f)
	}
}

func (n *Node) verb() string {
	switch {
	case n.State == Broken:
		return "could not be evaluated"
	case n.join == word:
		return "was found"
	}
	return "is " + n.Show(80)
}

// Show is the value as a person reads it, texts in quotes and cut to limit characters; the state where there is no value.
func (n *Node) Show(limit int) string {
	if n.State != Evaluated {
		return string(n.State)
	}
	switch v := n.Value.(type) {
	case string:
		if r := []rune(v); len(r) > limit {
			v = string(r[:limit]) + "…"
		}
		return strconv.Quote(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	s := fmt.Sprint(n.Value)
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return s
}

// mostTold is how much of a value an explanation holds, in bytes: a long text stands in it once per rule that reads it.
const mostTold = 1000

// told is a value as an explanation can hold it: short, and something that JSON can write.
func told(value any) any {
	switch v := value.(type) {
	case nil, bool, int:
		return v
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case string:
		return shortened(v)
	}
	b, err := json.Marshal(value)
	switch {
	case err != nil:
		return shortened(fmt.Sprint(value))
	case len(b) > mostTold:
		return shortened(string(b))
	}
	return value
}

func shortened(s string) string {
	if len(s) <= mostTold {
		return s
	}
	return cut(s, mostTold) + "…"
}
