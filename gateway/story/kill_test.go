package story

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// kills is how often the process dies; the number at every scale, more under soak.
func kills() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 200
	}
	return 20
}

// The whole story under load with the gateway killed by -9 at random moments: nothing that was acknowledged is missing,
// nothing was said twice, nobody but the owner spoke.
func TestKilledInTheMiddle(t *testing.T) {
	bot := newTestBot(t)
	n := newNode(t, bot.URL, 5*time.Second)
	n.start()
	ctx := longCtx(t, 4*time.Minute)
	over, end := context.WithCancel(ctx)
	var wg sync.WaitGroup

	const customers = 12
	people := make([]*customer, customers)
	for i := range people {
		people[i] = &customer{client: n.visitor(ctx), said: map[string]string{}}
		wg.Add(1)
		go func() {
			defer wg.Done()
			people[i].chat(t, ctx, over, i)
		}()
	}
	for _, name := range []string{"ana", "ben"} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			(&worker{client: n.agent(name), name: name}).work(t, ctx, over)
		}()
	}

	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for range kills() {
		select {
		case <-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("out of time")
		}
		n.kill()
		n.start()
	}
	end()
	wg.Wait()

	turnsAnswered := 0
	for i, p := range people {
		turnsAnswered += p.check(t, ctx, i)
	}
	if turnsAnswered == 0 {
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
	t.Logf("%d kills, %d turns answered, %d calls of the bot", kills(), turnsAnswered, len(bot.asked()))
	n.proven(t)
}

// customer writes until the end and remembers what was acknowledged.
type customer struct {
	*client
	said map[string]string // acknowledged id -> text
}

func (c *customer) chat(t *testing.T, ctx, over context.Context, n int) {
	for i := 0; over.Err() == nil; i++ {
		id, text := fmt.Sprintf("%d-%d", n, i), fmt.Sprintf("message %d of %d", i, n)
		if i%7 == 3 {
			text = "agent"
		}
		a, err := c.say(ctx, id, text)
		if err != nil {
			t.Errorf("customer %d, message %d: %v", n, i, err)
			return
		}
		c.said[id] = text
		_ = a
	}
}

// check reads the conversation back and holds it against what was acknowledged and against the rules of ownership.
func (c *customer) check(t *testing.T, ctx context.Context, n int) (answered int) {
	log, err := c.whole(ctx, n)
	if err != nil {
		t.Fatalf("customer %d: %v", n, err)
	}
	answered, faults := judgeLog(c.said, log)
	for _, f := range faults {
		t.Errorf("customer %d: %s", n, f)
	}
	return answered
}

// whole says one last thing and reads the whole conversation.
func (c *customer) whole(ctx context.Context, n int) ([]visible, error) {
	last, err := c.say(ctx, fmt.Sprintf("%d-last", n), "the last message")
	if err != nil {
		return nil, err
	}
	var upTo uint64
	fmt.Sscanf(last.Cursor[strings.LastIndex(last.Cursor, ".")+1:], "%d", &upTo)
	return c.events(ctx, upTo)
}

// worker is an agent: claims what waits, replies once, gives it back or closes it.
type worker struct {
	*client
	name string
	n    int
	rest time.Duration // before it looks again where nobody waits
	did  *tally        // what it did; nil: nobody counts
}

func (w *worker) work(t *testing.T, ctx, over context.Context) {
	for over.Err() == nil {
		var list struct {
			Items []struct{ Conversation string }
		}
		var ok struct{}
		if err := w.do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok); err != nil {
			t.Errorf("%s: presence: %v", w.name, err)
			return
		}
		if err := w.do(ctx, "/v1/agent/queue", "", nil, &list); err != nil {
			t.Errorf("%s: queue: %v", w.name, err)
			return
		}
		for _, item := range list.Items {
			w.n++
			key := fmt.Sprintf("%s-%d", w.name, w.n)
			path := "/v1/agent/conversations/" + item.Conversation
			if err := w.do(ctx, path+"/claim", key, map[string]any{}, &ok); err != nil {
				w.lost(t, "claim", err)
				continue
			}
			w.did.add("claims", 1)
			if err := w.do(ctx, path+"/reply", key+"r", map[string]any{"text": "reply " + key}, &ok); err != nil {
				w.lost(t, "reply", err)
				continue
			}
			w.did.add("replies", 1)
			act := "/release"
			if w.n%3 != 0 {
				act = "/resolve"
			}
			err := w.do(ctx, path+act, key+"e", map[string]any{}, &ok)
			var refused *errStatus
			if errors.As(err, &refused) && strings.Contains(refused.body, "return_limit") {
				act = "/resolve"
				err = w.do(ctx, path+act, key+"f", map[string]any{}, &ok)
			}
			if err != nil {
				w.lost(t, act, err)
				continue
			}
			w.did.add(strings.TrimPrefix(act, "/")+"s", 1)
		}
		if len(list.Items) == 0 {
			pause(over, w.rest)
		}
	}
}

// lost accepts that the other agent was first, and has perhaps given the conversation back to the bot already.
func (w *worker) lost(t *testing.T, act string, err error) {
	var refused *errStatus
	if errors.As(err, &refused) && (refused.status == 409 || refused.status == 403 && act == "claim") {
		return
	}
	t.Errorf("%s: %s: %v", w.name, act, err)
}
