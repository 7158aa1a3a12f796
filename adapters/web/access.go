package web

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
)

// signedInHandler is a handler that knows whom it speaks with.
type signedInHandler func(ctx *fasthttp.RequestCtx, v visitor)

// cors refuses origins that are not listed and lets the listed read the answer. Requests without an origin come from
// programs, for which origins mean nothing.
func (c *Channel) cors(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if !c.allowOrigin(ctx) {
			problem.Write(ctx, fasthttp.StatusForbidden, problem.CodeForbidden,
				"This origin may not use the channel. List it under origins in the channel's configuration.")
			return
		}
		if len(ctx.Request.Header.Peek(fasthttp.HeaderContentEncoding)) > 0 {
			problem.Write(ctx, fasthttp.StatusUnsupportedMediaType, problem.CodeBadRequest,
				"Send the body without Content-Encoding.")
			return
		}
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
		next(ctx)
	}
}

// preflight answers what a browser asks before a request of another origin.
func (c *Channel) preflight(ctx *fasthttp.RequestCtx) {
	if len(ctx.Request.Header.Peek(fasthttp.HeaderOrigin)) == 0 || !c.allowOrigin(ctx) {
		problem.Write(ctx, fasthttp.StatusForbidden, problem.CodeForbidden,
			"This origin may not use the channel. List it under origins in the channel's configuration.")
		return
	}
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderAccessControlAllowMethods, "GET, POST")
	h.Set(fasthttp.HeaderAccessControlAllowHeaders, "Authorization, Content-Type, Last-Event-ID, X-Filename")
	h.Set(fasthttp.HeaderAccessControlMaxAge, "600")
	ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
}

// allowOrigin reports whether the request's origin may use the channel, and sets the headers that say so.
func (c *Channel) allowOrigin(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Response.Header
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	if len(origin) == 0 {
		return true
	}
	if !c.origins[string(origin)] && !c.origins[strings.ToLower(string(origin))] {
		return false
	}
	h.SetBytesV(fasthttp.HeaderAccessControlAllowOrigin, origin)
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, fasthttp.HeaderRetryAfter)
	return true
}

// socketOrigin is stricter than allowOrigin: a browser always names its origin when it opens a socket, so one without
// is refused unless the channel serves apps.
func (c *Channel) socketOrigin(ctx *fasthttp.RequestCtx) bool {
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	if origin == "" {
		return c.cfg.AllowNoOrigin
	}
	return c.origins[strings.ToLower(origin)]
}

func (c *Channel) signedIn(next signedInHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		v, err := c.bearer(ctx)
		if err != nil {
			refuseToken(ctx, err)
			return
		}
		next(ctx, v)
	}
}

// bearer returns the visitor whose token the request carries.
func (c *Channel) bearer(ctx *fasthttp.RequestCtx) (visitor, error) {
	scheme, token, _ := bytes.Cut(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization), []byte{' '})
	if !bytes.EqualFold(scheme, []byte("Bearer")) {
		return visitor{}, errToken
	}
	return c.tokens.read(bytes.TrimSpace(token))
}

func refuseToken(ctx *fasthttp.RequestCtx, err error) {
	problem.Write(ctx, fasthttp.StatusUnauthorized, problem.CodeUnauthenticated, tokenAdvice(err))
}

func tokenAdvice(err error) string {
	if errors.Is(err, errExpired) {
		return "The token has expired. Ask for a new one at …/session."
	}
	return `Send a token of this channel in the header "Authorization: Bearer TOKEN". Ask for one at …/session.`
}

// request returns the context of the work for one request: it ends with the channel and after the time that the store
// is given.
func (c *Channel) request() (context.Context, context.CancelFunc) {
	b := newBrief(c.life, c.timing.accept)
	return b, b.end
}
