package redis

import (
	"context"
	"errors"
	"io"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/seal"
)

// Blobs keeps the bytes of attachments in files, each under the data key of its conversation. The keys are in the store, the
// files are not: nodes that share a store share the folder or the bucket that has them.
type Blobs struct {
	s     *Store
	files *blob.Store

	mu   sync.Mutex
	made map[store.Ref]madeKey
}

// madeKey is the data key of a conversation that does not exist yet.
type madeKey struct {
	key     *seal.Content
	wrapped string
}

// maxMade bounds the keys that are remembered; one that is forgotten is read again.
const maxMade = 1024

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
	// What was put for a conversation that was erased meanwhile is not kept, whether somebody still waits for it or not.
	ctx = context.WithoutCancel(ctx)
	if err := b.s.gone(ctx, r); errors.Is(err, store.ErrErased) {
		return "", 0, errors.Join(err, b.files.RemoveAll(ctx, r.Tenant.Name(), r.ID))
	}
	return name, size, nil
}

// Open returns the bytes of a blob, or store.ErrNotFound. Reading fails with seal.ErrOpen where the file is damaged.
func (b *Blobs) Open(ctx context.Context, r store.Ref, name string) (io.ReadCloser, error) {
	p, err := home(r)
	if err != nil {
		return nil, err
	}
	key, _, err := b.read(ctx, p, r)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, store.ErrNotFound
	}
	return b.files.Open(ctx, key, r.Tenant.Name(), r.ID, name)
}

// read returns the key of a conversation, nil when it has none.
func (b *Blobs) read(ctx context.Context, p int, r store.Ref) (*seal.Content, string, error) {
	s := b.s
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	t, err := s.tenant(ctx, r.Tenant)
	if t == nil || err != nil {
		return nil, "", err
	}
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { cmd = pipe.HGet(ctx, s.keys.ofTenant(p, r.Tenant, "k"), r.ID) }); err != nil {
		return nil, "", err
	}
	if cmd.Val() == "" {
		return nil, "", nil
	}
	key, err := t.OpenContent(r.ID, []byte(cmd.Val()))
	return key, cmd.Val(), err
}

// makeKey returns the key of a conversation, and makes it durably for one that does not exist yet.
func (b *Blobs) makeKey(ctx context.Context, r store.Ref) (*seal.Content, error) {
	p, err := home(r)
	if err != nil {
		return nil, err
	}
	s := b.s
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	t, err := s.makeTenant(ctx, r.Tenant)
	if err != nil {
		return nil, err
	}
	if key, _, err := b.find(ctx, p, r); key != nil || err != nil {
		return key, err
	}
	_, wrapped, err := t.NewContent(r.ID)
	if err != nil {
		return nil, err
	}
	var x txn
	where := s.keys.ofTenant(p, r.Tenant, "k")
	x.absent(whyErased, s.keys.ofTenant(p, r.Tenant, "b"), r.ID)
	x.absent(whyKey, where, r.ID)
	x.hset(where, r.ID, wrapped)
	if why, err := s.db.commit(ctx, &x); err != nil {
		return nil, err
	} else if why == whyErased {
		return nil, store.ErrErased
	}
	key, _, err := b.find(ctx, p, r) // of nodes that make one at once one wins
	return key, err
}

// find reads the key of a conversation and remembers it.
func (b *Blobs) find(ctx context.Context, p int, r store.Ref) (*seal.Content, string, error) {
	if key, wrapped := b.keyOf(r); key != nil {
		return key, wrapped, nil
	}
	key, wrapped, err := b.read(ctx, p, r)
	if key == nil || err != nil {
		return nil, "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made == nil {
		b.made = map[store.Ref]madeKey{}
	}
	if len(b.made) >= maxMade {
		for old := range b.made {
			delete(b.made, old)
			break
		}
	}
	b.made[r] = madeKey{key, wrapped}
	return key, wrapped, nil
}

// forget forgets the key of a conversation.
func (b *Blobs) forget(r store.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.made, r)
}

// keyOf returns a key that is remembered, nil for none.
func (b *Blobs) keyOf(r store.Ref) (*seal.Content, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.made[r]
	return m.key, m.wrapped
}
