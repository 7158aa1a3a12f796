package api

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
)

func TestClientAddress(t *testing.T) {
	const proxy = "10.0.0.7"
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name   string
		trust  []netip.Prefix
		remote string
		header []string
		want   string
	}{
		{"direct", nil, "192.0.2.1", nil, "192.0.2.1"},
		{"nobody is trusted", nil, "192.0.2.1", []string{"198.51.100.9"}, "192.0.2.1"},
		{"a stranger invents", trusted, "192.0.2.1", []string{"198.51.100.9"}, "192.0.2.1"},
		{"a proxy says", trusted, proxy, []string{"192.0.2.1"}, "192.0.2.1"},
		{"a proxy passes on what a client invented", trusted, proxy, []string{"198.51.100.9, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", trusted, proxy, []string{"198.51.100.9,192.0.2.1 , 10.1.1.1"}, "192.0.2.1"},
		{"in two headers", trusted, proxy, []string{"198.51.100.9", "192.0.2.1", "10.1.1.1"}, "192.0.2.1"},
		{"only proxies", trusted, proxy, []string{"10.2.2.2, 10.1.1.1"}, "10.2.2.2"},
		{"no address", trusted, proxy, []string{"192.0.2.1, unknown"}, proxy},
		{"empty", trusted, proxy, []string{""}, proxy},
		{"IPv6 by its network", trusted, "fd00::1", []string{"2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64"},
		{"IPv4 within IPv6", trusted, proxy, []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
	} {
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.ParseIP(c.remote), Port: 4711}, nil)
		for _, h := range c.header {
			ctx.Request.Header.Add("X-Forwarded-For", h)
		}
		if got := newPeers(1, c.trust).client(&ctx); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func FuzzClient(f *testing.F) {
	for _, h := range []string{"192.0.2.1", "a, 10.0.0.1", ",,,", "[::1]:80", "fe80::1%eth0, 10.0.0.2"} {
		f.Add(h)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, header string) {
		var ctx fasthttp.RequestCtx
		ctx.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7)}, nil)
		ctx.Request.Header.Set("X-Forwarded-For", header)
		got := newPeers(1, trusted).client(&ctx)
		if _, err := netip.ParseAddr(got); err != nil {
			if _, err := netip.ParsePrefix(got); err != nil {
				t.Errorf("%q is no address", got)
			}
		}
		if plain := newPeers(1, nil).client(&ctx); plain != "10.0.0.7" {
			t.Errorf("without trust: %q", plain)
		}
	})
}

// TestAddressesAreLimited: one address sends to the channels as fast as allowed, and no faster; another address, other
// methods and the agents' own routes are not concerned, and a person can still be asked for.
func TestAddressesAreLimited(t *testing.T) {
	const perMinute = 20
	ok := func(ctx *fasthttp.RequestCtx) { ctx.SetStatusCode(fasthttp.StatusNoContent) }
	serve := func(limit int) *bench {
		return start(t, route("POST", "/say", ok), route("GET", "/say", ok), func(o *Options) {
			o.Routes = append(o.Routes, adapters.Route{Method: "POST", Path: "/human", Handler: ok, Person: true})
			o.Limits.PostsPerMinute = limit
			o.Limits.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		})
	}
	from := func(b *bench, address, method, path string) answer {
		return b.request(method, path, `{"text":"hello"}`, "X-Forwarded-For", address)
	}
	b := serve(perMinute)
	for range perMinute {
		b.want(204, "", from(b, "192.0.2.1", "POST", "/say"))
	}
	over := b.want(429, "rate_limited", from(b, "192.0.2.1", "POST", "/say"))
	if n, err := strconv.Atoi(over.header.Get("Retry-After")); err != nil || n < 1 || n > 60/perMinute {
		t.Errorf("Retry-After %q at one in %d s", over.header.Get("Retry-After"), 60/perMinute)
	}
	b.want(204, "", from(b, "192.0.2.2", "POST", "/say"))
	b.want(204, "", from(b, "192.0.2.1", "GET", "/say"))
	for range personFactor * perMinute {
		b.want(204, "", from(b, "192.0.2.1", "POST", "/human"))
	}
	b.want(429, "rate_limited", from(b, "192.0.2.1", "POST", "/human"))
	for range 2 * perMinute {
		b.want(200, "", b.as("acme/ann", "POST", "/v1/agent/presence", "", "X-Forwarded-For", "192.0.2.1"))
	}
	b.Clock.Add(time.Minute / perMinute)
	b.want(204, "", from(b, "192.0.2.1", "POST", "/say"))

	control := serve(0)
	for i := range 5 * perMinute {
		if a := from(control, "192.0.2.1", "POST", "/say"); a.status != 204 {
			t.Fatal(fmt.Sprint("without a limit request ", i, " got "), a.status)
		}
	}
}
