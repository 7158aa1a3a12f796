package rules

import (
	"math"
	"time"
)

// Timing is how long a rule took.
type Timing struct {
	Rule string
	Took time.Duration
}

// Timed evaluates every rule of x's phase by itself and says how long each took. It is for finding out which rule made an
// Eval slow: it costs as much as all of them together. clock is one that only goes forward.
func (s *Set) Timed(x *Exchange, clock func() time.Duration) []Timing {
	index := s.phases[x.Phase]
	f := s.frames.get(x)
	defer s.frames.put(f)
	took := make([]Timing, len(index.rules))
	for _, limit := range []int{window, math.MaxInt} {
		if limit != window && !f.longer(window) {
			break
		}
		f.show(index, limit)
		for i, r := range index.rules {
			if limit != window && !r.locked {
				continue
			}
			start := clock()
			r.condition.eval(f)
			took[i].Rule, took[i].Took = r.id, took[i].Took+clock()-start
		}
	}
	return took
}

// Tripped are the rules that the set leaves out, see Without, in order of evaluation.
func (s *Set) Tripped() []string {
	if len(s.tripped) == 0 {
		return nil
	}
	var ids []string
	for _, r := range s.rules {
		if s.tripped[r.id] {
			ids = append(ids, r.id)
		}
	}
	return ids
}
