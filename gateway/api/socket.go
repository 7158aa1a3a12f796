package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// Close codes of sockets, beside those that the library sends by itself (1009 for a frame over the limit).
const (
	closePolicy  = websocket.ClosePolicyViolation   // 1008: no valid hello, or a flood of frames
	closeBinary  = websocket.CloseUnsupportedData   // 1003
	closeTrouble = websocket.CloseInternalServerErr // 1011
	closeRestart = websocket.CloseServiceRestart    // 1012: the node stops; come back
	closeLater   = websocket.CloseTryAgainLater     // 1013: too slow, or too many sockets; come back with the cursors
	closeExpired = 4001                             // the sign-in has ended
)

const (
	maxFrame    = 16 << 10
	maxReplies  = 64 // frames that wait for a client to read
	maxFollowed = 64
	followPage  = 64
	changesPage = 256
	frameRate   = 50
	frameBurst  = 200
)

// timing holds the intervals of sockets.
type timing struct {
	hello   time.Duration // until the first frame
	ping    time.Duration // between pings. The sign-in is looked at as often
	silence time.Duration // without a frame or a pong, after which a socket ends
	poll    time.Duration // between looks at the queues without a wake-up
	write   time.Duration // for one frame to be taken by the client
	goodbye time.Duration // for a close frame
}

var usual = timing{hello: 10 * time.Second, ping: 25 * time.Second, silence: 50 * time.Second, poll: time.Second, write: 10 * time.Second, goodbye: time.Second}

// socket is one open WebSocket of an agent. Its handler goroutine reads frames. A second one, the writer, owns all that
// the client follows and reads it from the log as fast as the client takes it, so a slow client holds one page and a few
// replies; one that takes nothing at all is closed and comes back with its cursors.
type socket struct {
	s      *Server
	conn   *websocket.Conn
	cookie string // the session of the upgrade request, if its origin may use it
	token  string
	who    principal
	agent  queue.Agent
	joined *accountKey // guarded by sockets.mu
	frames *buckets

	orders chan order  // from the reader to the writer
	dirty  chan string // conversations that grew
	feeds  map[string]*followed
	cursor string // of the queues

	// life ends with the socket; code is why, set before: 0 says nothing.
	life context.Context
	end  context.CancelFunc
	once sync.Once
	code int
}

// order is something for the writer to do: send a frame, or begin or end to follow.
type order struct {
	frame    serverFrame
	follow   *followed
	unfollow string
}

// followed is a conversation that the client follows. after is the last event that it has.
type followed struct {
	conversation string
	after        uint64
	stop         func()
	done         chan struct{}
}

// clientFrame is every frame that a client sends.
type clientFrame struct {
	Type         string `json:"type"`
	Token        string `json:"token,omitempty"`        // hello
	Cursor       string `json:"cursor,omitempty"`       // hello: of the queues
	Conversation string `json:"conversation,omitempty"` // follow, unfollow, typing
	After        uint64 `json:"after,omitempty"`        // follow: a seq
	On           *bool  `json:"on,omitempty"`           // presence
}

// serverFrame is every frame that a client gets.
type serverFrame struct {
	Type         string          `json:"type"`
	Cursor       string          `json:"cursor,omitempty"`       // ready, queue, resync
	Now          *time.Time      `json:"now,omitempty"`          // ready, pong: the server's clock
	Me           *me             `json:"me,omitempty"`           // ready
	Changes      []queue.Change  `json:"changes,omitempty"`      // queue
	Conversation string          `json:"conversation,omitempty"` // event, unfollowed, typing, read
	Event        *queue.Event    `json:"event,omitempty"`
	Presence     *queue.Presence `json:"presence,omitempty"`
	On           *bool           `json:"on,omitempty"`   // typing
	VSeq         uint64          `json:"vseq,omitempty"` // read: how far
	Code         string          `json:"code,omitempty"` // error, unfollowed
	Detail       string          `json:"detail,omitempty"`
}

// getSocket upgrades to a WebSocket. Who it is by is known after the first frame, so that no token stands in a URL.
func (s *Server) getSocket(ctx *fasthttp.RequestCtx) {
	k := &socket{
		s: s, orders: make(chan order, maxReplies), dirty: make(chan string), feeds: map[string]*followed{},
		frames: newBuckets(frameRate, frameBurst),
	}
	k.life, k.end = context.WithCancel(s.life)
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	if origin != "" { // a browser: only then may a cookie speak, and only from an origin that is allowed
		k.cookie = string(ctx.Request.Header.Cookie(s.auth.cookie))
	}
	if !s.sockets.open(k) {
		k.end()
		problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited, "No more sockets are taken at the moment.")
		return
	}
	up := websocket.FastHTTPUpgrader{
		HandshakeTimeout: s.timing.hello,
		CheckOrigin:      func(ctx *fasthttp.RequestCtx) bool { return origin == "" || s.auth.allowedOrigin(ctx, origin) },
		Error: func(ctx *fasthttp.RequestCtx, status int, _ error) {
			if status == fasthttp.StatusForbidden {
				problem.Write(ctx, status, problem.CodeForbidden, "This origin may not open a socket.")
				return
			}
			ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
			problem.Write(ctx, status, problem.CodeBadRequest, "This is no WebSocket handshake (version 13, GET).")
		},
	}
	if err := up.Upgrade(ctx, func(conn *websocket.Conn) {
		defer s.sockets.leave(k)
		defer k.end()
		defer conn.NetConn().Close()
		defer s.recovered("a socket")
		k.conn = conn
		k.run()
	}); err != nil {
		k.end()
		s.sockets.leave(k)
	}
}

func (k *socket) run() {
	k.conn.SetReadLimit(maxFrame)
	_ = k.conn.SetReadDeadline(time.Now().Add(k.s.timing.hello))
	told := make(chan struct{})
	untell := context.AfterFunc(k.life, func() {
		defer close(told)
		// Whoever reads or is stuck in a write must hear of the end.
		_ = k.conn.NetConn().SetReadDeadline(time.Unix(1, 0))
		_ = k.conn.NetConn().SetWriteDeadline(time.Now().Add(k.s.timing.goodbye))
	})
	defer func() {
		if !untell() {
			<-told // the connection is reused as soon as its handler returns
		}
	}()
	if !k.hello() {
		return
	}
	wake, stop := k.s.o.Queue.WatchChanges(k.agent.Tenant)
	defer stop()
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		defer k.unfollowAll()
		defer k.stop(closeTrouble)
		defer k.s.recovered("a socket's writer")
		k.write(wake)
	}()
	// Deferred, so that a panic of the reader ends the writer too.
	defer writer.Wait()
	defer k.stop(0)
	k.read()
}

// stop ends the socket with a close code; the first call counts. It may be called before the socket runs.
func (k *socket) stop(code int) {
	k.once.Do(func() {
		k.code = code
		k.end()
	})
}

func (k *socket) stopped() bool { return k.life.Err() != nil }

// hello takes the first frame, finds out who it is by and answers that the socket is ready.
func (k *socket) hello() bool {
	f, err := k.receive()
	if err != nil || f.Type != "hello" {
		return k.refuse(closePolicy, badRequest(`The first frame must be {"type":"hello","token":TOKEN}.`))
	}
	if k.token = f.Token; k.token == "" {
		k.token = k.cookie
	}
	if k.who, err = k.s.auth.token(k.token); err != nil {
		k.s.refused(store.Operator, "socket")
		return k.refuse(closePolicy, err)
	}
	k.agent = k.who.agent()
	work, cancel := k.work()
	defer cancel()
	if r := k.who.account.Role; r != RoleAgent && r != RoleSupervisor {
		k.s.record(work, k.who, "access.refused", "role")
		return k.refuse(closePolicy, queue.ErrForbidden)
	}
	if !k.s.sockets.join(k, accountKey{k.agent.Tenant, k.agent.ID}) {
		return k.refuse(closeLater, refuse(problem.CodeRateLimited, "Too many sockets of one agent. Close one."))
	}
	k.cursor = f.Cursor
	if f.Cursor == "" {
		if _, k.cursor, err = k.s.o.Queue.Changes(work, k.agent, "", 0); err != nil {
			return k.refuse(closeTrouble, err)
		}
	}
	self := meOf(k.who.account)
	return k.send(serverFrame{Type: "ready", Cursor: k.cursor, Me: &self, Now: k.now()}) == nil
}

// now is the server's time, by which clients measure how far their own clock is off.
func (k *socket) now() *time.Time {
	t := k.s.o.Now().UTC()
	return &t
}

func (k *socket) work() (context.Context, context.CancelFunc) {
	return context.WithTimeout(k.s.life, requestTime)
}

var errFrame = errors.New("not a frame that is known")

// receive returns the next frame. errFrame says that it could not be read but the socket is sound.
func (k *socket) receive() (f clientFrame, err error) {
	kind, raw, err := k.conn.ReadMessage()
	if err != nil {
		return f, err
	}
	if kind != websocket.TextMessage {
		k.stop(closeBinary)
		return f, errors.New("a binary frame")
	}
	if decodeJSON(raw, &f) != nil {
		return f, errFrame
	}
	return f, nil
}

// extend gives the client time to show life again.
func (k *socket) extend() {
	_ = k.conn.SetReadDeadline(time.Now().Add(k.s.timing.silence))
	if k.stopped() {
		_ = k.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (k *socket) read() {
	k.conn.SetPongHandler(func(string) error { k.extend(); return nil })
	for k.extend(); !k.stopped(); k.extend() {
		f, err := k.receive()
		if errors.Is(err, errFrame) {
			k.fail("", badRequest("This is no frame that is known here."))
			continue
		}
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				k.stop(closePolicy)
			}
			return
		}
		if _, ok := k.frames.allow("", k.s.o.Now()); !ok {
			k.stop(closePolicy)
			return
		}
		k.handle(f)
	}
}

// handle acts on one frame.
func (k *socket) handle(f clientFrame) {
	work, cancel := k.work()
	defer cancel()
	switch f.Type {
	case "follow":
		// The look at the conversation decides whether it may be followed; what it holds is read by the writer.
		if _, err := k.s.o.Queue.Events(work, k.agent, f.Conversation, queue.Window{After: f.After, Limit: 1}); err != nil {
			k.fail(f.Conversation, err)
			return
		}
		k.order(order{follow: &followed{conversation: f.Conversation, after: f.After, done: make(chan struct{})}})
	case "unfollow":
		k.order(order{unfollow: f.Conversation})
	case "presence":
		p, err := k.s.o.Queue.Heartbeat(work, k.agent, f.On == nil || *f.On)
		if err != nil {
			k.fail("", err)
			return
		}
		k.order(order{frame: serverFrame{Type: "presence", Presence: &p}})
	case "typing":
		if err := k.s.o.Queue.Typing(work, k.agent, f.Conversation); err != nil {
			k.fail(f.Conversation, err)
		}
	case "ping":
		k.order(order{frame: serverFrame{Type: "pong", Now: k.now()}})
	default:
		k.fail("", badRequest("This is no frame that is known here."))
	}
}

// fail tells the client what was wrong. The socket goes on.
func (k *socket) fail(conv string, err error) {
	k.order(order{frame: errorFrame(conv, err)})
}

func errorFrame(conv string, err error) serverFrame {
	d := details(err)
	return serverFrame{Type: "error", Conversation: conv, Code: d.Code, Detail: d.Detail}
}

// order hands something to the writer. A client that does not read what it asked for is closed.
func (k *socket) order(o order) {
	select {
	case k.orders <- o:
	default:
		k.stop(closeLater)
	}
}

// send writes one frame. Only one goroutine calls it at a time: the handler until the writer starts, the writer then.
func (k *socket) send(f serverFrame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := k.conn.SetWriteDeadline(time.Now().Add(k.s.timing.write)); err != nil {
		return err
	}
	return k.conn.WriteMessage(websocket.TextMessage, body)
}

// refuse ends a socket that never became ready.
func (k *socket) refuse(code int, err error) bool {
	if !k.stopped() {
		_ = k.send(errorFrame("", err))
	}
	k.stop(code)
	k.goodbye()
	return false
}

// goodbye sends the close frame, if there is something to say. The client may be gone; then nobody hears it.
func (k *socket) goodbye() {
	k.stop(0) // whoever is just setting the code has done so when this returns
	if k.code != 0 {
		_ = k.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(k.code, ""), time.Now().Add(k.s.timing.goodbye))
	}
}
