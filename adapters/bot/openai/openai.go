// Package openai puts turns to a server that speaks the chat completions protocol: OpenAI itself, or one of the many that
// speak like it, in the cloud or beside the gateway.
//
// The server keeps nothing: each call brings the system prompt and what was said before, as the log has it. The answer may
// be streamed to the bot, so that a server that falls silent is noticed long before the whole answer is due, but a Reply is
// whole: nothing of it is seen before its end. One Reply is one attempt. While a server has said that it wants to be left
// alone (Retry-After), Reply fails at once without a call.
//
// Other bots call over fasthttp. This one calls over net/http: its responses are read as they come, its calls end with their
// context, and it speaks HTTP/2, by which one connection serves the many slow calls that models make. The guard against
// addresses and the bound on responses are the same.
package openai

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/netguard"
	"turnout/adapters/traceparent"
	"turnout/adapters/wire/openai"
)

const (
	// idleConn is shorter than what common servers keep an idle connection for, so that a call does not meet one that its
	// server is about to close.
	idleConn = 4 * time.Second
	rawBytes = 64 << 10 // of Answer.Raw, and of what is read of a response that is no success
	// longestRest bounds how long a server is left alone because it said so.
	longestRest = 5 * time.Minute
	// drain is how long the end of a response may take after the end of the answer, so that its connection can be used again.
	drain = 100 * time.Millisecond
)

// Bot is one model behind a URL. It is safe for concurrent use.
type Bot struct {
	cfg     Config
	uri     string
	addr    string
	secure  bool
	headers []hook.Header
	facts   []fact
	now     func() time.Time
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	client  *http.Client
	rests   atomic.Int64 // until then the server is left alone, in nanoseconds since 1970

	life    context.Context // ends with Close
	end     context.CancelCauseFunc
	mu      sync.Mutex // guards closed and the beginning of calls
	closed  bool
	running sync.WaitGroup // calls
}

var (
	_ adapters.Bot        = (*Bot)(nil)
	_ adapters.Prompt     = (*Bot)(nil)
	_ adapters.Reacher    = (*Bot)(nil)
	_ adapters.Rememberer = (*Bot)(nil)
)

var (
	errClosed = errors.New("the bot is closed")
	errIdle   = errors.New("nothing of the answer came for too long")
)

// New builds a bot from its section. It opens no connection. Errors of expressions name the field and the place in it.
func New(spec adapters.Spec, d adapters.Deps) (adapters.Bot, error) {
	var cfg Config
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding openai bot: %w", err)
	}
	to, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("checking openai bot: %w", err)
	}
	b := &Bot{cfg: cfg, uri: to.JoinPath(path).String(), now: d.Now, dial: d.Dial}
	b.addr, b.secure = hook.Address(to)
	own := []string{"accept", "user-agent", traceparent.Header}
	if cfg.Key != "" {
		own = append(own, "authorization")
	}
	if b.headers, err = hook.Headers(cfg.Headers, d.Secret, own...); err != nil {
		return nil, fmt.Errorf("checking openai bot: %w", err)
	}
	if cfg.Key != "" {
		secret, err := d.Secret(cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("checking openai bot: key: %w", err)
		}
		b.headers = append(b.headers, hook.Header{Name: "Authorization", Value: "Bearer " + secret.Reveal()})
	}
	if b.facts, err = compileFacts(cfg.Facts); err != nil {
		return nil, fmt.Errorf("compiling openai bot: %w", err)
	}
	b.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            d.Dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxConnsPerHost:        cfg.MaxConns,
			MaxIdleConnsPerHost:    cfg.MaxConns,
			IdleConnTimeout:        idleConn,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	b.life, b.end = context.WithCancelCause(context.Background())
	return b, nil
}

// Prompt implements adapters.Prompt.
func (*Bot) Prompt() {}

// Reach implements adapters.Reacher.
func (b *Bot) Reach(ctx context.Context) error { return hook.Reach(ctx, b.dial, b.addr, b.secure) }

// Remembers implements adapters.Rememberer.
func (b *Bot) Remembers() adapters.Memory {
	h := b.cfg.History
	m := adapters.Memory{Messages: max(0, h.Messages), Bytes: h.Bytes}
	if h.Tokens > 0 {
		m.Bytes = min(m.Bytes, h.Tokens*bytesPerToken)
	}
	return m
}

// Reply implements adapters.Bot.
func (b *Bot) Reply(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
	if left := time.Duration(b.rests.Load() - b.now().UnixNano()); left > 0 {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotStatus, Status: http.StatusTooManyRequests, RetryAfter: left}
	}
	body, err := b.encode(&t)
	if err != nil {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotGarbage, Err: err}
	}
	if !b.enter() {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotUnreachable, Err: errClosed}
	}
	defer b.running.Done()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(b.life, func() { cut(errClosed) })()
	c := call{bot: b, idle: time.AfterFunc(b.cfg.Idle, func() { cut(errIdle) })}
	defer c.idle.Stop()
	a, err := c.make(ctx, &t, body)
	if err != nil {
		return adapters.Answer{Usage: a.Usage}, classify(ctx, err)
	}
	return a, nil
}

// enter counts a call in, unless the bot is closed.
func (b *Bot) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.running.Add(1)
	}
	return !b.closed
}

// Close ends running calls and waits for them.
func (b *Bot) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.end(errClosed)
	b.running.Wait()
	b.client.CloseIdleConnections()
	return nil
}

// call is one attempt.
type call struct {
	bot  *Bot
	idle *time.Timer // ends the call; set anew by whatever comes
	raw  []byte
}

func (c *call) make(ctx context.Context, t *adapters.Turn, body []byte) (adapters.Answer, error) {
	var asked atomic.Bool // the server has, or may have, what it is asked
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(w httptrace.WroteRequestInfo) {
		asked.Store(asked.Load() || w.Err == nil)
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.bot.uri, bytes.NewReader(body))
	if err != nil {
		return adapters.Answer{}, &adapters.BotError{Kind: adapters.BotGarbage, Err: errEncoding}
	}
	c.bot.fill(req, t)
	resp, err := c.bot.client.Do(req)
	switch {
	case err != nil && asked.Load():
		return adapters.Answer{Usage: usage(&openai.Reply{}, len(body))}, err
	case err != nil:
		return adapters.Answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(resp)
	}
	if resp.Header.Get("Content-Encoding") != "" {
		return adapters.Answer{Usage: usage(&openai.Reply{}, len(body))}, garbage("the response is compressed, which was not asked for")
	}
	r, err := c.read(resp.Body)
	if err != nil {
		return adapters.Answer{Usage: usage(&r, len(body))}, err
	}
	a, err := answer(&r)
	a.Raw = c.raw
	a.Usage = usage(&r, len(body))
	return a, err
}

func (b *Bot) fill(req *http.Request, t *adapters.Turn) {
	h := req.Header
	for _, x := range b.headers {
		h.Set(x.Name, x.Value)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	if *b.cfg.Stream {
		h.Set("Accept", "text/event-stream, application/json")
	}
	h.Set("User-Agent", "turnout")
	// In its usual spelling this header makes net/http repeat a request on a connection that broke after it was sent.
	h["idempotency-key"] = []string{t.ID}
	h.Set("X-Turnout-Attempt", strconv.Itoa(max(t.Attempt, 1)))
	if n := len(t.Messages); n > 0 {
		if trace := traceparent.Parent(t.Messages[n-1].Trace).Child(t.ID); trace != "" {
			h.Set(traceparent.Header, trace)
		}
	}
}

// refused makes an error of a response that is no success, but for one: that the filter stopped what was asked.
func (c *call) refused(resp *http.Response) (adapters.Answer, error) {
	e := &adapters.BotError{Kind: adapters.BotStatus, Status: resp.StatusCode}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		now := c.bot.now()
		if e.RetryAfter = min(hook.RetryAfter(resp.Header.Get("Retry-After"), now), longestRest); e.RetryAfter > 0 {
			c.bot.rests.Store(now.Add(e.RetryAfter).UnixNano())
		}
	}
	if resp.StatusCode != http.StatusBadRequest {
		return adapters.Answer{}, e
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, rawBytes))
	if err != nil {
		return adapters.Answer{}, e
	}
	said := (*openai.Error)(nil)
	if _, err := openai.DecodeReply(body); errors.As(err, &said) && said.Type == openai.FinishFilter {
		return answer(&openai.Reply{Finish: openai.FinishFilter})
	}
	if said != nil {
		e.Err = said
	}
	return adapters.Answer{}, e
}

// usage is what the server says that a call cost; where it says nothing, about what it must have been. A call that broke off
// has cost what was asked, and what came of the answer: whether its server went on writing nobody knows.
func usage(r *openai.Reply, asked int) *adapters.Usage {
	if u := r.Usage; u != nil {
		return &adapters.Usage{Prompt: u.Prompt, Answer: u.Completion}
	}
	said := len(r.Text) + len(r.Refusal)
	for _, c := range r.Calls {
		said += len(c.Name) + len(c.Arguments)
	}
	return &adapters.Usage{Prompt: int64(asked / bytesPerToken), Answer: int64(said / bytesPerToken)}
}

// classify says how a call failed. The texts of the client's errors can hold the URL and bytes of the response: only those
// about connections are kept.
func classify(ctx context.Context, err error) *adapters.BotError {
	var known *adapters.BotError
	var said *openai.Error
	var op *net.OpError
	cause := context.Cause(ctx)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &said):
		return &adapters.BotError{Kind: adapters.BotStatus, Status: said.Status, Err: said}
	case errors.Is(cause, errClosed):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errClosed}
	case ctx.Err() != nil:
		return &adapters.BotError{Kind: adapters.BotTimeout, Err: cause}
	case errors.Is(err, netguard.ErrDenied):
		return &adapters.BotError{Kind: adapters.BotRefused, Err: netguard.ErrDenied}
	case errors.Is(err, openai.ErrMalformed):
		return &adapters.BotError{Kind: adapters.BotGarbage, Err: err}
	case errors.Is(err, openai.ErrCut), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errors.New("the connection broke before the whole response")}
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errors.New("the TLS handshake failed")}
	case errors.As(err, &op):
		return &adapters.BotError{Kind: adapters.BotUnreachable, Err: op}
	}
	return &adapters.BotError{Kind: adapters.BotUnreachable, Err: errors.New("the connection broke, or what came over it is not HTTP")}
}

func garbage(what string) *adapters.BotError {
	return &adapters.BotError{Kind: adapters.BotGarbage, Err: errors.New(what)}
}
