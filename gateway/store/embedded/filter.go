package embedded

import "encoding/binary"

// filter tells of an id whether it may have been added: false is certain, true is wrong in about one of a hundred cases.
// It grows by stages, each twice the one before, at 12 bits an id. A stage is a row of blocks of one cache line; an id sets
// one bit in each word of its block. The zero filter is empty.
type filter struct {
	stages []stage
}

type stage struct {
	words []uint64
	room  int // ids that it still takes
}

const (
	blockWords  = 8
	bitsPerID   = 12
	firstBlocks = 256
	// lastBlocks is the size of the last stage: 64 MiB with those before it, room for 44 million ids.
	lastBlocks = 1 << 19
)

// add adds an id. It returns false when there is no room; the id is not in the filter then.
func (f *filter) add(h idHash) bool {
	n := len(f.stages)
	if n == 0 || f.stages[n-1].room == 0 {
		blocks := firstBlocks << n
		if blocks > lastBlocks {
			return false
		}
		f.stages = append(f.stages, stage{words: make([]uint64, blocks*blockWords), room: blocks * blockWords * 64 / bitsPerID})
		n++
	}
	s := &f.stages[n-1]
	s.room--
	block, bits := s.place(h)
	for i := range block {
		block[i] |= 1 << (bits & 63)
		bits >>= 6
	}
	return true
}

// has reports whether an id may have been added.
func (f *filter) has(h idHash) bool {
	for i := range f.stages {
		if f.stages[i].has(h) {
			return true
		}
	}
	return false
}

func (s *stage) has(h idHash) bool {
	block, bits := s.place(h)
	for _, w := range block {
		if w>>(bits&63)&1 == 0 {
			return false
		}
		bits >>= 6
	}
	return true
}

// place returns the block of an id and, six bits each, its places in the block's words. Both are of the hash, which is
// keyed: nobody outside can choose ids that fall together.
func (s *stage) place(h idHash) (block []uint64, bits uint64) {
	blocks := uint64(len(s.words) / blockWords) // a power of two
	at := binary.LittleEndian.Uint64(h[:]) & (blocks - 1) * blockWords
	return s.words[at : at+blockWords], binary.LittleEndian.Uint64(h[8:])
}
