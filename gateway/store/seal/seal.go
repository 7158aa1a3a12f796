// Package seal keeps what is stored unreadable without its keys.
//
// A root key of 32 bytes wraps two keys per tenant: one that wraps data keys and seals the tenant's documents, one that
// hashes what is looked up. The tenant's key wraps one data key per conversation. Destroying the row of a wrapped data key
// destroys everything that was sealed under it; nothing else has to be found.
//
// Values are AES-256-GCM with a random 96-bit nonce in front. A data key seals the rows of one conversation, far below the
// 2^32 values at which random nonces become a risk. The additional data is the row's own key in the store, so a sealed
// value opens only in its place.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// KeySize is the size of every key, in bytes.
const KeySize = 32

// HashSize is the size of a look-up hash, in bytes.
const HashSize = 16

// Overhead is by how many bytes a sealed value is longer than its plaintext.
const Overhead = nonceSize + tagSize

const (
	nonceSize = 12
	tagSize   = 16
)

// Errors.
var (
	// ErrRootKey: the root key is not the one that the store was made with.
	ErrRootKey = errors.New("the root key is not the one of this store")
	// ErrOpen: a sealed value is damaged, is not in its place, or belongs to another key.
	ErrOpen = errors.New("a sealed value does not open")
)

// Root holds the root key. It is safe for concurrent use.
type Root struct {
	wrap   box
	check  []byte
	backup []byte
	random *entropy
}

// NewRoot returns a Root of a key of KeySize bytes. random gives keys and nonces; it must be safe for concurrent use.
func NewRoot(key []byte, random io.Reader) (*Root, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("root key: want %d bytes, have %d", KeySize, len(key))
	}
	drawn := &entropy{from: random}
	wrap, err := newBox(derive(key, "turnout root wrap"), drawn)
	if err != nil {
		return nil, err
	}
	return &Root{wrap: wrap, check: derive(key, "turnout root check"), backup: derive(key, "turnout root backup"), random: drawn}, nil
}

// CheckValue is what a store keeps to recognise its root key by. It says nothing about the key.
func (r *Root) CheckValue() []byte { return r.check }

// BackupKey is the key under which backups are vouched for.
func (r *Root) BackupKey() []byte { return r.backup }

// Verify returns ErrRootKey unless check is the check value of this root key.
func (r *Root) Verify(check []byte) error {
	if !hmac.Equal(check, r.check) {
		return ErrRootKey
	}
	return nil
}

// NewTenant makes the keys of a tenant. The wrapped form is for storage.
func (r *Root) NewTenant(name string) (*Tenant, []byte, error) {
	keys := make([]byte, 2*KeySize)
	if err := r.random.key(keys); err != nil {
		return nil, nil, fmt.Errorf("making tenant keys: %w", err)
	}
	wrapped, err := r.wrap.seal(nil, []byte("tenant "+name), keys)
	if err != nil {
		return nil, nil, err
	}
	t, err := newTenant(name, keys, r.random)
	return t, wrapped, err
}

// OpenTenant unwraps the keys of the named tenant, or returns ErrOpen.
func (r *Root) OpenTenant(name string, wrapped []byte) (*Tenant, error) {
	keys, err := r.wrap.open(nil, []byte("tenant "+name), wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrapping tenant keys: %w", err)
	}
	if len(keys) != 2*KeySize {
		return nil, fmt.Errorf("unwrapping tenant keys: %w", ErrOpen)
	}
	return newTenant(name, keys, r.random)
}

// Tenant holds the keys of one tenant. It is safe for concurrent use.
type Tenant struct {
	name   string
	wrap   box
	docs   box
	index  macs
	chains *Content
	random *entropy
}

func newTenant(name string, keys []byte, random *entropy) (*Tenant, error) {
	wrap, err := newBox(derive(keys[:KeySize], "turnout tenant wrap"), random)
	if err != nil {
		return nil, err
	}
	docs, err := newBox(derive(keys[:KeySize], "turnout tenant documents"), random)
	if err != nil {
		return nil, err
	}
	chains, err := newContent(derive(keys[:KeySize], "turnout tenant chains"), random)
	if err != nil {
		return nil, err
	}
	return &Tenant{name: name, wrap: wrap, docs: docs, index: newMACs(keys[KeySize:]), chains: chains, random: random}, nil
}

// Chains returns the key under which audit chains are archived: the tenant's, because they outlast the data keys of their
// conversations.
func (t *Tenant) Chains() *Content { return t.chains }

// Name returns the tenant's name.
func (t *Tenant) Name() string { return t.name }

// Hash is the keyed hash under which the parts are looked up. Parts are kept apart: ("a", "b") is not ("ab", "").
func (t *Tenant) Hash(parts ...string) [HashSize]byte {
	m := t.index.get()
	defer t.index.put(m)
	for _, p := range parts {
		m.length(len(p))
		m.writeString(p)
	}
	return [HashSize]byte(m.sum()[:HashSize])
}

// Seal appends to dst the sealed form of a document of the tenant. aad is the key of its row.
func (t *Tenant) Seal(dst, aad, plain []byte) ([]byte, error) { return t.docs.seal(dst, aad, plain) }

// Open appends to dst what Seal was given, or returns ErrOpen.
func (t *Tenant) Open(dst, aad, sealed []byte) ([]byte, error) { return t.docs.open(dst, aad, sealed) }

// NewContent makes the data key of a conversation. The wrapped form is for storage.
func (t *Tenant) NewContent(conversation string) (*Content, []byte, error) {
	key := make([]byte, KeySize)
	if err := t.random.key(key); err != nil {
		return nil, nil, fmt.Errorf("making data key: %w", err)
	}
	wrapped, err := t.wrap.seal(nil, []byte("conversation "+conversation), key)
	if err != nil {
		return nil, nil, err
	}
	c, err := newContent(key, t.random)
	return c, wrapped, err
}

// OpenContent unwraps the data key of a conversation, or returns ErrOpen.
func (t *Tenant) OpenContent(conversation string, wrapped []byte) (*Content, error) {
	key, err := t.wrap.open(nil, []byte("conversation "+conversation), wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrapping data key: %w", err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("unwrapping data key: %w", ErrOpen)
	}
	return newContent(key, t.random)
}

// derive returns a subkey for one purpose.
func derive(key []byte, purpose string) []byte { return extract(key).expand(purpose) }

// extracted is the half of a derivation that all subkeys of one key share.
type extracted []byte

func extract(key []byte) extracted {
	e, err := hkdf.Extract(sha256.New, key, nil)
	if err != nil {
		panic("deriving a key: " + err.Error()) // never with a hash of the standard library
	}
	return e
}

func (e extracted) expand(purpose string) []byte {
	sub, err := hkdf.Expand(sha256.New, e, purpose, KeySize)
	if err != nil {
		panic("deriving a key: " + err.Error()) // only a length beyond 255 hashes gets there
	}
	return sub
}

// box seals with one key.
type box struct {
	aead   cipher.AEAD
	random *entropy
}

func newBox(key []byte, random *entropy) (box, error) {
	aead, err := newAEAD(key)
	return box{aead: aead, random: random}, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making cipher: %w", err)
	}
	return aead, nil
}

func (b box) seal(dst, aad, plain []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, make([]byte, nonceSize)...)
	nonce := dst[at:]
	if err := b.random.nonce(nonce); err != nil {
		return nil, fmt.Errorf("making nonce: %w", err)
	}
	return b.aead.Seal(dst, nonce, plain, aad), nil
}

func (b box) open(dst, aad, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, ErrOpen
	}
	out, err := b.aead.Open(dst, sealed[:nonceSize], sealed[nonceSize:], aad)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}
