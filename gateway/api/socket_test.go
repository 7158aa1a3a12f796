package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
)

// client is a socket as an independent library opens it.
type client struct {
	t    testing.TB
	ctx  context.Context
	conn *websocket.Conn
}

func (b *bench) dial(headers ...string) *client {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	b.t.Cleanup(cancel)
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	conn, _, err := websocket.Dial(ctx, b.url+"/v1/agent/socket", &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return &client{b.t, ctx, conn}
}

// open dials and says hello as "tenant/id".
func (b *bench) open(who, cursor string) (*client, serverFrame) {
	b.t.Helper()
	c := b.dial()
	c.send(clientFrame{Type: "hello", Token: b.keys[who], Cursor: cursor})
	return c, c.next("ready")
}

func (c *client) send(f clientFrame) {
	c.t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.conn.Write(c.ctx, websocket.MessageText, raw); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next frame of a type; frames of other types are passed over.
func (c *client) next(typ string) serverFrame {
	c.t.Helper()
	for {
		_, raw, err := c.conn.Read(c.ctx)
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", typ, err)
		}
		var f serverFrame
		if err := json.Unmarshal(raw, &f); err != nil {
			c.t.Fatal(err)
		}
		if f.Type == typ {
			return f
		}
	}
}

// closed reads to the end and returns the close code.
func (c *client) closed() websocket.StatusCode {
	c.t.Helper()
	for {
		if _, _, err := c.conn.Read(c.ctx); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func TestSocketShowsTheQueue(t *testing.T) {
	b := start(t)
	c, ready := b.open("acme/ann", "")
	if ready.Cursor == "" || ready.Me == nil || ready.Me.ID != "ann" {
		t.Errorf("ready %+v", ready)
	}
	b.Queued(t, other, "support", "foreign")
	ref := b.Queued(t, acme, "support", "help")
	f := c.next("queue")
	if len(f.Changes) != 1 || f.Changes[0].Conversation != ref.ID || f.Changes[0].Owner.Queue != "support" {
		t.Fatalf("changes %+v", f.Changes)
	}
	c.conn.CloseNow()
	// What happens meanwhile comes after a return with the cursor, and what was seen does not come again.
	second := b.Queued(t, acme, "support", "help")
	again, _ := b.open("acme/ann", f.Cursor)
	if g := again.next("queue"); len(g.Changes) != 1 || g.Changes[0].Conversation != second.ID {
		t.Errorf("after the return: %+v", g.Changes)
	}
	// A cursor of another life of the node cannot be resumed from.
	lost, _ := b.open("acme/ann", "elsewhere.17")
	if r := lost.next("resync"); r.Cursor == "" {
		t.Errorf("resync %+v", r)
	}
}

func TestSocketFollowsConversations(t *testing.T) {
	b := start(t)
	ref := b.claimed("acme/ann", "help")
	c, _ := b.open("acme/ann", "")
	c.send(clientFrame{Type: "follow", Conversation: ref.ID})
	var seq uint64
	take := func(upTo uint64) {
		t.Helper()
		for seq < upTo {
			f := c.next("event")
			if f.Conversation != ref.ID || f.Event.Seq != seq+1 {
				t.Fatalf("event %d of %s after %d", f.Event.Seq, f.Conversation, seq)
			}
			seq = f.Event.Seq
		}
	}
	take(b.State(t, ref).Seq)
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "note"), `{"text":"live"}`))
	take(b.State(t, ref).Seq)
	c.conn.CloseNow()
	for range 3 {
		b.want(200, "", b.as("acme/ann", "POST", at(ref, "note"), `{"text":"away"}`))
	}
	c, _ = b.open("acme/ann", "")
	c.send(clientFrame{Type: "follow", Conversation: ref.ID, After: seq})
	take(b.State(t, ref).Seq)
	// Out of the agent's sight the stream ends.
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "transfer"), `{"queue":"emergency"}`))
	b.Do(t, ref, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1 << 50}})
	if f := c.next("unfollowed"); f.Conversation != ref.ID {
		t.Errorf("unfollowed %+v", f)
	}
	c.send(clientFrame{Type: "follow", Conversation: ref.ID})
	if f := c.next("error"); f.Code != "forbidden" || f.Conversation != ref.ID {
		t.Errorf("following out of sight: %+v", f)
	}
	foreign := b.Queued(t, other, "support", "help")
	c.send(clientFrame{Type: "follow", Conversation: foreign.ID})
	if f := c.next("error"); f.Code != "not_found" {
		t.Errorf("following another tenant's: %+v", f)
	}
	c.send(clientFrame{Type: "presence"})
	if f := c.next("presence"); !f.Presence.On {
		t.Errorf("presence %+v", f.Presence)
	}
	c.send(clientFrame{Type: "ping"})
	c.next("pong")
	if err := c.conn.Write(c.ctx, websocket.MessageText, []byte(`{"type":7}`)); err != nil {
		t.Fatal(err)
	}
	if f := c.next("error"); f.Code != "bad_request" {
		t.Errorf("a bad frame: %+v", f)
	}
}

// TestSocketShowsTheCustomer: who follows a conversation sees its customer type and read, and knows the server's time.
func TestSocketShowsTheCustomer(t *testing.T) {
	b := start(t)
	ref := b.claimed("acme/ann", "help")
	c, ready := b.open("acme/ann", "")
	if ready.Now == nil || !ready.Now.Equal(b.Clock.Now()) {
		t.Errorf("ready says that it is %v", ready.Now)
	}
	b.Clock.Add(time.Minute)
	c.send(clientFrame{Type: "ping"})
	if f := c.next("pong"); f.Now == nil || !f.Now.Equal(b.Clock.Now()) {
		t.Errorf("pong says that it is %v", f.Now)
	}
	c.send(clientFrame{Type: "follow", Conversation: ref.ID})
	for seq := uint64(0); seq < b.State(t, ref).Seq; seq++ {
		c.next("event")
	}
	b.Observe(t, message.Observation{From: b.State(t, ref).From, Typing: true})
	if f := c.next("typing"); f.Conversation != ref.ID || f.On == nil || !*f.On {
		t.Errorf("typing %+v", f)
	}
	b.Observe(t, message.Observation{From: b.State(t, ref).From})
	if f := c.next("typing"); f.On == nil || *f.On {
		t.Errorf("typing no more: %+v", f)
	}
	b.Observe(t, message.Observation{From: b.State(t, ref).From, Read: 2, ReadIn: ref.ID})
	if f := c.next("read"); f.Conversation != ref.ID || f.VSeq != 2 {
		t.Errorf("read %+v", f)
	}
}

func TestSocketsThatDoNotOpen(t *testing.T) {
	b := start(t)
	hello := func(raw string) websocket.StatusCode {
		t.Helper()
		c := b.dial()
		if err := c.conn.Write(c.ctx, websocket.MessageText, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		return c.closed()
	}
	for name, raw := range map[string]string{
		"no hello": `{"type":"ping"}`, "nonsense": `hello`, "no token": `{"type":"hello"}`,
		"forged":     `{"type":"hello","token":"tk_ann.AAAA"}`,
		"wrong role": `{"type":"hello","token":"` + b.keys["acme/auditor"] + `"}`,
	} {
		if code := hello(raw); code != closePolicy {
			t.Errorf("%s: closed with %d, want %d", name, code, closePolicy)
		}
	}
	c := b.dial()
	// The server closes at the head of the frame; the rest of it may find nobody there any more, and then nor does the code.
	whole := c.conn.Write(c.ctx, websocket.MessageText, []byte(strings.Repeat("x", maxFrame+1)))
	if code := c.closed(); whole == nil && code != websocket.StatusMessageTooBig && code != closePolicy {
		t.Errorf("a large frame: closed with %d", code)
	}
	// Origins: a browser's cookie speaks only from the server's own pages.
	cookie := "turnout_session=" + b.session("ann@acme")
	own := b.dial("Cookie", cookie, "Origin", b.url)
	own.send(clientFrame{Type: "hello"})
	own.next("ready")
	program := b.dial("Cookie", cookie)
	program.send(clientFrame{Type: "hello"})
	if code := program.closed(); code != closePolicy {
		t.Errorf("a cookie without an origin: closed with %d", code)
	}
	b.want(403, "forbidden", b.request("GET", "/v1/agent/socket", "", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://evil.example"))
	b.want(400, "bad_request", b.request("GET", "/v1/agent/socket", ""))
}

func TestSocketsAreLimited(t *testing.T) {
	b := start(t, func(o *Options) { o.Limits.SocketsPerAgent = 1 })
	b.open("acme/ann", "")
	c := b.dial()
	c.send(clientFrame{Type: "hello", Token: b.keys["acme/ann"]})
	if code := c.closed(); code != closeLater {
		t.Errorf("the second socket: closed with %d, want %d", code, closeLater)
	}
	b.open("acme/bob", "")
}

func TestSocketEndsWithItsSession(t *testing.T) {
	b := start(t)
	b.server.timing.again = 5 * time.Millisecond
	token := b.session("ann@acme")
	c := b.dial()
	c.send(clientFrame{Type: "hello", Token: token})
	c.next("ready")
	b.want(204, "", b.request("POST", "/v1/agent/logout", "", "Authorization", "Bearer "+token))
	if code := c.closed(); code != closeExpired {
		t.Errorf("closed with %d, want %d", code, closeExpired)
	}
}

// TestSocketThatShowsNoLife has pings that never come, so there is nothing that the client would answer.
func TestSocketThatShowsNoLife(t *testing.T) {
	b := start(t)
	b.server.timing.socket.Ping, b.server.timing.socket.Silence = time.Hour, 5*time.Millisecond
	c := b.dial()
	c.send(clientFrame{Type: "hello", Token: b.keys["acme/ann"]})
	if code := c.closed(); code != closePolicy {
		t.Errorf("closed with %d, want %d", code, closePolicy)
	}
}

func TestSocketsEndWithTheServer(t *testing.T) {
	b := start(t)
	c, _ := b.open("acme/ann", "")
	silent := b.dial() // has not said hello
	code := make(chan websocket.StatusCode, 2)
	go func() { code <- c.closed() }()
	go func() { code <- silent.closed() }()
	if err := b.server.StopIntake(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := <-code; got != closeRestart {
			t.Errorf("closed with %d, want %d", got, closeRestart)
		}
	}
}

// smallBuffers makes the connections of a listener hold little, and gives their clients little time to take something, so
// that one that does not read is noticed soon.
type smallBuffers struct{ net.Listener }

// impatient is a connection whose writes have a tenth of a second, whatever they are given.
type impatient struct{ *net.TCPConn }

func (c impatient) SetWriteDeadline(t time.Time) error {
	if soon := time.Now().Add(100 * time.Millisecond); t.After(soon) {
		t = soon
	}
	return c.TCPConn.SetWriteDeadline(t)
}

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not TCP")
	}
	return impatient{tcp}, tcp.SetWriteBuffer(4 << 10)
}

// TestSlowReaders: a client that takes nothing loses its socket, while others are served and memory stays bounded.
func TestSlowReaders(t *testing.T) {
	b := start(t)
	b.server.timing.socket.Write = time.Minute // a client that reads is not dropped for being slow to be run
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.server.Serve(smallBuffers{ln}, false)
	ref := b.claimed("acme/ann", "help")
	for range 100 {
		b.want(200, "", b.as("acme/ann", "POST", at(ref, "note"), `{"text":"`+strings.Repeat("x", 8000)+`"}`))
		b.Clock.Add(time.Second) // within the agent's rate
	}
	b.present("acme/ann")
	slow, _ := b.openAt(ln.Addr().String(), "acme/ann")
	quick, _ := b.open("acme/ann", "")
	b.server.sockets.mu.Lock()
	both := b.server.sockets.opened
	b.server.sockets.mu.Unlock()
	if both != 2 {
		t.Fatalf("%d sockets are open, want 2", both)
	}
	for range 20 {
		slow.send(clientFrame{Type: "follow", Conversation: ref.ID}) // and does not read
	}
	quick.send(clientFrame{Type: "follow", Conversation: ref.ID})
	for seq := uint64(0); seq < b.State(t, ref).Seq; seq++ {
		if f := quick.next("event"); f.Event.Seq != seq+1 {
			t.Fatalf("event %d after %d", f.Event.Seq, seq)
		}
	}
	for n := both; n != 1; {
		if slow.ctx.Err() != nil {
			t.Fatal("the slow reader still has its socket")
		}
		quick.send(clientFrame{Type: "ping"})
		quick.next("pong")
		b.Clock.Add(time.Second)
		b.server.sockets.mu.Lock()
		n = b.server.sockets.opened
		b.server.sockets.mu.Unlock()
	}
	// What had been sent before it was dropped is still there, and what follows comes after a return: all of it, once.
	var last uint64
	for {
		_, raw, err := slow.conn.Read(slow.ctx)
		if err != nil {
			break
		}
		var f serverFrame
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		switch {
		case f.Event == nil || f.Event.Seq <= last: // it began to follow again and again
		case f.Event.Seq != last+1:
			t.Fatalf("event %d after %d", f.Event.Seq, last)
		default:
			last = f.Event.Seq
		}
	}
	end := b.State(t, ref).Seq
	if last >= end {
		t.Fatal("the slow reader got everything before it was dropped")
	}
	again, _ := b.open("acme/ann", "")
	again.send(clientFrame{Type: "follow", Conversation: ref.ID, After: last})
	for ; last < end; last++ {
		if f := again.next("event"); f.Event.Seq != last+1 {
			t.Fatalf("event %d after %d", f.Event.Seq, last)
		}
	}
}

// openAt is open at another listener, with a client that holds little.
func (b *bench) openAt(addr, who string) (*client, serverFrame) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	b.t.Cleanup(cancel)
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return c, c.(*net.TCPConn).SetReadBuffer(4 << 10)
	}}}
	conn, _, err := websocket.Dial(ctx, "http://"+addr+"/v1/agent/socket", &websocket.DialOptions{HTTPClient: hc})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.CloseNow() })
	c := &client{b.t, ctx, conn}
	c.send(clientFrame{Type: "hello", Token: b.keys[who]})
	return c, c.next("ready")
}
