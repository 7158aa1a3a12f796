package words

import (
	"errors"
	"fmt"
)

// MaxPhrase is the greatest number of words that one phrase may have.
const MaxPhrase = 32

// Token is the number of a word in a Dictionary; 0 stands for every word that is in none of its phrases.
type Token uint32

// Dictionary finds phrases in text. Each phrase has a value, its index in the slice that New was given. A Dictionary is
// immutable and safe for concurrent use.
type Dictionary struct {
	words map[string]Token
	// some has a bit for each word that there is, by a cheap hash: nearly all words of a text are in no phrase, and need no
	// look into the map.
	some [1 << 8]uint64
	// roots leads from the first word of a phrase to a node, by token; 0 is no node.
	roots []uint32
	edges map[edge]uint32
	// values holds, by node, 1 + the index of the phrase that ends there.
	values []uint32
}

type edge struct {
	from uint32
	word Token
}

// New makes the dictionary of phrases, folding each. A phrase without a word and one with more than MaxPhrase is an
// error. Phrases that fold to the same words share the index of the first.
func New(phrases []string) (*Dictionary, error) {
	d := &Dictionary{words: map[string]Token{}, roots: []uint32{0}, edges: map[edge]uint32{}, values: []uint32{0}}
	for i, phrase := range phrases {
		if err := d.add(phrase, uint32(i)+1); err != nil {
			return nil, fmt.Errorf("phrase %d: %w", i+1, err)
		}
	}
	return d, nil
}

// Check says what is wrong with phrase as an entry of a dictionary.
func Check(phrase string) error {
	n := 0
	Each(Fold(phrase), func(string) bool { n++; return n <= MaxPhrase })
	switch {
	case n == 0:
		return errors.New("a phrase needs at least one word")
	case n > MaxPhrase:
		return fmt.Errorf("a phrase may have at most %d words", MaxPhrase)
	}
	return nil
}

func (d *Dictionary) add(phrase string, value uint32) error {
	if err := Check(phrase); err != nil {
		return err
	}
	node := uint32(0)
	Each(Fold(phrase), func(word string) bool {
		token, ok := d.words[word]
		if !ok {
			token = Token(len(d.roots))
			d.words[word] = token
			at := someHash(word)
			d.some[at>>6] |= 1 << (at & 63)
			d.roots = append(d.roots, 0)
		}
		to := d.follow(node, token)
		if to == 0 {
			to = uint32(len(d.values))
			d.values = append(d.values, 0)
			if node == 0 {
				d.roots[token] = to
			} else {
				d.edges[edge{node, token}] = to
			}
		}
		node = to
		return true
	})
	if d.values[node] == 0 {
		d.values[node] = value
	}
	return nil
}

func (d *Dictionary) follow(node uint32, token Token) uint32 {
	if node == 0 {
		return d.roots[token]
	}
	return d.edges[edge{node, token}]
}

// Token returns the number of a folded word.
func (d *Dictionary) Token(word string) Token {
	if at := someHash(word); d.some[at>>6]&(1<<(at&63)) == 0 {
		return 0
	}
	return d.words[word]
}

// someHash is a place in Dictionary.some, by the length of a word and four of its bytes.
func someHash(word string) uint32 {
	n := len(word)
	if n == 0 {
		return 0
	}
	h := uint32(n) | uint32(word[0])<<4 ^ uint32(word[n-1])<<11 ^ uint32(word[n/2])<<18 ^ uint32(word[n/4])<<24
	return h * 0x9e3779b1 >> 18
}

// Tokens appends the words of folded to dst as tokens and returns the result.
func (d *Dictionary) Tokens(folded string, dst []Token) []Token {
	for start, end := next(folded, 0); start < len(folded); start, end = next(folded, end) {
		dst = append(dst, d.Token(folded[start:end]))
	}
	return dst
}

// Longest returns the index of the longest phrase that tokens begin with and the number of its words, which is 0 when
// there is none.
func (d *Dictionary) Longest(tokens []Token) (index, n int) {
	node := uint32(0)
	for i, token := range tokens {
		if token == 0 {
			break
		}
		if node = d.follow(node, token); node == 0 {
			break
		}
		if v := d.values[node]; v != 0 {
			index, n = int(v)-1, i+1
		}
	}
	return index, n
}

// All calls found with the index of every phrase that occurs in tokens, once for each occurrence. The work is bounded
// by the number of tokens times MaxPhrase.
func (d *Dictionary) All(tokens []Token, found func(index int)) {
	for i := range tokens {
		node := uint32(0)
		for _, token := range tokens[i:] {
			if token == 0 {
				break
			}
			if node = d.follow(node, token); node == 0 {
				break
			}
			if v := d.values[node]; v != 0 {
				found(int(v) - 1)
			}
		}
	}
}
