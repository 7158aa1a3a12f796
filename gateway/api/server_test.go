package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

// TestDeclaredBodies: what a client merely declares costs nothing and is refused at once.
func TestDeclaredBodies(t *testing.T) {
	b := start(t, func(o *Options) {
		o.Limits.ReadTimeout = 3 * time.Second // who declares and sends nothing has the whole answer after a tenth of it
		o.Routes = append(o.Routes, adapters.Route{
			Method: "POST", Path: "/files/{id}", MaxBody: 1 << 20, Handler: func(ctx *fasthttp.RequestCtx) {
				n, err := io.Copy(io.Discard, ctx.RequestBodyStream())
				fmt.Fprintf(ctx, "%d %v", n, err)
			},
		})
	})
	auth := "Authorization: Bearer " + b.keys["acme/ann"] + "\r\n"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, path := range []string{"/v1/agent/presence", "/v1/agent/login", "/files/x", "/nowhere"} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			got := b.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\n" + auth + expect + "Content-Length: 1073741824\r\n\r\n{}")
			if !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.Contains(got, "Connection: close") {
				t.Errorf("%s %q: %.200q", path, expect, got)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("eight declared bodies of 1 GiB took %d bytes", grown)
	}
	// Without a length the limit counts as it comes.
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
	got := b.raw("POST /v1/agent/presence HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 5))
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Errorf("chunks over the limit: %.200q", got)
	}
	a := b.request("POST", "/files/x", strings.Repeat("x", 1<<20))
	if a.status != 200 || string(a.body) != "1048576 <nil>" {
		t.Errorf("a file up to the route's own limit: %d %s", a.status, a.body)
	}
	b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/me", ""))
}

// TestRefusedWhileSending: who sends everything before reading anything gets the answer, not a reset. The control is an
// answer to which nobody has listened: with hearOut taken out the client of this test is reset.
func TestRefusedWhileSending(t *testing.T) {
	b := start(t, func(o *Options) {
		o.Limits.ReadTimeout = 5 * time.Minute // a tenth of it may pass between two writes of this test
		o.Routes = append(o.Routes, adapters.Route{
			Method: "POST", Path: "/files/{id}", MaxBody: 64 << 20, Handler: func(ctx *fasthttp.RequestCtx) {
				problem.Write(ctx, fasthttp.StatusUnauthorized, problem.CodeUnauthenticated, "Who are you?")
			},
		})
	})
	auth := "Host: x\r\nAuthorization: Bearer " + b.keys["acme/ann"] + "\r\n"
	const size = 24 << 20 // more than all buffers between two sockets take
	for name, tt := range map[string]struct{ head, want string }{
		"declared":        {fmt.Sprintf("POST /v1/agent/presence HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", auth, size), "413 "},
		"nowhere":         {fmt.Sprintf("POST /nowhere HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", auth, size), "413 "},
		"in chunks":       {fmt.Sprintf("POST /v1/agent/presence HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n", auth, size), "413 "},
		"by its handler":  {fmt.Sprintf("POST /files/x HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", auth, size), "401 "},
		"for its coding":  {fmt.Sprintf("POST /files/x HTTP/1.1\r\n%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", auth, size), "415 "},
		"with a limit":    {fmt.Sprintf("POST /files/x HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", auth, 65<<20), "413 "},
		"and goes silent": {"POST /nowhere HTTP/1.1\r\n" + auth + "Content-Length: 1073741824\r\n\r\n", "413 "},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", b.server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			piece := make([]byte, 64<<10)
			if _, err := io.WriteString(conn, tt.head); err != nil {
				t.Fatal(err)
			}
			for range size / len(piece) {
				if _, err := conn.Write(piece); err != nil {
					t.Fatalf("sending: %v", err)
				}
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+tt.want) ||
				!strings.Contains(string(got), "Connection: close") || !strings.HasSuffix(string(got), "}") {
				t.Errorf("%v, %.300q", err, got)
			}
		})
	}
	b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/me", ""))
}

func TestMalformedRequests(t *testing.T) {
	b := start(t)
	hasty := start(t, func(o *Options) { o.Limits.ReadTimeout = 300 * time.Millisecond })
	for name, tt := range map[string]struct {
		b          *bench
		sent, want string
	}{
		"nonsense":     {b, "\x00\x01\x02\r\n\r\n", "HTTP/1.1 400 "},
		"long headers": {b, "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		"two lengths":  {b, "POST /v1/agent/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 "},
		"slow header":  {hasty, "GET / HTTP/1.1\r\nHo", "HTTP/1.1 408 "},
		"slow body":    {hasty, "POST /v1/agent/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", "HTTP/1.1 408 "},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.b.raw(tt.sent)
			if !strings.HasPrefix(got, tt.want) || !strings.Contains(got, "application/problem+json") {
				t.Errorf("%.300q", got)
			}
		})
	}
	if strings.Contains(b.Logged.String()+hasty.Logged.String(), "xxxx") {
		t.Error("bytes of a request are in the log")
	}
}

func TestPanicsAreContained(t *testing.T) {
	b := start(t, route("GET", "/boom", func(*fasthttp.RequestCtx) { panic("the customer wrote canary-1") }))
	b.want(500, "internal", b.request("GET", "/boom", ""))
	b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/me", ""))
	if log := b.Logged.String(); !strings.Contains(log, "recovered from a panic") || strings.Contains(log, "canary-1") {
		t.Error("the panic is not in the log, or its value is")
	}
}

func TestHealth(t *testing.T) {
	b := start(t)
	get := func(path string) answer {
		t.Helper()
		req, err := http.NewRequest("GET", b.opsURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b.do(req)
	}
	if a := get("/readyz"); a.status != 200 || !strings.Contains(string(a.body), `"durability":"memory"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.down = true
	if a := get("/readyz"); a.status != 503 || !strings.Contains(string(a.body), "the disk is gone") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := get("/healthz"); a.status != 200 || !strings.Contains(string(a.body), "failing") {
		t.Errorf("%d %s", a.status, a.body)
	}
	b.down = false
	b.want(404, "not_found", get("/v1/agent/me"))
	b.want(404, "not_found", b.request("GET", "/readyz", ""))
	if err := b.server.StopIntake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := get("/readyz"); a.status != 503 || !strings.Contains(string(a.body), "stopping") {
		t.Errorf("while stopping: %d %s", a.status, a.body)
	}
}

// TestShutdownLetsRequestsFinish: what runs is finished and answered, nothing new comes in, and patience has an end.
func TestShutdownLetsRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	b := start(t, route("GET", "/slow", func(ctx *fasthttp.RequestCtx) {
		close(entered)
		<-release
		ctx.SetBodyString("done")
	}))
	conn, err := net.Dial("tcp", b.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	addr := b.server.Addr()
	if err := b.server.StopIntake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("a connection was taken after StopIntake")
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.server.Shutdown(impatient); err == nil {
		t.Error("Shutdown did not say that a request was still running")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Shutdown(context.Background()) }()
	close(release)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if string(body) != "done" {
		t.Errorf("the running request got %q", body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("shutting down: %v", err)
	}
}

// TestShutdownAtOnce: a server that is stopped in the instant of its start stops, too.
func TestShutdownAtOnce(t *testing.T) {
	b := start(t)
	for range 20 {
		s, err := New(t.Context(), b.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen("127.0.0.1:0", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		cancel()
	}
}

// TestHealthOfCheckpoints: copies that cannot be sent, and chains that cannot be sealed, are in the health of a node that
// works on.
func TestHealthOfCheckpoints(t *testing.T) {
	since := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	b := start(t, func(o *Options) {
		o.Checkpoints = func() Checkpoints {
			return Checkpoints{SealedAt: since, Unsent: 3, SendFailing: "the receiver answered 503", Since: since}
		}
	})
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := http.Get(b.opsURL + path)
		if err != nil {
			t.Fatal(err)
		}
		var out struct {
			Status string
			Audit  struct {
				SealedAt    time.Time `json:"sealed_at"`
				Unsent      int
				SendFailing string `json:"send_failing"`
				Since       time.Time
			}
		}
		err = json.NewDecoder(res.Body).Decode(&out)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || out.Status != "ok" || out.Audit.Unsent != 3 || out.Audit.SendFailing == "" ||
			!out.Audit.Since.Equal(since) || !out.Audit.SealedAt.Equal(since) {
			t.Errorf("%s: %d %+v, %v", path, res.StatusCode, out, err)
		}
	}
}
