// Package rules decides what must happen in an exchange between a customer and a bot: hand it to people, say something,
// replace the answer. Rules are YAML files with conditions in the expression language; Load compiles them into a Set,
// Eval judges an Exchange and returns a Verdict. Nothing here acts.
//
// A Set is immutable. It is built once per version of the rules and judges any number of exchanges at a time. The cost
// of an exchange follows the rules that may match it, not the number of rules: conditions that need a phrase, a literal,
// an equality or a threshold are found through an index. With a hundred rules what is left is the text itself: folding it,
// cutting it into words and looking these up is nearly all of a judgement, so each text is folded once for all rules of a
// phase, words that no phrase has are told by a bit of a small table (words.Dictionary), and literals are looked for in one
// pass by their first three bytes.
package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"turnout/rules/safeexpr"
	"turnout/rules/words"
)

// Source is one rule file.
type Source struct {
	Name string // as it shall appear in faults; files are ordered by it
	Data []byte
}

// Set is a compiled set of rules. It is immutable and safe for concurrent use.
type Set struct {
	rules   []*rule // in order of evaluation
	phases  [2]*index
	late    *index // the inbound rules that read what may come late
	phrases [2][textCount]*phraseList
	digest  string
	frames  framePool
	queues  bool
	tripped map[string]bool // rules that are left out, see Without
}

// Empty returns the set without rules.
func Empty() *Set {
	s, err := Load(nil)
	if err != nil {
		panic(err) // no source, no fault
	}
	return s
}

// Load reads and compiles rule files. The error is a Faults with every mistake of every file.
func Load(sources []Source) (*Set, error) {
	return load(sources, newCompiler())
}

func load(sources []Source, c *compiler) (*Set, error) {
	sources = slices.SortedStableFunc(slices.Values(sources), func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	s := &Set{}
	var faults Faults
	ids := map[string]*rule{}
	sum := sha256.New()
	for _, source := range sources {
		fmt.Fprintf(sum, "%d %s %d\n%s", len(source.Name), source.Name, len(source.Data), source.Data)
		d := &document{name: source.Name, lines: strings.Split(string(source.Data), "\n")}
		for _, r := range d.readRules(source.Data) {
			d.rule = r.id
			if first := ids[r.id]; first != nil && r.id != "" {
				d.failAt(r.line, r.column, "id %s is used already at %s:%d", r.id, first.file, first.line)
				continue
			}
			ids[r.id] = r
			if len(s.rules) == MaxRules {
				d.failAt(r.line, r.column, "a set may have at most %d rules", MaxRules)
				break
			}
			d.compile(r, c)
			s.queues = s.queues || strings.Contains(r.when, "queues")
			r.order = len(s.rules)
			s.rules = append(s.rules, r)
		}
		faults = append(faults, d.faults...)
	}
	if len(faults) > 0 {
		faults.sort()
		return nil, faults
	}
	slices.SortStableFunc(s.rules, func(a, b *rule) int {
		return cmp.Or(order(a.locked, b.locked), b.rank-a.rank, a.order-b.order)
	})
	s.digest = hex.EncodeToString(sum.Sum(nil))
	return s, s.build(c)
}

// order puts true first.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// readRules reads the rules of a file. What cannot be read is a fault in d.
func (d *document) readRules(data []byte) []*rule {
	body := d.parse(data)
	if body == nil {
		if len(d.faults) == 0 {
			d.failAt(1, 1, "file has no rules: it needs a list under rules:")
		}
		return nil
	}
	top, ok := d.mapping(body, "a rule file")
	if !ok {
		return nil
	}
	var rules []*rule
	found := false
	for _, p := range top {
		if p.key != "rules" {
			d.unknown(p, "a rule file", "rules")
			continue
		}
		found = true
		for _, item := range d.sequence(p.value, "rules") {
			if r := d.readRule(item); r != nil {
				rules = append(rules, r)
			}
		}
	}
	if !found {
		d.fail(body, "file has no rules: it needs a list under rules:")
	}
	return rules
}

func (d *document) compile(r *rule, c *compiler) {
	if r.when == "" {
		return
	}
	condition, err := c.compile(r.when, r.phase)
	if err != nil {
		line, column, message := 1, 1, err.Error()
		if at, ok := errors.AsType[*safeexpr.Error](err); ok {
			line, column, message = at.Line, at.Column, plainer(at.Message)
		}
		line, column = r.whenAt(line, column)
		d.failAt(line, column, "when: %s", message)
		return
	}
	r.condition = condition
}

// build makes the indexes.
func (s *Set) build(c *compiler) error {
	s.phrases = c.phrases
	for phase := range s.phases {
		dictionaries, err := c.dictionaries(Phase(phase))
		if err != nil {
			return err
		}
		s.phases[phase] = newIndex(s.active(Phase(phase)), dictionaries, c.phrases[phase])
		if Phase(phase) == Inbound {
			s.late = newIndex(s.activeLate(), dictionaries, c.phrases[phase])
		}
	}
	return nil
}

// activeLate are those of the active inbound rules that read what may come late, in order.
func (s *Set) activeLate() []*rule {
	return slices.DeleteFunc(s.active(Inbound), func(r *rule) bool { return !r.condition.late })
}

// dictionaries are those of the phrases that the conditions of a phase look for, by text; nil where they look for none.
func (c *compiler) dictionaries(phase Phase) (out [textCount]*words.Dictionary, err error) {
	for t, list := range c.phrases[phase] {
		if len(list.phrases) == 0 {
			continue
		}
		if out[t], err = words.New(list.phrases); err != nil {
			return out, fmt.Errorf("building phrase dictionary: %w", err)
		}
	}
	return out, nil
}

// active are the rules that judge exchanges of a phase, in order.
func (s *Set) active(phase Phase) []*rule {
	var active []*rule
	for _, r := range s.rules {
		if r.mode != Off && r.phase == phase && !s.tripped[r.id] {
			active = append(active, r)
		}
	}
	return active
}

// Without returns the set as it judges while the named rules are left out. Locked rules stay: nothing but a new version
// takes one out. The digest is that of s.
func (s *Set) Without(ids ...string) *Set {
	out := &Set{rules: s.rules, phrases: s.phrases, digest: s.digest, queues: s.queues, tripped: map[string]bool{}}
	for _, r := range s.rules {
		if !r.locked && slices.Contains(ids, r.id) {
			out.tripped[r.id] = true
		}
	}
	for phase, index := range s.phases {
		var dictionaries [textCount]*words.Dictionary
		for t := range index.phrases {
			dictionaries[t] = index.phrases[t].dictionary
		}
		out.phases[phase] = newIndex(out.active(Phase(phase)), dictionaries, s.phrases[phase])
		if Phase(phase) == Inbound {
			out.late = newIndex(out.activeLate(), dictionaries, s.phrases[phase])
		}
	}
	return out
}

// Digest is the hex SHA-256 over the names and contents of the files, in order.
func (s *Set) Digest() string { return s.digest }

// ReadsQueues reports whether a rule may read Exchange.Queues; if not, it need not be filled.
func (s *Set) ReadsQueues() bool { return s.queues }

// Late names the inbound rules that read what may come late, in order of evaluation: those that EvalLate asks.
func (s *Set) Late() []string {
	var ids []string
	for _, r := range s.late.rules {
		ids = append(ids, r.id)
	}
	return ids
}

// Len is the number of rules, those switched off included.
func (s *Set) Len() int { return len(s.rules) }
