package story

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
)

// soakTime is how long the soak runs and how much time there is between two faults. TURNOUT_SOAK is a duration; make soak sets
// an hour.
func soakTime(t *testing.T) (whole, between time.Duration) {
	if s := os.Getenv("TURNOUT_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatalf("TURNOUT_SOAK: %v: give a duration such as 10m", err)
		}
		return d, 30 * time.Second
	}
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return time.Hour, 30 * time.Second
	}
	return 12 * time.Second, 4 * time.Second
}

// sampled is how often the node is asked for its figures.
const sampled = 2 * time.Second

// The whole of it for a long time: customers over HTTP, sockets and event streams, an app with its provider, agents, three in
// ten messages sent twice, and every so often a fault. In the end the logs, the wires and the audit agree, and nothing grew.
func TestSoak(t *testing.T) {
	whole, between := soakTime(t)
	s := newSoak(t)
	ctx, cancel := context.WithTimeout(context.Background(), whole+10*time.Minute)
	defer cancel()
	over, end := context.WithCancel(ctx)
	defer end()
	s.prober = newProber(t, ctx, s.n, "sue") // the others repeat what fails until they come to their limit of rates
	s.load(ctx, over)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, faults of the disk by %s", seed, s.disk)
	random := rand.New(rand.NewPCG(3, seed))
	look := time.NewTicker(sampled)
	defer look.Stop()
	next := time.NewTicker(between)
	defer next.Stop()
	began := time.Now()
	for done := 0; time.Since(began) < whole; {
		select {
		case <-look.C:
			if f, err := s.n.figures(false); err == nil {
				s.life = append(s.life, f)
			}
		case <-next.C:
			s.fault(ctx, faultAt(done, time.Since(began) > whole/2), random, between)
			done++
		}
	}
	s.calm()
	end()
	s.wg.Wait()
	s.judge(ctx, time.Since(began), between)
}

// faults are what goes wrong, in turn. The process ends of kill and disk error.
var faults = []string{"full disk", "disk error", "slow disk", "kill", "bot down", "cut", "provider", "stop", "slow bot"}

// faultAt is the fault in a place. In the first half of the time the process ends now and then; in the second it has to live,
// long enough for what grows slowly to be seen.
func faultAt(i int, lives bool) string {
	all := faults
	if lives {
		all = slices.DeleteFunc(slices.Clone(all), func(f string) bool { return f == "kill" || f == "disk error" })
	}
	return all[i%len(all)]
}

// soak is a node under load.
type soak struct {
	t      *testing.T
	n      *node
	app    *app
	bot    *faultyBot
	front  *front // before the node: what customers connect to
	disk   disk
	prober *prober
	wg     sync.WaitGroup
	did    tally

	mu     sync.Mutex
	people []*follower
	appOf  map[string]bool // conversations of the app's customers

	life []figures
}

// tally counts what was done, by name. All of it works on a nil pointer too, and counts nothing.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(what string, n int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int{}
	}
	t.n[what] += n
}

func (t *tally) of(what string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[what]
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(t.n)) {
		fmt.Fprintf(&b, "\n%9d %s", t.n[what], what)
	}
	return b.String()
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, bot: newFaultyBot(t), appOf: map[string]bool{}}
	s.n = newNode(t, s.bot.URL, 2*time.Second)
	s.n.change("turnout.yaml", "limits: {allow_networks: [127.0.0.1/32]}", fmt.Sprintf(wide, 10_000, 10*time.Second))
	s.n.change("shop.yaml", "failures: 100000", "failures: 20") // the breaker is part of it
	s.app = newApp(t, s.n, false)
	s.app.failed = s.failed
	s.disk = newDisk(s.n)
	s.n.start()
	s.front = newFront(t, s.n.base)
	return s
}

// failed looks at an answer that something cannot be done now.
func (s *soak) failed(e *errStatus) {
	s.did.add(fmt.Sprint("answers ", e.status), 1)
	if why := e.unreadable(); why != "" {
		s.t.Error(why)
	}
}

// fault makes one thing go wrong, and mends it, except what mends itself, before the time for the next.
func (s *soak) fault(ctx context.Context, name string, random *rand.Rand, between time.Duration) {
	s.did.add("faults: "+name, 1)
	part := between/8 + time.Duration(random.Int64N(int64(between/4)))
	must := func(err error) {
		if err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	}
	switch name {
	case "kill":
		s.lived()
		s.n.kill()
		s.n.start()
	case "stop":
		pid := s.n.cmd.Process
		must(pid.Signal(syscall.SIGSTOP))
		pause(ctx, part/2)
		must(pid.Signal(syscall.SIGCONT))
	case "full disk":
		must(s.disk.fill())
		s.prober.refused(ctx)
		pause(ctx, part)
		s.prober.refused(ctx)
		must(s.disk.free())
		s.prober.talk(ctx)
	case "slow disk": // a write takes up to 300 ms
		for until := time.Now().Add(part); time.Now().Before(until); pause(ctx, 50*time.Millisecond) {
			must(s.disk.freeze())
			pause(ctx, 300*time.Millisecond)
			must(s.disk.thaw())
		}
	case "disk error":
		s.lived()
		must(s.disk.die())
		supervised(ctx, s.n, s.disk, s.prober)
	case "cut":
		s.front.cut()
	case "slow bot":
		s.bot.slow.Store(int64(time.Second))
		pause(ctx, part)
		s.bot.slow.Store(0)
	case "bot down":
		s.bot.down.Store(true)
		pause(ctx, part)
		s.bot.down.Store(false)
	case "provider":
		s.app.Next(adaptertest.Busy, adaptertest.Drop, adaptertest.Crash, adaptertest.Take, adaptertest.Cut, adaptertest.Busy, adaptertest.Hang)
	}
}

// pause lets the load run on.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// lived judges a life of the process that ends.
func (s *soak) lived() {
	for _, f := range judgeGrowth(s.life, sampled) {
		s.t.Error(f)
	}
	if n := len(s.life); n >= 3 {
		var slopes []string
		for _, g := range growths {
			was, is := g.between(s.life)
			slopes = append(slopes, fmt.Sprintf("%s %d then %d", g.name, was, is))
		}
		s.t.Logf("a life of %s: %s at its end; medians of its second and last third: %s", time.Duration(n)*sampled, s.life[n-1], strings.Join(slopes, ", "))
	}
	s.life = nil
}

// calm ends all faults.
func (s *soak) calm() {
	s.lived()
	s.bot.slow.Store(0)
	s.bot.down.Store(false)
	s.app.Always(adaptertest.Take)
}

// load begins to talk: it ends when over does.
func (s *soak) load(ctx, over context.Context) {
	for i := range 12 {
		s.wg.Go(func() {
			for over.Err() == nil {
				s.visit(ctx, over, i)
			}
		})
	}
	for i := range 4 {
		s.wg.Go(func() {
			for n := 0; over.Err() == nil; n++ {
				s.write(ctx, i, n)
				pause(over, 200*time.Millisecond)
			}
		})
	}
	for _, name := range []string{"ana", "ben"} {
		w := &worker{client: s.n.agent(name), name: name, rest: 100 * time.Millisecond, did: &s.did}
		w.failed = s.failed
		s.wg.Go(func() { w.work(s.t, ctx, over) })
	}
}

// visitLength is how many messages a customer says before another one comes in the same place: a conversation that people
// have had stays with them, and a load of only such would leave the bot out.
const visitLength = 50

// twice says of three in ten messages that they are sent twice.
func twice(i int) bool { return i*3/10 != (i-1)*3/10 }

// write is the i-th app's customer with the n-th message.
func (s *soak) write(ctx context.Context, i, n int) {
	words := []string{"hello", "parts", "how are you"}[n%3]
	if n%visitLength == visitLength-10 {
		words = "agent"
	}
	times := 1
	if twice(n) {
		times = 2
		s.did.add("duplicates to the app's channel", 1)
	}
	for range times {
		c, err := s.app.say(ctx, fmt.Sprintf("customer-%d-%d", i, n/visitLength), fmt.Sprint(n), words)
		if err != nil {
			s.t.Errorf("the app's customer %d: %v", i, err)
			return
		}
		s.mu.Lock()
		s.appOf[c] = true
		s.mu.Unlock()
	}
	s.did.add("messages to the app's channel", 1)
}

// visit is one customer, from the first message to the last, who is judged at once. Two of three listen.
func (s *soak) visit(ctx, over context.Context, place int) {
	f := &follower{customer: customer{client: newClient(s.n.base, ""), said: map[string]string{}}, front: s.front.base}
	f.failed = s.failed
	if err := f.open(ctx); err != nil {
		s.t.Errorf("opening a session: %v", err)
		pause(over, time.Second)
		return
	}
	s.mu.Lock()
	f.n = len(s.people)
	s.people = append(s.people, f)
	s.mu.Unlock()
	here, leave := context.WithCancel(over)
	var listening sync.WaitGroup
	listen := map[int]func(context.Context) error{0: f.socket, 1: f.stream}[place%3]
	if listen != nil {
		listening.Go(func() { f.follow(here, listen) })
	}
	f.chat(s.t, ctx, over, &s.did)
	leave()
	listening.Wait()
	s.judgeVisit(ctx, f, []string{"events on sockets", "events on event streams", ""}[place%3])
	f.http.CloseIdleConnections()
}

// judgeVisit holds what a customer said and was sent against the log.
func (s *soak) judgeVisit(ctx context.Context, f *follower, wire string) {
	var log []visible
	for {
		var err error
		if log, err = f.whole(ctx, f.n); err == nil {
			break
		}
		if ctx.Err() != nil {
			s.t.Errorf("customer %d cannot be read: %v", f.n, err)
			return
		}
		pause(ctx, 50*time.Millisecond) // the stream broke
	}
	turns, faults := judgeLog(f.said, log)
	for _, what := range append(faults, judgeWire(f.wire, log)...) {
		s.t.Errorf("customer %d: %s", f.n, what)
	}
	if wire != "" {
		s.did.add(wire, len(f.wire))
		s.did.add("events for those who listen", len(log))
		s.did.add("connections resumed", f.resumed)
	}
	s.did.add("turns answered by the bot", turns)
	s.did.add("visits judged by what the customer sees", 1)
	f.conversation, f.wire = log[0].Conversation, nil
	f.said[fmt.Sprintf("%d-last", f.n)] = "the last message"
}

// judge reads everything back, by what people see: it was acknowledged up to all the time of the soak ago.
func (s *soak) judge(ctx context.Context, took, between time.Duration) {
	t := s.t
	s.prober.check(ctx)
	for _, f := range s.people {
		if f.conversation == "" {
			continue // complained about
		}
		l, err := s.app.log(ctx, f.conversation)
		if err != nil {
			t.Fatalf("customer %d: %v", f.n, err)
		}
		for _, what := range judgeKept(f.said, l) {
			t.Errorf("customer %d: %s", f.n, what)
		}
		s.count(l)
		s.did.add("conversations judged by what people see", 1)
	}
	for c := range s.appOf {
		s.did.add("messages delivered to the app", s.app.judge(t, ctx, c))
		l, err := s.app.log(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		s.count(l)
		s.did.add("conversations of the app judged by its wire", 1)
	}
	s.did.add("failed calls of the bot", int(s.bot.failed.Load()))
	s.did.add("calls of the bot", len(s.bot.asked()))
	t.Logf("in %s:%s", took.Round(time.Second), &s.did)
	for what, every := range floors {
		if least := int(took / every); s.did.of(what) < least {
			t.Errorf("the load did not work: %d %s in %s, want %d", s.did.of(what), what, took.Round(time.Second), least)
		}
	}
	for _, f := range faults {
		if least := int(took / between / time.Duration(3*len(faults))); s.did.of("faults: "+f) < least {
			t.Errorf("there were %d times %s, want %d", s.did.of("faults: "+f), f, least)
		}
	}
	if sent, all := s.did.of("events on sockets")+s.did.of("events on event streams"), s.did.of("events for those who listen"); sent < all/2 {
		t.Errorf("of %d events only %d were sent to those who listened", all, sent)
	}
	s.n.provenOf(t, 200)
}

// floors are how seldom a thing may have happened, by the time of the soak. They are some tenth of what two busy cores do:
// one that falls below does not load what it says.
var floors = map[string]time.Duration{
	"messages of visitors": 500 * time.Millisecond, "duplicates from visitors": 2 * time.Second,
	"turns answered by the bot": 500 * time.Millisecond, "visits judged by what the customer sees": 6 * time.Second,
	"events on sockets": time.Second, "events on event streams": time.Second,
	"messages to the app's channel": 2 * time.Second, "duplicates to the app's channel": 10 * time.Second,
	"messages delivered to the app":     time.Second,
	"handoffs by builtin.human_request": 20 * time.Second, "handoffs by fraud": time.Minute,
	"claims": 15 * time.Second, "replies": 15 * time.Second, "releases": 40 * time.Second, "resolves": 20 * time.Second,
}

// count counts what happened in a conversation.
func (s *soak) count(l logged) {
	for _, e := range l.Events {
		if e.Type == "handoff.made" {
			s.did.add("handoffs by "+e.Handoff.Rule, 1)
			s.did.add("handoffs", 1)
		}
	}
}
