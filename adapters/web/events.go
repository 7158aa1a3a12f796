package web

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/live"
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
	s := &eventStream{c: c, follower: f, visitor: f.from.Address, ends: time.Now().Add(v.expires.Sub(c.deps.Now()))}
	s.Init(s)
	// Subscribed before the first read, or an event between the two would wait for the next.
	s.watch = c.deps.Timeline.Watch(f.from, s.news)
	work, cancel := c.request()
	defer cancel()
	if s.first, s.more, err = f.next(work); err != nil {
		s.watch.Close()
		problem.WriteError(ctx, err)
		return
	}
	if !c.enter(s) {
		s.watch.Close()
		problem.WriteError(ctx, adapters.ErrUnavailable)
		return
	}
	if !s.join() {
		c.leave(s)
		s.watch.Close()
		problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited,
			"Too many streams are open. Close one, or come back later.")
		return
	}
	live.Take(ctx, streamHead(ctx), func(conn net.Conn, _ []byte) { s.open(conn) })
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

// eventStream is one open event stream. Nobody listens to it: with the first write that fails a client is known to be gone.
type eventStream struct {
	live.Worker
	c        *Channel
	follower *follower
	watch    adapters.Watch
	visitor  string
	ends     time.Time // of the token, by the system's clock

	// The writer's, once the stream is open.
	first     []message.Visible
	more      bool
	begun     bool
	place     time.Time // when to look at the place in the queue
	heartbeat time.Time
	buf       []byte // only while there is work

	mu     sync.Mutex
	conn   net.Conn // nil until the stream is open
	closed bool
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

// open begins to write. The stream may have been closed before.
func (s *eventStream) open(conn net.Conn) {
	s.mu.Lock()
	s.conn = conn
	closed := s.closed
	s.mu.Unlock()
	if closed {
		s.Stop(s.finish)
		return
	}
	s.Wake()
}

// news is called by the watch.
func (s *eventStream) news() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.Wake()
	}
}

// Close ends the stream; a client that takes nothing can delay that by the goodbye time only. There is no code to tell.
func (s *eventStream) Close(int) {
	s.mu.Lock()
	s.closed = true
	conn := s.conn
	s.mu.Unlock()
	if conn != nil {
		_ = conn.SetWriteDeadline(time.Now().Add(s.c.timing.socket.Goodbye))
		s.Stop(s.finish)
	}
}

func (s *eventStream) finish() {
	defer s.c.recovered("event stream")
	_ = s.conn.Close()
	s.watch.Close()
	s.c.streams.leave(s.visitor)
	s.c.streams.close()
	s.c.leave(s)
}

// Work implements live.Job: it writes what there is to write.
func (s *eventStream) Work() (next time.Time) {
	defer func() {
		if next.IsZero() {
			s.Close(0)
		}
	}()
	defer s.c.recovered("event stream")
	buf := buffers.get()
	s.buf = (*buf)[:0]
	defer func() {
		*buf, s.buf = s.buf, nil
		buffers.put(buf)
	}()
	now := time.Now()
	if !now.Before(s.ends) || s.step(now) != nil || s.flush() != nil {
		return time.Time{}
	}
	next = s.heartbeat
	for _, t := range []time.Time{s.place, s.ends} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

func (s *eventStream) step(now time.Time) error {
	news, signals := s.watch.Take()
	if !s.begun {
		s.begun = true
		s.heartbeat = now.Add(s.c.timing.heartbeat)
		s.buf = append(s.buf, sseHead...)
		for _, e := range s.first {
			s.event(e)
		}
		s.first = nil
	}
	if news || s.more {
		if err := s.drain(); err != nil {
			return err
		}
	}
	for _, signal := range signals {
		if frame, ok := s.follower.frame(signal); ok {
			s.write(frame.Type, "", frame)
		}
	}
	if frame, moved := s.follower.look(s.c.life, &s.place, now, s.c.timing.place); moved {
		s.write(frame.Type, "", frame)
	}
	if !now.Before(s.heartbeat) {
		s.heartbeat = now.Add(s.c.timing.heartbeat)
		s.buf = append(s.buf, ": ping\n\n"...)
	}
	return nil
}

// drain writes what is readable now. An error ends the stream; the client comes back with its last cursor.
func (s *eventStream) drain() error {
	for s.more = true; s.more; {
		var events []message.Visible
		var err error
		if events, s.more, err = s.follower.next(s.c.life); err != nil {
			return errors.Join(err, s.flush())
		}
		for _, e := range events {
			s.event(e)
			if len(s.buf) >= flushBytes {
				if err := s.flush(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// flushBytes is how much of a stream is collected before it is written.
const flushBytes = 4 << 10

func (s *eventStream) event(e message.Visible) { s.write(string(e.Type), eventCursor(e), e) }

// write collects one event. JSON has no raw newlines, so one data line is enough.
func (s *eventStream) write(name string, id adapters.Cursor, data any) {
	if id != "" {
		s.buf = append(append(append(s.buf, "id: "...), id...), '\n')
	}
	s.buf = append(append(append(s.buf, "event: "...), name...), "\ndata: "...)
	s.buf = append(append(s.buf, encode(data)...), "\n\n"...)
}

// flush writes what was collected, within the time that a client has for one write.
func (s *eventStream) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	err := s.conn.SetWriteDeadline(time.Now().Add(s.c.timing.socket.Write))
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed { // looked at last: Close shortens the deadline once, before this or after
		err = s.conn.SetWriteDeadline(time.Now().Add(s.c.timing.socket.Goodbye))
	}
	if err != nil {
		return err
	}
	_, err = s.conn.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}
