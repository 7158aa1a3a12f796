package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// A step that ends with conversation.Wiped is one call of the write script: the step's entries in the chain, a tombstone,
// and the end of everything else of the conversation, its data key above all. Of its state the end of the chain stays. A
// mark in its partition says that files are still to be scrubbed of it.

// Marks of what is still to be scrubbed: a conversation, a file of one. In a tenant's own rows: records.
const (
	markErased   = "e"
	markDetached = "f"
	markRecords  = "z"
)

// erases reports whether a step destroys its conversation.
func erases(st *store.Step) bool {
	if len(st.Events) == 0 {
		return false
	}
	_, ok := st.Events[len(st.Events)-1].Data.(*conversation.Wiped)
	return ok
}

// erase puts the destruction of the conversation into the script's arguments.
func (w *write) erase() error {
	st, s, r := &w.st, w.s, w.st.Ref
	if w.was == nil {
		return store.ErrStale
	}
	was := w.was.state
	if st.State.Open() || st.State.Working() || st.State.Owner.Kind == "" {
		return fmt.Errorf("%w: what is erased has to be closed", errUnsound)
	}
	w.now = &record{ref: r, state: st.State, ver: st.Op, key: w.was.key, head: w.was.head, ops: w.was.ops.with(st.Op)}
	if err := w.log(); err != nil { // for the digests of the entries; its row goes with the others
		return err
	}
	t := &w.txn
	for _, kind := range []string{"l", "f", "o"} {
		t.del(w.key(kind))
	}
	for _, field := range []string{"v", "ops", "st", "lt", "lx", "at", "ax", "ov", "al"} {
		t.hdel(w.key("s"), field)
	}
	t.hset(w.key("s"), "ah", encodeHead(w.now.head))
	t.hdel(s.keys.ofTenant(w.p, r.Tenant, "k"), r.ID)
	if w.bound == r.ID {
		t.hdel(s.keys.ofTenant(w.p, r.Tenant, "i"), identityOf(w.t, was.From))
	}
	for row, stored := range w.letters {
		t.hdel(s.keys.ofTenant(w.p, r.Tenant, "E"), row)
		t.zrem(s.keys.ofTenant(w.p, r.Tenant, "D"), stored[:8]+row)
	}
	t.zrem(s.keys.part(w.p, "r"), member(r))
	for name, at := range was.Timers {
		t.zrem(s.keys.part(w.p, "t"), dueMember(r, at, name))
	}
	t.zrem(s.keys.part(w.p, "o"), dueMember(r, 0, was.From.Channel))
	t.srem(s.keys.part(w.p, "q"), member(r))
	t.zadd(s.keys.ofTenant(w.p, r.Tenant, "y"), s.now(), r.ID) // for its chain
	for _, m := range paths(w.t, r, w.was, was) {
		t.zrem(s.keys.ofTenant(w.p, r.Tenant, "p"), m)
	}
	key := s.keys.ofTenant(w.p, r.Tenant, "b")
	row, err := sealJSON(w.t, aad(key, []byte(r.ID)), store.Tombstone{Conversation: r.ID, At: s.now(), Op: string(st.Op), Keep: st.Keep})
	if err != nil {
		return err
	}
	t.hset(key, r.ID, row)
	t.sadd(s.keys.ofTenant(w.p, r.Tenant, "z"), markErased+"/"+r.ID)
	return w.view()
}

// prepareErasure reads what leads to the conversation from outside of its own rows: where its address writes, and its dead
// letters, which are looked for among all of the tenant's in the partition. Both can only change with the conversation.
func (w *write) prepareErasure(ctx context.Context) error {
	if w.was == nil {
		return nil
	}
	s, r := w.s, w.st.Ref
	var bound *goredis.StringCmd
	var letters *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		bound = p.HGet(ctx, s.keys.ofTenant(w.p, r.Tenant, "i"), string(identityOf(w.t, w.was.state.From)))
		letters = p.HGetAll(ctx, s.keys.ofTenant(w.p, r.Tenant, "E"))
	}); err != nil {
		return err
	}
	w.bound = bound.Val()
	w.letters = map[string]string{}
	for row, stored := range letters.Val() {
		if len(stored) >= deadClear && stored[8:deadClear] == r.ID {
			w.letters[row] = stored
		}
	}
	if w.bound == r.ID { // another conversation may take the address over
		w.txn.equal(whyBind, s.keys.ofTenant(w.p, r.Tenant, "i"), string(identityOf(w.t, w.was.state.From)), w.bound)
	}
	return nil
}

// showErased takes a conversation that is durably gone out of this node's memory.
func (w *write) showErased() {
	s, r, was := w.s, w.st.Ref, w.was.state
	s.cache.remove(r)
	s.work.remove(dueKey{ref: r})
	for name := range was.Timers {
		s.timers.remove(dueKey{r, name})
	}
	s.outbox.of(r.Tenant, was.From.Channel).remove(dueKey{ref: r})
	s.blobs.forget(r)
}

// gone returns store.ErrErased or store.ErrNotFound for a conversation that cannot be loaded.
func (s *Store) gone(ctx context.Context, r store.Ref) error {
	_, err := s.Tombstone(ctx, r)
	if err == nil {
		return store.ErrErased
	}
	return err
}

// erasedBy reports whether a conversation was erased by an operation.
func (s *Store) erasedBy(ctx context.Context, r store.Ref, op store.Token) (bool, error) {
	stone, err := s.Tombstone(ctx, r)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && stone.Op == string(op), err
}

// Tombstone implements store.Erasure.
func (s *Store) Tombstone(ctx context.Context, r store.Ref) (stone store.Tombstone, err error) {
	if err := s.enter(ctx); err != nil {
		return stone, err
	}
	p, err := home(r)
	if err != nil {
		return stone, err
	}
	t, err := s.tenant(ctx, r.Tenant)
	if t == nil || err != nil {
		return stone, errors.Join(err, notFound(t == nil))
	}
	key := s.keys.ofTenant(p, r.Tenant, "b")
	var row *goredis.StringCmd
	var pending *goredis.BoolCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) {
		row = pipe.HGet(ctx, key, r.ID)
		pending = pipe.SIsMember(ctx, s.keys.ofTenant(p, r.Tenant, "z"), markErased+"/"+r.ID)
	}); err != nil {
		return stone, err
	}
	if row.Val() == "" {
		return stone, store.ErrNotFound
	}
	err = openJSON(t, aad(key, []byte(r.ID)), []byte(row.Val()), &stone)
	stone.Pending = pending.Val()
	return stone, err
}

// Erased implements store.Erasure.
func (s *Store) Erased(ctx context.Context, t store.Tenant, last string, limit int) (stones []store.Tombstone, err error) {
	if err := s.enter(ctx); err != nil || limit <= 0 {
		return nil, err
	}
	from := 0
	if last != "" {
		if from, err = id.Partition(id.Conversation, last); err != nil {
			return nil, store.ErrNotFound
		}
	}
	var ids []string
	if err := eachPartFrom(ctx, s, reading, from, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.HKeys(ctx, s.keys.ofTenant(part, t, "b"))
	}, func(_ int, c *goredis.StringSliceCmd) (bool, error) {
		list := c.Val()
		slices.Sort(list)
		for _, conv := range list {
			if conv > last {
				ids = append(ids, conv)
			}
		}
		return len(ids) < limit, nil
	}); err != nil {
		return nil, err
	}
	for _, conv := range ids[:min(limit, len(ids))] {
		stone, err := s.Tombstone(ctx, store.Ref{Tenant: t, ID: conv})
		if err != nil {
			return stones, err
		}
		stones = append(stones, stone)
	}
	return stones, nil
}

// Forget implements store.Erasure.
func (s *Store) Forget(ctx context.Context, r store.Ref) error {
	for range maxTries {
		stone, err := s.Tombstone(ctx, r)
		if err != nil || stone.Keep == nil {
			return err
		}
		p, err := home(r)
		if err != nil {
			return err
		}
		t, err := s.tenant(ctx, r.Tenant)
		if t == nil || err != nil {
			return errors.Join(err, notFound(t == nil))
		}
		stone.Keep, stone.Pending = nil, false
		key := s.keys.ofTenant(p, r.Tenant, "b")
		row, err := sealJSON(t, aad(key, []byte(r.ID)), stone)
		if err != nil {
			return err
		}
		var x txn
		x.hset(key, r.ID, row)
		// Whoever else forgets writes the same, and nobody writes anything else: repeating it does no harm.
		if _, err := s.db.commit(ctx, &x); !errors.Is(err, store.ErrUnknown) {
			return err
		}
	}
	return store.ErrUnknown
}

// Attachments implements store.Conversations.
func (s *Store) Attachments(ctx context.Context, r store.Ref, last string, limit int) (list []store.Attachment, err error) {
	rec, err := s.existing(ctx, r)
	if err != nil {
		return nil, err
	}
	p, err := home(r)
	if err != nil {
		return nil, err
	}
	key := s.keys.conversation(p, r, "f")
	var cmd *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { cmd = pipe.HGetAll(ctx, key) }); err != nil {
		return nil, err
	}
	var ids []string
	for name := range cmd.Val() {
		if name > last {
			ids = append(ids, name)
		}
	}
	slices.Sort(ids)
	for _, name := range ids[:max(0, min(limit, len(ids)))] {
		var a store.Attachment
		if err := openJSON(rec.key, aad(key, []byte(name)), []byte(cmd.Val()[name]), &a); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// prepareDetach reads the rows of the attachments whose bytes the step destroys.
func (w *write) prepareDetach(ctx context.Context) error {
	for _, attachment := range w.st.Detach {
		if _, err := id.Partition(id.Attachment, attachment); err != nil || w.was == nil {
			return fmt.Errorf("%w: no attachment to detach", errUnsound)
		}
	}
	if len(w.st.Detach) == 0 {
		return nil
	}
	var cmd *goredis.SliceCmd
	if err := w.s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.HMGet(ctx, w.key("f"), w.st.Detach...) }); err != nil {
		return err
	}
	w.files = cmd.Val()
	return nil
}

// detach takes the blobs of attachments out of their rows and marks the files.
func (w *write) detach() error {
	for i, v := range w.files {
		row, ok := v.(string)
		if !ok {
			continue
		}
		key, name := w.key("f"), w.st.Detach[i]
		var a store.Attachment
		if err := openJSON(w.now.key, aad(key, []byte(name)), []byte(row), &a); err != nil {
			return err
		}
		if a.Blob == "" {
			continue
		}
		w.txn.sadd(w.s.keys.ofTenant(w.p, w.st.Ref.Tenant, "z"), markDetached+"/"+w.st.Ref.ID+"/"+a.Blob)
		a.Blob = ""
		if err := w.put(key, name, a); err != nil {
			return err
		}
	}
	return nil
}

// Scrub implements store.Erasure. What was deleted stands in the append-only files of the servers, of replicas too, until
// they write them anew: so they are told to, and the marks go when all have. Blobs are removed before.
func (s *Store) Scrub(ctx context.Context) error {
	s.scrubbing.Lock()
	defer s.scrubbing.Unlock()
	marks, err := s.marks(ctx)
	if err != nil || len(marks) == 0 {
		return err
	}
	for _, m := range marks {
		if err := s.scrubFiles(ctx, m); err != nil {
			return fmt.Errorf("scrubbing: %w", err)
		}
	}
	if err := s.rewrite(ctx); err != nil {
		return fmt.Errorf("scrubbing: %w", err)
	}
	for len(marks) > 0 {
		page := marks[:min(askedAtOnce, len(marks))]
		marks = marks[len(page):]
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for _, m := range page {
				p.SRem(ctx, m.key, m.what)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

type mark struct {
	tenant    store.Tenant
	key, what string
}

// marks lists what is to be scrubbed.
func (s *Store) marks(ctx context.Context) (list []mark, err error) {
	tenants, err := s.allTenants(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tenants {
		keep := func(key string, c *goredis.StringSliceCmd) {
			for _, m := range c.Val() {
				list = append(list, mark{t, key, m})
			}
		}
		var own *goredis.StringSliceCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { own = p.SMembers(ctx, s.keys.own(t, markRecords)) }); err != nil {
			return nil, err
		}
		keep(s.keys.own(t, markRecords), own)
		if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
			return p.SMembers(ctx, s.keys.ofTenant(part, t, "z"))
		}, func(part int, c *goredis.StringSliceCmd) error {
			keep(s.keys.ofTenant(part, t, "z"), c)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// scrubFiles removes the blobs that a mark names.
func (s *Store) scrubFiles(ctx context.Context, m mark) error {
	kind, rest, _ := strings.Cut(m.what, "/")
	conv, blob, _ := strings.Cut(rest, "/")
	switch kind {
	case markErased:
		return s.blobs.files.RemoveAll(ctx, m.tenant.Name(), conv)
	case markDetached:
		return s.blobs.files.Remove(ctx, m.tenant.Name(), conv, blob)
	}
	return nil
}
