package embedded

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// A step that ends with conversation.Wiped is one batch: the step's entries in the chain, a tombstone, and the end of
// everything else of the conversation, its data key above all. A mark in the global space says that files are still to be
// scrubbed of it (scrub.go); it goes when they are.

// kindTombstone is the kind of the row that stays. It comes behind the chain and before everything that is destroyed.
const kindTombstone = 'b'

// kindDestroyed is the first kind of row that an erasure takes away.
const kindDestroyed = kindTombstone + 1

// Marks of what is still to be scrubbed: a conversation, a file of one, records.
const (
	markErased   = 'e'
	markDetached = 'f'
	markRecord   = 'r'
)

// markKey is the key of a mark; what names a file, if it is one.
func markKey(kind byte, r store.Ref, what string) []byte {
	k := append(make([]byte, 0, keySize), spaceGlobal, kind)
	k = append(k, r.Tenant.Name()...)
	k = append(append(k, 0), r.ID...)
	return append(append(k, 0), what...)
}

// parseMark reads what markKey wrote.
func parseMark(k []byte) (kind byte, r store.Ref, what string, ok bool) {
	parts := bytes.SplitN(k[2:], []byte{0}, 3)
	if len(parts) != 3 {
		return 0, r, "", false
	}
	t, err := store.TenantOf(string(parts[0]))
	return k[1], store.Ref{Tenant: t, ID: string(parts[1])}, string(parts[2]), err == nil
}

// erases reports whether a step destroys its conversation.
func erases(st *store.Step) bool {
	if len(st.Events) == 0 {
		return false
	}
	_, ok := st.Events[len(st.Events)-1].Data.(*conversation.Wiped)
	return ok
}

// erase puts the destruction of the conversation into the batch.
func (w *write) erase() error {
	st, was := &w.st, w.was.state
	if st.State.Open() || st.State.Working() || st.State.Owner.Kind == "" {
		return fmt.Errorf("%w: what is erased has to be closed", errUnsound)
	}
	w.now = &record{ref: st.Ref, state: st.State, key: w.was.key, head: w.was.head, marked: w.was.marked, ops: w.was.ops.with(st.Op)}
	if err := w.log(); err != nil { // for the digests of the entries; its row goes with the others
		return err
	}
	if err := w.audit(); err != nil {
		return err
	}
	gone, err := w.found()
	if err != nil {
		return err
	}
	for _, o := range obligations(nil, was) {
		gone = append(gone, indexKey(o.kind, o.ms, st.Ref, o.name))
	}
	for _, p := range paths(nil, was) {
		gone = append(gone, pathKey(w.t, p, st.Ref.ID))
	}
	if w.p.work.has(st.Ref) {
		gone = append(gone, indexKey(dueWork, 0, st.Ref, ""))
	}
	if due, ok := w.s.outbox.row(st.Ref, was.From.Channel); ok {
		gone = append(gone, indexKey(dueOutbox, due, st.Ref, was.From.Channel))
	}
	for _, k := range gone {
		if err := w.batch.Delete(k, nil); err != nil {
			return fmt.Errorf("building erasure: %w", err)
		}
	}
	key := kindKey(w.prefix, kindTombstone)
	row, err := w.t.sealJSON(key, store.Tombstone{Conversation: st.Ref.ID, At: w.s.now(), Op: string(st.Op), Keep: st.Keep})
	if err != nil {
		return err
	}
	if err := errors.Join(
		w.batch.Delete(dataKeyKey(st.Ref), nil),
		w.batch.DeleteRange(kindKey(w.prefix, kindDestroyed), after(w.prefix), nil),
		w.batch.Set(key, row, nil),
		w.batch.Set(markKey(markErased, st.Ref, ""), nil, nil),
	); err != nil {
		return fmt.Errorf("building erasure: %w", err)
	}
	return nil
}

// found returns the keys of rows outside of the conversation's own that lead to it: where its address writes, and its dead
// letters, which are looked for among all of the tenant's.
func (w *write) found() (keys [][]byte, err error) {
	r := w.st.Ref
	identity := identityKey(w.t, w.was.state.From)
	conv, err := w.s.get(identity)
	if err != nil {
		return nil, err
	}
	if string(conv) == r.ID {
		keys = append(keys, identity)
	}
	prefix := tenantKey(r.Tenant.Name(), 'E')
	err = w.s.each(prefix, after(prefix), func(k, v []byte) (bool, error) {
		if len(v) == 8+idLen && string(v[8:]) == r.ID {
			dead := append(append(tenantKey(r.Tenant.Name(), 'D'), v[:8]...), k[len(prefix):]...)
			keys = append(keys, bytes.Clone(k), dead)
		}
		return true, nil
	})
	return keys, err
}

// showErased takes a conversation that is durably gone out of memory.
func (w *write) showErased() {
	s, r, was := w.s, w.st.Ref, w.was.state
	s.cache.remove(r)
	w.p.recent.forget(r.Tenant, was.From)
	delete(w.p.leases, r)
	delete(w.p.attempts, r)
	w.p.work.remove(r)
	s.work.remove(dueKey{ref: r})
	for name := range was.Timers {
		s.timers.remove(dueKey{r, name})
	}
	if q := s.outbox.of(r.Tenant, was.From.Channel, false); q != nil {
		q.remove(dueKey{ref: r})
	}
	s.queues.show(r, was, w.st.State)
}

// repeated returns what an erasure that was committed before returns.
func (s *Store) repeated(st *store.Step) (done store.Done, ok bool, err error) {
	t, err := s.tenant(st.Ref.Tenant)
	if t == nil || err != nil {
		return done, false, err
	}
	stone, err := s.tombstone(st.Ref, t)
	if errors.Is(err, store.ErrNotFound) {
		return done, false, nil
	}
	return store.Done{Version: st.Op, Repeat: true}, err == nil && stone.Op == string(st.Op), err
}

// gone returns store.ErrErased or store.ErrNotFound for a conversation without a state row. The caller holds the
// partition's lock.
func (s *Store) gone(r store.Ref) error {
	row, err := s.get(kindKey(conversationKey(r), kindTombstone))
	switch {
	case err != nil:
		return err
	case row != nil:
		return store.ErrErased
	}
	return store.ErrNotFound
}

// tombstone reads one. The caller holds the partition's lock, or that of a page of them.
func (s *Store) tombstone(r store.Ref, t *tenant) (stone store.Tombstone, err error) {
	key := kindKey(conversationKey(r), kindTombstone)
	row, err := s.get(key)
	if err != nil {
		return stone, err
	}
	if row == nil {
		return stone, store.ErrNotFound
	}
	if err := t.openJSON(key, row, &stone); err != nil {
		return stone, fmt.Errorf("reading a tombstone: %w", err)
	}
	mark, err := s.get(markKey(markErased, r, ""))
	stone.Pending = mark != nil
	return stone, err
}

// Tombstone implements store.Erasure.
func (s *Store) Tombstone(ctx context.Context, r store.Ref) (store.Tombstone, error) {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return store.Tombstone{}, err
	}
	defer s.unlockRead(p)
	t, err := s.tenant(r.Tenant)
	if t == nil || err != nil {
		return store.Tombstone{}, errors.Join(err, notFound(t == nil))
	}
	return s.tombstone(r, t)
}

// Erased implements store.Erasure.
func (s *Store) Erased(ctx context.Context, t store.Tenant, last string, limit int) (stones []store.Tombstone, err error) {
	for len(stones) < limit {
		chains, err := s.Chains(ctx, t, last, tombstonePage)
		if err != nil || len(chains) == 0 {
			return stones, err
		}
		for _, conv := range chains {
			last = conv
			stone, err := s.Tombstone(ctx, store.Ref{Tenant: t, ID: conv})
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return stones, err
			}
			if stones = append(stones, stone); len(stones) == limit {
				break
			}
		}
	}
	return stones, nil
}

const tombstonePage = 512

// Forget implements store.Erasure.
func (s *Store) Forget(ctx context.Context, r store.Ref) error {
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return err
	}
	defer s.unlockWrite(p)
	t, err := s.tenant(r.Tenant)
	if t == nil || err != nil {
		return errors.Join(err, notFound(t == nil))
	}
	stone, err := s.tombstone(r, t)
	if err != nil || stone.Keep == nil {
		return err
	}
	stone.Keep = nil
	key := kindKey(conversationKey(r), kindTombstone)
	row, err := t.sealJSON(key, stone)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(key, row, nil); err != nil {
		return fmt.Errorf("building a tombstone: %w", err)
	}
	return s.apply(b)
}

// sealJSON and openJSON keep a value in a row under the tenant's key.
func (t *tenant) sealJSON(key []byte, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding row: %w", err)
	}
	return t.Seal(nil, key, plain)
}

func (t *tenant) openJSON(key, row []byte, v any) error {
	plain, err := t.Open(nil, key, row)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("decoding row: %w", err)
	}
	return nil
}

// Attachments implements store.Conversations.
func (s *Store) Attachments(ctx context.Context, r store.Ref, last string, limit int) (list []store.Attachment, err error) {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.unlockRead(p)
	rec, err := s.existing(r)
	if err != nil {
		return nil, err
	}
	prefix := kindKey(conversationKey(r), kindAttachment)
	from := prefix
	if last != "" {
		from = append(append(bytes.Clone(prefix), last...), 0)
	}
	err = s.each(from, after(prefix), func(k, v []byte) (bool, error) {
		if len(list) >= limit {
			return false, nil
		}
		var a store.Attachment
		if err := openSealed(rec.key, k, v, &a); err != nil {
			return false, err
		}
		list = append(list, a)
		return true, nil
	})
	return list, err
}

// detach takes the blobs of attachments out of their rows and marks the files.
func (w *write) detach() error {
	for _, attachment := range w.st.Detach {
		if _, err := id.Partition(id.Attachment, attachment); err != nil || w.was == nil {
			return fmt.Errorf("%w: no attachment to detach", errUnsound)
		}
		key := append(kindKey(w.prefix, kindAttachment), attachment...)
		row, err := w.s.get(key)
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		var a store.Attachment
		if err := openSealed(w.now.key, key, row, &a); err != nil {
			return err
		}
		if a.Blob == "" {
			continue
		}
		if err := w.batch.Set(markKey(markDetached, w.st.Ref, a.Blob), nil, nil); err != nil {
			return fmt.Errorf("marking a file: %w", err)
		}
		a.Blob = ""
		if err := putSealed(w.batch, w.now.key, key, a); err != nil {
			return err
		}
	}
	return nil
}
