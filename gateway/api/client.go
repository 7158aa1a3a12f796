package api

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"
)

// personFactor is how much wider the limit of an address is for requests for a person: a limit may not keep a customer
// from one.
const personFactor = 5

// peers limits what one network address sends to the routes of channels. The zero figure is no limit.
type peers struct {
	usual, person *buckets // nil: no limit
	trusted       []netip.Prefix
}

func newPeers(perMinute int, trusted []netip.Prefix) *peers {
	p := &peers{trusted: trusted}
	if perMinute > 0 {
		perSecond, burst := float64(perMinute)/60, max(10, perMinute)
		p.usual, p.person = newBuckets(perSecond, burst), newBuckets(personFactor*perSecond, personFactor*burst)
	}
	return p
}

// allow counts a request to a route of a channel, or says how long to wait.
func (p *peers) allow(ctx *fasthttp.RequestCtx, r Route, now time.Time) (wait time.Duration, ok bool) {
	if p.usual == nil || r.Access != Channel || r.Method != fasthttp.MethodPost {
		return 0, true
	}
	b := p.usual
	if r.Person {
		b = p.person
	}
	return b.allow(p.client(ctx), now)
}

// client is the address that a request comes from, as limits count it: of IPv6 the network of 64 bits that one customer
// is given. What stands in X-Forwarded-For is believed as far as trusted proxies wrote it: from the right to the first
// address that is none of theirs. Everything further left may be the client's own invention.
func (p *peers) client(ctx *fasthttp.RequestCtx) string {
	addr, ok := netip.AddrFromSlice(ctx.RemoteIP())
	if !ok {
		return ""
	}
	addr = addr.Unmap()
	if len(p.trusted) > 0 {
		hops := bytes.Join(ctx.Request.Header.PeekAll(fasthttp.HeaderXForwardedFor), []byte(","))
		for p.trusts(addr) && len(hops) > 0 {
			i := bytes.LastIndexByte(hops, ',')
			hop, err := netip.ParseAddr(string(bytes.TrimSpace(hops[i+1:])))
			if err != nil {
				break // a proxy that hides its clients, or writes what is no address
			}
			addr, hops = hop.Unmap().WithZone(""), hops[:max(i, 0)]
		}
	}
	if addr.Is6() {
		network, err := addr.WithZone("").Prefix(64)
		if err == nil {
			return network.String()
		}
	}
	return addr.String()
}

func (p *peers) trusts(a netip.Addr) bool {
	for _, network := range p.trusted {
		if network.Contains(a) {
			return true
		}
	}
	return false
}
