package rulebook

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"turnout/gateway/alarm"
	"turnout/rules"
)

// Trip says when a failing rule is left out. Zero values mean the defaults.
type Trip struct {
	// Failures within Window trip an ordinary rule for Pause; 5 within a minute, 5 minutes.
	Failures int
	Window   time.Duration
	Pause    time.Duration
	// Budget is how long judging one side of an exchange may take; 5 ms. Beyond it the rules are timed one by one, by the
	// Stopwatch, and the costliest have failed, as many as it takes for the rest to keep to Budget together.
	Budget time.Duration
}

func (t Trip) withDefaults() Trip {
	if t.Failures == 0 {
		t.Failures = 5
	}
	if t.Window == 0 {
		t.Window = time.Minute
	}
	if t.Pause == 0 {
		t.Pause = 5 * time.Minute
	}
	if t.Budget == 0 {
		t.Budget = 5 * time.Millisecond
	}
	return t
}

type tripKey struct {
	version int
	rule    string
}

// trip counts the failures of a rule of a version.
type trip struct {
	failures []time.Time // within the window, the oldest first, at most Trip.Failures
	slow     bool        // the last failure was one of time
	until    time.Time   // left out until then; zero: it judges
	total    int
}

// Tripped is a rule that is left out, as people see it.
type Tripped struct {
	Rule     string    `json:"rule"`
	Version  int       `json:"version"`
	Failures int       `json:"failures"` // since the version is loaded
	Slow     bool      `json:"too_slow,omitempty"`
	Until    time.Time `json:"until"`
}

// Judged tells the book which rules failed when an exchange was judged by a set of version n, and how long that took. It does
// nothing when none did and it took no longer than the budget.
func (b *Book) Judged(n int, set *rules.Set, x *rules.Exchange, failed []rules.Failure, took time.Duration) {
	if len(failed) == 0 && took <= b.o.Trip.Budget {
		return
	}
	var slow []string
	// One at a time: whatever made one exchange slow makes the timing of it slow.
	if took > b.o.Trip.Budget && b.timing.TryLock() {
		slow = b.slow(set, x)
		b.timing.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range failed {
		b.failed(n, f.Rule, false)
	}
	for _, rule := range slow {
		b.failed(n, rule, true)
	}
}

// attempts is how often the rules are timed before one counts as slow. A slow rule is slow each time; what else there is to do
// on a machine (a collection of garbage, a neighbour, a page that is read) is not there three times in a row.
const attempts = 3

// slow names the rules that are too costly at every attempt. took, which led here, is time on the wall: on a busy machine a
// sound exchange passes it, too.
func (b *Book) slow(set *rules.Set, x *rules.Exchange) (slow []string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	isLocked := map[string]bool{}
	for _, r := range set.Rules() {
		isLocked[r.ID] = r.Locked
	}
	for i := range attempts {
		var over []string
		for _, rule := range tooCostly(set.Timed(x, b.o.Stopwatch), isLocked, b.o.Trip.Budget) {
			if i == 0 || slices.Contains(slow, rule) {
				over = append(over, rule)
			}
		}
		if slow = over; len(slow) == 0 {
			return nil
		}
	}
	return slow
}

// tooCostly names the costliest rules without which the rest keeps to the budget. Locked rules go on whatever they cost: the
// others have what these leave of the budget, or all of it where these alone pass it, which is the fault of the locked ones
// and theirs to be complained about.
func tooCostly(took []rules.Timing, isLocked map[string]bool, budget time.Duration) []string {
	var locked, others []rules.Timing
	for _, t := range took {
		if isLocked[t.Rule] {
			locked = append(locked, t)
		} else {
			others = append(others, t)
		}
	}
	room := budget - total(locked)
	if room < 0 {
		room = budget
	}
	return append(costliest(locked, budget), costliest(others, room)...)
}

func total(took []rules.Timing) (sum time.Duration) {
	for _, t := range took {
		sum += t.Took
	}
	return sum
}

// costliest names as many rules as have to go for the rest to have room.
func costliest(took []rules.Timing, room time.Duration) (out []string) {
	slices.SortStableFunc(took, func(a, b rules.Timing) int { return cmp.Compare(b.Took, a.Took) })
	for rest := total(took); rest > room; took = took[1:] {
		rest -= took[0].Took
		out = append(out, took[0].Rule)
	}
	return out
}

// failed counts a failure and trips the rule when it is one too many. The caller holds mu.
func (b *Book) failed(n int, rule string, slow bool) {
	l := b.sets[n]
	if l == nil {
		return
	}
	now := b.o.Now()
	k := tripKey{n, rule}
	t := b.trips[k]
	if t == nil {
		t = &trip{}
		b.trips[k] = t
	}
	t.total++
	t.slow = slow
	from := now.Add(-b.o.Trip.Window)
	t.failures = slices.DeleteFunc(t.failures, func(at time.Time) bool { return !at.After(from) })
	t.failures = append(t.failures, now)
	what := "could not be evaluated"
	if slow {
		what = fmt.Sprintf("cost the most where rules took more than %v together", b.o.Trip.Budget)
	}
	if locked(l.full, rule) {
		if len(t.failures) > b.o.Trip.Failures {
			t.failures = t.failures[1:]
		}
		b.o.Board.Raise(alarm.Alarm{
			Name: AlarmLocked, Tenant: b.o.Tenant.Name(), Subject: rule,
			Reason: fmt.Sprintf("the locked rule %s of version %d %s, %d times so far; where an enforced one cannot be evaluated the conversation goes to people. Explain it on such an exchange and mend it", rule, n, what, t.total),
		})
		return
	}
	if len(t.failures) < b.o.Trip.Failures || now.Before(t.until) {
		return
	}
	t.failures, t.until = nil, now.Add(b.o.Trip.Pause)
	b.leaveOut(l)
	b.o.Board.Raise(alarm.Alarm{
		Name: AlarmTripped, Tenant: b.o.Tenant.Name(), Subject: rule,
		Reason: fmt.Sprintf("rule %s of version %d %s %d times within %v and is left out for %v; mend it and publish", rule, n, what, b.o.Trip.Failures, b.o.Trip.Window, b.o.Trip.Pause),
	})
}

func locked(set *rules.Set, id string) bool {
	return slices.ContainsFunc(set.Rules(), func(r rules.RuleRef) bool { return r.ID == id && r.Locked })
}

// leaveOut replaces what judges by the version without what is tripped. The caller holds mu.
func (b *Book) leaveOut(l *loaded) {
	var out []string
	for k, t := range b.trips {
		if k.version == l.n && b.o.Now().Before(t.until) {
			out = append(out, k.rule)
		}
	}
	next := *l
	if next.judging = l.full; len(out) > 0 {
		next.judging = l.full.Without(out...)
	}
	b.sets[l.n] = &next
	if b.current.Load().n == l.n {
		b.current.Store(&next)
	}
}

// retry lets rules judge again whose pause is over, and ends the alarms of locked ones that have not failed for a window. The
// caller holds mu.
func (b *Book) retry() {
	now := b.o.Now()
	for k, t := range b.trips {
		switch {
		case !t.until.IsZero() && !now.Before(t.until):
			t.until = time.Time{}
			if l := b.sets[k.version]; l != nil {
				b.leaveOut(l)
			}
			b.o.Board.Clear(AlarmTripped, b.o.Tenant.Name(), k.rule)
		case t.until.IsZero() && (len(t.failures) == 0 || !t.failures[len(t.failures)-1].After(now.Add(-b.o.Trip.Window))):
			b.o.Board.Clear(AlarmLocked, b.o.Tenant.Name(), k.rule)
			delete(b.trips, k) // nothing of it counts any more
		}
	}
}

// forget ends what was counted of a version that is not in force any more. The caller holds mu.
func (b *Book) forget(n int) {
	for k := range b.trips {
		if k.version == n {
			delete(b.trips, k)
			b.o.Board.Clear(AlarmTripped, b.o.Tenant.Name(), k.rule)
			b.o.Board.Clear(AlarmLocked, b.o.Tenant.Name(), k.rule)
		}
	}
	if l := b.sets[n]; l != nil {
		b.leaveOut(l)
	}
}

// State is what judges on this node, as people see it.
type State struct {
	Version Version   `json:"in_force"`
	Pending *Version  `json:"pending,omitempty"`
	Waiting []string  `json:"waiting_for,omitempty"` // nodes that have not confirmed what is pending
	Managed string    `json:"managed_by"`            // "api", or the file of the configuration
	Tripped []Tripped `json:"tripped,omitempty"`
}

// State says what judges here and what waits.
func (b *Book) State(ctx context.Context) (State, error) {
	b.mu.Lock()
	c := b.current.Load()
	out := State{Managed: cmp.Or(b.config.Managed, "api"), Tripped: b.tripped()}
	b.mu.Unlock()
	if c.n == 0 {
		return out, nil
	}
	v, _, err := b.Sources(ctx, c.n)
	if err != nil {
		return out, err
	}
	v.Rules, out.Version = c.full.Len(), v
	newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
	if err != nil || newest.N == c.n {
		return out, err
	}
	v, _, err = b.Sources(ctx, newest.N)
	if err != nil {
		return out, err
	}
	out.Pending = &v
	out.Waiting, err = b.o.Nodes.Unconfirmed(ctx, b.o.Tenant, v.Digest)
	return out, err
}

// Rules lists the rules in force, in order of evaluation.
func (b *Book) Rules() []rules.RuleRef { return b.current.Load().full.Rules() }

// tripped lists what is left out. The caller holds mu.
func (b *Book) tripped() []Tripped {
	var list []Tripped
	for k, t := range b.trips {
		if b.o.Now().Before(t.until) {
			list = append(list, Tripped{Rule: k.rule, Version: k.version, Failures: t.total, Slow: t.slow, Until: t.until.UTC()})
		}
	}
	slices.SortFunc(list, func(a, b Tripped) int { return cmp.Or(strings.Compare(a.Rule, b.Rule), a.Version-b.Version) })
	return list
}
