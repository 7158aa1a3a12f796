package console

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

func serve(t *testing.T, dir fs.FS) func(path string, headers ...string) *fasthttp.Response {
	t.Helper()
	list, err := routes(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath = false, false // as the server has it
	for _, route := range list {
		r.Handle(route.Method, route.Path, route.Handler)
	}
	return func(path string, headers ...string) *fasthttp.Response {
		var ctx fasthttp.RequestCtx
		ctx.Request.SetRequestURI(path)
		for i := 0; i < len(headers); i += 2 {
			ctx.Request.Header.Set(headers[i], headers[i+1])
		}
		r.Handler(&ctx)
		return &ctx.Response
	}
}

var built = fstest.MapFS{
	"index.html":             {Data: []byte("<!doctype html><title>x</title>")},
	"assets/index-a1b2c3.js": {Data: []byte(strings.Repeat("export {};", 100))},
	"icon.svg":               {Data: []byte("<svg/>")},
	".gitignore":             {Data: []byte("*")},
}

func TestPageAndFiles(t *testing.T) {
	get := serve(t, built)
	for _, c := range []struct {
		path   string
		status int
		kind   string
		cache  string
	}{
		{"/console/", 200, "text/html; charset=utf-8", "no-cache"},
		{"/console/assets/index-a1b2c3.js", 200, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"/console/icon.svg", 200, "image/svg+xml", "no-cache"},
	} {
		res := get(c.path)
		h := &res.Header
		if res.StatusCode() != c.status || c.kind != "" && string(h.ContentType()) != c.kind || string(h.Peek("Cache-Control")) != c.cache {
			t.Errorf("%s: %d, %s, %s", c.path, res.StatusCode(), h.ContentType(), h.Peek("Cache-Control"))
		}
		csp := string(h.Peek("Content-Security-Policy"))
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", c.path, csp)
		}
	}
	for _, path := range []string{"/console/index.html", "/console/.gitignore", "/console/assets/", "/console/x"} {
		if res := get(path); res.StatusCode() != 404 {
			t.Errorf("%s: %d", path, res.StatusCode())
		}
	}
}

func TestFormsOfAFile(t *testing.T) {
	get := serve(t, built)
	plain, packed := get("/console/assets/index-a1b2c3.js"), get("/console/assets/index-a1b2c3.js", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(bytes.NewReader(packed.Body()))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, plain.Body()) || len(packed.Body()) >= len(got) {
		t.Errorf("packed is something else: %v", err)
	}
	for _, res := range []*fasthttp.Response{plain, packed} {
		tag := string(res.Header.Peek("ETag"))
		again := get("/console/assets/index-a1b2c3.js", "If-None-Match", tag, "Accept-Encoding", string(res.Header.Peek("Content-Encoding")))
		if again.StatusCode() != 304 || len(again.Body()) != 0 {
			t.Errorf("with its tag %s: %d, %d bytes", tag, again.StatusCode(), len(again.Body()))
		}
	}
	if string(plain.Header.Peek("ETag")) == string(packed.Header.Peek("ETag")) {
		t.Error("both forms have one tag")
	}
}

func TestUnknownKindOfFile(t *testing.T) {
	if _, err := routes(fstest.MapFS{"index.html": {}, "assets/x.exe": {}}); err == nil || !strings.Contains(err.Error(), "x.exe") {
		t.Errorf("a file of no known type: %v", err)
	}
}

func TestWithoutTheBuild(t *testing.T) {
	get := serve(t, fstest.MapFS{".gitignore": {Data: []byte("*")}})
	if res := get("/console/"); res.StatusCode() != 404 || !bytes.Contains(res.Body(), []byte("make build")) {
		t.Errorf("%d: %s", res.StatusCode(), res.Body())
	}
}

// budget is what a browser loads before the app shows something, packed: UI.md's figure is 150 KB.
const budget = 150_000

// TestBuild looks at what `make build` made: it is small, asks for nothing from elsewhere and needs no inline code.
func TestBuild(t *testing.T) {
	list, err := fs.Sub(dist, "dist")
	if err != nil {
		t.Fatal(err)
	}
	page, err := fs.ReadFile(list, index)
	if err != nil {
		if os.Getenv("TURNOUT_WEB_BUILT") != "" {
			t.Fatal("the console is not built")
		}
		t.Skip("the console is not built: make build")
	}
	if inline := regexp.MustCompile(`(?s)<script[^>]*>[^<]+</script>|<style|style=| on[a-z]+=`).Find(page); inline != nil {
		t.Errorf("the page has inline code: %s", inline)
	}
	if away := regexp.MustCompile(`(?:src|href)="(?:https?:)?//[^"]*`).Find(page); away != nil {
		t.Errorf("the page asks for something from elsewhere: %s", away)
	}
	total := 0
	err = fs.WalkDir(list, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		body, err := fs.ReadFile(list, name)
		if err != nil {
			return err
		}
		f, err := newFile(name, body)
		total += len(f.packed)
		if filepath.Ext(name) == ".map" {
			t.Errorf("%s is in the build", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes packed", total)
	if total > budget {
		t.Errorf("%d bytes packed, at most %d", total, budget)
	}
}
