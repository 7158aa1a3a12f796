package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// socket opens a WebSocket on a path of the public listener.
func (w *world) socket(t testing.TB, path string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, NetDial: func(network, addr string) (net.Conn, error) {
		return dialer().Dial(network, addr)
	}}
	c, resp, err := d.Dial("ws://"+w.addr+path, http.Header{})
	if err != nil {
		t.Fatalf("opening a socket: %v (%v)", err, resp)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// told is all that a socket said until it ended.
type told struct {
	frames []string
	code   int // of the close frame; 0: none
}

func (s told) String() string { return fmt.Sprintf("%d %s", s.code, strings.Join(s.frames, "\n")) }

// drain reads a socket to its end.
func drain(t testing.TB, c *websocket.Conn) (s told) {
	t.Helper()
	for {
		_, raw, err := c.ReadMessage()
		var closed *websocket.CloseError
		var late net.Error
		switch {
		case err == nil:
			s.frames = append(s.frames, string(raw))
			continue
		case errors.As(err, &closed):
			s.code = closed.Code
		case errors.As(err, &late) && late.Timeout():
			t.Errorf("the socket stays open after %s", s)
		}
		return s
	}
}

// hello opens a socket with a first frame and returns what it says when that is refused.
func (w *world) hello(t testing.TB, path string, first any) told {
	t.Helper()
	c := w.socket(t, path)
	if err := c.WriteJSON(first); err != nil {
		t.Fatal(err)
	}
	return drain(t, c)
}

// TestForgedHello: a first frame that opens nothing is answered the same whatever it holds.
func TestForgedHello(t *testing.T) {
	w := start(t, setup{})
	me, theirs, foreign := w.visitor(t, "acme"), w.owned(t, "acme"), w.owned(t, "other")
	path := me.base + "/socket"
	want := w.hello(t, path, map[string]any{"type": "hello", "token": "nobody-s-token"})
	if want.code != websocket.ClosePolicyViolation || len(want.frames) != 1 || !strings.Contains(want.frames[0], "unauthenticated") {
		t.Errorf("a forged token: %s", want)
	}
	for name, token := range map[string]string{
		"another channel's": foreign.token, "none": "", "a key": w.keys["acme/ann"], "twisted": twist(me.token),
	} {
		if got := w.hello(t, path, map[string]any{"type": "hello", "token": token}); got.String() != want.String() {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	conv, vseq, _ := strings.Cut(theirs.cursor, ".")
	unknown := w.hello(t, path, map[string]any{"type": "hello", "token": me.token, "after": twist(conv) + "." + vseq})
	for _, after := range []string{theirs.cursor, foreign.cursor, "x", "c_x.1", conv + ".99999999999999999999", conv + ".-1"} {
		got := w.hello(t, path, map[string]any{"type": "hello", "token": me.token, "after": after})
		if got.String() != unknown.String() || got.code != websocket.ClosePolicyViolation {
			t.Errorf("after %s: got %s, want %s", after, got, unknown)
		}
	}
	want = w.hello(t, "/v1/agent/socket", map[string]any{"type": "hello", "token": "nobody-s-token"})
	for name, token := range map[string]string{
		"a visitor's": me.token, "none": "", "half a key": w.keys["acme/ann"][:20], "twisted": twist(w.keys["acme/ann"]),
	} {
		if got := w.hello(t, "/v1/agent/socket", map[string]any{"type": "hello", "token": token}); got.String() != want.String() {
			t.Errorf("an agent, %s: got %s, want %s", name, got, want)
		}
	}
}

// TestForeignFollow: an agent's socket follows nothing that the agent may not see, and does not tell that it is there.
func TestForeignFollow(t *testing.T) {
	w := start(t, setup{})
	o := w.owned(t, "acme")
	c := w.socket(t, "/v1/agent/socket")
	say := func(frame any) string {
		t.Helper()
		if err := c.WriteJSON(frame); err != nil {
			t.Fatal(err)
		}
		for {
			_, raw, err := c.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			var f struct{ Type, Conversation string }
			if err := json.Unmarshal(raw, &f); err != nil {
				t.Fatal(err)
			}
			if f.Type != "queue" {
				return strings.ReplaceAll(string(raw), f.Conversation, "ID")
			}
		}
	}
	say(map[string]any{"type": "hello", "token": w.keys["other/sue"]})
	for _, kind := range []string{"follow", "typing"} {
		got := say(map[string]any{"type": kind, "conversation": o.conversation})
		want := say(map[string]any{"type": kind, "conversation": twist(o.conversation)})
		if got != want || !strings.Contains(got, "not_found") {
			t.Errorf("%s: got %s, want %s", kind, got, want)
		}
	}
}

// TestMalformedFrames: a frame that cannot be read is refused; a socket that breaks the protocol ends; nobody else notices.
func TestMalformedFrames(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	c := w.socket(t, v.base+"/socket")
	if err := c.WriteJSON(map[string]string{"type": "hello", "token": v.token}); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		t.Helper()
		_, raw, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if ready := read(); !strings.Contains(ready, `"ready"`) {
		t.Fatal(ready)
	}
	for _, raw := range []string{
		`{`, `[]`, `null`, `"x"`, `{}`, `{"type":7}`, `{"type":"shout"}`, `{"type":"hello","token":"x"}`, `{"type":"message"}`,
		`{"type":"message","id":"a","text":"\ud800"}`, `{"type":"message","id":"a","text":7}`, `{"type":"message","id":"a b","text":"x"}`,
		`{"type":"message","id":"a","text":"\u0000"}`, `{"type":"message","id":"a","text":"` + strings.Repeat("x", 9000) + `"}`,
		`{"type":"read","cursor":"x"}`, `{"type":"read","cursor":7}`, `{"type":"human","id":"ä"}`, `{"type":"typing","on":"yes"}`,
		`{"type":"message","id":"a","attachments":["nobody-s"]}`, strings.Repeat("[", 30_000),
	} {
		if err := c.WriteMessage(websocket.TextMessage, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		if got := read(); !strings.Contains(got, `"type":"error"`) || !strings.Contains(got, `"detail":"`) {
			t.Errorf("%.60s: got %s", raw, got)
		}
	}
	text := word()
	if err := c.WriteJSON(map[string]string{"type": "message", "id": "good", "text": text}); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(read(), saidBefore+text) { // the socket is as good as before
	}
	for name, c := range map[string]struct {
		kind  int
		frame []byte
		codes []int
	}{
		"binary":    {websocket.BinaryMessage, []byte("{}"), []int{websocket.CloseUnsupportedData}},
		"too large": {websocket.TextMessage, []byte(`"` + strings.Repeat("x", 70<<10) + `"`), []int{websocket.CloseMessageTooBig, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{v.base + "/socket", "/v1/agent/socket"} {
				s := w.socket(t, path)
				if err := s.WriteMessage(c.kind, c.frame); err != nil && !broken(err) {
					t.Fatal(err)
				}
				got := drain(t, s)
				ok := false
				for _, code := range append(c.codes, websocket.ClosePolicyViolation) {
					ok = ok || got.code == code
				}
				if !ok {
					t.Errorf("%s: got %s", path, got)
				}
			}
		})
	}
	for name, raw := range map[string]string{
		"reserved bits":    "\xf1\x81\x00\x00\x00\x00x",
		"no mask":          "\x81\x01x",
		"unknown kind":     "\x83\x80\x00\x00\x00\x00",
		"a huge frame":     "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00x",
		"a long ping":      "\x89\xfe\x00\xff\x00\x00\x00\x00" + strings.Repeat("x", 255),
		"a split ping":     "\x09\x80\x00\x00\x00\x00",
		"nothing to go on": "\x80\x80\x00\x00\x00\x00",
		"a bad close":      "\x88\x82\x00\x00\x00\x00\x00\x01",
		"packed":           "\xc1\x87\x00\x00\x00\x00\xf2\x48\xcd\xc9\xc9\x07\x00",
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{v.base + "/socket", "/v1/agent/socket"} {
				s := w.socket(t, path)
				if _, err := s.NetConn().Write([]byte(raw)); err != nil {
					t.Fatal(err)
				}
				if got := drain(t, s); got.code/1000 == 4 {
					t.Errorf("%s: got %s", path, got)
				}
			}
		})
	}
	w.healthy(t, "acme")
	c.Close()
	eventually(t, "the sockets have ended", func() bool { return serving() == 0 })
}

// TestUpgradeTricks: what is no handshake, or comes from a page that is not listed, opens no socket.
func TestUpgradeTricks(t *testing.T) {
	w := start(t, setup{})
	for _, path := range []string{"/v1/web/acme.web/socket", "/v1/agent/socket"} {
		good := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
		for i := range good {
			missing := append(append([]string{}, good[:i]...), good[i+1:]...)
			refused(t, w.send(t, head("GET", path, "", missing...)), 400, "bad_request")
		}
		for _, origin := range []string{"https://evil.example", "null", "http://gateway.evil.example", "file://", "https://gateway@evil.example"} {
			refused(t, w.send(t, head("GET", path, "", append(good, "Origin: "+origin)...)), 403, "forbidden")
		}
		refused(t, w.send(t, head("GET", path, "", good[0], good[1], "Sec-WebSocket-Version: 8", good[3])), 400, "bad_request")
	}
}
