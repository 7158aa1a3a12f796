package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"turnout/gateway/jsonenc"
)

// Append appends the canonical form of e to dst: the bytes of encoding/json, whose struct tags stay its definition. It
// allocates nothing when dst has room.
func (e *Entry) Append(dst []byte) ([]byte, error) {
	w := jsonenc.To(dst)
	w.Begin()
	w.String("chain", e.Chain)
	w.Uint("n", e.N)
	w.String("prev", e.Prev)
	w.Int("at", e.At)
	w.OptUint("seq", e.Seq)
	w.String("type", e.Type)
	w.OptString("kind", e.Kind)
	w.OptUint("epoch", e.Epoch)
	w.String("op", e.Op)
	w.String("actor", e.Actor)
	w.OptString("rule", e.Rule)
	w.OptInt("rules", int64(e.Rules))
	w.OptInt("count", int64(e.Count))
	w.String("digest", e.Digest)
	w.EndObject()
	b, err := w.Finish()
	if err != nil {
		return b, fmt.Errorf("encoding audit entry: %w", err)
	}
	return b, nil
}

// entrySize is room for most entries.
const entrySize = 448

// hexOf is sum in hex. It has room for a SHA-256 sum on the stack.
func hexOf(sum []byte) string {
	var room [2 * sha256.Size]byte
	return string(hex.AppendEncode(room[:0], sum))
}
