package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for an answer, so that a test that would hang fails instead.
const patience = 60 * time.Second

// client is the address that the tests' connections come from where the system lets them choose: an address of its own
// can be searched for in logs.
const client = "127.77.88.99"

func dialer() *net.Dialer {
	d := &net.Dialer{Timeout: patience}
	if runtime.GOOS == "linux" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(watch.keep("a client's address", client))}
	}
	return d
}

// dial opens a connection to the public listener; the test's end closes it.
func (w *world) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := dialer().Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// answer is one response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.header, a.body) }

// same is an answer in a form in which two can be compared byte by byte: all but the time of day.
func (a answer) same() string {
	h := a.header.Clone()
	h.Del("Date")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\n", a.status)
	h.Write(&b)
	b.Write(a.body)
	return b.String()
}

// problem returns the code and detail of an error's body.
func (a answer) problem(t testing.TB) (code, detail string) {
	t.Helper()
	var p struct{ Code, Detail, Title string }
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("an error without a problem in its body: %v: %s", err, a)
	}
	return p.Code, p.Detail
}

// read reads one response. err is what the connection says instead.
func read(r *bufio.Reader, method string) (answer, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, err
}

// send writes a request on a connection of its own and reads the response.
func (w *world) send(t testing.TB, raw string) answer {
	t.Helper()
	c := w.dial(t)
	defer c.Close()
	a, err := exchange(c, raw)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return a
}

func exchange(c net.Conn, raw string) (answer, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(c, raw); err != nil {
		return answer{}, fmt.Errorf("writing: %w", err)
	}
	method, _, _ := strings.Cut(raw, " ")
	return read(bufio.NewReader(c), method)
}

// call is a request as a well-behaved client writes it. A token of "" sends none.
func (w *world) call(t testing.TB, method, path, token, body string, header ...string) answer {
	t.Helper()
	return w.send(t, request(method, path, token, body, header...))
}

func request(method, path, token, body string, header ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n", method, path)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	if body != "" || method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	return b.String() + "\r\n" + body
}

// visitor is a customer with a session on a tenant's web channel.
type visitor struct {
	w     *world
	base  string // "/v1/web/acme.web"
	token string
	addr  string
	said  int
}

func (w *world) visitor(t testing.TB, tenant string) *visitor {
	t.Helper()
	v := &visitor{w: w, base: "/v1/web/" + tenant + ".web"}
	a := w.call(t, "POST", v.base+"/session", "", "")
	var s struct{ Token, Visitor string }
	if a.status != 200 || json.Unmarshal(a.body, &s) != nil {
		t.Fatalf("no session: %s", a)
	}
	v.token, v.addr = watch.keep("a visitor's token", s.Token), watch.keep("a visitor's address", s.Visitor)
	return v
}

// lastID is the id of the last message that was said.
func (v *visitor) lastID() string { return fmt.Sprintf("%s-%d", v.addr, v.said) }

// outcome is the answer to a message.
type outcome struct {
	Conversation string `json:"conversation"`
	Cursor       string `json:"cursor"`
	Owner        struct{ Kind string }
	Messages     []struct {
		ID   string
		By   string
		Part struct{ Text string }
	}
}

// say sends a text and returns what came of it; anything but a success fails the test.
func (v *visitor) say(t testing.TB, text string) outcome {
	t.Helper()
	v.said++
	body, err := json.Marshal(map[string]any{"id": v.lastID(), "text": text})
	if err != nil {
		t.Fatal(err)
	}
	a := v.w.call(t, "POST", v.base+"/messages", v.token, string(body))
	return v.outcome(t, a)
}

func (v *visitor) outcome(t testing.TB, a answer) outcome {
	t.Helper()
	var o outcome
	if a.status != 200 || json.Unmarshal(a.body, &o) != nil {
		t.Fatalf("the message was not answered: %s", a)
	}
	return o
}

// healthy takes a customer from a new session to the bot's answer.
func (w *world) healthy(t testing.TB, tenant string) {
	t.Helper()
	text := word()
	o := w.visitor(t, tenant).say(t, text)
	if len(o.Messages) != 1 || o.Messages[0].Part.Text != saidBefore+text {
		t.Errorf("a healthy customer of %s got %+v", tenant, o)
	}
}

// refused asserts an answer that says what to mend.
func refused(t testing.TB, a answer, status int, code string) {
	t.Helper()
	got, detail := a.problem(t)
	if a.status != status || got != code || len(detail) < 10 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("got %s, want %d %s with a detail", a, status, code)
	}
}

// head200 sends a request whose response has no end, and returns the status.
func head200(c net.Conn, raw string) (status int, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(c, raw); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}
