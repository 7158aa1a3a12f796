package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// lane is a client with one connection, for one call at a time.
type lane struct {
	bot    *Bot
	client *fasthttp.HostClient

	mu   sync.Mutex
	ctx  context.Context // of the call; nil between calls
	conn net.Conn
}

func (b *Bot) newLane() *lane {
	l := &lane{bot: b}
	l.client = &fasthttp.HostClient{
		Addr: b.to.addr, IsTLS: b.to.tls, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		Name: "turnout", NoDefaultUserAgentHeader: true,
		DialTimeout:               l.connect,
		MaxConns:                  1,
		MaxIdleConnDuration:       idleConn,
		MaxIdemponentCallAttempts: 1,
		ReadTimeout:               b.cfg.Timeout,
		WriteTimeout:              b.cfg.Timeout,
		MaxResponseBodySize:       b.cfg.MaxResponse,
		SecureErrorLogMessage:     true,
		DisablePathNormalizing:    true,
	}
	return l
}

var errPanic = errors.New("the client panicked")

// do makes one attempt. When ctx ends, the connection is closed under it.
func (l *lane) do(ctx context.Context, req *fasthttp.Request, resp *fasthttp.Response) (err error) {
	l.mu.Lock()
	l.ctx = ctx
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.cut(ctx) })
	defer func() {
		stop()
		l.mu.Lock()
		l.ctx = nil // a late cut-off finds that the call is over
		l.mu.Unlock()
		if recover() != nil {
			err = errPanic
		}
	}()
	return l.client.Do(req, resp)
}

// cut closes the connection of the call with that context, if the call still runs.
func (l *lane) cut(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == ctx && l.conn != nil {
		_ = l.conn.Close()
	}
}

// connect is the client's dial: guarded, and within the call's time.
func (l *lane) connect(addr string, timeout time.Duration) (net.Conn, error) {
	l.mu.Lock()
	ctx := l.ctx
	l.mu.Unlock()
	if ctx == nil {
		return nil, errClosed
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	conn, err := l.bot.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil || l.ctx.Err() != nil || l.bot.life.Err() != nil {
		_ = conn.Close()
		return nil, errClosed
	}
	l.conn = conn
	return conn, nil
}

// enter counts a call in and gives it a lane; nil when the bot is closed.
func (b *Bot) enter() *lane {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.running.Add(1)
	if n := len(b.free); n > 0 {
		l := b.free[n-1]
		b.free = b.free[:n-1]
		return l
	}
	l := b.newLane()
	b.lanes[l] = struct{}{}
	return l
}

func (b *Bot) leave(l *lane) {
	b.mu.Lock()
	b.free = append(b.free, l)
	b.mu.Unlock()
	b.running.Done()
}

// Close breaks running calls and waits for them to notice. What remains are the clients' own janitors, which end by
// themselves within two seconds.
func (b *Bot) Close() error {
	b.mu.Lock()
	b.closed = true
	lanes := b.lanes
	b.lanes = nil
	b.mu.Unlock()
	b.end()
	for l := range lanes {
		l.mu.Lock()
		if l.conn != nil {
			_ = l.conn.Close()
		}
		l.mu.Unlock()
	}
	b.running.Wait()
	for l := range lanes {
		l.client.CloseIdleConnections()
	}
	return nil
}
