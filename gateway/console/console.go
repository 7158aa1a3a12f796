// Package console is the app in which agents take conversations. The sources are Svelte and TypeScript in src; `make build`
// builds them into dist, which this package holds and serves at /console/. A build without Node has only the placeholder
// there: it works, and says at /console/ what is missing.
//
// The app is a client of /v1/agent like any other. What it draws of a conversation is the fold of its log (src/lib), so what
// an agent sees is what is durable.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

//go:embed all:dist
var dist embed.FS

// Path is where the app is.
const Path = "/console/"

// policy lets the page run its own scripts and styles and speak to its own origin, and nothing else. Strings become markup
// only through the one policy of the framework, which no text of a customer ever takes.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types svelte-trusted-html"

// Routes returns the endpoints of the app. They need no sign-in: what is secret comes from the API.
func Routes() ([]adapters.Route, error) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("opening the console: %w", err)
	}
	return routes(sub)
}

// file is one built file, ready to send.
type file struct {
	kind         string
	cache        string
	body, packed []byte
	tag          string
}

const index = "index.html"

func routes(dir fs.FS) (out []adapters.Route, err error) {
	add := func(path string, h fasthttp.RequestHandler) {
		for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodHead} {
			out = append(out, adapters.Route{Method: method, Path: path, Handler: func(ctx *fasthttp.RequestCtx) {
				secure(ctx)
				h(ctx)
			}})
		}
	}
	page := unbuilt
	if body, err := fs.ReadFile(dir, index); err == nil {
		f, err := newFile(index, body)
		if err != nil {
			return nil, err
		}
		page = f.serve
	}
	add(Path, page)
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == index || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		body, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		f, err := newFile(name, body)
		if err != nil {
			return err
		}
		add(Path+name, f.serve)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the console: %w", err)
	}
	return out, nil
}

func unbuilt(ctx *fasthttp.RequestCtx) {
	problem.Write(ctx, fasthttp.StatusNotFound, problem.CodeNotFound,
		"This program was built without the console. Build it with: make build.")
}

// kinds are the types of everything that a build makes.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".webmanifest": "application/manifest+json", ".png": "image/png",
}

func newFile(name string, body []byte) (file, error) {
	kind := kinds[path.Ext(name)]
	if kind == "" {
		return file{}, fmt.Errorf("%s: no type is known for it", name)
	}
	sum := sha256.Sum256(body)
	// Names below assets hold the digest of their content: they can be kept for ever. The others never change, so browsers
	// ask each time whether they have the newest: an answer without a body while they do.
	cache := "no-cache"
	if strings.HasPrefix(name, "assets/") {
		cache = "public, max-age=31536000, immutable"
	}
	packed, err := pack(body)
	return file{kind: kind, cache: cache, body: body, packed: packed, tag: hex.EncodeToString(sum[:12])}, err
}

// secure sets what every answer of the app carries.
func secure(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderContentSecurityPolicy, policy)
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

func (f file) serve(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderCacheControl, f.cache)
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	packed := ctx.Request.Header.HasAcceptEncoding("gzip")
	// The two forms of a file are two representations, each with a tag of its own (RFC 9110, 8.8.3).
	tag := `"` + f.tag + `"`
	if packed {
		tag = `"` + f.tag + `-gz"`
	}
	h.Set(fasthttp.HeaderETag, tag)
	if bytes.Contains(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch), []byte(tag)) {
		ctx.Response.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	h.SetContentType(f.kind)
	if packed {
		h.Set(fasthttp.HeaderContentEncoding, "gzip")
		ctx.Response.SetBodyRaw(f.packed)
		return
	}
	ctx.Response.SetBodyRaw(f.body)
}

func pack(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(body); err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}
