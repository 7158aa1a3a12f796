// Package redis is the store on Redis servers that several nodes share: one, one that sentinels watch, or a Cluster.
//
// Everything that one step of a conversation touches lies in one partition, and so in one slot: a step is one call of one
// script, which compares what the step was decided upon and writes all of it or nothing (txn.go). What a script writes is
// made here, in Go; none of them knows what a conversation is.
//
// What orders and counts over all partitions, a tenant's queue view, lies in a slot of its own. It is fed by relay rows
// that are written with the step and applied behind a watermark (relay.go): by the node that wrote them at once, by any
// other when that one is gone.
//
// Leases and send attempts are rows with an end: they outlast the process that took them, and other nodes respect them.
// What is compared is unique, never a counter: what a failover lost cannot come back as something else.
//
// On a Cluster every partition, and all that a tenant has of its own, lies in one slot; the partitions spread evenly over the
// slots (keys.go). A question to all partitions goes to each primary by itself (client.go, cluster.go): one whose replica or
// whose whole shard is gone refuses what lies there, and nothing else.
//
// Nothing leaves this package before the server has it at the level that Health names: a write is acknowledged, and a read
// shown, when the server has answered (appendfsync always: after its fsync) and, with Wait, its replicas have confirmed.
package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/segment"
	"turnout/gateway/store/transfer"
)

var (
	_ store.Store   = (*Store)(nil)
	_ store.Archive = (*Store)(nil)
)

// Store is a store.Store on Redis. It is safe for concurrent use.
type Store struct {
	o     Options
	db    *db
	keys  *keys
	root  *seal.Root
	node  string // names this node among those that share the store, for its life
	level string
	gens  generations
	// format is which version of the event encoding is in force.
	format format

	tenants tenants
	cache   *cache
	unsure  unsure
	commits atomic.Int64 // nanoseconds of a commit, smoothed

	work, timers *schedule
	outbox       outboxes
	backlogs     backlogs
	swept        sweeps
	lineage      lineage
	hints        hints
	tell         *pile
	scrubbing    sync.Mutex // one Scrub at a time
	codec        *segment.Codec
	resolved     atomic.Int64 // when reservations were looked at last, ms
	blobs        *Blobs

	closing   sync.Once
	closed    atomic.Bool
	closeErr  error
	stop      context.CancelFunc
	listeners sync.WaitGroup
}

// Open opens the store on the servers that o names, or makes a new one there. It fails with seal.ErrRootKey when o.Root is not
// the key that the store was made with, and with an error that names the setting when a server's lose acknowledged
// messages.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", s.where(), err), s.db.close())
	}
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.listen(listening)
	s.listeners.Go(func() { s.live(listening) })
	return s, nil
}

// prepare makes a store that has not talked to its server yet.
func prepare(o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	root, err := seal.NewRoot(o.Root, o.Rand)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{
		o: o, db: newDB(o), keys: newKeys(o.Prefix), root: root, node: o.IDs.Token(), cache: newCache(o.Cached),
		work: newSchedule(), timers: newSchedule(), codec: segment.NewCodec(),
	}
	s.tenants.byName = map[string]tenantKeys{}
	files := o.Files
	if files == nil {
		files = blob.NewDir(o.FS, o.Blobs)
	}
	s.blobs = &Blobs{s: s, files: blob.New(files)}
	s.stop = func() {}
	return s, nil
}

// where says where the store is, for people.
func (s *Store) where() string {
	return "on redis at " + cmp.Or(s.o.Addr, s.o.Master, strings.Join(s.o.Cluster, ", "))
}

// begin looks at the server and at what the store knows of itself.
func (s *Store) begin(ctx context.Context) error {
	var err error
	if s.level, err = s.examine(ctx); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	if err := s.join(ctx); err != nil {
		return err
	}
	// A copy looks for nodes once it has said that it reads, or that it makes the store; so one of the two sees the other.
	err = s.beingRead(ctx)
	if err == nil {
		err = s.recognise(ctx)
	}
	if err != nil {
		s.leave()
	}
	return err
}

// layout is the version of the keys and rows of this package.
const layout = 1

// meta is what a store knows of itself. What is counted on (partitions, generations) must not change.
type meta struct {
	Layout     int    `json:"layout"`
	Partitions int    `json:"partitions"`
	Dedupe     Dedupe `json:"dedupe"`
	Root       []byte `json:"root"`
	// Copy is set while a copy makes the store. Layout is 0 then, so that a build that does not know of it refuses too.
	Copy *copyMark `json:"copy,omitempty"`
}

// copyMark says from where a copy makes the store, and since when (ms).
type copyMark struct {
	From string `json:"from"`
	At   int64  `json:"at"`
}

// meta is what the store says of itself; copy is set while a copy makes it.
func (s *Store) meta(copy *copyMark) ([]byte, error) {
	m := meta{Layout: layout, Partitions: id.Partitions, Dedupe: s.o.Dedupe, Root: s.root.CheckValue(), Copy: copy}
	if copy != nil {
		m.Layout = 0
	}
	row, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding the store's own row: %w", err)
	}
	return row, nil
}

// identify compares the store with the options, or makes it what they say when it is new.
func (s *Store) identify(ctx context.Context) error {
	row, err := s.meta(nil)
	if err != nil {
		return err
	}
	var t txn
	key := s.keys.global("m")
	t.absent(whyOther, key, "meta")
	t.hset(key, "meta", row)
	t.hset(key, metaEvents, s.o.Events.Newest())
	if _, err := s.db.commit(ctx, &t); err != nil && !errors.Is(err, store.ErrUnknown) { // it is read next, with the replicas
		return err
	}
	return s.recognise(ctx)
}

// readMeta returns what the store says of itself, and the row; an empty one where there is no store.
func (s *Store) readMeta(ctx context.Context) (m meta, row string, err error) {
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, s.keys.global("m"), "meta") }); err != nil {
		return m, "", err
	}
	if cmd.Val() == "" {
		return m, "", nil
	}
	if err := json.Unmarshal([]byte(cmd.Val()), &m); err != nil {
		return m, "", fmt.Errorf("decoding the store's own row: %w", err)
	}
	return m, cmd.Val(), nil
}

// recognise compares the store that is there with the options.
func (s *Store) recognise(ctx context.Context) error {
	m, row, err := s.readMeta(ctx)
	switch {
	case err != nil:
		return err
	case row == "":
		return errors.New("there is no store")
	case m.Copy != nil:
		return &transfer.Incomplete{Name: s.where(), From: m.Copy.From, Begun: time.UnixMilli(m.Copy.At)}
	case m.Layout != layout:
		return fmt.Errorf("layout %d of the store is not %d, which this build reads", m.Layout, layout)
	case m.Partitions != id.Partitions:
		return fmt.Errorf("the store has %d partitions, this build %d", m.Partitions, id.Partitions)
	case m.Dedupe != s.o.Dedupe:
		return fmt.Errorf("the store keeps %d dedupe generations of %v in %d buckets, the options say %d of %v in %d", m.Dedupe.Generations,
			m.Dedupe.Length, m.Dedupe.Buckets, s.o.Dedupe.Generations, s.o.Dedupe.Length, s.o.Dedupe.Buckets)
	}
	return s.root.Verify(m.Root)
}

// enter begins an operation.
func (s *Store) enter(ctx context.Context) error {
	if s.closed.Load() {
		return &outcomeError{store.ErrUnavailable, errClosed}
	}
	if err := s.format.fits(s.o.Events); err != nil {
		return &outcomeError{store.ErrUnavailable, err}
	}
	return ctx.Err()
}

// Close ends the store's connections. The second call does nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.stop()
		s.leave()
		s.closeErr = s.db.close()
		s.listeners.Wait()
	})
	return s.closeErr
}

// leave takes this node's name away, so that nobody waits for it. Where that fails its time runs out.
func (s *Store) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.db.once(ctx, passing, func(p goredis.Pipeliner) {
		p.HDel(ctx, s.keys.global("n"), s.node)
		p.HDel(ctx, s.keys.global("v"), s.node)
	})
}

func (s *Store) now() int64 { return s.o.Now().UnixMilli() }

// tenants keeps the unwrapped keys of tenants, each with the row that it came from.
type tenants struct {
	mu     sync.Mutex
	byName map[string]tenantKeys
}

type tenantKeys struct {
	open    *seal.Tenant
	wrapped string
}

func (t *tenants) get(name string) *seal.Tenant {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byName[name].open
}

func (t *tenants) put(name string, keys tenantKeys) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName[name] = keys
}

func (t *tenants) remove(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byName, name)
}

// all returns what is kept.
func (t *tenants) all() map[string]tenantKeys {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.byName)
}

// tenant returns the keys of t, nil when it has no rows yet.
func (s *Store) tenant(ctx context.Context, t store.Tenant) (*seal.Tenant, error) {
	if k := s.tenants.get(t.Name()); k != nil {
		return k, nil
	}
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, s.keys.global("t"), t.Name()) }); err != nil {
		return nil, err
	}
	if cmd.Val() == "" {
		return nil, nil
	}
	keys, err := s.root.OpenTenant(t.Name(), []byte(cmd.Val()))
	if err != nil {
		return nil, err
	}
	s.tenants.put(t.Name(), tenantKeys{keys, cmd.Val()})
	return keys, nil
}

// makeTenant is tenant, and makes the keys durably when there are none. Of nodes that make them at once one wins.
func (s *Store) makeTenant(ctx context.Context, t store.Tenant) (*seal.Tenant, error) {
	if t == (store.Tenant{}) {
		return nil, store.ErrNotFound
	}
	if k, err := s.tenant(ctx, t); k != nil || err != nil {
		return k, err
	}
	_, wrapped, err := s.root.NewTenant(t.Name())
	if err != nil {
		return nil, err
	}
	var x txn
	x.absent(whyOther, s.keys.global("t"), t.Name())
	x.hset(s.keys.global("t"), t.Name(), wrapped)
	if _, err := s.db.commit(ctx, &x); err != nil {
		return nil, err
	}
	k, err := s.tenant(ctx, t)
	if err == nil && k == nil {
		err = &outcomeError{store.ErrUnavailable, errors.New("the tenant's keys are gone")}
	}
	return k, err
}

// Tenants implements store.Versions.
func (s *Store) Tenants(ctx context.Context) ([]store.Tenant, error) {
	all, err := s.allTenants(ctx)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, t := range all {
		if t != store.Operator {
			out = append(out, t)
		}
	}
	return out, nil
}

// unsure remembers operations whose outcome was not known, so that a repeat that finds them done does what follows.
type unsure struct {
	mu  sync.Mutex
	ops map[store.Token]struct{}
}

// maxUnsure bounds what is remembered: beyond it one of them goes, and its repeat is a mere repeat.
const maxUnsure = 4096

func (u *unsure) add(op store.Token) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ops == nil {
		u.ops = map[store.Token]struct{}{}
	}
	if len(u.ops) >= maxUnsure {
		for old := range u.ops {
			delete(u.ops, old)
			break
		}
	}
	u.ops[op] = struct{}{}
}

// take reports whether op was remembered, and forgets it.
func (u *unsure) take(op store.Token) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.ops[op]
	delete(u.ops, op)
	return ok
}
