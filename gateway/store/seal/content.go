package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
)

// Content holds the data key of one conversation. It is safe for concurrent use.
type Content struct {
	values box
	audit  lone
	blob   []byte
	random *entropy
}

func newContent(key []byte, random *entropy) (*Content, error) {
	from := extract(key)
	values, err := newBox(from.expand("turnout values"), random)
	if err != nil {
		return nil, err
	}
	return &Content{
		values: values,
		audit:  lone{key: from.expand("turnout audit")},
		blob:   from.expand("turnout blobs"),
		random: random,
	}, nil
}

// Seal appends to dst the sealed form of plain. aad is the key of its row; Open needs the same.
func (c *Content) Seal(dst, aad, plain []byte) ([]byte, error) { return c.values.seal(dst, aad, plain) }

// Open appends to dst what Seal was given, or returns ErrOpen.
func (c *Content) Open(dst, aad, sealed []byte) ([]byte, error) {
	return c.values.open(dst, aad, sealed)
}

// MAC digests an encoded event for the audit chain, under a subkey that goes with the data key.
func (c *Content) MAC(b []byte) []byte { return c.audit.sum(b) }

// BlobName returns the hash whose sum over a blob's plaintext, in hex, is the blob's name.
func (c *Content) BlobName() hash.Hash { return hmac.New(sha256.New, c.blob) }

// SaltSize is the size of a stream's salt, in bytes.
const SaltSize = 16

// NewStream returns a cipher of its own for one stream, and the salt to store with it. Under it nonces may count.
func (c *Content) NewStream() (cipher.AEAD, []byte, error) {
	salt := make([]byte, SaltSize)
	if err := c.random.key(salt); err != nil {
		return nil, nil, fmt.Errorf("making salt: %w", err)
	}
	aead, err := c.Stream(salt)
	return aead, salt, err
}

// Stream returns the cipher that NewStream made with salt.
func (c *Content) Stream(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, c.blob, salt, "turnout blob stream", KeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving stream key: %w", err)
	}
	return newAEAD(key)
}
