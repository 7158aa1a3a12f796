package redis

import (
	"context"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

const (
	// beatEvery is how often a node says that it lives, beatFor for how long that is believed.
	beatEvery = 5 * time.Second
	beatFor   = 20 * time.Second
)

// live beats until ctx ends, and takes the node's name away then.
func (s *Store) live(ctx context.Context) {
	tick := time.NewTicker(s.o.Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m, err := s.beat(ctx, true)
		if err == nil {
			err = s.follow(ctx, m)
		}
		if err != nil && ctx.Err() == nil {
			s.o.Log.Warn("saying that the node lives", "err", err)
		}
	}
}

// nodes returns those that live, sorted, this one among them, and those whose time is over.
func (s *Store) nodes(ctx context.Context) (alive, dead []string, err error) {
	var cmd *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGetAll(ctx, s.keys.global("n")) }); err != nil {
		return nil, nil, err
	}
	alive = append(alive, s.node)
	for node, until := range cmd.Val() {
		n, err := strconv.ParseInt(until, 10, 64)
		switch {
		case node == s.node, node == readerField:
		case err == nil && n > s.now():
			alive = append(alive, node)
		default:
			dead = append(dead, node)
		}
	}
	slices.Sort(alive)
	return alive, dead, nil
}

// Confirm says that this node can judge by a tenant's rules of a digest: rulebook.Nodes.
func (s *Store) Confirm(ctx context.Context, t store.Tenant, digest string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	return s.db.run(ctx, reading, func(p goredis.Pipeliner) { p.HSet(ctx, s.keys.own(t, "c"), s.node, digest) })
}

// Unconfirmed names the live nodes that have not confirmed a digest: rulebook.Nodes. Those that are dead are forgotten.
func (s *Store) Unconfirmed(ctx context.Context, t store.Tenant, digest string) (missing []string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	alive, dead, err := s.nodes(ctx)
	if err != nil {
		return nil, err
	}
	var cmd *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		cmd = p.HGetAll(ctx, s.keys.own(t, "c"))
		if len(dead) > 0 {
			p.HDel(ctx, s.keys.own(t, "c"), dead...)
		}
	}); err != nil {
		return nil, err
	}
	for _, node := range alive {
		if cmd.Val()[node] != digest {
			missing = append(missing, node)
		}
	}
	return missing, nil
}
