package redis

import (
	"context"
	"errors"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// The lists of a partition follow from its conversations. What is missing from one, or stands in it without need, is looked
// at once more with the conversation as it is then, and mended by a write that compares its version: so nodes may work on.

// entry is a place that a conversation demands in a list of its partition: of work, timers, outboxes or what is with people
// (r, t, o, q), or of the access paths (p) of its tenant.
type entry struct {
	list, member string
	due          int64 // in r, t and o: when to look at it
	what         string
}

func (s *Store) entries(rec *record, t *seal.Tenant) (out []entry) {
	state, r := rec.state, rec.ref
	if state.Working() {
		out = append(out, entry{"r", member(r), rec.lease.Until, "the list of work"})
	}
	for name, at := range state.Timers {
		out = append(out, entry{"t", dueMember(r, at, name), at, "the list of timers"})
	}
	if len(rec.rows) > 0 {
		due := max(rec.rows[0].Row.Due, rec.attempt.Until)
		out = append(out, entry{"o", dueMember(r, 0, state.From.Channel), due, "the list of outboxes"})
	}
	if state.Open() {
		out = append(out, entry{"q", member(r), 0, "the list of what is with people"})
	}
	for _, m := range paths(t, r, rec, state) {
		out = append(out, entry{"p", m, 0, "an access path"})
	}
	return out
}

// listKey is the key of a list in a partition.
func (s *Store) listKey(part int, t store.Tenant, list string) string {
	if list == "p" {
		return s.keys.ofTenant(part, t, "p")
	}
	return s.keys.part(part, list)
}

// late is by how much later than it is due a conversation may be looked at: it is put off while somebody has it, ms.
const late = 600_000

// listed looks that a conversation stands in every list as it demands.
func (c *checker) listed(ctx context.Context, r store.Ref, t *seal.Tenant) error {
	part, err := home(r)
	if err != nil {
		return err
	}
	for range maxTries {
		rec, err := c.s.load(ctx, r)
		if rec == nil || err != nil {
			return err
		}
		wants := c.s.entries(rec, t)
		scores, in := make([]*goredis.FloatCmd, len(wants)), make([]*goredis.BoolCmd, len(wants))
		if err := c.s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for i, e := range wants {
				if key := c.s.listKey(part, r.Tenant, e.list); e.list == "q" {
					in[i] = p.SIsMember(ctx, key, e.member)
				} else {
					scores[i] = p.ZScore(ctx, key, e.member)
				}
			}
		}); err != nil {
			return err
		}
		key := c.s.keys.conversation(part, r, "s")
		var x txn
		x.equal(whyVersion, key, "v", string(rec.ver))
		if rec.outbox == "" {
			x.absent(whyOutbox, key, "ov")
		} else {
			x.equal(whyOutbox, key, "ov", rec.outbox)
		}
		var missing []string
		now := c.s.now()
		for i, e := range wants {
			where := c.s.listKey(part, r.Tenant, e.list)
			switch {
			case in[i] != nil && !in[i].Val():
				missing = append(missing, "it is missing from "+e.what)
				x.sadd(where, e.member)
			case scores[i] == nil:
			case scores[i].Err() != nil:
				missing = append(missing, "it is missing from "+e.what)
				x.zadd(where, e.due, e.member)
			case e.list != "p" && int64(scores[i].Val()) > max(e.due, now)+late:
				missing = append(missing, "it is too late in "+e.what)
				x.zadd(where, e.due, e.member)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		if !c.mends { // if it is still as it was
			x.writes = nil
		}
		why, err := c.s.db.commit(ctx, &x)
		if err != nil {
			return err
		}
		if why != held {
			c.s.cache.remove(r)
			continue
		}
		for _, m := range missing {
			if c.mends {
				c.rep.Mend("conversation %s: %s; it was put there as it demands", r.ID, strings.TrimPrefix(m, "it "))
			} else {
				c.fault("conversation %s: %s", r.ID, m)
			}
		}
		return nil
	}
	return store.ErrStale
}

// strangers looks at what stands in the lists and no conversation demanded.
func (c *checker) strangers(ctx context.Context) error {
	for _, name := range listNames {
		for m := range c.lists[name] {
			r, _, _, ok := parseMember(m)
			if !ok {
				c.fault("the list %s holds a member that is none", name)
				continue
			}
			keys, err := c.s.tenant(ctx, r.Tenant)
			if err != nil {
				return err
			}
			if err := c.stranger(ctx, r, keys, name, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// strangePath looks at a member of an access path that no conversation demanded.
func (c *checker) strangePath(ctx context.Context, t store.Tenant, keys *seal.Tenant, m string) error {
	conv := m[max(0, len(m)-idLen):]
	if _, err := id.Partition(id.Conversation, conv); err != nil {
		c.fault("tenant %s: a member of an access path that is none", t.Name())
		return nil
	}
	return c.stranger(ctx, store.Ref{Tenant: t, ID: conv}, keys, "p", m)
}

// stranger looks at a member of a list once more, and takes it away if its conversation does not demand it.
func (c *checker) stranger(ctx context.Context, r store.Ref, t *seal.Tenant, list, m string) error {
	part, err := home(r)
	if err != nil {
		return err
	}
	for range maxTries {
		rec, err := c.s.load(ctx, r)
		if err != nil {
			return err
		}
		key := c.s.keys.conversation(part, r, "s")
		var x txn
		if rec == nil {
			x.absent(whyVersion, key, "v")
		} else {
			x.equal(whyVersion, key, "v", string(rec.ver))
			for _, e := range c.s.entries(rec, t) {
				if e.list == list && e.member == m {
					return nil
				}
			}
		}
		var score *goredis.FloatCmd
		var in *goredis.BoolCmd
		where := c.s.listKey(part, r.Tenant, list)
		if err := c.s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			if list == "q" {
				in = p.SIsMember(ctx, where, m)
			} else {
				score = p.ZScore(ctx, where, m)
			}
		}); err != nil {
			return err
		}
		if in != nil && !in.Val() || score != nil && errors.Is(score.Err(), goredis.Nil) {
			return nil
		}
		switch {
		case !c.mends:
		case list == "q":
			x.srem(where, m)
		default:
			x.zrem(where, m)
		}
		why, err := c.s.db.commit(ctx, &x)
		if err != nil {
			return err
		}
		if why != held {
			c.s.cache.remove(r)
			continue
		}
		if c.mends {
			c.rep.Mend("conversation %s: it was taken out of list %s, which it does not demand", r.ID, list)
		} else {
			c.fault("conversation %s: a member of list %s that it does not demand", r.ID, list)
		}
		return nil
	}
	return store.ErrStale
}

// known looks that every conversation stands in the list by which all others are found here.
func (c *checker) known(ctx context.Context) error {
	s := c.s
	return s.scan(ctx, globbed(s.o.Prefix)+"{*}*/*:s", func(keys []string) error {
		type found struct {
			r     store.Ref
			list  string
			there *goredis.FloatCmd
			state *goredis.IntCmd
		}
		var page []found
		for _, k := range keys {
			_, rest, ok := strings.Cut(strings.TrimPrefix(k, s.o.Prefix), "}")
			r, _, _, form := parseMember(strings.TrimSuffix(rest, ":s"))
			part, err := home(r)
			if ok && form && err == nil && k == s.keys.conversation(part, r, "s") {
				page = append(page, found{r: r, list: s.keys.ofTenant(part, r.Tenant, "c")})
			}
		}
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for i := range page {
				f := &page[i]
				part, _ := home(f.r)
				f.there, f.state = p.ZScore(ctx, f.list, f.r.ID), p.Exists(ctx, s.keys.conversation(part, f.r, "s"))
			}
		}); err != nil {
			return err
		}
		for _, f := range page {
			if f.there.Err() == nil || f.state.Val() == 0 {
				continue
			}
			if !c.mends {
				c.fault("conversation %s: it is missing from the list of all", f.r.ID)
				continue
			}
			var x txn
			x.zadd(f.list, 0, f.r.ID) // none is ever taken out of it
			if _, err := s.db.commit(ctx, &x); err != nil {
				return err
			}
			c.rep.Mend("conversation %s: it was put into the list of all", f.r.ID)
		}
		return nil
	})
}
