package redis

import (
	"errors"
	"io"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/transfer"
)

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
