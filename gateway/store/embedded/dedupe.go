package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"turnout/adapters/message"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/transfer"
)

// idHash is what a message id is known by: keyed by its tenant, with its sender.
type idHash = [seal.HashSize]byte

// dedupeHash leaves the thread out: a redelivered message is the same wherever its conversation has gone since.
func dedupeHash(t *tenant, a message.Address, id string) idHash {
	return t.Hash("dedupe", a.Channel, a.Address, id)
}

// generations says in which generation message ids are kept now, and what memory knows of those that are kept. The newest
// never goes back, whatever the clock does.
type generations struct {
	newest atomic.Uint32
	// short is up to which generation there may be ids of which no more is known than every store keeps: they came by a copy.
	short  atomic.Uint32
	rotate sync.Mutex

	mu   sync.RWMutex
	live map[uint32]*generation
}

// generation is what memory knows of one: ids tells which ids it may hold. While old is set it may hold any: it held some
// when the store was opened, and they have not all been learned (learn.go), or full is set, as there are too many of them.
type generation struct {
	mu   sync.Mutex
	old  bool
	full bool
	ids  filter
}

// may reports whether the generation may hold the id; false is certain.
func (g *generation) may(h idHash) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.old || g.ids.has(h)
}

// add notes an id before it is written. A filter that would grow too large is given up: the disk is asked then.
func (g *generation) add(h idHash) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.full && !g.ids.add(h) {
		g.old, g.full, g.ids = true, true, filter{}
	}
}

// forms is in how many forms an id may stand in a generation: whole, or cut short as well.
func (g *generations) forms(n uint32) int {
	if n <= g.short.Load() {
		return 2
	}
	return 1
}

func (g *generations) of(n uint32) *generation {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.live[n]
}

// begin makes n the newest and forgets those that are kept no longer.
func (g *generations) begin(n uint32, kept int, old bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live == nil {
		g.live = map[uint32]*generation{}
	}
	g.live[n] = &generation{old: old}
	for m := range g.live {
		if int64(m) <= int64(n)-int64(kept) {
			delete(g.live, m)
		}
	}
}

// clear forgets everything that memory knows.
func (g *generations) clear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live = nil
}

// restoreGenerations finds out which of the kept generations hold anything.
func (s *Store) restoreGenerations() error {
	s.gens.clear()
	newest := s.gens.newest.Load()
	for back := s.o.Dedupe.Generations - 1; back >= 0; back-- {
		if int64(back) > int64(newest) {
			continue
		}
		n, old := newest-uint32(back), false
		if err := s.each(dedupeKey(n, idHash{}), dedupeKey(n+1, idHash{}), func(_, _ []byte) (bool, error) {
			old = true
			return false, nil
		}); err != nil {
			return err
		}
		s.gens.begin(n, s.o.Dedupe.Generations, old)
	}
	return nil
}

// generation returns the current one.
func (s *Store) generation() uint32 {
	now := uint32(s.now() / s.o.Dedupe.Length.Milliseconds())
	return max(now, s.gens.newest.Load())
}

// rotate returns the generation to write to. It begins a new one when it is time, and drops the oldest whole.
func (s *Store) rotate() (uint32, error) {
	gen := s.generation()
	if gen == s.gens.newest.Load() {
		return gen, nil
	}
	s.gens.rotate.Lock()
	defer s.gens.rotate.Unlock()
	if newest := s.gens.newest.Load(); gen <= newest {
		return newest, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(generationKey, binary.BigEndian.AppendUint32(nil, gen), nil); err != nil {
		return 0, err
	}
	if kept := uint32(s.o.Dedupe.Generations); gen >= kept {
		from, to := dedupeKey(0, idHash{}), dedupeKey(gen-kept+1, idHash{})
		if err := b.DeleteRange(from, to, nil); err != nil {
			return 0, err
		}
	}
	if err := s.apply(b); err != nil {
		return 0, err
	}
	s.gens.begin(gen, s.o.Dedupe.Generations, false)
	s.gens.newest.Store(gen)
	return gen, nil
}

// known looks up message ids in all live generations: out[i] is that of hashes[i], zero for an id that is new. The caller
// holds the lock of the senders' partition, p.
func (s *Store) known(p *partition, hashes []idHash) (out []store.Known, err error) {
	out = make([]store.Known, len(hashes))
	gen := s.generation()
	var it *pebble.Iterator
	defer func() {
		if it != nil {
			if bad := it.Close(); bad != nil {
				err = errors.Join(err, s.readError(bad))
			}
		}
	}()
	for i, h := range hashes {
		if p.recent.absent(h) {
			continue
		}
		for back := range uint32(s.o.Dedupe.Generations) {
			if back > gen {
				break
			}
			forms := [2]idHash{h, idHash(transfer.IDHash(h).Short())}
			for _, h := range forms[:s.gens.forms(gen-back)] {
				if g := s.gens.of(gen - back); g == nil || !g.may(h) {
					continue
				}
				if it == nil {
					if it, err = s.dedupeRows(); err != nil {
						return nil, err
					}
				}
				if out[i], err = s.seekKnown(it, gen-back, h); err != nil || out[i] != (store.Known{}) {
					break
				}
			}
			if err != nil || out[i] != (store.Known{}) {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		if out[i] == (store.Known{}) {
			p.recent.missed(h)
		}
	}
	return out, nil
}

// dedupeRows opens an iterator that asks the bloom filters of the last level too, which a Get does not: nearly every
// question is a miss.
func (s *Store) dedupeRows() (*pebble.Iterator, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{spaceDedupe}, UpperBound: []byte{spaceDedupe + 1}, UseL6Filters: true,
	})
	if err != nil {
		return nil, s.readError(err)
	}
	return it, nil
}

func (s *Store) seekKnown(it *pebble.Iterator, gen uint32, h idHash) (store.Known, error) {
	if !it.SeekPrefixGE(dedupeKey(gen, h)) {
		if err := it.Error(); err != nil {
			return store.Known{}, s.readError(err)
		}
		return store.Known{}, nil
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return store.Known{}, s.readError(err)
	}
	if len(v) <= 8 {
		return store.Known{}, errors.New("a dedupe row is damaged")
	}
	return store.Known{Seq: binary.BigEndian.Uint64(v), Conversation: string(v[8:])}, nil
}

// unknown returns a *store.DuplicateError when one of the step's message ids is known, and keeps their hashes.
func (w *write) unknown() error {
	for i, d := range w.st.Dedupe {
		h := dedupeHash(w.t, d.From, d.ID)
		if slices.Contains(w.hashes, h) {
			return fmt.Errorf("%w: message id %d of the step is there twice", errUnsound, i)
		}
		w.hashes = append(w.hashes, h)
	}
	if len(w.hashes) == 0 {
		return nil
	}
	known, err := w.s.known(w.p, w.hashes)
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

// dedupe writes the rows of the step's message ids.
func (w *write) dedupe() error {
	g := w.s.gens.of(w.gen)
	for i, h := range w.hashes {
		if g != nil {
			g.add(h)
		}
		w.value = append(be64(w.value[:0], w.st.Dedupe[i].Seq), w.st.Ref.ID...)
		if err := w.batch.Set(dedupeKey(w.gen, h), w.value, nil); err != nil {
			return fmt.Errorf("building dedupe row: %w", err)
		}
	}
	return nil
}

func dedupeKey(gen uint32, hash idHash) []byte {
	k := append(make([]byte, 0, 1+4+seal.HashSize), spaceDedupe)
	k = binary.BigEndian.AppendUint32(k, gen)
	return append(k, hash[:]...)
}
