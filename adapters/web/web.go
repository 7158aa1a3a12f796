// Package web is the chat channel for browsers and for anything else that speaks HTTP: sessions with signed tokens,
// messages by POST, event streams and sockets that resume by cursor, files, and a page that works without JavaScript.
//
// It is a pull channel. What a customer may see is read from the Timeline, by visible sequence, and nothing is sent
// from anywhere else: a client that was away gets what it missed in order and without gaps, and what is not committed
// cannot be seen. The channel keeps no state that matters; a restart costs open streams, and those resume.
//
// Text of customers is taken as valid UTF-8 with line ends normalised to "\n". The JSON interface refuses control
// characters other than newline and tab, and lone surrogates, because a program can be mended; the form of the page
// drops them, because a person cannot be.
package web

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"

	"turnout/adapters"
	"turnout/adapters/live"
	"turnout/adapters/message"
)

// Channel is one web chat channel.
type Channel struct {
	deps     adapters.Deps
	cfg      Config
	origins  map[string]bool
	types    map[string]bool
	tokens   tokens
	tickets  *tickets
	identity *identity // nil: the channel takes none
	rate     *rateLimiter
	streams  *streamLimiter
	page     page
	face     []byte // what the widget asks before it shows itself, as JSON
	upgrader websocket.FastHTTPUpgrader
	parsers  fastjson.ParserPool
	timing   timing

	// life ends with Close and is the parent of the context of every request and stream: fasthttp's own request
	// context is reused after the handler and must not be handed on.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup // sockets and event streams
	mu      sync.Mutex     // guards closed, open and the moment of running.Add
	closed  bool
	open    map[stream]struct{}
}

// stream is an open socket or event stream.
type stream interface {
	// Close ends it soon, with a close code if it can tell one. It does not block.
	Close(code int)
}

// timing holds the intervals of streams, so that tests can shorten them.
type timing struct {
	socket    live.Options  // two missed pongs end a socket. Write and Goodbye are those of event streams too
	heartbeat time.Duration // between comments on an event stream
	accept    time.Duration // for the store to take a message
	typing    time.Duration // least time between two reports of typing
	place     time.Duration // between two looks at the place in the queue of one who waits
}

var _ adapters.Channel = (*Channel)(nil)

// New builds a channel from its section. It starts nothing; streams begin with requests.
func New(spec adapters.Spec, d adapters.Deps) (adapters.Channel, error) {
	var cfg Config
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding web channel: %w", err)
	}
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("checking web channel: %w", err)
	}
	cfg.within(d.Limits)
	c := &Channel{
		deps:    d,
		cfg:     cfg,
		origins: set(cfg.Origins),
		types:   set(cfg.Attachments.Types),
		tokens:  newTokens(d),
		tickets: newTickets(d),
		rate:    newRateLimiter(cfg.Limits.Rate, cfg.Limits.Burst),
		streams: newStreamLimiter(cfg.Limits.VisitorStreams, cfg.Limits.ChannelStreams),
		timing: timing{
			socket: live.Options{
				MessageBytes: maxFrame, First: 10 * time.Second, Ping: 25 * time.Second, Silence: 50 * time.Second,
				Write: 10 * time.Second, Goodbye: time.Second,
			},
			heartbeat: 15 * time.Second, accept: 10 * time.Second, typing: time.Second, place: 5 * time.Second,
		},
		open: map[stream]struct{}{},
	}
	c.timing.socket.Recovered = func(v any) { c.panicked("socket", v) }
	var err error
	if cfg.Identity != nil {
		if c.identity, err = newIdentity(*cfg.Identity, d); err != nil {
			return nil, err
		}
	}
	if c.page, err = newPage(cfg.Title, d); err != nil {
		return nil, err
	}
	if c.face, err = newFace(cfg, d.Key); err != nil {
		return nil, err
	}
	c.upgrader = websocket.FastHTTPUpgrader{CheckOrigin: c.socketOrigin, Error: upgradeError}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Routes lists the endpoints. The paths hold the channel's own key, so a channel that does not exist is the server's
// own 404, the same for every name.
func (c *Channel) Routes() []adapters.Route {
	api := "/v1/web/" + c.deps.Key
	page := "/chat/" + c.deps.Key
	taken := map[int]any{fasthttp.StatusOK: adapters.OneOf{answered{}, merged{}}, fasthttp.StatusAccepted: pending{}}
	one := func(v any) map[int]any { return map[int]any{fasthttp.StatusOK: v} }
	routes := []adapters.Route{
		{
			Method: fasthttp.MethodPost, Path: api + "/session", Handler: c.cors(c.postSession),
			Summary: "Begin a visit, renew its token, or prove who the visitor is.", Body: sessionBody{}, Answers: one(session{}),
		},
		{
			Method: fasthttp.MethodPost, Path: api + "/messages", Handler: c.cors(c.signedIn(c.postMessage)), MaxBody: int64(c.maxBody()),
			Summary: "Say something, and wait for what comes of it. The same id again takes no second effect.", Body: messageBody{}, Answers: taken,
		},
		{
			Method: fasthttp.MethodPost, Path: api + "/human", Handler: c.cors(c.signedIn(c.postHuman)), Person: true,
			Summary: "Ask for a person.", Body: humanBody{}, Answers: taken,
		},
		{
			Method: fasthttp.MethodPost, Path: api + "/observe", Handler: c.cors(c.signedIn(c.postObserve)),
			Summary: "Say that the visitor types, or has read up to a cursor.", Body: observeBody{}, Answers: map[int]any{fasthttp.StatusNoContent: nil},
		},
		{
			Method: fasthttp.MethodPost, Path: api + "/ticket", Handler: c.cors(c.signedIn(c.postTicket)),
			Summary: "A short-lived ticket for the event stream, whose request cannot carry a header.", Answers: one(ticketAnswer{}),
		},
		{
			Method: fasthttp.MethodGet, Path: api + "/events", Handler: c.cors(c.getEvents),
			Summary: "Server-sent events: what happened after a cursor, and what happens.",
		},
		{
			Method: fasthttp.MethodGet, Path: api + "/socket", Handler: c.getSocket,
			Summary: "A WebSocket for all of this; its first frame is hello with the token.",
		},
		{
			Method: fasthttp.MethodPost, Path: api + "/attachments", Handler: c.cors(c.signedIn(c.postAttachment)),
			MaxBody: max(c.cfg.Attachments.MaxBytes, 0) + multipartSlack,
			Summary: "Leave a file (multipart/form-data) that a message can then name.", Answers: one(message.Attachment{}),
		},
		{Method: fasthttp.MethodGet, Path: api + "/attachments/{id}", Handler: c.cors(c.signedIn(c.getAttachment)), Summary: "A file of the visitor's conversation."},
		{
			Method: fasthttp.MethodGet, Path: api + "/widget", Handler: c.cors(c.getFace),
			Summary: "How the channel looks and what it takes, before anybody has written.", Answers: one(face{}),
		},
		{Method: fasthttp.MethodGet, Path: page, Handler: c.getPage, Summary: "The chat as a page that needs no JavaScript."},
		{Method: fasthttp.MethodPost, Path: page, Handler: c.postPage, Summary: "Say something on that page."},
		{Method: fasthttp.MethodGet, Path: page + "/files/{id}", Handler: c.getPageFile, Summary: "A file on that page."},
	}
	preflight := map[string]bool{}
	for _, r := range routes {
		if strings.HasPrefix(r.Path, api) && !strings.HasSuffix(r.Path, "/socket") && !preflight[r.Path] {
			preflight[r.Path] = true
			routes = append(routes, adapters.Route{Method: fasthttp.MethodOptions, Path: r.Path, Handler: c.preflight})
		}
	}
	return routes
}

// Close ends the streams: sockets get the close code 1012 (restart), so clients come back by themselves. It returns
// when all have ended, which a client that takes nothing can delay by the goodbye time only.
func (c *Channel) Close() error {
	c.mu.Lock()
	c.closed = true
	open := slices.Collect(maps.Keys(c.open))
	c.mu.Unlock()
	c.end()
	for _, s := range open {
		s.Close(closeRestart)
	}
	c.running.Wait()
	return nil
}

// enter counts a stream in, unless the channel is closed.
func (c *Channel) enter(s stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.open[s] = struct{}{}
	c.running.Add(1)
	return true
}

// leave counts out a stream that has entered.
func (c *Channel) leave(s stream) {
	c.mu.Lock()
	delete(c.open, s)
	c.mu.Unlock()
	c.running.Done()
}

func (c *Channel) address(visitor string) message.Address {
	return message.Address{Channel: c.deps.Key, Address: visitor}
}

// recovered is deferred at the root of every goroutine of a stream: one stream's trouble is nobody else's.
func (c *Channel) recovered(what string) {
	if r := recover(); r != nil {
		c.panicked(what, r)
	}
}

func (c *Channel) panicked(what string, r any) {
	c.deps.Log.Error("recovered from a panic", "channel", c.deps.Key, "in", what, "kind", fmt.Sprintf("%T", r))
}

func set(values []string) map[string]bool {
	m := make(map[string]bool, len(values))
	for _, v := range values {
		m[v] = true
	}
	return m
}

// secure reports whether the client's own connection is encrypted. The header is the edge proxy's; believing a forged
// one only makes a cookie stricter.
func secure(ctx *fasthttp.RequestCtx) bool {
	return ctx.IsTLS() || string(ctx.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https"
}
