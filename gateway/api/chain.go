package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
	"turnout/gateway/store"
)

// requestTime is how long a handler may work for one request.
const requestTime = 10 * time.Second

// User values of a request for the log.
const (
	logTenant = "log.tenant"
	logAgent  = "log.agent"
)

// chain puts around a route's handler what every handler has around it.
func (s *Server) chain(r Route) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		start := time.Now()
		defer func() {
			if v := recover(); v != nil {
				s.panicked(r.Path, v)
				problem.Write(ctx, fasthttp.StatusInternalServerError, problem.CodeInternal,
					"Something went wrong on our side; it was recorded.")
			}
			if r.Access == Channel && ctx.Response.StatusCode() == fasthttp.StatusUnauthorized {
				s.refused(store.Operator, "channel") // an adapter did not know its customer or its provider
			}
			took := time.Since(start)
			if s.o.Requested != nil {
				s.o.Requested(r.Path, methodOf(ctx, r), ctx.Response.StatusCode(), took)
			}
			s.log(ctx, r, took)
			s.hearOut(ctx)
		}()
		h := &ctx.Response.Header
		h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
		h.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
		if r.Access != Channel {
			h.Set(fasthttp.HeaderCacheControl, "no-store")
			h.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
		}
		if r.Access != Channel {
			s.cors(ctx)
		}
		if s.stopping.Load() {
			ctx.SetConnectionClose()
		}
		if wait, ok := s.peers.allow(ctx, r, s.o.Now()); !ok {
			problem.WriteError(ctx, &adapters.RefusedError{
				Code: problem.CodeRateLimited, RetryAfter: wait,
				Detail: "Too much comes from your network address. Wait for the time in Retry-After.",
			})
			return
		}
		body, ok := s.body(ctx, r)
		if !ok {
			return
		}
		defer bodies.put(body)
		r.handler(ctx)
	}
}

// methodOf returns the method of a request, or "other" for one that only the client knows: a figure has no room for those.
func methodOf(ctx *fasthttp.RequestCtx, r Route) string {
	if r.Method != "" {
		return r.Method
	}
	switch m := string(ctx.Method()); m {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodPost, fasthttp.MethodPut, fasthttp.MethodPatch,
		fasthttp.MethodDelete, fasthttp.MethodOptions:
		return m
	}
	return "other"
}

// body checks what is sent and reads it, in pieces and up to the limit: what a client merely declares costs nothing. The
// body of a route with a limit of its own stays a stream for its handler.
func (s *Server) body(ctx *fasthttp.RequestCtx, r Route) (*[]byte, bool) {
	req := &ctx.Request
	if len(req.Header.Peek(fasthttp.HeaderContentEncoding)) > 0 {
		ctx.SetConnectionClose()
		problem.Write(ctx, fasthttp.StatusUnsupportedMediaType, problem.CodeBadRequest, "Send the body without Content-Encoding.")
		return nil, false
	}
	limit := int64(s.o.Limits.BodyBytes)
	if r.MaxBody > 0 {
		limit = r.MaxBody
	}
	if int64(req.Header.ContentLength()) > limit {
		tooLarge(ctx)
		return nil, false
	}
	stream := ctx.RequestBodyStream()
	if stream == nil || r.MaxBody > 0 {
		return nil, true
	}
	buf := bodies.get()
	b, err := readAll((*buf)[:0], io.LimitReader(stream, limit+1))
	*buf = b
	switch {
	case int64(len(b)) > limit:
		bodies.put(buf)
		tooLarge(ctx)
		return nil, false
	case err != nil:
		bodies.put(buf)
		ctx.SetConnectionClose()
		status, detail := fasthttp.StatusBadRequest, "The body ended early or is not framed as HTTP says."
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			status, detail = fasthttp.StatusRequestTimeout, "The body did not come in time."
		}
		problem.Write(ctx, status, problem.CodeBadRequest, detail)
		return nil, false
	}
	req.SetBodyRaw(b)
	return buf, true
}

func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// tooLarge answers 413. What is still to come is read and thrown away by hearOut.
func tooLarge(ctx *fasthttp.RequestCtx) {
	if ctx.Request.Header.ContentLength() < 0 {
		ctx.SetConnectionClose() // nobody knows how much is still to come
	}
	problem.Write(ctx, fasthttp.StatusRequestEntityTooLarge, problem.CodeTooLarge, "The body is larger than this path takes.")
}

// bodyPool keeps buffers of request bodies. A handler copies what it keeps, so they are free when it returns.
type bodyPool struct{ sync.Pool }

const maxPooledBody = 64 << 10

var bodies = bodyPool{sync.Pool{New: func() any {
	b := make([]byte, 0, 2<<10)
	return &b
}}}

func (p *bodyPool) get() *[]byte { return p.Get().(*[]byte) }

func (p *bodyPool) put(b *[]byte) {
	if b != nil && cap(*b) <= maxPooledBody {
		p.Put(b)
	}
}

// log writes one line per request: ids and figures, no text, no token, no address. What channels serve well is many and
// says little: it is for the debug level. A refusal says why, and where to look if it is an operator's to change.
func (s *Server) log(ctx *fasthttp.RequestCtx, r Route, took time.Duration) {
	status := ctx.Response.StatusCode()
	level := slog.LevelInfo
	switch {
	case status >= fasthttp.StatusInternalServerError && status != fasthttp.StatusServiceUnavailable:
		level = slog.LevelError
	case r.Access == Channel && status < fasthttp.StatusBadRequest:
		level = slog.LevelDebug
	}
	refused, is := problem.Written(ctx)
	if is && level == slog.LevelInfo && hints[refused.Code] != "" {
		level = slog.LevelWarn
	}
	if !s.o.Log.Enabled(s.life, level) {
		return
	}
	// Anybody can be refused any number of times where nobody has to sign in.
	open := r.Access == Channel || r.Access == Public
	if open && is && level < slog.LevelError && !s.quiet.first(r.Path, refused.Code, s.o.Now()) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("route", r.Path), slog.Int("status", status), slog.Duration("took", took),
	}
	if t, ok := ctx.UserValue(logTenant).(string); ok {
		attrs = append(attrs, slog.String("tenant", t))
	}
	if a, ok := ctx.UserValue(logAgent).(string); ok {
		attrs = append(attrs, slog.String("agent", a))
	}
	if is {
		attrs = append(attrs, refusalAttrs(refused)...)
	}
	s.o.Log.LogAttrs(s.life, level, "request", attrs...)
}

// panicked logs a panic: its type and stack only, as its value may hold what somebody wrote.
func (s *Server) panicked(where string, v any) {
	s.o.Log.Error("recovered from a panic", "in", where, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
}

// recovered is deferred at the root of every goroutine.
func (s *Server) recovered(where string) {
	if v := recover(); v != nil {
		s.panicked(where, v)
	}
}

// fasthttpServer is a server with all the limits that fasthttp leaves open.
func (s *Server) fasthttpServer(h fasthttp.RequestHandler) *fasthttp.Server {
	l := s.o.Limits
	return &fasthttp.Server{
		Handler: strict(h), ErrorHandler: s.malformed,
		ReadBufferSize: l.HeaderBytes, MaxRequestBodySize: l.BodyBytes,
		ReadTimeout: l.ReadTimeout, WriteTimeout: l.WriteTimeout, IdleTimeout: l.IdleTimeout,
		Concurrency: l.Connections, MaxConnsPerIP: l.ConnectionsPerIP,
		// Bodies are read by chain, in pieces: read whole, a connection would pin the memory that a client declares.
		StreamRequestBody: true, DisablePreParseMultipartForm: true,
		HeaderReceived: s.headerReceived, ExpectHandler: s.expected,
		// Sockets and event streams outlive the handlers that begin them (adapters/live).
		KeepHijackedConns:     true,
		NoDefaultServerHeader: true, NoDefaultContentType: true, SecureErrorLogMessage: true, CloseOnShutdown: true,
		Logger: serverLog{s.o.Log},
	}
}

// slowBody is how long the body of a route with a limit of its own may take.
const slowBody = 60 * time.Second

func (s *Server) headerReceived(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	n := h.ContentLength()
	if n != -1 && n <= s.o.Limits.BodyBytes {
		return c // most requests need no look at the table
	}
	switch limit := s.bodyLimit(string(h.Method()), pathOf(h)); {
	case int64(n) > limit:
		c.MaxRequestBodySize = 1 // the refusal does not wait for what fasthttp reads ahead of a handler
	case limit > int64(s.o.Limits.BodyBytes):
		c.ReadTimeout = slowBody
	}
	return c
}

// expected answers "Expect: 100-continue": a body that is too large is not asked for.
func (s *Server) expected(ctx *fasthttp.RequestCtx) int {
	h := &ctx.Request.Header
	if int64(h.ContentLength()) > s.bodyLimit(string(h.Method()), pathOf(h)) {
		tooLarge(ctx)
		return fasthttp.StatusRequestEntityTooLarge
	}
	return fasthttp.StatusContinue
}

func pathOf(h *fasthttp.RequestHeader) string {
	uri := h.RequestURI()
	for i, c := range uri {
		if c == '?' {
			uri = uri[:i]
			break
		}
	}
	return string(uri)
}

// malformed answers what fasthttp could not read as a request.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	ctx.SetConnectionClose()
	switch {
	case errors.As(err, &small):
		problem.Write(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, problem.CodeTooLarge, "The headers are larger than this server takes.")
	case errors.As(err, &timeout) && timeout.Timeout():
		problem.Write(ctx, fasthttp.StatusRequestTimeout, problem.CodeBadRequest, "The request did not come in time.")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		tooLarge(ctx)
	default:
		problem.Write(ctx, fasthttp.StatusBadRequest, problem.CodeBadRequest, "This is no HTTP/1.1 request that can be read.")
	}
}

// serverLog takes what fasthttp has to say. Its arguments may hold addresses, so only the form of the message is kept.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, _ ...any) {
	l.log.Log(context.Background(), slog.LevelDebug, "http server", "message", format)
}
