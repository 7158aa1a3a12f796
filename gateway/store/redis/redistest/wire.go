package redistest

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Wire is a way to a server that a test can disturb. What comes in at Addr goes out to the server.
type Wire struct {
	t      testing.TB
	server *toxiproxy.ApiServer
	proxy  *toxiproxy.Proxy
}

// Before puts a wire in front of a server. It is torn down at the end of the test.
func Before(t testing.TB, s *Server) *Wire {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // the toxics have a log of their own
	w := &Wire{t: t, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	w.lay("127.0.0.1:0", s.Addr())
	t.Cleanup(func() { w.proxy.Stop() })
	return w
}

// lay begins a wire without a disturbance.
func (w *Wire) lay(from, to string) {
	w.t.Helper()
	w.proxy = toxiproxy.NewProxy(w.server, "redis", from, to)
	if err := w.proxy.Start(); err != nil {
		w.t.Fatalf("laying a wire to %s: %v", to, err)
	}
}

// Addr is where the wire begins.
func (w *Wire) Addr() string { return w.proxy.Listen }

func (w *Wire) port() string {
	_, port, _ := net.SplitHostPort(w.Addr())
	return port
}

// The directions of a wire, for Disturb.
const (
	ToServer   = "upstream"
	FromServer = "downstream"
)

// Disturb does something to what goes in one direction, until Mend: "latency", "bandwidth", "slow_close", "timeout",
// "reset_peer" or "slicer", with attributes as toxiproxy documents them
// (https://github.com/Shopify/toxiproxy#toxics).
func (w *Wire) Disturb(direction, kind string, attributes map[string]int) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"type": kind, "stream": direction, "attributes": attributes})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(string(body))); err != nil {
		w.t.Fatalf("disturbing a wire: %v", err)
	}
}

// Cut separates the two ends without a word to either: connections stay, and what is sent from now on never arrives, also
// after Mend.
func (w *Wire) Cut() {
	w.t.Helper()
	w.Disturb(ToServer, "timeout", map[string]int{"timeout": 0})
	w.Disturb(FromServer, "timeout", map[string]int{"timeout": 0})
}

// Mend ends all disturbances, and all connections with them: to take a toxic out of one that is under way can block
// (toxiproxy 2.5.0, while a slicer or a bandwidth holds a piece).
func (w *Wire) Mend() {
	w.t.Helper()
	w.proxy.Stop()
	w.lay(w.proxy.Listen, w.proxy.Upstream)
}

// Lead closes all connections and lets the wire lead to another server from now on.
func (w *Wire) Lead(to *Server) {
	w.t.Helper()
	w.proxy.Stop()
	w.lay(w.proxy.Listen, to.Addr())
}
