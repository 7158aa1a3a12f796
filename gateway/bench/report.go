package bench

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Report is what a run came to.
type Report struct {
	Load    Load       `json:"load"`
	Machine Machine    `json:"machine"`
	Disk    Disk       `json:"disk"`
	Peers   []PeerPart `json:"peers"`
	// LeftOut are peers that were asked for and could not be measured.
	LeftOut []LeftOut `json:"left_out,omitempty"`
	// Log is nil when the gateway was not measured.
	Log *Log `json:"log,omitempty"`
	// Budget is where the gateway's time goes; nil when it was not measured.
	Budget *Budget `json:"budget,omitempty"`
}

// Load is what was sent, and for how long.
type Load struct {
	// Unit says what is counted.
	Unit           string  `json:"unit"`
	Connections    int     `json:"connections"`
	Conversations  int     `json:"conversations"`
	MessageBytes   int     `json:"message_bytes"`
	ReplyBytes     int     `json:"reply_bytes"`
	CommitsPerTurn int     `json:"commits_per_turn"` // of the gateway
	Rules          int     `json:"rules"`            // of the gateway
	Rounds         int     `json:"rounds"`
	RoundSeconds   float64 `json:"round_seconds"`
}

// Machine is where it was measured.
type Machine struct {
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Arch   string `json:"arch"`
}

// LeftOut is a peer that was not measured.
type LeftOut struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// PeerPart is one side over all rounds. Its fields are named as in Cell.
type PeerPart struct {
	Name           string `json:"name"`
	Failed         int    `json:"failed"`
	TurnsPerSecond Spread `json:"turns_per_second"`
	CPU            Spread `json:"cpu_ms_per_1000"`
	BotCPU         Spread `json:"bot_cpu_ms_per_1000"`
	DriverCPU      Spread `json:"driver_cpu_ms_per_1000"`
	P50            Spread `json:"p50_ms"`
	P99            Spread `json:"p99_ms"`
	RSS            int64  `json:"rss_bytes"` // the most at the end of a round
	// The ratios are to the bare fasthttp proxy in the same round; nil when that was not measured.
	CPURatio  *Spread `json:"cpu_ratio,omitempty"`
	RateRatio *Spread `json:"turns_per_second_ratio,omitempty"`
	Rounds    []Cell  `json:"rounds"`
}

func newReport(o Options) Report {
	return Report{
		Load: Load{
			Unit:        "one turn: a customer's message in, the bot's answer in the response",
			Connections: o.Connections, Conversations: o.Conversations, MessageBytes: messageBytes, ReplyBytes: replyBytes,
			CommitsPerTurn: 2, Rules: rulesInMix, Rounds: o.Rounds, RoundSeconds: o.Round.Seconds(),
		},
		Machine: Machine{Cores: runtime.NumCPU(), Kernel: kernel(), Go: runtime.Version(), Arch: runtime.GOARCH},
	}
}

func cellCPU(c Cell) float64  { return c.CPU }
func cellRate(c Cell) float64 { return c.TurnsPerSecond }

// summarize brings a side's rounds together; base are those of the side that ratios are taken against, in the same order.
func summarize(name string, cells, base []Cell) PeerPart {
	p := PeerPart{
		Name: name, Rounds: cells,
		TurnsPerSecond: spreadBy(cells, cellRate), CPU: spreadBy(cells, cellCPU),
		BotCPU:    spreadBy(cells, func(c Cell) float64 { return c.BotCPU }),
		DriverCPU: spreadBy(cells, func(c Cell) float64 { return c.DriverCPU }),
		P50:       spreadBy(cells, func(c Cell) float64 { return c.P50 }),
		P99:       spreadBy(cells, func(c Cell) float64 { return c.P99 }),
	}
	for _, c := range cells {
		p.Failed += c.Failed
		p.RSS = max(p.RSS, c.RSS)
	}
	if len(base) > 0 {
		cpu, rate := ratios(cells, base, cellCPU), ratios(cells, base, cellRate)
		p.CPURatio, p.RateRatio = &cpu, &rate
	}
	return p
}

// String returns the report for people.
func (r Report) String() string {
	var b strings.Builder
	l, d := r.Load, r.Disk
	fmt.Fprintf(&b, "unit          %s\n", l.Unit)
	fmt.Fprintf(&b, "load          %d connections, %d conversations, messages of %d bytes, replies of %d bytes; %d rounds of %g s each\n",
		l.Connections, l.Conversations, l.MessageBytes, l.ReplyBytes, l.Rounds, l.RoundSeconds)
	fmt.Fprintf(&b, "gateway       %d commits a turn, durable, encrypted, audited; %d rules\n", l.CommitsPerTurn, l.Rules)
	fmt.Fprintf(&b, "machine       %d cores (%s), %s, %s\n", r.Machine.Cores, r.Machine.Arch, r.Machine.Kernel, r.Machine.Go)
	fmt.Fprintf(&b, "disk          %s\n", strings.ReplaceAll(d.String(), "\n", "\n              "))
	for _, out := range r.LeftOut {
		fmt.Fprintf(&b, "LEFT OUT      %s: %s\n", out.Name, out.Reason)
	}
	if len(r.Peers) > 0 {
		b.WriteString("\nMedians over the rounds, min..max behind them. CPU in ms per 1,000 turns; \"x\" is against the bare fasthttp proxy in the same round.\n\n")
		r.writeTable(&b)
		r.writeStanding(&b)
	}
	if r.Budget != nil {
		b.WriteString("\n")
		r.Budget.write(&b)
	}
	if r.Log != nil {
		b.WriteString("\n")
		r.Log.write(&b)
	}
	return b.String()
}

func (r Report) writeTable(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "side\tturns/s\tx\tCPU\tx\tbot CPU\tload CPU\tp50 ms\tp99 ms\tRSS MB\tfailed\t")
	for _, p := range r.Peers {
		fmt.Fprintf(t, "%s\t%.0f (%.0f..%.0f)\t%s\t%.1f (%.1f..%.1f)\t%s\t%.1f\t%.1f\t%.2f\t%.2f\t%d\t%d\t\n",
			p.Name, p.TurnsPerSecond.Median, p.TurnsPerSecond.Min, p.TurnsPerSecond.Max, ratio(p.RateRatio),
			p.CPU.Median, p.CPU.Min, p.CPU.Max, ratio(p.CPURatio),
			p.BotCPU.Median, p.DriverCPU.Median, p.P50.Median, p.P99.Median, p.RSS>>20, p.Failed)
	}
	// A strings.Builder takes everything.
	_ = t.Flush()
}

// writeStanding says how the gateway stands to the proxy that does nothing, by CPU: what it has to stay below.
func (r Report) writeStanding(w io.Writer) {
	cpu := map[string]float64{}
	for _, p := range r.Peers {
		cpu[p.Name] = p.CPU.Median
	}
	if cpu[Gateway] == 0 || cpu[NetHTTP] == 0 {
		return
	}
	standing := "below"
	if cpu[Gateway] >= cpu[NetHTTP] {
		standing = "ABOVE"
	}
	fmt.Fprintf(w, "\nA turn of the gateway takes %.2f times the CPU of net/http's ReverseProxy: %s it.\n", cpu[Gateway]/cpu[NetHTTP], standing)
}

func ratio(s *Spread) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f..%.2f)", s.Median, s.Min, s.Max)
}

func (l Log) write(w io.Writer) {
	fmt.Fprintf(w, "log           after kill -9 and a new start, %d conversations: %d acknowledged messages and %d answers, %d lost, %d twice\n",
		l.Conversations, l.Messages, l.Answers, l.Lost, l.Twice)
	if l.Unread > 0 {
		fmt.Fprintf(w, "              %d more conversations were not read after so many faults\n", l.Unread)
	}
	for _, f := range l.Faults {
		fmt.Fprintf(w, "              %s\n", f)
	}
}
