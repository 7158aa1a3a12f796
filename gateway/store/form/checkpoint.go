package form

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"turnout/gateway/audit"
)

// ErrCheckpoint says that a row is none of a checkpoint.
var ErrCheckpoint = errors.New("a checkpoint's row is damaged")

// EncodeCheckpoint is the row of a checkpoint: the note behind its length, then each head: the chain behind its length, the
// number and the hash.
func EncodeCheckpoint(c audit.Sealed) []byte {
	b := binary.AppendUvarint(nil, uint64(len(c.Note)))
	b = append(b, c.Note...)
	for _, h := range c.Heads {
		b = binary.AppendUvarint(b, uint64(len(h.Chain)))
		b = append(b, h.Chain...)
		b = binary.AppendUvarint(b, h.N)
		b = append(b, h.Hash[:]...)
	}
	return b
}

// DecodeCheckpoint reads what EncodeCheckpoint wrote. It shares nothing with b.
func DecodeCheckpoint(b []byte) (c audit.Sealed, err error) {
	next := func() ([]byte, bool) {
		size, w := binary.Uvarint(b)
		if w <= 0 || size > uint64(len(b)-w) {
			return nil, false
		}
		v := b[w : w+int(size)]
		b = b[w+int(size):]
		return v, true
	}
	signed, ok := next()
	if !ok {
		return c, ErrCheckpoint
	}
	c.Note = bytes.Clone(signed)
	for len(b) > 0 {
		chain, ok := next()
		if !ok {
			return c, ErrCheckpoint
		}
		h := audit.ChainHead{Chain: string(chain)}
		n, w := binary.Uvarint(b)
		if w <= 0 || len(b)-w < sha256.Size {
			return c, ErrCheckpoint
		}
		h.N = n
		b = b[w+copy(h.Hash[:], b[w:]):]
		c.Heads = append(c.Heads, h)
	}
	return c, nil
}
