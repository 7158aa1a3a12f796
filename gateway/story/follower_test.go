package story

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// follower is a customer who also listens, over connections that break.
type follower struct {
	customer
	n       int
	front   string
	wire    []visible // what it was sent, in order
	cursor  string    // the last one that it got
	resumed int

	conversation string // once it was judged
}

// open begins a session.
func (f *follower) open(ctx context.Context) error {
	var s struct{ Token string }
	err := f.do(ctx, "/v1/web/shop.web/session", "", map[string]any{}, &s)
	f.token = s.Token
	return err
}

func (f *follower) chat(t *testing.T, ctx, over context.Context, did *tally) {
	for i := 0; over.Err() == nil && i < visitLength; i++ {
		id, words := fmt.Sprintf("%d-%d", f.n, i), fmt.Sprintf("message %d of %d", i, f.n)
		switch {
		case i == visitLength/2 && f.n%4 == 0:
			words = "agent"
		case i == visitLength/2 && f.n%8 == 1:
			words = "a stolen card, of " + id
		}
		var again sync.WaitGroup
		if twice(i) { // at the same time
			did.add("duplicates from visitors", 1)
			again.Go(func() { _, _ = f.say(ctx, id, words) })
		}
		_, err := f.say(ctx, id, words)
		again.Wait()
		if err != nil {
			t.Errorf("customer %d, message %d: %v", f.n, i, err)
			return
		}
		f.said[id] = words
		did.add("messages of visitors", 1)
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
