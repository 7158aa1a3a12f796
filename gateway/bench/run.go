package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Run measures, and returns what came out. With ErrLog, and with any error after the rounds, the report is complete but
// for what the error says. Everything that it started has ended when it returns.
func Run(ctx context.Context, o Options) (_ Report, err error) {
	if o, err = o.withDefaults(); err != nil {
		return Report{}, err
	}
	b, err := newBench(o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = b.end(err) }()
	if b.report.Disk, err = MeasureDisk(b.dir); err != nil {
		return b.report, err
	}
	if err := b.start(ctx); err != nil {
		return b.report, err
	}
	if err := b.measure(ctx); err != nil {
		return b.report, err
	}
	if err := b.checkLog(ctx); err != nil {
		return b.report, err
	}
	return b.report, b.budget(ctx)
}

// bench is one run.
type bench struct {
	Options
	dir    string
	procs  procs
	report Report

	processes []*process
	echo      *process
	bot       string // its address
	gateway   *process
	sides     []*side
}

// newBench makes the folder of a run; end removes it.
func newBench(o Options) (*bench, error) {
	var err error
	if o.Turnout == "" {
		if o.Turnout, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding the program: %w", err)
		}
	}
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the folder for the bench: %w", err)
		}
	}
	dir, err := os.MkdirTemp(o.Dir, "turnout-bench-*")
	if err != nil {
		return nil, fmt.Errorf("making the folder for the bench: %w", err)
	}
	return &bench{Options: o, dir: dir, procs: procs{os.DirFS("/proc")}, report: newReport(o)}, nil
}

// end stops everything and removes the run's folder, if it is not to be kept; err is what the run ended with.
func (b *bench) end(err error) error {
	b.stop()
	if b.Keep || errors.Is(err, ErrLog) {
		b.say("the files are left in %s", b.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// measure warms every side up and then loads them in turns.
func (b *bench) measure(ctx context.Context) error {
	for _, s := range b.sides {
		var err error
		if s.name == Gateway {
			s.visitors, err = openSessions(ctx, s.addr, 0, b.Conversations)
		} else {
			s.visitors = passers(s.addr, b.Conversations)
		}
		if err != nil {
			return err
		}
		b.say("warming %s up", s.name)
		if _, err := b.load(ctx, s, b.Warmup); err != nil {
			return err
		}
	}
	cells := make(map[string][]Cell)
	for round := range b.Rounds {
		for _, s := range b.sides {
			c, err := b.load(ctx, s, b.Round)
			if err != nil {
				return err
			}
			b.say("round %d of %d: %-8s %7.0f turns/s, %6.1f CPU-ms per 1,000", round+1, b.Rounds, s.name, c.TurnsPerSecond, c.CPU)
			cells[s.name] = append(cells[s.name], c)
		}
	}
	for _, s := range b.sides {
		b.report.Peers = append(b.report.Peers, summarize(s.name, cells[s.name], cells[FastHTTP]))
	}
	return nil
}

// passers are visitors of a side that knows none. Their requests are as long as those to the gateway.
func passers(host string, count int) []*visitor {
	const tokenChars = 110
	visitors := make([]*visitor, count)
	for i := range visitors {
		visitors[i] = newVisitor(i, host, strings.Repeat("x", tokenChars))
	}
	return visitors
}

// load loads one side and takes the CPU time of everybody before and after.
func (b *bench) load(ctx context.Context, s *side, length time.Duration) (Cell, error) {
	before, err := b.usages(s)
	if err != nil {
		return Cell{}, err
	}
	t, err := load{side: s, connections: b.Connections, length: length}.run(ctx)
	if err != nil {
		return Cell{}, err
	}
	after, err := b.usages(s)
	if err != nil {
		return Cell{}, err
	}
	turns := len(t.latencies)
	if turns == 0 {
		return Cell{}, fmt.Errorf("loading %s: there was not one turn in %v", s.name, t.took)
	}
	per1000 := func(i int) float64 {
		return (after[i].cpu - before[i].cpu).Seconds() * 1e3 / float64(turns) * 1e3
	}
	return Cell{
		Turns: turns, Failed: t.failed, Seconds: t.took.Seconds(), TurnsPerSecond: float64(turns) / t.took.Seconds(),
		CPU: per1000(0), BotCPU: per1000(1), DriverCPU: per1000(2),
		P50: float64(percentile(t.latencies, 50)) / 1e6, P99: float64(percentile(t.latencies, 99)) / 1e6,
		RSS: after[0].rss,
	}, nil
}

// usages are those of the side, of the bot and of this process.
func (b *bench) usages(s *side) (u [3]usage, err error) {
	if u[0], err = b.procs.tree(s.pid); err != nil {
		return u, fmt.Errorf("measuring %s: %w", s.name, err)
	}
	if u[1], err = b.procs.alone(b.echo.pid()); err != nil {
		return u, fmt.Errorf("measuring the bot: %w", err)
	}
	if u[2], err = b.procs.alone(os.Getpid()); err != nil {
		return u, fmt.Errorf("measuring the load: %w", err)
	}
	return u, nil
}

// checkLog kills the gateway, starts it again on the same folder and reads everything back.
func (b *bench) checkLog(ctx context.Context) error {
	if b.gateway == nil {
		return nil
	}
	at := slices.IndexFunc(b.sides, func(s *side) bool { return s.name == Gateway })
	b.say("killing the gateway, starting it again and reading the log back")
	b.gateway.kill()
	p, addr, err := startGateway(ctx, b.Turnout, b.dir)
	if err != nil {
		return fmt.Errorf("starting the gateway again: %w", err)
	}
	b.keep(p)
	log, err := readBack(ctx, addr, b.sides[at].visitors)
	b.report.Log = &log
	return err
}
