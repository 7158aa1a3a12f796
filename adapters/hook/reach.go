package hook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"

	"turnout/adapters/netguard"
)

// Address is the host and port that an endpoint's server listens on, and whether it speaks TLS.
func Address(u *url.URL) (addr string, secure bool) {
	secure = u.Scheme == "https"
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[secure]
	}
	return net.JoinHostPort(u.Hostname(), port), secure
}

// Reach connects to a server, with TLS where it speaks that, and hangs up: adapters.Reacher for an adapter whose section has
// the server's URL as url.
func Reach(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), addr string, secure bool) error {
	conn, err := dial(ctx, "tcp", addr)
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return fmt.Errorf("url: the address is private or reserved; if the bot is really there, add its network to limits.allow_networks: %w", netguard.ErrDenied)
	case err != nil:
		return fmt.Errorf("url: the server cannot be reached: %w", err)
	}
	defer conn.Close()
	if !secure {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if err := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("url: the server is there, but the TLS handshake fails: %w", err)
	}
	return nil
}
