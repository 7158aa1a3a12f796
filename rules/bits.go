package rules

import mathbits "math/bits"

// bits is a set of small numbers.
type bits struct{ words []uint64 }

func newBits(n int) bits {
	var b bits
	b.reset(n)
	return b
}

// reset empties b and makes room for numbers below n.
func (b *bits) reset(n int) {
	size := (n + 63) / 64
	if cap(b.words) < size {
		b.words = make([]uint64, size)
		return
	}
	b.words = b.words[:size]
	clear(b.words)
}

func (b *bits) add(i int) { b.words[i>>6] |= 1 << (i & 63) }

func (b *bits) remove(i int) { b.words[i>>6] &^= 1 << (i & 63) }

func (b *bits) addAll(numbers []int32) {
	for _, i := range numbers {
		b.words[i>>6] |= 1 << (i & 63)
	}
}

func (b *bits) has(i int) bool { return b.words[i>>6]&(1<<(i&63)) != 0 }

// next returns the smallest member at or above i, -1 when there is none.
func (b *bits) next(i int) int {
	for w := i >> 6; w < len(b.words); w++ {
		word := b.words[w]
		if w == i>>6 {
			word &= ^uint64(0) << (i & 63)
		}
		if word != 0 {
			return w<<6 + mathbits.TrailingZeros64(word)
		}
	}
	return -1
}
