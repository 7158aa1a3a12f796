package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/transfer"
)

var _ transfer.Target = (*Target)(nil)

// Target is a store on a server that a copy makes.
type Target struct {
	o    Options
	s    *Store
	mark []byte // what the store says of itself until it is finished

	keys *seal.Tenant // of the tenant that was put last
	conv *record      // the conversation that was put last, without its key when it was erased
	part int
	head bool // its outbox is in the list

	// plain are commands that may be repeated and done in any order, calls those of the write script. newest are the fields
	// that name the newest of something: each is written once, with what was put of it.
	plain  []func(goredis.Pipeliner)
	calls  []*call
	newest map[[2]string]uint64
	size   int // of all, in bytes, about
}

// call is a call of the write script. One that appends to a stream names it, and the last id that it appends: by that is
// seen whether it was done.
type call struct {
	txn          txn
	stream, last string
	n            int
	size         int
}

const (
	filledAtOnce = 512 // commands
	filledBytes  = 1 << 20
	appendBytes  = 256 << 10 // of one call
)

// NewTarget returns the target on the server of o, where there must be nothing under the prefix, a store in which nothing has
// happened, or what an interrupted copy has left.
func NewTarget(o Options) *Target { return &Target{o: o, newest: map[[2]string]uint64{}} }

// Begin implements transfer.Target.
func (t *Target) Begin(ctx context.Context, from transfer.About) error {
	s, err := prepare(t.o)
	if err != nil {
		return err
	}
	t.s = s
	if err := t.begin(ctx, from); err != nil {
		return fmt.Errorf("making the target %s: %w", s.where(), err)
	}
	return nil
}

func (t *Target) begin(ctx context.Context, from transfer.About) error {
	s := t.s
	if err := s.root.Verify(from.Root); err != nil {
		return fmt.Errorf("its root key has to be that of the source: %w", err)
	}
	if d := s.o.Dedupe; d.Generations != from.Generations || d.Length != from.Length {
		return fmt.Errorf("it would keep %d dedupe generations of %v, the source keeps %d of %v", d.Generations, d.Length, from.Generations, from.Length)
	}
	if _, err := s.examine(ctx); err != nil {
		return err
	}
	m, row, err := s.readMeta(ctx)
	switch {
	case err != nil:
		return err
	case row == "":
		if err := s.nothing(ctx, "there are keys under the prefix %q, and no store: name another prefix or database"); err != nil {
			return err
		}
	case m.Copy == nil: // one in which nothing has happened gives way
		if err := s.nothing(ctx, "there is a store already under the prefix %q: name another prefix or database"); err != nil {
			return err
		}
	case m.Copy.From != from.Name:
		return fmt.Errorf("a copy of another store, %s, was interrupted here: finish that one, or take away what is there", m.Copy.From)
	}
	if t.mark, err = s.meta(&copyMark{From: from.Name, At: s.now()}); err != nil {
		return err
	}
	if err := t.say(ctx, row, t.mark); err != nil {
		return err
	}
	// A node looks at what the store says of itself once it is among the nodes; so one of the two sees the other.
	if err := s.unused(ctx); err != nil {
		return err
	}
	if row != "" {
		if err := s.takeAway(ctx); err != nil {
			return err
		}
	}
	if from.Newest == 0 {
		return nil
	}
	for part := range id.Partitions {
		key := s.keys.part(part, "g")
		t.command(64, func(p goredis.Pipeliner) { p.HSet(ctx, key, "gen", from.Newest) })
		s.gens.set(part, from.Newest)
	}
	return t.Flush(ctx)
}

// say makes what the store says of itself be what it should, if it is what it was, "" for nothing.
func (t *Target) say(ctx context.Context, was string, now []byte) error {
	key := t.s.keys.global("m")
	var x txn
	if was == "" {
		x.absent(whyOther, key, "meta")
	} else {
		x.equal(whyOther, key, "meta", was)
	}
	x.hset(key, "meta", now)
	x.hset(key, metaEvents, t.s.o.Events.Newest()) // what is copied may be of it
	for range maxTries {
		why, err := t.s.db.commit(ctx, &x)
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			return err
		}
		if err == nil && why == held {
			return nil
		}
		_, row, err := t.s.readMeta(ctx)
		switch {
		case err != nil:
			return err
		case row == string(now):
			return nil // the attempt of unknown outcome was done
		case row != was:
			return errors.New("somebody else makes a store there")
		}
	}
	return store.ErrUnknown
}

// everything is the pattern of all keys of the store. Behind the prefix there is always a tag, so that a store whose prefix
// begins with that of this one keeps its own.
func (s *Store) everything() string { return globbed(s.o.Prefix) + "{*" }

// nothing fails with a sentence about the prefix when the store has any key but those of every store.
func (s *Store) nothing(ctx context.Context, sentence string) error {
	return s.scan(ctx, s.everything(), func(keys []string) error {
		for _, k := range keys {
			if k != s.keys.global("m") && k != s.keys.global("n") {
				return fmt.Errorf(sentence, s.o.Prefix)
			}
		}
		return nil
	})
}

// takeAway takes every key of the store away but what it says of itself, also out of the server's files: a person may have
// been erased at the source since.
func (s *Store) takeAway(ctx context.Context) error {
	if err := s.scan(ctx, s.everything(), func(keys []string) error {
		keys = slices.DeleteFunc(keys, func(k string) bool { return k == s.keys.global("m") || k == s.keys.global("n") })
		if len(keys) == 0 {
			return nil
		}
		return s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for _, k := range keys { // they lie in different slots
				p.Unlink(ctx, k)
			}
		})
	}); err != nil {
		return fmt.Errorf("taking away what an interrupted copy has left: %w", err)
	}
	return s.rewrite(ctx)
}

// command adds a command that may be repeated.
func (t *Target) command(size int, c func(p goredis.Pipeliner)) {
	t.plain = append(t.plain, c)
	t.size += size
}

// hset sets a field of a hash.
func (t *Target) hset(ctx context.Context, key, field string, value any) {
	size := len(key) + len(field)
	if b, ok := value.([]byte); ok {
		size += len(b)
	}
	t.command(size, func(p goredis.Pipeliner) { p.HSet(ctx, key, field, value) })
}

// append appends to a stream, in one call with what was appended to it before. Two calls are never on their way at once:
// they could be done in the wrong order.
func (t *Target) append(ctx context.Context, key, id string, value []byte) error {
	var c *call
	if n := len(t.calls); n > 0 && t.calls[n-1].stream == key {
		if c = t.calls[n-1]; c.n == rowsAtOnce || c.size >= appendBytes {
			if err := t.Flush(ctx); err != nil {
				return err
			}
			c = nil
		}
	}
	if c == nil {
		c = &call{stream: key}
		t.calls = append(t.calls, c)
	}
	c.txn.xadd(key, id, value)
	c.last = id
	c.n++
	c.size += len(value)
	t.size += len(value)
	return nil
}

// Put implements transfer.Target.
func (t *Target) Put(ctx context.Context, item transfer.Item) error {
	if of, ok := transfer.Within(item); ok && (t.conv == nil || t.conv.ref != of) {
		return transfer.ErrAstray
	}
	if err := t.put(ctx, item); err != nil {
		return err
	}
	if len(t.plain)+len(t.calls) < filledAtOnce && t.size < filledBytes {
		return nil
	}
	return t.Flush(ctx)
}

func (t *Target) put(ctx context.Context, item transfer.Item) error {
	k := t.s.keys
	switch i := item.(type) {
	case transfer.Tenant:
		return t.tenant(ctx, i)
	case transfer.Entry:
		key := k.own(i.Ref.Tenant, "a")
		if i.Ref.ID != "" {
			key = k.conversation(t.part, i.Ref, "a")
		}
		return t.append(ctx, key, entryID(i.N), slices.Clone(i.Body))
	case transfer.Checkpoint:
		t.newest[[2]string{k.own(i.Tenant, "s"), ownNewest}] = i.N
		return t.append(ctx, k.own(i.Tenant, "k"), entryID(i.N), form.EncodeCheckpoint(i.Sealed))
	case transfer.Version:
		key, field := k.own(i.Tenant, "v:"+i.Name), strconv.Itoa(i.Doc.N)
		t.newest[[2]string{key, newestVersion}] = uint64(i.Doc.N)
		return t.sealed(ctx, t.keys, key, field, nil, i.Doc)
	case transfer.Record:
		key := t.s.recordKey(i.Tenant, i.Record.Kind)
		row, err := t.keys.Seal([]byte(i.Record.Version+"\n"), recordAAD(key, i.Record.ID, i.Record.Version), i.Record.Body)
		if err != nil {
			return err
		}
		t.hset(ctx, key, i.Record.ID, row)
	case transfer.Answer:
		return t.answer(ctx, i)
	case transfer.Conversation:
		return t.conversation(ctx, i)
	case transfer.Erasure:
		return t.erasure(ctx, i)
	case transfer.LogRow:
		return t.logRow(ctx, i)
	case transfer.Attachment:
		return t.sealed(ctx, t.conv.key, k.conversation(t.part, i.Ref, "f"), i.Row.ID, nil, i.Row)
	case transfer.Sending:
		return t.sending(ctx, i)
	case transfer.Blob:
		return putBlob(ctx, t.s, i)
	case transfer.Key:
		part, err := home(i.Ref)
		if err != nil {
			return err
		}
		t.hset(ctx, k.ofTenant(part, i.Ref.Tenant, "k"), i.Ref.ID, slices.Clone(i.Wrapped))
	case transfer.DeadLetter:
		return t.deadLetter(ctx, i)
	case transfer.Identity:
		part, err := id.Partition(id.Conversation, i.Conversation)
		if err != nil {
			return err
		}
		t.hset(ctx, k.ofTenant(part, i.Tenant, "i"), string(i.Hash[:]), i.Conversation)
	case transfer.MessageID:
		return t.messageID(ctx, i)
	default:
		return fmt.Errorf("this store does not know what %s are", item.Kind())
	}
	return nil
}

// sealed sets a field to a sealed value behind a clear part.
func (t *Target) sealed(ctx context.Context, by sealer, key, field string, clear []byte, v any) error {
	row, err := sealJSON(by, aad(key, []byte(field), clear), v)
	if err != nil {
		return err
	}
	t.hset(ctx, key, field, append(slices.Clone(clear), row...))
	return nil
}

func (t *Target) tenant(ctx context.Context, i transfer.Tenant) (err error) {
	if t.keys, err = t.s.root.OpenTenant(i.Tenant.Name(), i.Wrapped); err != nil {
		return err
	}
	t.s.tenants.put(i.Tenant.Name(), tenantKeys{t.keys, string(i.Wrapped)})
	t.hset(ctx, t.s.keys.global("t"), i.Tenant.Name(), slices.Clone(i.Wrapped))
	own := t.s.keys.own(i.Tenant, "s")
	if i.Head.N > 0 {
		t.hset(ctx, own, ownHead, encodeHead(i.Head))
	}
	if i.Moved {
		t.hset(ctx, own, ownMarked, "1")
	}
	if i.Sent > 0 {
		t.hset(ctx, own, ownSent, i.Sent)
	}
	if i.Scrub {
		key := t.s.keys.own(i.Tenant, markRecords)
		t.command(len(key), func(p goredis.Pipeliner) { p.SAdd(ctx, key, "r") })
	}
	return nil
}

func (t *Target) answer(ctx context.Context, i transfer.Answer) error {
	key := t.s.answerKey(i.Tenant, i.Answer.Key)
	row, err := sealJSON(t.keys, []byte(key), i.Answer)
	if err != nil {
		return err
	}
	if left := i.Answer.Until - t.s.now(); left > 0 {
		t.command(len(key)+len(row), func(p goredis.Pipeliner) { p.Set(ctx, key, row, time.Duration(left)*time.Millisecond) })
	}
	return nil
}

// conversation writes a conversation as the step does that creates one, but for its log.
func (t *Target) conversation(ctx context.Context, i transfer.Conversation) (err error) {
	if t.part, err = home(i.Ref); err != nil {
		return err
	}
	s := t.s
	key, err := t.keys.OpenContent(i.Ref.ID, i.Wrapped)
	if err != nil {
		return err
	}
	if len(i.Ops) == 0 || len(i.Ops) > keptOps || i.Version == "" {
		return errors.New("its last operations are none")
	}
	rec := &record{ref: i.Ref, state: i.State, ver: i.Version, head: i.Head, key: key}
	for _, m := range i.Ops {
		rec.ops = append(rec.ops, m[:]...)
	}
	t.conv, t.head = rec, false
	w := &write{s: s, t: t.keys, p: t.part, st: store.Step{Ref: i.Ref, State: i.State}, now: rec}
	if err := w.state(); err != nil {
		return err
	}
	w.lists()
	if i.State.Working() { // nobody is at it
		w.txn.zadd(s.keys.part(t.part, "r"), s.now(), member(i.Ref))
	}
	if err := w.view(); err != nil {
		return err
	}
	w.txn.hset(s.keys.ofTenant(t.part, i.Ref.Tenant, "k"), i.Ref.ID, slices.Clone(i.Wrapped))
	for _, name := range i.Detached {
		w.txn.sadd(s.keys.ofTenant(t.part, i.Ref.Tenant, "z"), markDetached+"/"+i.Ref.ID+"/"+name)
	}
	if i.Moved {
		w.txn.sadd(s.keys.ofTenant(t.part, i.Ref.Tenant, "m"), i.Ref.ID)
	}
	t.calls = append(t.calls, &call{txn: w.txn})
	t.size += 1 << 10
	return ctx.Err()
}

func (t *Target) erasure(ctx context.Context, i transfer.Erasure) (err error) {
	t.conv = &record{ref: i.Ref}
	if t.part, err = home(i.Ref); err != nil {
		return err
	}
	s, r := t.s, i.Ref
	add := func(key string, m string) {
		t.command(len(key)+len(m), func(p goredis.Pipeliner) { p.SAdd(ctx, key, m) })
	}
	if i.Moved {
		add(s.keys.ofTenant(t.part, r.Tenant, "m"), r.ID)
	}
	if i.Stone.Pending {
		add(s.keys.ofTenant(t.part, r.Tenant, "z"), markErased+"/"+r.ID)
	} else if err := s.blobs.files.RemoveAll(ctx, r.Tenant.Name(), r.ID); err != nil {
		return err
	}
	i.Stone.Pending = false // a mark says so
	list := s.keys.ofTenant(t.part, r.Tenant, "c")
	t.command(len(list), func(p goredis.Pipeliner) { p.ZAdd(ctx, list, goredis.Z{Member: r.ID}) })
	resting := s.keys.ofTenant(t.part, r.Tenant, "y")
	t.command(len(resting), func(p goredis.Pipeliner) { p.ZAdd(ctx, resting, goredis.Z{Score: float64(i.Stone.At), Member: r.ID}) })
	t.hset(ctx, s.keys.conversation(t.part, r, "s"), "ah", encodeHead(i.Head))
	return t.sealed(ctx, t.keys, s.keys.ofTenant(t.part, r.Tenant, "b"), r.ID, nil, i.Stone)
}

func (t *Target) logRow(ctx context.Context, i transfer.LogRow) error {
	if len(i.Events) == 0 {
		return errLog
	}
	sp := span{first: i.First, last: i.First + uint64(len(i.Events)) - 1, seen: i.Seen, upTo: i.Seen}
	var plain []byte
	for _, e := range i.Events {
		plain = appendLogged(plain, e.VSeq, e.Encoded)
		sp.upTo = max(sp.upTo, e.VSeq)
	}
	key, place, clear := t.s.keys.conversation(t.part, i.Ref, "l"), logID(i.First), appendSpan(nil, sp)
	row, err := t.conv.key.Seal(slices.Clip(slices.Clone(clear)), aad(key, []byte(place), clear), plain)
	if err != nil {
		return err
	}
	return t.append(ctx, key, place, row)
}

// sending takes a row of the outbox; the first of a conversation says when it is due.
func (t *Target) sending(ctx context.Context, i transfer.Sending) error {
	if !t.head {
		t.head = true
		list, m := t.s.keys.part(t.part, "o"), dueMember(i.Ref, 0, t.conv.state.From.Channel)
		due := goredis.Z{Score: float64(i.Row.Row.Due), Member: m}
		t.command(len(list)+len(m), func(p goredis.Pipeliner) { p.ZAdd(ctx, list, due) })
		t.hset(ctx, t.s.keys.conversation(t.part, i.Ref, "s"), "ov", t.s.o.IDs.Token())
	}
	return t.sealed(ctx, t.conv.key, t.s.keys.conversation(t.part, i.Ref, "o"), placeField(i.Row.Place), nil, i.Row)
}

func (t *Target) deadLetter(ctx context.Context, i transfer.DeadLetter) error {
	part, err := home(i.Ref)
	if err != nil {
		return err
	}
	// The key is among what was put, which may not be written yet.
	if err := t.Flush(ctx); err != nil {
		return err
	}
	wrapped, err := ask(ctx, t.s, func(p goredis.Pipeliner) *goredis.StringCmd {
		return p.HGet(ctx, t.s.keys.ofTenant(part, i.Ref.Tenant, "k"), i.Ref.ID)
	})
	if err != nil {
		return err
	}
	key, err := t.keys.OpenContent(i.Ref.ID, []byte(wrapped.Val()))
	if err != nil {
		return err
	}
	list, m := t.s.keys.ofTenant(part, i.Ref.Tenant, "D"), deadMember(i.Row.At, i.Row.Row.ID)
	t.command(len(list)+len(m), func(p goredis.Pipeliner) { p.ZAdd(ctx, list, goredis.Z{Member: m}) })
	clear := append(be64(nil, uint64(i.Row.At)), i.Ref.ID...)
	return t.sealed(ctx, key, t.s.keys.ofTenant(part, i.Ref.Tenant, "E"), i.Row.Row.ID, clear, i.Row)
}

// messageID writes a message id. It lies with its conversation, in whose partition its sender is.
func (t *Target) messageID(ctx context.Context, i transfer.MessageID) error {
	part, err := id.Partition(id.Conversation, i.Known.Conversation)
	if err != nil {
		return err
	}
	raw, _ := rawID(i.Known.Conversation)
	hash := idHash(i.Hash[:transfer.ShortHash])
	key := t.s.bucket(part, i.Generation, hash)
	row := append(binary.AppendUvarint(nil, i.Known.Seq), raw[:]...)
	kept := t.s.o.Dedupe.Length * time.Duration(t.s.o.Dedupe.Generations)
	t.hset(ctx, key, string(hash[:]), row)
	t.command(len(key), func(p goredis.Pipeliner) { p.PExpire(ctx, key, kept) })
	return nil
}

func putBlob(ctx context.Context, s *Store, i transfer.Blob) error {
	body, err := i.Open()
	if err != nil {
		return err
	}
	err = s.blobs.files.PutSealed(ctx, i.Ref.Tenant.Name(), i.Ref.ID, i.Name, body)
	return errors.Join(err, body.Close())
}

// Flush implements transfer.Target.
func (t *Target) Flush(ctx context.Context) error {
	for at, n := range t.newest {
		t.command(0, func(p goredis.Pipeliner) { p.HSet(ctx, at[0], at[1], n) })
	}
	clear(t.newest)
	plain, calls := t.plain, t.calls
	t.plain, t.calls, t.size = nil, nil, 0
	db := t.s.db
	if len(plain) > 0 {
		if err := db.run(ctx, reading, func(p goredis.Pipeliner) {
			for _, c := range plain {
				c(p)
			}
		}); err != nil {
			return err
		}
	}
	if len(calls) == 0 {
		return nil
	}
	if err := db.once(ctx, writing, func(p goredis.Pipeliner) {
		for _, c := range calls {
			p.EvalSha(ctx, db.scripts.write.Hash(), c.txn.keys, c.txn.args()...)
		}
	}); err == nil {
		return nil
	}
	// Some of them may have been done: what is wrong shows itself when they are looked at one by one.
	for _, c := range calls {
		if err := t.repeat(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// repeat does a call that may have been done. Only one that appends could not be done twice.
func (t *Target) repeat(ctx context.Context, c *call) error {
	var err error
	for range maxTries {
		if c.stream != "" {
			newest, bad := ask(ctx, t.s, func(p goredis.Pipeliner) *goredis.XMessageSliceCmd { return p.XRevRangeN(ctx, c.stream, "+", "-", 1) })
			if bad != nil {
				return bad
			}
			if len(newest.Val()) > 0 && newest.Val()[0].ID == c.last {
				return nil
			}
		}
		if _, err = t.s.db.commit(ctx, &c.txn); err == nil || !errors.Is(err, store.ErrUnknown) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Dump implements transfer.Target.
func (t *Target) Dump(ctx context.Context, f func(transfer.Item) error) error {
	return t.s.Dump(ctx, f)
}

// Check implements transfer.Target. The queue views are made by it of what the conversations say.
func (t *Target) Check(ctx context.Context) (store.Report, error) { return t.s.Check(ctx) }

// Finish implements transfer.Target.
func (t *Target) Finish(ctx context.Context) error {
	now, err := t.s.meta(nil)
	if err != nil {
		return err
	}
	return t.say(ctx, string(t.mark), now)
}

// Close implements transfer.Target.
func (t *Target) Close() error {
	if t.s == nil {
		return nil
	}
	return t.s.Close()
}
