package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
	"turnout/adapters/hook"
	"turnout/gateway/fault"
)

const (
	appSecret  = "what the app's server signs with, 32+"
	signSecret = "what the gateway signs with, another one"
)

// appChannel is a callback channel beside the web's, for a supervisor to look at.
const appChannel = `---
kind: channel
name: app
spec:
  adapter: callback
  config:
    url: %s
    secret: file:data/keys/app.secret
    sign: file:data/keys/sign.secret
    idempotent: %v
    timeout: 2s
    attempts: 100
---
kind: agent
name: sue
spec: {name: Sue, role: supervisor, queues: [support], capacity: 1000, keys: [{id: sue-1, sha256: "%s"}]}
`

// app is an app of the shop's own: its customers write through it, and its server is the provider.
type app struct {
	*adaptertest.Provider
	n       *node
	sue     *client // a supervisor, who sees everything
	ok      bool    // an id is taken once
	in, out string  // the secrets
	failed  func(*errStatus)
	// seen, if it is not nil, is called when a message has arrived.
	seen func(adaptertest.Wire)
}

// newApp adds the app's channel to a node that does not run yet.
func newApp(t *testing.T, n *node, idempotent bool) *app {
	t.Helper()
	a := &app{n: n, ok: idempotent, in: appSecret, out: signSecret}
	a.Provider = adaptertest.NewProvider(t, a.read, a.take)
	made := run(t, binary, "admin", "key", "sue-1")
	n.keys["sue"] = field(made, "key:")
	a.sue = n.agent("sue")
	n.write("data/keys/app.secret", appSecret)
	n.write("data/keys/sign.secret", signSecret)
	was, err := os.ReadFile(filepath.Join(n.dir, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	n.write("shop.yaml", string(was)+fmt.Sprintf(appChannel, a.URL, idempotent, field(made, "sha256:")))
	return a
}

func (a *app) take(w http.ResponseWriter, m adaptertest.Wire) {
	fmt.Fprintf(w, `{"id":"app-%s"}`, m.ID)
}

func (a *app) read(r *http.Request, body []byte) (adaptertest.Wire, bool) {
	var m struct {
		ID, To  string
		By      string
		Message part
		Attempt int
		Retry   bool
	}
	ok := json.Unmarshal(body, &m) == nil &&
		r.Header.Get(hook.HeaderSignature) == hook.Sign([]byte(a.out), r.Header.Get(hook.HeaderTimestamp), body)
	w := adaptertest.Wire{
		ID: m.ID, To: m.To, Text: m.Message.Text, Key: r.Header.Get("Idempotency-Key"), Attempt: m.Attempt, Retry: m.Retry, Part: body,
	}
	if a.seen != nil {
		a.seen(w)
	}
	return w, ok
}

// say hands in a customer's message and returns its conversation, once that is durable.
func (a *app) say(ctx context.Context, who, id, text string) (string, error) {
	var answer struct {
		Messages []struct{ Conversation string }
	}
	err := a.post(ctx, "/messages", map[string]any{"messages": []any{map[string]any{"id": id, "from": who, "text": text}}}, &answer)
	if err != nil || len(answer.Messages) != 1 {
		return "", fmt.Errorf("handing in %s: %+v, %w", id, answer, err)
	}
	return answer.Messages[0].Conversation, nil
}

// post sends a signed request and repeats it until it is answered: the process may be dead for a while.
func (a *app) post(ctx context.Context, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		err := a.once(ctx, path, raw, into)
		var refused *errStatus
		if err == nil || errors.As(err, &refused) && refused.status < 500 && refused.status != http.StatusTooManyRequests {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, last: %w", ctx.Err(), err)
		case <-pause.C:
		}
	}
}

func (a *app) once(ctx context.Context, path string, raw []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.n.base+"/v1/hooks/shop.app"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set(hook.HeaderTimestamp, ts)
	req.Header.Set(hook.HeaderSignature, hook.Sign([]byte(a.in), ts, raw))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		refused := &errStatus{resp.StatusCode, string(b), resp.Header}
		if a.failed != nil && resp.StatusCode >= 500 {
			a.failed(refused)
		}
		return refused
	}
	return json.Unmarshal(b, into)
}

// logged is what a supervisor sees of a conversation.
type logged struct {
	Events []struct {
		Seq     uint64
		Type    string
		Message *struct{ ID, By, Text string }
		Status  *struct{ Message, Status, Code string }
		Handoff *struct {
			Rule     string
			InFlight []string `json:"in_flight"`
		}
		Owner *struct {
			InFlight []string `json:"in_flight"`
			To       struct{ Kind string }
		}
	}
	More bool
}

// log reads the whole log of a conversation: a quick machine says more than one page holds.
func (a *app) log(ctx context.Context, conversation string) (l logged, err error) {
	for after := uint64(0); ; {
		var page logged
		path := fmt.Sprintf("/v1/agent/conversations/%s?limit=500&after=%d", conversation, after)
		if err := a.sue.do(ctx, path, "", nil, &page); err != nil {
			return l, err
		}
		l.Events = append(l.Events, page.Events...)
		if !page.More || len(page.Events) == 0 {
			return l, nil
		}
		after = page.Events[len(page.Events)-1].Seq
	}
}

// statuses are the steps of each message's delivery.
func (l logged) statuses() map[string][]string {
	out := map[string][]string{}
	for _, e := range l.Events {
		if e.Status != nil {
			out[e.Status.Message] = append(out[e.Status.Message], e.Status.Status)
		}
	}
	return out
}

// settled reports whether everything that was said has an end.
func (l logged) settled() bool {
	steps := l.statuses()
	for _, e := range l.Events {
		if e.Type == "message.sent" && len(steps[e.Message.ID]) == 0 {
			return false
		}
	}
	return true
}

// judge holds what was on the wire against what the log of a conversation says: nothing is lost, nothing was taken twice
// unless the log says that it may have been, the order holds, and what was cancelled never left.
func (a *app) judge(t *testing.T, ctx context.Context, conversation string) (sent int) {
	t.Helper()
	var l logged
	waitFor(t, ctx, func() bool {
		var err error
		if l, err = a.log(ctx, conversation); err != nil {
			t.Fatal(err)
		}
		for _, steps := range l.statuses() {
			if last := steps[len(steps)-1]; last == "uncertain" && !a.ok && len(steps) == 1 && !a.dead(l, steps) {
				return false
			}
		}
		return l.settled()
	})
	first := map[string]int{}
	for i, m := range a.Wire() {
		if _, ok := first[m.ID]; !ok {
			first[m.ID] = i
		}
	}
	inFlight := map[string]bool{}
	steps, last := l.statuses(), -1
	for _, e := range l.Events {
		if e.Owner != nil {
			for _, m := range e.Owner.InFlight {
				inFlight[m] = true
			}
		}
	}
	for _, e := range l.Events {
		if e.Type != "message.sent" {
			continue
		}
		m := e.Message.ID
		marked, cancelled := steps[m][0] == "uncertain", steps[m][len(steps[m])-1] == "cancelled"
		at, onWire := first[m]
		switch taken := a.Taken(m); {
		case cancelled && taken > 0:
			t.Errorf("%s was cancelled and was taken %d times", m, taken)
		case taken == 0 && !cancelled && !marked:
			t.Errorf("%s (%s) was never taken, and the log says %v", m, e.Message.By, steps[m])
		case taken > 1 && !a.ok && !marked:
			t.Errorf("%s was taken %d times, and the log does not say so: %v", m, taken, steps[m])
		}
		if onWire {
			if at < last {
				t.Errorf("%s was sent before one that was said before it", m)
			}
			last = at
			sent++
		}
	}
	return sent
}

// dead reports whether what is uncertain stays so: an agent's word, or the bot's that people overtook.
func (a *app) dead(l logged, steps []string) bool {
	for _, e := range l.Events {
		if e.Type == "message.sent" && fmt.Sprint(l.statuses()[e.Message.ID]) == fmt.Sprint(steps) && e.Message.By == "agent" {
			return true
		}
	}
	return l.overtaken()
}

func (l logged) overtaken() bool {
	for _, e := range l.Events {
		if e.Owner != nil && e.Owner.To.Kind != "bot" {
			return true
		}
	}
	return false
}

// At each step of a send the process is killed, at its first and at its second pass, before a provider that takes an id
// once and before one that does not: nothing is lost, nothing comes twice unless the log says so.
func TestKilledAtEveryStepOfASend(t *testing.T) {
	for _, point := range fault.Sends() {
		for _, pass := range []int{1, 2, 4} {
			for _, idempotent := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/idempotent=%v", point, pass, idempotent), func(t *testing.T) {
					t.Parallel()
					killedSending(t, point, pass, idempotent)
				})
			}
		}
	}
}

func killedSending(t *testing.T, point fault.Point, pass int, idempotent bool) {
	bot := newTestBot(t)
	n := newNode(t, bot.URL, time.Second)
	a := newApp(t, n, idempotent)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), faultPoint+"="+string(point), faultPass+"="+strconv.Itoa(pass),
		faultConfig+"="+filepath.Join(n.dir, "turnout.yaml"))
	n.run(cmd)
	ctx := longCtx(t, 3*time.Minute)
	first, over, watched := n.done, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-first:
			n.start()
		case <-over:
		}
	}()

	conversation := ""
	for i, text := range []string{"one", "parts", "agent"} {
		if conversation, err = a.say(ctx, "customer", fmt.Sprint(i), text); err != nil {
			t.Fatal(err)
		}
		waitFor(t, ctx, func() bool { // the bot has answered, and all of it has an end
			l, err := a.log(ctx, conversation)
			if err != nil {
				t.Fatal(err)
			}
			return len(l.statuses()) >= []int{1, 4, 5}[i] && l.settled()
		})
	}
	path := "/v1/agent/conversations/" + conversation
	sue := n.agent("sue")
	var ok struct{}
	waitFor(t, ctx, func() bool {
		if err := sue.do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok); err != nil {
			t.Fatal(err)
		}
		return sue.do(ctx, path+"/claim", "c", map[string]any{}, &ok) == nil
	})
	for i := range 2 {
		if err := sue.do(ctx, path+"/reply", fmt.Sprint("r", i), map[string]any{"text": fmt.Sprint("reply ", i)}, &ok); err != nil {
			t.Fatal(err)
		}
	}
	if sent := a.judge(t, ctx, conversation); sent < 6 {
		t.Errorf("%d messages were on the wire, want the bot's four, the queue's word and a reply at least", sent)
	}
	close(over)
	<-watched
	select {
	case <-first:
	default:
		t.Errorf("the story never passed %s %d times: the process did not die", point, pass)
	}
	n.kill()
}

// A handoff while rows wait: on the wire nothing of the bot's begins after it is acknowledged but the one part whose
// attempt was durable.
func TestHandoffWhileRowsWait(t *testing.T) {
	bot := newTestBot(t)
	n := newNode(t, bot.URL, time.Second)
	a := newApp(t, n, true)
	n.start()
	ctx := longCtx(t, 3*time.Minute)
	a.Next(adaptertest.Hang) // the first part is under way until its time is over
	if _, err := a.say(ctx, "customer", "1", "parts"); err != nil {
		t.Fatal(err)
	}
	<-a.Arrived()
	conversation, err := a.say(ctx, "customer", "2", "agent")
	if err != nil {
		t.Fatal(err)
	}
	before := len(a.Wire())
	var l logged
	waitFor(t, ctx, func() bool {
		if l, err = a.log(ctx, conversation); err != nil {
			t.Fatal(err)
		}
		return l.settled()
	})
	wire := a.Wire()
	if before != 1 || len(wire) != 2 || wire[1].Text == "" || strings.HasPrefix(wire[1].Text, "part ") {
		t.Errorf("on the wire, %d before the handoff: %+v", before, wire)
	}
	steps := l.statuses()
	var named []string
	for _, e := range l.Events {
		if e.Handoff != nil {
			named = e.Handoff.InFlight
		}
	}
	if len(named) != 1 || named[0] != wire[0].ID || fmt.Sprint(steps[wire[0].ID]) != "[uncertain]" {
		t.Errorf("in flight: %v, want %s, which ends as %v", named, wire[0].ID, steps[wire[0].ID])
	}
	cancelled := 0
	for _, s := range steps {
		if s[0] == "cancelled" {
			cancelled++
		}
	}
	if cancelled != 2 {
		t.Errorf("%d parts were cancelled, want 2", cancelled)
	}
	n.stop()
}

// Customers, agents and a provider that does everything wrong, with the process killed at random: the wire and the logs
// agree in the end.
func TestKilledWhileSending(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent=%v", idempotent), func(t *testing.T) { killedWhileSending(t, idempotent) })
	}
}

func killedWhileSending(t *testing.T, idempotent bool) {
	bot := newTestBot(t)
	n := newNode(t, bot.URL, 5*time.Second)
	a := newApp(t, n, idempotent)
	n.start()
	ctx := longCtx(t, 4*time.Minute)
	over, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	const customers = 8
	conversations := make([]map[string]bool, customers)
	for i := range conversations {
		conversations[i] = map[string]bool{}
		wg.Go(func() {
			for said := 0; over.Err() == nil; said++ {
				text := []string{"hello", "parts", "how are you"}[said%3]
				if said%9 == 8 {
					text = "agent"
				}
				c, err := a.say(ctx, fmt.Sprint("customer-", i), fmt.Sprint(said), text)
				if err != nil {
					t.Errorf("customer %d: %v", i, err)
					return
				}
				conversations[i][c] = true
				select {
				case <-time.After(time.Duration(20+10*i) * time.Millisecond):
				case <-over.Done():
				}
			}
		})
	}
	for _, name := range []string{"ana", "ben"} {
		wg.Go(func() { (&worker{client: n.agent(name), name: name}).work(t, ctx, over) })
	}
	faults := []adaptertest.Fault{
		adaptertest.Take, adaptertest.Drop, adaptertest.Take, adaptertest.Busy, adaptertest.Take, adaptertest.Crash, adaptertest.Take, adaptertest.Cut,
	}
	random := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	for range kills() / 2 {
		next := make([]adaptertest.Fault, 20)
		for i := range next {
			next[i] = faults[random.IntN(len(faults))]
		}
		a.Next(next...)
		select {
		case <-time.After(time.Duration(100+random.IntN(500)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("out of time")
		}
		n.kill()
		n.start()
	}
	a.Always(adaptertest.Take)
	end()
	wg.Wait()
	sent := 0
	for _, of := range conversations {
		for c := range of {
			sent += a.judge(t, ctx, c)
		}
	}
	if sent == 0 {
		t.Error("nothing was sent in the whole run: the load did not work")
	}
	t.Logf("%d kills, %d messages on the wire, %d sends", kills()/2, sent, len(a.Wire()))
	n.stop()
}
