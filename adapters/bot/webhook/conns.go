package webhook

import (
	"context"
	"net"
	"time"
)

// connect is the client's dial: guarded, within the call's time, and remembered so that Close can end it.
func (b *Bot) connect(addr string, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		timeout = b.cfg.Timeout
	}
	ctx, cancel := context.WithTimeout(b.life, timeout)
	defer cancel()
	conn, err := b.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		_ = conn.Close()
		return nil, errClosed
	}
	b.conns[conn] = struct{}{}
	return &heldConn{Conn: conn, bot: b}, nil
}

// heldConn forgets itself when it is closed.
type heldConn struct {
	net.Conn
	bot *Bot
}

func (c *heldConn) Close() error {
	c.bot.mu.Lock()
	delete(c.bot.conns, c.Conn)
	c.bot.mu.Unlock()
	return c.Conn.Close()
}

// enter counts a call in, unless the bot is closed.
func (b *Bot) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.running.Add(1)
	return true
}

// Close breaks running calls and waits for them to notice. What remains is the client's own janitor, which ends by
// itself within two seconds.
func (b *Bot) Close() error {
	b.mu.Lock()
	b.closed = true
	for conn := range b.conns {
		_ = conn.Close()
	}
	b.mu.Unlock()
	b.end()
	b.client.CloseIdleConnections()
	b.running.Wait()
	b.crew.Close()
	b.client.CloseIdleConnections()
	return nil
}
