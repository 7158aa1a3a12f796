package fair

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how places are shared.
type Options[T comparable] struct {
	// Most bounds the places of the node; 1 at least. See Configure.
	Most int
	// Line bounds how many wait in one lane; 1 at least.
	Line int
	Now  func() time.Time
	// Run is told that who waited as key has a place of a lane, which Run's receiver gives back with Leave. It must not
	// block and must not call Places; false means that nobody takes the place.
	Run func(key T, l *Lane[T]) bool
}

// Places are the places of a node for one kind of call. Safe for concurrent use. T is what a waiting call is known by.
type Places[T comparable] struct {
	o     Options[T]
	waits atomic.Int64 // len(where), for those who only want to know whether it is 0

	mu      sync.Mutex
	most    int
	running int
	tenants map[string]*tenant[T]
	ring    Ring[*tenant[T]]
	where   map[T]*waiter[T]
	closed  bool
}

type tenant[T comparable] struct {
	name             string
	share            Share
	flow             *Flow[*tenant[T]]
	ring             Ring[*Lane[T]]
	lanes            []*Lane[T]
	running, waiting int
	// since the start: places taken at once, places got after a wait, and keys that found their line at its end.
	atOnce, waited, refused int64
}

// Gate is a bound that several lanes of a tenant share: that of a bot, or of a channel.
type Gate[T comparable] struct {
	p       *Places[T]
	most    int // 0: none
	running int
	parked  []*Lane[T] // lanes that have who waits and found the gate full
}

// Lane is where calls of one kind enter: of a tenant, through gates.
type Lane[T comparable] struct {
	p      *Places[T]
	tenant *tenant[T]
	flow   *Flow[*Lane[T]]
	gates  []*Gate[T]
	held   time.Duration // how long its calls hold a place, smoothed

	first, last *waiter[T]
	waiting     int
}

// waiter is a key in the line of a lane.
type waiter[T comparable] struct {
	key        T
	lane       *Lane[T]
	since      time.Time
	prev, next *waiter[T]
}

// New returns places that nobody holds.
func New[T comparable](o Options[T]) *Places[T] {
	o.Line = max(1, o.Line)
	return &Places[T]{o: o, most: max(1, o.Most), tenants: map[string]*tenant[T]{}, where: map[T]*waiter[T]{}}
}

// Configure sets the bounds of the node and the shares of its tenants, those that there are from now on. Calls under way
// keep their places also where these are more than the bounds now allow.
func (p *Places[T]) Configure(most int, shares map[string]Share) {
	p.mu.Lock()
	p.most = max(1, most)
	for name, s := range shares {
		t := p.tenant(name)
		t.share = s
		t.flow.Weigh(s.Weight)
	}
	for name, t := range p.tenants {
		if _, stays := shares[name]; !stays && t.running+t.waiting == 0 {
			delete(p.tenants, name)
		}
	}
	p.stirAll()
	grants := p.fill(nil)
	p.mu.Unlock()
	p.run(grants)
}

// tenant returns the named tenant; the caller holds the lock.
func (p *Places[T]) tenant(name string) *tenant[T] {
	t := p.tenants[name]
	if t == nil {
		t = &tenant[T]{name: name}
		t.flow = NewFlow(t, 1)
		p.tenants[name] = t
	}
	return t
}

// Gate returns a bound; 0 is none.
func (p *Places[T]) Gate(most int) *Gate[T] { return &Gate[T]{p: p, most: max(0, most)} }

// Bound sets how many places a gate lets be held; 0 is no bound.
func (g *Gate[T]) Bound(most int) {
	p := g.p
	p.mu.Lock()
	g.most = max(0, most)
	var t *tenant[T]
	if len(g.parked) > 0 {
		t = g.parked[0].tenant
	}
	g.open()
	grants := p.fill(t)
	p.mu.Unlock()
	p.run(grants)
}

// Running returns how many places are held through the gate.
func (g *Gate[T]) Running() int {
	g.p.mu.Lock()
	defer g.p.mu.Unlock()
	return g.running
}

func (g *Gate[T]) full() bool { return g.most > 0 && g.running >= g.most }

// open lets the lanes look again that found the gate full.
func (g *Gate[T]) open() {
	for i, l := range g.parked {
		g.parked[i] = nil
		l.tenant.ring.Stir(l.flow)
		g.p.ring.Stir(l.tenant.flow)
	}
	g.parked = g.parked[:0]
}

// Lane returns a lane of a tenant.
func (p *Places[T]) Lane(tenant string, gates ...*Gate[T]) *Lane[T] {
	l := &Lane[T]{p: p, gates: gates}
	l.flow = NewFlow(l, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	l.tenant = p.tenant(tenant)
	l.tenant.lanes = append(l.tenant.lanes, l)
	return l
}

// Disband takes a lane away and returns who waits in it. Who holds a place of it gives that back as ever.
func (l *Lane[T]) Disband() (keys []T) {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := l.first; w != nil; w = l.first {
		keys = append(keys, w.key)
		p.forget(w)
	}
	t := l.tenant
	if i := slices.Index(t.lanes, l); i >= 0 {
		t.lanes = slices.Delete(t.lanes, i, i+1)
	}
	return keys
}

// Enter takes a place if there is one now. Who got true calls Leave.
func (l *Lane[T]) Enter() bool {
	p := l.p
	p.mu.Lock()
	ok := p.free(l)
	if ok {
		p.take(l)
		l.tenant.atOnce++
	}
	p.mu.Unlock()
	return ok
}

// Wait puts a key at the end of the lane's line, unless it waits already, here or in another lane: Options.Run hears of it
// when it has a place, which may be before Wait returns. false means that the line is at its end.
func (l *Lane[T]) Wait(key T) bool {
	p := l.p
	p.mu.Lock()
	switch {
	case p.closed || p.where[key] != nil:
		p.mu.Unlock()
		return true
	case l.waiting >= p.o.Line:
		l.tenant.refused++
		p.mu.Unlock()
		return false
	}
	w := &waiter[T]{key: key, lane: l, since: p.o.Now(), prev: l.last}
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.waiting++
	l.tenant.waiting++
	p.where[key] = w
	p.waits.Store(int64(len(p.where)))
	if !l.flow.parked { // a gate knows those that it has to open for
		l.tenant.ring.Stir(l.flow)
	}
	p.ring.Stir(l.tenant.flow)
	grants := p.fill(l.tenant)
	p.mu.Unlock()
	p.run(grants)
	return true
}

// Leave gives a place back, which was held for a time; 0 says nothing of how long calls of the lane take.
func (l *Lane[T]) Leave(held time.Duration) {
	p := l.p
	p.mu.Lock()
	if held > 0 {
		l.held = Smooth(l.held, held)
	}
	p.release(l)
	grants := p.fill(l.tenant)
	p.mu.Unlock()
	p.run(grants)
}

// Trade gives a place back and takes one of another lane of the same tenant in one step, so that nobody who waits comes in
// between: what held the place goes on as another call. false: there is none, and the place is given back all the same.
func (l *Lane[T]) Trade(to *Lane[T], held time.Duration) bool {
	p := l.p
	p.mu.Lock()
	if held > 0 {
		l.held = Smooth(l.held, held)
	}
	p.release(l)
	ok := p.free(to)
	if ok {
		p.take(to)
		to.tenant.atOnce++
	}
	grants := p.fill(l.tenant)
	p.mu.Unlock()
	p.run(grants)
	return ok
}

// Cancel takes a key out of the line that it waits in.
func (p *Places[T]) Cancel(key T) {
	if p.waits.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.where[key]; w != nil {
		p.forget(w)
	}
}

// Waits reports whether a key waits.
func (p *Places[T]) Waits(key T) bool {
	if p.waits.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.where[key] != nil
}

// Close empties all lines. Nobody waits any more after that.
func (p *Places[T]) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.where {
		p.forget(w)
	}
}

// What follows is called under the lock.

// free reports whether a lane may have one more place.
func (p *Places[T]) free(l *Lane[T]) bool {
	t := l.tenant
	if p.running >= p.most && t.running >= floor || t.running >= t.share.Of(p.most, len(p.tenants)) {
		return false
	}
	return l.shut() == nil
}

// shut returns a gate of the lane that is full.
func (l *Lane[T]) shut() *Gate[T] {
	for _, g := range l.gates {
		if g.full() {
			return g
		}
	}
	return nil
}

func (p *Places[T]) take(l *Lane[T]) {
	p.running++
	l.tenant.running++
	for _, g := range l.gates {
		g.running++
	}
}

func (p *Places[T]) release(l *Lane[T]) {
	p.running--
	t := l.tenant
	t.running--
	for _, g := range l.gates {
		g.running--
		g.open()
	}
	if t.waiting > 0 {
		p.ring.Stir(t.flow)
	}
}

// stirAll lets everybody look again.
func (p *Places[T]) stirAll() {
	for _, t := range p.tenants {
		if t.waiting > 0 {
			p.ring.Stir(t.flow)
		}
	}
}

// grant is a place that somebody who waited has got.
type grant[T comparable] struct {
	key  T
	lane *Lane[T]
}

// fill gives away what is free. t is the tenant that has one more who waits or one place less: nil, none.
func (p *Places[T]) fill(t *tenant[T]) (grants []grant[T]) {
	if len(p.where) == 0 {
		return nil
	}
	if t != nil && t.running < floor {
		if g, ok := p.from(t); ok {
			grants = append(grants, g)
		}
	}
	for p.running < p.most {
		f := p.ring.Next()
		if f == nil {
			break
		}
		if g, ok := p.from(f.Value); ok {
			grants = append(grants, g)
		}
	}
	return grants
}

// from gives a place to the one of a tenant whose turn it is. A tenant that has nobody for a place leaves the ring.
func (p *Places[T]) from(t *tenant[T]) (g grant[T], ok bool) {
	switch {
	case t.waiting == 0:
		p.ring.Rest(t.flow)
		return g, false
	case t.running >= t.share.Of(p.most, len(p.tenants)):
		p.ring.Park(t.flow)
		return g, false
	}
	for f := t.ring.Next(); f != nil; f = t.ring.Next() {
		l := f.Value
		if l.first == nil {
			t.ring.Rest(f)
			continue
		}
		if gate := l.shut(); gate != nil {
			t.ring.Park(f)
			gate.parked = append(gate.parked, l)
			continue
		}
		g = grant[T]{l.first.key, l}
		p.forget(l.first)
		p.take(l)
		t.waited++
		t.ring.Charge(f, 1)
		p.ring.Charge(t.flow, Cost(l.held))
		return g, true
	}
	p.ring.Park(t.flow)
	return g, false
}

// forget takes a waiter out of its line.
func (p *Places[T]) forget(w *waiter[T]) {
	l := w.lane
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	l.waiting--
	l.tenant.waiting--
	if t := l.tenant; t.waiting == 0 && t.flow.parked {
		p.ring.Rest(t.flow)
	}
	delete(p.where, w.key)
	p.waits.Store(int64(len(p.where)))
}

// run tells of places that were given away. Without the lock.
func (p *Places[T]) run(grants []grant[T]) {
	for len(grants) > 0 {
		g := grants[0]
		grants = grants[1:]
		if p.o.Run(g.key, g.lane) {
			continue
		}
		p.mu.Lock()
		p.release(g.lane)
		grants = append(grants, p.fill(g.lane.tenant)...)
		p.mu.Unlock()
	}
}

// Stats are how a tenant stands.
type Stats struct {
	Tenant string
	// Running places, of at most Most, and how many wait; Longest is how long the first of them has.
	Running, Most, Waiting int
	Longest                time.Duration
	Weight                 int
	// AtOnce and Waited are the places got since the start: without waiting, and after it. Refused counts who found a line
	// at its end; they come again.
	AtOnce, Waited, Refused int64
}

// Total is how the node stands.
type Total struct{ Running, Most, Waiting int }

// Stats returns how the node and its tenants stand, by name.
func (p *Places[T]) Stats() (Total, []Stats) {
	now := p.o.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Stats, 0, len(p.tenants))
	for _, t := range p.tenants {
		s := Stats{
			Tenant: t.name, Running: t.running, Most: t.share.Of(p.most, len(p.tenants)), Waiting: t.waiting,
			Weight: t.flow.weight, AtOnce: t.atOnce, Waited: t.waited, Refused: t.refused,
		}
		for _, l := range t.lanes {
			if l.first != nil {
				s.Longest = max(s.Longest, now.Sub(l.first.since))
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Stats) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return Total{Running: p.running, Most: p.most, Waiting: len(p.where)}, out
}

// Waiting returns how many wait in the lane.
func (l *Lane[T]) Waiting() int {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return l.waiting
}
