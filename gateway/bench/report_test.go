package bench

import (
	"strings"
	"testing"
)

func TestReportText(t *testing.T) {
	r := newReport(Options{Rounds: 2, Connections: 3, Conversations: 4})
	r.Disk = Disk{Dir: "/mem", InMemory: true, MedianUS: 120, P99US: 3400}
	r.LeftOut = []LeftOut{{Name: Nginx, Reason: "it is not installed"}}
	cell := func(cpu float64) []Cell { return []Cell{{TurnsPerSecond: 100, CPU: cpu}} }
	r.Peers = []PeerPart{summarize(Gateway, cell(30), cell(10)), summarize(NetHTTP, cell(40), nil)}
	r.Log = &Log{Conversations: 4, Messages: 9, Answers: 8, Lost: 1, Faults: []string{"the answer of x is lost"}}
	for _, want := range []string{
		"LIES IN MEMORY", "LEFT OUT      nginx: it is not installed", "median 120 µs, p99 3400 µs", "30.0 (30.0..30.0)",
		"3.00 (3.00..3.00)", "0.75 times the CPU of net/http's ReverseProxy: below it", "9 acknowledged messages and 8 answers, 1 lost",
		"the answer of x is lost",
	} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, r.String())
		}
	}
	r.Peers[0] = summarize(Gateway, cell(41), nil)
	if !strings.Contains(r.String(), "ABOVE it") {
		t.Errorf("the report does not say that the gateway is above:\n%s", r.String())
	}
}
