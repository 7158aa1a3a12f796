package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"
)

// txn is a comparison and what to write if it holds: one call of the write script. All its keys lie in one slot.
type txn struct {
	keys    []string
	byKey   map[string]int
	guards  []any
	writes  []any
	reasons []reason // by guard
}

// reason says what a guard stands for.
type reason byte

const (
	held     reason = iota // every guard held
	whyKnown               // a message id is known
	whyVersion
	whyLease
	whyBind
	whyOutbox
	whyKey
	whyGeneration
	whyDead
	whyErased
	whyOther
)

func (t *txn) key(k string) int {
	if n, ok := t.byKey[k]; ok {
		return n
	}
	if t.byKey == nil {
		t.byKey = map[string]int{}
	}
	t.keys = append(t.keys, k)
	t.byKey[k] = len(t.keys)
	return len(t.keys)
}

func (t *txn) guard(why reason, letter, key string, args ...any) {
	t.reasons = append(t.reasons, why)
	t.guards = append(append(t.guards, letter, t.key(key)), args...)
}

// same is equal for a value, absent for none.
func (t *txn) same(why reason, key, field, value string) {
	if value == "" {
		t.absent(why, key, field)
	} else {
		t.equal(why, key, field, value)
	}
}

// equal, absent and past compare a field of a hash: it has the value, there is none, its number is not above or there is
// none.
func (t *txn) equal(why reason, key, field string, value any) { t.guard(why, "=", key, field, value) }
func (t *txn) absent(why reason, key string, field any)       { t.guard(why, "!", key, field) }
func (t *txn) past(why reason, key, field string, now int64)  { t.guard(why, "<", key, field, now) }

func (t *txn) write(letter, key string, args ...any) {
	t.writes = append(append(t.writes, letter, t.key(key)), args...)
}

func (t *txn) hset(key string, field, value any)    { t.write("H", key, field, value) }
func (t *txn) hdel(key string, field any)           { t.write("D", key, field) }
func (t *txn) zadd(key string, score int64, m any)  { t.write("Z", key, score, m) }
func (t *txn) zrem(key string, m any)               { t.write("R", key, m) }
func (t *txn) xadd(key string, id string, v []byte) { t.write("X", key, id, v) }
func (t *txn) sadd(key string, m any)               { t.write("S", key, m) }
func (t *txn) srem(key string, m any)               { t.write("T", key, m) }
func (t *txn) expire(key string, ms int64)          { t.write("P", key, ms) }
func (t *txn) trim(key string, id string)           { t.write("M", key, id) }
func (t *txn) del(key string)                       { t.write("K", key) }

// args are the arguments of the script.
func (t *txn) args() []any {
	args := make([]any, 0, 1+len(t.guards)+len(t.writes))
	args = append(args, len(t.reasons))
	return append(append(args, t.guards...), t.writes...)
}

// commit runs t. Without an error it wrote when the reason is held, and nothing otherwise.
func (d *db) commit(ctx context.Context, t *txn) (reason, error) {
	args := t.args()
	var cmd *goredis.Cmd
	if err := d.run(ctx, writing, func(p goredis.Pipeliner) {
		cmd = p.EvalSha(ctx, d.scripts.write.Hash(), t.keys, args...)
	}); err != nil {
		return held, err
	}
	n, err := cmd.Int()
	if err != nil || n < 0 || n > len(t.reasons) {
		return held, fmt.Errorf("redis answered a write with %d, %w", n, err)
	}
	if n == 0 {
		return held, nil
	}
	return t.reasons[n-1], nil
}
