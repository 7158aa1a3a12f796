package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/transfer"
)

var _ transfer.Source = (*Store)(nil)

// About implements transfer.Source.
func (s *Store) About(ctx context.Context) (a transfer.About, err error) {
	if err := s.enter(ctx); err != nil {
		return a, err
	}
	defer s.life.RUnlock()
	return transfer.About{
		Name: "in " + s.o.Dir, Root: s.root.CheckValue(),
		Generations: s.o.Dedupe.Generations, Length: s.o.Dedupe.Length, Newest: s.gens.newest.Load(),
	}, nil
}

// Idle implements transfer.Source. Who has the store open has it alone.
func (s *Store) Idle(ctx context.Context) error { return ctx.Err() }

// Dump implements transfer.Source. Nothing may be committed meanwhile.
func (s *Store) Dump(ctx context.Context, f func(transfer.Item) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	var names []string
	prefix := []byte{spaceKey, 't'}
	if err := s.each(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		names = append(names, string(k[len(prefix):]))
		return true, nil
	}); err != nil {
		return err
	}
	for _, name := range names {
		t, err := store.TenantOf(name)
		if err != nil {
			return fmt.Errorf("reading tenants: %w", err)
		}
		d := dump{s: s, ctx: ctx, t: t, f: f}
		if err := d.tenant(); err != nil {
			return err
		}
	}
	return s.dumpIDs(ctx, f)
}

// dump gives the items of one tenant.
type dump struct {
	s    *Store
	ctx  context.Context
	t    store.Tenant
	keys *tenant
	f    func(transfer.Item) error
}

// unreadable says where something stands that cannot be read.
func unreadable(i transfer.Item, err error) error {
	return fmt.Errorf("reading %s: %w", transfer.Where(i), err)
}

// rows calls f with the rows that have a prefix, and what follows it in their keys.
func (d *dump) rows(prefix []byte, f func(rest string, key, value []byte) error) error {
	return d.s.each(prefix, after(prefix), func(k, v []byte) (bool, error) {
		if err := d.ctx.Err(); err != nil {
			return false, err
		}
		return true, f(string(k[len(prefix):]), k, v)
	})
}

func (d *dump) tenant() (err error) {
	i := transfer.Tenant{Tenant: d.t}
	if d.keys, err = d.s.tenant(d.t); err != nil {
		return unreadable(i, err)
	}
	name := d.t.Name()
	if i.Wrapped, err = d.s.get(append([]byte{spaceKey, 't'}, name...)); err != nil {
		return err
	}
	if i.Head, err = d.s.ownHead(d.t); err != nil {
		return unreadable(i, err)
	}
	if i.Sent, err = d.s.sent(d.t); err != nil {
		return unreadable(i, err)
	}
	if i.Moved, err = d.has(movedKey(d.t, name)); err != nil {
		return err
	}
	if i.Scrub, err = d.has(markKey(markRecord, store.Ref{Tenant: d.t}, "")); err != nil {
		return err
	}
	if err := d.f(i); err != nil {
		return err
	}
	for _, next := range []func() error{d.own, d.checkpoints, d.versions, d.records, d.answers, d.conversations, d.loneKeys, d.deadLetters, d.identities} {
		if err := next(); err != nil {
			return err
		}
	}
	return nil
}

func (d *dump) has(key []byte) (bool, error) {
	row, err := d.s.get(key)
	return row != nil, err
}

var errKey = errors.New("the key of its row is damaged")

func (d *dump) own() error {
	return d.rows(tenantKey(d.t.Name(), 'u'), func(rest string, _, v []byte) error {
		i := transfer.Entry{Ref: store.Ref{Tenant: d.t}, Body: v}
		if len(rest) != 8 {
			return unreadable(i, errKey)
		}
		i.N = binary.BigEndian.Uint64([]byte(rest))
		return d.f(i)
	})
}

func (d *dump) checkpoints() error {
	return d.rows(tenantKey(d.t.Name(), 'k'), func(rest string, _, v []byte) (err error) {
		i := transfer.Checkpoint{Tenant: d.t}
		if len(rest) != 8 {
			return unreadable(i, errKey)
		}
		i.N = binary.BigEndian.Uint64([]byte(rest))
		if i.Sealed, err = form.DecodeCheckpoint(v); err != nil {
			return unreadable(i, err)
		}
		return d.f(i)
	})
}

func (d *dump) versions() error {
	return d.rows(tenantKey(d.t.Name(), 'v'), func(rest string, k, v []byte) error {
		i := transfer.Version{Tenant: d.t}
		end := len(rest) - 5
		if end < 1 || rest[end] != 0 {
			return unreadable(i, errKey)
		}
		n := int(binary.BigEndian.Uint32([]byte(rest[end+1:])))
		i.Name, i.Doc.N = rest[:end], n
		err := openDoc(d.keys, k, v, &i.Doc)
		if err == nil && i.Doc.N != n {
			err = errKey
		}
		if err != nil {
			i.Doc.N = n
			return unreadable(i, err)
		}
		return d.f(i)
	})
}

func (d *dump) records() error {
	prefix := append(append([]byte{spaceKey, 'r'}, d.t.Name()...), 0)
	return d.rows(prefix, func(rest string, k, v []byte) error {
		i := transfer.Record{Tenant: d.t}
		kind, id, ok := bytes.Cut([]byte(rest), []byte{0})
		if !ok {
			return unreadable(i, errKey)
		}
		i.Record.Kind, i.Record.ID = string(kind), string(id)
		var row recordRow
		if err := d.keys.openJSON(k, v, &row); err != nil {
			return unreadable(i, err)
		}
		i.Record.Version, i.Record.Body = row.Version, row.Body
		return d.f(i)
	})
}

func (d *dump) answers() error {
	return d.rows(tenantKey(d.t.Name(), kindAnswer), func(_ string, k, v []byte) error {
		a, err := openAnswer(d.keys, k, v)
		i := transfer.Answer{Tenant: d.t, Answer: a}
		if err != nil {
			return unreadable(i, err)
		}
		if a.Until <= d.s.now() {
			return nil
		}
		return d.f(i)
	})
}

// conversations gives those that are there, and what is left of those that were erased.
func (d *dump) conversations() error {
	from := tenantKey(d.t.Name(), 'c')
	to := after(from)
	for {
		var ids []string
		it, err := d.s.db.NewIter(nil)
		if err != nil {
			return d.s.readError(err)
		}
		for ok := it.SeekGE(from); ok && bytes.Compare(it.Key(), to) < 0 && len(ids) < checkPage; {
			conv, _, found := bytes.Cut(it.Key()[len(to):], []byte{0})
			if !found {
				err = fmt.Errorf("reading tenant %s: a row of a conversation: %w", d.t.Name(), errKey)
				break
			}
			ids = append(ids, string(conv))
			ok = it.SeekGE(after(conversationKey(store.Ref{Tenant: d.t, ID: string(conv)})))
		}
		if bad := it.Close(); bad != nil {
			err = errors.Join(err, d.s.readError(bad))
		}
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, conv := range ids {
			if err := d.conversation(store.Ref{Tenant: d.t, ID: conv}); err != nil {
				return err
			}
		}
		from = after(conversationKey(store.Ref{Tenant: d.t, ID: ids[len(ids)-1]}))
	}
}

func (d *dump) conversation(r store.Ref) error {
	i := transfer.Conversation{Ref: r}
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if _, err := id.Partition(id.Conversation, r.ID); err != nil {
		return unreadable(i, err)
	}
	key := kindKey(conversationKey(r), kindState)
	row, err := d.s.get(key)
	if err != nil {
		return err
	}
	if row == nil {
		return d.erasure(r)
	}
	if i.Wrapped, err = d.s.get(dataKeyKey(r)); err != nil {
		return err
	}
	content, err := d.keys.OpenContent(r.ID, i.Wrapped)
	if err != nil {
		return unreadable(i, err)
	}
	rec, err := decodeRecord(r, key, row, content)
	if err != nil {
		return unreadable(i, err)
	}
	i.Version, i.Head, i.State = rec.version(), rec.head, rec.state
	for _, m := range rec.ops.marks {
		i.Ops = append(i.Ops, transfer.OpMark(m))
	}
	if i.Moved, err = d.has(movedKey(r.Tenant, r.ID)); err != nil {
		return err
	}
	if err := d.rows(markKey(markDetached, r, ""), func(name string, _, _ []byte) error {
		i.Detached = append(i.Detached, name)
		return nil
	}); err != nil {
		return err
	}
	if err := d.f(i); err != nil {
		return err
	}
	if err := d.log(rec); err != nil {
		return err
	}
	if err := d.entries(r); err != nil {
		return err
	}
	if err := d.attachments(rec); err != nil {
		return err
	}
	if err := d.sendings(rec); err != nil {
		return err
	}
	return d.blobs(r, false, i.Detached)
}

// erasure gives what is left of a conversation.
func (d *dump) erasure(r store.Ref) (err error) {
	i := transfer.Erasure{Ref: r}
	if i.Stone, err = d.s.tombstone(r, d.keys); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = errors.New("it has rows, but no state")
		}
		return unreadable(transfer.Conversation{Ref: r}, err)
	}
	if i.Head, err = d.s.lastEntry(r); err != nil {
		return unreadable(i, err)
	}
	if i.Moved, err = d.has(movedKey(r.Tenant, r.ID)); err != nil {
		return err
	}
	if err := d.f(i); err != nil {
		return err
	}
	return d.entries(r)
}

func (d *dump) log(rec *record) error {
	var last, seen uint64
	err := d.rows(kindKey(conversationKey(rec.ref), kindLog), func(rest string, k, v []byte) error {
		i := transfer.LogRow{Ref: rec.ref, First: last + 1}
		if len(rest) != 8 {
			return unreadable(i, errKey)
		}
		row := logRow{key: k}
		var err error
		if row.span, row.sealed, err = parseSpan(binary.BigEndian.Uint64([]byte(rest)), v); err != nil {
			return unreadable(i, err)
		}
		if row.first != last+1 || row.seen != seen {
			return unreadable(i, errors.New("the row is missing"))
		}
		row.clear = v[:len(v)-len(row.sealed)]
		i.Seen = row.seen
		if err := row.events(rec.key, func(_, vseq uint64, encoded []byte) (bool, error) {
			i.Events = append(i.Events, transfer.Logged{VSeq: vseq, Encoded: encoded})
			return true, nil
		}); err != nil {
			return unreadable(i, err)
		}
		last, seen = row.last, row.upTo
		return d.f(i)
	})
	if err == nil && last != rec.state.Seq {
		err = unreadable(transfer.LogRow{Ref: rec.ref, First: last + 1}, errors.New("the row is missing"))
	}
	return err
}

func (d *dump) entries(r store.Ref) error {
	return d.rows(kindKey(conversationKey(r), kindAudit), func(rest string, _, v []byte) error {
		i := transfer.Entry{Ref: r}
		if len(rest) != 8 {
			return unreadable(i, errKey)
		}
		i.N = binary.BigEndian.Uint64([]byte(rest))
		var given error
		err := entriesOf(v, func(entry []byte) bool {
			i.Body = entry
			given = d.f(i)
			i.N++
			return given == nil
		})
		if err != nil {
			return unreadable(i, err)
		}
		return given
	})
}

func (d *dump) attachments(rec *record) error {
	return d.rows(kindKey(conversationKey(rec.ref), kindAttachment), func(rest string, k, v []byte) error {
		i := transfer.Attachment{Ref: rec.ref}
		i.Row.ID = rest
		err := openSealed(rec.key, k, v, &i.Row)
		if err == nil && i.Row.ID != rest {
			err = errKey
		}
		if err != nil {
			i.Row.ID = rest
			return unreadable(i, err)
		}
		return d.f(i)
	})
}

func (d *dump) sendings(rec *record) error {
	return d.rows(outboxPrefix(rec.ref), func(rest string, k, v []byte) error {
		i := transfer.Sending{Ref: rec.ref}
		if len(rest) != 8 {
			return unreadable(i, errKey)
		}
		i.Row.Place = binary.BigEndian.Uint64([]byte(rest))
		if err := openSealed(rec.key, k, v, &i.Row); err != nil {
			return unreadable(i, err)
		}
		return d.f(i)
	})
}

// blobs gives the files of a conversation, but those that are to be destroyed.
func (d *dump) blobs(r store.Ref, early bool, but []string) error {
	files := d.s.blobs.files
	names, err := files.Names(d.ctx, r.Tenant.Name(), r.ID)
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(but, name) {
			continue
		}
		open := func() (io.ReadCloser, error) { return files.OpenSealed(d.ctx, r.Tenant.Name(), r.ID, name) }
		if err := d.f(transfer.Blob{Ref: r, Name: name, Early: early, Open: open}); err != nil {
			return err
		}
	}
	return nil
}

// loneKeys gives the data keys of conversations that do not exist yet, and their files.
func (d *dump) loneKeys() error {
	prefix := append(append([]byte{spaceKey, 'c'}, d.t.Name()...), 0)
	return d.rows(prefix, func(conv string, _, wrapped []byte) error {
		r := store.Ref{Tenant: d.t, ID: conv}
		i := transfer.Key{Ref: r, Wrapped: wrapped}
		if there, err := d.has(kindKey(conversationKey(r), kindState)); there || err != nil {
			return err
		}
		if _, err := d.keys.OpenContent(conv, wrapped); err != nil {
			return unreadable(i, err)
		}
		if err := d.f(i); err != nil {
			return err
		}
		return d.blobs(r, true, nil)
	})
}

func (d *dump) deadLetters() error {
	return d.rows(tenantKey(d.t.Name(), 'D'), func(rest string, k, v []byte) error {
		var i transfer.DeadLetter
		i.Ref.Tenant = d.t
		if len(rest) < 8 {
			return unreadable(i, errKey)
		}
		i.Row.Row.ID = rest[8:]
		row := i.Row.Row.ID
		place, err := d.s.get(deadPlace(d.t, row))
		if err == nil && len(place) != 8+idLen {
			err = errors.New("the row of its place is damaged")
		}
		if err != nil {
			return unreadable(i, err)
		}
		i.Ref.ID = string(place[8:])
		content, err := d.s.content(i.Ref, d.keys)
		if err == nil && content == nil {
			err = seal.ErrOpen
		}
		if err == nil {
			err = openSealed(content, k, v, &i.Row)
		}
		if err == nil && (i.Row.Row.ID != row || !bytes.Equal(be64(nil, uint64(i.Row.At)), []byte(rest[:8]))) {
			err = errKey
		}
		if err != nil {
			i.Row.Row.ID = row
			return unreadable(i, err)
		}
		return d.f(i)
	})
}

func (d *dump) identities() error {
	return d.rows(tenantKey(d.t.Name(), 'i'), func(rest string, _, v []byte) error {
		i := transfer.Identity{Tenant: d.t, Conversation: string(v)}
		if len(rest) != len(i.Hash) {
			return unreadable(i, errKey)
		}
		copy(i.Hash[:], rest)
		return d.f(i)
	})
}

// dumpIDs gives the message ids of the generations that are still asked.
func (s *Store) dumpIDs(ctx context.Context, f func(transfer.Item) error) error {
	newest := s.generation()
	oldest := uint32(max(0, int64(newest)-int64(s.o.Dedupe.Generations)+1))
	return s.each(dedupeKey(oldest, idHash{}), dedupeKey(newest+1, idHash{}), func(k, v []byte) (bool, error) {
		i := transfer.MessageID{}
		if len(k) != 1+4+seal.HashSize || len(v) <= 8 {
			return false, unreadable(i, errors.New("a dedupe row is damaged"))
		}
		i.Generation, i.Hash = binary.BigEndian.Uint32(k[1:]), transfer.IDHash(k[5:])
		i.Known = store.Known{Seq: binary.BigEndian.Uint64(v), Conversation: string(v[8:])}
		return true, errors.Join(ctx.Err(), f(i))
	})
}
