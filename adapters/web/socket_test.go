package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

type socket struct {
	t    testing.TB
	ctx  context.Context
	conn *websocket.Conn
}

func dial(t testing.TB, s *adaptertest.Server, from string) (*socket, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	header := http.Header{}
	if from != "" {
		header.Set("Origin", from)
	}
	conn, resp, err := websocket.Dial(ctx, s.URL+api+"/socket", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return nil, resp, err
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return &socket{t: t, ctx: ctx, conn: conn}, resp, nil
}

func connect(t testing.TB, s *adaptertest.Server) *socket {
	t.Helper()
	ws, _, err := dial(t, s, origin)
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func (w *socket) send(v any) {
	w.t.Helper()
	b, ok := v.(string)
	if !ok {
		raw, err := json.Marshal(v)
		if err != nil {
			w.t.Fatal(err)
		}
		b = string(raw)
	}
	if err := w.conn.Write(w.ctx, websocket.MessageText, []byte(b)); err != nil {
		w.t.Fatalf("writing: %v", err)
	}
}

// received is any frame of the channel.
type received struct {
	Type, ID, Message, Code, Detail, Name, Visitor, Conversation string
	Cursor, End                                                  adapters.Cursor
	Dup                                                          bool
	On                                                           *bool
	Position                                                     int
	Owner                                                        *message.Owner
	Event                                                        message.Visible
	RetryAfter                                                   int `json:"retry_after"`
}

func (w *socket) next() received {
	w.t.Helper()
	_, raw, err := w.conn.Read(w.ctx)
	if err != nil {
		w.t.Fatalf("reading: %v", err)
	}
	var f received
	if err := json.Unmarshal(raw, &f); err != nil {
		w.t.Fatalf("%v in %s", err, raw)
	}
	return f
}

// until returns the next frame of a type.
func (w *socket) until(kind string) received {
	w.t.Helper()
	for {
		if f := w.next(); f.Type == kind {
			return f
		}
	}
}

// closed reads to the end and returns the close code.
func (w *socket) closed() int {
	w.t.Helper()
	for {
		if _, _, err := w.conn.Read(w.ctx); err != nil {
			var c websocket.CloseError
			if errors.As(err, &c) {
				return int(c.Code)
			}
			return 0
		}
	}
}

func (w *socket) hello(token string, after adapters.Cursor) received {
	w.t.Helper()
	w.send(object{"type": "hello", "token": token, "after": after})
	f := w.next()
	if f.Type != "ready" {
		w.t.Fatalf("not ready: %+v", f)
	}
	return f
}

func TestSocket(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	ws := connect(t, s)
	if f := ws.hello(sess.Token, ""); f.Visitor != sess.Visitor || f.Conversation != "" {
		t.Errorf("ready %+v", f)
	}
	ws.send(object{"type": "message", "id": "1", "text": "hi"})
	accepted := ws.until("accepted")
	if accepted.ID != "1" || accepted.Message == "" || accepted.Dup || !strings.HasSuffix(string(accepted.Cursor), ".1") {
		t.Errorf("accepted %+v", accepted)
	}
	ws.send(object{"type": "message", "id": "1", "text": "hi"})
	if again := ws.until("accepted"); !again.Dup || again.Message != accepted.Message {
		t.Errorf("accepted again %+v", again)
	}
	if n := len(k.World.Inbounds()); n != 1 {
		t.Errorf("%d effects", n)
	}

	second := connect(t, s)
	if f := second.hello(sess.Token, accepted.Cursor); f.Conversation == "" || f.Owner == nil || f.Owner.Kind != message.OwnerBot || f.Cursor != accepted.Cursor || !strings.HasSuffix(string(f.End), ".2") {
		t.Errorf("ready %+v", f)
	}
	if f := second.next(); f.Type != "event" || f.Event.VSeq != 2 || f.Event.Part.Text != "echo: hi" {
		t.Errorf("resumed with %+v", f)
	}
	second.send(object{"type": "human", "id": "h"})
	if f := second.until("accepted"); f.ID != "h" {
		t.Errorf("accepted %+v", f)
	}
	k.World.Signal(addressOf(sess), adapters.Signal{Typing: true, Name: "Bea", By: message.ByAgent})
	if f := second.until("typing"); f.On == nil || !*f.On || f.Name != "Bea" {
		t.Errorf("typing %+v", f)
	}
	second.send(object{"type": "typing", "on": true})
	second.send(object{"type": "typing", "on": true})
	second.send(object{"type": "read", "cursor": accepted.Cursor})
	second.send(object{"type": "ping"})
	second.until("pong")
	if o := k.World.Observations(); len(o) != 2 || !o[0].Typing || o[1].Read != 1 {
		t.Errorf("observed %+v", o)
	}

	third := connect(t, s)
	third.send(object{"type": "hello", "token": sess.Token})
	if f := third.next(); f.Type != "error" || f.Code != "rate_limited" {
		t.Errorf("a third socket of one visitor: %+v", f)
	}
	if code := third.closed(); code != 1013 {
		t.Errorf("close code %d", code)
	}
}

// TestSocketOrder holds the order of events while they are committed, read and resumed all at once.
func TestSocketOrder(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	const total = 1000
	go func() {
		for i := range total {
			k.World.Say(addressOf(sess), message.ByAgent, message.Part{Text: fmt.Sprint(i)})
		}
	}()
	var cursor adapters.Cursor
	var last uint64
	for last < total {
		ws := connect(t, s)
		ws.hello(sess.Token, cursor)
		for n := 0; n < 150 && last < total; n++ {
			f := ws.until("event")
			if f.Event.VSeq != last+1 || f.Event.Part.Text != fmt.Sprint(last) {
				t.Fatalf("event %d after %d", f.Event.VSeq, last)
			}
			last, cursor = f.Event.VSeq, f.Cursor
		}
		_ = ws.conn.Close(websocket.StatusNormalClosure, "")
	}
}

func TestSocketErrorsDoNotEndIt(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	ws := connect(t, s)
	ws.hello(sess.Token, "")
	for frame, code := range map[string]string{
		`junk`: "bad_request", `[]`: "bad_request", `{}`: "bad_request", `{"type":7}`: "bad_request", `{"type":"dance"}`: "bad_request",
		`{"type":"message","id":"x"}`:                                            "bad_request",
		`{"type":"message","id":"x","text":"\ud800"}`:                            "bad_request",
		`{"type":"message","id":"x","attachments":["a_1"]}`:                      "not_found",
		`{"type":"message","id":"x","text":"` + strings.Repeat("x", 3000) + `"}`: "too_large",
		`{"type":"read","cursor":"x"}`:                                           "bad_request",
		`{"type":"typing","on":1}`:                                               "bad_request",
		`{"type":"hello","token":"x"}`:                                           "bad_request",
		`{"type":"human","id":"a b"}`:                                            "bad_request",
	} {
		ws.send(frame)
		f := ws.next()
		if f.Type != "error" || f.Code != code || f.Detail == "" {
			t.Errorf("%.60s: %+v", frame, f)
		}
		if strings.Contains(frame, `"id":"x"`) && !strings.Contains(frame, `\ud800`) && f.ID != "x" {
			t.Errorf("%.60s: the error does not say which message", frame)
		}
	}
	k.World.Fail(adapters.ErrUnavailable)
	ws.send(object{"type": "message", "id": "1", "text": adaptertest.CanaryText})
	if f := ws.next(); f.Code != "store_unavailable" || f.ID != "1" || f.RetryAfter == 0 {
		t.Errorf("unavailable: %+v", f)
	}
	k.World.Fail(nil)
	ws.send(object{"type": "message", "id": "1", "text": "again"})
	if f := ws.until("accepted"); f.Dup {
		t.Errorf("after the store is back: %+v", f)
	}
	k.AssertQuiet(t, "")
}

func TestSocketIsRefused(t *testing.T) {
	_, s := start(t, spec)
	for _, from := range []string{"", "https://evil.example", "null"} {
		if _, resp, err := dial(t, s, from); err == nil || resp == nil || resp.StatusCode != 403 {
			t.Errorf("origin %q: %v", from, err)
		}
	}
	refused(t, s, request(s, "GET", api+"/socket", "", nil), 400, "bad_request")
	_, apps := start(t, "allow_no_origin: true\n")
	if _, _, err := dial(t, apps, ""); err != nil {
		t.Errorf("no origin where it is allowed: %v", err)
	}
}

func TestFirstFrame(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	for name, c := range map[string]struct {
		frame any
		code  int
	}{
		"junk":           {"junk", 1008},
		"another frame":  {object{"type": "ping"}, 1008},
		"forged token":   {object{"type": "hello", "token": sess.Token + "x"}, 1008},
		"foreign cursor": {object{"type": "hello", "token": sess.Token, "after": "c_9999.1"}, 1008},
	} {
		ws := connect(t, s)
		ws.send(c.frame)
		if code := ws.closed(); code != c.code {
			t.Errorf("%s: close code %d, want %d", name, code, c.code)
		}
	}
	long := connect(t, s)
	// The rest of the frame is not read, so the connection may break before the client has sent it or seen the code.
	if err := long.conn.Write(long.ctx, websocket.MessageText, make([]byte, 70<<10)); err == nil {
		if code := long.closed(); (code != 1009 && code != 0) || long.ctx.Err() != nil {
			t.Errorf("a frame over the limit: close code %d", code)
		}
	}
	k.Clock.Advance(31 * 24 * time.Hour)
	ws := connect(t, s)
	ws.send(object{"type": "hello", "token": sess.Token})
	if f := ws.next(); f.Code != "unauthenticated" {
		t.Errorf("expired: %+v", f)
	}
	if code := ws.closed(); code != 4001 {
		t.Errorf("expired: close code %d", code)
	}
}

func TestSocketsCloseWithTheChannel(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	ready, silent := connect(t, s), connect(t, s)
	ready.hello(sess.Token, "")
	codes := make(chan int, 2)
	for _, ws := range []*socket{ready, silent} {
		go func() { codes <- ws.closed() }()
	}
	s.Stop()
	if code := <-codes; code != 1012 {
		t.Errorf("close code %d", code)
	}
	if code := <-codes; code != 1012 {
		t.Errorf("close code %d", code)
	}
	if n := k.World.Watches(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}
