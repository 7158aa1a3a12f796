// Package api is the HTTP face of a node: the agents' queue API with its logins, the routes of the channels, and health
// for operators on a listener of its own.
//
// What exists is one table (Routes): method, path, who may. Everything around a handler is the same for each row and
// stands in one place (chain.go): recovery of panics, limits, the request log. A handler gets a call, returns a value or
// an error, and knows nothing of HTTP; errors.go is the one place that turns errors into problem documents.
//
// # Adding a route of administration and its command
//
// A route under /v1/admin/ is a row that Options.Admin brings in; this package does not import what stands behind it.
//
//  1. gateway/admin/AREA.go has func AREA(what it needs: small interfaces) []api.Route. A row names Method, Path below
//     /v1/admin/, Access People, Roles (deny by default: who is not named is refused), and Scope if the key of an
//     integration may use it. Access Operator is for what concerns the node as a whole: the socket only.
//  2. Its Handle gets a *Call: Tenant is the only tenant it may touch (a foreign id must answer like an unknown one, with
//     store.ErrNotFound), Param, Query, Decode, Actor; Record appends to the tenant's audit chain. It returns a value with
//     json tags, a *Stream, nil for 204, or an error: Refuse(code, detail), or one that details (errors.go) maps.
//  3. gateway.go adds AREA(…) to Options.Admin, and admin/docs.go says what the document at /openapi.json has of the row.
//     The matrix test then covers it, for every role and both tenants, and holds what it answers against the document.
//  4. gateway/cmd/turnout/AREA.go has a command that embeds nodeFlags; n.client() is a client of the operator's socket, or
//     of --server with --key; client.Do(ctx, method, path, body, &answer) returns a *client.Problem for a person to read.
//  5. gateway/README.md or deploy/README.md, and CHANGELOG.md, say what there is now.
//
// A request never gets a *fasthttp.RequestCtx's bytes further than its handler: what is kept is copied.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/gateway/alarm"
	"turnout/gateway/audit"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// Audit takes entries of administration: logins and refusals of known people.
type Audit interface {
	Append(ctx context.Context, t store.Tenant, e audit.Entry) error
}

// Options are the parts and the settings of a Server.
type Options struct {
	Queue    *queue.Queue
	Audit    Audit
	Accounts *Accounts
	// OneTime are passwords that sign in once each, beside those of the accounts.
	OneTime []OneTime
	// Routes are mounted beside the server's own; they are the channels'.
	Routes []adapters.Route
	// Pages are mounted for everybody; they are the console's.
	Pages []adapters.Route
	// Admin are the routes of administration that other packages bring in; see the package's own words.
	Admin []Route
	// Version of the program, as status tells it.
	Version string
	// Health tells the state of the store, Checkpoints that of the audit chains; nil: nothing is said of them.
	Health      func(context.Context) store.Health
	Checkpoints func() Checkpoints
	// Places tells how the places for calls of bots and for sends stand; nil: nothing is said of them.
	Places func(context.Context) []Places
	// Ready says why the node must not take work although its store can; nil, or no func: it may. Alarms are what is wrong
	// although the node serves.
	Ready  func() error
	Alarms func() []alarm.Alarm
	// Memory keeps the answers to requests of administration with an Idempotency-Key; nil: they are not kept.
	Memory Memory
	// SessionKey signs sessions: 32 bytes, the same after a restart and on every node.
	SessionKey []byte
	// PlainCookie leaves out Secure and the __Host- prefix from the session's cookie. It is for a listener without TLS in
	// front, on loopback.
	PlainCookie bool
	// Origins are further origins ("https://console.example.com") whose scripts may use the API with a key or a token in
	// Authorization, and open sockets. The session's cookie is not for them: what is answered to it a browser keeps from
	// them, as no answer has Access-Control-Allow-Credentials. The server's own origin is always allowed.
	Origins []string
	Limits  Limits
	// Requested is told of every request: the pattern of its route ("(none)" for a path that is not there), its status
	// and how long it took. It must not block; nil for nobody.
	Requested func(route, method string, code int, took time.Duration)
	// Metrics is served at /metrics on the listener of operators; nil: there is none.
	Metrics fasthttp.RequestHandler
	Now     func() time.Time
	Rand    io.Reader // nil: crypto/rand
	Log     *slog.Logger
}

// Limits bound what clients can take. A zero value means the default.
type Limits struct {
	BodyBytes        int           // 256 KiB; a route may have a larger limit of its own
	HeaderBytes      int           // 16 KiB
	TextBytes        int           // of a reply or a note; 8 KiB
	Connections      int           // 4096
	ConnectionsPerIP int           // 256
	ReadTimeout      time.Duration // for headers and body together; 10 s
	WriteTimeout     time.Duration // 15 s
	IdleTimeout      time.Duration // 60 s
	// PostsPerMinute are those of one network address to the routes of channels; 0: no limit. TrustedProxies are the
	// networks whose X-Forwarded-For says what a client's address is.
	PostsPerMinute int
	TrustedProxies []netip.Prefix
	// Sockets bounds the agents' WebSockets, SocketsPerAgent those of one agent; 1024 and 8.
	Sockets         int
	SocketsPerAgent int
	// Requests is the steady rate per second of one agent, Burst what may come at once; 50 and 200.
	Requests float64
	Burst    int
	// Logins bounds password checks at the same time: each takes 19 MiB; 4.
	Logins int
}

func (l Limits) withDefaults() Limits {
	or(&l.BodyBytes, 256<<10)
	or(&l.HeaderBytes, 16<<10)
	or(&l.TextBytes, 8<<10)
	or(&l.Connections, 4096)
	or(&l.ConnectionsPerIP, 256)
	or(&l.ReadTimeout, 10*time.Second)
	or(&l.WriteTimeout, 15*time.Second)
	or(&l.IdleTimeout, 60*time.Second)
	or(&l.Sockets, 1024)
	or(&l.SocketsPerAgent, 8)
	or(&l.Requests, 50)
	or(&l.Burst, 200)
	or(&l.Logins, 4)
	return l
}

func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Server serves the API. It is safe for concurrent use.
type Server struct {
	o        Options
	face     atomic.Pointer[face]
	auth     *auth
	repeats  *repeats
	peers    *peers
	sockets  *sockets
	public   *fasthttp.Server
	ops      *fasthttp.Server
	local    *fasthttp.Server // of the operator's socket
	timing   timing
	started  time.Time
	quiet    quiet
	stopping atomic.Bool

	// life is the parent of the context of every request and ends with Shutdown.
	life context.Context
	end  context.CancelFunc

	mu        sync.Mutex
	listeners []net.Listener // public, ops, the operator's socket
	serving   sync.WaitGroup
}

// New builds a server. It listens with Listen. The contexts of requests derive from ctx.
func New(ctx context.Context, o Options) (*Server, error) {
	switch {
	case o.Queue == nil || o.Audit == nil || o.Accounts == nil || o.Health == nil || o.Now == nil || o.Log == nil:
		return nil, errors.New("building the server: a part is missing")
	case len(o.SessionKey) < 32:
		return nil, errors.New("building the server: the session key is shorter than 32 bytes")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	o.Limits = o.Limits.withDefaults()
	s := &Server{o: o, timing: usual, started: o.Now()}
	s.timing.socket.Recovered = func(v any) { s.panicked("a socket", v) }
	var err error
	if s.auth, err = newAuth(o, func() *Accounts { return s.face.Load().accounts }); err != nil {
		return nil, err
	}
	s.repeats = newRepeats(o.Memory, s.auth.sessions.mac("repeats", ""), o.Now)
	s.peers = newPeers(o.Limits.PostsPerMinute, o.Limits.TrustedProxies)
	s.sockets = newSockets(o.Limits.Sockets, o.Limits.SocketsPerAgent)
	s.life, s.end = context.WithCancel(ctx)
	first, err := s.newFace(o.Accounts, o.Routes)
	if err != nil {
		return nil, err
	}
	s.face.Store(first)
	s.public = s.fasthttpServer(func(ctx *fasthttp.RequestCtx) { s.face.Load().public(ctx) })
	s.ops = s.fasthttpServer(s.opsRouter())
	s.local = s.fasthttpServer(overSocket(func(ctx *fasthttp.RequestCtx) { s.face.Load().local(ctx) }))
	s.local.HeaderReceived, s.local.ExpectHandler = nil, nil
	return s, nil
}

// face is what the configuration makes of a server. It is never changed, only replaced.
type face struct {
	accounts *Accounts
	routes   []Route
	large    []Route // those with a body limit of their own
	document []byte  // OpenAPI
	public   fasthttp.RequestHandler
	local    fasthttp.RequestHandler // the operator's socket
}

func (s *Server) newFace(accounts *Accounts, channels []adapters.Route) (*face, error) {
	f := &face{accounts: accounts}
	var err error
	if f.routes, err = s.table(channels); err != nil {
		return nil, err
	}
	var admin []Route
	for _, r := range f.routes {
		if r.MaxBody > 0 {
			f.large = append(f.large, r)
		}
		if strings.HasPrefix(r.Path, adminPath) {
			admin = append(admin, r)
		}
	}
	if f.public, err = s.router(f.routes); err != nil {
		return nil, err
	}
	if f.local, err = s.router(admin); err != nil {
		return nil, err
	}
	f.document, err = s.document(f.routes)
	return f, err
}

// Replace prepares other accounts and routes of channels; swap puts them in the place of those that there are. Requests
// under way end as they began. An agent whose account is another one then has to sign in again on open sockets.
func (s *Server) Replace(accounts *Accounts, channels []adapters.Route) (swap func(), err error) {
	next, err := s.newFace(accounts, channels)
	if err != nil {
		return nil, err
	}
	return func() { s.face.Store(next) }, nil
}

// Routes returns the table of what the public listener serves.
func (s *Server) Routes() []Route { return slices.Clone(s.face.Load().routes) }

// Listen opens the public listener and that of operators, and serves both. Addresses are "host:port"; port 0 lets the
// system choose.
func (s *Server) Listen(listen, opsListen string) error {
	for _, l := range []struct {
		address string
		server  *fasthttp.Server
	}{{listen, s.public}, {opsListen, s.ops}} {
		ln, err := net.Listen("tcp", l.address)
		if err != nil {
			return fmt.Errorf("opening listener %s: %w", l.address, err)
		}
		s.Serve(ln, l.server == s.ops)
	}
	return nil
}

// Serve serves a listener in the background, as the public one or that of operators. The server closes it.
func (s *Server) Serve(ln net.Listener, ops bool) {
	if ops {
		s.serve(ln, s.ops)
	} else {
		s.serve(ln, s.public)
	}
}

func (s *Server) serve(ln net.Listener, server *fasthttp.Server) {
	s.mu.Lock()
	s.listeners = append(s.listeners, ln)
	s.serving.Add(1)
	s.mu.Unlock()
	from := net.Listener(whole{ln})
	if server == s.local {
		from = ln // its connections say who is at their other end, and nobody stands between
	}
	go func() {
		defer s.serving.Done()
		defer s.recovered("a listener")
		if err := server.Serve(from); err != nil && !s.stopping.Load() {
			s.o.Log.Error("serving", "listener", ln.Addr().String(), "err", err)
		}
	}()
}

// Addr and OpsAddr are where the server listens; empty before Listen.
func (s *Server) Addr() string    { return s.addr(0) }
func (s *Server) OpsAddr() string { return s.addr(1) }

func (s *Server) addr(i int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.listeners) {
		return ""
	}
	return s.listeners[i].Addr().String()
}

// StopIntake takes no more connections, ends the agents' sockets with code 1012 and makes the node not ready. Requests
// under way go on, and those on open connections are the last ones there. The listener and the socket of operators stay.
// It waits for the agents' sockets until ctx ends.
func (s *Server) StopIntake(ctx context.Context) error {
	s.stopping.Store(true)
	s.mu.Lock()
	var err error
	if len(s.listeners) > 0 {
		err = s.listeners[0].Close()
	}
	s.mu.Unlock()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.sockets.close(ctx))
}

// Shutdown waits for running requests until ctx ends, and closes everything. Call StopIntake first, and end the streams
// of the mounted routes: they count as running.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.StopIntake(ctx)
	for _, server := range []*fasthttp.Server{s.public, s.ops, s.local} {
		if e := server.ShutdownWithContext(ctx); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	s.end()
	s.mu.Lock()
	for _, ln := range s.listeners {
		ln.Close() // a server that has not come to serve yet does not know its listener
	}
	s.mu.Unlock()
	s.serving.Wait()
	return err
}
