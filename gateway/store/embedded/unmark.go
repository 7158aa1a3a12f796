package embedded

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// unmark takes the marks of chains away that end where a checkpoint says.
func (s *Store) unmark(ctx context.Context, t store.Tenant, heads []audit.ChainHead) error {
	var byPart [id.Partitions][]audit.ChainHead
	for _, h := range heads {
		if h.Chain == t.Name() {
			if err := s.unmarkOwn(ctx, t, h); err != nil {
				return err
			}
			continue
		}
		part, err := id.Partition(id.Conversation, h.Chain)
		if err != nil {
			return fmt.Errorf("%w: no chain %q", errUnsound, h.Chain)
		}
		byPart[part] = append(byPart[part], h)
	}
	for _, list := range byPart {
		if len(list) == 0 {
			continue
		}
		if err := s.unmarkPart(ctx, t, list); err != nil {
			return err
		}
	}
	return nil
}

// unmarkPart is unmark for the chains of one partition.
func (s *Store) unmarkPart(ctx context.Context, t store.Tenant, heads []audit.ChainHead) error {
	p, err := s.lockWrite(ctx, store.Ref{Tenant: t, ID: heads[0].Chain})
	if err != nil {
		return err
	}
	defer s.unlockWrite(p)
	b := s.db.NewBatch()
	defer b.Close()
	var covered []store.Ref
	for _, h := range heads {
		r := store.Ref{Tenant: t, ID: h.Chain}
		head, err := s.chainHead(r)
		if err != nil {
			return err
		}
		if head != h.Head {
			continue // it has grown on: the next checkpoint's
		}
		if err := b.Delete(movedKey(t, h.Chain), nil); err != nil {
			return fmt.Errorf("building the end of a mark: %w", err)
		}
		covered = append(covered, r)
	}
	if err := s.applyLater(b); err != nil {
		return err
	}
	for _, r := range covered {
		if rec := s.cache.get(r); rec != nil && rec.marked {
			free := *rec
			free.marked = false
			s.cache.put(&free)
		}
	}
	return nil
}

// unmarkOwn is unmark for the tenant's own chain.
func (s *Store) unmarkOwn(ctx context.Context, t store.Tenant, h audit.ChainHead) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	keys, err := s.tenant(t)
	if keys == nil || err != nil {
		return err
	}
	keys.chain.Lock()
	defer keys.chain.Unlock()
	head, err := s.ownHead(t)
	if err != nil || head != h.Head {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Delete(movedKey(t, h.Chain), nil); err != nil {
		return fmt.Errorf("building the end of a mark: %w", err)
	}
	return s.applyLater(b)
}

// applyLater writes a batch that need not be durable before the next one that is.
func (s *Store) applyLater(b *pebble.Batch) (err error) {
	if b.Empty() {
		return nil
	}
	if err := s.trouble.now(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil { // Pebble keeps its locks
			s.failForGood(fmt.Errorf("committing: %v", p))
			err = store.ErrUnavailable
		}
	}()
	s.quiet.RLock()
	defer s.quiet.RUnlock()
	if err := b.Commit(pebble.NoSync); err != nil {
		s.fail(err)
		return store.ErrUnavailable
	}
	return nil
}
