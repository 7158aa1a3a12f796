package hostile

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzWire sends any bytes to the public listener. TOKEN and KEY in them stand for the token of a visitor and the key of an
// agent, so that what is behind the sign-in is reached. There is an answer below 500, or the connection ends; and what
// comes to the bot is text.
func FuzzWire(f *testing.F) {
	auth := "Authorization: Bearer TOKEN\r\n"
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/web/acme.web/session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/web/acme.web/session HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"token\":\"TOKEN\"}",
		"POST /v1/web/acme.web/messages HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 21\r\n\r\n{\"id\":\"1\",\"text\":\"a\"}",
		"POST /v1/web/acme.web/messages HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n15\r\n{\"id\":\"2\",\"text\":\"a\"}\r\n0\r\n\r\n",
		"POST /v1/web/acme.web/messages HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 35\r\n\r\n{\"id\":\"3\",\"text\":\"\\ud83d\\ude00 \\u0600\"}",
		"POST /v1/web/acme.web/messages HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 43\r\n\r\n{\"id\":\"4\",\"action\":{\"id\":\"b\",\"label\":\"Yes\"}}",
		"POST /v1/web/acme.web/human HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 0\r\n\r\n",
		"POST /v1/web/acme.web/observe HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 15\r\n\r\n{\"typing\":true}",
		"POST /v1/web/acme.web/ticket HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 0\r\n\r\n",
		"GET /v1/web/acme.web/events?after=c_x.1 HTTP/1.1\r\nHost: x\r\n" + auth + "Last-Event-ID: y\r\n\r\n",
		"GET /v1/web/acme.web/events HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"GET /v1/web/acme.web/events?ticket=TOKEN HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/web/acme.web/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x82\x00\x00\x00\x00{}",
		"POST /v1/web/acme.web/attachments HTTP/1.1\r\nHost: x\r\n" + auth + "X-Filename: a%20b.txt\r\nContent-Length: 5\r\n\r\nhello",
		"POST /v1/web/acme.web/attachments HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 79\r\n\r\n--b\r\nContent-Disposition: form-data; name=f; filename=\"a.txt\"\r\n\r\nhi\r\n--b--\r\n\r\n",
		"GET /v1/web/acme.web/attachments/a_x HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"OPTIONS /v1/web/acme.web/messages HTTP/1.1\r\nHost: x\r\nOrigin: https://x.example\r\n\r\n",
		"GET /chat/acme.web HTTP/1.1\r\nHost: x\r\nCookie: a=b; turnout_session=ts_x.y\r\n\r\n",
		"POST /chat/acme.web HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntext=%F",
		"GET /v1/agent/queue?view=waiting&limit=5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n\r\n",
		"POST /v1/agent/presence HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: 12\r\n\r\n{\"on\": true}",
		"GET /v1/agent/conversations/c_00000000000000000000000000?after=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n\r\n",
		"POST /v1/agent/conversations/x/reply HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nIdempotency-Key: k\r\nContent-Length: 12\r\n\r\n{\"text\":\"a\"}",
		"GET /%2e%2e//v1/agent/me?x=%zz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\n\r\nGET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	w := start(f, setup{limits: "  read_timeout: 5s\n  idle_timeout: 5s", channel: lines(4, "wait: 5s")})
	v := w.visitor(f, "acme")
	fill := strings.NewReplacer("TOKEN", v.token, "KEY", w.keys["acme/ann"])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 64<<10 {
			return // what is longer has tests of its own
		}
		c := w.dial(t)
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, fill.Replace(string(raw))); err != nil && !broken(err) {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil && !broken(err) {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		for {
			resp, err := http.ReadResponse(r, nil)
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				t.Fatal("neither an answer nor an end")
			}
			if err != nil {
				break // the end, or what follows the head of an answer to HEAD
			}
			if resp.StatusCode >= 500 {
				t.Errorf("the answer is %s", resp.Status)
			}
			if resp.StatusCode == http.StatusSwitchingProtocols || resp.Header.Get("Content-Type") == "text/event-stream" {
				break // these go on
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				break
			}
		}
		if w.bots["acme"].garbled.Load() > 0 {
			t.Error("the bot was sent what is no text")
		}
	})
}
