package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// mac is an HMAC state with room for its sum and for what is written to it.
type mac struct {
	hash.Hash
	out [sha256.Size]byte
	in  []byte
}

func (m *mac) length(n int) {
	m.in = binary.AppendUvarint(m.in[:0], uint64(n))
	m.Write(m.in)
}

func (m *mac) writeString(s string) {
	m.in = append(m.in[:0], s...)
	m.Write(m.in)
}

// sum returns the sum; it is valid until the mac is used again.
func (m *mac) sum() []byte { return m.Sum(m.out[:0]) }

// macs is a pool of HMAC states of one key that many use at once: setting one up costs more than a short message.
type macs struct{ pool *sync.Pool }

func newMACs(key []byte) macs {
	return macs{&sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}
}

func (m macs) get() *mac { return m.pool.Get().(*mac) }

func (m macs) put(h *mac) {
	h.Reset()
	m.pool.Put(h)
}

// lone is the one HMAC state of a key that hardly two use at once, made at its first use. There are as many of these as
// conversations in memory: a pool for each would be emptied at every turn of the garbage collector.
type lone struct {
	key   []byte
	mu    sync.Mutex
	state hash.Hash
}

// sum returns the sum of b in memory of its own.
func (l *lone) sum(b []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		l.state = hmac.New(sha256.New, l.key)
	}
	l.state.Reset()
	l.state.Write(b)
	return l.state.Sum(make([]byte, 0, sha256.Size))
}
