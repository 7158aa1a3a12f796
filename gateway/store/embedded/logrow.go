package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/conversation"
	"turnout/gateway/store/seal"
)

// A log row holds the events of one step. Its key has the sequence of the first; in front of the sealed events stand in
// the clear how many they are and the visible sequence before and with them, so that a reader finds a place without
// opening what lies between. The clear part is of the additional data, like the key.
//
// The sealed part: for each event its visible sequence or 0, its length, its packed form; or its JSON, where the row was
// copied from a store that logs so.

var errLog = errors.New("a log row is damaged")

// span is what a log row holds: the events from first to last; seen is the visible sequence before them and upTo with
// them.
type span struct {
	first, last uint64
	seen, upTo  uint64
}

// appendSpan appends the clear part of a log row.
func appendSpan(b []byte, sp span) []byte {
	b = binary.AppendUvarint(b, sp.last-sp.first+1)
	b = binary.AppendUvarint(b, sp.seen)
	return binary.AppendUvarint(b, sp.upTo-sp.seen)
}

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

// appendLogged appends an event as it stands in the sealed part.
func appendLogged(b []byte, vseq uint64, encoded []byte) []byte {
	b = binary.AppendUvarint(b, vseq)
	b = binary.AppendUvarint(b, uint64(len(encoded)))
	return append(b, encoded...)
}

// logRow is a row as it was read; key and sealed are valid until the reader moves.
type logRow struct {
	span
	key    []byte
	clear  []byte
	sealed []byte
}

// events opens the row and calls f with each of its events until f returns false. encoded is f's to keep.
func (r *logRow) events(content *seal.Content, f func(seq, vseq uint64, encoded []byte) (bool, error)) error {
	b, err := content.Open(nil, aad(r.key, r.clear), r.sealed)
	if err != nil {
		return fmt.Errorf("reading log row: %w", err)
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

// decodeLogged decodes the event that stands in a log row as number seq.
func decodeLogged(seq uint64, encoded []byte) (conversation.Event, error) {
	e, err := conversation.DecodeLogged(encoded)
	if err == nil && e.Seq != seq {
		err = errLog
	}
	return e, err
}

// logReader reads the rows of one conversation's log in order. The caller holds the partition's lock and closes it.
type logReader struct {
	s      *Store
	it     *pebble.Iterator
	prefix int // length of what stands in a key before the sequence
	key    []byte
}

func (s *Store) readLog(rec *record) (*logReader, error) {
	prefix := conversationKey(rec.ref)
	from := kindKey(prefix, kindLog)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: kindKey(prefix, kindLog+1)})
	if err != nil {
		return nil, s.readError(err)
	}
	return &logReader{s: s, it: it, prefix: len(from), key: from}, nil
}

// at returns the row that holds event seq, which the state says is there.
func (l *logReader) at(seq uint64) (logRow, error) {
	l.key = binary.BigEndian.AppendUint64(l.key[:l.prefix], seq+1)
	if !l.it.SeekLT(l.key) {
		if err := l.it.Error(); err != nil {
			return logRow{}, l.s.readError(err)
		}
		return logRow{}, errLog
	}
	row, err := l.row()
	if err == nil && row.last < seq {
		err = errLog
	}
	return row, err
}

// after returns the row that follows row; ok is false at the end of the log.
func (l *logReader) after(row logRow) (next logRow, ok bool, err error) {
	if !l.it.Next() {
		if err := l.it.Error(); err != nil {
			return logRow{}, false, l.s.readError(err)
		}
		return logRow{}, false, nil
	}
	next, err = l.row()
	if err == nil && (next.first != row.last+1 || next.seen != row.upTo) {
		err = errLog
	}
	return next, err == nil, err
}

func (l *logReader) row() (r logRow, err error) {
	v, err := l.it.ValueAndErr()
	if err != nil {
		return r, l.s.readError(err)
	}
	r.key = l.it.Key()
	if len(r.key) != l.prefix+8 {
		return r, errLog
	}
	r.span, r.sealed, err = parseSpan(binary.BigEndian.Uint64(r.key[l.prefix:]), v)
	r.clear = v[:len(v)-len(r.sealed)]
	return r, err
}

// visible returns the first row that holds an event with a visible sequence above after, which is below the state's.
func (l *logReader) visible(rec *record, after uint64) (row logRow, err error) {
	// Not every event is visible, so the event cannot stand before after+1, nor nearer to the end than visible ones are
	// missing.
	low, high := after+1, rec.state.Seq-(rec.state.VSeq-after)+1
	for low < high {
		if row, err = l.at(low + (high-low)/2); err != nil {
			return row, err
		}
		if row.upTo > after {
			high = max(low, row.first)
		} else {
			low = row.last + 1
		}
	}
	return l.at(low)
}

// collect decodes the events of row and of those after it that have a sequence above after, or with visible set a visible
// sequence above it: at most limit.
func (l *logReader) collect(rec *record, row logRow, after uint64, visible bool, limit int) (events []conversation.Event, err error) {
	take := func(seq, vseq uint64, encoded []byte) (bool, error) {
		if visible && vseq <= after || seq <= after && !visible {
			return true, nil
		}
		e, err := decodeLogged(seq, encoded)
		if err != nil {
			return false, err
		}
		events = append(events, e)
		return len(events) < limit, nil
	}
	for more := true; more && err == nil; {
		if !visible || row.upTo > row.seen {
			err = row.events(rec.key, take)
		}
		if err != nil || len(events) >= limit {
			break
		}
		last := row.last
		if row, more, err = l.after(row); err == nil && !more && last != rec.state.Seq {
			err = errLog
		}
	}
	return events, err
}

func (l *logReader) close() error {
	if err := l.it.Close(); err != nil {
		return l.s.readError(err)
	}
	return nil
}
