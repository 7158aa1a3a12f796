package live

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/gobwas/ws"
	"github.com/valyala/fasthttp"
)

// The close codes that a socket sends by itself, of RFC 6455 section 7.4.1.
const (
	CloseProtocol = 1002 // what came was no WebSocket frame
	CloseBinary   = 1003
	ClosePolicy   = 1008 // the client was silent for too long
	CloseTooLarge = 1009
	CloseTrouble  = 1011
)

// Options are what sockets of one kind have in common. They are not changed once a socket has them.
type Options struct {
	MessageBytes int64         // of one message of a client
	First        time.Duration // until the first message
	Silence      time.Duration // without a message or a pong, after which a socket ends
	Ping         time.Duration // between pings
	Write        time.Duration // for one frame to be taken by the client
	Goodbye      time.Duration // for a close frame
	// Recovered is told of a panic of a User; the socket ends.
	Recovered func(v any)
}

// User is who speaks through a socket. None of its methods is called twice at a time, but Receive and Work may be called
// at the same time as each other.
type User interface {
	// Receive takes a text message of the client. The next one is read when it returns; the slice is only lent.
	Receive(text []byte)
	// Work sends what there is to send. It is called after Wake, and at the latest at the time that it returned last; zero:
	// not by time.
	Work() (next time.Time)
	// Closed is called once, last: nothing of the socket runs any more.
	Closed()
}

// Socket is one WebSocket, server side, for text. Embed it, and open it by Open; Close may come before that.
//
// Pings begin with the first Wake.
type Socket struct {
	Worker
	conn net.Conn
	o    *Options
	user User

	head  [14]byte // what the waiting goroutine has read: the longest head of a frame
	ping  time.Time
	known bool // the first message was read

	writing sync.Mutex
	broken  bool // a frame was written in part; guarded by writing

	ending sync.Mutex
	code   int // guarded by ending, set before over
	over   atomic.Bool
}

// Handshake checks that a request wants a WebSocket and returns the head of the response that grants it. What it refuses
// is answered by u.Error; then ok is false.
func Handshake(ctx *fasthttp.RequestCtx, u *websocket.FastHTTPUpgrader) (head []byte, ok bool) {
	if err := u.Upgrade(ctx, func(*websocket.Conn) {}); err != nil {
		return nil, false
	}
	return append([]byte(nil), ctx.Response.Header.Header()...), true
}

// Open begins to serve a connection after its handshake. sent is what the client has sent since. It returns at once.
func (s *Socket) Open(conn net.Conn, sent []byte, o *Options, user User) {
	s.ending.Lock()
	s.conn, s.o, s.user = conn, o, user
	s.Init((*work)(s))
	s.ending.Unlock()
	s.listen(o.First)
	if s.Over() {
		s.hasten() // it was closed before it was opened
	}
	if len(sent) > 0 {
		go s.read(sent)
		return
	}
	go s.wait()
}

// Over reports whether the socket ends.
func (s *Socket) Over() bool { return s.over.Load() }

// Code is the close code of a socket that ends; 0: nothing was to be said.
func (s *Socket) Code() int {
	s.ending.Lock()
	defer s.ending.Unlock()
	return s.code
}

// Close ends the socket with a close code, or without a word if it is 0; the first call counts. It returns at once.
func (s *Socket) Close(code int) {
	s.ending.Lock()
	defer s.ending.Unlock()
	if s.over.Load() {
		return
	}
	s.code = code
	s.over.Store(true)
	if s.conn != nil {
		s.hasten()
	}
}

// hasten makes a read that waits return, and gives a write that is stuck the time of a goodbye only.
func (s *Socket) hasten() {
	_ = s.conn.SetReadDeadline(past)
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.o.Goodbye))
}

// listen gives the client time to show life.
func (s *Socket) listen(d time.Duration) {
	_ = s.conn.SetReadDeadline(time.Now().Add(d))
	if s.Over() { // looked at last: Close sets its deadline once, before this or after
		_ = s.conn.SetReadDeadline(past)
	}
}

// wait is the goroutine that a silent socket is. It must call nothing that makes its stack grow.
func (s *Socket) wait() {
	n, err := s.conn.Read(s.head[:])
	if n > 0 {
		go s.read(s.head[:n])
		return
	}
	go s.ended(err) // which says goodbye, with a stack of its own
}

// read takes messages for as long as there are bytes, and leaves the next ones to another that waits.
func (s *Socket) read(head []byte) {
	r := readers.get(s, head)
	err := s.messages(r)
	readers.put(r)
	if err != nil || s.Over() {
		s.ended(err)
		return
	}
	go s.wait()
}

func (s *Socket) messages(r *reader) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.o.Recovered(v)
			s.Close(CloseTrouble)
		}
	}()
	for !s.Over() {
		kind, message, err := r.next()
		if err != nil {
			return err
		}
		switch kind {
		case ws.OpText:
			s.known = true
			s.user.Receive(message)
			s.listen(s.o.Silence)
		case ws.OpBinary:
			s.Close(CloseBinary)
		}
		if r.empty() {
			return nil
		}
	}
	return nil
}

// control answers a control frame.
func (s *Socket) control(op ws.OpCode, payload []byte) error {
	switch op {
	case ws.OpPing:
		return s.write(ws.OpPong, payload, s.o.Write)
	case ws.OpPong:
		if s.known {
			s.listen(s.o.Silence)
		}
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		switch {
		case len(payload) == 0:
			code = ws.StatusNormalClosure
		case ws.CheckCloseFrameData(code, reason) != nil:
			code = ws.StatusProtocolError
		}
		s.Close(int(code))
	}
	return nil
}

// ended closes the socket, if nobody has, with the code that err calls for.
func (s *Socket) ended(err error) {
	var broken ws.ProtocolError
	var timeout net.Error
	switch {
	case errors.Is(err, errTooLarge):
		s.Close(CloseTooLarge)
	case errors.As(err, &broken), errors.Is(err, ws.ErrHeaderLengthMSB):
		s.Close(CloseProtocol)
	case errors.As(err, &timeout) && timeout.Timeout():
		s.Close(ClosePolicy)
	default:
		s.Close(0) // the client is gone
	}
	s.Stop(s.finish)
}

func (s *Socket) finish() {
	if code := s.Code(); code != 0 {
		var body [2]byte
		binary.BigEndian.PutUint16(body[:], uint16(code))
		_ = s.write(ws.OpClose, body[:], s.o.Goodbye) // the client may be gone; then nobody hears it
	}
	_ = s.conn.Close()
	defer func() {
		if v := recover(); v != nil {
			s.o.Recovered(v)
		}
	}()
	s.user.Closed()
}

// Send writes a text message. It is for Receive and Work. An error means that nothing more can be sent.
func (s *Socket) Send(text []byte) error { return s.write(ws.OpText, text, s.o.Write) }

func (s *Socket) write(op ws.OpCode, payload []byte, within time.Duration) error {
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	*buf = appendFrame((*buf)[:0], op, payload)
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.broken {
		return io.ErrClosedPipe
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if s.Over() {
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.o.Goodbye))
	}
	_, err := s.conn.Write(*buf)
	s.broken = err != nil
	if cap(*buf) > maxPooled {
		*buf = nil
	}
	return err
}

// work is what a socket's worker does.
type work Socket

// Work implements Job.
func (w *work) Work() (next time.Time) {
	s := (*Socket)(w)
	defer func() {
		if v := recover(); v != nil {
			s.o.Recovered(v)
			s.Close(CloseTrouble)
		}
	}()
	now := time.Now()
	switch {
	case s.ping.IsZero():
		s.ping = now.Add(s.o.Ping)
	case !now.Before(s.ping):
		s.ping = now.Add(s.o.Ping)
		if s.write(ws.OpPing, nil, s.o.Write) != nil {
			s.Close(0)
			return time.Time{}
		}
	}
	if s.Over() {
		return time.Time{}
	}
	next = s.user.Work()
	if next.IsZero() || s.ping.Before(next) {
		next = s.ping
	}
	return next
}
