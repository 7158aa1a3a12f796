package embedded

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// keptOps is over how many commits of a conversation a repeated operation is recognised.
const keptOps = 16

// record is a conversation's state row, decoded, with its data key. It is never changed: a commit makes a new one.
type record struct {
	ref   store.Ref
	state *conversation.State
	ops   ops
	head  audit.Head
	key   *seal.Content
	// marked is set when the chain is known to be marked as moved since the last checkpoint.
	marked bool
}

func (r *record) version() store.Token { return r.ops.last }

// ops are the last operations of a conversation: the newest, which is the version, by its name, and all by their marks,
// the newest last.
type ops struct {
	last  store.Token
	marks []opMark
}

// opMark stands for an operation among the few of one conversation: names are long and would be most of the row.
type opMark [8]byte

func markOf(op store.Token) opMark {
	sum := sha256.Sum256([]byte(op))
	return opMark(sum[:len(opMark{})])
}

// with returns the operations after one more. The list is in memory of its own.
func (o ops) with(op store.Token) ops {
	kept := o.marks[max(0, len(o.marks)+1-keptOps):]
	marks := make([]opMark, 0, len(kept)+1)
	return ops{last: op, marks: append(append(marks, kept...), markOf(op))}
}

// has reports whether op is one of them.
func (o ops) has(op store.Token) bool { return slices.Contains(o.marks, markOf(op)) }

// append appends the operations as they stand in a row: how many, their marks, the length of the newest name, the name.
func (o ops) append(b []byte) []byte {
	b = append(b, byte(len(o.marks)))
	for i := range o.marks {
		b = append(b, o.marks[i][:]...)
	}
	return append(append(b, byte(len(o.last))), o.last...)
}

// parseOps reads operations from the front of b.
func parseOps(b []byte) (o ops, rest []byte, err error) {
	if len(b) == 0 || b[0] == 0 || b[0] > keptOps {
		return ops{}, nil, errRow
	}
	n, rest := int(b[0]), b[1:]
	if len(rest) < n*len(opMark{})+1 {
		return ops{}, nil, errRow
	}
	o.marks = make([]opMark, n)
	for i := range o.marks {
		rest = rest[copy(o.marks[i][:], rest):]
	}
	size := int(rest[0])
	if rest = rest[1:]; size == 0 || len(rest) < size {
		return ops{}, nil, errRow
	}
	o.last = store.Token(rest[:size])
	return o, rest[size:], nil
}

// The row: a cleartext header of layout, operations and audit head, then the sealed state, packed. The header is part of the
// additional data, so it cannot be exchanged either.
const rowLayout = 3

var errRow = errors.New("a state row is damaged")

// header appends the clear part of the row.
func (r *record) header(b []byte) []byte {
	b = r.ops.append(append(b, rowLayout))
	b = binary.AppendUvarint(b, r.head.N)
	return append(b, r.head.Hash[:]...)
}

func decodeRecord(ref store.Ref, key, row []byte, content *seal.Content) (r *record, err error) {
	r = &record{ref: ref, key: content}
	rest, err := r.parseHeader(row)
	if err != nil {
		return nil, err
	}
	body, err := content.Open(nil, aad(key, row[:len(row)-len(rest)]), rest)
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	if r.state, err = conversation.DecodePackedState(body); err != nil {
		return nil, fmt.Errorf("decoding state: %w", err)
	}
	return r, nil
}

// parseHeader reads the clear part of a row; rest is the sealed part.
func (r *record) parseHeader(row []byte) (rest []byte, err error) {
	if len(row) == 0 || row[0] != rowLayout {
		return nil, errRow
	}
	if r.ops, rest, err = parseOps(row[1:]); err != nil {
		return nil, err
	}
	count, w := binary.Uvarint(rest)
	if w <= 0 || len(rest)-w < len(r.head.Hash) {
		return nil, errRow
	}
	r.head.N = count
	return rest[w+copy(r.head.Hash[:], rest[w:]):], nil
}

// aad is the additional data of a value: its key and the clear part in front of it.
func aad(key, clear []byte) []byte {
	a := make([]byte, 0, len(key)+len(clear))
	return append(append(a, key...), clear...)
}
