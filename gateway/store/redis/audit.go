package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// The fields of a tenant's own row: the end of its chain, whether it is marked for the next checkpoint, the number of the
// newest checkpoint, and up to which copies are outside.
const (
	ownHead   = "h"
	ownMarked = "m"
	ownNewest = "n"
	ownSent   = "w"
)

// Entries implements store.Audit. A conversation's chain is read without its key: it outlasts it.
func (s *Store) Entries(ctx context.Context, t store.Tenant, chain string, after uint64, limit int) ([][]byte, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if after == math.MaxUint64 || limit <= 0 {
		return nil, nil
	}
	if chain != "" {
		return s.entriesOf(ctx, store.Ref{Tenant: t, ID: chain}, after, limit)
	}
	var cmd *goredis.XMessageSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		cmd = p.XRangeN(ctx, s.keys.own(t, "a"), entryID(after+1), "+", int64(limit))
	}); err != nil {
		return nil, err
	}
	return bodies(cmd.Val())
}

// entriesOf returns entries of a conversation's chain: those that are archived, and behind them those in the stream.
func (s *Store) entriesOf(ctx context.Context, r store.Ref, after uint64, limit int) (out [][]byte, err error) {
	p, err := home(r)
	if err != nil {
		return nil, err
	}
	keys, err := s.tenant(ctx, r.Tenant)
	if keys == nil || err != nil {
		return nil, errors.Join(err, notFound(keys == nil))
	}
	state := s.keys.conversation(p, r, "s")
	var there *goredis.IntCmd
	var cmd *goredis.XMessageSliceCmd
	var archived *goredis.StringCmd
	// The list of what is archived is read last: what is no longer in the stream is in it.
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) {
		there = pipe.Exists(ctx, state)
		cmd = pipe.XRangeN(ctx, s.keys.conversation(p, r, "a"), entryID(after+1), "+", int64(limit))
		archived = pipe.HGet(ctx, state, "aa")
	}); err != nil {
		return nil, err
	}
	if there.Val() == 0 {
		return nil, store.ErrNotFound
	}
	h, err := decodeShelf([]byte(archived.Val()))
	if err != nil {
		return nil, err
	}
	if after < h.to() {
		if out, err = s.archivedEntries(ctx, keys, p, r, &h, after, limit); err != nil {
			return nil, err
		}
		after += uint64(len(out))
	}
	for _, m := range cmd.Val() {
		if n, _ := splitID(m.ID); n <= after { // it was archived since it was read
			continue
		}
		body, err := bodies([]goredis.XMessage{m})
		if err != nil {
			return nil, err
		}
		if len(out) < limit {
			out = append(out, body...)
		}
	}
	return out, nil
}

// bodies are the values of stream entries.
func bodies(list []goredis.XMessage) (out [][]byte, err error) {
	for _, m := range list {
		v, ok := m.Values["e"].(string)
		if !ok {
			return nil, fmt.Errorf("reading a stream: %w", errRow)
		}
		out = append(out, []byte(v))
	}
	return out, nil
}

// Append implements store.Audit.
func (s *Store) Append(ctx context.Context, t store.Tenant, e audit.Entry) error {
	return s.ownStep(ctx, t, func(_ map[string]string, _ *txn) (*audit.Entry, error) { return &e, nil })
}

// ownStep writes what make adds to a transaction on a tenant's own rows, with an entry in its chain if make returns one. fields
// is the tenant's own row; the step is made again when it has changed.
func (s *Store) ownStep(ctx context.Context, t store.Tenant, make func(fields map[string]string, x *txn) (*audit.Entry, error)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if _, err := s.makeTenant(ctx, t); err != nil {
		return err
	}
	key := s.keys.own(t, "s")
	unknown := error(nil)
	var wrote []byte // the end of the chain that an attempt of unknown outcome would have left
	for range maxTries {
		fields, err := s.ownFields(ctx, t)
		if err != nil {
			return err
		}
		if wrote != nil && fields[ownHead] == string(wrote) {
			return nil // it was written after all
		}
		head, err := decodeHead([]byte(fields[ownHead]))
		if err != nil {
			return err
		}
		var x txn
		if fields[ownHead] == "" {
			x.absent(whyVersion, key, ownHead)
		} else {
			x.equal(whyVersion, key, ownHead, fields[ownHead])
		}
		entry, err := make(fields, &x)
		if err != nil {
			return errors.Join(err, unknown)
		}
		if entry != nil {
			link, err := audit.Append(t.Name(), head, *entry)
			if err != nil {
				return err
			}
			wrote = encodeHead(link.Head)
			x.xadd(s.keys.own(t, "a"), entryID(link.Entry.N), link.Bytes)
			x.hset(key, ownHead, wrote)
			x.hset(key, ownMarked, "1")
		}
		switch why, err := s.db.commit(ctx, &x); {
		case err == nil && why == held:
			return nil
		case err == nil:
			wrote = nil
		case errors.Is(err, store.ErrUnknown) && entry != nil && ctx.Err() == nil && unknown == nil:
			unknown = err // looked at once more
		default:
			return err
		}
	}
	return &outcomeError{store.ErrUnavailable, errors.New("the tenant's chain does not come to rest")}
}

func (s *Store) ownFields(ctx context.Context, t store.Tenant) (map[string]string, error) {
	var cmd *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HGetAll(ctx, s.keys.own(t, "s")) }); err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// Chains implements store.Audit.
func (s *Store) Chains(ctx context.Context, t store.Tenant, last string, limit int) (chains []string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if limit <= 0 {
		return nil, nil
	}
	// Ids sort by their partition first.
	from, least := 0, "-"
	if last != "" {
		if from, err = id.Partition(id.Conversation, last); err != nil {
			return nil, store.ErrNotFound
		}
		least = "(" + last
	}
	err = eachPartFrom(ctx, s, reading, from, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.ZRangeByLex(ctx, s.keys.ofTenant(part, t, "c"), &goredis.ZRangeBy{Min: least, Max: "+", Count: int64(limit)})
	}, func(_ int, c *goredis.StringSliceCmd) (bool, error) {
		chains = append(chains, c.Val()...)
		return len(chains) < limit, nil
	})
	return chains[:min(limit, len(chains))], err
}

// allTenants lists every tenant that has keys, the operator too, sorted by name.
func (s *Store) allTenants(ctx context.Context) (out []store.Tenant, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var cmd *goredis.StringSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HKeys(ctx, s.keys.global("t")) }); err != nil {
		return nil, err
	}
	names := cmd.Val()
	slices.Sort(names)
	for _, name := range names {
		t, err := store.TenantOf(name)
		if err != nil {
			return nil, fmt.Errorf("reading tenants: %w", errRow)
		}
		out = append(out, t)
	}
	return out, nil
}
