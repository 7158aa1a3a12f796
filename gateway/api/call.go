package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
	"turnout/gateway/store"
)

// Handler answers a call: with a value that becomes JSON, with a *Stream, with nil for 204, or with an error, which
// becomes the problem that details (errors.go) maps it to. Refuse makes an error with a code and a sentence of its own.
type Handler func(c *Call) (any, error)

// Stream is an answer that is not JSON, or too long to be held at once. The server reads Body after the handler has
// returned, within Time, and closes it; Body must not hang on the call's context.
type Stream struct {
	Type string        // "application/jsonl"
	Name string        // a name to save it under; empty: none
	Size int           // -1: not known
	Time time.Duration // how long a client may take to fetch it; 0: fileTime
	Body io.ReadCloser
}

// fileTime is how long a client may take to fetch a Stream.
const fileTime = 2 * time.Minute

// stream sends v as something to save and never to show.
func (s *Server) stream(ctx *fasthttp.RequestCtx, v *Stream) {
	h := &ctx.Response.Header
	h.SetContentType(v.Type)
	if v.Name != "" {
		h.Set(fasthttp.HeaderContentDisposition, "attachment; filename*=UTF-8''"+strings.ReplaceAll(url.QueryEscape(v.Name), "+", "%20"))
	}
	h.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; sandbox")
	if err := ctx.SetWriteDeadline(time.Now().Add(cmp.Or(v.Time, fileTime))); err != nil {
		s.writeError(ctx, errors.Join(err, v.Body.Close()))
		return
	}
	ctx.SetBodyStream(v.Body, v.Size)
}

// Call is one request of somebody who was let in.
type Call struct {
	ctx   *fasthttp.RequestCtx
	work  context.Context
	who   principal
	s     *Server
	route *Route
}

// Context ends when the handler has had its time, or the server stops.
func (c *Call) Context() context.Context { return c.work }

// Tenant is the tenant that the call is about: that of the account, or the one that the operator named. It is the zero
// Tenant for a route with Access Operator.
func (c *Call) Tenant() store.Tenant { return c.who.account.Tenant }

// Actor names who calls in the form of audit entries: "owner:ana", "operator:1000".
func (c *Call) Actor() string { return c.who.actor() }

// Role is what the caller may do; the operator's is RoleOwner.
func (c *Call) Role() Role { return c.who.account.Role }

// Record appends an entry to the tenant's audit chain, of type what ("rules.published") narrowed by kind, an id or a
// version. Record before the effect where an effect that cannot be recorded must not be, and answer its error.
func (c *Call) Record(what, kind string) error { return c.s.append(c.work, c.who, c, what, kind) }

// Body returns what was sent, up to the route's limit. It is valid until the handler returns.
func (c *Call) Body() ([]byte, error) {
	stream := c.ctx.RequestBodyStream()
	if stream == nil {
		return c.ctx.PostBody(), nil
	}
	b, err := readAll(nil, io.LimitReader(stream, c.route.MaxBody+1))
	switch {
	case err != nil:
		c.ctx.SetConnectionClose()
		return nil, badRequest("The body ended early or did not come in time.")
	case int64(len(b)) > c.route.MaxBody:
		c.ctx.SetConnectionClose()
		return nil, refuse(problem.CodeTooLarge, "The body is larger than this path takes.")
	}
	c.ctx.Request.SetBodyRaw(b)
	return b, nil
}

// Decode reads the body, one JSON object, into the struct that v points to. It is strict: a field that the struct does not
// have is an error.
func (c *Call) Decode(v any) error {
	raw, err := c.Body()
	if err != nil {
		return err
	}
	return decodeJSON(raw, v)
}

// Param returns a copy of a part of the path: the router's own is the connection's buffer.
func (c *Call) Param(name string) string {
	v, _ := c.ctx.UserValue(name).(string)
	return strings.Clone(v)
}

// Query returns a query argument, "" when it is not given.
func (c *Call) Query(name string) string { return string(c.ctx.QueryArgs().Peek(name)) }

// Number returns a query argument between 0 and most; 0 when it is not given.
func (c *Call) Number(name string, most uint64) (uint64, error) {
	v := c.Query(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || n > most {
		return 0, badRequest(name + " is a number between 0 and " + strconv.FormatUint(most, 10) + ".")
	}
	return n, nil
}

// Refuse returns the error for a request that cannot be carried out. code is one of problem's or one that the route
// documents, with the status that problem.StatusOf gives it; detail is a sentence of ours that says how to mend it and
// repeats nothing that was sent.
func Refuse(code, detail string) error { return refuse(code, detail) }
