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
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// Before puts a wire in front of a server. It is torn down at the end of the test.
func Before(t testing.TB, s *Server) *Wire {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	w := &Wire{t: t, proxy: toxiproxy.NewProxy(server, "redis", "127.0.0.1:0", s.Addr())}
	if err := w.proxy.Start(); err != nil {
		t.Fatalf("putting a wire before %s: %v", s.Addr(), err)
	}
	t.Cleanup(func() {
		w.Mend() // one that holds bytes back would not let go of them
		w.proxy.Stop()
	})
	return w
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

// Mend ends all disturbances. Connections that have lost something are closed.
func (w *Wire) Mend() { w.proxy.Toxics.ResetToxics(w.t.Context()) }

// Lead closes all connections and lets the wire lead to another server from now on.
func (w *Wire) Lead(to *Server) {
	w.t.Helper()
	if err := w.proxy.Update(&toxiproxy.Proxy{Listen: w.proxy.Listen, Upstream: to.Addr(), Enabled: true}); err != nil {
		w.t.Fatalf("leading a wire to %s: %v", to.Addr(), err)
	}
}
