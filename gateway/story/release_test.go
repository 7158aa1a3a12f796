package story

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
	"turnout/gateway/conversation"
)

// The environment of a process that is a release of its own: the version of its events, and its settings.
const (
	releaseEvents = "TURNOUT_STORY_EVENTS"
	releaseConfig = "TURNOUT_STORY_RELEASE"
)

// ofRelease is the command of a node that is turnout serve of another release.
func (n *node) ofRelease() *exec.Cmd {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), releaseEvents+"="+strconv.Itoa(n.release), releaseConfig+"="+filepath.Join(n.dir, "turnout.yaml"))
	return cmd
}

// serveRelease is turnout serve with events of another version.
func serveRelease() int {
	fails := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	v, err := strconv.Atoi(os.Getenv(releaseEvents))
	if err != nil {
		return fails(err)
	}
	cfg, err := config.Load(os.Getenv(releaseConfig))
	if err != nil {
		return fails(err)
	}
	over, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	g, err := gateway.New(over, gateway.Options{Config: cfg, Registry: builtin.Registry(), Events: conversation.Format(v)})
	if err == nil {
		err = g.Start(context.Background())
	}
	if err != nil {
		return fails(err)
	}
	fmt.Println("serving")
	<-over.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		return fails(err)
	}
	return 0
}

// replace ends a node, kindly or not, and starts it as another release.
func (c *fleet) replace(ctx context.Context, i, release int, kindly bool) {
	n := c.nodes[i]
	if kindly {
		n.stop()
	} else {
		n.kill()
	}
	n.release = release
	n.start()
	c.worked(ctx)
	if release > conversation.Version { // it is the release that it should be, and writes what the others read
		resp, err := c.http.Get(n.ops + "/healthz")
		if err != nil {
			c.t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("version %d of %d", conversation.Version, release); err != nil || !strings.Contains(string(b), want) && c.release == 0 {
			c.t.Errorf("a node of the next release says %s, %v, want %q", b, err, want)
		}
	}
}

// TestRollingRestart replaces the nodes of one release by those of the next under load, and back again, one by one, some of
// them stopped and some killed. As long as the way back is open all of them write what both read. Then, at full scale, it is
// closed: the next version is written, and the release before is refused.
func TestRollingRestart(t *testing.T) {
	const before, next = conversation.Version, conversation.Version + 1
	count, rounds := 2, 1
	var settings []string
	if full() {
		count, rounds = 4, 5
		settings = []string{"way_back: 20s"} // a round has at least one node of the release before in it
	} else {
		t.Parallel()
	}
	c := newFleet(t, count, false, settings...)
	ctx, end := c.begin(time.Duration(2*rounds*count)*30*time.Second + 3*time.Minute)
	for round := range rounds {
		for i := range count - 1 {
			c.replace(ctx, i, next, (round+i)%2 == 0)
		}
		for i := range count - 1 {
			c.replace(ctx, i, before, (round+i)%2 == 1)
		}
	}
	for i := range count {
		c.replace(ctx, i, next, i%2 == 1)
	}
	want := map[int]bool{before: true}
	if full() {
		waitFor(t, ctx, func() bool {
			for _, n := range c.nodes {
				if !strings.Contains(n.log.String(), "the store's events have another version") {
					return false
				}
			}
			return true
		})
		c.worked(ctx)
		want[next], c.release = true, next
		c.replace(ctx, 0, next, false)
	}
	end()
	got := map[int]bool{}
	for _, tk := range c.judge(ctx) {
		for _, e := range tk.log {
			got[e.V] = true
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the log holds events of versions %v, want %v", got, want)
	}
	if full() {
		n := c.nodes[0]
		n.kill()
		n.release = before
		out, err := n.ofRelease().CombinedOutput()
		if err == nil || !strings.Contains(string(out), fmt.Sprintf("version %d", next)) {
			t.Errorf("the release before starts: %v\n%s", err, out)
		}
	}
}
