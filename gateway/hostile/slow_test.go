package hostile

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// TestSlowClients: whoever takes or gives nothing, or next to nothing, is hung up on, and leaves nothing behind. The
// clients of one kind each are all there at the same time, and a customer is served beside them.
func TestSlowClients(t *testing.T) {
	w := start(t, setup{limits: "  read_timeout: 1s\n  idle_timeout: 1s\n  write_timeout: 1s"})
	v := w.visitor(t, "acme")
	eventually(t, "nobody is served", func() bool { return serving() == 0 })

	chunked := "Transfer-Encoding: chunked"
	dripping := map[string]string{ // what is dripped, byte by byte
		"the request line": "GET /v1/web/acme.web/session HTTP/1.1\r\nHost: gateway\r\n\r\n",
		"the headers":      head("POST", v.base+"/messages", v.token, "X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
	}
	sudden := map[string]string{ // what is there at once, before the drip of blanks
		"a message":           head("POST", v.base+"/messages", v.token, "Content-Length: 1000"),
		"a message in chunks": head("POST", v.base+"/messages", v.token, chunked) + "3e8\r\n",
		"a chunk's size":      head("POST", v.base+"/messages", v.token, chunked),
		"a session":           head("POST", v.base+"/session", "", "Content-Length: 1000"),
		"a form":              head("POST", "/chat/acme.web", "", "Content-Length: 1000", "Content-Type: application/x-www-form-urlencoded"),
		"a file":              head("POST", v.base+"/attachments", v.token, "Content-Length: 1000"),
		"a login":             head("POST", "/v1/agent/login", "", chunked) + "3e8\r\n",
		"1 GiB":               head("POST", v.base+"/messages", v.token, fmt.Sprintf("Content-Length: %d", gigabyte)),
		"a second request":    request("POST", v.base+"/session", "", "", "X: y"),
		"nothing":             "",
	}
	var conns []net.Conn
	var drips []drip
	for name, raw := range dripping {
		c := w.dial(t)
		conns, drips = append(conns, c), append(drips, drip{name, c, raw})
	}
	for name, raw := range sudden {
		c := w.dial(t)
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		conns, drips = append(conns, c), append(drips, drip{name, c, ""})
	}

	// Sockets that never say who they are.
	for _, path := range []string{v.base + "/socket", "/v1/agent/socket"} {
		conns = append(conns, w.socket(t, path).NetConn())
	}
	w.healthy(t, "acme")
	w.healthy(t, "other")

	done := make(chan string)
	for _, d := range drips {
		go func() { done <- d.run() }()
	}
	for range drips {
		if trouble := <-done; trouble != "" {
			t.Error(trouble)
		}
	}
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil && !broken(err) {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !broken(err) {
			t.Errorf("a connection stays open: %v", err)
		}
	}
	eventually(t, "all have ended", func() bool { return serving() == 0 })
	w.healthy(t, "acme")
}

// drip is a connection that gives a byte at a time.
type drip struct {
	name string
	conn net.Conn
	text string // blanks when it is over
}

// run drips until the other side hangs up.
func (d drip) run() (trouble string) {
	next := time.NewTicker(100 * time.Millisecond)
	defer next.Stop()
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	for {
		b := " "
		if d.text != "" {
			b, d.text = d.text[:1], d.text[1:]
		}
		if _, err := io.WriteString(d.conn, b); err != nil {
			return ""
		}
		select {
		case <-next.C:
		case <-giveUp.C:
			return d.name + ": the server still listens"
		}
	}
}

// TestClientsThatDoNotRead: sockets and streams whose clients take nothing end when the connection is full, and their
// customers come back with a cursor.
func TestClientsThatDoNotRead(t *testing.T) {
	const turns = 16 // 5 MiB: more than the kernel keeps for a connection
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	for range turns {
		v.say(t, floodText)
	}
	last := v.outcome(t, w.call(t, "POST", v.base+"/human", v.token, ""))
	eventually(t, "nobody is served", func() bool { return serving() == 0 })

	stream := w.dial(t)
	if _, err := io.WriteString(stream, head("GET", v.base+"/events", v.token)); err != nil {
		t.Fatal(err)
	}
	socket := func(path string, frames ...any) {
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return w.dial(t), nil }}
		c, _, err := d.Dial("ws://"+w.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if err := c.WriteJSON(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	socket(v.base+"/socket", map[string]string{"type": "hello", "token": v.token})
	socket("/v1/agent/socket", map[string]string{"type": "hello", "token": w.keys["acme/sue"]},
		map[string]string{"type": "follow", "conversation": last.Conversation})
	eventually(t, "all three are served", func() bool { return serving() >= 3 })
	w.healthy(t, "acme") // with everybody stuck
	eventually(t, "all have ended", func() bool { return serving() == 0 })
	// What they did not read is there to be read.
	c := w.socket(t, v.base+"/socket")
	if err := c.WriteJSON(map[string]string{"type": "hello", "token": v.token}); err != nil {
		t.Fatal(err)
	}
	for seen := 0; seen < turns; {
		_, raw, err := c.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > floodSize {
			seen++
		}
	}
}
