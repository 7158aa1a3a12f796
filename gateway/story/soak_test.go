package story

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

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
	ctx, cancel := context.WithTimeout(context.Background(), whole+6*time.Minute)
	defer cancel()
	over, end := context.WithCancel(ctx)
	defer end()
	s.load(ctx, over)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(3, seed))
	faults := []string{"cut", "kill", "bot down", "stop", "slow bot", "provider", "cut", "stop", "bot down", "slow bot"}
	done := map[string]int{}
	look := time.NewTicker(sampled)
	defer look.Stop()
	next := time.NewTicker(between)
	defer next.Stop()
	last := time.After(whole)
	for i, running := 0, true; running; {
		select {
		case <-last:
			running = false
		case <-look.C:
			if f, err := s.n.figures(false); err == nil {
				s.life = append(s.life, f)
			}
		case <-next.C:
			f := faults[i%len(faults)]
			i++
			done[f]++
			s.fault(ctx, f, random, between)
		}
	}
	s.calm()
	end()
	s.wg.Wait()
	t.Logf("%s with %v", whole, done)
	s.judge(ctx)
}

// soak is a node under load.
type soak struct {
	t     *testing.T
	n     *node
	app   *app
	bot   *faultyBot
	front *front // before the node: what customers connect to
	wg    sync.WaitGroup
	appOf []map[string]bool // conversations of the app's customers

	mu     sync.Mutex
	people []*follower

	life []figures
}

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, bot: newFaultyBot(t)}
	s.n = newNode(t, s.bot.URL, 2*time.Second)
	s.n.change("turnout.yaml", "limits: {allow_networks: [127.0.0.1/32]}", fmt.Sprintf(wide, 10_000, 10*time.Second))
	s.n.change("shop.yaml", "failures: 100000", "failures: 20") // the breaker is part of it
	s.app = newApp(t, s.n, false)
	s.n.start()
	s.front = newFront(t, s.n.base)
	return s
}

// fault makes one thing go wrong, and mends it, except what mends itself, before the time for the next.
func (s *soak) fault(ctx context.Context, name string, random *rand.Rand, between time.Duration) {
	part := between/8 + time.Duration(random.Int64N(int64(between/4)))
	switch name {
	case "kill":
		s.lived()
		s.n.kill()
		s.n.start()
	case "stop":
		pid := s.n.cmd.Process
		if err := pid.Signal(syscall.SIGSTOP); err != nil {
			s.t.Errorf("stopping the node: %v", err)
		}
		pause(ctx, part/2)
		if err := pid.Signal(syscall.SIGCONT); err != nil {
			s.t.Errorf("letting the node go on: %v", err)
		}
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
	if n := len(s.life); n > 0 {
		s.t.Logf("a life of %s: %s at its end", time.Duration(n)*sampled, s.life[n-1])
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
		of := map[string]bool{}
		s.appOf = append(s.appOf, of)
		s.wg.Go(func() {
			for n := 0; over.Err() == nil; n++ {
				words := []string{"hello", "parts", "how are you"}[n%3]
				if n%40 == 39 {
					words = "agent"
				}
				for range 1 + n*3/10 - (n-1)*3/10 { // three in ten twice
					c, err := s.app.say(ctx, fmt.Sprintf("customer-%d-%d", i, n/visitLength), fmt.Sprint(n), words)
					if err != nil {
						s.t.Errorf("the app's customer %d: %v", i, err)
						return
					}
					of[c] = true
				}
				pause(over, 200*time.Millisecond)
			}
		})
	}
	for _, name := range []string{"ana", "ben"} {
		s.wg.Go(func() { (&worker{client: s.n.agent(name), name: name}).work(s.t, ctx, over) })
	}
}

// visitLength is how many messages a customer says before another one comes in the same place: a conversation that people
// have given back twice stays with them, and a load of only such would leave the bot out.
const visitLength = 50

// visit is one customer, from the first message to the last. Two of three listen.
func (s *soak) visit(ctx, over context.Context, place int) {
	f := &follower{customer: customer{client: newClient(s.n.base, ""), said: map[string]string{}}, front: s.front.base, listens: place%3 < 2}
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
	switch place % 3 {
	case 0:
		listening.Go(func() { f.follow(here, f.socket) })
	case 1:
		listening.Go(func() { f.follow(here, f.stream) })
	}
	f.chat(s.t, ctx, over)
	leave()
	listening.Wait()
	f.http.CloseIdleConnections()
}

// judge reads everything back.
func (s *soak) judge(ctx context.Context) {
	t := s.t
	answered, events, logged, listened, sent := 0, 0, 0, 0, 0
	for i, f := range s.people {
		log, err := f.whole(ctx, i)
		if err != nil {
			t.Fatalf("customer %d: %v", i, err)
		}
		n, faults := judgeLog(f.said, log)
		for _, what := range append(faults, judgeWire(f.wire, log)...) {
			t.Errorf("customer %d: %s", i, what)
		}
		answered, events, logged = answered+n, events+len(f.wire), logged+len(log)
		if f.listens {
			listened += len(log)
		}
	}
	for _, of := range s.appOf {
		for c := range of {
			sent += s.app.judge(t, ctx, c)
		}
	}
	if events < listened/2 {
		t.Errorf("of %d events only %d were sent to those who listened", listened, events)
	}
	if answered < logged/10 || answered == 0 || sent == 0 || events == 0 {
		t.Errorf("the load did not work: %d turns answered, %d messages sent, %d events on sockets and streams", answered, sent, events)
	}
	t.Logf("%d customers, %d turns answered, %d events on sockets and streams, %d messages to the app, %d faults of the bot, resumed %d times",
		len(s.people), answered, events, sent, s.bot.failed.Load(), s.resumed())
	s.n.proven(t)
}

func (s *soak) resumed() (n int) {
	for _, f := range s.people {
		n += f.resumed
	}
	return n
}

// follower is a customer who also listens, over connections that break.
type follower struct {
	customer
	n       int
	front   string
	wire    []visible // what it was sent, in order
	cursor  string    // the last one that it got
	resumed int
	listens bool
}

// open begins a session.
func (f *follower) open(ctx context.Context) error {
	var s struct{ Token string }
	err := f.do(ctx, "/v1/web/shop.web/session", "", map[string]any{}, &s)
	f.token = s.Token
	return err
}

func (f *follower) chat(t *testing.T, ctx, over context.Context) {
	for i := 0; over.Err() == nil && i < visitLength; i++ {
		id, words := fmt.Sprintf("%d-%d", f.n, i), fmt.Sprintf("message %d of %d", i, f.n)
		if i == visitLength/2 && f.n%4 == 0 {
			words = "agent"
		}
		var again sync.WaitGroup
		if i*3/10 != (i-1)*3/10 { // three in ten twice, at the same time
			again.Go(func() { _, _ = f.say(ctx, id, words) })
		}
		_, err := f.say(ctx, id, words)
		again.Wait()
		if err != nil {
			t.Errorf("customer %d, message %d: %v", f.n, i, err)
			return
		}
		f.said[id] = words
		pause(over, 150*time.Millisecond)
	}
}

// follow listens again and again from where it was.
func (f *follower) follow(over context.Context, listen func(context.Context) error) {
	for over.Err() == nil {
		if listen(over) != nil {
			f.resumed++
		}
		pause(over, 20*time.Millisecond)
	}
}

func (f *follower) got(cursor string, v visible) {
	f.wire = append(f.wire, v)
	f.cursor = cursor
}

// socket listens on a WebSocket until it breaks.
func (f *follower) socket(ctx context.Context) error {
	c, _, err := websocket.Dial(ctx, f.front+"/v1/web/shop.web/socket", nil)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	hello, err := json.Marshal(map[string]string{"type": "hello", "token": f.token, "after": f.cursor})
	if err != nil {
		return err
	}
	if err := c.Write(ctx, websocket.MessageText, hello); err != nil {
		return err
	}
	for {
		_, raw, err := c.Read(ctx)
		if err != nil {
			return err
		}
		var frame struct {
			Type, Cursor string
			Event        visible
		}
		if err := json.Unmarshal(raw, &frame); err != nil {
			return err
		}
		if frame.Type == "event" {
			f.got(frame.Cursor, frame.Event)
		}
	}
}

// stream listens on an event stream until it breaks.
func (f *follower) stream(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.front+"/v1/web/shop.web/events?after="+url.QueryEscape(f.cursor), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	id := ""
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			id = value
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && id != "" {
			var v visible
			if err := json.Unmarshal([]byte(data), &v); err != nil {
				return err
			}
			f.got(id, v)
			id = ""
		}
	}
	return fmt.Errorf("the stream ended: %w", lines.Err())
}

// faultyBot is a bot that can be slow or down.
type faultyBot struct {
	*testBot
	slow   atomic.Int64
	down   atomic.Bool
	failed atomic.Int64
}

func newFaultyBot(t *testing.T) *faultyBot {
	b := &faultyBot{testBot: newTestBot(t)}
	inner := b.Config.Handler
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.down.Load() {
			b.failed.Add(1)
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if d := b.slow.Load(); d > 0 {
			pause(r.Context(), time.Duration(d))
		}
		inner.ServeHTTP(w, r)
	})
	return b
}

// front passes connections on to a node, and can cut them all.
type front struct {
	base string
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newFront(t *testing.T, base string) *front {
	f := &front{open: map[net.Conn]struct{}{}}
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.base = "http://" + ln.Addr().String()
	quiet := log.New(io.Discard, "", 0) // what it has to say is that it was cut
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ErrorLog = quiet
	server := &http.Server{Handler: proxy, ErrorLog: quiet, ConnState: f.state, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		f.cut()
		_ = server.Close()
		<-done
	})
	return f
}

func (f *front) state(c net.Conn, s http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch s {
	case http.StateNew:
		f.open[c] = struct{}{}
	case http.StateClosed:
		delete(f.open, c)
	}
}

// cut breaks every connection, in the middle of whatever it carries.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		c.Close()
	}
	f.open = map[net.Conn]struct{}{}
}
