package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Budget is where the CPU time of a turn goes, by a profile of a gateway under the same load. It is a gateway of its own,
// started after the rounds, so that no figure pays for the profiler; its start is in the profile.
type Budget struct {
	Turns int `json:"turns"`
	// MicrosPerTurn is all of it, Steps the parts, in the order of a turn.
	MicrosPerTurn float64 `json:"us_per_turn"`
	Steps         []Step  `json:"steps"`
}

// Step is a part of the budget.
type Step struct {
	Name          string  `json:"name"`
	MicrosPerTurn float64 `json:"us_per_turn"`
	What          string  `json:"what"`
}

// step says which functions belong to a part: by the beginnings of their names, without the module's own path. A sample
// counts for the innermost function that belongs to any part, so what the runtime does on somebody's behalf (memory, maps,
// waiting for a lock) is paid by that one.
type step struct {
	name, what string
	functions  []string
}

const (
	ownModule = "turnout/"
	pebblePkg = "github.com/cockroachdb/pebble/v2"
	fasthttpP = "github.com/valyala/fasthttp."
)

var budgetSteps = []step{
	{"http", "requests in, responses out, routes and limits", []string{
		fasthttpP + "(*Server)", fasthttpP + "(*workerPool)", fasthttpP + "(*RequestHeader)", fasthttpP + "(*Request)", fasthttpP + "(*perIPConn)",
		"github.com/fasthttp/router", "gateway/api.", "adapters/web.(*Channel).Routes", "adapters/problem.",
	}},
	{"parse", "the body of a message", []string{"adapters/web.(*Channel).readInbound", "adapters/web.parse", "adapters/web.(*Channel).posted"}},
	{"token", "who writes", []string{"adapters/web.(*Channel).bearer", "adapters/web.tokens.", "adapters/web.readHead", "adapters/web.visitor."}},
	{"channel", "the rest of the web channel: its answer", []string{"adapters/web."}},
	{"dedupe", "whether the message and its sender are known", []string{
		"gateway/store/embedded.(*Store).Find", "gateway/store/embedded.(*Store).known", "gateway/store/embedded.(*write).unknown",
		"gateway/store/embedded.(*write).dedupe", "gateway/store/embedded.(*recent)", "gateway/store/embedded.(*generation", "gateway/store/embedded.(*filter)",
		"gateway/store/embedded.dedupe", "gateway/store/embedded.identityKey",
	}},
	{"rules", "signals and rules, of both sides", []string{"rules", "gateway/rulebook."}},
	{"decide", "the state machine and the way of a turn", []string{"gateway/pipeline.", "gateway/conversation.", "gateway/exchange.", "gateway/id.", "github.com/failsafe-go"}},
	{"bot", "the call of the bot", []string{"adapters/bot/", fasthttpP + "(*HostClient)", fasthttpP + "(*transport)", fasthttpP + "(*ResponseHeader)", fasthttpP + "(*Response)", "adapters/netguard."}},
	{"encode", "events, states and entries into bytes", []string{
		"gateway/jsonenc.", "gateway/conversation.(*Event).Append", "gateway/conversation.(*State).Append", "gateway/conversation.(*Event).encode",
		"gateway/conversation.(*State).encode", "gateway/conversation.encode", "gateway/audit.(*Entry)", "gateway/store/embedded.(*write).log", "gateway/store/embedded.(*write).state",
	}},
	{"encrypt", "AES-GCM under the conversation's key", []string{"gateway/store/seal.(*Content).Seal", "gateway/store/seal.box", "gateway/store/seal.(*entropy)", "crypto/internal/fips140/aes", "crypto/aes", "crypto/cipher"}},
	{"hash", "the audit chain, and keyed hashes", []string{"gateway/audit.", "gateway/store/seal.", "crypto/internal/fips140/sha256", "crypto/internal/fips140/hmac", "crypto/sha256", "crypto/hmac"}},
	{"commit", "compare and set, the group, the table in memory", []string{
		"gateway/store/embedded.", "gateway/store.", pebblePkg + ".", pebblePkg + "/internal/arenaskl", pebblePkg + "/batchrepr", pebblePkg + "/internal/base",
	}},
	{"write", "the write-ahead log and its syncs", []string{pebblePkg + "/record.", pebblePkg + "/wal."}},
	{"tables", "flushes and compactions behind it", []string{
		pebblePkg + ".(*DB).flush", pebblePkg + ".(*DB).compact", pebblePkg + ".(*DB).runCompaction", pebblePkg + "/sstable", pebblePkg + "/internal/compact",
		pebblePkg + "/objstorage", pebblePkg + ".(*DB).maybeSchedule", pebblePkg + "/internal/arenaskl.(*flushIterator)",
	}},
	{"collector", "garbage", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart"}},
	{"scheduler", "goroutines, timers, the network's readiness", []string{"runtime.mcall", "runtime.mstart", "runtime.schedule", "runtime.findRunnable", "runtime.goexit", "runtime.sysmon", "runtime.park_m"}},
}

const otherStep = "other"

// profiledRounds is how many rounds' time is profiled: a sample is taken every 10 ms of CPU time, so a short profile says
// little of small steps.
const profiledRounds = 3

// budget loads the gateway once more, with the profiler on, and reads the profile.
func (b *bench) budget(ctx context.Context) error {
	if b.gateway == nil {
		return nil
	}
	b.say("profiling a gateway for %v", profiledRounds*b.Round)
	dir := filepath.Join(b.dir, "profiled")
	if err := writeGateway(dir, b.bot); err != nil {
		return err
	}
	file := filepath.Join(dir, "cpu.pprof")
	p, addr, err := startGateway(ctx, b.Turnout, dir, "--cpu-profile", file)
	if err != nil {
		return fmt.Errorf("starting a gateway for its profile: %w", err)
	}
	b.keep(p)
	s := &side{name: Gateway, addr: addr, pid: p.pid()}
	if s.visitors, err = openSessions(ctx, addr, 0, b.Conversations); err != nil {
		return err
	}
	t, err := load{side: s, connections: b.Connections, length: profiledRounds * b.Round}.run(ctx)
	if err != nil {
		return err
	}
	p.stop()
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the gateway's profile: %w", err)
	}
	defer f.Close()
	spent, err := readBudget(f, len(t.latencies))
	if err != nil {
		return err
	}
	b.report.Budget = &spent
	return nil
}

// readBudget divides a CPU profile of so many turns into steps.
func readBudget(r io.Reader, turns int) (Budget, error) {
	p, err := profile.Parse(r)
	if err != nil {
		return Budget{}, fmt.Errorf("reading the gateway's profile: %w", err)
	}
	at := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" && t.Unit == "nanoseconds" })
	if at < 0 || turns == 0 {
		return Budget{}, fmt.Errorf("reading the gateway's profile: it holds no CPU time, or there were no turns")
	}
	spent := map[string]int64{}
	var all int64
	for _, s := range p.Sample {
		spent[stepOf(s)] += s.Value[at]
		all += s.Value[at]
	}
	perTurn := func(ns int64) float64 { return float64(ns) / 1e3 / float64(turns) }
	budget := Budget{Turns: turns, MicrosPerTurn: perTurn(all)}
	for _, st := range append(slices.Clone(budgetSteps), step{name: otherStep, what: "what is none of these"}) {
		budget.Steps = append(budget.Steps, Step{Name: st.name, MicrosPerTurn: perTurn(spent[st.name]), What: st.what})
	}
	return budget, nil
}

// stepOf is the part that a sample belongs to.
func stepOf(s *profile.Sample) string {
	for _, l := range s.Location {
		for _, line := range l.Line { // the innermost of what was inlined comes first
			if line.Function == nil {
				continue
			}
			if name := stepOfFunction(line.Function.Name); name != "" {
				return name
			}
		}
	}
	return otherStep
}

// stepOfFunction is the part that a function belongs to by the longest beginning of its name, "" for none.
func stepOfFunction(name string) (step string) {
	name = strings.TrimPrefix(name, ownModule)
	longest := 0
	for _, st := range budgetSteps {
		for _, f := range st.functions {
			if len(f) > longest && strings.HasPrefix(name, f) {
				step, longest = st.name, len(f)
			}
		}
	}
	return step
}

func (b Budget) write(w io.Writer) {
	fmt.Fprintf(w, "Where the %.0f µs of a turn go, by a profile of %d turns:\n\n", b.MicrosPerTurn, b.Turns)
	for _, s := range b.Steps {
		fmt.Fprintf(w, "%12s %7.1f µs %5.1f %%  %s\n", s.Name, s.MicrosPerTurn, 100*s.MicrosPerTurn/b.MicrosPerTurn, s.What)
	}
}
