package widget

import (
	"bufio"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"

	"turnout/adapters"
)

const (
	loader = "the loader"
	fresh  = "public, max-age=300, stale-while-revalidate=604800"
	chat   = "the chat, which is long enough to be worth packing: the chat, the chat, the chat, the chat, the chat"
)

// built is what a build leaves behind.
var built = fstest.MapFS{
	"widget.js":        {Data: []byte(loader)},
	"chat-Ab_1-2xY.js": {Data: []byte(chat)},
	".gitignore":       {Data: []byte("*")},
}

func serve(t *testing.T, routes []adapters.Route) func(method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r := router.New()
	for _, route := range routes {
		r.Handle(route.Method, route.Path, route.Handler)
	}
	ln := fasthttputil.NewInmemoryListener()
	server := &fasthttp.Server{Handler: r.Handler, KeepHijackedConns: true}
	go server.Serve(ln)
	t.Cleanup(func() { server.Shutdown() })
	return func(method, path string, header ...string) (*http.Response, string) {
		t.Helper()
		conn, err := ln.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer func(c net.Conn) { c.Close() }(conn)
		req, err := http.NewRequest(method, "http://chat.example"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		if err := req.Write(conn); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(resp.Body)
		if resp.Header.Get("Content-Encoding") == "gzip" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
}

func want(t *testing.T, resp *http.Response, status int, headers ...string) {
	t.Helper()
	if resp.StatusCode != status {
		t.Errorf("status %d, want %d", resp.StatusCode, status)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if got := resp.Header.Get(headers[i]); got != headers[i+1] {
			t.Errorf("%s: %q, want %q", headers[i], got, headers[i+1])
		}
	}
}

func TestLoader(t *testing.T) {
	get := serve(t, routes(built))
	resp, body := get("GET", "/widget.js")
	want(t, resp, 200, "Content-Type", "text/javascript; charset=utf-8", "Cache-Control", fresh,
		"Access-Control-Allow-Origin", "*", "Cross-Origin-Resource-Policy", "cross-origin",
		"X-Content-Type-Options", "nosniff", "Vary", "Accept-Encoding", "Content-Encoding", "")
	if body != loader {
		t.Errorf("body %q", body)
	}
	tag := resp.Header.Get("ETag")
	resp, body = get("GET", "/widget.js", "If-None-Match", tag)
	want(t, resp, 304, "ETag", tag, "Cache-Control", fresh, "Access-Control-Allow-Origin", "*")
	if body != "" {
		t.Errorf("304 with a body: %q", body)
	}
	resp, body = get("GET", "/widget.js", "If-None-Match", `"another"`)
	want(t, resp, 200)
	if body != loader {
		t.Errorf("body %q", body)
	}
	// The packed form is another representation: the plain one's tag does not vouch for it.
	resp, body = get("GET", "/widget.js", "Accept-Encoding", "gzip, br", "If-None-Match", tag)
	want(t, resp, 200, "Content-Encoding", "gzip", "Vary", "Accept-Encoding")
	if body != loader || resp.Header.Get("ETag") == tag {
		t.Errorf("packed: %q with tag %s", body, resp.Header.Get("ETag"))
	}
	resp, body = get("HEAD", "/widget.js")
	want(t, resp, 200, "Content-Type", "text/javascript; charset=utf-8")
	if body != "" {
		t.Errorf("HEAD with a body: %q", body)
	}
}

func TestParts(t *testing.T) {
	get := serve(t, routes(built))
	resp, body := get("GET", "/widget/chat-Ab_1-2xY.js", "Accept-Encoding", "gzip")
	want(t, resp, 200, "Content-Type", "text/javascript; charset=utf-8", "Content-Encoding", "gzip",
		"Cache-Control", "public, max-age=31536000, immutable", "Access-Control-Allow-Origin", "*", "Cross-Origin-Resource-Policy", "cross-origin")
	if body != chat {
		t.Errorf("body %q", body)
	}
	// A page that was opened before an upgrade.
	resp, _ = get("GET", "/widget/chat-01234567.js")
	want(t, resp, 302, "Location", "chat-Ab_1-2xY.js", "Cache-Control", "no-store", "Access-Control-Allow-Origin", "*")
	for _, path := range []string{"/widget/other-01234567.js", "/widget/widget.js", "/widget/.gitignore", "/widget/chat-1.js", "/widget/%2e%2e%2fwidget.go"} {
		resp, body := get("GET", path)
		want(t, resp, 404)
		if strings.Contains(body, chat) || strings.Contains(body, loader) {
			t.Errorf("%s: %q", path, body)
		}
	}
}

func TestWithoutABuild(t *testing.T) {
	get := serve(t, routes(fstest.MapFS{".gitignore": {Data: []byte("*")}}))
	resp, body := get("GET", "/widget.js")
	want(t, resp, 404, "Content-Type", "application/problem+json")
	if !strings.Contains(body, "make build") {
		t.Errorf("it does not say how to mend it: %s", body)
	}
}

// What is embedded is what was built: make test sets the variable after the build, and then nothing may be missing.
func TestEmbedded(t *testing.T) {
	get := serve(t, Routes())
	resp, body := get("GET", "/widget.js")
	if os.Getenv("TURNOUT_WEB_BUILT") == "" {
		t.Logf("status %d; make test builds the widget first and wants it to be there", resp.StatusCode)
		return
	}
	want(t, resp, 200)
	entries, err := dist.ReadDir("dist")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "chat-") {
			if !strings.Contains(body, e.Name()) {
				t.Errorf("the loader does not know %s", e.Name())
			}
			part, _ := get("GET", "/widget/"+e.Name())
			want(t, part, 200)
			return
		}
	}
	t.Error("there is no chat")
}
