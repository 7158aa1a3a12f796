package fair

// Ring says whose turn it is among flows of work. It holds no work: its owner asks Next for a flow, takes one piece of that
// flow's work and says with Charge what it cost, or says with Rest that there is none, or with Park that there is some which
// cannot be taken now. No call takes longer for more flows. The zero Ring is empty and ready; it is not safe for concurrent
// use.
type Ring[V any] struct {
	// fresh are flows that have woken and were not served since, old all others. The credit of every flow in a list is above
	// zero, so the first of a list can always be served.
	fresh, old list[V]
}

// Flow is one tenant's work, or one lane's. A flow belongs to one ring.
type Flow[V any] struct {
	Value  V
	weight int
	credit int // what it may still spend in its turn
	parked bool

	in         *list[V] // the list that it stands in; nil: none
	prev, next *Flow[V]
}

// NewFlow returns a flow that rests. A weight below 1 counts as 1.
func NewFlow[V any](v V, weight int) *Flow[V] {
	return &Flow[V]{Value: v, weight: max(1, weight)}
}

// Weigh gives a flow another weight, from its next turn on.
func (f *Flow[V]) Weigh(weight int) { f.weight = max(1, weight) }

func (f *Flow[V]) turn() int { return Quantum * f.weight }

// Stir says that a flow has work that may be taken. One that rests comes before all that have been waiting, for one piece; one that was parked goes to the end, with what it had left. One that stands in a list stays where it is.
func (r *Ring[V]) Stir(f *Flow[V]) {
	switch {
	case f.in != nil:
	case f.parked:
		f.parked = false
		r.old.push(f)
	default:
		f.credit = f.turn()
		r.fresh.push(f)
	}
}

// Next returns the flow whose turn it is, nil when there is none. It stays so until it is charged, rests or is parked.
func (r *Ring[V]) Next() *Flow[V] {
	if r.fresh.first != nil {
		return r.fresh.first
	}
	return r.old.first
}

// Charge says that a piece of the flow's work was taken, and what it cost: less than 1 counts as 1, more than Quantum as
// Quantum. A flow goes to the end when it has spent its credit, and after the first piece since it woke.
func (r *Ring[V]) Charge(f *Flow[V], cost int) {
	f.credit -= min(Quantum, max(1, cost))
	spent := f.credit <= 0
	if spent {
		// A turn's credit is worth the dearest piece or more: it is above zero again.
		f.credit += f.turn()
	}
	if spent && f.in != nil || f.in == &r.fresh {
		f.in.remove(f)
		r.old.push(f)
	}
}

// Rest says that the flow that is next has no work. A flow that has just woken goes to the end first: none comes before the
// others again and again by having one piece of work at a time.
func (r *Ring[V]) Rest(f *Flow[V]) {
	fresh := f.in == &r.fresh
	r.Park(f)
	f.parked = false
	if fresh {
		r.old.push(f)
	}
}

// Park takes out a flow whose work cannot be taken now. Stir brings it back.
func (r *Ring[V]) Park(f *Flow[V]) {
	if f.in != nil {
		f.in.remove(f)
	}
	f.parked = true
}

// list is a doubly linked list of flows.
type list[V any] struct{ first, last *Flow[V] }

func (l *list[V]) push(f *Flow[V]) {
	f.in, f.prev, f.next = l, l.last, nil
	if l.last == nil {
		l.first = f
	} else {
		l.last.next = f
	}
	l.last = f
}

func (l *list[V]) remove(f *Flow[V]) {
	if f.prev == nil {
		l.first = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		l.last = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.in, f.prev, f.next = nil, nil, nil
}
