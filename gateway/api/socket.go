package api

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/live"
	"turnout/adapters/problem"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// Close codes of sockets, beside those that package live sends by itself (1009 for a message over the limit).
const (
	closePolicy  = live.ClosePolicy              // 1008: no valid hello, or a flood of frames
	closeTrouble = live.CloseTrouble             // 1011
	closeRestart = websocket.CloseServiceRestart // 1012: the node stops; come back
	closeLater   = websocket.CloseTryAgainLater  // 1013: too slow, or too many sockets; come back with the cursors
	closeExpired = 4001                          // the sign-in has ended
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
	socket live.Options
	again  time.Duration // between looks at the sign-in
	poll   time.Duration // between looks at the queues without a wake-up
}

var usual = timing{
	socket: live.Options{
		MessageBytes: maxFrame, First: 10 * time.Second, Ping: 25 * time.Second, Silence: 50 * time.Second,
		Write: 10 * time.Second, Goodbye: time.Second,
	},
	again: 25 * time.Second, poll: time.Second,
}

// socket is one open WebSocket of an agent. Frames are handled one after the other. What the client follows is read from
// the log as fast as the client takes it, so a slow client holds one page and a few replies; one that takes nothing at
// all is closed and comes back with its cursors.
type socket struct {
	live.Socket
	s      *Server
	cookie string // the session of the upgrade request, if its origin may use it
	token  string
	who    principal
	agent  queue.Agent
	joined *accountKey // guarded by sockets.mu
	frames bucket
	known  bool   // the hello was taken
	stop   func() // of the watch over the queues; nil before the hello

	// The writer's.
	feeds  map[string]*followed
	cursor string // of the queues
	polled time.Time
	asked  time.Time // when the sign-in was looked at

	changed atomic.Bool // the queues may have
	mu      sync.Mutex
	orders  []order // from the reader to the writer
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
	watch        adapters.Watch
	woken        atomic.Bool
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
	k := &socket{s: s}
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	if origin != "" { // a browser: only then may a cookie speak, and only from an origin that is allowed
		k.cookie = string(ctx.Request.Header.Cookie(s.auth.cookie))
	}
	if !s.sockets.open(k) {
		problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited, "No more sockets are taken at the moment.")
		return
	}
	head, ok := live.Handshake(ctx, &websocket.FastHTTPUpgrader{
		CheckOrigin: func(ctx *fasthttp.RequestCtx) bool { return origin == "" || s.auth.allowedOrigin(ctx, origin) },
		Error: func(ctx *fasthttp.RequestCtx, status int, _ error) {
			if status == fasthttp.StatusForbidden {
				problem.Write(ctx, status, problem.CodeForbidden, "This origin may not open a socket.")
				return
			}
			ctx.Response.Header.Set("Sec-WebSocket-Version", "13")
			problem.Write(ctx, status, problem.CodeBadRequest, "This is no WebSocket handshake (version 13, GET).")
		},
	})
	if !ok {
		s.sockets.leave(k)
		return
	}
	live.Take(ctx, head, func(conn net.Conn, sent []byte) { k.Open(conn, sent, &s.timing.socket, k) })
}

// Closed implements live.User.
func (k *socket) Closed() {
	defer k.s.sockets.leave(k)
	k.unfollowAll()
	if k.stop != nil {
		k.stop()
	}
}

// Receive implements live.User.
func (k *socket) Receive(raw []byte) {
	var f clientFrame
	err := decodeJSON(raw, &f)
	if !k.known {
		k.hello(f, err)
		return
	}
	if err != nil {
		k.fail("", badRequest("This is no frame that is known here."))
		return
	}
	if _, ok := k.frames.take(time.Second/frameRate, frameBurst*time.Second/frameRate, k.s.o.Now()); !ok {
		k.Close(closePolicy)
		return
	}
	k.handle(f)
}

// hello takes the first frame, finds out who it is by and answers that the socket is ready.
func (k *socket) hello(f clientFrame, err error) {
	if err != nil || f.Type != "hello" {
		k.refuse(closePolicy, badRequest(`The first frame must be {"type":"hello","token":TOKEN}.`))
		return
	}
	if k.token = f.Token; k.token == "" {
		k.token = k.cookie
	}
	if k.who, err = k.s.auth.token(k.token); err != nil {
		k.s.refused(store.Operator, "socket")
		k.refuse(closePolicy, err)
		return
	}
	k.agent = k.who.agent()
	work, cancel := k.work()
	defer cancel()
	if r := k.who.account.Role; r != RoleAgent && r != RoleSupervisor {
		k.s.record(work, k.who, "access.refused", "role")
		k.refuse(closePolicy, queue.ErrForbidden)
		return
	}
	if !k.s.sockets.join(k, accountKey{k.agent.Tenant, k.agent.ID}) {
		k.refuse(closeLater, refuse(problem.CodeRateLimited, "Too many sockets of one agent. Close one."))
		return
	}
	k.cursor = f.Cursor
	if f.Cursor == "" {
		if _, k.cursor, err = k.s.o.Queue.Changes(work, k.agent, "", 0); err != nil {
			k.refuse(closeTrouble, err)
			return
		}
	}
	self := meOf(k.who.account)
	if k.send(serverFrame{Type: "ready", Cursor: k.cursor, Me: &self, Now: k.now()}) != nil {
		k.Close(closeLater)
		return
	}
	k.known = true
	k.asked = time.Now()
	k.changed.Store(true)
	k.stop = k.s.o.Queue.WatchChanges(k.agent.Tenant, func() {
		k.changed.Store(true)
		k.Wake()
	})
	k.Wake()
}

// now is the server's time, by which clients measure how far their own clock is off.
func (k *socket) now() *time.Time {
	t := k.s.o.Now().UTC()
	return &t
}

func (k *socket) work() (context.Context, context.CancelFunc) {
	return context.WithTimeout(k.s.life, requestTime)
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
		k.order(order{follow: &followed{conversation: f.Conversation, after: f.After}})
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
	k.mu.Lock()
	full := len(k.orders) >= maxReplies
	if !full {
		k.orders = append(k.orders, o)
	}
	k.mu.Unlock()
	if full {
		k.Close(closeLater)
		return
	}
	k.Wake()
}

// send writes one frame.
func (k *socket) send(f serverFrame) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return k.Send(body)
}

// refuse ends a socket that never became ready.
func (k *socket) refuse(code int, err error) {
	_ = k.send(errorFrame("", err))
	k.Close(code)
}
