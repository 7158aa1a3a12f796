package rules

// Plain judges exchanges as a straightforward program would: rule by rule, each condition by the expression engine, without
// index and closures. It comes to the same verdicts and is what a Set is measured and tested against.
type Plain struct{ set *Set }

// LoadPlain is Load for a Plain.
func LoadPlain(sources []Source) (*Plain, error) {
	c := newCompiler()
	c.plain = true
	s, err := load(sources, c)
	if err != nil {
		return nil, err
	}
	return &Plain{s}, nil
}

// Eval returns the rules of x's phase that match and those that fail, in order.
func (p *Plain) Eval(x *Exchange) (matched []Match, failed []Failure) {
	for _, r := range p.set.phases[x.Phase].rules {
		ok, err := p.set.evalOne(r, x)
		switch {
		case err != nil:
			failed = append(failed, Failure{Rule: r.id, Reason: failureReason})
		case ok:
			matched = append(matched, Match{Rule: r.id, Mode: r.mode, Locked: r.locked})
		}
	}
	return matched, failed
}
