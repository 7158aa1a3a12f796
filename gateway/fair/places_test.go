package fair_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"turnout/gateway/fair"
)

// house is places under test: it records who was given one.
type house struct {
	*fair.Places[string]
	mu      sync.Mutex
	now     time.Time
	granted []string
	lanes   map[string]*fair.Lane[string] // by key, of who holds a place after a wait
	refuse  bool
	line    int
}

func newHouse(most, line int) *house {
	h := &house{now: time.Unix(1e9, 0), lanes: map[string]*fair.Lane[string]{}, line: line}
	h.Places = fair.New(fair.Options[string]{
		Most: most, Line: line, Now: func() time.Time { return h.now },
		Run: func(key string, l *fair.Lane[string]) bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.granted = append(h.granted, key)
			if h.refuse {
				return false
			}
			h.lanes[key] = l
			return true
		},
	})
	return h
}

// take returns who was given a place since the last call.
func (h *house) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.granted
	h.granted = nil
	return g
}

func (h *house) leave(key string) {
	h.mu.Lock()
	l := h.lanes[key]
	delete(h.lanes, key)
	h.mu.Unlock()
	l.Leave(0)
}

func (h *house) stats(t *testing.T, tenant string) fair.Stats {
	t.Helper()
	_, all := h.Stats()
	for _, s := range all {
		if s.Tenant == tenant {
			return s
		}
	}
	t.Fatalf("nothing is known of %s", tenant)
	return fair.Stats{}
}

func enter(t *testing.T, l *fair.Lane[string], n int) {
	t.Helper()
	for i := range n {
		if !l.Enter() {
			t.Fatalf("no place for call %d of %d", i+1, n)
		}
	}
}

func TestPlacesAreBounded(t *testing.T) {
	h := newHouse(100, 10)
	h.Configure(6, map[string]fair.Share{"a": {Most: 4}, "b": {}})
	bot := h.Gate(3)
	web, sms := h.Lane("a", bot, h.Gate(2)), h.Lane("a", bot)
	enter(t, web, 2)
	if web.Enter() {
		t.Error("the channel's bound was passed")
	}
	enter(t, sms, 1)
	if sms.Enter() {
		t.Error("the bot's bound was passed")
	}
	other := h.Lane("a")
	enter(t, other, 1)
	if other.Enter() {
		t.Error("the tenant's bound was passed")
	}
	b := h.Lane("b")
	enter(t, b, 2) // the node has six
	if b.Enter() {
		t.Error("the node's bound was passed")
	}
	if n := bot.Running(); n != 3 {
		t.Errorf("%d calls of the bot", n)
	}
	if total, _ := h.Stats(); total != (fair.Total{Running: 6, Most: 6}) {
		t.Errorf("%+v", total)
	}
	b.Leave(0)
	if !b.Enter() {
		t.Error("a place that was given back is not free")
	}
}

// However many calls of one tenant hang, the other's places are as they were.
func TestAHangingBotLeavesTheOtherTenantItsPlaces(t *testing.T) {
	h := newHouse(8, 100)
	h.Configure(8, map[string]fair.Share{"a": {}, "b": {}})
	a, b := h.Lane("a"), h.Lane("b")
	enter(t, a, 4) // half of the node's
	for i := range 50 {
		if a.Enter() {
			t.Fatal("more than half of the places are one tenant's")
		}
		a.Wait(fmt.Sprint("a", i))
	}
	enter(t, b, 4)
	if got := h.take(); len(got) != 0 {
		t.Errorf("%v got places", got)
	}
	if s := h.stats(t, "a"); s.Running != 4 || s.Waiting != 50 || s.Most != 4 || s.AtOnce != 4 {
		t.Errorf("%+v", s)
	}
}

// When every place of the node is held by bots that hang, a tenant that has no call under way still gets one.
func TestNobodyIsSilenced(t *testing.T) {
	h := newHouse(4, 100)
	h.Configure(4, map[string]fair.Share{"a": {}, "b": {}, "c": {}, "d": {}})
	for _, name := range []string{"a", "b"} {
		enter(t, h.Lane(name), 2)
	}
	c := h.Lane("c")
	enter(t, c, 1)
	if c.Enter() {
		t.Fatal("a second place beyond the node's bound")
	}
	for _, k := range []string{"c1", "c2"} {
		c.Wait(k)
	}
	c.Leave(0) // its only call ends: the next is its own, though the node is full
	if got := h.take(); !slices.Equal(got, []string{"c1"}) {
		t.Fatalf("%v got a place", got)
	}
	d := h.Lane("d")
	if !d.Wait("d1") || !slices.Equal(h.take(), []string{"d1"}) {
		t.Error("who has no call under way had to wait")
	}
}

// A tenant with ten times as much to do gets no more than one with little: each call of the little one waits for at most one
// turn of the big one.
func TestTenTimesTheLoadIsNotTenTimesTheShare(t *testing.T) {
	h := newHouse(1, 10_000)
	h.Configure(1, map[string]fair.Share{"a": {Most: 1}, "b": {Most: 1}})
	a, b := h.Lane("a"), h.Lane("b")
	enter(t, a, 1)
	b0 := h.Lane("b")
	enter(t, b0, 1) // so that the floor is no help to either
	for i := range 1000 {
		a.Wait(fmt.Sprint("a", i))
		if i%10 == 0 {
			b.Wait(fmt.Sprint("b", i))
		}
	}
	h.Configure(1, map[string]fair.Share{"a": {Most: 100}, "b": {Most: 100}})
	b0.Leave(0)
	a.Leave(0)
	var order []string
	for range 2000 {
		got := h.take()
		if len(got) == 0 {
			break
		}
		order = append(order, got...)
		for _, k := range got {
			h.leave(k)
		}
	}
	if len(order) != 1100 {
		t.Fatalf("%d of 1100 got a place", len(order))
	}
	since := 0
	for i, k := range order {
		if k[0] == 'b' {
			since = 0
			continue
		}
		if since++; since > 2*fair.Quantum && slices.ContainsFunc(order[i:], func(k string) bool { return k[0] == 'b' }) {
			t.Fatalf("%d calls of the busy tenant came before one of the other's that waited", since)
		}
	}
	if last := slices.IndexFunc(order, func(k string) bool { return k == "b990" }); last > 2*100+2*fair.Quantum {
		t.Errorf("the other's hundred calls were done only after %d", last)
	}
}

// Who woke comes before the backlog of another.
func TestAQuietTenantWaitsForOnePlaceOnly(t *testing.T) {
	h := newHouse(4, 10_000)
	h.Configure(4, map[string]fair.Share{"a": {Most: 4}, "b": {}})
	a, b := h.Lane("a"), h.Lane("b")
	enter(t, a, 4)
	for i := range 1000 {
		a.Wait(fmt.Sprint("a", i))
	}
	a.Leave(0)
	if got := h.take(); !slices.Equal(got, []string{"a0"}) {
		t.Fatalf("%v came first", got)
	}
	enter(t, b, 1) // its first goes beyond the bound
	b.Wait("b1")
	a.Leave(0) // back at the bound
	if got := h.take(); len(got) != 0 {
		t.Fatalf("%v: the node is at its bound", got)
	}
	a.Leave(0)
	if got := h.take(); !slices.Equal(got, []string{"b1"}) {
		t.Errorf("%v came first", got)
	}
}

// Tenants share the time of places: of calls that are quick there are more. Each has one call that hangs; the third place is
// what they share.
func TestTimeOfPlacesIsShared(t *testing.T) {
	h := newHouse(3, 10_000)
	h.Configure(3, map[string]fair.Share{"slow": {Most: 10}, "fast": {Most: 10}})
	slow, fast := h.Lane("slow"), h.Lane("fast")
	enter(t, slow, 1)
	enter(t, fast, 2)
	for i := range 2000 {
		slow.Wait(fmt.Sprint("s", i))
		fast.Wait(fmt.Sprint("f", i))
	}
	took := map[byte]time.Duration{'s': time.Hour, 'f': time.Millisecond}
	got := map[byte]int{}
	fast.Leave(time.Millisecond)
	for range 900 {
		for _, k := range h.take() {
			got[k[0]]++
			h.mu.Lock()
			l := h.lanes[k]
			h.mu.Unlock()
			l.Leave(took[k[0]])
		}
	}
	if d := got['f'] - fair.Quantum*got['s']; d < -2*fair.Quantum || d > 2*fair.Quantum {
		t.Errorf("%d calls that are quick on %d that are not: want %d times as many", got['f'], got['s'], fair.Quantum)
	}
}

// A call that goes on as another keeps its tenant's place, also before those who wait, but no place of a bot that has none.
func TestAPlaceIsTraded(t *testing.T) {
	h := newHouse(10, 10)
	h.Configure(1, map[string]fair.Share{"a": {Most: 1}})
	first, second := h.Lane("a", h.Gate(1)), h.Lane("a", h.Gate(1))
	enter(t, first, 1)
	first.Wait("1")
	second.Wait("2")
	if !first.Trade(first, 0) || !first.Trade(second, 0) || len(h.take()) != 0 {
		t.Fatal("somebody came between")
	}
	h.Configure(10, map[string]fair.Share{"a": {Most: 10}})
	if got := h.take(); !slices.Equal(got, []string{"1"}) {
		t.Fatalf("%v got places", got)
	}
	if h.lanes["1"].Trade(second, 0) {
		t.Error("a place of a bot that has none")
	}
	if s := h.stats(t, "a"); s.Running != 1 || s.Waiting != 1 {
		t.Errorf("%+v", s)
	}
}

func TestWhoCancelsIsPassedOver(t *testing.T) {
	h := newHouse(1, 10)
	l := h.Lane("a")
	enter(t, l, 1)
	for _, k := range []string{"1", "2", "3"} {
		l.Wait(k)
		l.Wait(k) // once is enough
	}
	h.Cancel("1")
	h.Cancel("unknown")
	if h.Waits("1") || !h.Waits("2") || l.Waiting() != 2 {
		t.Error("what waits is not what should")
	}
	l.Leave(0)
	if got := h.take(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("%v got the place", got)
	}
}

func TestALineHasAnEnd(t *testing.T) {
	h := newHouse(1, 2)
	l := h.Lane("a")
	enter(t, l, 1)
	if !l.Wait("1") || !l.Wait("2") || l.Wait("3") || !l.Wait("1") {
		t.Error("a line of two takes two")
	}
	if s := h.stats(t, "a"); s.Waiting != 2 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	h.now = h.now.Add(time.Minute)
	if s := h.stats(t, "a"); s.Longest != time.Minute {
		t.Errorf("the first waits for a minute: %+v", s)
	}
}

func TestBoundsChangeWhileCallsRun(t *testing.T) {
	h := newHouse(1, 10)
	h.Configure(1, map[string]fair.Share{"a": {}})
	bot := h.Gate(1)
	l := h.Lane("a", bot)
	enter(t, l, 1)
	for _, k := range []string{"1", "2", "3", "4"} {
		l.Wait(k)
	}
	h.Configure(3, map[string]fair.Share{"a": {Most: 3}})
	if got := h.take(); len(got) != 0 {
		t.Errorf("%v: the bot's bound was passed", got)
	}
	bot.Bound(2)
	if got := h.take(); !slices.Equal(got, []string{"1"}) {
		t.Errorf("%v got places of a gate that became wider", got)
	}
	bot.Bound(0)
	if got := h.take(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("%v got places of a gate that is none any more", got)
	}
	h.Configure(1, map[string]fair.Share{"a": {Most: 1}})
	h.leave("1")
	h.leave("2")
	if got := h.take(); len(got) != 0 {
		t.Errorf("%v: there are still more than may be", got)
	}
	l.Leave(0)
	if got := h.take(); !slices.Equal(got, []string{"3"}) {
		t.Errorf("%v got the place", got)
	}
}

func TestADisbandedLaneGivesBackWhoWaits(t *testing.T) {
	h := newHouse(1, 10)
	bot := h.Gate(1)
	l := h.Lane("a", bot)
	enter(t, l, 1)
	l.Wait("1")
	l.Wait("2")
	if got := l.Disband(); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("%v waited", got)
	}
	next := h.Lane("a", h.Gate(1))
	next.Wait("1") // the place is still held
	l.Leave(0)
	if got := h.take(); !slices.Equal(got, []string{"1"}) {
		t.Errorf("%v got the place", got)
	}
}

// When nobody takes the places any more, nobody keeps one.
func TestPlacesThatNobodyTakes(t *testing.T) {
	h := newHouse(1, 100_000)
	l := h.Lane("a")
	enter(t, l, 1)
	const n = 50_000
	for i := range n {
		l.Wait(fmt.Sprint(i))
	}
	h.refuse = true
	l.Leave(0)
	if got := len(h.take()); got != n {
		t.Errorf("%d of %d were offered the place", got, n)
	}
	if s := h.stats(t, "a"); s.Running != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	l.Enter()
	l.Wait("late")
	h.Close()
	if !l.Wait("later") || h.Waits("late") || h.Waits("later") {
		t.Error("somebody waits for places that are closed")
	}
}

// model is what is written in the package's comment, done the slow way.
type model struct {
	most   int
	shares map[string]fair.Share
	lanes  []*modelLane
	gates  []modelGate
	holds  map[string]int // the lane of each key that has a place
}

type modelGate struct{ most, running int }

type modelLane struct {
	tenant  string
	gates   []int
	running int
	line    []string
}

func (m *model) running(tenant string) (n int) {
	for _, l := range m.lanes {
		if tenant == "" || l.tenant == tenant {
			n += l.running
		}
	}
	return n
}

func (m *model) bound(tenant string) int {
	if s := m.shares[tenant]; s.Most > 0 {
		return s.Most
	}
	if len(m.shares) > 1 {
		return max(1, m.most/2)
	}
	return m.most
}

func (m *model) free(l *modelLane) bool {
	if m.running("") >= m.most && m.running(l.tenant) > 0 || m.running(l.tenant) >= m.bound(l.tenant) {
		return false
	}
	for _, g := range l.gates {
		if m.gates[g].most > 0 && m.gates[g].running >= m.gates[g].most {
			return false
		}
	}
	return true
}

func (m *model) take(l *modelLane, n int) {
	l.running += n
	for _, g := range l.gates {
		m.gates[g].running += n
	}
}

// steps drives places and the model with the same steps, drawn by pick, and compares them after each.
func steps(fatalf func(string, ...any), n int, pick func(most int) int) {
	h := newHouse(1+pick(6), 1+pick(4))
	total, _ := h.Stats()
	m := &model{most: total.Most, shares: map[string]fair.Share{}, holds: map[string]int{}}
	names := []string{"a", "b", "c"}
	for _, name := range names {
		m.shares[name] = fair.Share{Weight: 1 + pick(3), Most: pick(4)}
	}
	h.Configure(m.most, m.shares)
	var gates []*fair.Gate[string]
	var lanes []*fair.Lane[string]
	for i, name := range names {
		for range 2 { // a bot and a channel of each
			most := pick(4)
			gates, m.gates = append(gates, h.Gate(most)), append(m.gates, modelGate{most: most})
		}
		for _, g := range [][]int{{2 * i}, {2 * i, 2*i + 1}} {
			l := h.Lane(name, gates[g[0]])
			if len(g) == 2 {
				l = h.Lane(name, gates[g[0]], gates[g[1]])
			}
			lanes, m.lanes = append(lanes, l), append(m.lanes, &modelLane{tenant: name, gates: g})
		}
	}
	var atOnce []int // lanes of calls that entered at once
	key := 0
	// heard takes over who was given a place, and then nobody must be left who could have one.
	heard := func(did string) {
		for _, k := range h.take() {
			at := slices.IndexFunc(m.lanes, func(l *modelLane) bool { return slices.Contains(l.line, k) })
			switch {
			case at < 0:
				fatalf("%s: %s got a place and did not wait", did, k)
			case m.lanes[at].line[0] != k:
				fatalf("%s: %s was not the first of %v", did, k, m.lanes[at].line)
			case !m.free(m.lanes[at]):
				fatalf("%s: %s got a place that is not free", did, k)
			}
			m.lanes[at].line = m.lanes[at].line[1:]
			m.take(m.lanes[at], 1)
			m.holds[k] = at
		}
		waiting := 0
		for i, l := range m.lanes {
			if waiting += len(l.line); len(l.line) > 0 && m.free(l) {
				fatalf("%s: %v wait in lane %d though a place is free", did, l.line, i)
			}
			if n := lanes[i].Waiting(); n != len(l.line) {
				fatalf("%s: %d wait in lane %d, want %d", did, n, i, len(l.line))
			}
		}
		for i, g := range gates {
			if n := g.Running(); n != m.gates[i].running {
				fatalf("%s: %d are in gate %d, want %d", did, n, i, m.gates[i].running)
			}
		}
		if total, _ := h.Stats(); total.Running != m.running("") || total.Waiting != waiting {
			fatalf("%s: %+v, want %d and %d", did, total, m.running(""), waiting)
		}
	}
	for range n {
		i := pick(len(lanes))
		switch pick(10) {
		case 0, 1, 2, 3:
			if m.free(m.lanes[i]) != lanes[i].Enter() {
				fatalf("entering lane %d: the model says %v", i, m.free(m.lanes[i]))
			}
			if m.free(m.lanes[i]) {
				m.take(m.lanes[i], 1)
				atOnce = append(atOnce, i)
				continue
			}
			key++
			k := fmt.Sprint(key)
			room := len(m.lanes[i].line) < h.line
			if lanes[i].Wait(k) != room {
				fatalf("waiting in lane %d with %d before it", i, len(m.lanes[i].line))
			}
			if room {
				m.lanes[i].line = append(m.lanes[i].line, k)
			}
			heard("wait")
		case 4, 5:
			if len(atOnce) > 0 {
				j := pick(len(atOnce))
				at := atOnce[j]
				atOnce = slices.Delete(atOnce, j, j+1)
				m.take(m.lanes[at], -1)
				lanes[at].Leave(time.Duration(pick(4)) * time.Second)
				heard("leave")
			}
		case 6, 7:
			if held := sortedKeys(m.holds); len(held) > 0 {
				k := held[pick(len(held))]
				m.take(m.lanes[m.holds[k]], -1)
				delete(m.holds, k)
				h.leave(k)
				heard("leave after a wait")
			}
		case 8:
			if l := m.lanes[i]; len(l.line) > 0 {
				j := pick(len(l.line))
				k := l.line[j]
				l.line = slices.Delete(slices.Clone(l.line), j, j+1)
				h.Cancel(k)
				heard("cancel")
			}
		case 9:
			if pick(2) == 0 {
				g := pick(len(gates))
				m.gates[g].most = pick(5)
				gates[g].Bound(m.gates[g].most)
				heard("bound")
				continue
			}
			m.most = 1 + pick(6)
			name := names[pick(3)]
			m.shares[name] = fair.Share{Weight: pick(4), Most: pick(4)}
			h.Configure(m.most, m.shares)
			heard("configure")
		}
	}
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestPlacesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps(t.Fatalf, 200, func(most int) int { return rapid.IntRange(0, most-1).Draw(t, "pick") })
	})
}

// FuzzPlaces is the same with steps that the fuzzer finds.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte{3, 2, 1, 2, 0, 3, 1, 1, 9, 9, 4, 8, 7})
	f.Add([]byte("every tenant waits, leaves, and comes again, and the bounds change in between"))
	f.Fuzz(func(t *testing.T, data []byte) {
		at := 0
		steps(t.Fatalf, min(1000, len(data)/2), func(most int) int {
			if at++; at > len(data) {
				return 0
			}
			return int(data[at-1]) % most
		})
	})
}

// Calls of many goroutines never pass a bound, and each that waits gets its place in the end.
func TestPlacesOfManyGoroutines(t *testing.T) {
	var mu sync.Mutex
	running, over := 0, 0
	came := make(chan *fair.Lane[int], 10_000)
	p := fair.New(fair.Options[int]{Most: 4, Line: 10_000, Now: time.Now, Run: func(_ int, l *fair.Lane[int]) bool {
		came <- l
		return true
	}})
	p.Configure(4, map[string]fair.Share{"a": {Most: 4}, "b": {Most: 4}})
	call := func(l *fair.Lane[int]) {
		mu.Lock()
		if running++; running > 5 { // four, and one of a tenant that has none
			over++
		}
		mu.Unlock()
		mu.Lock()
		running--
		mu.Unlock()
		l.Leave(time.Millisecond)
	}
	gates := []*fair.Gate[int]{p.Gate(3), p.Gate(3)}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			l := p.Lane([]string{"a", "b"}[g%2], gates[g%2])
			for i := range 500 {
				if l.Enter() {
					call(l)
					continue
				}
				l.Wait(g*1000 + i)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for served := false; !served; {
		select {
		case l := <-came:
			call(l)
		case <-done:
			if total, _ := p.Stats(); total.Running == 0 && total.Waiting == 0 && len(came) == 0 {
				served = true
				continue
			}
			select {
			case l := <-came:
				call(l)
			case <-time.After(20 * time.Second):
				t.Fatal("somebody waits though all places are free")
			}
		}
	}
	if over > 0 {
		t.Errorf("the node's bound was passed %d times", over)
	}
}
