package redis

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/segment"
)

// A conversation is archived in two writes around its files. The first says which segments are being made: their range and
// their names. Rows below the end of a log never change, so whoever makes a segment of a range makes the same one, and one
// that was interrupted is made by the next who comes. The second write records the segments and takes the rows away. Both
// compare the lists of segments and the version of the conversation: of several who archive at once one wins, and a
// conversation that moves on, or is erased, is left as it is.

// segmentSize is about how many bytes of rows a segment holds, before they are compressed: more than a conversation usually
// has, and little enough to be opened for one page of a long one.
const segmentSize = 1 << 20

// Closed implements store.Archive.
func (s *Store) Closed(ctx context.Context, t store.Tenant, since int64, limit int) (refs []store.Ref, err error) {
	if err := s.enter(ctx); err != nil || limit <= 0 {
		return nil, err
	}
	var all []goredis.Z
	if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.ZSliceCmd {
		return p.ZRangeByScoreWithScores(ctx, s.keys.ofTenant(part, t, "y"), &goredis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(since, 10), Count: int64(limit)})
	}, func(_ int, c *goredis.ZSliceCmd) error {
		all = append(all, c.Val()...)
		return nil
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b goredis.Z) int { return cmp.Compare(a.Score, b.Score) })
	for _, z := range all[:min(limit, len(all))] {
		conv, _ := z.Member.(string)
		if _, err := id.Partition(id.Conversation, conv); err != nil {
			return nil, fmt.Errorf("reading what is closed: %w", errRow)
		}
		refs = append(refs, store.Ref{Tenant: t, ID: conv})
	}
	return refs, nil
}

// Archive implements store.Archive.
func (s *Store) Archive(ctx context.Context, r store.Ref) (done store.Archived, err error) {
	if err := s.enter(ctx); err != nil {
		return done, err
	}
	for {
		a, err := s.archiving(ctx, r)
		if err != nil {
			return done, err
		}
		more, err := a.step(ctx, &done)
		if err != nil || !more {
			return done, err
		}
	}
}

// archiving is one round of archiving a conversation: at most one segment of each kind.
type archiving struct {
	s    *Store
	p    int
	ref  store.Ref
	rec  *record // nil for one that was erased
	head []byte  // of its chain, then
	jobs []*shelving
}

// shelving is what a round does with the rows of one kind.
type shelving struct {
	spot
	field, stream string
	raw           string // the field as it was read
	shelf         shelf
	end           uint64 // the last number that there is
	rows          func(ctx context.Context, j *shelving, to uint64) (segment.Segment, piece, int64, error)

	next   piece
	body   []byte // of the file
	items  int
	before int64
}

// archiving reads what there is to do.
func (s *Store) archiving(ctx context.Context, r store.Ref) (*archiving, error) {
	p, err := home(r)
	if err != nil {
		return nil, err
	}
	t, err := s.tenant(ctx, r.Tenant)
	if t == nil || err != nil {
		return nil, errors.Join(err, notFound(t == nil))
	}
	a := &archiving{s: s, p: p, ref: r}
	if a.rec, err = s.load(ctx, r); err != nil {
		return nil, err
	}
	state := s.keys.conversation(p, r, "s")
	var fields *goredis.SliceCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { fields = pipe.HMGet(ctx, state, "al", "aa", "ah") }); err != nil {
		return nil, err
	}
	var v [3]string
	for i, x := range fields.Val() {
		v[i], _ = x.(string)
	}
	a.head = []byte(v[2])
	head, err := decodeHead(a.head)
	if err != nil {
		return nil, err
	}
	chain := &shelving{spot: chainSpot(r, p, t), field: "aa", stream: s.keys.conversation(p, r, "a"), raw: v[1], end: head.N, rows: a.entries}
	if rec := a.rec; rec == nil {
		if err := s.gone(ctx, r); !errors.Is(err, store.ErrErased) {
			return nil, err
		}
	} else {
		switch {
		case rec.state.Owner.Kind != message.OwnerClosed, rec.state.Working(), len(rec.rows) > 0, rec.lease.Live(s.now()):
			return nil, store.ErrStale
		case rec.head != head: // it has moved on between the two questions
			return nil, store.ErrStale
		}
		a.jobs = append(a.jobs, &shelving{
			spot: logSpot(r, rec.key), field: "al", stream: s.keys.conversation(p, r, "l"), raw: v[0], end: rec.state.Seq, rows: a.events,
		})
	}
	a.jobs = append(a.jobs, chain)
	for _, j := range a.jobs {
		if j.shelf, err = decodeShelf([]byte(j.raw)); err != nil {
			return nil, err
		}
		if j.shelf.to() > j.end || j.shelf.pending != nil && (j.shelf.pending.to > j.end || j.shelf.pending.to <= j.shelf.to()) {
			return nil, fmt.Errorf("the list of archived segments: %w", errRow)
		}
	}
	return a, nil
}

// step makes the next segments and reports whether there are more to make.
func (a *archiving) step(ctx context.Context, done *store.Archived) (more bool, err error) {
	s := a.s
	var begin, end txn
	announced, made := true, false
	for _, j := range a.jobs {
		if j.shelf.to() == j.end {
			continue
		}
		made = true
		if err := j.build(ctx, s.codec); err != nil {
			return false, a.outrun(ctx, j, err)
		}
		before := j.raw
		if p := j.shelf.pending; p == nil || *p != j.next {
			announced = false
			marked := shelf{pieces: j.shelf.pieces, pending: &j.next}
			b, err := marked.encode()
			if err != nil {
				return false, err
			}
			j.raw = string(b)
		}
		state := s.keys.conversation(a.p, a.ref, "s")
		begin.same(whyOther, state, j.field, before)
		begin.hset(state, j.field, j.raw)
		end.same(whyOther, state, j.field, j.raw)
	}
	a.compare(&begin)
	a.compare(&end)
	if made && !announced {
		if why, err := s.db.commit(ctx, &begin); err != nil || why != held {
			return false, errors.Join(err, stale(why))
		}
	}
	if err := a.superseded(ctx); err != nil {
		return false, err
	}
	if err := s.o.Faults.Hit(ctx, fault.ArchiveBegun); err != nil {
		return false, err
	}
	for _, j := range a.jobs {
		if j.body == nil {
			continue
		}
		if err := s.putBlob(ctx, j.spot, j.next, j.body); err != nil {
			return false, &outcomeError{store.ErrUnavailable, fmt.Errorf("storing an archived segment: %w", err)}
		}
	}
	if err := s.o.Faults.Hit(ctx, fault.ArchiveStored); err != nil {
		return false, err
	}
	if more, err = a.finish(&end); err != nil {
		return false, err
	}
	why, err := s.db.commit(ctx, &end)
	if err != nil || why != held {
		return false, errors.Join(err, stale(why), a.swept(ctx, why))
	}
	for _, j := range a.jobs {
		if j.body == nil {
			continue
		}
		if j.kind == segment.Log {
			done.Events += j.items
		} else {
			done.Entries += j.items
		}
		done.Before += j.before
		done.After += int64(len(j.body))
	}
	return more, s.o.Faults.Hit(ctx, fault.ArchiveRecorded)
}

// superseded removes files that were begun under another name: another build compresses otherwise. Nobody can record them any
// more.
func (a *archiving) superseded(ctx context.Context) error {
	for _, j := range a.jobs {
		if p := j.shelf.pending; p != nil && j.body != nil && p.name != j.next.name {
			if err := a.s.blobs.files.Remove(ctx, j.ref.Tenant.Name(), j.folder, p.name); err != nil {
				return &outcomeError{store.ErrUnavailable, fmt.Errorf("removing an archived segment: %w", err)}
			}
		}
	}
	return nil
}

// outrun is store.ErrStale in the place of an error that there is because another has archived the rows meanwhile.
func (a *archiving) outrun(ctx context.Context, j *shelving, missed error) error {
	if !errors.Is(missed, errLog) && !errors.Is(missed, errRow) {
		return missed
	}
	var now *goredis.StringCmd
	if err := a.s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		now = p.HGet(ctx, a.s.keys.conversation(a.p, a.ref, "s"), j.field)
	}); err != nil {
		return err
	}
	if now.Val() != j.raw {
		return store.ErrStale
	}
	return missed
}

func stale(why reason) error {
	if why == held {
		return nil
	}
	return store.ErrStale
}

// compare has the script look that the conversation is the one that was read.
func (a *archiving) compare(t *txn) {
	state := a.s.keys.conversation(a.p, a.ref, "s")
	if a.rec != nil {
		t.equal(whyVersion, state, "v", string(a.rec.ver))
		return
	}
	t.absent(whyVersion, state, "v")
	t.same(whyVersion, state, "ah", string(a.head))
}

// finish puts the end of a round into the script's arguments.
func (a *archiving) finish(t *txn) (more bool, err error) {
	state := a.s.keys.conversation(a.p, a.ref, "s")
	for _, j := range a.jobs {
		if j.body == nil {
			continue
		}
		full := shelf{pieces: append(j.shelf.pieces[:len(j.shelf.pieces):len(j.shelf.pieces)], j.next)}
		b, err := full.encode()
		if err != nil {
			return false, err
		}
		t.hset(state, j.field, b)
		if j.next.to == j.end {
			t.del(j.stream)
			continue
		}
		t.trim(j.stream, strconv.FormatUint(j.next.to+1, 10)+"-0")
		more = true
	}
	if !more {
		t.zrem(a.s.keys.ofTenant(a.p, a.ref.Tenant, "y"), a.ref.ID)
	}
	return more, nil
}

// swept removes what was stored for a conversation that was erased meanwhile: nothing leads to it any more.
func (a *archiving) swept(ctx context.Context, why reason) error {
	if why != whyVersion || a.rec == nil {
		return nil
	}
	if err := a.s.gone(ctx, a.ref); !errors.Is(err, store.ErrErased) {
		return nil
	}
	return a.s.blobs.files.RemoveAll(ctx, a.ref.Tenant.Name(), a.ref.ID)
}

// build makes the next segment: the one that is being made, or else one of what follows.
func (j *shelving) build(ctx context.Context, c *segment.Codec) error {
	to := j.end
	if j.shelf.pending != nil {
		to = j.shelf.pending.to
	}
	seg, next, before, err := j.rows(ctx, j, to)
	if err != nil {
		return err
	}
	if j.shelf.pending != nil && next.to != to {
		return fmt.Errorf("archiving up to %d: %w", to, errLog)
	}
	seg.Kind, seg.Conversation, seg.From, seg.To = j.kind, j.ref.ID, j.shelf.to()+1, next.to
	if j.body, err = c.Encode(seg); err != nil {
		return err
	}
	next.name = nameOf(j.key, j.body)
	j.next, j.before = next, before
	return nil
}

// enough ends a segment at about its size, unless its end is given.
func (j *shelving) enough(size int) bool { return size >= segmentSize && j.shelf.pending == nil }

// events reads the rows of the log behind what is archived.
func (a *archiving) events(ctx context.Context, j *shelving, to uint64) (seg segment.Segment, next piece, before int64, err error) {
	log, err := a.s.readLog(a.rec)
	if err != nil {
		return seg, next, 0, err
	}
	size := 0
	err = log.from(ctx, j.shelf.to()+1, func(row logRow) (bool, error) {
		if row.last > to {
			return false, errLog
		}
		plain, err := log.open(row)
		if err != nil {
			return false, err
		}
		body := append(bytes.Clone(row.clear), plain...)
		seg.Rows = append(seg.Rows, segment.Row{Number: row.first, Body: body})
		next = piece{to: row.last, upTo: row.upTo}
		size += len(body)
		before += int64(len(row.clear) + len(row.sealed))
		j.items = int(row.last - j.shelf.to())
		return row.last < to && !j.enough(size), nil
	})
	return seg, next, before, err
}

// entries reads those of the chain behind what is archived.
func (a *archiving) entries(ctx context.Context, j *shelving, to uint64) (seg segment.Segment, next piece, before int64, err error) {
	size := 0
	for n := j.shelf.to(); n < to && !j.enough(size); {
		var cmd *goredis.XMessageSliceCmd
		if err := a.s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			cmd = p.XRangeN(ctx, j.stream, entryID(n+1), "+", rowsAtOnce)
		}); err != nil {
			return seg, next, 0, err
		}
		list, err := bodies(cmd.Val())
		if err != nil {
			return seg, next, 0, err
		}
		if len(list) == 0 {
			return seg, next, 0, fmt.Errorf("archiving an audit chain: entry %d: %w", n+1, errRow)
		}
		for i, b := range list {
			if got, _ := splitID(cmd.Val()[i].ID); got != n+1 {
				return seg, next, 0, fmt.Errorf("archiving an audit chain: entry %d: %w", n+1, errRow)
			}
			if n == to || j.enough(size) {
				break
			}
			n++
			seg.Rows = append(seg.Rows, segment.Row{Number: n, Body: b})
			size += len(b)
		}
		next.to = n
	}
	j.items = len(seg.Rows)
	return seg, next, int64(size), nil
}
