package signal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Memory is what a conversation carries between its messages for the signals: a language, digests of the last few
// texts, and how patient things have been. It holds no text, is a plain comparable value of fixed size, and is never
// changed in place. Its JSON form is under 200 bytes. The zero value is a conversation's beginning.
type Memory struct {
	// Language is an ISO 639-1 code, empty while unknown.
	Language string `json:"l,omitempty"`
	// Guessed is set once the costly guess of the language was made, so that it is made once.
	Guessed bool `json:"g,omitempty"`
	// Customer and Bot are the digests of their last texts, the newest first.
	Customer Digests `json:"c,omitzero"`
	Bot      Digests `json:"b,omitzero"`
	// Fallbacks counts the bot's failures in a row, Annoyed the customer's frustrated messages in a row; both stop at 99.
	Fallbacks uint8 `json:"f,omitempty"`
	Annoyed   uint8 `json:"a,omitempty"`
	// Trend is a moving average of frustration, in hundredths.
	Trend uint8 `json:"t,omitempty"`
}

// Digests are 64-bit digests of texts, 0 for none. Digests of similar texts differ in few bits.
type Digests [3]uint64

// MarshalText writes the digests as hex.
func (d Digests) MarshalText() ([]byte, error) { return d.AppendText(nil) }

// AppendText appends the digests as hex, 48 digits.
func (d Digests) AppendText(b []byte) ([]byte, error) {
	var raw [24]byte
	for i, digest := range d {
		binary.BigEndian.PutUint64(raw[i*8:], digest)
	}
	return hex.AppendEncode(b, raw[:]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Digests) UnmarshalText(text []byte) error {
	var raw [24]byte
	if len(text) != hex.EncodedLen(len(raw)) {
		return fmt.Errorf("digests have %d characters, not %d", len(text), hex.EncodedLen(len(raw)))
	}
	if _, err := hex.Decode(raw[:], text); err != nil {
		return fmt.Errorf("decoding digests: %w", err)
	}
	for i := range d {
		d[i] = 0
		for _, b := range raw[i*8 : i*8+8] {
			d[i] = d[i]<<8 | uint64(b)
		}
	}
	return nil
}

func (d Digests) push(digest uint64) Digests { return Digests{digest, d[0], d[1]} }

// closest says how much digest resembles the nearest of d: 1 for the same text, 0 for nothing alike.
func (d Digests) closest(digest uint64) float64 {
	best := 0.0
	for _, other := range d {
		if other == 0 || digest == 0 {
			continue
		}
		// Unrelated texts differ in 32 bits on average and hardly ever in fewer than 14.
		if differ := bits.OnesCount64(other ^ digest); differ <= nearBits {
			best = max(best, 1-float64(differ)/32)
		}
	}
	return best
}

const (
	nearBits = 11
	// piecesNeeded is how many words a text must have before a likeness of digests means a likeness of texts.
	piecesNeeded = 5
	maxPieces    = 2000 // words looked at
)

// digester makes a similarity digest over the words and pairs of neighbouring words of a text. Short texts get a plain
// hash: "order 17" is not nearly "order 18".
type digester struct {
	key         uint64
	votes       votes
	pieces      int
	before, all uint64
}

func newDigester(key uint64) digester { return digester{key: key, all: key} }

func (d *digester) add(word string) {
	if d.pieces == maxPieces {
		return
	}
	h := hashString(word, d.key)
	d.all = mix(d.all ^ h)
	d.votes.add(h)
	if d.before != 0 {
		d.votes.add(mix(d.before*3 + h))
	}
	d.before = h
	d.pieces++
}

// digest is that of the words so far, 0 when there are none.
func (d *digester) digest() uint64 {
	switch {
	case d.pieces == 0:
		return 0
	case d.pieces < piecesNeeded:
		return d.all | 1
	}
	return d.votes.majority() | 1
}

// votes counts, for each of 64 bits, how many hashes have it set: in the bytes of eight words, and from there, before a
// byte can run over, in sums.
type votes struct {
	lanes   [8]uint64
	pending int
	total   int
	sums    [64]int
}

const lowBits = 0x0101010101010101

func (v *votes) add(h uint64) {
	for i := range v.lanes {
		v.lanes[i] += h >> i & lowBits
	}
	v.total++
	if v.pending++; v.pending == 255 {
		v.flush()
	}
}

func (v *votes) flush() {
	for i, lane := range v.lanes {
		for b := range 8 {
			v.sums[b*8+i] += int(lane >> (b * 8) & 0xff)
		}
		v.lanes[i] = 0
	}
	v.pending = 0
}

// majority has the bits that more than half of the hashes have.
func (v *votes) majority() uint64 {
	v.flush()
	digest := uint64(0)
	for i, sum := range v.sums {
		if sum*2 > v.total {
			digest |= 1 << i
		}
	}
	return digest
}

func hashString(s string, key uint64) uint64 {
	h := key ^ 0xcbf29ce484222325
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finaliser of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
