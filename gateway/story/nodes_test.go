package story

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/gateway/store/redis/redistest"
)

// page is what operators read; settingsOf are the server's settings that it asks for, as a command line.
func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func settingsOf(t *testing.T, page string) (args []string) {
	t.Helper()
	block := regexp.MustCompile("(?s)<!-- redis.conf -->\n+```conf\n(.*?)```").FindStringSubmatch(page)
	if block == nil {
		t.Fatal("the page has no settings of the server")
	}
	for line := range strings.Lines(block[1]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = append(args, "--"+name, value)
	}
	return args
}

// TestSeveralNodes runs the commands of the page for operators, as they stand, on a server with the settings that it names.
func TestSeveralNodes(t *testing.T) {
	text := page(t)
	redis := redistest.Start(t, settingsOf(t, text)...)
	n := newNodes(t, redis, newTestBot(t).URL, 5*time.Second, 1)[0]
	block := regexp.MustCompile("(?s)<!-- nodes -->\n+```sh\n(.*?)```").FindStringSubmatch(text)
	if block == nil {
		t.Fatal("the page has no commands")
	}
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", strings.ReplaceAll(block[1], "/etc/turnout/turnout.yaml", "turnout.yaml"))
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`(?m)^# -> (.*)$`).FindAllStringSubmatch(block[1], -1) {
		if !strings.Contains(string(out), m[1]) {
			t.Errorf("the output lacks %q:\n%s", m[1], out)
		}
	}
}

// newNodes lays out nodes that share a store: one configuration, one set of keys, a folder and ports for each.
func newNodes(t *testing.T, redis *redistest.Server, botURL string, deadline time.Duration, count int) []*node {
	t.Helper()
	return nodesOn(t, fmt.Sprintf("address: %q", redis.Addr()), newNode(t, botURL, deadline), count)
}

// nodesOn makes a node, as it is laid out, the first of several on the store that at says.
func nodesOn(t *testing.T, at string, first *node, count int) []*node {
	t.Helper()
	nodes := []*node{first}
	resources, err := os.ReadFile(filepath.Join(first.dir, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := filepath.Glob(filepath.Join(first.dir, "data", "keys", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for range count - 1 {
		n := &node{t: t, dir: t.TempDir(), keys: first.keys}
		n.write("shop.yaml", string(resources))
		if err := os.MkdirAll(filepath.Join(n.dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(n.dir, "data", "keys"), os.DirFS(filepath.Join(first.dir, "data", "keys"))); err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if err := os.Chmod(filepath.Join(n.dir, "data", "keys", filepath.Base(s)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(n.kill)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		listen, ops := freeAddr(t), freeAddr(t)
		n.base, n.ops = "http://"+listen, "http://"+ops
		n.write("turnout.yaml", fmt.Sprintf(settings, listen, ops)+fmt.Sprintf("store: {kind: redis, %s, blobs: %q}\n", at, filepath.Join(first.dir, "blobs")))
	}
	return nodes
}

// stream follows everything that a customer may see.
func (c *client) stream(ctx context.Context) (<-chan visible, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/web/shop.web/events?after=", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	out := make(chan visible, 1000)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var v visible
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &v) == nil && v.VSeq > 0 {
				out <- v
			}
		}
	}()
	return out, nil
}

// TestTwoNodes: a customer's stream is on one node, the agent on the other, and they talk; of two agents on two nodes who
// claim at once one wins, and the other is told who.
func TestTwoNodes(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable()...)
	bot := newTestBot(t)
	nodes := newNodes(t, redis, bot.URL, 5*time.Second, 2)
	for _, n := range nodes {
		n.start()
	}
	a, b := nodes[0], nodes[1]
	ctx := longCtx(t, 2*time.Minute)
	fails := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c := a.visitor(ctx)
	said, err := c.say(ctx, "1", "hello")
	fails(err)
	if len(said.Messages) != 1 || said.Messages[0].Part.Text != "you said: hello" {
		t.Fatalf("the bot's answer: %+v", said)
	}
	seen, err := c.stream(ctx)
	fails(err)
	await := func(what string, want func(visible) bool) {
		t.Helper()
		for {
			select {
			case v, ok := <-seen:
				if !ok {
					t.Fatalf("the stream ended before %s", what)
				}
				if want(v) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("%s is not seen on the other node", what)
			}
		}
	}
	// The same customer on the other node is the same customer.
	there := newClient(b.base, c.token)
	again, err := there.say(ctx, "1", "hello")
	fails(err)
	if again.Conversation != said.Conversation || len(again.Messages) != 1 || again.Messages[0].ID != said.Messages[0].ID {
		t.Errorf("the same message on the other node: %+v, want %+v", again, said)
	}
	_, err = there.say(ctx, "2", "agent")
	fails(err)
	await("the handoff", func(v visible) bool { return v.Type == "owner" && v.Owner.Kind == "queued" })

	path := "/v1/agent/conversations/" + said.Conversation
	agents := map[string]*client{"ana": a.agent("ana"), "ben": b.agent("ben")}
	var ok struct{}
	for _, w := range agents {
		fails(w.do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok))
		var list struct {
			Items []struct{ Conversation string }
		}
		fails(w.do(ctx, "/v1/agent/queue", "", nil, &list))
		if len(list.Items) != 1 || list.Items[0].Conversation != said.Conversation {
			t.Fatalf("the queue: %+v", list)
		}
	}
	results := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, w := range agents {
		wg.Go(func() {
			var ok struct{}
			err := w.do(ctx, path+"/claim", "claim-"+name, map[string]any{}, &ok)
			mu.Lock()
			defer mu.Unlock()
			results[name] = err
		})
	}
	wg.Wait()
	winner, loser := "ana", "ben"
	if results["ana"] != nil {
		winner, loser = loser, winner
	}
	var refused *errStatus
	if results[winner] != nil || !errors.As(results[loser], &refused) || refused.status != http.StatusConflict || !strings.Contains(strings.ToLower(refused.body), winner) {
		t.Fatalf("two claims: %v", results)
	}
	// Whoever won answers on the node where the customer is not.
	w := newClient(b.base, b.keys[winner])
	fails(w.do(ctx, path+"/reply", "reply", map[string]any{"text": "a person"}, &ok))
	await("the agent's reply", func(v visible) bool { return v.Type == "message" && v.By == "agent" && v.Part.Text == "a person" })
	if _, err := c.say(ctx, "3", "thank you"); err != nil {
		t.Fatal(err)
	}
	fails(w.do(ctx, path+"/release", "release", map[string]any{}, &ok))
	await("the release", func(v visible) bool { return v.Type == "owner" && v.Owner.Kind == "bot" })
	back, err := there.say(ctx, "4", "and now")
	fails(err)
	if len(back.Messages) != 1 || back.Messages[0].Part.Text != "you said: and now" {
		t.Errorf("the bot after the release: %+v", back)
	}
	for _, call := range bot.asked() {
		if call.Text != "hello" && call.Text != "and now" {
			t.Errorf("the bot was asked %q", call.Text)
		}
	}
	// What is made over the API of one node is in force on the other.
	key := run(t, binary, "admin", "key", "eve-1")
	made := filepath.Join(t.TempDir(), "eve.yaml")
	fails(os.WriteFile(made, fmt.Appendf(nil, "kind: agent\nname: eve\nspec: {name: Eve, queues: [support], keys: [{id: eve-1, sha256: %q}]}\n", field(key, "sha256:")), 0o600))
	run(t, binary, "admin", "resources", "apply", made, "--tenant", "shop", "--config", filepath.Join(a.dir, "turnout.yaml"))
	eve := newClient(b.base, field(key, "key:"))
	for {
		var list struct{}
		err := eve.do(ctx, "/v1/agent/queue", "", nil, &list)
		if err == nil {
			break
		}
		if !errors.As(err, &refused) || refused.status != http.StatusUnauthorized {
			t.Fatalf("an agent who was made on the other node: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	a.stop()
	b.proven(t)
}

// nodeKills is how often a node dies.
func nodeKills() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 100
	}
	return 4
}

// TestNodesKilledInTheMiddle is the story of TestKilledInTheMiddle on two nodes, of which now the one and now the other is
// killed; their clients go to the one that lives.
func TestNodesKilledInTheMiddle(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable()...)
	bot := newTestBot(t)
	nodes := newNodes(t, redis, bot.URL, 5*time.Second, 2)
	for _, n := range nodes {
		n.start()
	}
	ctx := longCtx(t, 4*time.Minute)
	over, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	const customers = 6
	people := make([]*customer, customers)
	for i := range people {
		home, other := nodes[i%2], nodes[1-i%2]
		people[i] = &customer{client: home.visitor(ctx), said: map[string]string{}}
		people[i].others = []string{other.base}
		wg.Go(func() { people[i].chat(t, ctx, over, i) })
	}
	for i, name := range []string{"ana", "ben"} {
		w := &worker{client: nodes[i].agent(name), name: name}
		w.others = []string{nodes[1-i].base}
		wg.Go(func() { w.work(t, ctx, over) })
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for i := range nodeKills() {
		select {
		case <-time.After(time.Duration(200+random.IntN(600)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("out of time")
		}
		nodes[i%2].kill()
		nodes[i%2].start()
	}
	end()
	wg.Wait()
	answered := 0
	for i, p := range people {
		answered += p.check(t, ctx, i)
	}
	if answered == 0 {
		t.Error("no turn was answered in the whole run: the load did not work")
	}
	calls := map[string]map[string]bool{}
	for _, c := range bot.asked() {
		if calls[c.Turn] == nil {
			calls[c.Turn] = map[string]bool{}
		}
		calls[c.Turn][c.Text] = true
	}
	for turn, texts := range calls {
		if len(texts) != 1 {
			t.Errorf("turn %s was put to the bot with different messages: %v", turn, texts)
		}
	}
	t.Logf("%d kills, %d turns answered, %d calls of the bot", nodeKills(), answered, len(bot.asked()))
	nodes[0].stop()
	nodes[1].proven(t)
}
