package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/transfer"
)

var _ transfer.Target = (*Target)(nil)

// Target is a store in a folder that a copy makes.
type Target struct {
	o Options
	s *Store

	b    *pebble.Batch
	keys *tenant // of the tenant that was put last
	// rec is the conversation that was put last, without its state when it was erased; prefix is that of its rows.
	rec     *record
	prefix  []byte
	headed  bool   // its outbox is indexed
	entries []byte // an audit row that is being filled, from entry first on, with n
	first   uint64
	n       int
	letters bool // the keys that dead letters need are written
	short   uint32
	erased  []mark
}

// NewTarget returns the target in the folder of o, which must not be there, be empty, hold a store in which nothing has
// happened, or hold what an interrupted copy has left.
func NewTarget(o Options) *Target { return &Target{o: o} }

const (
	// filledAtOnce is the size from which a batch is written, in bytes.
	filledAtOnce = 1 << 20
	// entriesInRow is how many entries an audit row gets.
	entriesInRow = 64
)

// Begin implements transfer.Target.
func (t *Target) Begin(_ context.Context, from transfer.About) error {
	o, err := t.o.withDefaults()
	if err != nil {
		return err
	}
	root, err := seal.NewRoot(o.Root, o.Rand)
	if err != nil {
		return fmt.Errorf("making the target: %w", err)
	}
	if err := root.Verify(from.Root); err != nil {
		return fmt.Errorf("making the target: its root key has to be that of the source: %w", err)
	}
	if o.Dedupe.Generations != from.Generations || o.Dedupe.Length != from.Length {
		return fmt.Errorf("making the target: it would keep %d dedupe generations of %v, the source keeps %d of %v",
			o.Dedupe.Generations, o.Dedupe.Length, from.Generations, from.Length)
	}
	o.copy = &copyMark{From: from.Name, At: o.Now().UnixMilli()}
	if err := takeAway(o); err != nil {
		return fmt.Errorf("making the target in %s: %w", o.Dir, err)
	}
	if t.s, err = Open(o); err != nil {
		return fmt.Errorf("making the target: %w", err)
	}
	t.b = t.s.db.NewBatch()
	if from.Newest == 0 {
		return nil
	}
	return t.b.Set(generationKey, binary.BigEndian.AppendUint32(nil, from.Newest), nil)
}

// discarded is the end of the name under which what an interrupted copy has left waits to be removed.
const discarded = ".discarded"

// takeAway removes what an interrupted copy of the same source has left in the folder, or a store in which nothing has
// happened. Anything else stays, and is an error.
func takeAway(o Options) error {
	if err := o.FS.RemoveAll(o.Dir + discarded); err != nil {
		return err
	}
	names, err := o.FS.List(o.Dir)
	if err != nil || len(names) == 0 {
		return nil // there is no such folder
	}
	if _, err := o.FS.Stat(o.FS.PathJoin(o.Dir, "db")); err != nil {
		return errors.New("there is something already that is no store: move it away, or name another folder")
	}
	s, err := Open(o) // fails when it is anything else
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	// Under another name first: a folder that is removed in part is a damaged store.
	if err := o.FS.Rename(o.Dir, o.Dir+discarded); err != nil {
		return err
	}
	return errors.Join(syncDir(o.FS, o.FS.PathDir(o.Dir)), o.FS.RemoveAll(o.Dir+discarded))
}

// Put implements transfer.Target.
func (t *Target) Put(ctx context.Context, item transfer.Item) error {
	if of, ok := transfer.Within(item); ok && (t.rec == nil || t.rec.ref != of) {
		return transfer.ErrAstray
	}
	if e, ok := item.(transfer.Entry); !ok || e.Ref.ID == "" {
		if err := t.endEntries(); err != nil {
			return err
		}
	}
	if err := t.put(ctx, item); err != nil {
		return err
	}
	if t.b.Len() < filledAtOnce {
		return nil
	}
	return t.write()
}

func (t *Target) put(ctx context.Context, item transfer.Item) error {
	s := t.s
	switch i := item.(type) {
	case transfer.Tenant:
		return t.tenant(i)
	case transfer.Entry:
		return t.entry(i)
	case transfer.Checkpoint:
		return t.b.Set(checkpointKey(i.Tenant, i.N), form.EncodeCheckpoint(i.Sealed), nil)
	case transfer.Version:
		return t.sealed(binary.BigEndian.AppendUint32(docPrefix(i.Tenant, i.Name), uint32(i.Doc.N)), i.Doc)
	case transfer.Record:
		return t.sealed(append(recordPrefix(i.Tenant, i.Record.Kind), i.Record.ID...), recordRow{i.Record.Version, i.Record.Body})
	case transfer.Answer:
		return t.sealed(answerKey(i.Tenant, i.Answer.Key), i.Answer)
	case transfer.Conversation:
		return t.conversation(i)
	case transfer.Erasure:
		return t.erasure(ctx, i)
	case transfer.LogRow:
		return t.logRow(i)
	case transfer.Attachment:
		return putSealed(t.b, t.rec.key, append(kindKey(t.prefix, kindAttachment), i.Row.ID...), i.Row)
	case transfer.Sending:
		return t.sending(i)
	case transfer.Blob:
		return putBlob(ctx, s, i)
	case transfer.Key:
		return t.b.Set(dataKeyKey(i.Ref), i.Wrapped, nil)
	case transfer.DeadLetter:
		return t.deadLetter(i)
	case transfer.Identity:
		return t.b.Set(append(tenantKey(i.Tenant.Name(), 'i'), i.Hash[:]...), []byte(i.Conversation), nil)
	case transfer.MessageID:
		if i.Hash == i.Hash.Short() {
			t.short = max(t.short, i.Generation)
		}
		return t.b.Set(dedupeKey(i.Generation, idHash(i.Hash)), append(be64(nil, i.Known.Seq), i.Known.Conversation...), nil)
	}
	return fmt.Errorf("this store does not know what %s are", item.Kind())
}

// sealed seals a document of the tenant that was put last.
func (t *Target) sealed(key []byte, v any) error {
	row, err := t.keys.sealJSON(key, v)
	if err != nil {
		return err
	}
	return t.b.Set(key, row, nil)
}

func (t *Target) tenant(i transfer.Tenant) error {
	keys, err := t.s.root.OpenTenant(i.Tenant.Name(), i.Wrapped)
	if err != nil {
		return err
	}
	t.keys, t.rec, t.letters = &tenant{Tenant: keys}, nil, false
	err = t.b.Set(append([]byte{spaceKey, 't'}, i.Tenant.Name()...), i.Wrapped, nil)
	if i.Head.N > 0 {
		err = errors.Join(err, t.b.Set(tenantKey(i.Tenant.Name(), 'h'), encodeHead(i.Head), nil))
	}
	if i.Moved {
		err = errors.Join(err, t.b.Set(movedKey(i.Tenant, i.Tenant.Name()), nil, nil))
	}
	if i.Sent > 0 {
		err = errors.Join(err, t.b.Set(sentKey(i.Tenant), be64(nil, i.Sent), nil))
	}
	if i.Scrub {
		err = errors.Join(err, t.b.Set(markKey(markRecord, store.Ref{Tenant: i.Tenant}, ""), nil, nil))
	}
	return err
}

// entry takes an entry of the tenant's own chain as it is; those of a conversation share rows.
func (t *Target) entry(i transfer.Entry) error {
	if i.Ref.ID == "" {
		return t.b.Set(be64(tenantKey(i.Ref.Tenant.Name(), 'u'), i.N), i.Body, nil)
	}
	if t.n == entriesInRow {
		if err := t.endEntries(); err != nil {
			return err
		}
	}
	if t.n == 0 {
		t.first = i.N
	}
	if i.N != t.first+uint64(t.n) {
		return errors.New("it does not follow the one before")
	}
	packed, err := audit.Pack(make([]byte, 0, len(i.Body)), i.Body)
	if err != nil {
		return err
	}
	t.entries = append(binary.AppendUvarint(t.entries, uint64(len(packed))), packed...)
	t.n++
	return nil
}

// endEntries writes the audit row that is being filled.
func (t *Target) endEntries() error {
	if t.n == 0 {
		return nil
	}
	err := t.b.Set(rowKey(t.prefix, kindAudit, t.first), t.entries, nil)
	t.entries, t.n = t.entries[:0], 0
	return err
}

func (t *Target) conversation(i transfer.Conversation) error {
	key, err := t.keys.OpenContent(i.Ref.ID, i.Wrapped)
	if err != nil {
		return err
	}
	if len(i.Ops) == 0 || len(i.Ops) > keptOps || i.Version == "" || len(i.Version) > 255 {
		return errors.New("its last operations are none")
	}
	t.prefix = conversationKey(i.Ref)
	rec := &record{ref: i.Ref, state: i.State, head: i.Head, key: key, ops: ops{last: i.Version}}
	for _, m := range i.Ops {
		rec.ops.marks = append(rec.ops.marks, opMark(m))
	}
	t.rec, t.headed = rec, false
	plain, err := i.State.AppendPacked(nil)
	if err != nil {
		return err
	}
	stateKey, header := kindKey(t.prefix, kindState), rec.header(nil)
	row, err := key.Seal(header, aad(stateKey, header), plain)
	if err != nil {
		return err
	}
	err = errors.Join(t.b.Set(dataKeyKey(i.Ref), i.Wrapped, nil), t.b.Set(stateKey, row, nil))
	if i.Moved {
		err = errors.Join(err, t.b.Set(movedKey(i.Ref.Tenant, i.Ref.ID), nil, nil))
	}
	for _, name := range i.Detached {
		err = errors.Join(err, t.b.Set(markKey(markDetached, i.Ref, name), nil, nil))
	}
	if i.State.Working() {
		err = errors.Join(err, t.b.Set(indexKey(dueWork, 0, i.Ref, ""), nil, nil))
	}
	return errors.Join(err, reindex(t.b, t.keys, i.Ref, nil, i.State))
}

func (t *Target) erasure(ctx context.Context, i transfer.Erasure) error {
	t.prefix, t.rec = conversationKey(i.Ref), &record{ref: i.Ref}
	pending := i.Stone.Pending
	i.Stone.Pending = false // a mark says so
	err := t.sealed(kindKey(t.prefix, kindTombstone), i.Stone)
	if i.Moved {
		err = errors.Join(err, t.b.Set(movedKey(i.Ref.Tenant, i.Ref.ID), nil, nil))
	}
	m := mark{key: markKey(markErased, i.Ref, ""), kind: markErased, ref: i.Ref}
	if pending {
		return errors.Join(err, t.b.Set(m.key, nil, nil))
	}
	t.erased = append(t.erased, m)
	return errors.Join(err, t.s.blobs.files.RemoveAll(ctx, i.Ref.Tenant.Name(), i.Ref.ID))
}

func (t *Target) logRow(i transfer.LogRow) error {
	if len(i.Events) == 0 {
		return errLog
	}
	sp := span{first: i.First, last: i.First + uint64(len(i.Events)) - 1, seen: i.Seen, upTo: i.Seen}
	var plain []byte
	for _, e := range i.Events {
		plain = appendLogged(plain, e.VSeq, e.Encoded)
		sp.upTo = max(sp.upTo, e.VSeq)
	}
	key, part := rowKey(t.prefix, kindLog, sp.first), appendSpan(nil, sp)
	row, err := t.rec.key.Seal(part, aad(key, part), plain)
	if err != nil {
		return err
	}
	return t.b.Set(key, row, nil)
}

// sending takes a row of the outbox; the first of a conversation is indexed.
func (t *Target) sending(i transfer.Sending) error {
	if err := putSealed(t.b, t.rec.key, outKey(i.Ref, i.Row.Place), i.Row); err != nil || t.headed {
		return err
	}
	t.headed = true
	return t.b.Set(indexKey(dueOutbox, i.Row.Row.Due, i.Ref, t.rec.state.From.Channel), nil, nil)
}

func (t *Target) deadLetter(i transfer.DeadLetter) error {
	if !t.letters { // their conversations' keys are read back
		if err := t.write(); err != nil {
			return err
		}
		t.letters = true
	}
	key, err := t.s.content(i.Ref, t.keys)
	if err == nil && key == nil {
		err = seal.ErrOpen
	}
	if err == nil {
		err = putSealed(t.b, key, deadKey(i.Ref.Tenant, i.Row.At, i.Row.Row.ID), i.Row)
	}
	if err != nil {
		return err
	}
	return t.b.Set(deadPlace(i.Ref.Tenant, i.Row.Row.ID), append(be64(nil, uint64(i.Row.At)), i.Ref.ID...), nil)
}

func putBlob(ctx context.Context, s *Store, i transfer.Blob) (err error) {
	var body io.ReadCloser
	if body, err = i.Open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return s.blobs.files.PutSealed(ctx, i.Ref.Tenant.Name(), i.Ref.ID, i.Name, body)
}

// write writes the batch.
func (t *Target) write() error {
	if err := t.s.gate.check(); err != nil {
		return err
	}
	b := t.b
	t.b = t.s.db.NewBatch()
	return errors.Join(t.s.apply(b), b.Close())
}

// Flush implements transfer.Target.
func (t *Target) Flush(context.Context) error {
	if err := t.endEntries(); err != nil {
		return err
	}
	if t.short > 0 {
		if err := t.b.Set(shortKey, binary.BigEndian.AppendUint32(nil, t.short), nil); err != nil {
			return err
		}
	}
	if err := t.write(); err != nil {
		return err
	}
	// What is in memory is made of what was written.
	t.s.life.Lock()
	defer t.s.life.Unlock()
	return t.s.load()
}

// Dump implements transfer.Target.
func (t *Target) Dump(ctx context.Context, f func(transfer.Item) error) error {
	return t.s.Dump(ctx, f)
}

// Check implements transfer.Target.
func (t *Target) Check(ctx context.Context) (store.Report, error) { return t.s.Check(ctx) }

// Finish implements transfer.Target. The list of erasures gets what was erased at the source: a backup of the folder from
// before must not bring it back.
func (t *Target) Finish(ctx context.Context) error {
	if err := t.s.listErased(ctx, t.erased); err != nil {
		return err
	}
	if err := t.s.db.Flush(); err != nil {
		return err
	}
	_, err := t.s.writeMeta(nil)
	return err
}

// Close implements transfer.Target.
func (t *Target) Close() error {
	if t.s == nil {
		return nil
	}
	return errors.Join(t.b.Close(), t.s.Close())
}
