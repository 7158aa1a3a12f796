package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/store"
)

// What Check looks at of archives. That segments open, follow each other and hold the conversation's own is seen by reading
// the log and the chain through them.

// resting reads which conversations of a tenant are listed as closed and not archived.
func (c *checker) resting(ctx context.Context, t store.Tenant) error {
	c.closed = map[string]bool{}
	return eachPart(ctx, c.s, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.ZRange(ctx, c.s.keys.ofTenant(part, t, "y"), 0, -1)
	}, func(_ int, cmd *goredis.StringSliceCmd) error {
		for _, conv := range cmd.Val() {
			c.closed[conv] = true
		}
		return nil
	})
}

// rests looks that a conversation is listed if it is closed and has rows to archive, and not while it is open. A list that
// is out of date is read again.
func (c *checker) rests(ctx context.Context, rec *record, fault func(string, ...any)) error {
	closed := rec.state.Owner.Kind == message.OwnerClosed
	wrong := func(listed bool) bool {
		return closed && rec.shelf.to() < rec.state.Seq && !listed || !closed && listed
	}
	if listed := c.closed[rec.ref.ID]; !wrong(listed) {
		return nil
	}
	p, err := home(rec.ref)
	if err != nil {
		return err
	}
	var score *goredis.FloatCmd
	var ver, archived *goredis.StringCmd
	state := c.s.keys.conversation(p, rec.ref, "s")
	if err := c.s.db.run(ctx, reading, func(pipe goredis.Pipeliner) {
		score = pipe.ZScore(ctx, c.s.keys.ofTenant(p, rec.ref.Tenant, "y"), rec.ref.ID)
		ver, archived = pipe.HGet(ctx, state, "v"), pipe.HGet(ctx, state, "al")
	}); err != nil {
		return err
	}
	h, err := decodeShelf([]byte(archived.Val()))
	if err != nil || ver.Val() != string(rec.ver) || h.to() != rec.shelf.to() || !wrong(score.Err() == nil) {
		return err // it has moved on
	}
	if closed {
		fault("it is closed and missing from the list of what is to be archived")
	} else {
		fault("it is open and on the list of what is to be archived")
	}
	return nil
}
