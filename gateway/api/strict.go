package api

import (
	"bytes"
	"io"
	"net"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
)

// strict lets through what every server on the way reads in the same way, and refuses the rest together with its
// connection. Between a proxy and a server that read one and the same bytes differently there is room for a request that
// only one of them sees.
//
// fasthttp refuses most of it itself. What it takes, and this does not: a length and chunks at once (RFC 9112 section 6.1
// lets a server choose), transfer encodings that mean nothing, lines that end without CR or go on in the next one, names
// that are no tokens, versions that do not exist, and a user in Host. What stays is that the request line may end without
// CR and blank lines may stand before it (RFC 9112 section 2.2): neither moves the end of a request.
//
// A body in chunks is the last thing that is read from its connection. How fasthttp reads chunks cannot be looked at, and
// as nothing comes after them, it does not matter where another would have seen their end.
func strict(h fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		header := &ctx.Request.Header
		if why := ambiguous(header); why != "" {
			ctx.SetConnectionClose()
			problem.Write(ctx, fasthttp.StatusBadRequest, problem.CodeBadRequest, why)
			return
		}
		if header.ContentLength() == -1 { // chunks
			ctx.SetConnectionClose()
		}
		h(ctx)
	}
}

// ambiguous says what is wrong with a head; empty: nothing.
func ambiguous(h *fasthttp.RequestHeader) string {
	if v := h.Protocol(); string(v) != "HTTP/1.1" && string(v) != "HTTP/1.0" {
		return "This server speaks HTTP/1.1."
	}
	length, encoding := false, false
	for rest := h.RawHeaders(); len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 1 || bytes.IndexByte(rest[:end], '\r') != end-1 {
			return "Every line of the head must end with CR and LF."
		}
		line := rest[:end-1]
		rest = rest[end+1:]
		if len(line) == 0 {
			continue
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || !isToken(line[:colon]) {
			return "A line of the head has no name, or goes on in the next one. Write each header on one line, and nothing between its name and the colon."
		}
		switch colon {
		case len("Host"):
			if bytes.EqualFold(line[:colon], []byte("Host")) && bytes.IndexByte(line, '@') >= 0 {
				return "Host is a name and perhaps a port."
			}
		case len("Content-Length"):
			length = length || bytes.EqualFold(line[:colon], []byte("Content-Length"))
		case len("Transfer-Encoding"):
			if !bytes.EqualFold(line[:colon], []byte("Transfer-Encoding")) {
				continue
			}
			if encoding = true; !bytes.EqualFold(bytes.Trim(line[colon+1:], " \t"), []byte("chunked")) {
				return "The only Transfer-Encoding is chunked."
			}
		}
	}
	if length && encoding {
		return "Send either Content-Length or Transfer-Encoding."
	}
	return ""
}

// whole is a listener on whose connections a client that hangs up is no end of what it was sending. fasthttp takes the end
// of a connection for the end of a body in chunks, between two of them, and some proxies hang up just there when their own
// client sent chunks that cannot be read: half a message would be taken for the whole.
type whole struct{ net.Listener }

func (l whole) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wholeConn{Conn: c}, nil
}

// wholeConn reports its end as io.ErrUnexpectedEOF, unless nothing was read at all. Between two requests fasthttp does not
// mind which it is.
type wholeConn struct {
	net.Conn
	begun bool // the server's reading goroutine's
}

func (c *wholeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.begun = true
	}
	if err == io.EOF && c.begun {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// tokens are the bytes of a header's name (RFC 9110 section 5.6.2).
var tokens = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

func isToken(name []byte) bool {
	for _, c := range name {
		if !tokens[c] {
			return false
		}
	}
	return true
}
