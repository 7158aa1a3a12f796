package web

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

// Close codes of sockets, beside those that the protocol's library sends by itself (1009 for a frame over the limit).
const (
	closePolicy  = websocket.ClosePolicyViolation // 1008: no valid hello, or a flood of frames
	closeBinary  = websocket.CloseUnsupportedData // 1003
	closeTrouble = websocket.CloseInternalServerErr
	closeRestart = websocket.CloseServiceRestart // 1012: the channel closes; come back
	closeLater   = websocket.CloseTryAgainLater  // 1013: too slow, or too many sockets; come back with the cursor
	closeExpired = 4001                          // the token has expired; ask for a new one
)

const (
	maxFrame   = 64 << 10
	maxReplies = 64 // replies that wait for a client to read
	frameGap   = 20 * time.Millisecond
	frameBurst = 200
)

// getSocket upgrades to a WebSocket. The visitor is known only after the first frame, so that no token stands in a URL.
func (c *Channel) getSocket(ctx *fasthttp.RequestCtx) {
	if !c.enter() {
		problem.WriteError(ctx, adapters.ErrUnavailable)
		return
	}
	if !c.streams.open() {
		c.running.Done()
		problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited,
			"Too many streams are open on this channel. Come back later.")
		return
	}
	leave := func() {
		c.streams.close()
		c.running.Done()
	}
	err := c.upgrader.Upgrade(ctx, func(conn *websocket.Conn) {
		defer leave()
		defer c.recovered("socket")
		s := &socket{
			c: c, conn: conn, out: make(chan []byte, maxReplies), quit: make(chan struct{}),
			frames: newRateLimiter(1/frameGap.Seconds(), frameBurst),
			wake:   func() { _ = conn.NetConn().SetReadDeadline(time.Unix(1, 0)) },
		}
		s.run()
	})
	if err != nil {
		leave()
	}
}

// upgradeError answers a request that is no handshake, or one of a wrong origin.
func upgradeError(ctx *fasthttp.RequestCtx, status int, _ error) {
	if status == fasthttp.StatusForbidden {
		problem.Write(ctx, status, problem.CodeForbidden,
			"This origin may not open a socket. List it under origins, or set allow_no_origin for apps.")
		return
	}
	ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
	problem.Write(ctx, status, problem.CodeBadRequest, "This is no WebSocket handshake (version 13, GET).")
}

// socket is one open WebSocket. Its handler goroutine reads frames and hands messages in, one after the other; a second
// one writes: replies from a bounded queue and events straight from the Timeline, as fast as the client takes them. So
// a slow client holds one page of events and a few replies, and nothing of anybody else's.
type socket struct {
	c        *Channel
	conn     *websocket.Conn
	visitor  visitor
	from     message.Address
	follower *follower
	watch    adapters.Watch
	out      chan []byte
	frames   *rateLimiter
	typed    time.Time // when typing was last reported

	wake func()        // makes a read that waits return
	quit chan struct{} // closed by stop
	once sync.Once
	code int // the close code, set before quit is closed; 0: say nothing
}

func (s *socket) run() {
	defer s.conn.NetConn().Close()
	s.conn.SetReadLimit(maxFrame)
	interrupted := make(chan struct{})
	stopOnClose := context.AfterFunc(s.c.life, func() {
		defer close(interrupted)
		// A writer that is stuck in a write must not hold up the channel's Close.
		_ = s.conn.NetConn().SetWriteDeadline(time.Now().Add(s.c.timing.goodbye))
		s.stop(closeRestart)
	})
	// The server hands the connection's wrapper to another connection when this handler returns, so nothing may be
	// touching it then.
	defer func() {
		if !stopOnClose() {
			<-interrupted
		}
	}()
	_ = s.conn.SetReadDeadline(time.Now().Add(s.c.timing.hello))
	first, more, ok := s.hello()
	if !ok {
		return
	}
	defer s.c.streams.leave(s.from.Address)
	defer s.watch.Close()

	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		defer s.stop(closeTrouble)
		defer s.c.recovered("socket writer")
		s.write(first, more)
	}()
	// Deferred, so that a panic of the reader ends the writer too.
	defer writer.Wait()
	defer s.stop(0)
	s.read()
}

// stop ends the socket with a close code; the first call counts.
func (s *socket) stop(code int) {
	s.once.Do(func() {
		s.code = code
		close(s.quit)
		// The reader sets its next deadline before it looks at quit, so this is not lost.
		s.wake()
	})
}

func (s *socket) stopped() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// receive returns the next text frame. The slice is the caller's.
func (s *socket) receive() ([]byte, error) {
	kind, raw, err := s.conn.ReadMessage()
	if err != nil {
		return nil, err
	}
	if kind != websocket.TextMessage {
		s.stop(closeBinary)
		return nil, errors.New("a binary frame")
	}
	return raw, nil
}

// extend gives the client the time of two pings to show life.
func (s *socket) extend() {
	_ = s.conn.SetReadDeadline(time.Now().Add(2 * s.c.timing.ping))
	if s.stopped() {
		s.wake()
	}
}

// read takes frames until the socket ends.
func (s *socket) read() {
	s.conn.SetPongHandler(func(string) error { s.extend(); return nil })
	for s.extend(); !s.stopped(); s.extend() {
		raw, err := s.receive()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				s.stop(closePolicy)
			}
			return
		}
		if _, ok := s.frames.allow("", s.c.deps.Now()); !ok {
			s.stop(closePolicy)
			return
		}
		s.handle(raw)
	}
}

// handle acts on one frame. Messages are handed in here, so the next frame is read when this one is durable.
func (s *socket) handle(raw []byte) {
	p := s.c.parsers.Get()
	f, err := readFrame(p, raw, s.c.cfg.Limits.TextBytes)
	s.c.parsers.Put(p)
	if err != nil {
		s.reject(f.id, err)
		return
	}
	switch f.kind {
	case frameMessage:
		in, err := s.c.inbound(f.wanted, s.visitor)
		if err != nil {
			s.reject(f.id, err)
			return
		}
		s.accept(in)
	case frameHuman:
		s.accept(s.c.human(f.id, s.visitor))
	case frameTyping:
		now := s.c.deps.Now()
		// Starting to type is told once in a while; stopping always.
		if f.on && now.Sub(s.typed) < s.c.timing.typing {
			return
		}
		if s.typed = now; !f.on {
			s.typed = time.Time{}
		}
		s.c.deps.Inbox.Observe(message.Observation{From: s.from, Typing: f.on})
	case frameRead:
		conversation, vseq, _ := parseCursor(f.cursor)
		s.c.deps.Inbox.Observe(message.Observation{From: s.from, Read: vseq, ReadIn: conversation})
	case framePing:
		s.reply(pongFrame{Type: "pong"})
	case frameHello:
		s.reject("", badRequest("hello is the first frame only."))
	}
}

func (s *socket) accept(in message.Inbound) {
	receipt, err := s.c.accept(in)
	if err != nil {
		s.reject(in.ID, err)
		return
	}
	s.reply(acceptedFrame{
		Type: "accepted", ID: in.ID, Message: receipt.Message, Cursor: receiptCursor(receipt), Dup: receipt.Dup,
	})
}

// reject tells the client what was wrong with a frame. The socket goes on.
func (s *socket) reject(id string, err error) {
	s.reply(newErrorFrame(id, err))
}

func newErrorFrame(id string, err error) errorFrame {
	d := problem.Of(err)
	f := errorFrame{Type: "error", ID: id, Code: d.Code, Detail: d.Detail}
	var fast *tooFast
	switch {
	case errors.As(err, &fast):
		f.RetryAfter = max(1, int(fast.wait/time.Second))
	case d.Status == fasthttp.StatusServiceUnavailable:
		f.RetryAfter = problem.RetryAfterSeconds
	}
	return f
}

// reply queues a frame for the writer. A client that does not read its replies is closed and resumes by its cursor.
func (s *socket) reply(frame any) {
	select {
	case s.out <- encode(frame):
	default:
		s.stop(closeLater)
	}
}

// write sends events and replies until the socket ends, and then the close code.
func (s *socket) write(first []message.Visible, more bool) {
	ping := time.NewTicker(s.c.timing.ping)
	defer ping.Stop()
	place := time.NewTicker(s.c.timing.place)
	defer place.Stop()
	expiry := time.NewTimer(s.visitor.expires.Sub(s.c.deps.Now()))
	defer expiry.Stop()

	err := s.events(first)
	if err == nil && more {
		err = s.drain()
	}
	for err == nil {
		select {
		case <-s.quit:
			s.goodbye(s.code)
			return
		case <-expiry.C:
			s.stop(closeExpired)
		case frame := <-s.out:
			err = s.send(frame)
		case <-s.watch.Wake():
			err = s.drain()
		case signal := <-s.watch.Signals():
			if frame, ok := s.follower.frame(signal); ok {
				err = s.send(encode(frame))
			}
		case <-place.C:
			if frame, ok := s.follower.moved(s.c.life); ok {
				err = s.send(encode(frame))
			}
		case <-ping.C:
			err = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(s.c.timing.write))
		}
	}
	s.stop(closeTrouble)
	s.goodbye(s.code)
}

// drain sends the events that are readable now, and replies between their pages.
func (s *socket) drain() error {
	for more := true; more && !s.stopped(); {
		var events []message.Visible
		var err error
		if events, more, err = s.follower.next(s.c.life); err != nil {
			return err
		}
		if err := s.events(events); err != nil {
			return err
		}
		for n := len(s.out); n > 0; n-- {
			if err := s.send(<-s.out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *socket) events(events []message.Visible) error {
	for _, e := range events {
		if s.stopped() {
			return nil
		}
		if err := s.send(encode(&eventFrame{Type: "event", Cursor: eventCursor(e), Event: e})); err != nil {
			return err
		}
	}
	return nil
}

// send writes one frame. Only one goroutine calls it at a time: the handler until the writer starts, the writer then.
func (s *socket) send(frame []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.c.timing.write)); err != nil {
		return err
	}
	return s.conn.WriteMessage(websocket.TextMessage, frame)
}

// goodbye sends the close frame, if there is something to say. The client may be gone; then nobody hears it.
func (s *socket) goodbye(code int) {
	if code == 0 {
		return
	}
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(s.c.timing.goodbye))
}
