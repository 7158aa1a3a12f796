package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

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
