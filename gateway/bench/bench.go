// Package bench measures what a turn costs: an echo bot behind the gateway (durable, encrypted, audited, with 100
// rules), and the same bot behind proxies that do nothing but pass bytes on.
//
// Each side is a process of its own, so the CPU time of each can be told apart; the load comes from the process that
// calls Run. The sides take turns: round by round each is loaded for the same time by the same number of connections
// with requests of the same size, so what disturbs the machine disturbs all of them. Figures are medians over rounds,
// ratios are taken within a round against the bare fasthttp proxy.
//
// A turn of the gateway counts only when the response holds the bot's answer to exactly that message. After the rounds
// the gateway is killed, started again, and every conversation is read back through the web API: an acknowledged
// message or answer that is not there makes Run fail. Nothing fails on account of time.
//
//	run.go        the order of things         sides.go   what is started
//	load.go       one side under load         words.go   what is said
//	gateway.go    the gateway and its files   mix.go     its rules
//	peer.go       echo bot and proxies        nginx.go   nginx
//	durable.go    a proxy with a journal
//	readback.go   what the log holds          report.go  what comes out of it
//	budget.go     where the time goes         growth.go  with many conversations
//	redis.go, redisserver.go   nodes that share a Redis server   model.go  what a load needs of them
//	process.go, proc.go, disk.go, system_*.go   the machine
package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The sides that can be measured.
const (
	Gateway  = "gateway"
	FastHTTP = "fasthttp" // a bare fasthttp proxy: the measure of the others
	Durable  = "durable"  // the same with both sides of the exchange on the disk: the least that durability takes
	NetHTTP  = "nethttp"  // net/http/httputil.ReverseProxy
	Nginx    = "nginx"
)

// Peers lists the sides in the order in which they are loaded.
func Peers() []string { return []string{Gateway, FastHTTP, Durable, NetHTTP, Nginx} }

// Options say what is measured and how. The zero value of a field means its default.
type Options struct {
	// Turnout is the program that is run as the gateway ("serve --config FILE") and as the peers ("bench-peer KIND
	// [UPSTREAM [FOLDER]]", which calls Peer). The default is the running program.
	Turnout string
	// Rounds (5) is how often each side is loaded, Round (3 s) for how long, after a Warmup (1 s) of each.
	Rounds int
	Round  time.Duration
	Warmup time.Duration
	// Connections (64) are open at a time. Each owns its share of the Conversations (1,000), so no conversation ever
	// has two turns at once.
	Connections   int
	Conversations int
	// Peers are the sides to measure, all of Peers() by default.
	Peers []string
	// Dir is the folder in which a folder for this run is made. It should lie on the disk whose durability is to be
	// paid for; the default is the system's folder for temporary files.
	Dir string
	// Keep leaves the run's folder behind. It is always left when the log lost something.
	Keep bool
	// Progress is told what is going on, line by line; nil for nothing.
	Progress io.Writer
}

func (o Options) withDefaults() (Options, error) {
	fill(&o.Rounds, 5)
	fill(&o.Round, 3*time.Second)
	fill(&o.Warmup, time.Second)
	fill(&o.Connections, 64)
	fill(&o.Conversations, 1000)
	if len(o.Peers) == 0 {
		o.Peers = Peers()
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.Rounds > 0 && o.Round > 0 && o.Warmup > 0, "rounds, their length and the warm-up must be more than 0")
	check(o.Connections > 0 && o.Connections <= 4096, "connections must lie between 1 and 4096")
	check(o.Conversations >= o.Connections && o.Conversations <= maxVisitors,
		"conversations must lie between the number of connections, %d, and %d", o.Connections, maxVisitors)
	for i, p := range o.Peers {
		check(slices.Contains(Peers(), p), "unknown peer %q; there are %s", p, strings.Join(Peers(), ", "))
		check(!slices.Contains(o.Peers[:i], p), "the peer %q is named twice", p)
	}
	return o, errors.Join(errs...)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) say(format string, args ...any) { fmt.Fprintf(o.Progress, format+"\n", args...) }
