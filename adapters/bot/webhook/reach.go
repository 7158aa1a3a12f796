package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"turnout/adapters"
	"turnout/adapters/netguard"
)

var _ adapters.Reacher = (*Bot)(nil)

// Reach implements adapters.Reacher.
func (b *Bot) Reach(ctx context.Context) error {
	conn, err := b.dial(ctx, "tcp", b.to.addr)
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return fmt.Errorf("url: the address is private or reserved; if the bot is really there, add its network to limits.allow_networks: %w", netguard.ErrDenied)
	case err != nil:
		return fmt.Errorf("url: the server cannot be reached: %w", err)
	}
	defer conn.Close()
	if !b.to.tls {
		return nil
	}
	host, _, err := net.SplitHostPort(b.to.addr)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if err := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("url: the server is there, but the TLS handshake fails: %w", err)
	}
	return nil
}
