// Package segment is the form in which rows of a conversation are archived: many of them in one compressed piece.
//
// A segment holds rows of one kind, each with its number, from one number to another without a gap that its reader could
// not see: it names its conversation and its range itself, so that one that is found in another's place is refused. What
// it holds is in the clear; whoever stores it seals it.
//
// The form: a version byte; then, compressed as one Zstandard frame (RFC 8878) with its checksum, the kind, the length and
// the id of the conversation, from, to, the number of rows, and each row as the distance of its number from the one before
// (from, for the first), its length and its bytes. All numbers are unsigned varints.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Kind says what the rows of a segment are.
type Kind byte

// The kinds.
const (
	Log   Kind = 'l' // rows of a log; a row's number is that of its first event
	Chain Kind = 'a' // audit entries by their number
)

// Segment is a piece of an archive.
type Segment struct {
	Kind         Kind
	Conversation string
	// From and To are the first and the last number that it covers. The last row may cover more than its own number.
	From, To uint64
	Rows     []Row
}

// Row is a row as it was stored, but in the clear.
type Row struct {
	Number uint64
	Body   []byte
}

// Most bounds what a segment holds when it is opened, in bytes.
const Most = 64 << 20

const version = 1

// ErrForm says that bytes are no segment, or not the one that they should be.
var ErrForm = errors.New("it is no segment of this conversation and range")

// Codec compresses and opens segments. It is safe for concurrent use; its tables are made when they are first needed.
type Codec struct {
	tools func() (tools, error)
}

type tools struct {
	in  *zstd.Encoder
	out *zstd.Decoder
}

// NewCodec returns a Codec.
func NewCodec() *Codec {
	return &Codec{tools: sync.OnceValues(func() (t tools, err error) {
		// A window as large as a usual segment: more memory would find nothing more.
		if t.in, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true)); err != nil {
			return t, err
		}
		t.out, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(Most), zstd.WithDecoderLowmem(true))
		return t, err
	})}
}

// Encode returns the stored form of s. The same rows give the same bytes, as long as the compressor is the same.
func (c *Codec) Encode(s Segment) ([]byte, error) {
	t, err := c.tools()
	if err != nil {
		return nil, fmt.Errorf("making a compressor: %w", err)
	}
	plain := []byte{byte(s.Kind)}
	plain = binary.AppendUvarint(plain, uint64(len(s.Conversation)))
	plain = append(plain, s.Conversation...)
	plain = binary.AppendUvarint(plain, s.From)
	plain = binary.AppendUvarint(plain, s.To)
	plain = binary.AppendUvarint(plain, uint64(len(s.Rows)))
	last := s.From
	for _, r := range s.Rows {
		if r.Number < last || r.Number > s.To {
			return nil, fmt.Errorf("encoding a segment: row %d is not between %d and %d", r.Number, last, s.To)
		}
		plain = binary.AppendUvarint(plain, r.Number-last)
		plain = binary.AppendUvarint(plain, uint64(len(r.Body)))
		plain = append(plain, r.Body...)
		last = r.Number
	}
	if len(plain) > Most {
		return nil, fmt.Errorf("encoding a segment: %d bytes are too many", len(plain))
	}
	return t.in.EncodeAll(plain, []byte{version}), nil
}

// Decode opens what Encode made of the segment of a kind, a conversation and a range, or returns ErrForm. The rows share
// memory of their own.
func (c *Codec) Decode(b []byte, kind Kind, conversation string, from, to uint64) ([]Row, error) {
	t, err := c.tools()
	if err != nil {
		return nil, fmt.Errorf("making a compressor: %w", err)
	}
	if len(b) == 0 || b[0] != version {
		return nil, fmt.Errorf("%w: unknown version", ErrForm)
	}
	plain, err := t.out.DecodeAll(b[1:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if len(plain) == 0 || plain[0] != byte(kind) {
		return nil, fmt.Errorf("%w: another kind", ErrForm)
	}
	p := parser{rest: plain[1:]}
	if string(p.bytes()) != conversation || p.number() != from || p.number() != to || p.bad {
		return nil, fmt.Errorf("%w: another's", ErrForm)
	}
	count := p.number()
	if count > uint64(len(p.rest)) { // a row takes two bytes at least
		return nil, fmt.Errorf("%w: cut off", ErrForm)
	}
	rows := make([]Row, count)
	last := from
	for i := range rows {
		step := p.number()
		if step > to-last {
			return nil, fmt.Errorf("%w: a row outside of its range", ErrForm)
		}
		last += step
		rows[i] = Row{last, p.bytes()}
	}
	if p.bad || len(p.rest) != 0 {
		return nil, fmt.Errorf("%w: cut off", ErrForm)
	}
	return rows, nil
}

// parser reads numbers and bytes until it is at something bad.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) number() uint64 {
	n, w := binary.Uvarint(p.rest)
	if w <= 0 {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[w:]
	return n
}

func (p *parser) bytes() []byte {
	n := p.number()
	if n > uint64(len(p.rest)) {
		p.bad, p.rest = true, nil
		return nil
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}
