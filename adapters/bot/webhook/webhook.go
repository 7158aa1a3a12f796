// Package webhook speaks to any bot that takes a turn by HTTP and answers in JSON.
//
// Without mappings it sends a body of its own and understands the shapes that most bots answer with; with mappings,
// expressions say what the body is and where in the answer to look. One Reply is one attempt: nothing is retried and no
// redirect is followed.
//
// A call has a lane: a client of its own with one connection, which is closed under it when the caller's context ends. So
// a call runs on the caller's goroutine and can be cut off all the same. There are at most max_conns lanes; further calls
// wait for one within their deadline.
package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/netguard"
	"turnout/adapters/traceparent"
)

// idleConn is shorter than what common servers keep an idle connection for, so that a call does not meet one that its
// server is about to close.
const idleConn = 1500 * time.Millisecond

const rawBytes = 64 << 10 // of Answer.Raw

// Bot is one bot behind a URL. It is safe for concurrent use.
type Bot struct {
	cfg      Config
	to       target
	headers  []hook.Header
	signKey  []byte // nil: calls are not signed
	now      func() time.Time
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	slots    chan struct{}
	request  requestMapping
	response *responseMapping // nil: the usual shapes

	life    context.Context // ends with Close; parent of dials
	end     context.CancelFunc
	running sync.WaitGroup // calls
	mu      sync.Mutex     // guards what follows
	closed  bool
	lanes   map[*lane]struct{}
	free    []*lane // the one used last is used next: its connection is warm
}

var (
	_ adapters.Bot    = (*Bot)(nil)
	_ adapters.Prompt = (*Bot)(nil)
)

// Prompt implements adapters.Prompt: the connection is closed under a call whose context ends.
func (*Bot) Prompt() {}

var errClosed = errors.New("the bot is closed")

// New builds a bot from its section. It opens no connection. Errors of mappings name the field and the place in it.
func New(spec adapters.Spec, d adapters.Deps) (adapters.Bot, error) {
	var cfg Config
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding webhook bot: %w", err)
	}
	to, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("checking webhook bot: %w", err)
	}
	b := &Bot{
		cfg: cfg, to: to, now: d.Now, dial: d.Dial, slots: make(chan struct{}, cfg.MaxConns), lanes: map[*lane]struct{}{},
	}
	if b.headers, err = hook.Headers(cfg.Headers, d.Secret); err != nil {
		return nil, fmt.Errorf("checking webhook bot: %w", err)
	}
	if cfg.Sign != "" {
		secret, err := d.Secret(cfg.Sign)
		if err != nil {
			return nil, fmt.Errorf("checking webhook bot: sign: %w", err)
		}
		b.signKey = []byte(secret.Reveal())
	}
	if b.request, err = newRequestMapping(cfg); err != nil {
		return nil, fmt.Errorf("compiling webhook bot: %w", err)
	}
	if b.response, err = newResponseMapping(cfg.Response); err != nil {
		return nil, fmt.Errorf("compiling webhook bot: %w", err)
	}
	b.life, b.end = context.WithCancel(context.Background())
	return b, nil
}

// Reply implements adapters.Bot.
func (b *Bot) Reply(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
	body, err := b.request.encode(t)
	if err != nil {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotGarbage, Err: err}
	}
	// The caller's deadline is nearly always the nearer one, and a context costs a timer.
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > b.cfg.Timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.cfg.Timeout)
		defer cancel()
	}
	resp, err := b.call(ctx, t, body)
	if err != nil {
		return adapters.Answer{}, err
	}
	defer fasthttp.ReleaseResponse(resp)
	return b.read(resp)
}

// read makes an answer of a response.
func (b *Bot) read(resp *fasthttp.Response) (adapters.Answer, error) {
	status := resp.StatusCode()
	switch {
	case status == fasthttp.StatusNoContent:
		return adapters.Answer{}, nil
	case status < 200 || status > 299:
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: status}
	case len(resp.Header.Peek(fasthttp.HeaderContentEncoding)) > 0:
		return adapters.Answer{}, garbage("the response is compressed, which was not asked for")
	}
	body := resp.Body()
	a, err := decode(body, status, b.response)
	if err != nil {
		return adapters.Answer{}, err
	}
	a.Raw = append([]byte(nil), body[:min(len(body), rawBytes)]...)
	return a, nil
}

// call makes one attempt within ctx. The response is the caller's to release.
func (b *Bot) call(ctx context.Context, t adapters.Turn, body []byte) (*fasthttp.Response, error) {
	select {
	case b.slots <- struct{}{}:
	default:
		if err := b.queue(ctx); err != nil {
			return nil, err
		}
	}
	defer func() { <-b.slots }()
	l := b.enter()
	if l == nil {
		return nil, &adapters.BotError{Kind: adapters.BotUnreachable, Err: errClosed}
	}
	defer b.leave(l)
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	b.fill(req, t, body)
	if deadline, ok := ctx.Deadline(); ok {
		req.SetTimeout(max(time.Until(deadline), time.Millisecond))
	}
	err := l.do(ctx, req, resp)
	if err == nil {
		return resp, nil
	}
	fasthttp.ReleaseResponse(resp)
	if ctx.Err() != nil {
		return nil, &adapters.BotError{Kind: adapters.BotTimeout, Err: ctx.Err()}
	}
	return nil, classify(err)
}

// queue waits for a slot.
func (b *Bot) queue(ctx context.Context) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &adapters.BotError{Kind: adapters.BotTimeout, Err: fmt.Errorf("waiting for a free connection: %w", ctx.Err())}
	case <-b.life.Done():
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errClosed}
	}
}

func (b *Bot) fill(req *fasthttp.Request, t adapters.Turn, body []byte) {
	req.SetRequestURI(b.to.uri)
	h := &req.Header
	h.SetMethod(b.cfg.Method)
	for _, x := range b.headers {
		h.Set(x.Name, x.Value)
	}
	h.SetContentType("application/json")
	h.Set(fasthttp.HeaderAccept, "application/json")
	h.Set("Idempotency-Key", t.ID)
	h.Set("X-Turnout-Attempt", strconv.Itoa(max(t.Attempt, 1)))
	if n := len(t.Messages); n > 0 {
		if trace := traceparent.Parent(t.Messages[n-1].Trace).Child(t.ID); trace != "" {
			h.Set(traceparent.Header, trace)
		}
	}
	if b.signKey != nil {
		timestamp := strconv.FormatInt(b.now().Unix(), 10)
		h.Set(hook.HeaderTimestamp, timestamp)
		h.Set(hook.HeaderSignature, hook.Sign(b.signKey, timestamp, body))
	}
	req.SetBodyRaw(body)
}

// classify says how a call failed. The texts of the client's errors can repeat bytes of the response, so only those
// about connections are kept.
func classify(err error) *adapters.BotError {
	var op *net.OpError
	var timeout interface{ Timeout() bool }
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return &adapters.BotError{Kind: adapters.BotRefused, Err: netguard.ErrDenied}
	case errors.Is(err, fasthttp.ErrBodyTooLarge), errors.As(err, &small):
		return &adapters.BotError{Kind: adapters.BotTooLarge, Err: errors.New("the response is over the limit")}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return &adapters.BotError{Kind: adapters.BotTimeout, Err: context.DeadlineExceeded}
	case errors.As(err, &op):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: op}
	case errors.Is(err, fasthttp.ErrConnectionClosed), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errors.New("the connection broke before the whole response")}
	case errors.Is(err, fasthttp.ErrNoFreeConns):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: fasthttp.ErrNoFreeConns}
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errors.New("the TLS handshake failed")}
	}
	return garbage("the response is not HTTP")
}

func garbage(what string) *adapters.BotError {
	return &adapters.BotError{Kind: adapters.BotGarbage, Err: errors.New(what)}
}
