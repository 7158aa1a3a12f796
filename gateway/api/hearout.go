package api

import (
	"bytes"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

// mostHeard bounds what is read of a body after its request was refused.
const mostHeard = 32 << 20

// smallRest is what fasthttp reads by itself of a body that a handler has left, and goes on with the connection.
const smallRest = 256 << 10

// hearOut lets a client that is still sending read why it was refused. A connection that is closed with bytes unread is
// reset, and a reset takes the answer with it (RFC 9112, 9.6). So the head of the answer leaves at once, for clients that
// look up while they send; then what comes is read and thrown away; and the rest of the answer is for those who look up
// only when they have sent everything. It ends with the body, with mostHeard, with the time for reading a request, or when
// nothing has come for a tenth of that.
func (s *Server) hearOut(ctx *fasthttp.RequestCtx) {
	rest := ctx.RequestBodyStream()
	n := ctx.Request.Header.ContentLength()
	if rest == nil || ctx.Response.IsBodyStream() || ctx.Response.StatusCode() < fasthttp.StatusBadRequest || n >= 0 && n <= smallRest {
		return
	}
	answer := bytes.Clone(ctx.Response.Body())
	h := &hearing{ctx: ctx, rest: rest, quiet: s.o.Limits.ReadTimeout / 10, end: time.Now().Add(s.o.Limits.ReadTimeout)}
	h.answer.Reset(answer)
	ctx.SetConnectionClose()
	ctx.Response.ImmediateHeaderFlush = true
	ctx.Response.SetBodyStream(h, len(answer))
}

// hearing is the body of an answer that waits for the body of its request.
type hearing struct {
	ctx    *fasthttp.RequestCtx
	rest   io.Reader
	quiet  time.Duration
	end    time.Time
	heard  bool
	answer bytes.Reader
}

// Read implements io.Reader.
func (h *hearing) Read(p []byte) (int, error) {
	if !h.heard {
		h.heard = true
		h.hear()
	}
	return h.answer.Read(p)
}

func (h *hearing) hear() {
	b := make([]byte, 32<<10)
	for left := mostHeard; left > 0; {
		now := time.Now()
		until := now.Add(h.quiet)
		if until.After(h.end) {
			until = h.end
		}
		if !now.Before(h.end) || h.ctx.SetReadDeadline(until) != nil {
			return
		}
		n, err := h.rest.Read(b)
		if left -= n; err != nil {
			return
		}
	}
}
