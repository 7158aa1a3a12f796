package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
)

// askedAtOnce is how many partitions one pipeline asks.
const askedAtOnce = 256

// eachPart asks every partition the same and hands out the answers in their order. It is for what people look at once in a
// while: a question to all partitions costs the server some milliseconds.
func eachPart[C goredis.Cmder](ctx context.Context, s *Store, ask func(p goredis.Pipeliner, part int) C, got func(part int, c C) error) error {
	return eachPartFrom(ctx, s, reading, 0, ask, func(part int, c C) (bool, error) { return true, got(part, c) })
}

// eachPartFrom is eachPart from one partition on, until got says that it has enough.
func eachPartFrom[C goredis.Cmder](ctx context.Context, s *Store, u use, from int, ask func(p goredis.Pipeliner, part int) C, got func(part int, c C) (bool, error)) error {
	for ; from < id.Partitions; from += askedAtOnce {
		n := min(askedAtOnce, id.Partitions-from)
		cmds := make([]C, n)
		if err := s.db.run(ctx, u, func(p goredis.Pipeliner) {
			for i := range cmds {
				cmds[i] = ask(p, from+i)
			}
		}); err != nil {
			return err
		}
		for i, c := range cmds {
			if more, err := got(from+i, c); err != nil || !more {
				return err
			}
		}
	}
	return nil
}
