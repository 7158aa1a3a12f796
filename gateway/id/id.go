// Package id makes the identifiers of turnout: "<kind>_" and 26 letters of lower-case base32 holding 10 bits of
// partition, 48 bits of milliseconds and 70 random bits, so that any node finds a thing's partition from its id and ids of
// one partition sort by time. Tokens that are compared (operations, leases, versions) are 128 random bits instead.
package id

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Partitions is the fixed number of partitions of a store.
const Partitions = 1024

// Kind is the first letter of an id.
type Kind byte

// The kinds of ids.
const (
	Conversation Kind = 'c'
	Message      Kind = 'm'
	Turn         Kind = 't'
	Attachment   Kind = 'a'
	Row          Kind = 'r' // outbox
)

const letters = "0123456789abcdefghjkmnpqrstvwxyz"

var enc = base32.NewEncoding(letters).WithPadding(base32.NoPadding)

const bodyLen = 26 // 128 bits

// digits are the values of the letters; noDigit stands for every other byte.
var digits = func() (table [256]byte) {
	for i := range table {
		table[i] = noDigit
	}
	for i := range len(letters) {
		table[letters[i]] = byte(i)
	}
	return table
}()

const noDigit = 0x80

// Source makes ids and tokens. It is safe for concurrent use.
type Source struct {
	mu   sync.Mutex
	rand io.Reader
	now  func() time.Time
	buf  []byte
	left []byte
}

// NewSource returns a Source that draws from random, which must not fail, and stamps ids with now.
func NewSource(random io.Reader, now func() time.Time) *Source {
	return &Source{rand: random, now: now, buf: make([]byte, 512)}
}

// draw fills b. Randomness is read in blocks: a system call per id would be a cost of its own.
func (s *Source) draw(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(b) > 0 {
		if len(s.left) == 0 {
			if _, err := io.ReadFull(s.rand, s.buf); err != nil {
				panic("reading randomness: " + err.Error()) // crypto/rand does not fail; going on without would forge ids
			}
			s.left = s.buf
		}
		n := copy(b, s.left)
		clear(s.left[:n]) // drawn bytes become tokens: none stays behind in the buffer
		s.left = s.left[n:]
		b = b[n:]
	}
}

// New returns a new id of the kind in the partition, which is below Partitions.
func (s *Source) New(k Kind, partition int) string {
	var b [16]byte
	s.draw(b[7:])
	ms := uint64(s.now().UnixMilli()) & (1<<48 - 1)
	p := uint64(partition) & (Partitions - 1)
	hi := p<<54 | ms<<6 | uint64(b[7])>>2
	for i := range 8 {
		b[i] = byte(hi >> (56 - 8*i))
	}
	var out [2 + bodyLen]byte
	out[0], out[1] = byte(k), '_'
	enc.Encode(out[2:], b[:])
	return string(out[:])
}

// Token returns a new token: 128 random bits in 22 letters.
func (s *Source) Token() string {
	var b [16]byte
	s.draw(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Bytes returns n random bytes.
func (s *Source) Bytes(n int) []byte {
	b := make([]byte, n)
	s.draw(b)
	return b
}

// ErrMalformed says that a string is no id of the wanted kind.
var ErrMalformed = errors.New("malformed id")

// Partition returns the partition that is part of the id, or ErrMalformed when v is no id of kind k.
func Partition(k Kind, v string) (int, error) {
	if len(v) != 2+bodyLen || v[0] != byte(k) || v[1] != '_' {
		return 0, fmt.Errorf("%w: want %c_ and %d letters", ErrMalformed, k, bodyLen)
	}
	// A turn asks this some twenty times, so the letters are looked at, not decoded.
	var all byte
	for i := 2; i < len(v); i++ {
		all |= digits[v[i]]
	}
	if all&noDigit != 0 {
		return 0, fmt.Errorf("%w: it has a letter that no id has", ErrMalformed)
	}
	return int(digits[v[2]])<<5 | int(digits[v[3]]), nil
}

// Time returns the time at which the id was made, in milliseconds, or ErrMalformed when v is no id of kind k.
func Time(k Kind, v string) (time.Time, error) {
	if _, err := Partition(k, v); err != nil {
		return time.Time{}, err
	}
	var b [16]byte
	_, _ = enc.Decode(b[:], []byte(v[2:])) // Partition has decoded it
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]) >> 6 & (1<<48 - 1))).UTC(), nil
}

// PartitionOf returns the partition in which everything of one sender lies: a hash of tenant, channel and address.
func PartitionOf(tenant, channel, address string) int {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, each part ended by a zero
	v := uint64(offset)
	for _, s := range [...]string{tenant, channel, address} {
		for i := range len(s) {
			v = (v ^ uint64(s[i])) * prime
		}
		v *= prime
	}
	return int((v ^ v>>32) % Partitions)
}
