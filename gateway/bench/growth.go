package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Growth says how the cost of a turn grows with the number of conversations.
type Growth struct {
	Machine Machine `json:"machine"`
	Disk    Disk    `json:"disk"`
	Steps   []Size  `json:"steps"`
}

// Size is the gateway with a number of conversations, each of which has begun. They speak in random order, so that with
// many of them nearly every turn finds its conversation on the disk alone.
type Size struct {
	Conversations int     `json:"conversations"`
	FillSeconds   float64 `json:"fill_seconds"` // that it took to begin those that the step before did not have
	Cell
	// Ratio is the CPU of a turn against that of the first step.
	Ratio float64 `json:"cpu_ratio"`
}

// MaxGrowth is what the last step may cost at most against the first.
const MaxGrowth = 2

// Grow measures the gateway alone at each of the sizes, which must rise, each time for o.Round. Of o it takes Turnout,
// Round, Warmup, Connections, Dir, Keep and Progress. Everything that it started has ended when it returns.
func Grow(ctx context.Context, o Options, sizes []int) (_ Growth, err error) {
	o.Peers = []string{Gateway}
	if len(sizes) == 0 || !slices.IsSorted(sizes) {
		return Growth{}, errors.New("the numbers of conversations must rise")
	}
	o.Conversations = sizes[len(sizes)-1]
	if o, err = o.withDefaults(); err != nil {
		return Growth{}, err
	}
	if sizes[0] < o.Connections {
		return Growth{}, fmt.Errorf("the first number of conversations must be at least that of connections, %d", o.Connections)
	}
	b, err := newBench(o)
	if err != nil {
		return Growth{}, err
	}
	defer func() { err = b.end(err) }()
	g := Growth{Machine: b.report.Machine}
	if g.Disk, err = MeasureDisk(b.dir); err != nil {
		return g, err
	}
	if err := b.start(ctx); err != nil {
		return g, err
	}
	for _, n := range sizes {
		step, err := b.grow(ctx, n)
		if err != nil {
			return g, err
		}
		step.Ratio = 1
		if len(g.Steps) > 0 {
			step.Ratio = step.CPU / g.Steps[0].CPU
		}
		g.Steps = append(g.Steps, step)
		b.say("%d conversations: %.0f turns/s, %.1f CPU-ms per 1,000, %.2f times the first", n, step.TurnsPerSecond, step.CPU, step.Ratio)
	}
	return g, nil
}

// grow begins conversations until there are n of them, and measures.
func (b *bench) grow(ctx context.Context, n int) (Size, error) {
	s, began := b.sides[0], time.Now()
	b.say("beginning conversations until there are %d", n)
	fresh, err := openSessions(ctx, s.addr, len(s.visitors), n-len(s.visitors))
	if err != nil {
		return Size{}, err
	}
	all := append(s.visitors, fresh...)
	s.visitors = fresh
	if t, err := (load{side: s, connections: b.Connections, once: true}).run(ctx); err != nil {
		return Size{}, err
	} else if t.failed > 0 {
		return Size{}, fmt.Errorf("beginning conversations: %d of %d turns failed", t.failed, len(fresh))
	}
	s.visitors = all
	filled := time.Since(began).Seconds()
	// The order is the same in each run.
	r := rand.New(rand.NewPCG(1, uint64(n)))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if _, err := b.load(ctx, s, b.Warmup); err != nil {
		return Size{}, err
	}
	c, err := b.load(ctx, s, b.Round)
	return Size{Conversations: n, FillSeconds: filled, Cell: c}, err
}

// String returns the figures for people.
func (g Growth) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine       %d cores (%s), %s, %s\n", g.Machine.Cores, g.Machine.Arch, g.Machine.Kernel, g.Machine.Go)
	fmt.Fprintf(&b, "disk          %s\n\n", strings.ReplaceAll(g.Disk.String(), "\n", "\n              "))
	b.WriteString("CPU of the gateway in ms per 1,000 turns, each of a conversation taken at random; \"x\" is against the first line.\n\n")
	fmt.Fprintf(&b, "%14s %10s %9s %6s %8s %8s %8s %9s\n", "conversations", "turns/s", "CPU", "x", "p50 ms", "p99 ms", "RSS MB", "fill s")
	for _, s := range g.Steps {
		fmt.Fprintf(&b, "%14d %10.0f %9.1f %6.2f %8.2f %8.2f %8d %9.0f\n",
			s.Conversations, s.TurnsPerSecond, s.CPU, s.Ratio, s.P50, s.P99, s.RSS>>20, s.FillSeconds)
	}
	if n := len(g.Steps); n > 1 {
		standing := "within"
		if g.Steps[n-1].Ratio > MaxGrowth {
			standing = "ABOVE"
		}
		fmt.Fprintf(&b, "\nWith the most conversations a turn takes %.2f times what it takes with the fewest: %s the %d that are allowed.\n",
			g.Steps[n-1].Ratio, standing, MaxGrowth)
	}
	return b.String()
}
