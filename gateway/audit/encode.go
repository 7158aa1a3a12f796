package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"turnout/gateway/jsonenc"
)

// Append appends the canonical form of e to dst: the bytes of encoding/json, whose struct tags stay its definition. It
// allocates nothing when dst has room.
func (e *Entry) Append(dst []byte) ([]byte, error) {
	w := jsonenc.To(dst)
	return e.encode(&w)
}

// AppendPacked appends the form in which an entry is stored: the canonical one, packed. Unpack gives that back.
func (e *Entry) AppendPacked(dst []byte) ([]byte, error) {
	w := jsonenc.Packed(append(dst, packed), dictionary)
	b, err := e.encode(&w)
	if err != nil {
		return dst, err
	}
	return b, nil
}

// Unpack appends the canonical form of an entry to dst, of what AppendPacked wrote.
func Unpack(dst, b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != packed {
		return dst, fmt.Errorf("reading audit entry: %w", jsonenc.ErrPacked)
	}
	dst, err := jsonenc.Unpack(dst, b[1:], dictionary)
	if err != nil {
		return dst, fmt.Errorf("reading audit entry: %w", err)
	}
	return dst, nil
}

// Pack is the inverse of Unpack. It refuses what is no entry in canonical form, as that would not come back.
func Pack(dst, canonical []byte) ([]byte, error) {
	e, err := decodeEntry(canonical)
	if err != nil {
		return dst, fmt.Errorf("reading audit entry: %w", err)
	}
	at := len(dst)
	out, err := e.AppendPacked(dst)
	if err != nil {
		return dst, err
	}
	back, err := Unpack(make([]byte, 0, len(canonical)), out[at:])
	if err == nil && !bytes.Equal(back, canonical) {
		err = errors.New("reading audit entry: it is not in canonical form")
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// packed is the first byte of what AppendPacked writes: the version of the form and of its dictionary.
const packed = 1

// dictionary holds the keys of entries and the values that come often. Words are only ever added, at the end.
var dictionary = jsonenc.NewDictionary(
	"chain", "n", "prev", "at", "seq", "type", "kind", "epoch", "op", "actor", "rule", "rules", "count", "digest",
	"decision.made", "owner.changed", "handoff.made", "conversation.opened", "turn.failed", "turn.discarded", "message.held",
	"message.received", "message.status", "offer.made", "offer.lapsed", "offer.declined", "profile.changed", "note.added",
	"conversation.erased", "pass", "handoff", "replace", "say", "tag", "deny", "claim", "transfer", "escalate", "release",
	"auto_return", "resolve", "capture", "reopen", "idle", "customer", "system", "released",
)

func (e *Entry) encode(w *jsonenc.Encoder) ([]byte, error) {
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
