package embedded

import (
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
	// ops are the last operations, the newest last: it is the version.
	ops  []store.Token
	head audit.Head
	key  *seal.Content
}

func (r *record) version() store.Token { return r.ops[len(r.ops)-1] }

// The row: a cleartext header of layout, operations and audit head, then the sealed state. The header is part of the
// additional data, so it cannot be exchanged either.
const rowLayout = 1

var errRow = errors.New("a state row is damaged")

func (r *record) encode(key []byte) ([]byte, error) {
	body, err := json.Marshal(r.state)
	if err != nil {
		return nil, fmt.Errorf("encoding state: %w", err)
	}
	b := make([]byte, 0, len(body)+512)
	b = append(b, rowLayout, byte(len(r.ops)))
	for _, op := range r.ops {
		b = binary.AppendUvarint(b, uint64(len(op)))
		b = append(b, op...)
	}
	b = binary.AppendUvarint(b, r.head.N)
	b = append(b, r.head.Hash[:]...)
	return r.key.Seal(b, aad(key, b), body)
}

func decodeRecord(ref store.Ref, key, row []byte, content *seal.Content) (*record, error) {
	r := &record{ref: ref, key: content}
	if len(row) < 2 || row[0] != rowLayout || row[1] == 0 {
		return nil, errRow
	}
	rest, n := row[2:], int(row[1])
	for range n {
		size, w := binary.Uvarint(rest)
		if w <= 0 || size > uint64(len(rest)-w) {
			return nil, errRow
		}
		r.ops = append(r.ops, store.Token(rest[w:w+int(size)]))
		rest = rest[w+int(size):]
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

// encodeEvent returns the log row of an event: the visible sequence up to and with it, then the sealed event. The number
// in the clear lets a reader find a visible sequence without opening what lies between.
func encodeEvent(content *seal.Content, key []byte, visible uint64, encoded []byte) ([]byte, error) {
	b := binary.AppendUvarint(make([]byte, 0, len(encoded)+seal.Overhead+binary.MaxVarintLen64), visible)
	return content.Seal(b, aad(key, b), encoded)
}

var errLog = errors.New("a log row is damaged")

// visibleUpTo reads the clear part of a log row.
func visibleUpTo(row []byte) (uint64, error) {
	v, w := binary.Uvarint(row)
	if w <= 0 {
		return 0, errLog
	}
	return v, nil
}

func openEvent(content *seal.Content, key, row []byte) ([]byte, error) {
	_, w := binary.Uvarint(row)
	if w <= 0 {
		return nil, errLog
	}
	b, err := content.Open(nil, aad(key, row[:w]), row[w:])
	if err != nil {
		return nil, fmt.Errorf("reading log row: %w", err)
	}
	return b, nil
}

func decodeEvent(content *seal.Content, key, row []byte) (conversation.Event, error) {
	b, err := openEvent(content, key, row)
	if err != nil {
		return conversation.Event{}, err
	}
	return conversation.Decode(b)
}
