package seal

import (
	"io"
	"sync"
)

// entropy is the source of randomness of all keys that descend from one root. Nonces, one for every value, are cut from a
// block that is drawn at once: a system call each would cost more than the sealing. It is safe for concurrent use.
type entropy struct {
	from io.Reader

	mu    sync.Mutex
	block [64 * nonceSize]byte
	left  []byte
}

// key fills b from the source itself.
func (e *entropy) key(b []byte) error {
	_, err := io.ReadFull(e.from, b)
	return err
}

// nonce fills b, which is not longer than a block, from the block. No byte is given out twice.
func (e *entropy) nonce(b []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.left) < len(b) {
		if _, err := io.ReadFull(e.from, e.block[:]); err != nil {
			e.left = nil
			return err
		}
		e.left = e.block[:]
	}
	e.left = e.left[copy(b, e.left):]
	return nil
}
