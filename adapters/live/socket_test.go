package live_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	fast "github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"turnout/adapters/live"
)

func TestMain(m *testing.M) {
	// The janitors of stopped servers sleep on for a while, and the clock of fasthttp for ever.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// echo is a socket that says back what it hears, from the other side of the worker.
type echo struct {
	live.Socket
	s     *server
	said  chan string
	panic bool
	flood bool
}

func (e *echo) Receive(text []byte) {
	switch string(text) {
	case "close":
		e.Close(4321)
	case "flood":
		e.flood = true
		e.Wake()
	case "panic":
		panic("as asked")
	case "panic in work":
		e.panic = true
		e.Wake()
	default:
		e.said <- string(text)
		e.Wake()
	}
}

func (e *echo) Work() time.Time {
	if e.panic {
		panic("as asked")
	}
	if e.flood && e.Send(make([]byte, 32<<20)) != nil {
		e.Close(0)
		return time.Time{}
	}
	for {
		select {
		case text := <-e.said:
			if e.Send([]byte(text)) != nil {
				e.Close(0)
			}
		default:
			return time.Time{}
		}
	}
}

func (e *echo) Closed() { e.s.closed <- e.Code() }

// server serves echoes.
type server struct {
	url      string // "ws://…"
	addr     string
	options  live.Options
	early    bool // close each before it is opened
	closed   chan int
	panicked atomic.Int64
}

func serve(t testing.TB, change func(*server)) *server {
	t.Helper()
	s := &server{closed: make(chan int, 64), options: live.Options{
		MessageBytes: 1 << 10, First: 20 * time.Second, Silence: 20 * time.Second, Ping: time.Hour, Write: 20 * time.Second, Goodbye: time.Second,
	}}
	s.options.Recovered = func(any) { s.panicked.Add(1) }
	if change != nil {
		change(s)
	}
	upgrader := &fast.FastHTTPUpgrader{CheckOrigin: func(*fasthttp.RequestCtx) bool { return true }}
	s.listen(t, func(ctx *fasthttp.RequestCtx) {
		head, ok := live.Handshake(ctx, upgrader)
		if !ok {
			return
		}
		e := &echo{s: s, said: make(chan string, 8)}
		if s.early {
			e.Close(1012)
		}
		live.Take(ctx, head, func(conn net.Conn, sent []byte) { e.Open(conn, sent, &s.options, e) })
	})
	return s
}

func (s *server) listen(t testing.TB, h fasthttp.RequestHandler) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fasthttp.Server{Handler: h, KeepHijackedConns: true, ReadBufferSize: 16 << 10, MaxConnsPerIP: 1 << 20}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = f.Shutdown()
		<-done
	})
	s.addr = ln.Addr().String()
	s.url = "ws://" + s.addr
}

func (s *server) dial(t testing.TB) (context.Context, *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, s.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return ctx, c
}

const handshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// raw opens a socket as bytes, with more sent right behind the handshake.
func (s *server) raw(t testing.TB, more string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(c, handshake+more); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			return c, r
		}
	}
}

// frame is a client's frame, with a mask of zeros: what is sent is what is read.
func frame(first byte, payload string) string {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	return string(append(b, 0, 0, 0, 0)) + payload
}

// next reads a frame of the server.
func next(t testing.TB, r *bufio.Reader) (first byte, payload string) {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		t.Fatalf("reading a frame: %v", err)
	}
	n := int(head[1])
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return head[0], string(body)
}

func TestSocketTalks(t *testing.T) {
	s := serve(t, nil)
	ctx, c := s.dial(t)
	for i := range 100 {
		want := strings.Repeat("x", i*10)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("%d: got %q, %v", i, got, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("the close was not answered: %v", err)
	}
	if code := <-s.closed; code != 1000 {
		t.Errorf("closed with %d", code)
	}
}

// TestBytesInAnyPieces: what follows the handshake in the same packet is not lost, frames may come in any pieces, and
// pings and pieces of a message may come between each other.
func TestBytesInAnyPieces(t *testing.T) {
	s := serve(t, nil)
	many := frame(0x81, "one") + frame(0x01, "tw") + frame(0x89, "ping") + frame(0x80, "o") + frame(0x81, "") + frame(0x81, strings.Repeat("y", 300))
	c, r := s.raw(t, many)
	check := func(r *bufio.Reader) {
		t.Helper()
		var texts []string
		pongs := 0
		for len(texts) < 4 || pongs < 1 {
			switch first, payload := next(t, r); {
			case first == 0x8a && payload == "ping":
				pongs++
			case first == 0x81:
				texts = append(texts, payload)
			default:
				t.Fatalf("frame %x %q", first, payload)
			}
		}
		if got := strings.Join(texts, ","); got != "one,two,,"+strings.Repeat("y", 300) {
			t.Errorf("got %q", got)
		}
	}
	check(r)
	for i := range many { // and again byte by byte
		if _, err := io.WriteString(c, many[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	check(r)
	for cut := 1; cut < len(many); cut += 7 {
		_, r := s.raw(t, many[:cut])
		_ = r
	}
}

func TestSocketEnds(t *testing.T) {
	short := func(s *server) { s.options.First, s.options.Silence = 20*time.Millisecond, 20*time.Millisecond }
	for name, c := range map[string]struct {
		send   string
		code   int
		change func(*server)
	}{
		"by the user":           {frame(0x81, "close"), 4321, nil},
		"by the client":         {frame(0x88, "\x0f\xa1bye"), 4001, nil},
		"without a reason":      {frame(0x88, ""), 1000, nil},
		"with a bad reason":     {frame(0x88, "\x00\x01"), 1002, nil},
		"binary":                {frame(0x82, "x"), 1003, nil},
		"too large":             {frame(0x81, strings.Repeat("x", 2000)), 1009, nil},
		"too large in pieces":   {frame(0x01, strings.Repeat("x", 600)) + frame(0x00, strings.Repeat("x", 600)), 1009, nil},
		"reserved bits":         {"\xf1\x81\x00\x00\x00\x00x", 1002, nil},
		"no mask":               {"\x81\x01x", 1002, nil},
		"no first piece":        {frame(0x80, "x"), 1002, nil},
		"a long ping":           {frame(0x89, strings.Repeat("x", 200)), 1002, nil},
		"a huge frame":          {"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00x", 1009, nil},
		"a negative frame":      {"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00x", 1002, nil},
		"silent from the start": {"", 1008, short},
		"silent later":          {frame(0x81, "x"), 1008, short},
		"half a frame":          {frame(0x81, "hello")[:8], 1008, short},
		"closed before it is":   {"", 1012, func(s *server) { s.early = true }},
		"a panic":               {frame(0x81, "panic"), 1011, nil},
		"a panic in the work":   {frame(0x81, "panic in work"), 1011, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.change)
			_, r := s.raw(t, c.send)
			for {
				first, payload := next(t, r)
				if first != 0x88 {
					continue
				}
				if code := int(binary.BigEndian.Uint16([]byte(payload))); code != c.code {
					t.Errorf("the close frame says %d, want %d", code, c.code)
				}
				break
			}
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) && err == nil {
				t.Error("something follows the close frame")
			}
			if code := <-s.closed; code != c.code {
				t.Errorf("closed with %d, want %d", code, c.code)
			}
			if wanted := strings.Contains(name, "panic"); (s.panicked.Load() == 1) != wanted {
				t.Errorf("%d panics", s.panicked.Load())
			}
		})
	}
}

// TestPings: a client that answers them stays, one that does not is dropped.
func TestPings(t *testing.T) {
	s := serve(t, func(s *server) { s.options.Ping, s.options.Silence = 5*time.Millisecond, time.Minute })
	_, r := s.raw(t, frame(0x81, "hello"))
	for pings := 0; pings < 5; {
		if first, _ := next(t, r); first == 0x89 {
			pings++
		}
	}
}

// TestClientIsGone: a client that disappears, also in the middle of a frame, ends its socket.
func TestClientIsGone(t *testing.T) {
	s := serve(t, nil)
	for i, sent := range []string{"", frame(0x81, "hello")[:3], frame(0x01, "he")} {
		c, _ := s.raw(t, sent)
		c.Close()
		if code := <-s.closed; code != 0 {
			t.Errorf("%d: closed with %d", i, code)
		}
	}
}

// TestClientThatTakesNothing: a write that is stuck ends with its time, or with the goodbye's when the socket is closed.
func TestClientThatTakesNothing(t *testing.T) {
	s := serve(t, func(s *server) { s.options.Write, s.options.MessageBytes = 50*time.Millisecond, 1<<20 })
	c, _ := s.raw(t, "")
	big := frame(0x81, strings.Repeat("x", 60<<10))
	go func() {
		for {
			if _, err := io.WriteString(c, big); err != nil {
				return
			}
		}
	}()
	<-s.closed
}

// TestClientThatTakesLittle: one that takes a little of a frame now and then does not hold the socket either.
func TestClientThatTakesLittle(t *testing.T) {
	s := serve(t, func(s *server) { s.options.Write = 200 * time.Millisecond })
	c, _ := s.raw(t, frame(0x81, "flood"))
	little := time.NewTicker(5 * time.Millisecond)
	defer little.Stop()
	buf := make([]byte, 64)
	for {
		select {
		case <-s.closed:
			return
		case <-little.C:
			_, _ = c.Read(buf)
		}
	}
}

// TestManyWakes: a socket is woken by many at once while it comes and goes.
func TestManyWakes(t *testing.T) {
	s := serve(t, nil)
	ctx, c := s.dial(t)
	go func() {
		for i := range 1000 {
			if c.Write(ctx, websocket.MessageText, fmt.Append(nil, i)) != nil {
				return
			}
		}
	}()
	for i := range 1000 {
		if _, got, err := c.Read(ctx); err != nil || string(got) != fmt.Sprint(i) {
			t.Fatalf("%d: got %q, %v", i, got, err)
		}
	}
}
