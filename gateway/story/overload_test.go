package story

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// full reports whether the long tests go as far as they have to.
func full() bool { return os.Getenv("TURNOUT_SCALE") == "full" }

// overloaded are settings whose only limit is what a tenant's customers may write in a minute.
const overloaded = `listen: %s
ops_listen: %s
data: data
root_key: file:data/keys/root.key
audit: {signing_key: file:data/keys/audit.key}
limits:
  allow_networks: [127.0.0.1/32]
  messages_per_minute: {visitor: 100000000, address: 100000000, tenant: %d}
resources: [%s]
`

// open gives a node that does not run yet other limits, and all resource files of its folder.
func (n *node) open(perMinute int) {
	n.t.Helper()
	host := func(url string) string { return strings.TrimPrefix(url, "http://") }
	files, err := filepath.Glob(filepath.Join(n.dir, "*.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if name := filepath.Base(f); name != "turnout.yaml" {
			names = append(names, name)
		}
	}
	n.write("turnout.yaml", fmt.Sprintf(overloaded, host(n.base), host(n.ops), perMinute, strings.Join(names, ", ")))
}

// patient has a node that does not run yet wait for its bot as long as an adapter may.
func (n *node) patient() {
	n.t.Helper()
	file := filepath.Join(n.dir, "shop.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("shop.yaml", strings.Replace(string(content), "    request: {user", "    timeout: 5m\n    request: {user", 1))
}

// deadBot is a bot that takes calls and does not answer until it is revived; then it answers at once.
type deadBot struct {
	*httptest.Server
	revived chan struct{}
	calls   atomic.Int64
}

func newDeadBot(t *testing.T) *deadBot {
	b := &deadBot{revived: make(chan struct{})}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.calls.Add(1)
		select {
		case <-b.revived:
			json.NewEncoder(w).Encode(map[string]string{"reply": "back again"})
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { b.revive(); b.Server.Close() })
	return b
}

func (b *deadBot) revive() {
	select {
	case <-b.revived:
	default:
		close(b.revived)
	}
}

// memory returns figures of the process in bytes: what it has in memory, and the most that it ever had.
func (n *node) memory() (now, most int64) {
	n.t.Helper()
	if runtime.GOOS != "linux" {
		n.t.Skip("the memory of another process is read from Linux's /proc")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		n.t.Fatalf("reading the memory of the process: %v", err)
	}
	kb := func(name string) int64 {
		f := strings.Fields(field(string(status), name))
		if len(f) == 0 {
			n.t.Fatalf("no %s in the status of the process", name)
		}
		v, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			n.t.Fatal(err)
		}
		return v << 10
	}
	return kb("VmRSS:"), kb("VmHWM:")
}

// figure reads one of the node's figures, as it is written for Prometheus.
func (n *node) figure(ctx context.Context, name string) float64 {
	n.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ops+"/metrics", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				n.t.Fatal(err)
			}
			return v
		}
	}
	return -1
}

// until waits for a figure.
func (n *node) until(ctx context.Context, name string, ok func(float64) bool) float64 {
	n.t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		v := n.figure(ctx, name)
		if ok(v) {
			return v
		}
		select {
		case <-ctx.Done():
			n.t.Fatalf("%s is %v for too long", name, v)
		case <-look.C:
		}
	}
}

// ready waits until the node takes work and returns how long that took.
func (n *node) ready(ctx context.Context, since time.Time) time.Duration {
	n.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		if resp, err := http.Get(n.ops + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(since)
			}
		}
		select {
		case <-ctx.Done():
			n.t.Fatal("the node does not become ready")
		case <-look.C:
		}
	}
}

// A dead bot, and customers who go on writing: what waits is on the disk and not in memory, the node is killed and is ready
// again at once, and when the bot is back everybody gets an answer.
func TestManyMessagesBeforeADeadBot(t *testing.T) {
	conversations, each, batch := 100, 20, 50
	if full() {
		conversations, each = 10_000, 100
	}
	ctx := longCtx(t, time.Hour)
	bot := newDeadBot(t)
	n := newNode(t, bot.URL, 10*time.Minute)
	a := newApp(t, n, true)
	n.patient()
	n.open(1_000_000_000)
	n.start()

	customer := func(i int) string { return fmt.Sprintf("customer-%d", i) }
	began := time.Now()
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	work := make(chan [2]int, 64) // round and first customer of a batch
	for range 16 {
		wg.Go(func() {
			for w := range work {
				var list []any
				for i := w[1]; i < min(w[1]+batch, conversations); i++ {
					list = append(list, map[string]any{"id": fmt.Sprintf("%d-%d", i, w[0]), "from": customer(i), "text": "is anybody there? I have been waiting for quite a while now."})
				}
				if err := a.post(ctx, "/messages", map[string]any{"messages": list}, &struct{}{}); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	for round := range each {
		for i := 0; i < conversations; i += batch {
			work <- [2]int{round, i}
		}
	}
	close(work)
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	took := time.Since(began)
	const running, waiting = `turnout_places_held{kind="bot_calls",tenant="shop"}`, `turnout_places_waiting{kind="bot_calls",tenant="shop"}`
	// Where loading takes longer than a call may, the first calls have ended, and their customers are with people.
	const handed = `turnout_handoffs_total{queue="support",rule="builtin.bot_down",tenant="shop"}`
	gone := 0.0
	all := func(v float64) bool { return v == float64(conversations)-64-gone-max(0, n.figure(ctx, handed)) }
	n.until(ctx, running, func(v float64) bool { return v == 64 })
	n.until(ctx, waiting, all)
	gone = max(0, n.figure(ctx, handed))
	now, most := n.memory()
	t.Logf("%d messages in %d conversations taken in %v; %d MB in memory, %d MB at most", conversations*each, conversations, took, now>>20, most>>20)
	if full() && most > 512<<20 {
		t.Errorf("the node had %d MB in memory, want less than 512", most>>20)
	}

	n.kill()
	died := time.Now()
	n.start()
	ready := n.ready(ctx, died)
	n.until(ctx, running, func(v float64) bool { return v == 64 })
	n.until(ctx, waiting, all)
	now, most = n.memory()
	t.Logf("ready again %v after the kill, all work found after %v; %d MB in memory, %d MB at most", ready, time.Since(died), now>>20, most>>20)
	if full() {
		if ready > 10*time.Second {
			t.Errorf("the node was ready %v after the kill, want 10s", ready)
		}
		if most > 512<<20 {
			t.Errorf("the node had %d MB in memory after the start, want less than 512", most>>20)
		}
	}

	bot.revive()
	answered := func() int {
		who := map[string]bool{}
		for _, m := range a.Wire() {
			who[m.To] = true
		}
		return len(who)
	}
	n.until(ctx, waiting, func(v float64) bool { return v == 0 })
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for answered() < conversations {
		select {
		case <-ctx.Done():
			t.Fatalf("%d of %d customers have an answer", answered(), conversations)
		case <-look.C:
		}
	}
	_, most = n.memory()
	t.Logf("all have an answer %v after the kill, from %d calls; %d MB at most", time.Since(died), bot.calls.Load(), most>>20)
}

// quiet is a second tenant, whose bot answers.
const quiet = `kind: tenant
name: quiet
spec: {default_queue: support}
---
kind: channel
tenant: quiet
name: web
spec:
  adapter: web
  config: {allow_no_origin: true, limits: {rate: 1000000, burst: 1000000}}
---
kind: bot
tenant: quiet
name: own
spec:
  adapter: webhook
  config:
    url: %s
    request: {user: conversation, text: text, turn: id}
    response: {text: body.reply}
---
kind: queue
tenant: quiet
name: support
---
kind: agent
tenant: quiet
name: ida
spec: {queues: [support], keys: [{id: ida-1, sha256: "%s"}]}
`

// A tenant whose bot hangs, and whose customers write ten times as much as they may, beside one whose customers write
// now and then: these get their answers as they did before.
func TestAQuietTenantBesideAFlood(t *testing.T) {
	asks, share, pace := 40, 6000, 5*time.Millisecond
	if full() {
		asks, pace = 3000, 10*time.Millisecond
	}
	ctx := longCtx(t, 10*time.Minute)
	dead, fine := newDeadBot(t), newTestBot(t)
	n := newNode(t, dead.URL, 10*time.Minute)
	a := newApp(t, n, true)
	n.patient()
	n.write("shop.yaml", tenanted(t, filepath.Join(n.dir, "shop.yaml")))
	n.write("quiet.yaml", fmt.Sprintf(quiet, fine.URL, field(run(t, binary, "admin", "key", "ida-1"), "sha256:")))
	n.open(share)
	n.start()

	customers := make([]*client, 20)
	for i := range customers {
		c := newClient(n.base, "")
		var s struct{ Token string }
		if err := c.do(ctx, "/v1/web/quiet.web/session", "", map[string]any{}, &s); err != nil {
			t.Fatal(err)
		}
		c.token = s.Token
		customers[i] = c
	}
	round := 0
	// measure has the quiet tenant's customers ask at a fixed pace, whatever the answers take.
	measure := func() time.Duration {
		round++
		took := make([]time.Duration, asks)
		var wg sync.WaitGroup
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := range asks {
			<-tick.C
			began := time.Now()
			wg.Go(func() {
				var got answer
				c := customers[i%len(customers)]
				id := fmt.Sprintf("%d-%d", round, i)
				if err := c.do(ctx, "/v1/web/quiet.web/messages", "", map[string]any{"id": id, "text": "hello"}, &got); err != nil {
					t.Errorf("asking: %v", err)
				} else if got.Owner.Kind != "bot" || len(got.Messages) == 0 && got.MergedInto == "" {
					t.Errorf("the quiet tenant got %+v", got)
				}
				took[i] = time.Since(began)
			})
		}
		wg.Wait()
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	measure() // warm
	alone := measure()

	over, end := context.WithCancel(ctx)
	var flood sync.WaitGroup
	var sent, refused atomic.Int64
	for g := range 10 {
		flood.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond) // ten times a hundred a second, which is the share
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-over.Done():
					return
				case <-tick.C:
				}
				body, _ := json.Marshal(map[string]any{"messages": []any{map[string]any{"id": fmt.Sprintf("%d-%d", g, i), "from": fmt.Sprintf("f-%d-%d", g, i%500), "text": "hello?"}}})
				if err := a.once(over, "/messages", body, &struct{}{}); err != nil {
					refused.Add(1)
				}
				sent.Add(1)
			}
		})
	}
	const running, waiting = `turnout_places_held{kind="bot_calls",tenant="shop"}`, `turnout_places_waiting{kind="bot_calls",tenant="shop"}`
	n.until(ctx, running, func(v float64) bool { return v == 64 })
	n.until(ctx, waiting, func(v float64) bool { return v >= 100 })
	loaded := measure()
	end()
	flood.Wait()
	t.Logf("p99 of the quiet tenant: %v alone, %v beside the flood, %.2f times; %d messages of the other, %d refused",
		alone, loaded, float64(loaded)/float64(alone), sent.Load(), refused.Load())
	if full() && loaded > 2*alone {
		t.Errorf("the quiet tenant's p99 is %.2f times what it is alone, want at most 2", float64(loaded)/float64(alone))
	}
	if held := n.figure(ctx, `turnout_places_waited_total{kind="bot_calls",tenant="quiet"}`); held != 0 {
		t.Errorf("%v calls of the quiet tenant waited for a place", held)
	}
}

// tenanted returns a resource file whose documents say whose they are, as they must when there are several tenants.
func tenanted(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, doc := range strings.Split(string(content), "---\n") {
		if i > 0 {
			doc = strings.Replace(doc, "\nname:", "\ntenant: shop\nname:", 1)
		}
		out = append(out, doc)
	}
	return strings.Join(out, "---\n")
}
