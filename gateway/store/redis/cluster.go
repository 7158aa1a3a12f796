package redis

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

// cluster finds the servers of a Redis Cluster. The client knows which primary has which slots and learns it anew when it
// is told to; it never runs a pipeline of its own: that would send WAIT, which has no key, to any server, where it confirms
// nothing.
type cluster struct {
	client *goredis.ClusterClient
	open   func(addr string) *goredis.Client
	tls    bool

	mu     sync.Mutex
	direct map[string]*goredis.Client // by address, those that a server has sent us to
	closed bool
}

// mostDirect bounds the clients that are kept for redirections: a cluster whose servers come and go has ever new addresses.
const mostDirect = 256

func newCluster(o Options, connected func(context.Context, *goredis.Conn) error) *cluster {
	return &cluster{
		client: goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: o.Cluster, Username: o.Username, Password: o.Password, TLSConfig: o.TLS,
			MaxRetries: -1, MaxRedirects: -1, DialerRetries: 1, DialTimeout: dialTimeout, ReadTimeout: readTimeout, WriteTimeout: readTimeout,
			ContextTimeoutEnabled: true, DisableIdentity: true, Protocol: 2,
			OnConnect: connected,
		}),
		tls:    o.TLS != nil,
		open:   func(addr string) *goredis.Client { return goredis.NewClient(clientOptions(o, addr, connected)) },
		direct: map[string]*goredis.Client{},
	}
}

// serverOf returns the server to which a command goes: where it has been sent, or the primary of its key's slot.
func (c *cluster) serverOf(ctx context.Context, s *sent) (*goredis.Client, error) {
	switch {
	case s.pinned != nil:
		return s.pinned, nil
	case s.to != "":
		return c.at(s.to)
	}
	key := keyOf(s.cmd)
	if key == "" {
		return nil, errors.New("redis: " + s.cmd.Name() + " has no key by which to find its server")
	}
	to, err := c.client.MasterForKey(ctx, key)
	if err != nil { // no server told where the slots are; nothing was sent
		return nil, &outcomeError{store.ErrUnavailable, err}
	}
	return to, nil
}

// at returns a client of the server at an address.
func (c *cluster) at(addr string) (*goredis.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &outcomeError{store.ErrUnavailable, errClosed}
	}
	to := c.direct[addr]
	if to == nil {
		if len(c.direct) >= mostDirect {
			for old, client := range c.direct {
				_ = client.Close() // who uses it now tries again
				delete(c.direct, old)
			}
		}
		to = c.open(addr)
		c.direct[addr] = to
	}
	return to, nil
}

// redirected notes what a refusal, or a broken connection, says of where a command belongs.
func (c *cluster) redirected(ctx context.Context, s *sent, from *goredis.Client, err error) {
	if addr, ok := goredis.IsAskError(err); ok {
		s.to, s.asking = complete(addr, from), true
		return
	}
	if addr, ok := goredis.IsMovedError(err); ok {
		s.to = complete(addr, from)
	} else if isAnswer(err) && !goredis.IsReadOnlyError(err) && !goredis.IsClusterDownError(err) && !goredis.IsMasterDownError(err) {
		return
	}
	c.client.ReloadState(ctx) // in the background, and not more often than each 200 ms
}

// complete puts in the host of the server that has sent us, where it names none: then it is its own.
func complete(addr string, from *goredis.Client) string {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		if host, _, err := net.SplitHostPort(from.Options().Addr); err == nil {
			return net.JoinHostPort(host, port)
		}
	}
	return addr
}

// keyOf is the key by which a command finds its server: the first, as all of one command lie in one slot. It is empty for a
// command that is meant for a server and not for a key.
func keyOf(cmd goredis.Cmder) string {
	at := 1
	switch strings.ToLower(cmd.Name()) {
	case "evalsha":
		at = 3
	case "info", "time", "config", "role", "bgsave", "bgrewriteaof", "cluster", "wait":
		return ""
	}
	args := cmd.Args()
	if len(args) <= at {
		return ""
	}
	key, _ := args[at].(string)
	return key
}

func (c *cluster) close() error {
	err := c.client.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, to := range c.direct {
		err = errors.Join(err, to.Close())
	}
	return err
}
