package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

const (
	// readTimeout is when a connection is given up. WAIT must answer before.
	readTimeout = 5 * time.Second
	dialTimeout = time.Second
)

// db is the way to the servers. The client's own repeats are off: it repeats a whole pipeline after a broken connection,
// when the server may have done it already. What may be repeated is known here and above only.
type db struct {
	single   *goredis.Client                   // one server, or the one that sentinels name; nil on a Cluster
	cluster  *cluster                          // nil elsewhere
	watched  bool                              // by sentinels: another server may take over
	name     string                            // of the single server, for people
	open     func(addr string) *goredis.Client // one of a server that is asked for itself
	scripts  scripts
	wait     int
	waitFor  time.Duration
	patience time.Duration
	closed   chan struct{}
	lines    histories
}

// silence keeps the client from writing to standard error by itself, addresses and all: what it has to say comes back as
// errors. The client has one log for all of a process.
var silence = sync.OnceFunc(func() { goredis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func newDB(o Options) *db {
	silence()
	d := &db{
		name: cmp.Or(o.Addr, o.Master), scripts: newScripts(), wait: o.Wait, waitFor: o.WaitFor, patience: o.Patience, closed: make(chan struct{}),
		open: func(addr string) *goredis.Client { return goredis.NewClient(clientOptions(o, addr, nil)) },
	}
	switch {
	case len(o.Cluster) > 0:
		d.cluster = newCluster(o, d.connected)
	case len(o.Sentinels) > 0:
		d.watched = true
		d.single = goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: o.Sentinels, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
			MaxRetries: -1, DialerRetries: 1, DialTimeout: dialTimeout, ReadTimeout: readTimeout, WriteTimeout: readTimeout,
			ContextTimeoutEnabled: true, DisableIdentity: true, Protocol: 2,
			OnConnect: d.connected,
		})
	default:
		d.single = goredis.NewClient(clientOptions(o, o.Addr, d.connected))
	}
	return d
}

// clientOptions are those of a client of one server.
func clientOptions(o Options, addr string, connected func(context.Context, *goredis.Conn) error) *goredis.Options {
	return &goredis.Options{
		Addr: addr, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: dialTimeout, ReadTimeout: readTimeout, WriteTimeout: readTimeout,
		ContextTimeoutEnabled: true, DisableIdentity: true, Protocol: 2,
		OnConnect: connected,
	}
}

// connected gives a new connection its scripts, so whichever server it leads to has them before their first use, and asks
// under which history that server writes.
func (d *db) connected(ctx context.Context, c *goredis.Conn) error {
	err := d.load(ctx, c)
	if err != nil && strings.HasPrefix(err.Error(), "ERR unknown command") {
		return nil // a sentinel, which is asked where the primary is
	}
	if err != nil {
		return err
	}
	info, err := c.Info(ctx, "replication").Result()
	if err == nil {
		d.lines.heard(infoFields(info)["master_replid"])
	}
	return err
}

// load gives a server the scripts.
func (d *db) load(ctx context.Context, c interface {
	Pipelined(context.Context, func(goredis.Pipeliner) error) ([]goredis.Cmder, error)
}) error {
	_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, source := range d.scripts.all() {
			p.ScriptLoad(ctx, source)
		}
		return nil
	})
	return err
}

// use says what a pipeline does: whether repeating it is harmless whatever became of it, and whether what it read or wrote
// must be with the replicas.
type use struct {
	reads    bool
	volatile bool // nothing depends on it: no WAIT
	partial  bool // a server that does not answer is not waited for: its commands keep the error
}

var (
	reading  = use{reads: true}
	writing  = use{}
	passing  = use{reads: true, volatile: true}
	sweeping = use{reads: true, volatile: true, partial: true}
)

// run fills a pipeline and runs it, each command on the server that has its key, with WAIT as the last command on the same
// connection: there it covers all that the commands before it wrote and read. The commands do not depend on each other: on
// a Cluster they may go to several servers, and one that was refused goes again after others are done. A refusal that wrote
// nothing is tried again for a while; so is a broken read. After a nil error every command has its answer; goredis.Nil is
// one.
//
// Errors: store.ErrUnknown when what was written may or may not be durable, store.ErrUnavailable and store.ErrFull when
// nothing was written.
func (d *db) run(ctx context.Context, u use, fill func(p goredis.Pipeliner)) error {
	return d.deliver(ctx, u, d.patience, nil, fill)
}

// on is run on one server, for commands without a key.
func (d *db) on(ctx context.Context, u use, c *goredis.Client, fill func(p goredis.Pipeliner)) error {
	return d.deliver(ctx, u, d.patience, c, fill)
}

// once is run without a second try.
func (d *db) once(ctx context.Context, u use, fill func(p goredis.Pipeliner)) error {
	return d.deliver(ctx, u, 0, nil, fill)
}

// sent is a command on its way.
type sent struct {
	cmd    goredis.Cmder
	pinned *goredis.Client // where it has to go; nil: to the server that has its key
	to     string          // the address that a server has named for it
	asking bool            // its slot moves there, and has not arrived
	fate   error           // nil when it is done; else an outcomeError, or an answer that is none
}

// frozenFor is for how long, at least, the servers are waited for of which not all have to answer.
const frozenFor = 2 * time.Second

// straightOn is how often a command goes where a server sends it without a pause.
const straightOn = 3

func (d *db) deliver(ctx context.Context, u use, patience time.Duration, pinned *goredis.Client, fill func(p goredis.Pipeliner)) error {
	record := d.recorder()
	fill(record)
	all := make([]*sent, 0, record.Len())
	for _, cmd := range record.Cmds() {
		all = append(all, &sent{cmd: cmd, pinned: pinned})
	}
	if len(all) == 0 {
		return nil
	}
	if u.partial { // one that is frozen holds nobody up for long
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(patience, frozenFor))
		defer cancel()
	}
	until := time.Now().Add(patience)
	left := all
	for pause, hops := 20*time.Millisecond, 0; ; {
		select {
		case <-d.closed:
			return &outcomeError{store.ErrUnavailable, errClosed}
		default:
		}
		d.send(ctx, u, left)
		var err error
		led := true // every command that is left knows where to go
		if left, err = remaining(u, left); err == nil {
			return nil
		}
		for _, c := range left {
			led = led && c.to != ""
		}
		again := errors.Is(err, store.ErrUnavailable)
		if again && led && hops < straightOn && ctx.Err() == nil {
			hops++
			continue
		}
		if u.partial && (again || errors.Is(err, store.ErrFull)) {
			for _, c := range left {
				c.cmd.SetErr(c.fate)
			}
			return nil
		}
		if !again || ctx.Err() != nil || time.Now().Add(pause).After(until) || !d.pause(pause) {
			return givenUp(u, len(all)-len(left), err)
		}
		pause, hops = min(2*pause, 200*time.Millisecond), 0
	}
}

// recorder returns a pipeline that is never run: it collects commands.
func (d *db) recorder() goredis.Pipeliner {
	if d.cluster != nil {
		return d.cluster.client.Pipeline()
	}
	return d.single.Pipeline()
}

// remaining returns the commands that are not done, and the worst that became of one. A command that was refused was
// certainly not executed. When repeating is harmless, one whose fate is unknown is no worse than that.
func remaining(u use, tried []*sent) (left []*sent, err error) {
	for _, c := range tried {
		var o *outcomeError
		switch {
		case c.fate == nil:
			continue
		case !errors.As(c.fate, &o):
			return tried, c.fate
		case u.reads && errors.Is(o.fate, store.ErrUnknown):
			c.fate = &outcomeError{store.ErrUnavailable, o.cause}
		}
		left = append(left, c)
		if err == nil || worse(c.fate, err) {
			err = c.fate
		}
	}
	return left, err
}

// givenUp is what became of a pipeline that is not tried again: when some of its commands wrote and others did not, who
// asked for all of them has to look.
func givenUp(u use, done int, err error) error {
	if u.reads || done == 0 || errors.Is(err, store.ErrUnknown) {
		return err
	}
	return &outcomeError{store.ErrUnknown, fmt.Errorf("%d commands of the pipeline were done, and then: %w", done, err)}
}

// worse reports whether a says more than b of what became of a pipeline.
func worse(a, b error) bool {
	rank := func(err error) int {
		switch {
		case errors.Is(err, store.ErrUnknown):
			return 2
		case errors.Is(err, store.ErrFull):
			return 1
		}
		return 0
	}
	return rank(a) > rank(b)
}

func (d *db) pause(for_ time.Duration) bool {
	t := time.NewTimer(for_)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-d.closed:
		return false
	}
}

// send sends commands, those of each server as one pipeline, and sets their fates.
func (d *db) send(ctx context.Context, u use, cmds []*sent) {
	if d.single != nil {
		d.pipe(ctx, u, cmp.Or(cmds[0].pinned, d.single), cmds)
		return
	}
	byServer := map[*goredis.Client][]*sent{}
	for _, c := range cmds {
		to, err := d.cluster.serverOf(ctx, c)
		if err != nil {
			c.fate = err
			continue
		}
		byServer[to] = append(byServer[to], c)
	}
	var wg sync.WaitGroup
	for to, part := range byServer {
		if len(byServer) == 1 {
			d.pipe(ctx, u, to, part)
			return
		}
		wg.Go(func() { d.pipe(ctx, u, to, part) })
	}
	wg.Wait()
}

// pipe runs commands as one pipeline on one connection to a server and sets their fates.
func (d *db) pipe(ctx context.Context, u use, to *goredis.Client, cmds []*sent) {
	p := to.Pipeline()
	for _, c := range cmds {
		c.cmd.SetErr(nil)
		if c.asking {
			p.Do(ctx, "ASKING")
		}
		_ = p.Process(ctx, c.cmd) // it only collects
	}
	var waited *goredis.Cmd
	if d.wait > 0 && !u.volatile {
		waited = p.Do(ctx, "WAIT", d.wait, d.waitFor.Milliseconds())
	}
	_, broken := p.Exec(ctx)
	if isAnswer(broken) {
		broken = nil
	}
	unconfirmed := d.unconfirmed(waited)
	load := false
	for _, c := range cmds {
		err := c.cmd.Err()
		if err == nil {
			err = broken
		}
		c.to, c.asking = "", false
		switch {
		case err == nil || errors.Is(err, goredis.Nil):
			c.fate = unconfirmed
		default:
			c.fate = outcome(err)
			load = load || goredis.HasErrorPrefix(err, "NOSCRIPT")
			if d.cluster != nil && c.pinned == nil {
				d.cluster.redirected(ctx, c, to, err)
			}
		}
	}
	if load { // the server has lost them under a connection that had loaded them
		_ = d.load(ctx, to) // if it fails, so does what comes again
	}
}

// unconfirmed says what is unknown of commands that were executed, by the answer to the WAIT behind them.
func (d *db) unconfirmed(waited *goredis.Cmd) error {
	if waited == nil {
		return nil
	}
	n, err := waited.Int()
	if err == nil && n < d.wait {
		err = tooFew{n, d.wait}
	}
	if err != nil {
		return &outcomeError{store.ErrUnknown, err}
	}
	return nil
}

// tooFew says how many replicas have confirmed of those that are waited for.
type tooFew struct{ confirmed, want int }

func (e tooFew) Error() string {
	return fmt.Sprintf("%d of %d replicas confirmed", e.confirmed, e.want)
}

// isAnswer reports whether err was said by a server, so that its connection goes on.
func isAnswer(err error) bool {
	var answered goredis.Error
	return errors.As(err, &answered)
}

var errClosed = errors.New("the store is closed")

// outcomeError says what became of a pipeline, and why.
type outcomeError struct{ fate, cause error }

func (e *outcomeError) Error() string   { return e.fate.Error() + ": " + e.cause.Error() }
func (e *outcomeError) Unwrap() []error { return []error{e.fate, e.cause} }

// refusals are the answers by which a server says that it has not done it, and may later.
var refusals = []string{"MOVED", "ASK", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "NOSCRIPT", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "MAXCLIENTS", "ERR max number of clients"}

// outcome says what became of a pipeline that failed with err.
func outcome(err error) error {
	var dial *net.OpError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &outcomeError{store.ErrUnknown, err}
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrClosed):
		return &outcomeError{store.ErrUnavailable, err}
	case isAnswer(err):
		for _, prefix := range refusals {
			if strings.HasPrefix(err.Error(), prefix) {
				return &outcomeError{store.ErrUnavailable, err}
			}
		}
		if strings.HasPrefix(err.Error(), "OOM") {
			return &outcomeError{store.ErrFull, err}
		}
		return fmt.Errorf("redis refused: %w", err)
	}
	return &outcomeError{store.ErrUnknown, err}
}

func (d *db) close() error {
	close(d.closed)
	if d.cluster != nil {
		return d.cluster.close()
	}
	return d.single.Close()
}

// subscribe listens to a channel, on a Cluster by any one server: what is published reaches all.
func (d *db) subscribe(ctx context.Context, channel string) *goredis.PubSub {
	if d.cluster != nil {
		return d.cluster.client.Subscribe(ctx, channel)
	}
	return d.single.Subscribe(ctx, channel)
}
