package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/transfer"
)

// Dump implements transfer.Source. Nothing may be committed meanwhile.
func (s *Store) Dump(ctx context.Context, f func(transfer.Item) error) error {
	tenants, err := s.allTenants(ctx)
	if err != nil {
		return err
	}
	names, err := s.ownNames(ctx)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		d := dump{Store: s, ctx: ctx, t: t, names: names[t.Name()], f: f}
		if err := d.tenant(); err != nil {
			return err
		}
	}
	return s.dumpIDs(ctx, f)
}

// dump gives the items of one tenant.
type dump struct {
	*Store
	ctx    context.Context
	t      store.Tenant
	sealed *seal.Tenant
	names  ownNames
	f      func(transfer.Item) error
}

// unreadable says where something stands that cannot be read.
func unreadable(i transfer.Item, err error) error {
	return fmt.Errorf("reading %s: %w", transfer.Where(i), err)
}

// ownNames are the names of a tenant's own keys that nothing else lists, each kind sorted.
type ownNames struct{ docs, records, answers []string }

// scannedAtOnce is how many keys the server looks at for one answer of a scan.
const scannedAtOnce = 1000

// ownNames goes through all keys of the store for those names.
func (s *Store) ownNames(ctx context.Context) (map[string]ownNames, error) {
	begin := s.o.Prefix + "{t:"
	all := map[string]ownNames{}
	err := s.scan(ctx, globbed(begin)+"*", func(keys []string) error {
		for _, k := range keys {
			tenant, rest, ok := strings.Cut(strings.TrimPrefix(k, begin), "}")
			if !ok {
				continue
			}
			n := all[tenant]
			switch kind, name, _ := strings.Cut(rest, ":"); kind {
			case "v":
				n.docs = append(n.docs, name)
			case "r":
				n.records = append(n.records, name)
			case "n":
				n.answers = append(n.answers, name)
			}
			all[tenant] = n
		}
		return nil
	})
	for tenant, n := range all { // a scan may give a key twice
		for _, list := range []*[]string{&n.docs, &n.records, &n.answers} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
		all[tenant] = n
	}
	return all, err
}

// globbed is a pattern that matches nothing but s.
func globbed(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// scan calls f with the keys that match a pattern, some at a time, possibly one more than once. No slots may move between
// servers meanwhile.
func (s *Store) scan(ctx context.Context, pattern string, f func(keys []string) error) error {
	servers, err := s.db.servers(ctx)
	if err != nil {
		return err
	}
	for _, at := range servers {
		for cursor := uint64(0); ; {
			var cmd *goredis.ScanCmd
			if err := s.db.on(ctx, passing, at.client, func(p goredis.Pipeliner) { cmd = p.Scan(ctx, cursor, pattern, scannedAtOnce) }); err != nil {
				return err
			}
			keys, next := cmd.Val()
			if err := f(keys); err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// ask runs one command.
func ask[C goredis.Cmder](ctx context.Context, s *Store, command func(p goredis.Pipeliner) C) (c C, err error) {
	err = s.db.run(ctx, reading, func(p goredis.Pipeliner) { c = command(p) })
	return c, err
}

func (d *dump) tenant() error {
	i := transfer.Tenant{Tenant: d.t}
	wrapped, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.StringCmd {
		return p.HGet(d.ctx, d.keys.global("t"), d.t.Name())
	})
	if err != nil {
		return err
	}
	i.Wrapped = []byte(wrapped.Val())
	if d.sealed, err = d.root.OpenTenant(d.t.Name(), i.Wrapped); err != nil {
		return unreadable(i, err)
	}
	fields, err := d.ownFields(d.ctx, d.t)
	if err != nil {
		return err
	}
	if i.Head, err = decodeHead([]byte(fields[ownHead])); err != nil {
		return unreadable(i, err)
	}
	if i.Sent, err = number(fields[ownSent]); err != nil {
		return unreadable(i, err)
	}
	i.Moved = fields[ownMarked] != ""
	marks, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.IntCmd { return p.SCard(d.ctx, d.keys.own(d.t, markRecords)) })
	if err != nil {
		return err
	}
	i.Scrub = marks.Val() > 0
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

// stream calls f with the entries of a stream and their numbers.
func (d *dump) stream(key string, f func(n uint64, body []byte) error) error {
	for from := "-"; ; {
		page, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.XMessageSliceCmd {
			return p.XRangeN(d.ctx, key, from, "+", rowsAtOnce)
		})
		if err != nil {
			return err
		}
		for _, m := range page.Val() {
			n, _ := splitID(m.ID)
			body, ok := m.Values["e"].(string)
			if !ok {
				return fmt.Errorf("reading entry %d of a stream: %w", n, errRow)
			}
			if err := f(n, []byte(body)); err != nil {
				return err
			}
			from = "(" + m.ID
		}
		if len(page.Val()) < rowsAtOnce {
			return nil
		}
	}
}

func (d *dump) own() error {
	return d.stream(d.keys.own(d.t, "a"), func(n uint64, body []byte) error {
		return d.f(transfer.Entry{Ref: store.Ref{Tenant: d.t}, N: n, Body: body})
	})
}

func (d *dump) checkpoints() error {
	return d.stream(d.keys.own(d.t, "k"), func(n uint64, body []byte) (err error) {
		i := transfer.Checkpoint{Tenant: d.t, N: n}
		if i.Sealed, err = form.DecodeCheckpoint(body); err != nil {
			return unreadable(i, err)
		}
		return d.f(i)
	})
}

func (d *dump) versions() error {
	for _, doc := range d.names.docs {
		key := d.keys.own(d.t, "v:"+doc)
		rows, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.MapStringStringCmd { return p.HGetAll(d.ctx, key) })
		if err != nil {
			return err
		}
		newest, err := number(rows.Val()[newestVersion])
		if err == nil && int(newest) != len(rows.Val())-1 {
			err = fmt.Errorf("%d versions, the newest is %d: %w", len(rows.Val())-1, newest, errRow)
		}
		if err != nil {
			return unreadable(transfer.Version{Tenant: d.t, Name: doc}, err)
		}
		for n := 1; n <= int(newest); n++ {
			i := transfer.Version{Tenant: d.t, Name: doc}
			field := strconv.Itoa(n)
			err := openJSON(d.sealed, aad(key, []byte(field)), []byte(rows.Val()[field]), &i.Doc)
			if err == nil && i.Doc.N != n {
				err = errRow
			}
			if err != nil {
				i.Doc.N = n
				return unreadable(i, err)
			}
			if err := d.f(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *dump) records() error {
	for _, kind := range d.names.records {
		key := d.recordKey(d.t, kind)
		rows, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.MapStringStringCmd { return p.HGetAll(d.ctx, key) })
		if err != nil {
			return err
		}
		for _, id := range sortedKeys(rows.Val()) {
			r, err := openRecord(d.sealed, key, kind, id, rows.Val()[id])
			if err != nil {
				return unreadable(transfer.Record{Tenant: d.t, Record: store.Record{Kind: kind, ID: id}}, err)
			}
			if err := d.f(transfer.Record{Tenant: d.t, Record: r}); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (d *dump) answers() error {
	for page := range slices.Chunk(d.names.answers, askedAtOnce) {
		rows := make([]*goredis.StringCmd, len(page))
		if err := d.db.run(d.ctx, reading, func(p goredis.Pipeliner) {
			for n, name := range page {
				rows[n] = p.Get(d.ctx, d.keys.own(d.t, "n:"+name))
			}
		}); err != nil {
			return err
		}
		for n, name := range page {
			i := transfer.Answer{Tenant: d.t}
			if rows[n].Val() == "" {
				continue // its time was over
			}
			if err := openJSON(d.sealed, []byte(d.keys.own(d.t, "n:"+name)), []byte(rows[n].Val()), &i.Answer); err != nil {
				return unreadable(i, err)
			}
			if i.Answer.Until <= d.now() {
				continue
			}
			if err := d.f(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// used returns the partitions in which the tenant has a key of a kind, in order.
func (d *dump) used(kind string) (parts []int, err error) {
	err = eachPart(d.ctx, d.Store, func(p goredis.Pipeliner, part int) *goredis.IntCmd {
		return p.Exists(d.ctx, d.keys.ofTenant(part, d.t, kind))
	}, func(part int, c *goredis.IntCmd) error {
		if c.Val() > 0 {
			parts = append(parts, part)
		}
		return nil
	})
	return parts, err
}

// dumpedAtOnce is how many conversations are read together.
const dumpedAtOnce = 32

// conversations gives those that are there, and what is left of those that were erased. Ids sort by their partition.
func (d *dump) conversations() error {
	parts, err := d.used("c")
	if err != nil {
		return err
	}
	for _, part := range parts {
		in := inPart{dump: d, part: part}
		if err := in.marks(); err != nil {
			return err
		}
		for least := "-"; ; {
			ids, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.StringSliceCmd {
				return p.ZRangeByLex(d.ctx, d.keys.ofTenant(part, d.t, "c"), &goredis.ZRangeBy{Min: least, Max: "+", Count: dumpedAtOnce})
			})
			if err != nil {
				return err
			}
			if err := in.page(ids.Val()); err != nil {
				return err
			}
			if len(ids.Val()) < dumpedAtOnce {
				break
			}
			least = "(" + ids.Val()[dumpedAtOnce-1]
		}
	}
	return nil
}

// inPart gives the conversations of a tenant in one partition.
type inPart struct {
	*dump
	part     int
	moved    map[string]bool
	pending  map[string]bool     // erased conversations whose files are still to be scrubbed
	detached map[string][]string // files that are still to be destroyed, by conversation
}

func (d *inPart) marks() error {
	var moved, marks *goredis.StringSliceCmd
	if err := d.db.run(d.ctx, reading, func(p goredis.Pipeliner) {
		moved = p.SMembers(d.ctx, d.keys.ofTenant(d.part, d.t, "m"))
		marks = p.SMembers(d.ctx, d.keys.ofTenant(d.part, d.t, "z"))
	}); err != nil {
		return err
	}
	d.moved, d.pending, d.detached = map[string]bool{}, map[string]bool{}, map[string][]string{}
	for _, conv := range moved.Val() {
		d.moved[conv] = true
	}
	all := marks.Val()
	slices.Sort(all)
	for _, m := range all {
		kind, rest, _ := strings.Cut(m, "/")
		conv, file, _ := strings.Cut(rest, "/")
		if kind == markErased {
			d.pending[conv] = true
		} else {
			d.detached[conv] = append(d.detached[conv], file)
		}
	}
	return nil
}

// answered is what the server says of one conversation.
type answered struct {
	state       *goredis.Cmd
	files       *goredis.MapStringStringCmd
	head, stone *goredis.StringCmd
}

// page gives some conversations, which are read together.
func (d *inPart) page(ids []string) error {
	all := make([]answered, len(ids))
	if err := d.db.run(d.ctx, reading, func(p goredis.Pipeliner) {
		for n, conv := range ids {
			r := store.Ref{Tenant: d.t, ID: conv}
			all[n] = answered{
				state: d.loading(d.ctx, p, d.part, r, nil),
				files: p.HGetAll(d.ctx, d.keys.conversation(d.part, r, "f")),
				head:  p.HGet(d.ctx, d.keys.conversation(d.part, r, "s"), "ah"),
				stone: p.HGet(d.ctx, d.keys.ofTenant(d.part, d.t, "b"), conv),
			}
		}
	}); err != nil {
		return err
	}
	for n, conv := range ids {
		if err := d.conversation(store.Ref{Tenant: d.t, ID: conv}, all[n]); err != nil {
			return err
		}
	}
	return nil
}

func (d *inPart) conversation(r store.Ref, a answered) error {
	i := transfer.Conversation{Ref: r, Moved: d.moved[r.ID], Detached: d.detached[r.ID]}
	if p, err := id.Partition(id.Conversation, r.ID); err != nil || p != d.part {
		return unreadable(i, errors.Join(err, errRow))
	}
	rec, err := d.loaded(a.state, d.part, r, d.sealed, nil)
	if err != nil {
		return unreadable(i, err)
	}
	if rec == nil {
		return d.erasure(r, a)
	}
	fields, err := a.state.StringSlice()
	if err != nil {
		return unreadable(i, err)
	}
	i.Wrapped, i.Version, i.Head, i.State = []byte(fields[fKey]), rec.ver, rec.head, rec.state
	if len(rec.ops)%markSize != 0 {
		return unreadable(i, errRow)
	}
	for ops := range slices.Chunk(rec.ops, markSize) {
		i.Ops = append(i.Ops, transfer.OpMark(ops))
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
	if err := d.attachments(rec, a.files.Val()); err != nil {
		return err
	}
	for _, row := range rec.rows {
		if err := d.f(transfer.Sending{Ref: r, Row: row}); err != nil {
			return err
		}
	}
	return d.files(r, false, append(slices.Clone(i.Detached), rec.shelf.names()...))
}

func (d *inPart) erasure(r store.Ref, a answered) (err error) {
	i := transfer.Erasure{Ref: r, Moved: d.moved[r.ID]}
	if a.stone.Val() == "" {
		return unreadable(transfer.Conversation{Ref: r}, errors.New("it is listed, and not there"))
	}
	if err := openJSON(d.sealed, aad(d.keys.ofTenant(d.part, d.t, "b"), []byte(r.ID)), []byte(a.stone.Val()), &i.Stone); err != nil {
		return unreadable(i, err)
	}
	i.Stone.Pending = d.pending[r.ID]
	if i.Head, err = decodeHead([]byte(a.head.Val())); err != nil {
		return unreadable(i, err)
	}
	if err := d.f(i); err != nil {
		return err
	}
	return d.entries(r)
}

func (d *inPart) log(rec *record) error {
	log, err := d.readLog(rec)
	if err != nil {
		return err
	}
	var last, seen uint64
	var given error // of f's own
	err = log.from(d.ctx, 1, func(row logRow) (bool, error) {
		if row.first != last+1 || row.seen != seen {
			return false, errLog
		}
		i := transfer.LogRow{Ref: rec.ref, First: row.first, Seen: row.seen}
		if err := log.events(row, func(_, vseq uint64, encoded []byte) (bool, error) {
			i.Events = append(i.Events, transfer.Logged{VSeq: vseq, Encoded: encoded})
			return true, nil
		}); err != nil {
			return false, err
		}
		last, seen = row.last, row.upTo
		given = d.f(i)
		return given == nil, nil
	})
	if given != nil {
		return given
	}
	if err == nil && last != rec.state.Seq {
		err = errors.New("the row is missing")
	}
	if err != nil {
		return unreadable(transfer.LogRow{Ref: rec.ref, First: last + 1}, err)
	}
	return nil
}

// entries gives the entries of a chain, archived or not.
func (d *inPart) entries(r store.Ref) error {
	for n := uint64(0); ; {
		page, err := d.entriesOf(d.ctx, r, n, rowsAtOnce)
		if err != nil {
			return unreadable(transfer.Entry{Ref: r, N: n + 1}, err)
		}
		for _, body := range page {
			n++
			if err := d.f(transfer.Entry{Ref: r, N: n, Body: body}); err != nil {
				return err
			}
		}
		if len(page) < rowsAtOnce {
			return nil
		}
	}
}

func (d *inPart) attachments(rec *record, rows map[string]string) error {
	key := d.keys.conversation(d.part, rec.ref, "f")
	for _, name := range sortedKeys(rows) {
		i := transfer.Attachment{Ref: rec.ref}
		err := openJSON(rec.key, aad(key, []byte(name)), []byte(rows[name]), &i.Row)
		if err == nil && i.Row.ID != name {
			err = errRow
		}
		if err != nil {
			i.Row.ID = name
			return unreadable(i, err)
		}
		if err := d.f(i); err != nil {
			return err
		}
	}
	return nil
}

// files gives the files of a conversation, but those that are to be destroyed and those whose rows were given.
func (d *dump) files(r store.Ref, early bool, but []string) error {
	names, err := d.blobs.files.Names(d.ctx, r.Tenant.Name(), r.ID)
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(but, name) {
			continue
		}
		open := func() (io.ReadCloser, error) { return d.blobs.files.OpenSealed(d.ctx, r.Tenant.Name(), r.ID, name) }
		if err := d.f(transfer.Blob{Ref: r, Name: name, Early: early, Open: open}); err != nil {
			return err
		}
	}
	return nil
}

// loneKeys gives the data keys of conversations that do not exist yet, and their files.
func (d *dump) loneKeys() error {
	parts, err := d.used("k")
	if err != nil {
		return err
	}
	for _, part := range parts {
		var keys *goredis.MapStringStringCmd
		var convs *goredis.StringSliceCmd
		if err := d.db.run(d.ctx, reading, func(p goredis.Pipeliner) {
			keys = p.HGetAll(d.ctx, d.keys.ofTenant(part, d.t, "k"))
			convs = p.ZRange(d.ctx, d.keys.ofTenant(part, d.t, "c"), 0, -1)
		}); err != nil {
			return err
		}
		there := map[string]bool{}
		for _, conv := range convs.Val() {
			there[conv] = true
		}
		for _, conv := range sortedKeys(keys.Val()) {
			if there[conv] {
				continue
			}
			i := transfer.Key{Ref: store.Ref{Tenant: d.t, ID: conv}, Wrapped: []byte(keys.Val()[conv])}
			if _, err := d.sealed.OpenContent(conv, i.Wrapped); err != nil {
				return unreadable(i, err)
			}
			if err := d.f(i); err != nil {
				return err
			}
			if err := d.files(i.Ref, true, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *dump) deadLetters() error {
	type letter struct {
		member string
		part   int
	}
	var all []letter
	if err := eachPart(d.ctx, d.Store, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.ZRange(d.ctx, d.keys.ofTenant(part, d.t, "D"), 0, -1)
	}, func(part int, c *goredis.StringSliceCmd) error {
		for _, m := range c.Val() {
			if len(m) <= 8 {
				return fmt.Errorf("reading dead letters of tenant %s: %w", d.t.Name(), errRow)
			}
			all = append(all, letter{m, part})
		}
		return nil
	}); err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b letter) int { return strings.Compare(a.member, b.member) })
	for _, l := range all {
		if err := d.deadLetter(l.part, l.member[8:]); err != nil {
			return err
		}
	}
	return nil
}

func (d *dump) deadLetter(part int, row string) error {
	var i transfer.DeadLetter
	i.Ref.Tenant, i.Row.Row.ID = d.t, row
	where := d.keys.ofTenant(part, d.t, "E")
	got, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.StringCmd { return p.HGet(d.ctx, where, row) })
	if err != nil {
		return err
	}
	stored := got.Val()
	if len(stored) < deadClear {
		return unreadable(i, errRow)
	}
	i.Ref.ID = stored[8:deadClear]
	wrapped, err := ask(d.ctx, d.Store, func(p goredis.Pipeliner) *goredis.StringCmd {
		return p.HGet(d.ctx, d.keys.ofTenant(part, d.t, "k"), i.Ref.ID)
	})
	if err != nil {
		return err
	}
	key, err := d.sealed.OpenContent(i.Ref.ID, []byte(wrapped.Val()))
	if err == nil {
		err = openJSON(key, aad(where, []byte(row), []byte(stored[:deadClear])), []byte(stored[deadClear:]), &i.Row)
	}
	if err == nil && i.Row.Row.ID != row {
		err = errRow
	}
	if err != nil {
		i.Row.Row.ID = row
		return unreadable(i, err)
	}
	return d.f(i)
}

func (d *dump) identities() error {
	return eachPart(d.ctx, d.Store, func(p goredis.Pipeliner, part int) *goredis.MapStringStringCmd {
		return p.HGetAll(d.ctx, d.keys.ofTenant(part, d.t, "i"))
	}, func(_ int, c *goredis.MapStringStringCmd) error {
		for hash, conv := range c.Val() {
			i := transfer.Identity{Tenant: d.t, Conversation: conv}
			if copy(i.Hash[:], hash) != len(i.Hash) || len(hash) != len(i.Hash) {
				return unreadable(i, errRow)
			}
			if err := d.f(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// dumpIDs gives the message ids of the generations that are still asked.
func (s *Store) dumpIDs(ctx context.Context, f func(transfer.Item) error) error {
	newest, err := s.newestGeneration(ctx)
	if err != nil {
		return err
	}
	newest = max(newest, uint32(s.now()/s.o.Dedupe.Length.Milliseconds()))
	for back := s.o.Dedupe.Generations - 1; back >= 0; back-- {
		if int64(back) > int64(newest) {
			continue
		}
		gen := newest - uint32(back)
		for bucket := range s.o.Dedupe.Buckets {
			if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.MapStringStringCmd {
				return p.HGetAll(ctx, s.keys.dedupe(part, gen, bucket))
			}, func(_ int, c *goredis.MapStringStringCmd) error {
				for hash, row := range c.Val() {
					i := transfer.MessageID{Generation: gen}
					if len(hash) != len(idHash{}) {
						return unreadable(i, errRow)
					}
					copy(i.Hash[:], hash)
					if i.Known, err = knownOf(row); err != nil {
						return unreadable(i, err)
					}
					if err := f(i); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
