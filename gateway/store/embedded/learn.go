package embedded

import (
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/store/seal"
)

const (
	// learnedRows are read at a time, with a pause behind them: what turns need comes first.
	learnedRows = 4096
	learnPause  = time.Millisecond
)

var errForgotten = errors.New("the generation is forgotten")

// learn reads in the background which message ids the generations hold that were there when the database was opened.
// Without that each new message asks the disk whether it is known, which was a tenth of a turn's CPU, for as long as the
// generations are kept: more than a week after each start.
func (s *Store) learn() {
	t := &s.trouble
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.mending.Add(1)
	go func() {
		defer t.mending.Done()
		for n, g := range s.gens.unlearned() {
			if !s.learnAll(n, g) {
				return // asking the disk stays right
			}
		}
	}()
}

// learnAll learns a generation. It reports false when it could not: the store has failed or was closed.
func (s *Store) learnAll(n uint32, g *generation) bool {
	for from := dedupeKey(n, idHash{}); ; {
		next, err := s.learnSome(n, g, from)
		if err != nil {
			return false
		}
		if next == nil {
			g.learned()
			return true
		}
		if from = next; !s.pause(learnPause) {
			return false
		}
	}
}

// learnSome adds the ids of a page of rows to a generation's filter. Ids that are written meanwhile are added by those who
// write them, before they do. next is nil at the end.
func (s *Store) learnSome(n uint32, g *generation, from []byte) (next []byte, err error) {
	if err := s.join(); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	if s.gens.of(n) != g {
		return nil, errForgotten // the database was opened again, or the generation is kept no longer
	}
	rows := 0
	err = s.each(from, dedupeKey(n+1, idHash{}), func(key, _ []byte) (bool, error) {
		if len(key) != len(from) {
			return false, pebble.ErrCorruption
		}
		if rows == learnedRows {
			next = append([]byte(nil), key...)
			return false, nil
		}
		rows++
		g.add(idHash(key[len(key)-seal.HashSize:]))
		return true, nil
	})
	return next, err
}

// learned says that the filter knows all that the generation holds.
func (g *generation) learned() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.old = g.full
}

// unlearned are the generations that hold ids which memory does not know, by number.
func (g *generations) unlearned() map[uint32]*generation {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := map[uint32]*generation{}
	for n, one := range g.live {
		one.mu.Lock()
		if one.old && !one.full {
			out[n] = one
		}
		one.mu.Unlock()
	}
	return out
}
