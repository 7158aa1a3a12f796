package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// ChainHead is the end of a named chain.
type ChainHead struct {
	Chain string
	Head
}

var errHeads = errors.New("the heads of a checkpoint are not sorted by chain, each once")

// leaf is what a head is in the tree: "chain n hash\n". No name of a chain holds a space.
func (h ChainHead) leaf(dst []byte) []byte {
	dst = append(append(dst, h.Chain...), ' ')
	dst = append(strconv.AppendUint(dst, h.N, 10), ' ')
	return append(hex.AppendEncode(dst, h.Hash[:]), '\n')
}

// Root is the root of the Merkle tree over heads (RFC 6962, section 2.1): its leaves are "chain n hash\n", sorted by chain.
func Root(heads []ChainHead) ([32]byte, error) {
	// The complete trees of which the tree over the leaves so far is made, the largest first: the bits of their number.
	var complete []tlog.Hash
	var leaf []byte
	for i, h := range heads {
		if i > 0 && heads[i-1].Chain >= h.Chain {
			return [32]byte{}, fmt.Errorf("%w: %q", errHeads, h.Chain)
		}
		leaf = h.leaf(leaf[:0])
		sum := tlog.RecordHash(leaf)
		for n := i; n&1 == 1; n >>= 1 {
			sum = tlog.NodeHash(complete[len(complete)-1], sum)
			complete = complete[:len(complete)-1]
		}
		complete = append(complete, sum)
	}
	if len(complete) == 0 {
		return [32]byte{}, errors.New("a checkpoint over nothing")
	}
	root := complete[len(complete)-1]
	for i := len(complete) - 2; i >= 0; i-- {
		root = tlog.NodeHash(complete[i], root)
	}
	return root, nil
}
