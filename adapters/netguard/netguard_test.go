package netguard_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"turnout/adapters/netguard"
)

func TestAllowed(t *testing.T) {
	g := netguard.New(nil)
	for ip, want := range map[string]bool{
		"1.1.1.1":                true,
		"8.8.8.8":                true,
		"2606:4700:4700::1111":   true,
		"::ffff:1.1.1.1":         true,
		"64:ff9b::101:101":       true,
		"2002:101:101::":         true,
		"127.0.0.1":              false,
		"127.255.255.254":        false,
		"0.0.0.0":                false,
		"0.1.2.3":                false,
		"10.0.0.1":               false,
		"172.16.0.1":             false,
		"172.32.0.1":             true,
		"192.168.1.1":            false,
		"169.254.169.254":        false,
		"100.64.0.1":             false,
		"100.128.0.1":            true,
		"192.0.0.8":              false,
		"198.18.0.1":             false,
		"203.0.113.9":            false,
		"224.0.0.1":              false,
		"240.0.0.1":              false,
		"255.255.255.255":        false,
		"::":                     false,
		"::1":                    false,
		"::7f00:1":               false,
		"::ffff:127.0.0.1":       false,
		"::ffff:169.254.169.254": false,
		"64:ff9b::7f00:1":        false,
		"64:ff9b::a9fe:a9fe":     false,
		"64:ff9b:1::1":           false,
		"2002:7f00:1::":          false,
		"2001::1":                false,
		"fc00::1":                false,
		"fd12:3456::1":           false,
		"fe80::1":                false,
		"fe80::1%eth0":           false,
		"fec0::1":                false,
		"ff02::1":                false,
		"2001:db8::1":            false,
	} {
		if got := g.Allowed(netip.MustParseAddr(ip)); got != want {
			t.Errorf("Allowed(%s) = %v, want %v", ip, got, want)
		}
	}
	if g.Allowed(netip.Addr{}) {
		t.Error("the zero address is allowed")
	}
}

func TestAllowList(t *testing.T) {
	g := netguard.New([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")})
	for ip, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::a01:203": true,
		"10.2.0.1": false, "::1": true, "127.0.0.1": false,
	} {
		if got := g.Allowed(netip.MustParseAddr(ip)); got != want {
			t.Errorf("Allowed(%s) = %v, want %v", ip, got, want)
		}
	}
}

func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	if _, err := netguard.New(nil).Dial(context.Background(), "tcp", l.Addr().String()); !errors.Is(err, netguard.ErrDenied) {
		t.Errorf("loopback without an allow list: %v, want ErrDenied", err)
	}
	// "localhost" resolves only inside the dialer: the check sees the address, not the name.
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if _, err := netguard.New(nil).Dial(context.Background(), "tcp", net.JoinHostPort("localhost", port)); !errors.Is(err, netguard.ErrDenied) {
		t.Errorf("a name of loopback: %v, want ErrDenied", err)
	}
	if _, err := netguard.New(nil).Dial(context.Background(), "unix", "/nowhere"); !errors.Is(err, netguard.ErrDenied) {
		t.Errorf("a unix socket: %v, want ErrDenied", err)
	}
	conn, err := netguard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}).Dial(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("loopback with an allow list: %v", err)
	}
	conn.Close()
}

// FuzzAllowed holds the guard against the classes that the standard library knows and against its own answer for the
// other spellings of the same address.
func FuzzAllowed(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::1", "8.8.8.8", "fe80::1", "64:ff9b::a00:1", "2002:a00:1::"} {
		f.Add(netip.MustParseAddr(s).AsSlice())
	}
	g := netguard.New(nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		ip, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		u := ip.Unmap()
		got := g.Allowed(ip)
		if got && (u.IsLoopback() || u.IsPrivate() || u.IsLinkLocalUnicast() || u.IsMulticast() || u.IsUnspecified()) {
			t.Errorf("%v is allowed", ip)
		}
		if g.Allowed(u) != got {
			t.Errorf("%v and %v are judged differently", ip, u)
		}
		if u.Is4() {
			a := u.As4()
			for _, in := range []netip.Addr{
				netip.AddrFrom16(u.As16()),
				netip.AddrFrom16([16]byte{0: 0, 1: 0x64, 2: 0xff, 3: 0x9b, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}),
			} {
				if g.Allowed(in) != got {
					t.Errorf("%v and %v are judged differently", u, in)
				}
			}
		}
	})
}
