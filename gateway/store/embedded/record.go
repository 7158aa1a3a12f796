package embedded

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

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

// ops are the last operations of a conversation, as they stand in its row: each behind its length, the newest last.
type ops struct {
	n    int
	list []byte
	last store.Token // the newest: it is the version
}

// with returns the operations after one more. The list is in memory of its own.
func (o ops) with(op store.Token) ops {
	n, kept := o.n+1, o.list
	if n > keptOps {
		size, w := binary.Uvarint(kept)
		n, kept = keptOps, kept[w+int(size):]
	}
	list := append(make([]byte, 0, len(kept)+len(op)+binary.MaxVarintLen64), kept...)
	list = binary.AppendUvarint(list, uint64(len(op)))
	return ops{n: n, list: append(list, op...), last: op}
}

// has reports whether op is one of them.
func (o ops) has(op store.Token) bool {
	for b := o.list; len(b) > 0; {
		size, w := binary.Uvarint(b)
		if string(b[w:w+int(size)]) == string(op) {
			return true
		}
		b = b[w+int(size):]
	}
	return false
}

// parseOps reads n operations from the front of b.
func parseOps(b []byte, n int) (o ops, rest []byte, err error) {
	rest = b
	for range n {
		size, w := binary.Uvarint(rest)
		if w <= 0 || size > uint64(len(rest)-w) {
			return ops{}, nil, errRow
		}
		o.last = store.Token(rest[w : w+int(size)])
		rest = rest[w+int(size):]
	}
	o.n, o.list = n, bytes.Clone(b[:len(b)-len(rest)])
	return o, rest, nil
}

// The row: a cleartext header of layout, operations and audit head, then the sealed state. The header is part of the
// additional data, so it cannot be exchanged either.
const rowLayout = 1

var errRow = errors.New("a state row is damaged")

// header appends the clear part of the row.
func (r *record) header(b []byte) []byte {
	b = append(b, rowLayout, byte(r.ops.n))
	b = append(b, r.ops.list...)
	b = binary.AppendUvarint(b, r.head.N)
	return append(b, r.head.Hash[:]...)
}

func decodeRecord(ref store.Ref, key, row []byte, content *seal.Content) (r *record, err error) {
	r = &record{ref: ref, key: content}
	if len(row) < 2 || row[0] != rowLayout || row[1] == 0 {
		return nil, errRow
	}
	rest := row[2:]
	if r.ops, rest, err = parseOps(rest, int(row[1])); err != nil {
		return nil, err
	}
	count, w := binary.Uvarint(rest)
	if w <= 0 || len(rest)-w < len(r.head.Hash) {
		return nil, errRow
	}
	r.head.N = count
	rest = rest[w+copy(r.head.Hash[:], rest[w:]):]
	body, err := content.Open(nil, aad(key, row[:len(row)-len(rest)]), rest)
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	r.state = new(conversation.State)
	if err := json.Unmarshal(body, r.state); err != nil {
		return nil, fmt.Errorf("decoding state: %w", err)
	}
	return r, nil
}

// aad is the additional data of a value: its key and the clear part in front of it.
func aad(key, clear []byte) []byte {
	a := make([]byte, 0, len(key)+len(clear))
	return append(append(a, key...), clear...)
}
