package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

// These tests are inside the package to shorten its intervals.

const testKey = "acme.test"

func open(t *testing.T, section adaptertest.YAML, change func(*Channel)) (*adaptertest.Kit, *Channel, *adaptertest.Server) {
	t.Helper()
	k := adaptertest.New(t, testKey)
	ch, err := New("allow_no_origin: true\n"+section, k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	c := ch.(*Channel)
	if change != nil {
		change(c)
	}
	return k, c, adaptertest.Serve(t, c)
}

func ready(t *testing.T, c *Channel, s *adaptertest.Server, v visitor) (context.Context, *websocket.Conn) {
	t.Helper()
	return readyAfter(t, c, s, v, "")
}

func readyAfter(t *testing.T, c *Channel, s *adaptertest.Server, v visitor, after adapters.Cursor) (context.Context, *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, s.URL+"/v1/web/"+testKey+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	hello := fmt.Sprintf(`{"type":"hello","token":%q,"after":%q}`, c.tokens.sign(v), after)
	if err := conn.Write(ctx, websocket.MessageText, []byte(hello)); err != nil {
		t.Fatal(err)
	}
	return ctx, conn
}

func closeCode(ctx context.Context, conn *websocket.Conn) int {
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			var c websocket.CloseError
			if errors.As(err, &c) {
				return int(c.Code)
			}
			return 0
		}
	}
}

func someone(c *Channel, left time.Duration) visitor {
	return visitor{id: c.newVisitor(), expires: c.deps.Now().Add(left)}
}

func TestSocketEndsWithItsToken(t *testing.T) {
	_, c, s := open(t, "", nil)
	// A second is the finest that a token's expiry can be.
	ctx, conn := ready(t, c, s, someone(c, time.Second))
	if code := closeCode(ctx, conn); code != closeExpired {
		t.Errorf("close code %d", code)
	}
}

func TestSocketWithoutHello(t *testing.T) {
	_, c, s := open(t, "", func(c *Channel) { c.timing.socket.First = time.Millisecond })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.URL+"/v1/web/"+testKey+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	if code := closeCode(ctx, conn); code != closePolicy {
		t.Errorf("close code %d", code)
	}
	s.Stop()
	if c.streams.total != 0 {
		t.Errorf("%d streams are counted", c.streams.total)
	}
}

// TestSocketThatShowsNoLife has a client that reads no more once it is ready, so it answers no ping.
func TestSocketThatShowsNoLife(t *testing.T) {
	k, c, s := open(t, "", func(c *Channel) {
		c.timing.socket.Ping, c.timing.socket.Silence = 5*time.Millisecond, 10*time.Millisecond
	})
	v := someone(c, time.Hour)
	ctx, conn := ready(t, c, s, v)
	_, _, _ = conn.Read(ctx) // the first frame, or already the last: both come after the hello was taken
	waitFor(t, func() bool { return k.World.Watches() == 0 })
}

// TestSlowReader floods a client that does not read: its socket ends, another one of the same visitor does not notice,
// and the client resumes where it was.
func TestSlowReader(t *testing.T) {
	k, c, s := open(t, "limits: {burst: 100000, rate: 100000}\n", func(c *Channel) { c.timing.socket.Write = 50 * time.Millisecond })
	slow, fast := someone(c, time.Hour), someone(c, time.Hour)
	slowCtx, slowConn := ready(t, c, s, slow)
	fastCtx, fastConn := ready(t, c, s, fast)
	waitFor(t, func() bool { return k.World.Watches() == 2 })
	big := strings.Repeat("x", 32<<10)
	for range 500 {
		k.World.Say(c.address(slow.address()), message.ByAgent, message.Part{Text: big})
	}
	waitFor(t, func() bool { return k.World.Watches() == 1 })
	k.World.Say(c.address(fast.address()), message.ByAgent, message.Part{Text: "hello"})
	for {
		_, raw, err := fastConn.Read(fastCtx)
		if err != nil {
			t.Fatalf("the other socket: %v", err)
		}
		if strings.Contains(string(raw), "hello") {
			break
		}
	}
	// What had been sent before it was dropped is still there, and what follows comes after a return: all of it, once.
	var last uint64
	var cursor adapters.Cursor
	take := func(ctx context.Context, conn *websocket.Conn) error {
		for last < 500 {
			_, raw, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			var f eventFrame
			if err := json.Unmarshal(raw, &f); err != nil {
				t.Fatal(err)
			}
			if f.Type != "event" {
				continue
			}
			if f.Event.VSeq != last+1 {
				t.Fatalf("event %d after %d", f.Event.VSeq, last)
			}
			last, cursor = f.Event.VSeq, f.Cursor
		}
		return nil
	}
	slowConn.SetReadLimit(1 << 20)
	if take(slowCtx, slowConn) == nil {
		t.Fatal("the slow reader got everything before it was dropped")
	}
	// On a busy machine this reader, too, may be kept from reading for so long that it has to return once more.
	for last < 500 {
		before := last
		ctx, conn := readyAfter(t, c, s, slow, cursor)
		conn.SetReadLimit(1 << 20)
		if err := take(ctx, conn); err != nil && last == before {
			t.Fatalf("after the return: %v at %d, with nothing new", err, last)
		}
	}
}

// TestUnreadReplies: replies that the client does not take are bounded, and one too many ends the socket.
func TestUnreadReplies(t *testing.T) {
	s := &socket{out: make([][]byte, maxReplies-1)}
	s.Worker.Stop(func() {}) // nobody writes
	s.reply(pongFrame{Type: "pong"})
	if s.Over() {
		t.Fatal("closed while there was room")
	}
	s.reply(pongFrame{Type: "pong"})
	s.Close(closeTrouble)
	if !s.Over() || s.Code() != closeLater {
		t.Errorf("over: %v, with %d; want %d", s.Over(), s.Code(), closeLater)
	}
}

func TestHeartbeat(t *testing.T) {
	_, c, s := open(t, "", func(c *Channel) { c.timing.heartbeat = time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/web/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", testKey, c.tokens.sign(someone(c, time.Hour)))
	var seen strings.Builder
	buf := make([]byte, 4096)
	for strings.Count(seen.String(), ": ping\n\n") < 3 {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
		seen.Write(buf[:n])
	}
	conn.Close()
	// The heartbeat is also how a client is noticed that went away.
	waitFor(t, func() bool { c.streams.mu.Lock(); defer c.streams.mu.Unlock(); return c.streams.total == 0 })
}

func TestStreamLimitOfTheChannel(t *testing.T) {
	_, c, s := open(t, "limits: {channel_streams: 1}\n", nil)
	if !c.streams.open() {
		t.Fatal("the first stream has no room")
	}
	req := fmt.Sprintf("GET /v1/web/%s/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n", testKey, c.tokens.sign(someone(c, time.Hour)))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, req)
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 429") {
		t.Errorf("%v: %s", err, answer)
	}
}

// gappy is a timeline that loses an event.
type gappy struct{ adapters.Timeline }

func (gappy) Read(context.Context, message.Address, adapters.Cursor, int) (adapters.Page, error) {
	return adapters.Page{Conversation: "c_1", Next: "c_1.4", Events: []message.Visible{
		{Conversation: "c_1", VSeq: 1}, {Conversation: "c_1", VSeq: 2}, {Conversation: "c_1", VSeq: 4},
	}}, nil
}

func TestFollower(t *testing.T) {
	f, err := newFollower(gappy{}, message.Address{}, "c_1.1")
	if err != nil {
		t.Fatal(err)
	}
	events, _, err := f.next(context.Background())
	if !errors.Is(err, errGap) || len(events) != 1 || events[0].VSeq != 2 {
		t.Errorf("%+v, %v: want event 2 and then the gap", events, err)
	}
	for _, cursor := range []string{"x", "c_1", "c_1.", ".1", "c_1.-1", "c_1.99999999999999999999"} {
		if _, err := newFollower(gappy{}, message.Address{}, cursor); !errors.Is(err, adapters.ErrNotFound) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// shortening is a timeline in which those ahead leave the queue, one with every look, while nothing happens in the
// conversation itself.
type shortening struct {
	adapters.Timeline
	mu    sync.Mutex
	place int
}

func (s *shortening) Read(ctx context.Context, from message.Address, after adapters.Cursor, n int) (adapters.Page, error) {
	page, err := s.Timeline.Read(ctx, from, after, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if page.Owner.Kind == message.OwnerQueued {
		page.Owner.Position = s.place
		s.place = max(1, s.place-1)
	}
	return page, err
}

func TestThePlaceInTheQueueMoves(t *testing.T) {
	k, c, s := open(t, "", func(c *Channel) {
		c.deps.Timeline = &shortening{Timeline: c.deps.Timeline, place: 4}
		c.timing.place = time.Millisecond
	})
	v := someone(c, time.Hour)
	k.World.SetOwner(c.address(v.address()), message.Owner{Kind: message.OwnerQueued, Position: 4})
	ctx, conn := ready(t, c, s, v)
	var told []int
	for len(told) < 3 {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("%v after %v", err, told)
		}
		var f signalFrame
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		if f.Type == "position" {
			told = append(told, f.Position)
		}
	}
	if !slices.Equal(told, []int{3, 2, 1}) {
		t.Errorf("told %v", told)
	}
	// Once it no longer moves there is nothing to tell: the next frame is another one.
	k.World.Say(c.address(v.address()), message.ByAgent, message.Part{Text: "hello"})
	if _, raw, err := conn.Read(ctx); err != nil || !strings.Contains(string(raw), `"event"`) {
		t.Errorf("%s, %v", raw, err)
	}

	req := fmt.Sprintf("GET /v1/web/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", testKey, c.tokens.sign(v))
	stream, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	_, _ = io.WriteString(stream, req)
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if lines.Text() == `data: {"type":"position","position":1}` {
			return
		}
	}
	t.Errorf("the event stream ended without a place: %v", lines.Err())
}

// panicking is a timeline that breaks while a stream reads it.
type panicking struct{ adapters.Timeline }

func (p panicking) Read(ctx context.Context, from message.Address, after adapters.Cursor, n int) (adapters.Page, error) {
	if after != "" {
		panic(adaptertest.CanaryText)
	}
	return p.Timeline.Read(ctx, from, after, n)
}

func TestPanicInAStream(t *testing.T) {
	k, c, s := open(t, "", func(c *Channel) { c.deps.Timeline = panicking{c.deps.Timeline} })
	v := someone(c, time.Hour)
	k.World.Say(c.address(v.address()), message.ByAgent, message.Part{Text: "first"})
	ctx, conn := ready(t, c, s, v)
	waitFor(t, func() bool { return k.World.Watches() == 1 })
	k.World.Say(c.address(v.address()), message.ByAgent, message.Part{Text: "second"})
	if code := closeCode(ctx, conn); code != closeTrouble && code != 0 {
		t.Errorf("close code %d", code)
	}
	waitFor(t, func() bool { return k.World.Watches() == 0 })
	if !strings.Contains(k.Logs.String(), "recovered from a panic") {
		t.Error("the panic was not logged")
	}
	k.AssertQuiet(t, "")
}

// waitFor looks until ok. It is no proof of speed: it gives up only when the test would have to fail anyway.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(time.Millisecond)
	}
}
