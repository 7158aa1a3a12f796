package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store/transfer"
)

var _ transfer.Source = (*Source)(nil)

// Source is a store that is copied. While it is open no node can begin to work on the store: it says so among the nodes, for
// as long as it lives and a moment longer.
type Source struct{ *Store }

// readerField stands among the nodes for who reads the store to copy it.
const readerField = "copy"

// OpenSource opens the store on the server at o.Addr to copy it. It makes none, and fails when a node works on it.
func OpenSource(ctx context.Context, o Options) (*Source, error) {
	o.Wait = 0 // nobody writes: what is there is what there is
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	src := &Source{s}
	err = s.recognise(ctx)
	if err == nil {
		err = src.beat(ctx)
	}
	if err == nil {
		err = src.Idle(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store %s: %w", s.where(), err), src.Close())
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.listeners.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-reading.Done():
				return
			case <-tick.C:
			}
			if err := src.beat(reading); err != nil && reading.Err() == nil {
				s.o.Log.Warn("saying that the store is being copied", "err", err)
			}
		}
	})
	return src, nil
}

// beat says that the store is being read.
func (s *Source) beat(ctx context.Context) error {
	return s.db.run(ctx, passing, func(p goredis.Pipeliner) {
		p.HSet(ctx, s.keys.global("n"), readerField, s.now()+beatFor.Milliseconds())
	})
}

// Close ends the reading: nodes may work on the store again.
func (s *Source) Close() error {
	if s.closed.Load() {
		return nil
	}
	s.stop()
	s.listeners.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.db.once(ctx, passing, func(p goredis.Pipeliner) { p.HDel(ctx, s.keys.global("n"), readerField) }) // else its time runs out
	return s.Store.Close()
}

// beingRead fails while a copy reads the store.
func (s *Store) beingRead(ctx context.Context) error {
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGet(ctx, s.keys.global("n"), readerField) }); err != nil {
		return err
	}
	if until, err := strconv.ParseInt(cmd.Val(), 10, 64); err != nil || until <= s.now() {
		return nil
	}
	return fmt.Errorf("%w: it is being copied to another store; wait until that has ended (one that was killed is forgotten after %v)",
		transfer.ErrInUse, beatFor)
}

// Idle implements transfer.Source.
func (s *Source) Idle(ctx context.Context) error { return s.unused(ctx) }

// unused fails when a node works on the store. This one has never said that it lives.
func (s *Store) unused(ctx context.Context) error {
	alive, _, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range alive {
		if node != s.node {
			return fmt.Errorf("%w: node %s works on it; stop the gateway (one that was killed is forgotten after %v) and copy again",
				transfer.ErrInUse, node, beatFor)
		}
	}
	return nil
}

// About implements transfer.Source.
func (s *Source) About(ctx context.Context) (transfer.About, error) {
	newest, err := s.newestGeneration(ctx)
	return transfer.About{
		Name: fmt.Sprintf("%s, database %d, prefix %q", s.where(), s.o.DB, s.o.Prefix), Root: s.root.CheckValue(),
		Generations: s.o.Dedupe.Generations, Length: s.o.Dedupe.Length, Newest: newest,
	}, err
}

// newestGeneration is the newest generation of message ids of any partition, 0 for none.
func (s *Store) newestGeneration(ctx context.Context) (newest uint32, err error) {
	err = eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.StringCmd {
		return p.HGet(ctx, s.keys.part(part, "g"), "gen")
	}, func(part int, c *goredis.StringCmd) error {
		if err := s.readGeneration(part, c); err != nil {
			return err
		}
		newest = max(newest, s.gens.of(part))
		return nil
	})
	return newest, err
}
