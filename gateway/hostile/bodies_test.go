package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const gigabyte = 1 << 30

// head is a request's head without a body; the lines say how the body is framed.
func head(method, path, token string, lines ...string) string {
	h := method + " " + path + " HTTP/1.1\r\nHost: gateway\r\n"
	if token != "" {
		h += "Authorization: Bearer " + token + "\r\n"
	}
	for _, l := range lines {
		h += l + "\r\n"
	}
	return h + "\r\n"
}

// sinks are the paths that take a body, of every kind: with the server's limit and with one of their own.
func sinks(v *visitor) []string {
	return []string{
		v.base + "/messages", v.base + "/attachments", v.base + "/session", v.base + "/human", v.base + "/observe",
		"/chat/acme.web", "/v1/agent/login", "/v1/agent/conversations/c_x/reply", "/nothing/here",
	}
}

// TestOversizeIsRefusedEarly: what is declared too large is refused with its first byte; one who asks before sending is
// told at once, and one who sends nothing is hung up on in time (TestSlowClients).
func TestOversizeIsRefusedEarly(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	for _, path := range sinks(v) {
		t.Run(path, func(t *testing.T) {
			declared := fmt.Sprintf("Content-Length: %d", gigabyte)
			refused(t, w.send(t, head("POST", path, v.token, declared)+"{"), 413, "too_large")
			a := w.send(t, head("POST", path, v.token, declared, "Expect: 100-continue"))
			if a.status != 413 {
				t.Errorf("it asked for a body of 1 GiB: %s", a)
			}
			a = w.send(t, head("POST", path, v.token, "Content-Length: 99999999999999999999"))
			if a.status != 400 && a.status != 413 {
				t.Errorf("a length that is no number of this machine: %s", a)
			}
			refused(t, w.send(t, head("POST", path, v.token, "Content-Encoding: gzip", "Content-Length: 10")+"0123456789"), 415, "bad_request")
		})
	}
	refused(t, w.send(t, head("GET", v.base+"/events", v.token, "X: "+strings.Repeat("x", 20<<10))), 431, "too_large")
	refused(t, w.send(t, head("GET", "/"+strings.Repeat("x", 20<<10), "")), 431, "too_large")
	many := strings.Repeat("X-A: b\r\n", 4000)
	refused(t, w.send(t, head("GET", v.base+"/events", v.token, many[:len(many)-2])), 431, "too_large")
	w.healthy(t, "acme")
}

// TestAmbiguousFraming: where two servers could disagree on where a request ends, this one refuses and hangs up.
func TestAmbiguousFraming(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	path := v.base + "/messages"
	body := `{"id":"smuggled","text":"hello"}`
	inner := request("POST", path, v.token, body)
	for name, raw := range map[string]string{
		"length and chunks":    head("POST", path, v.token, fmt.Sprintf("Content-Length: %d", len(inner)), "Transfer-Encoding: chunked") + "0\r\n\r\n" + inner,
		"two lengths":          head("POST", path, v.token, "Content-Length: 0", fmt.Sprintf("Content-Length: %d", len(inner))) + inner,
		"a length with a sign": head("POST", path, v.token, "Content-Length: +0") + inner,
		"a negative length":    head("POST", path, v.token, "Content-Length: -1") + inner,
		"a length in hex":      head("POST", path, v.token, "Content-Length: 0x0") + inner,
		"two encodings":        head("POST", path, v.token, "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n" + inner,
		"unknown encoding":     head("POST", path, v.token, "Transfer-Encoding: xchunked") + inner,
		"blank before colon":   head("POST", path, v.token, "Content-Length : 0") + inner,
		"a chunk of no size":   head("POST", path, v.token, "Transfer-Encoding: chunked") + "\r\n\r\n" + inner,
		"a negative chunk":     head("POST", path, v.token, "Transfer-Encoding: chunked") + "-1\r\n" + inner,
		"a chunk too large":    head("POST", path, v.token, "Transfer-Encoding: chunked") + "ffffffffffffffffff\r\n" + inner,
		"NUL in a header":      head("POST", path, v.token, "X: a\x00b", "Content-Length: 0") + inner,
		"no request":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 64) + "\r\n\r\n" + inner,
	} {
		t.Run(name, func(t *testing.T) {
			c := w.dial(t)
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, raw); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(c)
			if err != nil && !broken(err) {
				t.Fatal(err)
			}
			if bytes.Contains(all, []byte("HTTP/1.1 2")) || bytes.Contains(all, []byte("HTTP/1.1 5")) {
				t.Errorf("it was taken: %s", all)
			}
		})
	}
	if _, heard := w.bots["acme"].text("smuggled"); heard {
		t.Error("a request inside of another reached the bot")
	}
	w.healthy(t, "acme")
}

// broken reports whether an error is that of a connection which the other side ended.
func broken(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// TestMemoryStaysFlat: 200 connections that declare what would fill the machine. Each may cost what a connection costs:
// the header buffer (16 KiB), a write buffer, two stacks, and the piece of a body that arrived. 96 KiB each is room for
// that; 200 bodies read or allocated up to the server's limit (256 KiB) would be 50 MiB, as declared 200 GiB.
func TestMemoryStaysFlat(t *testing.T) {
	const conns, each = 200, 96 << 10
	w := start(t, setup{limits: "  read_timeout: 30s"})
	v := w.visitor(t, "acme")
	paths := sinks(v)
	framings := []string{
		fmt.Sprintf("Content-Length: %d", gigabyte),
		fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue", gigabyte),
		fmt.Sprintf("Content-Length: %d\r\nContent-Encoding: gzip", gigabyte),
		"Transfer-Encoding: chunked",
		fmt.Sprintf("Content-Length: %d", 250<<10), // within the limit, and never sent
	}
	w.healthy(t, "acme") // everything that is made once is made
	w.healthy(t, "other")
	before := heap()
	open := make([]net.Conn, conns)
	for i := range open {
		framing := framings[i%len(framings)]
		open[i] = w.dial(t)
		if _, err := io.WriteString(open[i], head("POST", paths[i/len(framings)%len(paths)], v.token, framing)); err != nil {
			t.Fatal(err)
		}
		if framing == "Transfer-Encoding: chunked" {
			if _, err := io.WriteString(open[i], "40000000\r\nx"); err != nil && !broken(err) {
				t.Fatal(err)
			}
		}
	}
	w.healthy(t, "acme")
	w.healthy(t, "other")
	if grown := heap() - before; grown > conns*each {
		t.Errorf("with %d such connections open the heap grew by %d KiB, at most %d are accounted for", conns, grown>>10, conns*each>>10)
	}
	for _, c := range open {
		c.Close()
	}
	eventually(t, "the connections have ended", func() bool { return serving() == 0 })
	if grown := heap() - before; grown > conns*each/2 {
		t.Errorf("after them the heap is larger by %d KiB", grown>>10)
	}
}

// heap is the live heap in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools give up what they hold in the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestEndlessBodies: a body without a declared end is read up to the limit and no further. What a gateway that reads on
// would keep is what it allocates, so that is what is measured: it must not follow what is sent.
func TestEndlessBodies(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	chunk := []byte("10000\r\n" + strings.Repeat(" ", 64<<10) + "\r\n")
	const send = 256 << 20 // far more than is read and thrown away of what was refused, and than buffers take
	for _, path := range sinks(v) {
		t.Run(path, func(t *testing.T) {
			c := w.dial(t)
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, head("POST", path, v.token, "Transfer-Encoding: chunked")); err != nil {
				t.Fatal(err)
			}
			var reader sync.WaitGroup
			var a answer
			var err error
			reader.Go(func() { a, err = read(bufio.NewReader(c), "POST") })
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			allocated, sent := m.TotalAlloc, 0
			for sent < send {
				n, err := c.Write(chunk)
				sent += n
				if err != nil {
					break
				}
			}
			runtime.ReadMemStats(&m)
			allocated = m.TotalAlloc - allocated
			c.CloseWrite()
			reader.Wait()
			if sent >= send {
				t.Errorf("all of %d MiB was taken", send>>20)
			}
			// An attachment may have 10 MiB on its way to the disk; nothing may have more in memory than a few limits.
			if allocated > 16<<20 {
				t.Errorf("%d MiB were allocated for a body without an end", allocated>>20)
			}
			if err == nil && a.status != 413 && a.status != 400 && a.status != 401 && a.status != 404 && a.status != 415 {
				t.Errorf("the answer is %s", a)
			}
			if err != nil && !broken(err) {
				t.Errorf("no answer: %v", err)
			}
		})
	}
	w.healthy(t, "acme")
}

// TestBombs: what is small on the wire and large in memory is refused as it is: nothing is unpacked.
func TestBombs(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprintf(z, `{"id":"a","text":"%s"}`, strings.Repeat("x", 32<<20))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := packed.String()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated := m.TotalAlloc
	for _, encoding := range []string{"gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "x"} {
		refused(t, w.call(t, "POST", v.base+"/messages", v.token, bomb, "Content-Encoding: "+encoding), 415, "bad_request")
	}
	refused(t, w.call(t, "POST", v.base+"/messages", v.token, bomb), 400, "bad_request")
	refused(t, w.call(t, "POST", v.base+"/attachments", v.token, bomb), 415, "bad_request")
	parts := strings.Repeat("--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n", 4000) + "--b--\r\n"
	refused(t, w.call(t, "POST", v.base+"/attachments", v.token, parts, "Content-Type: multipart/form-data; boundary=b"), 400, "bad_request")
	runtime.ReadMemStats(&m)
	if got := m.TotalAlloc - allocated; got > 16<<20 {
		t.Errorf("%d MiB were allocated for them", got>>20)
	}
}
