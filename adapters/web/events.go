package web

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

// sseHead is written before the first event: proxies that hold back the beginning of a response let it go after about
// 2 KiB, and browsers come back three seconds after a break.
var sseHead = ": " + strings.Repeat(" ", 2048) + "\nretry: 3000\n\n"

// getEvents is the event stream. It takes a token in the Authorization header or, for EventSource, a ticket in the URL.
func (c *Channel) getEvents(ctx *fasthttp.RequestCtx) {
	v, err := c.streamVisitor(ctx)
	if err != nil {
		refuseToken(ctx, err)
		return
	}
	after := string(ctx.QueryArgs().Peek("after"))
	// A browser that comes back repeats its URL and adds where it was.
	if last := ctx.Request.Header.Peek("Last-Event-ID"); len(last) > 0 {
		after = string(last)
	}
	f, err := newFollower(c.deps.Timeline, c.address(v.address()), after)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	// Subscribed before the first read, or an event between the two would wait for the next.
	watch := c.deps.Timeline.Watch(f.from)
	work, cancel := c.request()
	defer cancel()
	first, more, err := f.next(work)
	if err != nil {
		watch.Close()
		problem.WriteError(ctx, err)
		return
	}
	s := &eventStream{c: c, follower: f, watch: watch, visitor: f.from.Address, expires: v.expires}
	if !c.enter() {
		watch.Close()
		problem.WriteError(ctx, adapters.ErrUnavailable)
		return
	}
	if !s.join() {
		c.running.Done()
		watch.Close()
		problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited,
			"Too many streams are open. Close one, or come back later.")
		return
	}
	head := streamHead(ctx)
	// The stream writes to the connection itself: only so does every write get a deadline of its own, and only so is a
	// client that went away seen with the first write that fails.
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(conn net.Conn) {
		defer c.running.Done()
		defer s.leave()
		defer watch.Close()
		defer c.recovered("event stream")
		s.run(conn, head, first, more)
	})
}

func (c *Channel) streamVisitor(ctx *fasthttp.RequestCtx) (visitor, error) {
	if ticket := ctx.QueryArgs().Peek("ticket"); len(ticket) > 0 {
		return c.tickets.redeem(string(ticket))
	}
	return c.bearer(ctx)
}

// streamHead is the head of the response, with what the handlers before set.
func streamHead(ctx *fasthttp.RequestCtx) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n" +
		"X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n")
	for _, name := range []string{fasthttp.HeaderAccessControlAllowOrigin, fasthttp.HeaderVary} {
		if value := ctx.Response.Header.Peek(name); len(value) > 0 {
			b.WriteString(name + ": " + string(value) + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// eventStream is one open event stream.
type eventStream struct {
	c        *Channel
	follower *follower
	watch    adapters.Watch
	visitor  string
	expires  time.Time
	conn     net.Conn
	w        *bufio.Writer
}

func (s *eventStream) join() bool {
	if !s.c.streams.open() {
		return false
	}
	if !s.c.streams.join(s.visitor) {
		s.c.streams.close()
		return false
	}
	return true
}

func (s *eventStream) leave() {
	s.c.streams.leave(s.visitor)
	s.c.streams.close()
}

func (s *eventStream) run(conn net.Conn, head []byte, first []message.Visible, more bool) {
	s.conn, s.w = conn, bufio.NewWriter(conn)
	shortened := make(chan struct{})
	shorten := context.AfterFunc(s.c.life, func() {
		defer close(shortened)
		// A write that is stuck must not hold up the channel's Close.
		_ = conn.SetWriteDeadline(time.Now().Add(s.c.timing.goodbye))
	})
	// The server hands the connection's wrapper to another connection when this returns: nothing may be touching it then.
	defer func() {
		if !shorten() {
			<-shortened
		}
	}()
	s.w.Write(head)
	s.w.WriteString(sseHead)
	for _, e := range first {
		s.event(e)
	}
	if s.flush() != nil || (more && s.drain() != nil) {
		return
	}
	heartbeat := time.NewTicker(s.c.timing.heartbeat)
	defer heartbeat.Stop()
	place := time.NewTicker(s.c.timing.place)
	defer place.Stop()
	expiry := time.NewTimer(s.expires.Sub(s.c.deps.Now()))
	defer expiry.Stop()
	for {
		var err error
		select {
		case <-s.c.life.Done():
			return
		case <-expiry.C:
			return
		case <-heartbeat.C:
			s.w.WriteString(": ping\n\n")
			err = s.flush()
		case <-s.watch.Wake():
			err = s.drain()
		case signal := <-s.watch.Signals():
			if frame, ok := s.follower.frame(signal); ok {
				s.write(frame.Type, "", frame)
				err = s.flush()
			}
		case <-place.C:
			if frame, ok := s.follower.moved(s.c.life); ok {
				s.write(frame.Type, "", frame)
				err = s.flush()
			}
		}
		if err != nil {
			return
		}
	}
}

// drain sends what is readable now. An error ends the stream; the client comes back with its last cursor.
func (s *eventStream) drain() error {
	for more := true; more; {
		var events []message.Visible
		var err error
		if events, more, err = s.follower.next(s.c.life); err != nil {
			return err
		}
		for _, e := range events {
			s.event(e)
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *eventStream) event(e message.Visible) { s.write(string(e.Type), eventCursor(e), e) }

// write buffers one event. Errors of the connection and of the buffer are sticky and come out of the next flush; JSON has
// no raw newlines, so one data line is enough.
func (s *eventStream) write(name string, id adapters.Cursor, data any) {
	_ = s.extend()
	if id != "" {
		s.w.WriteString("id: " + string(id) + "\n")
	}
	s.w.WriteString("event: " + name + "\ndata: ")
	s.w.Write(encode(data))
	s.w.WriteString("\n\n")
}

func (s *eventStream) flush() error {
	if err := s.extend(); err != nil {
		return err
	}
	return s.w.Flush()
}

// extend gives the client the time for one write. A buffer that is full goes out by itself, so everything that is
// written needs it, not only a flush.
func (s *eventStream) extend() error {
	err := s.conn.SetWriteDeadline(time.Now().Add(s.c.timing.write))
	if s.c.life.Err() != nil { // looked at last: the channel's Close shortens the deadline once, before this or after
		err = s.conn.SetWriteDeadline(time.Now().Add(s.c.timing.goodbye))
	}
	return err
}
