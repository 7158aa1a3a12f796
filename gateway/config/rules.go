package config

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// RuleSource is a rule file, or the rules written into a resource. Name is the path relative to the settings file's
// folder, whoever reads it from wherever. Data is YAML whose lines and columns are those of the named file.
type RuleSource struct {
	Name string
	Data []byte
}

type rulesSpec struct {
	Files []string `yaml:"files"`
	Rules Section  `yaml:"rules"`
	// Managed "api" says that rules are published to the running node, and by no file.
	Managed string `yaml:"managed"`
}

// ruleUse is a queue or a bot that a rule names.
type ruleUse struct {
	tenant     *Tenant
	kind, name string
	at         Pos
}

// addRules reads what a rules resource holds or lists. What a rule means is not judged here, only which queues and bots it names.
func (l *loader) addRules(t *Tenant, r *resource) {
	var spec rulesSpec
	l.decode(r.Spec, &spec)
	published := child(r.Spec.node, "managed") != nil
	switch {
	case t.RulesFrom != "" && (published || t.RulesPublished):
		l.faults.add(r.whole.Pos(), "tenant %s has another resource of kind rules, in %s, and one of them says managed: api; that one must be the only one", t.Name, t.RulesFrom)
		return
	case published && spec.Managed != "api":
		l.faults.add(r.Spec.find("managed"), `managed is "api" for rules that are published to the running node; leave it out for rules in files`)
		return
	case published && (spec.Rules.node != nil || len(spec.Files) > 0):
		l.faults.add(r.Spec.find("managed"), `rules that are managed by the API cannot stand here as well; publish them with "turnout rules publish"`)
		return
	}
	t.RulesFrom, t.RulesPublished = r.file, published
	if published {
		return
	}
	if spec.Rules.node == nil && len(spec.Files) == 0 {
		l.faults.add(r.Spec.Pos(), `there are no rules here; write "rules:" and a list, "files:" and a list of globs, or "managed: api"`)
		return
	}
	if spec.Rules.node != nil {
		if data := l.inlineRules(r); data != nil {
			t.Rules = append(t.Rules, RuleSource{Name: r.file, Data: data})
			l.noteUses(t, r.whole.file, spec.Rules.node)
		}
	}
	globs := make([]glob, len(spec.Files))
	for i, pattern := range spec.Files {
		globs[i] = glob{pattern: pattern, at: r.Spec.find("files", strconv.Itoa(i))}
	}
	for _, file := range l.match(path.Dir(r.file), globs) {
		data, err := l.read(file)
		if err != nil {
			l.faults.add(Pos{File: l.shown(file)}, "the file cannot be read: %v", reason(err))
			continue
		}
		docs, faults := parse(l.shown(file), data)
		l.faults = append(l.faults, faults...)
		t.Rules = append(t.Rules, RuleSource{Name: file, Data: data})
		t.ruleFiles = append(t.ruleFiles, document{Kind: "rule file", File: file, Spec: string(data)})
		for _, doc := range docs {
			l.noteUses(t, l.shown(file), valueOf(doc.Body, "rules"))
		}
	}
}

// inlineRules returns the file with everything but the rules of r blanked out, so that a rule keeps its line and column.
func (l *loader) inlineRules(r *resource) []byte {
	pair := child(r.Spec.node, "rules")
	first := position("", pair).Line
	end := r.next
	for _, around := range []ast.Node{r.Spec.node, r.whole.node} {
		pairs, _ := entries(around)
		for _, p := range pairs {
			if n := position("", p).Line; n > first && (end == 0 || n < end) {
				end = n
			}
		}
	}
	lines := bytes.SplitAfter(r.data, []byte("\n"))
	if end == 0 {
		end = len(lines) + 1
	}
	if first < 1 || end <= first || end > len(lines)+1 || !strings.HasPrefix(strings.TrimLeft(string(lines[first-1]), " "), "rules:") {
		l.faults.add(r.Spec.find("rules"), `write the rules as a list under a line "rules:" of its own`)
		return nil
	}
	out := bytes.Repeat([]byte("\n"), first-1)
	return append(out, bytes.Join(lines[first-1:end-1], nil)...)
}

// noteUses remembers the queues and bots that rules name. What is not in the form of a rule is passed over.
func (l *loader) noteUses(t *Tenant, file string, rules ast.Node) {
	seq, ok := rules.(*ast.SequenceNode)
	if !ok {
		return
	}
	for _, rule := range seq.Values {
		then := valueOf(rule, "then")
		for kind, node := range map[string]ast.Node{"queue": valueOf(valueOf(then, "handoff"), "queue"), "bot": valueOf(then, "bot")} {
			if name, ok := textOf(node); ok && name != "" {
				l.uses = append(l.uses, ruleUse{tenant: t, kind: kind, name: name, at: position(file, node)})
			}
		}
	}
}
