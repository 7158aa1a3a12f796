package story

import (
	"context"
	"fmt"
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

// onCluster lets nodes share a Redis Cluster in the place of one server, and wait for a replica.
func onCluster(t *testing.T, nodes []*node, c *redistest.Cluster) {
	t.Helper()
	for _, n := range nodes {
		b, err := os.ReadFile(filepath.Join(n.dir, "turnout.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		one := fmt.Sprintf("address: %q", c.Servers[0].Addr())
		if strings.Count(string(b), one) != 1 {
			t.Fatalf("the settings do not name the server once:\n%s", b)
		}
		text := strings.Replace(string(b), one, fmt.Sprintf(`cluster: ["%s"], wait: 1`, strings.Join(c.Addrs(), `", "`)), 1)
		// All customers are behind one address here.
		text = strings.Replace(text, "limits: {", "limits: {messages_per_minute: {visitor: 1000000, address: 1000000, tenant: 10000000}, ", 1)
		n.write("turnout.yaml", text)
	}
}

// clusterSettings are the settings that the page asks for, as a command line.
func clusterSettings(t *testing.T, page string) (args []string) {
	t.Helper()
	block := regexp.MustCompile("(?s)<!-- redis-cluster.conf -->\n+```conf\n(.*?)```").FindStringSubmatch(page)
	if block == nil {
		t.Fatal("the page has no settings of the servers of a Cluster")
	}
	for line := range strings.Lines(block[1]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = append(args, "--"+name, value)
	}
	return args
}

// pageSays runs the commands of a block of the page on a node's settings and looks for what it says that they print.
func pageSays(t *testing.T, page, name string, n *node) {
	t.Helper()
	block := regexp.MustCompile("(?s)<!-- " + name + " -->\n+```sh\n(.*?)```").FindStringSubmatch(page)
	if block == nil {
		t.Fatalf("the page has no commands %q", name)
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

// talk is chat for somebody who thinks before each message: while people have a conversation, all others would wait for none.
func (c *customer) talk(t *testing.T, ctx, over context.Context, n int) {
	for i := 0; over.Err() == nil; i++ {
		id, text := fmt.Sprintf("%d-%d", n, i), fmt.Sprintf("message %d of %d", i, n)
		if i%12 == 5 {
			text = "agent"
		}
		if _, err := c.say(ctx, id, text); err != nil {
			t.Errorf("customer %d, message %d: %v", n, i, err)
			return
		}
		c.said[id] = text
		pause(over, 30*time.Millisecond)
	}
}

// TestNodesOnCluster is two nodes on a Redis Cluster, and the primary that has the agents' queue dies while customers write
// and agents work. Its replica takes over, and takes writes when the dead one is back to confirm them. Nothing that was
// acknowledged is gone, nothing is there twice, nobody but the owner spoke, and all of it is proven at the end.
func TestNodesOnCluster(t *testing.T) {
	text := page(t)
	c := redistest.StartCluster(t, 3, 1, clusterSettings(t, text)...)
	bot := newTestBot(t)
	nodes := newNodes(t, c.Servers[0], bot.URL, 5*time.Second, 2)
	onCluster(t, nodes, c)
	pageSays(t, text, "cluster", nodes[0])
	for _, n := range nodes {
		n.start()
	}
	ctx := longCtx(t, 4*time.Minute)
	over, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	const customers = 4
	people := make([]*customer, customers)
	for i := range people {
		people[i] = &customer{client: nodes[i%2].visitor(ctx), said: map[string]string{}}
		people[i].others = []string{nodes[1-i%2].base}
		wg.Go(func() { people[i].talk(t, ctx, over, i) })
	}
	for i, name := range []string{"ana", "ben"} {
		w := &worker{client: nodes[i].agent(name), name: name, rest: 50 * time.Millisecond}
		w.others = []string{nodes[1-i].base}
		wg.Go(func() { w.work(t, ctx, over) })
	}
	answeredBy := func(n int) {
		t.Helper()
		for until := len(bot.asked()) + n; len(bot.asked()) < until; time.Sleep(10 * time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatal("out of time")
			}
		}
	}
	answeredBy(15)
	slot, err := c.Servers[0].Client().ClusterKeySlot(ctx, "turnout:{q:shop}").Result()
	if err != nil {
		t.Fatal(err)
	}
	dead := c.Owner(int(slot))
	dead.Kill()
	for c.Owner(int(slot)) == dead {
		if ctx.Err() != nil {
			t.Fatal("nobody takes over")
		}
		time.Sleep(20 * time.Millisecond)
	}
	dead.Restart()
	c.Settled()
	answeredBy(15)
	end()
	wg.Wait()
	answered := 0
	for i, p := range people {
		answered += p.check(t, ctx, i)
	}
	if answered == 0 {
		t.Error("no turn was answered in the whole run: the load did not work")
	}
	t.Logf("%d turns answered, %d calls of the bot", answered, len(bot.asked()))
	nodes[0].stop()
	nodes[1].provenOf(t, 20)
}
