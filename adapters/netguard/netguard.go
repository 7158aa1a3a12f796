// Package netguard is the dialer for addresses that come from configuration or from outside. It looks at the resolved
// IP address in the moment of connecting, so a name that resolves differently the second time gains nothing, and
// refuses every address that is not a public unicast one unless the operator allowed it.
package netguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrDenied is wrapped by the error of a dial that the guard refused.
var ErrDenied = errors.New("the address is not allowed")

// Guard dials with a check. It is safe for concurrent use and holds no state.
type Guard struct {
	allow  []netip.Prefix
	dialer net.Dialer
}

// New returns a guard that lets public addresses pass and, beside them, those in allow. Prefixes of IPv4 are compared
// with the IPv4 form of an address, however it was written.
func New(allow []netip.Prefix) *Guard {
	g := &Guard{allow: slices.Clone(allow)}
	g.dialer = net.Dialer{
		Timeout:        10 * time.Second,
		ControlContext: g.control,
	}
	return g
}

// Dial connects to addr ("host:port") over network, "tcp", "tcp4" or "tcp6". A refused address is an error that wraps
// ErrDenied.
func (g *Guard) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil, fmt.Errorf("dialling over %s: %w", network, ErrDenied)
	}
	return g.dialer.DialContext(ctx, network, addr)
}

func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the resolved address: %w", ErrDenied)
	}
	if !g.Allowed(ap.Addr()) {
		return fmt.Errorf("connecting over %s: %w", network, ErrDenied)
	}
	return nil
}

// Allowed reports whether the guard lets a connection to ip pass. An IPv6 address that carries an IPv4 address
// (mapped, NAT64, 6to4) is judged by both.
func (g *Guard) Allowed(ip netip.Addr) bool {
	if !ip.IsValid() {
		return false
	}
	ip = ip.WithZone("").Unmap()
	for _, p := range g.allow {
		if p.Contains(ip) {
			return true
		}
	}
	if inner, ok := embedded(ip); ok {
		return g.Allowed(inner)
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, p := range reserved {
		if p.Contains(ip) {
			return false
		}
	}
	return true
}

// reserved holds what netip does not class by itself: shared, benchmarking, documentation and other special ranges of
// the IANA registries, IPv4 first.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("5f00::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address inside a NAT64 (last four bytes) or a 6to4 (bytes 2 to 5) address.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	switch b := ip.As16(); {
	case ip.Is4():
		return netip.Addr{}, false
	case nat64.Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixTo4.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
