// Package callback is the channel for an app of the tenant's own: whatever the tenant's people write with, an app, a kiosk, a
// gateway of a carrier, is connected by two HTTP calls. Its server posts what customers write, signed, and gets what is said
// to them posted to a URL of its own, signed too; what became of that it may report.
//
// It is a push channel: what is said goes through the outbox, which calls Send until the app's server has taken it. The
// body's signature is the only proof of who posts; there are no sessions. A request that is sent again, by a client that is
// not sure or by somebody who listened, takes no effect a second time: messages are known by their ids, reports only move
// forward, and what is older than the tolerance is refused whatever it is.
package callback

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/problem"
)

// Channel is one callback channel.
type Channel struct {
	deps     adapters.Deps
	cfg      Config
	in       verifier
	out      []byte // the key of what is sent; nil: not signed
	headers  []hook.Header
	mapping  *mapping // nil: turnout's own form
	client   *http.Client
	life     context.Context
	end      context.CancelFunc
	mu       sync.Mutex // guards closed and the moment of sending.Add
	closed   bool
	sending  sync.WaitGroup
	accepted time.Duration // for the store to take one message
}

var (
	_ adapters.Channel = (*Channel)(nil)
	_ adapters.Sender  = (*Channel)(nil)
)

// New builds a channel from its section. It opens no connection. Errors of mappings name the field and the place in it.
func New(spec adapters.Spec, d adapters.Deps) (adapters.Channel, error) {
	var cfg Config
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding callback channel: %w", err)
	}
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("checking callback channel: %w", err)
	}
	cfg.within(d.Limits)
	c := &Channel{deps: d, cfg: cfg, accepted: 10 * time.Second}
	if err := c.secrets(); err != nil {
		return nil, fmt.Errorf("checking callback channel: %w", err)
	}
	var err error
	if c.headers, err = hook.Headers(cfg.Headers, d.Secret, "x-turnout-retry"); err != nil {
		return nil, fmt.Errorf("checking callback channel: %w", err)
	}
	if c.mapping, err = newMapping(cfg.Inbound); err != nil {
		return nil, fmt.Errorf("compiling callback channel: %w", err)
	}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: c.dial, MaxConnsPerHost: cfg.Concurrency, MaxIdleConnsPerHost: cfg.Concurrency,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: cfg.Timeout, DisableCompression: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// secrets resolves what the channel signs and verifies with.
func (c *Channel) secrets() error {
	c.in = verifier{now: c.deps.Now, tolerance: c.cfg.Tolerance}
	for _, s := range []struct {
		field string
		ref   adapters.SecretRef
	}{{"secret", c.cfg.Secret}, {"previous_secret", c.cfg.PreviousSecret}} {
		if s.ref == "" {
			continue
		}
		v, err := c.deps.Secret(s.ref)
		if err != nil {
			return fmt.Errorf("%s: %w", s.field, err)
		}
		if len(v.Reveal()) < minSecret {
			return fmt.Errorf("%s: must be at least %d bytes", s.field, minSecret)
		}
		c.in.keys = append(c.in.keys, []byte(v.Reveal()))
	}
	if c.cfg.Sign == "" {
		return nil
	}
	v, err := c.deps.Secret(c.cfg.Sign)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	c.out = []byte(v.Reveal())
	for _, k := range c.in.keys {
		if string(k) == string(c.out) {
			return errors.New("sign: must be another secret than secret: what is sent out could be sent back in")
		}
	}
	return nil
}

// Routes lists the endpoints. The paths hold the channel's own key, so a channel that does not exist is the server's own
// 404, the same for every name.
func (c *Channel) Routes() []adapters.Route {
	base := "/v1/hooks/" + c.deps.Key
	return []adapters.Route{
		{Method: fasthttp.MethodPost, Path: base + "/messages", Handler: c.signed(c.postMessages), Summary: "Messages of customers, signed; answered when all are durable."},
		{Method: fasthttp.MethodPost, Path: base + "/receipts", Handler: c.signed(c.postReceipts), Summary: "What became of messages that were sent, signed."},
	}
}

// signed lets a request with a valid signature through.
func (c *Channel) signed(next func(*fasthttp.RequestCtx, []byte)) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if c.life.Err() != nil {
			problem.WriteError(ctx, adapters.ErrUnavailable)
			return
		}
		body := ctx.Request.Body()
		if !c.in.verify(ctx.Request.Header.Peek(hook.HeaderTimestamp), ctx.Request.Header.Peek(hook.HeaderSignature), body) {
			problem.Write(ctx, fasthttp.StatusUnauthorized, problem.CodeUnauthenticated,
				"The signature is missing, wrong, or older than the channel allows. Sign the raw body and the time of now.")
			return
		}
		next(ctx, body)
	}
}

// Close breaks running sends and waits for them.
func (c *Channel) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.sending.Wait()
	c.client.CloseIdleConnections()
	return nil
}

// enter counts a send in; false when the channel is closed.
func (c *Channel) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.sending.Add(1)
	return true
}

// dialError says that there was no connection: nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connecting: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func (c *Channel) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := c.deps.Dial(ctx, network, addr)
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}
