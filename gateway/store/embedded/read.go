package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// Find implements store.Inbox.
func (s *Store) Find(ctx context.Context, t store.Tenant, a message.Address, ids []string) (store.Found, error) {
	p, err := s.lockReadPartition(ctx, id.PartitionOf(t.Name(), a.Channel, a.Address))
	if err != nil {
		return store.Found{}, err
	}
	defer s.unlockRead(p)
	keys, err := s.tenant(t)
	if keys == nil || err != nil {
		return store.Found{}, err
	}
	var found store.Found
	conv, err := s.writes(p, keys, t, a)
	if err != nil {
		return store.Found{}, err
	}
	if conv != "" {
		rec, err := s.record(store.Ref{Tenant: t, ID: conv})
		if err != nil {
			return store.Found{}, err
		}
		if rec != nil {
			if found.Snapshot, err = s.snapshot(p, rec); err != nil {
				return store.Found{}, err
			}
		}
	}
	if len(ids) == 0 {
		return found, nil
	}
	var few [4]idHash
	hashes := few[:0]
	for _, v := range ids {
		hashes = append(hashes, dedupeHash(keys, a, v))
	}
	known, err := s.known(p, hashes)
	if err != nil {
		return store.Found{}, err
	}
	for i, k := range known {
		if k.Conversation == "" {
			continue
		}
		if found.Known == nil {
			found.Known = map[string]store.Known{}
		}
		found.Known[ids[i]] = k
	}
	return found, nil
}

// writes returns the conversation in which an address writes, empty when it has none. The caller holds the partition's
// lock.
func (s *Store) writes(p *partition, keys *tenant, t store.Tenant, a message.Address) (string, error) {
	if conv, ok := p.recent.conversation(t, a); ok {
		return conv, nil
	}
	conv, err := s.get(identityKey(keys, a))
	if err != nil {
		return "", err
	}
	p.recent.bind(t, a, string(conv))
	return string(conv), nil
}

// snapshot shows a record to the outside. The caller holds the partition's lock.
func (s *Store) snapshot(p *partition, rec *record) (*store.Snapshot, error) {
	out, err := s.outgoing(rec)
	return &store.Snapshot{Ref: rec.ref, Version: rec.version(), State: rec.state, Lease: p.leases[rec.ref], Outgoing: out}, err
}

func identityKey(t *tenant, a message.Address) []byte {
	h := t.Hash("identity", a.Channel, a.Address, a.Thread)
	return append(tenantKey(t.Name(), 'i'), h[:]...)
}

// Load implements store.Conversations.
func (s *Store) Load(ctx context.Context, r store.Ref) (*store.Snapshot, error) {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil {
		return nil, err
	}
	return s.snapshot(p, rec)
}

// existing is record with store.ErrNotFound in place of nil.
func (s *Store) existing(r store.Ref) (*record, error) {
	rec, err := s.record(r)
	if err == nil && rec == nil {
		err = s.gone(r)
	}
	return rec, err
}

// Log implements store.Conversations.
func (s *Store) Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error) {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil || limit <= 0 || after >= rec.state.Seq {
		return nil, err
	}
	log, err := s.readLog(rec)
	if err != nil {
		return nil, err
	}
	row, err := log.at(after + 1)
	if err != nil {
		return nil, errors.Join(err, log.close())
	}
	events, err := log.collect(rec, row, after, false, limit)
	return events, errors.Join(err, log.close())
}

// Visible implements store.Conversations.
func (s *Store) Visible(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error) {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil || limit <= 0 || after >= rec.state.VSeq {
		return nil, err
	}
	log, err := s.readLog(rec)
	if err != nil {
		return nil, err
	}
	row, err := log.visible(rec, after)
	if err != nil {
		return nil, errors.Join(err, log.close())
	}
	events, err := log.collect(rec, row, after, true, limit)
	return events, errors.Join(err, log.close())
}

// Attachment implements store.Conversations.
func (s *Store) Attachment(ctx context.Context, r store.Ref, attachment string) (store.Attachment, error) {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return store.Attachment{}, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil {
		return store.Attachment{}, err
	}
	var a store.Attachment
	key := append(kindKey(conversationKey(r), kindAttachment), attachment...)
	row, err := s.get(key)
	if err != nil {
		return a, err
	}
	if row == nil {
		return a, store.ErrNotFound
	}
	err = openSealed(rec.key, key, row, &a)
	return a, err
}

// List implements store.Conversations.
func (s *Store) List(ctx context.Context, t store.Tenant, by store.Path, before string, limit int) ([]store.Ref, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	keys, err := s.tenant(t)
	if keys == nil || err != nil {
		return nil, err
	}
	prefix := pathPrefix(keys, path{by.Kind, by.Value})
	to := after(prefix)
	if before != "" {
		if _, err := id.Partition(id.Conversation, before); err != nil {
			return nil, store.ErrNotFound
		}
		to = pathKey(keys, path{by.Kind, by.Value}, before)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: to})
	if err != nil {
		return nil, s.readError(err)
	}
	var refs []store.Ref
	for ok := it.Last(); ok && len(refs) < limit; ok = it.Prev() {
		refs = append(refs, store.Ref{Tenant: t, ID: string(bytes.Clone(it.Key())[len(prefix)+8:])})
	}
	if err := it.Close(); err != nil {
		return nil, s.readError(err)
	}
	return s.confirmed(refs)
}

// confirmed waits until the commits that may have shown refs are durable: the rows of a path are read without their
// partitions' locks.
func (s *Store) confirmed(refs []store.Ref) ([]store.Ref, error) {
	for _, r := range refs {
		if n, err := id.Partition(id.Conversation, r.ID); err == nil {
			s.parts[n].pass()
		}
	}
	if err := s.trouble.now(); err != nil {
		return nil, err
	}
	return refs, nil
}

// pass returns when the commit that holds the partition, if there is one, is over.
func (p *partition) pass() {
	p.mu.RLock()
	defer p.mu.RUnlock()
}

// putSealed writes v as sealed JSON.
func putSealed(b *pebble.Batch, c *seal.Content, key []byte, v any) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding row: %w", err)
	}
	sealed, err := c.Seal(nil, key, plain)
	if err != nil {
		return err
	}
	if err := b.Set(key, sealed, nil); err != nil {
		return fmt.Errorf("building row: %w", err)
	}
	return nil
}

func openSealed(c *seal.Content, key, row []byte, v any) error {
	plain, err := c.Open(nil, key, row)
	if err != nil {
		return fmt.Errorf("reading row: %w", err)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("decoding row: %w", err)
	}
	return nil
}
