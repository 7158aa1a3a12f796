package embedded

import (
	"context"
	"errors"
	"io"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/seal"
)

// Blobs keeps the bytes of attachments, each under the data key of its conversation.
type Blobs struct {
	s     *Store
	files *blob.Store
}

// Blobs returns the store's blobs.
func (s *Store) Blobs() *Blobs { return s.blobs }

// Put stores body durably and returns its name and size. The conversation need not exist yet: a customer's file may come
// before the first message. Errors: blob.ErrTooLarge over max bytes, store.ErrFull, store.ErrUnavailable,
// store.ErrNotFound for a malformed reference.
func (b *Blobs) Put(ctx context.Context, r store.Ref, body io.Reader, max int64) (name string, size int64, err error) {
	key, err := b.makeKey(ctx, r)
	if err != nil {
		return "", 0, err
	}
	if name, size, err = b.files.Put(ctx, key, r.Tenant.Name(), r.ID, body, max); err != nil {
		return "", 0, err
	}
	return name, size, b.kept(ctx, r)
}

// kept removes what was put for a conversation that was erased meanwhile.
func (b *Blobs) kept(ctx context.Context, r store.Ref) error {
	p, err := b.s.lockRead(ctx, r)
	if err != nil {
		return err
	}
	err = b.s.gone(r)
	b.s.unlockRead(p)
	if !errors.Is(err, store.ErrErased) {
		return nil
	}
	b.s.copying.Lock()
	defer b.s.copying.Unlock()
	return errors.Join(err, b.files.RemoveAll(ctx, r.Tenant.Name(), r.ID))
}

// Open returns the bytes of a blob, or store.ErrNotFound. Reading fails with seal.ErrOpen where the file is damaged.
func (b *Blobs) Open(ctx context.Context, r store.Ref, name string) (io.ReadCloser, error) {
	p, err := b.s.lockRead(ctx, r)
	if err != nil {
		return nil, err
	}
	key, err := b.s.dataKey(r)
	b.s.unlockRead(p)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, store.ErrNotFound
	}
	return b.files.Open(ctx, key, r.Tenant.Name(), r.ID, name)
}

// dataKey returns the key of a conversation, nil when it has none. The caller holds the partition's lock.
func (s *Store) dataKey(r store.Ref) (*seal.Content, error) {
	if rec := s.cache.get(r); rec != nil {
		return rec.key, nil
	}
	t, err := s.tenant(r.Tenant)
	if t == nil || err != nil {
		return nil, err
	}
	return s.content(r, t)
}

// makeKey returns the key of a conversation, and makes it durably for one that does not exist yet.
func (b *Blobs) makeKey(ctx context.Context, r store.Ref) (*seal.Content, error) {
	s := b.s
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.unlockWrite(p)
	if err := s.gate.check(); err != nil {
		return nil, err
	}
	t, err := s.makeTenant(r.Tenant)
	if err != nil {
		return nil, err
	}
	if key, err := s.dataKey(r); key != nil || err != nil {
		return key, err
	}
	if err := s.gone(r); !errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrErased) {
		return nil, err
	}
	key, wrapped, err := t.NewContent(r.ID)
	if err != nil {
		return nil, err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := batch.Set(dataKeyKey(r), wrapped, nil); err != nil {
		return nil, err
	}
	return key, s.apply(batch)
}
