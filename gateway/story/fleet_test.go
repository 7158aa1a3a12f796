package story

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
)

// fleet is several nodes on one store under a load that does what customers, agents and providers do: three in ten messages
// come twice, the second time at another node, at once or later; agents of few places claim the same conversations at once
// at different nodes; and every so often something dies.
type fleet struct {
	t     *testing.T
	nodes []*node
	app   *app
	bot   *testBot
	redis []*redistest.Server
	http  *http.Client
	wg    sync.WaitGroup
	crew  []string
	late  time.Duration // by how much a repeat is late, at most
	// release is the one whose build reads the store in the end; 0 is this one.
	release conversation.Format

	mu      sync.Mutex
	random  *rand.Rand
	acks    []accepted
	claims  []claimed
	wire    []pushed
	rounds  int
	busy    map[string]bool // conversations that agents are at
	with    []string        // conversations that customers write in, the last of them
	follows []*follower
}

const crewCapacity = 3

const crewMember = `---
kind: agent
name: %[1]s
spec: {name: %[1]s, role: %[2]s, queues: [support], capacity: %[3]d, keys: [{id: %[1]s-1, sha256: "%[4]s"}]}
`

// newFleet lays out nodes on a primary and its replica, which is waited for, and, if they are asked for, behind sentinels.
// settings are further ones of the store.
func newFleet(t *testing.T, count int, sentinels bool, settings ...string) *fleet {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := &fleet{
		t: t, bot: newTestBot(t), http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, late: time.Second,
		random: rand.New(rand.NewPCG(4, seed)), busy: map[string]bool{},
	}
	if full() {
		c.late = 3 * time.Second
	}
	t.Cleanup(c.http.CloseIdleConnections)
	inner := c.bot.Config.Handler
	c.bot.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := time.Duration(3+c.dice(25)) * time.Millisecond
		if c.dice(100) == 0 {
			d = 900 * time.Millisecond
		}
		pause(r.Context(), d)
		inner.ServeHTTP(w, r)
	})
	replicated := []string{"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"}
	primary := redistest.Start(t, replicated...)
	c.redis = []*redistest.Server{primary, redistest.Replica(t, primary, replicated...)}
	at := fmt.Sprintf("address: %q, wait: 1", primary.Addr())
	if sentinels {
		addrs := redistest.Sentinels(t, primary, 3)
		at = fmt.Sprintf("sentinels: [%q, %q, %q], master: main, wait: 1", addrs[0], addrs[1], addrs[2])
	}
	at = strings.Join(append([]string{at}, settings...), ", ")
	first := newNode(t, c.bot.URL, 2*time.Second)
	c.app = newApp(t, first, false)
	c.app.seen = func(w adaptertest.Wire) {
		at := time.Now().UnixMilli()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wire = append(c.wire, pushed{w.ID, at})
	}
	text, err := os.ReadFile(filepath.Join(first.dir, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		name, role := fmt.Sprintf("crew%d", i+1), "agent"
		if i >= 4 {
			role = "supervisor" // may take what the bot has
		}
		made := run(t, binary, "admin", "key", name+"-1")
		first.keys[name] = field(made, "key:")
		text = fmt.Appendf(text, crewMember, name, role, crewCapacity, field(made, "sha256:"))
		c.crew = append(c.crew, name)
	}
	first.write("shop.yaml", string(text))
	c.nodes = nodesOn(t, at, first, count)
	c.app.sue = c.at(0, first.keys["sue"])
	return c
}

// dice throws one with n sides, 0 to n-1.
func (c *fleet) dice(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// at is a client that begins at node i and goes on to the others.
func (c *fleet) at(i int, token string) *client {
	w := &client{http: c.http, token: token}
	for k := range c.nodes {
		w.others = append(w.others, c.nodes[(i+k)%len(c.nodes)].base)
	}
	w.base, w.others = w.others[0], w.others[1:]
	return w
}

func (c *fleet) anywhere(token string) *client { return c.at(c.dice(len(c.nodes)), token) }

// load begins to talk: it ends when over does.
func (c *fleet) load(ctx, over context.Context) {
	for i := range 8 {
		c.wg.Go(func() {
			for n := 0; over.Err() == nil; n++ {
				c.visit(ctx, over, i, n)
			}
		})
	}
	for i := range 4 {
		c.wg.Go(func() {
			for n := 0; over.Err() == nil; n++ {
				c.write(ctx, over, i, n)
				pause(over, time.Duration(20+c.dice(60))*time.Millisecond)
			}
		})
	}
	for _, name := range c.crew {
		c.wg.Go(func() {
			for over.Err() == nil {
				var ok struct{}
				if err := c.anywhere(c.nodes[0].keys[name]).do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok); err != nil {
					c.t.Errorf("%s: presence: %v", name, err)
				}
				pause(over, 5*time.Second)
			}
		})
	}
	c.wg.Go(func() { c.desk(ctx, over) })
}

// acked remembers what a customer was told.
func (c *fleet) acked(conversation, id, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acks = append(c.acks, accepted{conversation, id, text})
	if c.with = append(c.with, conversation); len(c.with) > 20 {
		c.with = c.with[1:]
	}
}

// words are what a customer says.
func (c *fleet) words(plain string) string {
	if c.dice(12) == 0 {
		return "agent"
	}
	return plain
}

// repeated runs say, three times in ten a second time at another node: at once, or later.
func (c *fleet) repeated(over context.Context, say func(node int)) {
	home := c.dice(len(c.nodes))
	if c.dice(10) < 3 {
		d := time.Duration(0)
		if c.dice(2) == 0 {
			d = time.Duration(c.dice(int(c.late)))
		}
		c.wg.Go(func() {
			pause(over, d)
			say((home + 1 + c.dice(len(c.nodes)-1)) % len(c.nodes))
		})
	}
	say(home)
}

// visit is one customer of the web's, from the first message to the last. One of three listens, now at one node and now at
// another.
func (c *fleet) visit(ctx, over context.Context, place, n int) {
	opened := c.anywhere("")
	var s struct{ Token string }
	if err := opened.do(ctx, "/v1/web/shop.web/session", "", map[string]any{}, &s); err != nil {
		c.t.Errorf("opening a session: %v", err)
		return
	}
	f := &follower{customer: customer{client: c.anywhere(s.Token), said: map[string]string{}}}
	here, leave := context.WithCancel(over)
	var listening sync.WaitGroup
	listens := place%3 == 0
	if listens {
		f.http = c.http
		listening.Go(func() {
			f.follow(here, func(ctx context.Context) error {
				f.front = c.nodes[c.dice(len(c.nodes))].base
				return f.stream(ctx)
			})
		})
	}
	for i := 0; over.Err() == nil && i < 12; i++ {
		id := fmt.Sprintf("%d-%d-%d", place, n, i)
		text := c.words("message " + id)
		c.repeated(over, func(node int) {
			a, err := c.at(node, s.Token).say(ctx, id, text)
			conversation := a.Conversation
			if conversation == "" {
				conversation, _, _ = strings.Cut(a.Cursor, ".")
			}
			if err != nil || conversation == "" {
				c.t.Errorf("message %s: %+v, %v", id, a, err)
				return
			}
			c.acked(conversation, id, text)
		})
		pause(over, time.Duration(20+c.dice(60))*time.Millisecond)
	}
	leave()
	listening.Wait()
	if listens {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.follows = append(c.follows, f)
	}
}

// write is one message of the app's.
func (c *fleet) write(ctx, over context.Context, place, n int) {
	id, who := fmt.Sprint(n), fmt.Sprintf("customer-%d-%d", place, n/20)
	text := c.words([]string{"hello", "parts", "how are you"}[n%3])
	c.repeated(over, func(node int) {
		conversation, err := c.app.on(c.nodes[node]).say(ctx, who, id, text)
		if err != nil {
			c.t.Errorf("the app's message %s of %s: %v", id, who, err)
			return
		}
		c.acked(conversation, id, text)
	})
}

// on is the app as it talks to another node.
func (a *app) on(n *node) *app {
	return &app{Provider: a.Provider, n: n, sue: a.sue, ok: a.ok, in: a.in, out: a.out}
}

// desk lets agents claim what waits, and now and then what the bot has.
func (c *fleet) desk(ctx, over context.Context) {
	for over.Err() == nil {
		var list struct {
			Items []struct{ Conversation string }
		}
		agent := c.crew[c.dice(len(c.crew))]
		if err := c.anywhere(c.nodes[0].keys[agent]).do(ctx, "/v1/agent/queue", "", nil, &list); err != nil {
			c.t.Errorf("the queue: %v", err)
			return
		}
		var next []string
		for _, item := range list.Items {
			next = append(next, item.Conversation)
		}
		c.mu.Lock()
		if n := len(c.with); n > 0 && c.random.IntN(4) == 0 {
			next = append(next, c.with[c.random.IntN(n)])
		}
		for _, conv := range next {
			if c.busy[conv] || len(c.busy) >= 12 {
				continue
			}
			c.busy[conv] = true
			c.rounds++
			round := c.rounds
			var who []string
			for _, i := range c.random.Perm(len(c.crew))[:2+c.random.IntN(3)] {
				who = append(who, c.crew[i])
			}
			c.wg.Go(func() { c.claim(ctx, over, round, conv, who) })
		}
		c.mu.Unlock()
		pause(over, 40*time.Millisecond)
	}
}

// claim lets agents claim a conversation at once, at different nodes. Who wins answers and gives it back or closes it.
func (c *fleet) claim(ctx, over context.Context, round int, conv string, who []string) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.busy, conv)
	}()
	path := "/v1/agent/conversations/" + conv
	act := func(node int, agent, what string, body any) error {
		var ok struct{}
		return c.at(node, c.nodes[0].keys[agent]).do(ctx, path+"/"+what, fmt.Sprintf("%d-%s-%s", round, agent, what), body, &ok)
	}
	first := c.dice(len(c.nodes))
	var claiming sync.WaitGroup
	winner := ""
	for i, agent := range who {
		claiming.Go(func() {
			err := act((first+i)%len(c.nodes), agent, "claim", map[string]any{})
			var refused *errStatus
			if err != nil && (!errors.As(err, &refused) || refused.status != http.StatusConflict && refused.status != http.StatusForbidden) {
				c.t.Errorf("%s: claim: %v", agent, err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.claims = append(c.claims, claimed{conv, agent, round, err == nil})
			if err == nil {
				winner = agent
			}
		})
	}
	claiming.Wait()
	if winner == "" {
		return
	}
	if err := act(c.dice(len(c.nodes)), winner, "reply", map[string]any{"text": fmt.Sprintf("reply %d", round)}); err != nil {
		c.t.Errorf("%s: reply in round %d to %s: %v", winner, round, conv, err)
	}
	pause(over, time.Duration(c.dice(600))*time.Millisecond)
	end := []string{"release", "release", "resolve"}[c.dice(3)]
	err := act(c.dice(len(c.nodes)), winner, end, map[string]any{})
	var refused *errStatus
	if errors.As(err, &refused) && strings.Contains(refused.body, "return_limit") {
		err = act(c.dice(len(c.nodes)), winner, "resolve", map[string]any{})
	}
	if err != nil {
		c.t.Errorf("%s: %s in round %d of %s: %v", winner, end, round, conv, err)
	}
}

// stopFor is how long a node stands still.
const stopFor = 4 * time.Second

// kill ends a node as a power button would and starts it again.
func (c *fleet) kill(i int) {
	c.nodes[i].kill()
	c.nodes[i].start()
}

// freeze lets a node stand still, with all that it has begun, for longer than its leases last.
func (c *fleet) freeze(ctx context.Context, i int) {
	pid := c.nodes[i].cmd.Process
	if err := pid.Signal(syscall.SIGSTOP); err != nil {
		c.t.Errorf("stopping the node: %v", err)
	}
	pause(ctx, stopFor)
	if err := pid.Signal(syscall.SIGCONT); err != nil {
		c.t.Errorf("letting the node go on: %v", err)
	}
}

// failover kills the primary while customers write, waits until the sentinels have made another one of its replica, and lets
// the dead one come back as that one's.
func (c *fleet) failover(ctx context.Context) {
	c.t.Helper()
	dead := slices.IndexFunc(c.redis, (*redistest.Server).Primary)
	if dead < 0 {
		c.t.Fatal("there is no primary")
	}
	heir := c.redis[1-dead]
	c.redis[dead].Kill()
	waitFor(c.t, ctx, heir.Primary)
	c.redis[dead].Follow(heir)
}

// open opens the store beside the nodes.
func (c *fleet) open() *redis.Store {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.nodes[0].dir, "data/keys/root.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	root, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		c.t.Fatal(err)
	}
	primary := slices.IndexFunc(c.redis, (*redistest.Server).Primary)
	if primary < 0 {
		c.t.Fatal("there is no primary")
	}
	s, err := redis.Open(c.t.Context(), redis.Options{
		Addr: c.redis[primary].Addr(), Wait: 1, Root: root, IDs: id.NewSource(cryptorand.Reader, time.Now), Now: time.Now,
		Blobs: filepath.Join(c.nodes[0].dir, "blobs"), Events: c.release,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// read returns all conversations once nothing is under way in any of them.
func (c *fleet) read(ctx context.Context, s *redis.Store, t store.Tenant) (talks []talk) {
	c.t.Helper()
	fails := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	for after := ""; ; {
		page, err := s.Chains(ctx, t, after, 500)
		fails(err)
		if len(page) == 0 {
			return talks
		}
		for _, conv := range page {
			after = conv
			r := store.Ref{Tenant: t, ID: conv}
			var snap *store.Snapshot
			waitFor(c.t, ctx, func() bool {
				snap, err = s.Load(ctx, r)
				fails(err)
				return !snap.State.Working()
			})
			tk := talk{id: conv, state: snap.State}
			for {
				events, err := s.Log(ctx, r, uint64(len(tk.log)), 1000)
				fails(err)
				if len(events) == 0 {
					break
				}
				tk.log = append(tk.log, events...)
			}
			talks = append(talks, tk)
		}
	}
}

// views is what the store shows of the queues.
func (c *fleet) views(ctx context.Context, s *redis.Store, t store.Tenant) (v views) {
	c.t.Helper()
	waiting, err := s.Waiting(ctx, t, "", 100_000)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, w := range waiting {
		v.waiting = append(v.waiting, w.Ref.ID)
	}
	present, err := s.Present(ctx, t)
	if err != nil {
		c.t.Fatal(err)
	}
	v.load = map[string]int{}
	for _, p := range present {
		v.load[p.Agent] = p.Load
	}
	return v
}

// judge waits until everything has come to rest and holds all of it against the invariants. It returns what it has judged.
func (c *fleet) judge(ctx context.Context) []talk {
	t := c.t
	t.Helper()
	shop, err := store.NewTenant("shop")
	if err != nil {
		t.Fatal(err)
	}
	s := c.open()
	defer s.Close()
	talks := c.read(ctx, s, shop)
	// What a dead node has left of the views another one's sweep brings in.
	waitFor(t, ctx, func() bool { return len(judgeViews(c.views(ctx, s, shop), talks)) == 0 })

	faults := judgeAccepted(c.acks, talks)
	answered, changes, sent, heard, named := 0, 0, 0, 0, map[string]talk{}
	for _, tk := range talks {
		named[tk.id] = tk
		n, f := judgeTurns(tk)
		answered, faults = answered+n, append(faults, f...)
		n, f = judgeOwners(tk)
		changes, faults = changes+n, append(faults, f...)
		if tk.state.From.Channel == "shop.app" {
			sent += c.app.judge(t, ctx, tk.id) // and waits until everything that was said has an end
		}
	}
	c.mu.Lock()
	wire := slices.Clone(c.wire)
	c.mu.Unlock()
	for _, tk := range talks {
		faults = append(faults, judgePushes(tk, wire)...)
	}
	faults = append(faults, judgeClaims(c.claims, talks)...)
	most, f := judgeCapacity(talks, crewCapacity)
	faults = append(append(faults, f...), judgeCalls(c.bot.asked())...)
	for _, l := range c.follows {
		if len(l.wire) > 0 {
			heard += len(l.wire)
			faults = append(faults, judgeWire(l.wire, seenBy(named, l.wire[0].Conversation))...)
		}
	}
	report, err := s.Check(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range append(faults, report.Faults...) {
		t.Error(fault)
	}
	won, again := 0, len(c.acks)
	for _, cl := range c.claims {
		if cl.won {
			won++
		}
	}
	distinct := map[accepted]bool{}
	for _, a := range c.acks {
		distinct[a] = true
	}
	again -= len(distinct)
	t.Logf("%d conversations, %d messages acknowledged and %d of them again, %d turns, %d calls of the bot, %d changes of owner, %d claims of which %d won, "+
		"at most %d of %d places taken, %d messages at the provider, %d events on streams", len(talks), len(distinct), again, answered, len(c.bot.asked()), changes,
		len(c.claims), won, most, crewCapacity, sent, heard)
	if answered == 0 || again == 0 || sent == 0 || heard == 0 {
		t.Error("the load did not work: it has to have turns, repeats, and messages at the provider and on streams")
	}
	return talks
}

// seenBy is what a customer may see of a conversation and of those that it goes on in.
func seenBy(talks map[string]talk, conv string) (log []visible) {
	for _, e := range talks[conv].log {
		if e.VSeq == 0 {
			continue
		}
		v := visible{Conversation: conv, VSeq: e.VSeq}
		switch d := e.Data.(type) {
		case *conversation.Received:
			v.Type, v.ID, v.ClientID, v.By, v.Part = "message", d.ID, d.In.ID, "customer", &part{d.In.Text}
		case *conversation.Sent:
			v.Type, v.ID, v.By, v.Turn, v.Part = "message", d.ID, string(d.By), d.Turn, &part{d.Part.Text}
		case *conversation.OwnerMoved:
			v.Type = "owner"
		case *conversation.Ended:
			v.Type = "closed"
		case *conversation.Resumed:
			v.Type = "reopened"
		}
		log = append(log, v)
	}
	return log
}

// worked waits until the load has done some of everything since before.
func (c *fleet) worked(ctx context.Context) {
	c.t.Helper()
	some := func() (n [5]int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		n = [5]int{len(c.acks), len(c.wire), len(c.follows)}
		for _, cl := range c.claims {
			if cl.won {
				n[3]++
			} else {
				n[4]++
			}
		}
		return n
	}
	before := some()
	waitFor(c.t, ctx, func() bool {
		for i, n := range some() {
			if n < before[i]+3 && (i != 2 || n == before[i]) {
				return false
			}
		}
		return true
	})
}

// begin starts the nodes and the load. end ends the load and waits for what follows from it.
func (c *fleet) begin(limit time.Duration) (ctx context.Context, end func()) {
	for _, n := range c.nodes {
		n.start()
	}
	ctx = longCtx(c.t, limit)
	over, stop := context.WithCancel(ctx)
	c.t.Cleanup(stop)
	c.load(ctx, over)
	c.worked(ctx)
	return ctx, func() {
		c.worked(ctx)
		stop()
		c.wg.Wait()
	}
}

// TestNodesUnderFaults lets nodes that share a primary and its replica work while one of them is killed or stands still every
// few seconds.
func TestNodesUnderFaults(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	for _, count := range []int{2, 4} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			faults := 1
			if full() {
				faults = 60
			} else {
				t.Parallel()
			}
			c := newFleet(t, count, false)
			ctx, end := c.begin(time.Duration(faults)*30*time.Second + 2*time.Minute)
			for i := range faults {
				if (i+count/2)%2 == 1 {
					c.kill(c.dice(count))
				} else {
					c.freeze(ctx, c.dice(count))
				}
				pause(ctx, time.Duration(500+c.dice(1500))*time.Millisecond)
			}
			end()
			c.judge(ctx)
		})
	}
}

// fleetFailovers is how many primaries die under the nodes. TURNOUT_FAILOVERS is a number; make soak does without it.
func fleetFailovers(t *testing.T) int {
	switch s := os.Getenv("TURNOUT_FAILOVERS"); {
	case s != "":
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("TURNOUT_FAILOVERS: %q: give a number such as 100", s)
		}
		return n
	case full():
		return 20
	}
	return 1
}

// TestNodesOverFailovers kills the primary under the nodes, again and again; sentinels make a primary of its replica. In
// between nodes die and stand still.
func TestNodesOverFailovers(t *testing.T) {
	failovers := fleetFailovers(t)
	if !full() {
		t.Parallel()
	}
	c := newFleet(t, 2, true)
	ctx, end := c.begin(time.Duration(failovers)*time.Minute + 2*time.Minute)
	for i := range failovers {
		c.failover(ctx)
		switch {
		case i%4 == 1:
			c.kill(c.dice(2))
		case i%4 == 3:
			c.freeze(ctx, c.dice(2))
		}
		pause(ctx, time.Duration(500+c.dice(1500))*time.Millisecond)
	}
	end()
	c.judge(ctx)
}
