package web

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/live"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

// Close codes of sockets, beside those that package live sends by itself (1009 for a message over the limit).
const (
	closePolicy  = live.ClosePolicy // 1008: no valid hello, or a flood of frames
	closeTrouble = live.CloseTrouble
	closeRestart = websocket.CloseServiceRestart // 1012: the channel closes; come back
	closeLater   = websocket.CloseTryAgainLater  // 1013: too slow, or too many sockets; come back with the cursor
	closeExpired = 4001                          // the token has expired; ask for a new one
)

const (
	maxFrame   = 64 << 10
	maxReplies = 64 // replies that wait for a client to read; a second batch may be on its way
	frameGap   = 20 * time.Millisecond
	frameBurst = 200
)

// getSocket upgrades to a WebSocket. The visitor is known only after the first frame, so that no token stands in a URL.
func (c *Channel) getSocket(ctx *fasthttp.RequestCtx) {
	s := &socket{c: c}
	if !c.enter(s) {
		problem.WriteError(ctx, adapters.ErrUnavailable)
		return
	}
	if !c.streams.open() {
		c.leave(s)
		problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited,
			"Too many streams are open on this channel. Come back later.")
		return
	}
	head, ok := live.Handshake(ctx, &c.upgrader)
	if !ok {
		c.streams.close()
		c.leave(s)
		return
	}
	live.Take(ctx, head, func(conn net.Conn, sent []byte) { s.Open(conn, sent, &c.timing.socket, s) })
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

// socket is one open WebSocket. Frames are handled one after the other, and messages handed in there. What is written,
// replies from a bounded queue and events straight from the Timeline, goes out as fast as the client takes it. So a slow
// client holds one page of events and a few replies, and nothing of anybody else's.
type socket struct {
	live.Socket
	c        *Channel
	visitor  visitor
	from     message.Address
	follower *follower
	watch    adapters.Watch // nil until the hello was taken
	frames   bucket
	typed    time.Time   // when typing was last reported
	helloed  atomic.Bool // the hello was taken

	// first are events that were read with the hello, more says that there are others, place when to look at the place in
	// the queue. They are the writer's once the hello was taken.
	first []message.Visible
	more  bool
	place time.Time
	ends  time.Time // of the token, by the system's clock

	mu  sync.Mutex
	out [][]byte // replies that wait to be written
}

// Receive implements live.User.
func (s *socket) Receive(raw []byte) {
	if s.watch == nil {
		s.hello(raw)
		return
	}
	if _, ok := s.frames.take(frameGap, frameBurst*frameGap, s.c.deps.Now()); !ok {
		s.Close(closePolicy)
		return
	}
	s.handle(raw)
}

// Closed implements live.User.
func (s *socket) Closed() {
	if s.watch != nil {
		s.watch.Close()
		s.c.streams.leave(s.from.Address)
	}
	s.c.streams.close()
	s.c.leave(s)
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

// reply queues a frame to be written. A client that does not read its replies is closed and resumes by its cursor.
func (s *socket) reply(frame any) {
	s.mu.Lock()
	full := len(s.out) >= maxReplies
	if !full {
		s.out = append(s.out, encode(frame))
	}
	s.mu.Unlock()
	if full {
		s.Close(closeLater)
		return
	}
	s.Wake()
}

// Work implements live.User: it sends what there is to send.
func (s *socket) Work() (next time.Time) {
	now := time.Now()
	if !now.Before(s.ends) {
		s.Close(closeExpired)
		return time.Time{}
	}
	if err := s.write(now); err != nil {
		s.Close(closeTrouble)
		return time.Time{}
	}
	next = s.ends
	if !s.place.IsZero() && s.place.Before(next) {
		next = s.place
	}
	return next
}

func (s *socket) write(now time.Time) error {
	news, signals := s.watch.Take()
	first := s.first
	s.first = nil
	if err := s.events(first); err != nil {
		return err
	}
	if err := s.replies(); err != nil {
		return err
	}
	if news || s.more {
		if err := s.drain(); err != nil {
			return err
		}
	}
	for _, signal := range signals {
		if frame, ok := s.follower.frame(signal); ok {
			if err := s.Send(encode(frame)); err != nil {
				return err
			}
		}
	}
	frame, moved := s.follower.look(s.c.life, &s.place, now, s.c.timing.place)
	if !moved {
		return nil
	}
	return s.Send(encode(frame))
}

// drain sends the events that are readable now, and replies between their pages.
func (s *socket) drain() error {
	for s.more = true; s.more && !s.Over(); {
		var events []message.Visible
		var err error
		if events, s.more, err = s.follower.next(s.c.life); err != nil {
			return err
		}
		if err := s.events(events); err != nil {
			return err
		}
		if err := s.replies(); err != nil {
			return err
		}
	}
	return nil
}

// replies sends what waits.
func (s *socket) replies() error {
	s.mu.Lock()
	out := s.out
	s.out = nil
	s.mu.Unlock()
	for _, frame := range out {
		if err := s.Send(frame); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) events(events []message.Visible) error {
	for _, e := range events {
		if s.Over() {
			return nil
		}
		if err := s.Send(encode(&eventFrame{Type: "event", Cursor: eventCursor(e), Event: e})); err != nil {
			return err
		}
	}
	return nil
}
