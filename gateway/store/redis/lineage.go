package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/store"
)

// Lineage. A Redis server names the history that it writes (master_replid of INFO replication, see
// https://redis.io/docs/latest/operate/oss_and_stack/management/replication/). The name is another one when a replica has
// taken over, and when a server has begun anew from its disk: the two moments at which something may be gone that was
// acknowledged, be it that the replica that was chosen was behind the one that had confirmed, or that an older state was put
// back. So each partition, and each tenant's queue view, remembers under which history it was written last. Whoever finds
// another one raises a number there, in one step, and of several nodes one does. That one reconciles: what follows from
// the conversations is compared with them again. A mere failover comes out of it with nothing to do, and the log says so.
//
// What a server has forgotten it cannot tell. Nodes can: each compares what it has in mind, as versions that it was told are
// durable, with what is there now. What is less than that is lost, and never in silence: it is logged, it is in Health,
// Options.Reconciled hears of it, and the tenant's own chain gets an entry. A message that may have been sent by an attempt
// that is lost counts as uncertain.
//
// A partition lies in one slot, so what is left of it is the state of an earlier instant, whole: its lists agree with its
// conversations, and need no rebuilding.

// Reconciled says what a node found, and did, when a server wrote under another history.
type Reconciled struct {
	// Partitions whose history is another one, and Views: tenants' queue views of which this is so.
	Partitions, Views int
	// Mended is how many conversations stood elsewhere in the queue views than they do by their own words, Uncertain how many
	// messages may have been sent by an attempt that is lost, Keys how many tenants' keys were put back.
	Mended, Uncertain, Keys int
	// Lost is what was acknowledged and is gone, as far as this node knows.
	Lost []Loss
}

// Loss is what a tenant has lost.
type Loss struct {
	Tenant store.Tenant
	// Conversations that are older than they were, or gone, and one of them.
	Conversations int
	Example       string
	// Events that are missing from them, at least.
	Events int
	// Checkpoint is the number of the newest signed checkpoint that is gone, 0 for none; Own is set when the tenant's own
	// chain ends before a checkpoint that vouches for it.
	Checkpoint uint64
	Own        bool
}

const (
	// lookEvery is after what time the histories are looked at when no connection has told of a new one, ms.
	lookEvery = 10_000
	// lookAgain is after what time that is done again which did not succeed, ms.
	lookAgain = 2_000
	// owesFor is for how long a node that found one is believed to be reconciling, ms.
	owesFor = 60_000
)

// histories are those that connections have told of.
type histories struct {
	known sync.Map
	fresh atomic.Bool
}

// heard is told the history under which a server writes.
func (l *histories) heard(line string) {
	if _, old := l.known.LoadOrStore(line, true); !old {
		l.fresh.Store(true)
	}
}

// news reports whether there is one that nobody has looked at.
func (l *histories) news() bool { return l.fresh.Load() }

// lineage is what a node has in mind of the histories, and of what nobody but it may know any more.
type lineage struct {
	// These belong to the one that sweeps.
	next  int64             // when to look again, by the clock of those who ask what is due
	seen  map[string]string // by the key that remembers it, the history under which this node saw it last
	owed  map[string]string // those that this node is to reconcile
	found losses            // what was found and not told yet

	mu       sync.Mutex
	attempts map[store.Ref]store.Lease // sends that have begun and not ended
	sealed   map[store.Tenant]vouched  // the newest checkpoints that this node made
	lost     atomic.Bool
}

type vouched struct {
	checkpoint audit.Checkpoint
	heads      []audit.ChainHead
}

// vouched remembers a checkpoint.
func (l *lineage) vouched(t store.Tenant, c audit.Checkpoint, heads []audit.ChainHead) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed == nil {
		l.sealed = map[store.Tenant]vouched{}
	}
	l.sealed[t] = vouched{c, heads}
}

// mostAttempts is from how many attempts on those are forgotten whose time is over: they ended on other nodes.
const mostAttempts = 1024

// begun remembers an attempt to send.
func (l *lineage) begun(r store.Ref, a store.Lease, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attempts == nil {
		l.attempts = map[store.Ref]store.Lease{}
	}
	if len(l.attempts) >= mostAttempts {
		maps.DeleteFunc(l.attempts, func(_ store.Ref, old store.Lease) bool { return !old.Live(now) })
	}
	l.attempts[r] = a
}

// ended forgets one.
func (l *lineage) ended(r store.Ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.attempts, r)
}

// change is what a look has found.
type change struct {
	tenants []store.Tenant
	seen    map[string]string
	// moved are the partitions that have another history than this node has seen, won those, and the views, that it is to
	// reconcile; keys remember them.
	moved, won map[int]bool
	views      []store.Tenant
	keys       []string
}

// look asks under which histories everything was written last, if that was not done a moment ago and no connection has told
// of a new one, and reconciles. The caller is the one that sweeps: what does not succeed is tried again, and holds up nothing.
func (s *Store) look(ctx context.Context, now int64) {
	l := &s.lineage
	fresh := s.db.lines.fresh.Swap(false)
	if wait := l.next - now; !fresh && wait > 0 && wait <= lookEvery {
		return
	}
	l.next = now + lookEvery
	c, err := s.ask(ctx, now)
	if err == nil && len(c.moved)+len(c.won)+len(c.views) > 0 {
		err = s.reconcile(ctx, c)
	}
	if err != nil {
		l.next = now + lookAgain
		s.o.Log.Warn("looking at the histories that the servers write; it is done again", "err", err)
		return
	}
	if l.seen == nil {
		l.seen = map[string]string{}
	}
	maps.Copy(l.seen, c.seen)
}

// lookingAt is for questions that the answers of some servers are good for; what was answered is with the replicas.
var lookingAt = use{reads: true, partial: true}

// ask runs the lineage script over all partitions and views. What lies on a server that does not answer is looked at later.
func (s *Store) ask(ctx context.Context, now int64) (*change, error) {
	c := &change{seen: map[string]string{}, moved: map[int]bool{}, won: map[int]bool{}}
	ask := func(p goredis.Pipeliner, key string) *goredis.Cmd {
		changed := 0
		if s.lineage.seen[key] != "" || len(c.moved)+len(c.won) > 0 {
			changed = 1
		}
		return p.EvalSha(ctx, s.db.scripts.lineage.Hash(), []string{key}, now, now+owesFor, s.lineage.owed[key], changed)
	}
	if err := eachPartFrom(ctx, s, lookingAt, 0, func(p goredis.Pipeliner, part int) *goredis.Cmd {
		return ask(p, s.keys.part(part, "g"))
	}, func(part int, cmd *goredis.Cmd) (bool, error) {
		moved, won, err := s.answered(c, s.keys.part(part, "g"), cmd)
		if moved {
			c.moved[part] = true
		}
		if won {
			c.won[part] = true
		}
		return true, err
	}); err != nil {
		return c, err
	}
	var err error
	if c.tenants, err = s.allTenants(ctx); err != nil || len(c.tenants) == 0 {
		return c, err
	}
	cmds := make([]*goredis.Cmd, len(c.tenants))
	if err := s.db.run(ctx, lookingAt, func(p goredis.Pipeliner) {
		for i, t := range c.tenants {
			cmds[i] = ask(p, s.keys.desk(t, deskFields))
		}
	}); err != nil {
		return c, err
	}
	for i, cmd := range cmds {
		_, won, err := s.answered(c, s.keys.desk(c.tenants[i], deskFields), cmd)
		if err != nil {
			return c, err
		}
		if won {
			c.views = append(c.views, c.tenants[i])
		}
	}
	return c, nil
}

// answered reads an answer of the lineage script.
func (s *Store) answered(c *change, key string, cmd *goredis.Cmd) (moved, won bool, err error) {
	if cmd.Err() != nil {
		return false, false, nil // its server does not answer
	}
	answer, err := cmd.Slice()
	if err != nil || len(answer) != 3 {
		return false, false, fmt.Errorf("asking for a history: %w", errors.Join(err, errRow))
	}
	line, _ := answer[0].(string)
	n, _ := answer[2].(int64)
	c.seen[key] = line
	if was := s.lineage.seen[key]; was != "" && was != line {
		moved = true
	}
	if won = n == 1; won {
		c.keys = append(c.keys, key)
		if s.lineage.owed == nil {
			s.lineage.owed = map[string]string{}
		}
		s.lineage.owed[key] = line
	}
	return moved, won, nil
}

// reconcile compares what depends on what may be lost with what is there. It can be repeated. An error says that a server
// could not be asked; what is damaged is logged and passed over.
func (s *Store) reconcile(ctx context.Context, c *change) error {
	done := Reconciled{Partitions: len(c.moved), Views: len(c.views)}
	if len(c.won) > len(c.moved) { // a node that has begun since knows no other history
		done.Partitions = len(c.won)
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	if s.lineage.found == nil {
		s.lineage.found = losses{}
	}
	lost := s.lineage.found // what is found is forgotten where it was found
	if err := s.reviveKeys(ctx, &done); err != nil {
		return err
	}
	if err := s.remember(ctx, c, lost); err != nil {
		return err
	}
	if err := s.vouchers(ctx, c, lost); err != nil {
		return err
	}
	for _, part := range slices.Sorted(maps.Keys(lost.parts())) {
		n, err := s.doubt(ctx, part)
		done.Uncertain += n
		if err != nil {
			return err
		}
	}
	if err := s.reconcileViews(ctx, c, &done); err != nil {
		return err
	}
	done.Lost = lost.list()
	if err := s.tellLost(ctx, done.Lost); err != nil {
		return err
	}
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		for _, key := range c.keys {
			p.HDel(ctx, key, "owes")
		}
	}); err != nil {
		return err
	}
	for _, key := range c.keys {
		delete(s.lineage.owed, key)
	}
	s.lineage.found = nil
	s.tellReconciled(done)
	return nil
}

// tellLost writes in the chains of tenants what is lost.
func (s *Store) tellLost(ctx context.Context, lost []Loss) error {
	for _, l := range lost {
		s.lineage.lost.Store(true)
		s.o.Log.Error("history was lost: the server does not have what it acknowledged", "tenant", l.Tenant.Name(), "conversations", l.Conversations,
			"one", l.Example, "events", l.Events, "checkpoint", l.Checkpoint, "own_chain", l.Own)
		kind := "conversations"
		switch {
		case l.Own:
			kind = "own_chain"
		case l.Conversations == 0:
			kind = "checkpoint"
		}
		if err := s.Append(ctx, l.Tenant, audit.Entry{
			At: s.now(), Type: "history.lost", Kind: kind, Op: s.o.IDs.Token(), Actor: "system", Count: l.Conversations,
		}); err != nil {
			return err
		}
	}
	return nil
}

// tellReconciled says what was done.
func (s *Store) tellReconciled(done Reconciled) {
	what := "a server writes under another history; nothing had to be reconciled"
	if done.Mended+done.Uncertain+done.Keys+len(done.Lost) > 0 {
		what = "a server writes under another history; what depends on it was reconciled"
	}
	s.o.Log.Warn(what, "partitions", done.Partitions, "views", done.Views, "mended", done.Mended, "uncertain", done.Uncertain,
		"keys", done.Keys, "tenants_with_losses", len(done.Lost))
	if s.o.Reconciled != nil {
		s.o.Reconciled(done)
	}
}
