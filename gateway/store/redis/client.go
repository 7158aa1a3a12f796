package redis

import (
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

// readTimeout is when a connection is given up. WAIT must answer before.
const readTimeout = 5 * time.Second

// db is the way to the server. The client's own repeats are off: it repeats a whole pipeline after a broken connection,
// when the server may have done it already. What may be repeated is known here and above only.
type db struct {
	client   *goredis.Client
	scripts  scripts
	wait     int
	waitFor  time.Duration
	patience time.Duration
	closed   chan struct{}
}

// silence keeps the client from writing to standard error by itself, addresses and all: what it has to say comes back as
// errors. The client has one log for all of a process.
var silence = sync.OnceFunc(func() { goredis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func newDB(o Options) *db {
	silence()
	d := &db{scripts: newScripts(), wait: o.Wait, waitFor: o.WaitFor, patience: o.Patience, closed: make(chan struct{})}
	if len(o.Sentinels) > 0 {
		d.client = goredis.NewFailoverClient(&goredis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: o.Sentinels, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
			MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: readTimeout, WriteTimeout: readTimeout,
			ContextTimeoutEnabled: true, DisableIdentity: true, Protocol: 2,
			OnConnect: d.connected,
		})
		return d
	}
	d.client = goredis.NewClient(&goredis.Options{
		Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLS,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, ReadTimeout: readTimeout, WriteTimeout: readTimeout,
		ContextTimeoutEnabled: true, DisableIdentity: true, Protocol: 2,
		OnConnect: d.connected,
	})
	return d
}

// connected gives a new connection its scripts: so whichever server it leads to has them before their first use.
func (d *db) connected(ctx context.Context, c *goredis.Conn) error {
	_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, source := range d.scripts.all() {
			p.ScriptLoad(ctx, source)
		}
		return nil
	})
	if err != nil && strings.HasPrefix(err.Error(), "ERR unknown command") {
		return nil // a sentinel, which is asked where the primary is
	}
	return err
}

// use says what a pipeline does: whether repeating it is harmless whatever became of it, and whether what it read or wrote
// must be with the replicas.
type use struct {
	reads    bool
	volatile bool // nothing depends on it: no WAIT
}

var (
	reading = use{reads: true}
	writing = use{}
	passing = use{reads: true, volatile: true}
)

// run fills a pipeline and runs it, with WAIT as its last command on the same connection: there it covers all that the
// pipeline wrote and read. A refusal that wrote nothing is tried again for a while; so is a broken read. After a nil error
// every command has its answer; goredis.Nil is one.
//
// Errors: store.ErrUnknown when what was written may or may not be durable, store.ErrUnavailable and store.ErrFull when
// nothing was written.
func (d *db) run(ctx context.Context, u use, fill func(p goredis.Pipeliner)) error {
	until := time.Now().Add(d.patience)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := d.once(ctx, u, fill)
		if err == nil {
			return nil
		}
		again := errors.Is(err, store.ErrUnavailable) || u.reads && errors.Is(err, store.ErrUnknown)
		if again && u.reads {
			err = fmt.Errorf("%w: %w", store.ErrUnavailable, dropUnknown(err))
		}
		if !again || ctx.Err() != nil || time.Now().Add(pause).After(until) || !d.pause(pause) {
			return err
		}
	}
}

// dropUnknown is the cause of an error that is not unknown after all: nothing was to be written.
func dropUnknown(err error) error {
	var k *outcomeError
	if errors.As(err, &k) {
		return k.cause
	}
	return err
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

func (d *db) once(ctx context.Context, u use, fill func(p goredis.Pipeliner)) error {
	select {
	case <-d.closed:
		return &outcomeError{store.ErrUnavailable, errClosed}
	default:
	}
	p := d.client.Pipeline()
	fill(p)
	var waited *goredis.Cmd
	if d.wait > 0 && !u.volatile {
		waited = p.Do(ctx, "WAIT", d.wait, d.waitFor.Milliseconds())
	}
	cmds, err := p.Exec(ctx)
	for _, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, goredis.Nil) {
			return outcome(err)
		}
	}
	if err != nil && !errors.Is(err, goredis.Nil) {
		return outcome(err)
	}
	if waited != nil {
		n, err := waited.Int()
		if err != nil {
			return &outcomeError{store.ErrUnknown, err}
		}
		if n < d.wait {
			return &outcomeError{store.ErrUnknown, fmt.Errorf("%d of %d replicas confirmed", n, d.wait)}
		}
	}
	return nil
}

var errClosed = errors.New("the store is closed")

// outcomeError says what became of a pipeline, and why.
type outcomeError struct{ fate, cause error }

func (e *outcomeError) Error() string   { return e.fate.Error() + ": " + e.cause.Error() }
func (e *outcomeError) Unwrap() []error { return []error{e.fate, e.cause} }

// refusals are the answers by which a server says that it has not done it, and may later.
var refusals = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "NOSCRIPT", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "MAXCLIENTS", "ERR max number of clients"}

// outcome says what became of a pipeline that failed with err.
func outcome(err error) error {
	var answered goredis.Error
	var dial *net.OpError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &outcomeError{store.ErrUnknown, err}
	case errors.As(err, &dial) && dial.Op == "dial", errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrClosed):
		return &outcomeError{store.ErrUnavailable, err}
	case errors.As(err, &answered):
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
	return d.client.Close()
}
