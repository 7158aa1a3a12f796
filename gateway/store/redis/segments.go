package redis

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"turnout/gateway/store"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/segment"
)

// What was archived of a conversation lies in segments, each a file among the blobs: those of the log in the folder and
// under the data key of the conversation, so that they go with it; those of the audit chain in a folder of the partition
// and under a key of the tenant, because the chain outlasts the conversation. Which ones there are stands in two fields of
// the state's hash.

// piece is a segment that was recorded: the numbers up to to, after those of the piece before.
type piece struct {
	to   uint64
	upTo uint64 // visible sequence with the last event; 0 for a chain
	name string // of the file: the keyed hash of its content
}

// shelf is the list of a conversation's segments of one kind, in order. pending is one that is being made: its range and
// its name are durable before its file is, so that whoever goes on makes the same one.
type shelf struct {
	pieces  []piece
	pending *piece
}

// to is the last number that is archived.
func (h *shelf) to() uint64 {
	if len(h.pieces) == 0 {
		return 0
	}
	return h.pieces[len(h.pieces)-1].to
}

// from is the first number of piece i.
func (h *shelf) from(i int) uint64 {
	if i == 0 {
		return 1
	}
	return h.pieces[i-1].to + 1
}

// find returns the piece that holds a number, which is archived.
func (h *shelf) find(n uint64) int {
	for i := range h.pieces {
		if n <= h.pieces[i].to {
			return i
		}
	}
	return len(h.pieces)
}

// names are those of all files, also of one that is being made.
func (h *shelf) names() (names []string) {
	for _, p := range h.pieces {
		names = append(names, p.name)
	}
	if h.pending != nil {
		names = append(names, h.pending.name)
	}
	return names
}

// nameSize is the size of a file's name in the field, where it is not in hex.
const nameSize = 32

func (h *shelf) encode() ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(len(h.pieces)))
	all := h.pieces
	if h.pending != nil {
		all = append(all[:len(all):len(all)], *h.pending)
	}
	for _, p := range all {
		name, err := hex.DecodeString(p.name)
		if err != nil || len(name) != nameSize {
			return nil, fmt.Errorf("naming a segment: %w", errRow)
		}
		b = binary.AppendUvarint(b, p.to)
		b = binary.AppendUvarint(b, p.upTo)
		b = append(b, name...)
	}
	return b, nil
}

// decodeShelf reads what encode wrote; nothing is an empty shelf.
func decodeShelf(b []byte) (h shelf, err error) {
	bad := fmt.Errorf("the list of archived segments: %w", errRow)
	if len(b) == 0 {
		return h, nil
	}
	next := func() uint64 {
		n, w := binary.Uvarint(b)
		if w <= 0 {
			err, b = bad, nil
			return 0
		}
		b = b[w:]
		return n
	}
	count := next()
	if count > uint64(len(b))/nameSize {
		return shelf{}, bad
	}
	for err == nil && len(b) > 0 {
		p := piece{to: next(), upTo: next()}
		if err != nil || len(b) < nameSize || p.to <= h.to() || len(h.pieces) > 0 && p.upTo < h.pieces[len(h.pieces)-1].upTo {
			return shelf{}, bad
		}
		p.name, b = hex.EncodeToString(b[:nameSize]), b[nameSize:]
		if uint64(len(h.pieces)) < count {
			h.pieces = append(h.pieces, p)
		} else if h.pending == nil {
			h.pending = &p
		} else {
			return shelf{}, bad
		}
	}
	if err != nil || uint64(len(h.pieces)) != count {
		return shelf{}, bad
	}
	return h, nil
}

// spot is where the files of one kind of a conversation's segments lie.
type spot struct {
	kind   segment.Kind
	ref    store.Ref
	folder string
	key    *seal.Content
}

func logSpot(r store.Ref, key *seal.Content) spot { return spot{segment.Log, r, r.ID, key} }

// chainSpot: the folder is no conversation's, so that none takes it away.
func chainSpot(r store.Ref, p int, t *seal.Tenant) spot {
	return spot{segment.Chain, r, "chains-" + strconv.Itoa(p), t.Chains()}
}

// segment reads the rows of a piece that begins with number from. What is damaged or missing is store.ErrArchive.
func (s *Store) segment(ctx context.Context, at spot, from uint64, p piece) ([]segment.Row, error) {
	rows, err := s.open(ctx, at, from, p)
	if err == nil {
		return rows, nil
	}
	if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, seal.ErrOpen) && !errors.Is(err, segment.ErrForm) {
		return nil, &outcomeError{store.ErrUnavailable, fmt.Errorf("reading an archived segment: %w", err)}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if at.kind == segment.Log { // it may just have been destroyed
		if gone := s.gone(ctx, at.ref); errors.Is(gone, store.ErrErased) {
			return nil, gone
		}
	}
	return nil, s.damaged(at, from, p, err)
}

// damaged is the error of a piece that cannot be read, and says so to who wants to know.
func (s *Store) damaged(at spot, from uint64, p piece, err error) error {
	what := "events"
	if at.kind == segment.Chain {
		what = "audit entries"
	}
	if errors.Is(err, store.ErrNotFound) { // the conversation is there
		err = errors.New("there is no such file")
	}
	err = fmt.Errorf("%w: %s %d to %d, file %s/%s: %w", store.ErrArchive, what, from, p.to, at.folder, p.name, err)
	if s.o.Damaged != nil {
		s.o.Damaged(at.ref, err)
	}
	return err
}

func (s *Store) open(ctx context.Context, at spot, from uint64, p piece) ([]segment.Row, error) {
	b, err := s.readBlob(ctx, at, p.name)
	if err != nil {
		return nil, err
	}
	return s.codec.Decode(b, at.kind, at.ref.ID, from, p.to)
}

func (s *Store) readBlob(ctx context.Context, at spot, name string) ([]byte, error) {
	f, err := s.blobs.files.Open(ctx, at.key, at.ref.Tenant.Name(), at.folder, name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, segment.Most+1))
	return b, errors.Join(err, f.Close())
}

// putBlob stores a file and reads it back: its rows are the only other copy, and are about to go.
func (s *Store) putBlob(ctx context.Context, at spot, p piece, body []byte) error {
	name, _, err := s.blobs.files.Put(ctx, at.key, at.ref.Tenant.Name(), at.folder, bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return err
	}
	if name != p.name {
		return fmt.Errorf("the file was stored as %s", name)
	}
	back, err := s.readBlob(ctx, at, name)
	if err == nil && !bytes.Equal(back, body) {
		err = errors.New("other bytes came back")
	}
	return err
}

// nameOf is the name that a body gets as a blob.
func nameOf(key *seal.Content, body []byte) string {
	h := key.BlobName()
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// archivedRow is a row of the log as it stands in a segment.
func archivedRow(r segment.Row) (logRow, error) {
	sp, plain, err := parseSpan(r.Number, r.Body)
	return logRow{span: sp, id: logID(sp.first), plain: plain}, err
}

// archivedRows returns the rows of the log in piece i. They are kept for the next question.
func (l *logReader) archivedRows(ctx context.Context, i int) ([]logRow, error) {
	if l.rows != nil && l.piece == i {
		return l.rows, nil
	}
	h, at := &l.rec.shelf, logSpot(l.rec.ref, l.rec.key)
	from := h.from(i)
	list, err := l.s.segment(ctx, at, from, h.pieces[i])
	if err != nil {
		return nil, err
	}
	rows, next := make([]logRow, len(list)), from
	for j, r := range list {
		if rows[j], err = archivedRow(r); err != nil || rows[j].first != next {
			return nil, l.s.damaged(at, from, h.pieces[i], errRow)
		}
		next = rows[j].last + 1
	}
	if next != h.pieces[i].to+1 {
		return nil, l.s.damaged(at, from, h.pieces[i], errRow)
	}
	l.piece, l.rows = i, rows
	return rows, nil
}

// archivedEntries returns the entries of a chain after one that are archived, at most limit.
func (s *Store) archivedEntries(ctx context.Context, t *seal.Tenant, p int, r store.Ref, h *shelf, after uint64, limit int) (out [][]byte, err error) {
	for i := h.find(after + 1); i < len(h.pieces) && len(out) < limit; i++ {
		at, from := chainSpot(r, p, t), h.from(i)
		rows, err := s.segment(ctx, at, from, h.pieces[i])
		if err != nil {
			return nil, err
		}
		if n := uint64(len(rows)); n != h.pieces[i].to-from+1 {
			return nil, s.damaged(at, from, h.pieces[i], errRow)
		}
		for _, row := range rows {
			if row.Number > after && len(out) < limit {
				out = append(out, row.Body)
			}
		}
	}
	return out, nil
}
