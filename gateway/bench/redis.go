package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// RedisOptions say how nodes that share a Redis server are measured. Of Options it takes Turnout, Rounds, Round, Warmup,
// Connections, Dir, Keep and Progress. The zero value of a field means its default.
type RedisOptions struct {
	Options
	// Server is the program of the server, "redis-server" by default. It is run, with a replica, once for each Setup.
	Server string
	// Nodes are the numbers of gateways to measure, rising: 1, 2 and 4 by default. At most 8.
	Nodes []int
	// Steps are the numbers of conversations between which cost and memory are compared, rising: 2,000 and 10,000 by default.
	Steps []int
	// IDs is the number of message ids whose memory is measured, 200,000 by default.
	IDs int
	// Load is what the model is made for.
	Load ModelInput
}

// Setup is how the store acknowledges. Both have appendfsync always and a replica; with Wait it is waited for.
type Setup struct {
	Wait int `json:"wait"`
}

func (s Setup) String() string { return fmt.Sprintf("wait=%d", s.Wait) }

// RedisCell is a setup under load for one round.
type RedisCell struct {
	Setup
	Nodes          int     `json:"nodes"`
	Turns          int     `json:"turns"`
	Failed         int     `json:"failed,omitempty"`
	TurnsPerSecond float64 `json:"turns_per_second"`
	// CPU times are in milliseconds per 1,000 turns: of all gateways, of the primary, of the replica.
	Gateway float64 `json:"gateway_cpu_ms_per_1000"`
	Primary float64 `json:"primary_cpu_ms_per_1000"`
	Replica float64 `json:"replica_cpu_ms_per_1000"`
	// Scripts are calls of scripts per turn, Waits those of WAIT: one for each batch. Reads is how often the primary read
	// from a connection: the round trips of a turn, and less where several share one. What replicas confirm and what nodes
	// do by the clock are among them.
	Scripts float64 `json:"scripts_per_turn"`
	Waits   float64 `json:"waits_per_turn"`
	Reads   float64 `json:"reads_per_turn"`
	// In and Out are bytes per turn into and out of the primary, Replication those to the replica.
	In          float64 `json:"bytes_in_per_turn"`
	Out         float64 `json:"bytes_out_per_turn"`
	Replication float64 `json:"bytes_replicated_per_turn"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
}

// RedisSize is a setup with a number of conversations that have begun, each with a turn.
type RedisSize struct {
	Conversations int   `json:"conversations"`
	Used          int64 `json:"used_memory"` // of the primary, when all had begun
	RedisCell
	Grown int64 `json:"grown_memory"` // of the primary, by the turns of the cell
}

// RedisReport is what came out.
type RedisReport struct {
	Machine Machine     `json:"machine"`
	Disk    Disk        `json:"disk"`
	Version string      `json:"redis_version"`
	Cells   []RedisCell `json:"cells"` // medians over rounds
	Steps   []RedisSize `json:"steps"`
	// PerConversation, PerTurn and PerID are bytes of the primary's memory: of a conversation that has begun, its first turn
	// with it; of a turn more, with the id of its message; of a message id alone. IDs were measured.
	PerConversation float64 `json:"bytes_per_conversation"`
	PerTurn         float64 `json:"bytes_per_turn"`
	PerID           float64 `json:"bytes_per_id"`
	IDs             int     `json:"ids"`
	// Logs are what was read back of each setup after all gateways were killed.
	Logs   map[string]Log `json:"logs"`
	Models []Model        `json:"models"`
}

func (o RedisOptions) withDefaults() (RedisOptions, error) {
	fill(&o.Server, "redis-server")
	fill(&o.Rounds, 3)
	fill(&o.IDs, 200_000)
	if len(o.Nodes) == 0 {
		o.Nodes = []int{1, 2, 4}
	}
	if len(o.Steps) == 0 {
		o.Steps = []int{2000, 10_000}
	}
	o.Peers = []string{Gateway}
	o.Conversations = o.Steps[len(o.Steps)-1]
	var err error
	if o.Options, err = o.Options.withDefaults(); err != nil {
		return o, err
	}
	o.Load, err = o.Load.withDefaults()
	rising := func(list []int) bool {
		return slices.IsSorted(list) && len(slices.Compact(slices.Clone(list))) == len(list)
	}
	switch last := o.Nodes[len(o.Nodes)-1]; {
	case err != nil:
	case !rising(o.Nodes) || o.Nodes[0] < 1 || last > 8 || last > o.Connections:
		err = errors.New("the numbers of nodes must rise, from at least 1 to at most 8, and need a connection each")
	case len(o.Steps) < 2 || !rising(o.Steps) || o.Steps[0] < o.Connections:
		err = fmt.Errorf("the numbers of conversations must rise, be at least two, and begin at that of connections, %d, or above", o.Connections)
	case o.IDs < 1000 || o.IDs > 100_000_000:
		err = errors.New("ids must lie between 1,000 and 100,000,000")
	}
	return o, err
}

// RunRedis measures. With ErrLog the report is complete but for what the error says. Everything that it started has ended
// when it returns.
func RunRedis(ctx context.Context, o RedisOptions) (_ RedisReport, err error) {
	if o, err = o.withDefaults(); err != nil {
		return RedisReport{}, err
	}
	b, err := newBench(o.Options)
	if err != nil {
		return RedisReport{}, err
	}
	defer func() { err = b.end(err) }()
	r := RedisReport{Machine: b.report.Machine, IDs: o.IDs, Logs: map[string]Log{}}
	if r.Disk, err = MeasureDisk(b.dir); err != nil {
		return r, err
	}
	if b.echo, b.bot, err = b.startPeer(ctx, kindEcho); err != nil {
		return r, err
	}
	var shared []*sharing
	for _, setup := range []Setup{{0}, {1}} {
		s, err := b.share(ctx, o, setup)
		if err != nil {
			return r, err
		}
		defer s.close()
		shared = append(shared, s)
	}
	if r.Version, err = shared[0].primary.field(ctx, "server", "redis_version"); err != nil {
		return r, err
	}
	if err := b.roundsOf(ctx, o, shared, &r); err != nil {
		return r, err
	}
	last := shared[len(shared)-1]
	if err := b.sizes(ctx, o, last, &r); err != nil {
		return r, err
	}
	if r.PerID, err = last.primary.perID(ctx, o.IDs); err != nil {
		return r, err
	}
	for _, load := range o.Load.each() {
		r.Models = append(r.Models, r.model(load))
	}
	for _, s := range shared {
		b.say("killing the gateways of %v, starting one again and reading the log back", s.setup)
		log, err := b.readShared(ctx, s)
		if r.Logs[s.setup.String()] = log; err != nil {
			return r, err
		}
	}
	return r, nil
}

// sharing is a server, its replica, and gateways that share them.
type sharing struct {
	setup            Setup
	dir              string
	primary, replica *server
	gateways         []*process
	addrs            []string
	visitors         []*visitor
}

func (s *sharing) close() {
	s.primary.close()
	s.replica.close()
}

// share starts a server and its replica for a setup.
func (b *bench) share(ctx context.Context, o RedisOptions, setup Setup) (_ *sharing, err error) {
	s := &sharing{setup: setup, dir: filepath.Join(b.dir, setup.String())}
	if s.primary, err = b.startServer(ctx, o.Server, filepath.Join(s.dir, "primary"), ""); err != nil {
		return nil, err
	}
	if s.replica, err = b.startServer(ctx, o.Server, filepath.Join(s.dir, "replica"), s.primary.addr); err != nil {
		s.primary.close()
		return nil, err
	}
	if err := s.primary.synced(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// more starts gateways until there are n.
func (b *bench) more(ctx context.Context, s *sharing, n int) error {
	for len(s.gateways) < n {
		dir := filepath.Join(s.dir, fmt.Sprint("node-", len(s.gateways)+1))
		if err := writeGateway(dir, b.bot); err != nil {
			return err
		}
		first := filepath.Join(s.dir, "node-1")
		if dir != first { // nodes of one store have its keys
			if err := copyKeys(filepath.Join(dir, "keys"), os.DirFS(filepath.Join(first, "keys"))); err != nil {
				return err
			}
		}
		store := fmt.Sprintf("store: {kind: redis, address: %q, wait: %d, blobs: %q}\n", s.primary.addr, s.setup.Wait, filepath.Join(first, "blobs"))
		if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte(settings+store), 0o600); err != nil {
			return fmt.Errorf("writing the gateway's configuration: %w", err)
		}
		p, addr, err := startGateway(ctx, b.Turnout, dir)
		if err != nil {
			return err
		}
		b.keep(p)
		s.gateways, s.addrs = append(s.gateways, p), append(s.addrs, addr)
	}
	return nil
}

func copyKeys(to string, from fs.FS) error {
	for _, name := range []string{"root.key", "audit.key"} {
		key, err := fs.ReadFile(from, name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), key, 0o600)
		}
		if err != nil {
			return fmt.Errorf("copying keys: %w", err)
		}
	}
	return nil
}

// roundsOf loads both setups in turns, with each number of nodes.
func (b *bench) roundsOf(ctx context.Context, o RedisOptions, shared []*sharing, r *RedisReport) error {
	for _, n := range o.Nodes {
		for _, s := range shared {
			if err := b.more(ctx, s, n); err != nil {
				return err
			}
			if len(s.visitors) == 0 {
				visitors, err := openSessions(ctx, s.addrs[0], 0, o.Steps[0])
				if err != nil {
					return err
				}
				s.visitors = visitors
			}
			if _, err := b.loadShared(ctx, s, b.Warmup); err != nil {
				return err
			}
		}
		cells := make([][]RedisCell, len(shared))
		for round := range b.Rounds {
			for i, s := range shared {
				c, err := b.loadShared(ctx, s, b.Round)
				if err != nil {
					return err
				}
				b.say("%d nodes, round %d of %d: %v %7.0f turns/s, CPU-ms per 1,000: gateways %.1f, primary %.1f, replica %.1f",
					n, round+1, b.Rounds, s.setup, c.TurnsPerSecond, c.Gateway, c.Primary, c.Replica)
				cells[i] = append(cells[i], c)
			}
		}
		for _, list := range cells {
			r.Cells = append(r.Cells, medianCell(list))
		}
	}
	return nil
}

// sizes fills the store step by step, and measures one turn's cost and memory at each.
func (b *bench) sizes(ctx context.Context, o RedisOptions, s *sharing, r *RedisReport) error {
	began := len(s.visitors)
	for _, n := range o.Steps {
		b.say("beginning conversations until there are %d", n)
		all := s.visitors
		if n > len(all) {
			fresh, err := openSessions(ctx, s.addrs[0], len(all), n-len(all))
			if err != nil {
				return err
			}
			used, err := s.primary.used(ctx)
			if err != nil {
				return err
			}
			t, err := load{side: &side{name: Gateway, addr: s.addrs[0], visitors: fresh}, connections: b.Connections, once: true}.run(ctx)
			if err == nil && t.failed > 0 {
				err = fmt.Errorf("beginning conversations: %d of %d turns failed", t.failed, len(fresh))
			}
			if err != nil {
				return err
			}
			all = append(all, fresh...)
			after, err := s.primary.used(ctx)
			if err != nil {
				return err
			}
			r.PerConversation = float64(after-used) / float64(len(fresh)) // of the last step: the most of them
		}
		s.visitors = all
		order := rand.New(rand.NewPCG(1, uint64(n)))
		order.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		before, err := s.primary.used(ctx)
		if err != nil {
			return err
		}
		c, err := b.loadShared(ctx, s, b.Round)
		if err != nil {
			return err
		}
		after, err := s.primary.used(ctx)
		if err != nil {
			return err
		}
		step := RedisSize{Conversations: n, Used: before, RedisCell: c, Grown: after - before}
		r.PerTurn = float64(step.Grown) / float64(c.Turns)
		r.Steps = append(r.Steps, step)
		b.say("%d conversations: %.0f turns/s, CPU-ms per 1,000: gateways %.1f, primary %.1f; %.0f bytes a turn", n, c.TurnsPerSecond, c.Gateway, c.Primary, r.PerTurn)
	}
	if began == len(s.visitors) {
		return errors.New("no step had more conversations than the rounds before")
	}
	return nil
}

// loadShared loads all gateways of a setup at once, each with its part of the conversations, for a time.
func (b *bench) loadShared(ctx context.Context, s *sharing, length time.Duration) (RedisCell, error) {
	n := len(s.gateways)
	before, err := b.usedBy(ctx, s)
	if err != nil {
		return RedisCell{}, err
	}
	tallies, errs := make([]tally, n), make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		part := &side{name: s.setup.String(), addr: s.addrs[i]}
		for j := i; j < len(s.visitors); j += n {
			part.visitors = append(part.visitors, s.visitors[j])
		}
		group.Go(func() {
			tallies[i], errs[i] = load{side: part, connections: b.Connections / n, length: length}.run(ctx)
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return RedisCell{}, err
	}
	after, err := b.usedBy(ctx, s)
	if err != nil {
		return RedisCell{}, err
	}
	c := RedisCell{Setup: s.setup, Nodes: n}
	var latencies []int64
	for _, t := range tallies {
		latencies = append(latencies, t.latencies...)
		c.Failed += t.failed
		c.TurnsPerSecond += float64(len(t.latencies)) / t.took.Seconds()
	}
	if c.Turns = len(latencies); c.Turns == 0 {
		return c, fmt.Errorf("loading %v: there was not one turn", s.setup)
	}
	slices.Sort(latencies)
	c.P50, c.P99 = float64(percentile(latencies, 50))/1e6, float64(percentile(latencies, 99))/1e6
	per := func(name string) float64 { return (after[name] - before[name]) / float64(c.Turns) }
	c.Gateway, c.Primary, c.Replica = per("gateway")*1e3, per("primary")*1e3, per("replica")*1e3
	c.Scripts, c.Waits, c.Reads = per("calls:evalsha"), per("calls:wait"), per("total_reads_processed")
	c.In, c.Out, c.Replication = per("total_net_input_bytes"), per("total_net_output_bytes"), per("total_net_repl_output_bytes")
	return c, nil
}

// usedBy is what everybody of a setup has used so far: CPU in milliseconds, and the primary's own counters.
func (b *bench) usedBy(ctx context.Context, s *sharing) (map[string]float64, error) {
	counts, err := s.primary.counters(ctx)
	if err != nil {
		return nil, err
	}
	for name, p := range map[string]*process{"primary": s.primary.process, "replica": s.replica.process} {
		u, err := b.procs.alone(p.pid())
		if err != nil {
			return nil, fmt.Errorf("measuring the %s: %w", name, err)
		}
		counts[name] = u.cpu.Seconds() * 1e3
	}
	for _, g := range s.gateways {
		u, err := b.procs.tree(g.pid())
		if err != nil {
			return nil, fmt.Errorf("measuring a gateway: %w", err)
		}
		counts["gateway"] += u.cpu.Seconds() * 1e3
	}
	return counts, nil
}

// readShared kills all gateways of a setup, starts one again and reads every conversation back.
func (b *bench) readShared(ctx context.Context, s *sharing) (Log, error) {
	for _, g := range s.gateways {
		g.kill()
	}
	p, addr, err := startGateway(ctx, b.Turnout, filepath.Join(s.dir, "node-1"))
	if err != nil {
		return Log{}, fmt.Errorf("starting a gateway again: %w", err)
	}
	b.keep(p)
	return readBack(ctx, addr, s.visitors)
}

// medianCell is the cell of the median of each figure.
func medianCell(cells []RedisCell) RedisCell {
	m := cells[0]
	m.Turns, m.Failed = 0, 0
	for _, c := range cells {
		m.Turns += c.Turns
		m.Failed += c.Failed
	}
	for _, f := range []func(*RedisCell) *float64{
		func(c *RedisCell) *float64 { return &c.TurnsPerSecond },
		func(c *RedisCell) *float64 { return &c.Gateway },
		func(c *RedisCell) *float64 { return &c.Primary },
		func(c *RedisCell) *float64 { return &c.Replica },
		func(c *RedisCell) *float64 { return &c.Scripts },
		func(c *RedisCell) *float64 { return &c.Waits },
		func(c *RedisCell) *float64 { return &c.Reads },
		func(c *RedisCell) *float64 { return &c.In },
		func(c *RedisCell) *float64 { return &c.Out },
		func(c *RedisCell) *float64 { return &c.Replication },
		func(c *RedisCell) *float64 { return &c.P50 },
		func(c *RedisCell) *float64 { return &c.P99 },
	} {
		values := make([]float64, len(cells))
		for i := range cells {
			values[i] = *f(&cells[i])
		}
		slices.Sort(values)
		*f(&m) = values[len(values)/2]
	}
	return m
}

// String returns the figures for people.
func (r RedisReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine       %d cores (%s), %s, %s, Redis %s; everything on one machine\n", r.Machine.Cores, r.Machine.Arch, r.Machine.Kernel, r.Machine.Go, r.Version)
	fmt.Fprintf(&b, "disk          %s\n\n", strings.ReplaceAll(r.Disk.String(), "\n", "\n              "))
	b.WriteString("One primary with one replica, appendfsync always on both. CPU in ms per 1,000 turns. Medians of rounds in which wait=0 and wait=1 take turns.\n\n")
	fmt.Fprintf(&b, "%6s %6s %8s %9s %8s %8s %8s %6s %6s %8s %8s %8s %7s %7s\n",
		"nodes", "wait", "turns/s", "gateways", "primary", "replica", "scripts", "waits", "reads", "in B", "out B", "repl B", "p50 ms", "p99 ms")
	for _, c := range r.Cells {
		fmt.Fprintf(&b, "%6d %6d %8.0f %9.1f %8.1f %8.1f %8.2f %6.2f %6.2f %8.0f %8.0f %8.0f %7.1f %7.1f\n",
			c.Nodes, c.Wait, c.TurnsPerSecond, c.Gateway, c.Primary, c.Replica, c.Scripts, c.Waits, c.Reads, c.In, c.Out, c.Replication, c.P50, c.P99)
	}
	b.WriteString("\nWith more conversations, each turn of one taken at random (wait=1, the most nodes):\n\n")
	fmt.Fprintf(&b, "%14s %8s %9s %8s %12s\n", "conversations", "turns/s", "gateways", "primary", "used MB")
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%14d %8.0f %9.1f %8.1f %12.1f\n", s.Conversations, s.TurnsPerSecond, s.Gateway, s.Primary, float64(s.Used)/1e6)
	}
	fmt.Fprintf(&b, "\nMemory of the primary: %.0f bytes for a conversation with its first turn, %.0f for each turn more, %.0f MB for a million message ids (of %d).\n",
		r.PerConversation, r.PerTurn, r.PerID, r.IDs)
	for _, name := range []string{Setup{0}.String(), Setup{1}.String()} {
		if l, ok := r.Logs[name]; ok {
			fmt.Fprintf(&b, "log (%s)  %d messages and %d answers were acknowledged in %d conversations: %d lost, %d twice\n", name, l.Messages, l.Answers, l.Conversations, l.Lost, l.Twice)
		}
	}
	for _, m := range r.Models {
		b.WriteString("\n" + m.String())
	}
	return b.String()
}
