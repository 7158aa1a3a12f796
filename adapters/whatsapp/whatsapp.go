// Package whatsapp is the channel for the WhatsApp Cloud API of Meta. A channel is one number of a business; the webhooks of
// many numbers, of many tenants, come in over one URL, that of a connection.
//
// It is a push channel: what is said goes through the outbox. The platform knows no idempotency key, so a call whose answer is
// lost is uncertain: what a bot said is said once more and marked, what an agent said is put to the agent. One part may take
// several calls, for it may be too long or have files; those that were taken are remembered until the last one is, so that a
// part that failed in the middle goes on there.
//
// A webhook is acknowledged when all that it holds is durable. What cannot be taken in now, because the store cannot write or
// a file cannot be fetched, fails the whole of it: the platform brings it again for days, and what has taken effect takes
// none a second time. What never can be, and what is nobody's, is acknowledged, counted and named in the log.
//
//	connection.go   the URL of an app: handshake, signature, whose an update is
//	receive.go      an update becomes a message or a report     media.go   files of customers
//	send.go         a part becomes calls                        graph.go   one call of the Graph API
package whatsapp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
)

// Channel is one number.
type Channel struct {
	deps     adapters.Deps
	cfg      Config
	graph    *url.URL
	token    string
	client   *http.Client
	life     context.Context
	end      context.CancelFunc
	accepted time.Duration // for the store to take one message

	mu      sync.Mutex // guards closed and the moment of running.Add
	closed  bool
	running sync.WaitGroup
	notices chan struct{} // bounds what tells customers that a message was read
	known   *recent
	partial *progress
}

var (
	_ adapters.Channel = (*Channel)(nil)
	_ adapters.Sender  = (*Channel)(nil)
	_ adapters.Member  = (*Channel)(nil)
	_ adapters.Reacher = (*Channel)(nil)
)

// New builds a channel from its section. It opens no connection.
func New(spec adapters.Spec, d adapters.Deps) (adapters.Channel, error) {
	var cfg Config
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding whatsapp channel: %w", err)
	}
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("checking whatsapp channel: %w", err)
	}
	cfg.within(d.Limits)
	c := &Channel{deps: d, cfg: cfg, accepted: 10 * time.Second, notices: make(chan struct{}, 64), known: newRecent(4096), partial: newProgress(4096)}
	var err error
	if c.graph, err = hook.ParseURL(cfg.Graph); err != nil {
		return nil, fmt.Errorf("checking whatsapp channel: graph: %w", err)
	}
	token, err := d.Secret(cfg.Token)
	if err != nil {
		return nil, fmt.Errorf("checking whatsapp channel: token: %w", err)
	}
	c.token = token.Reveal()
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: c.dial, MaxConnsPerHost: 2 * cfg.Concurrency, MaxIdleConnsPerHost: cfg.Concurrency,
			IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: cfg.Timeout, DisableCompression: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Routes implements adapters.Channel: what comes in comes over the connection.
func (c *Channel) Routes() []adapters.Route { return nil }

// Membership implements adapters.Member.
func (c *Channel) Membership() (connection, number string) { return c.cfg.Connection, c.cfg.Number }

// Reach implements adapters.Reacher.
func (c *Channel) Reach(ctx context.Context) error {
	addr, secure := hook.Address(c.graph)
	return hook.Reach(ctx, c.deps.Dial, addr, secure)
}

// Close breaks running calls and waits for them.
func (c *Channel) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.running.Wait()
	c.client.CloseIdleConnections()
	return nil
}

// enter counts a call in; false when the channel is closed.
func (c *Channel) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Add(1)
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
