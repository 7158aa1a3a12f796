package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

// checkCheckpoints looks that the checkpoints of each tenant follow each other and vouch for the chains as they stand. Who
// signed them is for those to see who have a key.
func (s *Store) checkCheckpoints(ctx context.Context, rep *checking) error {
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return err
	}
	// The ends of all chains are not held at once: what is read goes round as often as it takes.
	rounds := uint32(1 + rep.Conversations/headsAtOnce)
	for _, t := range append(tenants, store.Operator) {
		for round := range rounds {
			if err := s.checkCheckpointsOf(ctx, t, rep, func(chain string) bool { return roundOf(chain)%rounds == round }); err != nil {
				return err
			}
		}
	}
	return nil
}

// headsAtOnce is of about how many chains the ends are held.
const headsAtOnce = 100_000

func roundOf(chain string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(chain))
	return h.Sum32()
}

func (s *Store) checkCheckpointsOf(ctx context.Context, t store.Tenant, rep *checking, mine func(chain string) bool) error {
	fault := func(format string, args ...any) {
		rep.Fault("tenant %s: %s", t.Name(), fmt.Sprintf(format, args...))
	}
	var last audit.Checkpoint
	var hash [32]byte
	heads := map[string]audit.Head{}
	for {
		list, err := s.Checkpoints(ctx, t, last.Number, 16)
		if errors.Is(err, form.ErrCheckpoint) {
			fault("checkpoints after %d: %v", last.Number, err)
			return nil
		}
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		for _, sealed := range list {
			c, err := audit.ReadCheckpoint(sealed.Note)
			if err != nil || c.Number != last.Number+1 || c.Previous != hash || c.Tenant != t.Name() {
				fault("checkpoint %d: it does not follow the one before", last.Number+1)
				return nil
			}
			if root, err := audit.Root(sealed.Heads); err != nil || root != c.Root || c.Heads != len(sealed.Heads) {
				fault("checkpoint %d: its root is not that of its heads", c.Number)
			}
			for _, h := range sealed.Heads {
				if mine(h.Chain) {
					heads[h.Chain] = h.Head
				}
			}
			last, hash = c, c.Hash()
		}
	}
	if err := s.checkCovered(ctx, t, heads, fault); err != nil {
		return err
	}
	return s.checkMarks(ctx, t, last.Number, heads, mine, fault)
}

// checkCovered looks that the chains have the entries that the checkpoints vouch for.
func (s *Store) checkCovered(ctx context.Context, t store.Tenant, heads map[string]audit.Head, fault func(string, ...any)) error {
	for chain, h := range heads {
		name := chain
		if name == t.Name() {
			name = ""
		}
		entries, err := s.Entries(ctx, t, name, h.N-1, 1)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if len(entries) != 1 || sha256.Sum256(entries[0]) != h.Hash {
			fault("chain %s: entry %d is not the one that a checkpoint vouches for", chain, h.N)
		}
	}
	return nil
}

// checkMarks looks that every chain that has grown since its last checkpoint is marked for the next one. newest is the number
// of the checkpoint up to which heads are known.
func (s *Store) checkMarks(ctx context.Context, t store.Tenant, newest uint64, heads map[string]audit.Head, mine func(string) bool, fault func(string, ...any)) error {
	const page = 256
	names := []string{t.Name()}
	for len(names) > 0 {
		for _, name := range names {
			if !mine(name) {
				continue
			}
			marked, head, err := s.marked(ctx, t, name)
			if err != nil {
				return err
			}
			if marked || head == heads[name] {
				continue
			}
			if more, err := s.Checkpoints(ctx, t, newest, 1); err != nil || len(more) > 0 {
				return err // it was sealed meanwhile
			}
			fault("chain %s has grown to entry %d, and no checkpoint will cover that", name, head.N)
		}
		after := names[len(names)-1]
		if after == t.Name() {
			after = ""
		}
		var err error
		if names, err = s.Chains(ctx, t, after, page); err != nil {
			return err
		}
	}
	return nil
}

// marked returns whether a chain is marked, and its end.
func (s *Store) marked(ctx context.Context, t store.Tenant, chain string) (bool, audit.Head, error) {
	head, err := s.headOf(ctx, t, chain)
	if err != nil {
		return false, head, err
	}
	if err := s.enter(ctx); err != nil {
		return false, head, err
	}
	defer s.life.RUnlock()
	_, closer, err := s.db.Get(movedKey(t, chain))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return false, head, nil
	case err != nil:
		return false, head, s.readError(err)
	}
	return true, head, closer.Close()
}
