package redis

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Load implements store.Conversations.
func (s *Store) Load(ctx context.Context, r store.Ref) (*store.Snapshot, error) {
	rec, err := s.existing(ctx, r)
	if err != nil {
		return nil, err
	}
	return rec.snapshot(), nil
}

var errLog = errors.New("a log row is damaged")

// parseSpan reads the clear part of the row that begins with event first; rest is the sealed part.
func parseSpan(first uint64, row []byte) (sp span, rest []byte, err error) {
	var v [3]uint64
	for i := range v {
		n, w := binary.Uvarint(row)
		if w <= 0 {
			return span{}, nil, errLog
		}
		v[i], row = n, row[w:]
	}
	sp = span{first: first, last: first + v[0] - 1, seen: v[1], upTo: v[1] + v[2]}
	if first == 0 || v[0] == 0 || sp.last < first || v[2] > v[0] || sp.upTo < sp.seen {
		return span{}, nil, errLog
	}
	return sp, row, nil
}

// logRow is a row as it was read. One from an archived segment is open already: plain is what was sealed.
type logRow struct {
	span
	id            string
	clear, sealed []byte
	plain         []byte
}

func logRowOf(m goredis.XMessage) (r logRow, err error) {
	first, _ := splitID(m.ID)
	raw, ok := m.Values["e"].(string)
	if !ok {
		return r, errLog
	}
	row := []byte(raw)
	r.id = m.ID
	r.span, r.sealed, err = parseSpan(first, row)
	r.clear = row[:len(row)-len(r.sealed)]
	return r, err
}

// logReader reads the rows of one conversation's log: those in segments, and behind them those in the stream.
type logReader struct {
	s   *Store
	rec *record
	key string

	piece int // whose rows were read last
	rows  []logRow
}

func (s *Store) readLog(rec *record) (*logReader, error) {
	p, err := home(rec.ref)
	return &logReader{s: s, rec: rec, key: s.keys.conversation(p, rec.ref, "l")}, err
}

// events opens a row and calls f with each of its events until f returns false. encoded is f's to keep.
func (l *logReader) events(r logRow, f func(seq, vseq uint64, encoded []byte) (bool, error)) error {
	b, err := l.open(r)
	if err != nil {
		return err
	}
	for seq := r.first; seq <= r.last; seq++ {
		vseq, w := binary.Uvarint(b)
		if w <= 0 {
			return errLog
		}
		b = b[w:]
		size, w := binary.Uvarint(b)
		if w <= 0 || size > uint64(len(b)-w) {
			return errLog
		}
		encoded := b[w : w+int(size)]
		b = b[w+int(size):]
		if more, err := f(seq, vseq, encoded); !more || err != nil {
			return err
		}
	}
	if len(b) != 0 {
		return errLog
	}
	return nil
}

// open returns the events of a row as they stand in it.
func (l *logReader) open(r logRow) ([]byte, error) {
	if r.plain != nil {
		return r.plain, nil
	}
	b, err := l.rec.key.Open(nil, aad(l.key, []byte(r.id), r.clear), r.sealed)
	if err != nil {
		return nil, fmt.Errorf("reading log row: %w", err)
	}
	return b, nil
}

// decodeLogged decodes the event that stands in a log row as number seq.
func (s *Store) decodeLogged(seq uint64, encoded []byte) (conversation.Event, error) {
	e, err := s.o.Events.DecodeLogged(encoded)
	if err == nil && e.Seq != seq {
		err = errLog
	}
	return e, err
}

// at returns the row that holds event seq, which the state says is there.
func (l *logReader) at(ctx context.Context, seq uint64) (row logRow, err error) {
	if h := &l.rec.shelf; seq <= h.to() {
		rows, err := l.archivedRows(ctx, h.find(seq))
		if err != nil {
			return row, err
		}
		i, _ := slices.BinarySearchFunc(rows, seq, func(r logRow, seq uint64) int { return cmp.Compare(r.last, seq) })
		return rows[i], nil
	}
	var cmd *goredis.XMessageSliceCmd
	if err := l.s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.XRevRangeN(ctx, l.key, logID(seq), "-", 1) }); err != nil {
		return logRow{}, err
	}
	if len(cmd.Val()) != 1 {
		return logRow{}, errLog
	}
	row, err = logRowOf(cmd.Val()[0])
	if err == nil && row.last < seq {
		err = errLog
	}
	return row, err
}

// rowsAtOnce is how many rows are read at a time.
const rowsAtOnce = 128

// from calls f with the rows from the one that begins with event first on, until f returns false or the log ends. It ends
// where the state says, or behind it.
func (l *logReader) from(ctx context.Context, first uint64, f func(logRow) (bool, error)) error {
	h, next := &l.rec.shelf, first
	for i := h.find(first); i < len(h.pieces); i++ {
		rows, err := l.archivedRows(ctx, i)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.first < first {
				continue
			}
			if more, err := f(row); !more || err != nil {
				return err
			}
			next = row.last + 1
		}
	}
	var last *logRow
	for id := logID(next); ; {
		var cmd *goredis.XMessageSliceCmd
		if err := l.s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.XRangeN(ctx, l.key, id, "+", rowsAtOnce) }); err != nil {
			return err
		}
		for _, m := range cmd.Val() {
			row, err := logRowOf(m)
			if err == nil && (row.first != next || last != nil && row.seen != last.upTo) {
				err = errLog
			}
			if err != nil {
				return err
			}
			last, next = &row, row.last+1
			if more, err := f(row); !more || err != nil {
				return err
			}
		}
		if len(cmd.Val()) < rowsAtOnce {
			break
		}
		id = "(" + last.id
	}
	if next <= l.rec.state.Seq {
		return errLog
	}
	return nil
}

// Log implements store.Conversations.
func (s *Store) Log(ctx context.Context, r store.Ref, after uint64, limit int) (events []conversation.Event, err error) {
	err = s.reading(ctx, r, func(rec *record) error {
		events = nil
		if limit <= 0 || after >= rec.state.Seq {
			return nil
		}
		log, err := s.readLog(rec)
		if err != nil {
			return err
		}
		row, err := log.at(ctx, after+1)
		if err != nil {
			return err
		}
		events, err = log.collect(ctx, row, limit, func(seq, _ uint64) bool { return seq > after })
		return err
	})
	return events, err
}

// Visible implements store.Conversations.
func (s *Store) Visible(ctx context.Context, r store.Ref, after uint64, limit int) (events []conversation.Event, err error) {
	err = s.reading(ctx, r, func(rec *record) error {
		events = nil
		if limit <= 0 || after >= rec.state.VSeq {
			return nil
		}
		log, err := s.readLog(rec)
		if err != nil {
			return err
		}
		row, err := log.visible(ctx, after)
		if err != nil {
			return err
		}
		events, err = log.collect(ctx, row, limit, func(_, vseq uint64) bool { return vseq > after })
		return err
	})
	return events, err
}

// reading calls f with a conversation as it is, and again when rows that f did not find had been archived meanwhile.
func (s *Store) reading(ctx context.Context, r store.Ref, f func(*record) error) error {
	rec, err := s.existing(ctx, r)
	if err != nil {
		return err
	}
	for {
		missed := f(rec)
		if !errors.Is(missed, errLog) {
			return missed
		}
		now, err := s.existing(ctx, r)
		if err != nil {
			return err
		}
		if now.shelf.to() == rec.shelf.to() {
			return missed
		}
		rec = now
	}
}

// visible returns the row with the first event that is visible after a visible sequence.
func (l *logReader) visible(ctx context.Context, after uint64) (row logRow, err error) {
	// Not every event is visible, so it cannot stand before after+1, nor nearer to the end than visible ones are missing.
	state := l.rec.state
	low, high := after+1, state.Seq-(state.VSeq-after)+1
	for i, p := range l.rec.shelf.pieces { // no segment is opened but the one that has it
		if p.upTo > after {
			low, high = max(low, l.rec.shelf.from(i)), min(high, p.to)
			break
		}
		low = max(low, p.to+1)
	}
	for low < high {
		row, err := l.at(ctx, low+(high-low)/2)
		if err != nil {
			return row, err
		}
		if row.upTo > after {
			high = max(low, row.first)
		} else {
			low = row.last + 1
		}
	}
	return l.at(ctx, low)
}

// collect decodes the wanted events of a row and of those behind it: at most limit.
func (l *logReader) collect(ctx context.Context, row logRow, limit int, want func(seq, vseq uint64) bool) (events []conversation.Event, err error) {
	err = l.from(ctx, row.first, func(row logRow) (bool, error) {
		err := l.events(row, func(seq, vseq uint64, encoded []byte) (bool, error) {
			if !want(seq, vseq) {
				return true, nil
			}
			e, err := l.s.decodeLogged(seq, encoded)
			if err != nil {
				return false, err
			}
			events = append(events, e)
			return len(events) < limit, nil
		})
		return len(events) < limit, err
	})
	return events, err
}

// Attachment implements store.Conversations.
func (s *Store) Attachment(ctx context.Context, r store.Ref, attachment string) (a store.Attachment, err error) {
	rec, err := s.existing(ctx, r)
	if err != nil {
		return a, err
	}
	p, err := home(r)
	if err != nil {
		return a, err
	}
	key := s.keys.conversation(p, r, "f")
	var cmd *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { cmd = pipe.HGet(ctx, key, attachment) }); err != nil {
		return a, err
	}
	if cmd.Val() == "" {
		return a, store.ErrNotFound
	}
	err = openJSON(rec.key, aad(key, []byte(attachment)), []byte(cmd.Val()), &a)
	return a, err
}

// List implements store.Conversations. Who holds a conversation is known by the queue view, and what an address opened
// lies in one partition; by contact or tag every partition is asked.
func (s *Store) List(ctx context.Context, t store.Tenant, by store.Path, before string, limit int) ([]store.Ref, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil || limit <= 0 {
		return nil, err
	}
	if before != "" {
		if _, err := id.Partition(id.Conversation, before); err != nil {
			return nil, store.ErrNotFound
		}
	}
	prefix := pathPrefix(keys, by.Kind, by.Value)
	until := "(" + after(prefix)
	if before != "" {
		until = "(" + prefix + string(be64(nil, born(before))) + before
	}
	var all []string // time and id, 8 bytes and the id
	take := func(members []string) {
		for _, m := range members {
			if len(m) == len(prefix)+8+idLen {
				all = append(all, m[len(prefix):])
			}
		}
	}
	ask := func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.ZRevRangeByLex(ctx, s.keys.ofTenant(part, t, "p"), &goredis.ZRangeBy{Max: until, Min: "[" + prefix, Count: int64(limit)})
	}
	switch by.Kind {
	case store.ByAgent:
		var held *goredis.StringSliceCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { held = p.HKeys(ctx, s.keys.desk(t, agentHolds(by.Value))) }); err != nil {
			return nil, err
		}
		last := string(be64(nil, born(before))) + before
		for _, conv := range held.Val() {
			if m := string(be64(nil, born(conv))) + conv; before == "" || m < last {
				all = append(all, m)
			}
		}
	case store.ByAddress:
		channel, address, _ := strings.Cut(by.Value, "\x00")
		part := id.PartitionOf(t.Name(), channel, address)
		var cmd *goredis.StringSliceCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = ask(p, part) }); err != nil {
			return nil, err
		}
		take(cmd.Val())
	default:
		if err := eachPart(ctx, s, ask, func(_ int, c *goredis.StringSliceCmd) error {
			take(c.Val())
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(b, a) })
	var refs []store.Ref
	for _, m := range all[:min(limit, len(all))] {
		refs = append(refs, store.Ref{Tenant: t, ID: m[8:]})
	}
	return refs, nil
}
