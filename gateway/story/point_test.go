package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
	"turnout/gateway/fault"
)

// The environment of a process that dies at a named point: which one, at which time it is passed, with which settings.
const (
	faultPoint  = "TURNOUT_STORY_POINT"
	faultPass   = "TURNOUT_STORY_PASS"
	faultConfig = "TURNOUT_STORY_CONFIG"
)

// serveUntilFault is turnout serve with an injector that kills the process, -9, at the point, or with a disk that goes wrong.
func serveUntilFault() int {
	pass, _ := strconv.Atoi(os.Getenv(faultPass))
	cfg, err := config.Load(os.Getenv(faultConfig))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var passed atomic.Int64
	ctx := context.Background()
	o := gateway.Options{
		Config: cfg, Registry: builtin.Registry(),
		Faults: func(_ context.Context, p fault.Point) error {
			if string(p) == os.Getenv(faultPoint) && passed.Add(1) == int64(pass) {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		},
		Fatal: func(error) { os.Exit(fatalExit) },
	}
	if mode := os.Getenv(faultDisk); mode != "" {
		o.FS = newBadDisk(mode)
	}
	g, err := gateway.New(ctx, o)
	if err == nil {
		err = g.Start(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("serving")
	select {}
}

// At every named step of the way the process is killed, at its first and at its second pass; a new one goes on, and the
// story comes out the same: everything once.
func TestKilledAtEveryStep(t *testing.T) {
	for _, point := range fault.Points() {
		for _, pass := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", point, pass), func(t *testing.T) {
				t.Parallel()
				killedAt(t, point, pass)
			})
		}
	}
}

func killedAt(t *testing.T, point fault.Point, pass int) {
	bot := newTestBot(t)
	n := newNode(t, bot.URL, time.Second)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), faultPoint+"="+string(point), faultPass+"="+strconv.Itoa(pass),
		faultConfig+"="+filepath.Join(n.dir, "turnout.yaml"))
	n.run(cmd)

	// The process dies somewhere in the story; its supervisor starts another, which has no fault.
	ctx := longCtx(t, 3*time.Minute)
	first := n.done
	watched := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-first:
			n.start()
		case <-over:
		}
	}()
	tell(t, ctx, n)
	close(over)
	<-watched
	select {
	case <-first:
	default:
		t.Errorf("the story never passed %s %d times: the process did not die", point, pass)
	}
	n.kill()
}

// tell is a story that passes every point, at least twice.
func tell(t *testing.T, ctx context.Context, n *node) {
	t.Helper()
	c := &customer{client: n.visitor(ctx), said: map[string]string{}}
	say := func(id, text string) answer {
		t.Helper()
		a, err := c.say(ctx, id, text)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		c.said[id] = text
		return a
	}
	agent := n.agent("ana")
	var ok struct{}
	act := func(path, key string, body any) {
		t.Helper()
		if err := agent.do(ctx, path, key, body, &ok); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	var conversation string
	for round := range 2 {
		if a := say(fmt.Sprint(round, "-hello"), "hello"); a.Owner.Kind != "bot" || len(a.Messages) != 1 {
			t.Errorf("round %d: hello was answered with %+v", round, a)
		}
		a := say(fmt.Sprint(round, "-agent"), "agent")
		if a.Owner.Kind != "queued" {
			t.Fatalf("round %d: owner %+v after asking for a person", round, a.Owner)
		}
		conversation = "/v1/agent/conversations/" + a.Conversation
		// Presence is a heartbeat: a new process learns it from the next one.
		waitFor(t, ctx, func() bool {
			act("/v1/agent/presence", "", map[string]any{})
			err := agent.do(ctx, conversation+"/claim", fmt.Sprint("c", round), map[string]any{}, &ok)
			var refused *errStatus
			if errors.As(err, &refused) && strings.Contains(refused.body, "no_capacity") {
				return false
			}
			if err != nil {
				t.Fatalf("claim: %v", err)
			}
			return true
		})
		act(conversation+"/reply", fmt.Sprint("r", round), map[string]any{"text": fmt.Sprint("reply ", round), "hold": 0.05})
		waitFor(t, ctx, func() bool { return holds(t, ctx, agent, conversation) == 0 })
		act(conversation+"/release", fmt.Sprint("e", round), map[string]any{})
	}
	c.check(t, ctx, 0)
}

// holds counts the replies that still wait in their send hold.
func holds(t *testing.T, ctx context.Context, agent *client, conversation string) int {
	t.Helper()
	var got struct {
		Held []struct{ ID string } `json:"held_out"`
	}
	if err := agent.do(ctx, conversation, "", nil, &got); err != nil {
		t.Fatal(err)
	}
	return len(got.Held)
}
