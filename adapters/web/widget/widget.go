// Package widget is the chat that a site embeds with one script tag. The sources are TypeScript in src; `make build`
// builds them into dist, which this package holds and serves. A build without Node has only the placeholder there: it
// works, and says at /widget.js what is missing.
package widget

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

//go:embed all:dist
var dist embed.FS

// Loader is the path of the script that a page embeds; Parts is the folder of what it loads.
const (
	Loader = "/widget.js"
	Parts  = "/widget/"
)

// Routes returns the endpoints of the widget. They belong to no channel: the script learns from its tag which one it
// speaks to, and what it may do there is the channel's affair. So every site may load them, and no cookie is looked at.
func Routes() []adapters.Route {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("opening an embedded folder: " + err.Error()) // only for an invalid name
	}
	return routes(sub)
}

// file is one built file, ready to send.
type file struct {
	body, packed []byte
	tag          string
}

// files are the built files by name, and the current one of each part by the name without its digest.
type files struct {
	byName  map[string]file
	current map[string]string
}

// hashed is the form of a part's name: what it is, and the digest of its content.
var hashed = regexp.MustCompile(`^([A-Za-z]+)-[\w-]{8}\.js$`)

func routes(dir fs.FS) []adapters.Route {
	f := files{byName: map[string]file{}, current: map[string]string{}}
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		panic("reading an embedded folder: " + err.Error())
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".js") {
			continue
		}
		body, err := fs.ReadFile(dir, name)
		if err != nil {
			panic("reading an embedded file: " + err.Error())
		}
		sum := sha256.Sum256(body)
		f.byName[name] = file{body: body, packed: pack(body), tag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		if m := hashed.FindStringSubmatch(name); m != nil {
			f.current[m[1]] = name
		}
	}
	var out []adapters.Route
	for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodHead} {
		out = append(out,
			adapters.Route{Method: method, Path: Loader, Handler: f.loader},
			adapters.Route{Method: method, Path: Parts + "{file}", Handler: f.part},
		)
	}
	return out
}

// loader serves the script of the tag. Its name never changes. Browsers use the one they have and look for a newer one
// meanwhile, so a page has its chat at once, and also while the gateway is away: what is written is kept and sent later. An
// old one costs nothing: its parts are in the browser too, or part leads to the new ones.
func (f *files) loader(ctx *fasthttp.RequestCtx) {
	open(ctx)
	loader, ok := f.byName[strings.TrimPrefix(Loader, "/")]
	if !ok {
		problem.Write(ctx, fasthttp.StatusNotFound, problem.CodeNotFound,
			"This program was built without the widget. Build it with: make build.")
		return
	}
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=300, stale-while-revalidate=604800")
	loader.send(ctx)
}

// part serves what the loader loads. A name holds the digest of its content, so it can be kept for ever. A page that has
// been open since before an upgrade asks for parts that are gone: it gets the ones that took their place.
func (f *files) part(ctx *fasthttp.RequestCtx) {
	open(ctx)
	name, _ := ctx.UserValue("file").(string)
	m := hashed.FindStringSubmatch(name)
	if m == nil {
		problem.WriteError(ctx, adapters.ErrNotFound)
		return
	}
	if part, ok := f.byName[name]; ok {
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=31536000, immutable")
		part.send(ctx)
		return
	}
	now, ok := f.current[m[1]]
	if !ok {
		problem.WriteError(ctx, adapters.ErrNotFound)
		return
	}
	// Relative, so that a proxy that serves the gateway under a path of its own needs no rewriting.
	ctx.Response.Header.Set(fasthttp.HeaderLocation, now)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.Response.SetStatusCode(fasthttp.StatusFound)
}

// open lets pages of every origin load the answer, also those that isolate themselves (Cross-Origin-Embedder-Policy).
func open(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
}

func (f file) send(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	packed := ctx.Request.Header.HasAcceptEncoding("gzip")
	// The two forms of a file are two representations, each with a tag of its own (RFC 9110, 8.8.3).
	tag := f.tag
	if packed {
		tag = strings.TrimSuffix(tag, `"`) + `-gz"`
	}
	h.Set(fasthttp.HeaderETag, tag)
	if bytes.Contains(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch), []byte(tag)) {
		ctx.Response.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	h.SetContentType("text/javascript; charset=utf-8")
	if packed {
		h.Set(fasthttp.HeaderContentEncoding, "gzip")
		ctx.Response.SetBodyRaw(f.packed)
		return
	}
	ctx.Response.SetBodyRaw(f.body)
}

func pack(body []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("packing a file in memory: %v", err)) // there is nothing that could fail
	}
	return b.Bytes()
}
