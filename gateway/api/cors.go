package api

import (
	"slices"

	"github.com/valyala/fasthttp"
)

// The channels' routes have a CORS of their own. Those of agents and administration may be used by scripts of the origins
// that the settings name; a browser keeps the answers from all others, and what changes something with a cookie is refused
// (crossSite).

// cors lets the script of a page of a listed origin read the answer.
func (s *Server) cors(ctx *fasthttp.RequestCtx) (allowed bool) {
	if len(s.o.Origins) == 0 {
		return false
	}
	h := &ctx.Response.Header
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	if !slices.Contains(s.o.Origins, origin) {
		return false
	}
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, "Retry-After, Content-Disposition")
	return true
}

// preflight answers what a browser asks before a request of a script of another origin. It reports whether it did.
func (s *Server) preflight(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Response.Header
	if !ctx.IsOptions() || len(ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestMethod)) == 0 ||
		len(h.Peek(fasthttp.HeaderAccessControlAllowOrigin)) == 0 {
		return false
	}
	h.Set(fasthttp.HeaderAccessControlAllowMethods, "GET, POST, PUT, DELETE")
	h.Set(fasthttp.HeaderAccessControlAllowHeaders, "Authorization, Content-Type, "+keyHeader)
	h.Set(fasthttp.HeaderAccessControlMaxAge, "600")
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return true
}
