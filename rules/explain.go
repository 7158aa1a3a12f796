package rules

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"sync"
)

// Result is what came of a rule in an exchange.
type Result string

// The results.
const (
	Matched     Result = "matched"
	NotMatched  Result = "not matched"
	Failed      Result = "failed"      // the condition could not be evaluated
	Tripped     Result = "tripped"     // left out because it failed too often
	SwitchedOff Result = "off"         // by its mode
	OtherPhase  Result = "other phase" // it judges the other side of the turn
)

// Explanation is how each rule of a set came to its result. Its texts are those of the exchange: it is as confidential as
// the conversation itself, unless Redact took them out.
type Explanation struct {
	Phase string      `json:"phase"`
	Rules []RuleTrace `json:"rules"` // in order of evaluation
	// Verdict is what Eval says of the exchange.
	Verdict Verdict `json:"-"`
}

// RuleTrace is the part of one rule.
type RuleTrace struct {
	Rule   string `json:"rule"`
	Why    string `json:"why,omitempty"`
	At     string `json:"at"` // file:line of the rule
	On     string `json:"on"`
	Mode   string `json:"mode"`
	Locked bool   `json:"locked,omitempty"`
	Rank   int    `json:"rank,omitempty"`
	Result Result `json:"result"`
	// Because names the parts of the condition that decided, with their values. For a rule that is off or tripped it says
	// what it would have come to.
	Because string `json:"because,omitempty"`
	// Effects says what the match did, and what it did not because another rule came first.
	Effects []string `json:"effects,omitempty"`
	// Whole is set where a locked rule looked at the whole of a long text.
	Whole     bool  `json:"whole_text,omitempty"`
	Condition *Node `json:"condition,omitempty"`
}

// Node is a part of a condition and what it came to.
type Node struct {
	Source string    `json:"source"`
	State  NodeState `json:"state"`
	// Value is a bool, float64, int, string or list; nil unless State is Evaluated.
	Value any `json:"value,omitempty"`
	// Absent names what is absent in a comparison that is false for that reason.
	Absent []string `json:"absent,omitempty"`
	Parts  []*Node  `json:"parts,omitempty"`

	join join
}

// NodeState says whether a part of a condition has a value.
type NodeState string

// The states of a Node.
const (
	Evaluated NodeState = "evaluated"
	NotNeeded NodeState = "not needed" // the evaluation had its result before it came here
	Absent    NodeState = "absent"     // the exchange does not have it
	Broken    NodeState = "failed"
)

// join says how a node is made of its parts.
type join uint8

const (
	leaf join = iota // its parts are values that it reads
	all              // true if all parts are
	some             // true if one part is
	inverse
	choice  // the first part decides between the others
	phrases // true if one of the words is there
	word
)

// Explainer explains the verdicts of a set. It compiles the conditions a second time, piece by piece, so that judging stays
// as quick as it is. It is safe for concurrent use.
type Explainer struct {
	set    *Set
	trees  map[string]tracer
	phases [2]*index
	frames sync.Pool
}

// NewExplainer returns the explainer of s.
func NewExplainer(s *Set) (*Explainer, error) {
	e := &Explainer{set: s, trees: make(map[string]tracer, len(s.rules)), frames: sync.Pool{New: func() any { return new(frame) }}}
	c := newCompiler()
	for _, r := range s.rules {
		tree, err := c.trace(r.when, r.phase)
		if err != nil {
			return nil, fmt.Errorf("explaining rule %s: %w", r.id, err) // the set was compiled from the same source
		}
		e.trees[r.id] = tree
	}
	for phase := range e.phases {
		dictionaries, err := c.dictionaries(Phase(phase))
		if err != nil {
			return nil, err
		}
		e.phases[phase] = newIndex(nil, dictionaries, c.phrases[phase])
	}
	return e, nil
}

// Explain judges x and says of every rule why it came to its result.
func (e *Explainer) Explain(x *Exchange) *Explanation {
	out := &Explanation{Phase: x.Phase.String(), Verdict: e.set.Eval(x)}
	looks := e.look(e.set.rules, x)
	for i, r := range e.set.rules {
		out.Rules = append(out.Rules, e.explain(r, looks[i], x, &out.Verdict))
	}
	return out
}

// Rule explains one rule, whatever phase x is in: it is judged as its own phase.
func (e *Explainer) Rule(id string, x *Exchange) (RuleTrace, bool) {
	for _, r := range e.set.rules {
		if r.id == id {
			y := *x
			y.Phase = r.phase
			v := e.set.Eval(&y)
			return e.explain(r, e.look([]*rule{r}, &y)[0], &y, &v), true
		}
	}
	return RuleTrace{}, false
}

func (e *Explainer) explain(r *rule, l look, x *Exchange, v *Verdict) RuleTrace {
	t := RuleTrace{
		Rule: r.id, Why: r.why, At: fmt.Sprintf("%s:%d", r.file, r.line), On: r.phase.String(), Mode: r.mode.String(),
		Locked: r.locked, Rank: r.rank,
	}
	if r.phase != x.Phase {
		t.Result = OtherPhase
		return t
	}
	t.Condition, t.Whole = l.node, l.whole
	switch {
	case l.failed:
		t.Result = Failed
	case l.node.holds():
		t.Result = Matched
	default:
		t.Result = NotMatched
	}
	t.Because = l.node.because(l.failed)
	switch {
	case r.mode == Off:
		t.Because, t.Result = would[t.Result]+t.Because, SwitchedOff
		return t
	case e.set.tripped[r.id]:
		t.Because, t.Result = would[t.Result]+t.Because, Tripped
		return t
	}
	t.Effects = r.effects(t.Result, v)
	return t
}

// would begins the sentence about a rule that is off or tripped.
var would = map[Result]string{
	Matched: "it would have matched: ", NotMatched: "it would not have matched: ", Failed: "it could not have been evaluated: ",
}

// look is what the condition of a rule came to.
type look struct {
	node          *Node
	whole, failed bool // it saw the whole text; it could not be evaluated
}

// look evaluates the rules of x's phase over the window, and the locked ones that have not come to anything over the whole
// text if it is longer, as Eval does.
func (e *Explainer) look(list []*rule, x *Exchange) []look {
	f := e.frames.Get().(*frame)
	f.x = x
	defer func() {
		f.x, f.texts, f.folded, f.values = nil, [textCount]string{}, [textCount]string{}, env{}
		e.frames.Put(f)
	}()
	looks := make([]look, len(list))
	f.show(e.phases[x.Phase], window)
	for i, r := range list {
		if r.phase == x.Phase {
			f.failed = false
			looks[i] = look{node: e.trees[r.id](f)}
			looks[i].failed = f.failed
		}
	}
	if !f.longer(window) {
		return looks
	}
	f.show(e.phases[x.Phase], math.MaxInt)
	for i, r := range list {
		if r.phase == x.Phase && r.locked && !looks[i].failed && !looks[i].node.holds() {
			f.failed = false
			looks[i] = look{node: e.trees[r.id](f), whole: true}
			looks[i].failed = f.failed
		}
	}
	return looks
}

// effects says what r did in v.
func (r *rule) effects(result Result, v *Verdict) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case result == Failed && r.locked && r.mode == Enforce:
		if v.Handoff != nil && v.Handoff.Rule == r.id {
			add("hands over to %s: a locked rule that cannot be evaluated diverts", cmp.Or(v.Handoff.Queue, "the default queue"))
		} else if v.Handoff != nil {
			add("would hand over because it cannot be evaluated; rule %s does already", v.Handoff.Rule)
		}
		return out
	case result == Failed:
		return []string{"is skipped"}
	case result != Matched:
		return nil
	case r.mode == Shadow:
		return []string{"does nothing: it only watches (shadow)"}
	}
	if r.handoff != nil && v.Handoff != nil {
		if v.Handoff.Rule == r.id {
			add("hands over to %s, priority %s", r.handoff.Queue, priorityName(r.handoff.Priority))
		} else {
			add("its handoff to %s comes after that of rule %s", r.handoff.Queue, v.Handoff.Rule)
		}
	}
	for _, s := range []struct {
		what      string
		mine, won *Saying
	}{{"says its text", r.say, v.Say}, {"replaces the answer", r.replace, v.Replace}} {
		switch {
		case s.mine == nil:
		case s.won == nil:
			add("does not replace the answer: rule %s hands over", v.Handoff.Rule)
		case s.won.Rule == r.id:
			add("%s", s.what)
		default:
			add("rule %s comes first with its text", s.won.Rule)
		}
	}
	if r.bot != nil && v.Bot != nil {
		if v.Bot.Rule == r.id {
			add("gives the conversation to bot %s from the next turn on", r.bot.Bot)
		} else {
			add("rule %s comes first with its bot", v.Bot.Rule)
		}
	}
	if r.mustReachHuman {
		add("only a person may end the conversation")
	}
	if len(r.tags) > 0 {
		add("tags %s", strings.Join(r.tags, ", "))
	}
	if len(r.notify) > 0 {
		add("tells %s", strings.Join(r.notify, ", "))
	}
	return out
}

func priorityName(p int) string {
	switch p {
	case PriorityLow:
		return "low"
	case PriorityHigh:
		return "high"
	case PriorityUrgent:
		return "urgent"
	}
	return "normal"
}

// Redact takes the texts of the exchange out, so that who may not read the conversation may see how it was judged.
func (e *Explanation) Redact() {
	for i := range e.Rules {
		e.Rules[i].Because = ""
		if e.Rules[i].Condition != nil {
			e.Rules[i].Condition.redact()
		}
	}
}

func (n *Node) redact() {
	switch n.Value.(type) {
	case nil, bool, float64, int:
	default:
		n.Value = "[text]"
	}
	for _, p := range n.Parts {
		p.redact()
	}
}
