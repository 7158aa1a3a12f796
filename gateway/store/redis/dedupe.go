package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// idHash is what a message id is known by: keyed by its tenant, with its sender. 80 bits: that two of 10^9 ids meet in one
// bucket is one chance in 10^9, and nobody without the key can look for it.
type idHash [10]byte

// dedupeHash leaves the thread out: a redelivered message is the same wherever its conversation has gone since.
func dedupeHash(t *seal.Tenant, a message.Address, v string) idHash {
	h := t.Hash("dedupe", a.Channel, a.Address, v)
	return idHash(h[:])
}

// generations says in which generation a partition keeps message ids now. It never goes back, whatever the clocks of the
// nodes say: the newest stands with the partition, and a step is compared with it. Only a server that has lost something
// knows less than a node. It also remembers where addresses write, as a guess that saves a question.
type generations struct {
	mu     sync.Mutex
	newest [id.Partitions]uint32
	bound  map[sender]string
}

type sender struct {
	tenant store.Tenant
	addr   message.Address
}

// maxBound bounds the addresses that are remembered.
const maxBound = 16384

func (g *generations) of(p int) uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest[p]
}

func (g *generations) set(p int, gen uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest[p] = gen
}

func (g *generations) writes(t store.Tenant, a message.Address) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bound[sender{t, a}]
}

// bind remembers where an address writes. The address is copied: its caller may use the memory again.
func (g *generations) bind(t store.Tenant, a message.Address, conv string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bound == nil {
		g.bound = map[sender]string{}
	}
	if len(g.bound) >= maxBound {
		for old := range g.bound {
			delete(g.bound, old)
			break
		}
	}
	a.Channel, a.Address, a.Thread = strings.Clone(a.Channel), strings.Clone(a.Address), strings.Clone(a.Thread)
	g.bound[sender{t, a}] = conv
}

// generation returns the current one of a partition, and the newest that its row is known to hold.
func (s *Store) generation(p int) (now, newest uint32) {
	newest = s.gens.of(p)
	return max(uint32(s.now()/s.o.Dedupe.Length.Milliseconds()), newest), newest
}

// refreshGeneration reads which generation is the newest of a partition.
func (s *Store) refreshGeneration(ctx context.Context, p int) error {
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { cmd = pipe.HGet(ctx, s.keys.part(p, "g"), "gen") }); err != nil {
		return err
	}
	return s.readGeneration(p, cmd)
}

func (s *Store) readGeneration(p int, cmd *goredis.StringCmd) error {
	if cmd.Val() == "" {
		s.gens.set(p, 0)
		return nil
	}
	gen, err := strconv.ParseUint(cmd.Val(), 10, 32)
	if err != nil {
		return fmt.Errorf("reading the generation of message ids: %w", errRow)
	}
	s.gens.set(p, uint32(gen))
	return nil
}

// bucket is the hash in which a generation keeps an id.
func (s *Store) bucket(p int, gen uint32, h idHash) string {
	return s.keys.dedupe(p, gen, int(binary.BigEndian.Uint32(h[6:])%uint32(s.o.Dedupe.Buckets)))
}

// looking asks for a message id in all generations that are kept.
func (s *Store) looking(ctx context.Context, pipe goredis.Pipeliner, p int, h idHash) (cmds []*goredis.StringCmd) {
	gen, _ := s.generation(p)
	for back := range uint32(s.o.Dedupe.Generations) {
		if back > gen {
			break
		}
		cmds = append(cmds, pipe.HGet(ctx, s.bucket(p, gen-back, h), string(h[:])))
	}
	return cmds
}

// found reads the answers to looking: the zero value for an id that is new.
func found(cmds []*goredis.StringCmd) (store.Known, error) {
	for _, c := range cmds {
		v := c.Val()
		if v == "" {
			continue
		}
		return knownOf(v)
	}
	return store.Known{}, nil
}

// knownOf reads where a message went.
func knownOf(v string) (store.Known, error) {
	seq, n := binary.Uvarint([]byte(v))
	if n <= 0 || len(v) != n+rawLen {
		return store.Known{}, fmt.Errorf("reading a message id: %w", errRow)
	}
	return store.Known{Seq: seq, Conversation: conversationID([]byte(v[n:]))}, nil
}

// known returns a *store.DuplicateError when one of the step's message ids is known.
func (w *write) known(ctx context.Context) error {
	if len(w.st.Dedupe) == 0 {
		return nil
	}
	known, err := w.s.lookUp(ctx, w.p, w.hashes)
	if err != nil {
		return err
	}
	for i, k := range known {
		if k != (store.Known{}) {
			return &store.DuplicateError{ID: w.st.Dedupe[i].ID, Known: k}
		}
	}
	return nil
}

// lookUp looks up message ids: out[i] is that of hashes[i], zero for an id that is new.
func (s *Store) lookUp(ctx context.Context, p int, hashes []idHash) (out []store.Known, err error) {
	if err := s.refreshGeneration(ctx, p); err != nil {
		return nil, err
	}
	cmds := make([][]*goredis.StringCmd, len(hashes))
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) {
		for i, h := range hashes {
			cmds[i] = s.looking(ctx, pipe, p, h)
		}
	}); err != nil {
		return nil, err
	}
	out = make([]store.Known, len(hashes))
	for i := range cmds {
		if out[i], err = found(cmds[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// guardIDs has the script look that the step's message ids are new.
func (w *write) guardIDs() {
	if w.hashes != nil {
		return
	}
	gen, newest := w.s.generation(w.p)
	w.gen, w.newest = gen, newest
	for _, d := range w.st.Dedupe {
		h := dedupeHash(w.t, d.From, d.ID)
		w.hashes = append(w.hashes, h)
		for back := range uint32(w.s.o.Dedupe.Generations) {
			if back > gen {
				break
			}
			w.txn.absent(whyKnown, w.s.bucket(w.p, gen-back, h), h[:])
		}
	}
	if len(w.hashes) == 0 {
		return
	}
	key := w.s.keys.part(w.p, "g")
	if newest == 0 {
		w.txn.absent(whyGeneration, key, "gen")
	} else {
		w.txn.equal(whyGeneration, key, "gen", newest)
	}
}

// ids writes the rows of the step's message ids, and begins a generation when it is time.
func (w *write) ids() {
	if len(w.hashes) == 0 {
		return
	}
	raw, _ := rawID(w.st.Ref.ID)
	kept := w.s.o.Dedupe.Length.Milliseconds() * int64(w.s.o.Dedupe.Generations)
	for i, h := range w.hashes {
		key := w.s.bucket(w.p, w.gen, h)
		w.txn.hset(key, h[:], append(binary.AppendUvarint(nil, w.st.Dedupe[i].Seq), raw[:]...))
		w.txn.expire(key, kept)
	}
	if w.gen != w.newest {
		w.txn.hset(w.s.keys.part(w.p, "g"), "gen", w.gen)
	}
}

// Find implements store.Inbox.
func (s *Store) Find(ctx context.Context, t store.Tenant, a message.Address, ids []string) (store.Found, error) {
	if err := s.enter(ctx); err != nil {
		return store.Found{}, err
	}
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil {
		return store.Found{}, err
	}
	p := id.PartitionOf(t.Name(), a.Channel, a.Address)
	hashes := make([]idHash, len(ids))
	for i, v := range ids {
		hashes[i] = dedupeHash(keys, a, v)
	}
	for {
		found, again, err := s.find(ctx, t, keys, p, a, ids, hashes)
		if !again || err != nil {
			return found, err
		}
	}
}

// find asks everything at once, upon a guess of the conversation and of the generation; again is set when the generation
// was another one.
func (s *Store) find(ctx context.Context, t store.Tenant, keys *seal.Tenant, p int, a message.Address, ids []string, hashes []idHash) (out store.Found, again bool, err error) {
	guess := store.Ref{Tenant: t, ID: s.gens.writes(t, a)}
	if where, err := home(guess); err != nil || where != p {
		guess.ID = ""
	}
	var known *record
	if guess.ID != "" {
		known = s.cache.get(guess)
	}
	gen, _ := s.generation(p)
	var bound, newest *goredis.StringCmd
	var conv *goredis.Cmd
	cmds := make([][]*goredis.StringCmd, len(hashes))
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) {
		bound = pipe.HGet(ctx, s.keys.ofTenant(p, t, "i"), string(identityOf(keys, a)))
		if guess.ID != "" {
			conv = s.loading(ctx, pipe, p, guess, known)
		}
		if len(hashes) > 0 {
			newest = pipe.HGet(ctx, s.keys.part(p, "g"), "gen")
		}
		for i, h := range hashes {
			cmds[i] = s.looking(ctx, pipe, p, h)
		}
	}); err != nil {
		return out, false, err
	}
	if newest != nil {
		if err := s.readGeneration(p, newest); err != nil {
			return out, false, err
		}
		if now, _ := s.generation(p); now != gen {
			return out, true, nil
		}
	}
	if r := (store.Ref{Tenant: t, ID: bound.Val()}); r.ID != "" {
		var rec *record
		if r == guess {
			if rec, err = s.loaded(conv, p, r, keys, known); rec != nil && err == nil {
				s.cache.put(rec)
			}
		} else {
			rec, err = s.load(ctx, r)
			s.gens.bind(t, a, r.ID)
		}
		if errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("reading an identity: %w", errRow)
		}
		if err != nil {
			return out, false, err
		}
		if rec != nil {
			out.Snapshot = rec.snapshot()
		}
	}
	for i := range cmds {
		k, err := found(cmds[i])
		if err != nil {
			return out, false, err
		}
		if k != (store.Known{}) {
			if out.Known == nil {
				out.Known = map[string]store.Known{}
			}
			out.Known[ids[i]] = k
		}
	}
	return out, false, nil
}
