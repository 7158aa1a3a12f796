package rules

import (
	"math"
	"slices"
)

// failureReason is the Reason of every Failure: what went wrong in detail may quote the exchange.
const failureReason = "the condition could not be evaluated"

// Eval judges x by the rules of its phase. It changes nothing and may be called from any number of goroutines.
func (s *Set) Eval(x *Exchange) Verdict {
	index := s.phases[Inbound]
	if x.Phase == Answer {
		index = s.phases[Answer]
	}
	return s.eval(index, x, nil)
}

// EvalLate judges a message once more, when what the tenant's own system says of the customer (Exchange.Account) has come
// after Eval: only by the inbound rules that read it, and without those in acted, which matched or failed already and do
// not act a second time.
func (s *Set) EvalLate(x *Exchange, acted []string) Verdict { return s.eval(s.late, x, acted) }

func (s *Set) eval(index *index, x *Exchange, acted []string) Verdict {
	if len(index.rules) == 0 {
		return Verdict{}
	}
	f := s.frames.get(x)
	defer s.frames.put(f)
	f.matched.reset(len(index.rules))
	f.broken.reset(len(index.rules))
	some := f.judge(index, window, nil)
	if f.longer(window) && index.locked.next(0) >= 0 {
		some = f.judge(index, math.MaxInt, &index.locked) || some
	}
	if !some {
		return Verdict{}
	}
	for i, r := range index.rules {
		if len(acted) > 0 && slices.Contains(acted, r.id) {
			f.matched.remove(i)
			f.broken.remove(i)
		}
	}
	return f.verdict(index)
}

// judge evaluates the candidates of the rules in only, or of all, over the first limit bytes of the texts. A rule that
// matched or failed before is done. It reports whether any rule matched or failed.
func (f *frame) judge(x *index, limit int, only *bits) bool {
	f.show(x, limit)
	x.candidates(f)
	some := false
	for i := f.candidates.next(0); i >= 0; i = f.candidates.next(i + 1) {
		if only != nil && (!only.has(i) || f.matched.has(i) || f.broken.has(i)) {
			continue
		}
		f.failed = false
		matches := x.rules[i].condition.eval(f)
		switch {
		case f.failed:
			f.broken.add(i)
		case matches:
			f.matched.add(i)
		default:
			continue
		}
		some = true
	}
	return some
}

// longer reports whether any text has more than limit bytes.
func (f *frame) longer(limit int) bool {
	for t := range f.texts {
		if len(fullText(f.x, textID(t))) > limit {
			return true
		}
	}
	return false
}

// verdict folds what matched, in order, into what must happen.
func (f *frame) verdict(x *index) Verdict {
	var v Verdict
	for i, r := range x.rules {
		switch {
		case f.broken.has(i):
			v.Failed = append(v.Failed, Failure{Rule: r.id, Reason: failureReason})
			if r.locked && r.mode == Enforce {
				v.divert(r)
			}
		case f.matched.has(i):
			v.Matched = append(v.Matched, Match{Rule: r.id, Mode: r.mode, Locked: r.locked})
			if r.mode == Enforce {
				v.apply(r)
			}
		}
	}
	if v.Handoff != nil {
		v.Replace = nil
	}
	return v
}

func (v *Verdict) apply(r *rule) {
	if v.Handoff == nil {
		v.Handoff = r.handoff
	}
	if v.Say == nil {
		v.Say = r.say
	}
	if v.Replace == nil {
		v.Replace = r.replace
	}
	if v.Bot == nil {
		v.Bot = r.bot
	}
	v.MustReachHuman = v.MustReachHuman || r.mustReachHuman
	v.Tags = appendNew(v.Tags, r.tags)
	v.Notify = appendNew(v.Notify, r.notify)
}

// divert hands over because a locked rule could not be judged: better a person too many than a rule unheard.
func (v *Verdict) divert(r *rule) {
	v.MustReachHuman = v.MustReachHuman || r.mustReachHuman
	if v.Handoff != nil {
		return
	}
	if r.handoff != nil {
		v.Handoff = r.handoff
		return
	}
	v.Handoff = &Handoff{Rule: r.id, Priority: PriorityNormal, Reason: r.why}
}

func appendNew(names, more []string) []string {
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
