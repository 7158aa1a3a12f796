package live

import (
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// past is a deadline that is over.
var past = time.Unix(1, 0)

// Take answers a request with head, a whole response without a body, and hands its connection to serve, with the bytes
// that the client has sent already. serve must not block: it runs on what the server keeps for a request, which is free
// for others when it returns. The connection is serve's to close.
//
// The server must have KeepHijackedConns set: otherwise it closes the connection itself.
func Take(ctx *fasthttp.RequestCtx, head []byte, serve func(conn net.Conn, sent []byte)) {
	// The server would not call the handler when it cannot write the response; here nobody is left out.
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(wrapped net.Conn) {
		conn, sent := unwrap(wrapped)
		_ = conn.SetWriteDeadline(time.Now().Add(headTime))
		if _, err := conn.Write(head); err != nil {
			_ = conn.Close() // whoever reads or writes next will notice
		}
		serve(conn, sent)
	})
}

// headTime is how long the head of a response may take to be written. Nothing was sent before it, so it fits into what
// the system keeps for a connection, and nobody waits for it.
const headTime = 10 * time.Second

// unwrap returns the connection below the server's wrapper, which keeps the server's reader, and what that has read ahead.
func unwrap(wrapped net.Conn) (conn net.Conn, sent []byte) {
	inner, ok := wrapped.(interface{ UnsafeConn() net.Conn })
	if !ok {
		return wrapped, nil
	}
	conn = inner.UnsafeConn()
	// With the time over a read gives what is buffered, and then an error instead of waiting for the client.
	_ = conn.SetReadDeadline(past)
	var buf [512]byte
	for {
		n, err := wrapped.Read(buf[:])
		sent = append(sent, buf[:n]...)
		if err != nil || n == 0 {
			break
		}
	}
	_ = conn.SetReadDeadline(time.Time{})
	return conn, sent
}
