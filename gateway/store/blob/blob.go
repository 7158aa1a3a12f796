// Package blob keeps bytes that are too large for rows, sealed, as files in a folder that this package has (Dir) or in
// whatever else is Files.
//
// A blob's name is the keyed hash of its plaintext, so the same bytes put twice are one file, and no name can be guessed
// from a file's content without the key. It lies under its tenant and its conversation: erasing a conversation is removing
// all that lies there.
//
// A file is a salt and chunks. Each chunk is sealed under a key made from the salt, with its number and whether it is the
// last in the nonce: chunks cannot be cut off, swapped or repeated. What keeps the files needs no trust: it sees sealed
// bytes, and what it gives back is verified.
package blob

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// ErrTooLarge says that a body is larger than it may be.
var ErrTooLarge = errors.New("the body is too large")

// chunkSize is the size of a chunk's plaintext, in bytes.
const chunkSize = 64 << 10

// Files keeps sealed files under the names of a tenant and a conversation, whose form the caller has looked at. It is safe
// for concurrent use. Errors wrap store.ErrUnavailable or store.ErrFull where that is what they are.
type Files interface {
	// Write keeps what fill writes. Its name is known only when all is written: fill returns it. An error of fill keeps
	// nothing and is returned. Nil means that the file is there, whole, after a crash of any machine that the place is meant
	// to outlast. A file of that name that is there already holds the same plaintext and may be replaced or left.
	Write(ctx context.Context, tenant, conversation string, fill func(io.Writer) (name string, err error)) error
	// Open returns a file's bytes, or store.ErrNotFound. Reading it fails, and does not end early, where bytes could not be
	// fetched.
	Open(ctx context.Context, tenant, conversation, name string) (io.ReadCloser, error)
	// Names lists the files of a conversation, sorted, and nothing that was begun and not ended.
	Names(ctx context.Context, tenant, conversation string) ([]string, error)
	// Remove removes a file, if it is there, and RemoveAll all files of a conversation, older versions of them and what was
	// begun and not ended included. Nil means that they are gone for good.
	Remove(ctx context.Context, tenant, conversation, name string) error
	RemoveAll(ctx context.Context, tenant, conversation string) error
	// Reach says what keeps the files from being used, in words for an operator: nil for nothing.
	Reach(ctx context.Context) error
}

// Store is blobs in Files. It is safe for concurrent use.
type Store struct{ files Files }

// New returns the blobs in files.
func New(files Files) *Store { return &Store{files: files} }

// Put stores what body holds, at most max bytes, under key for a conversation of a tenant, and returns its name and size.
// Tenant and conversation are names of folders; the caller has looked at their form.
func (s *Store) Put(ctx context.Context, key *seal.Content, tenant, conversation string, body io.Reader, max int64) (name string, size int64, err error) {
	err = s.files.Write(ctx, tenant, conversation, func(w io.Writer) (string, error) {
		sum := key.BlobName()
		var err error
		if size, err = write(ctx, w, key, sum, body, max); err != nil {
			return "", err
		}
		name = hex.EncodeToString(sum.Sum(nil))
		return name, nil
	})
	if err != nil {
		return "", 0, fmt.Errorf("writing blob: %w", err)
	}
	return name, size, nil
}

func write(ctx context.Context, w io.Writer, key *seal.Content, sum hash.Hash, body io.Reader, max int64) (int64, error) {
	aead, salt, err := key.NewStream()
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(salt); err != nil {
		return 0, err
	}
	body = io.LimitReader(body, max+1)
	// One chunk is read ahead, to know which is the last.
	cur, ahead := make([]byte, chunkSize), make([]byte, chunkSize)
	out := make([]byte, 0, chunkSize+aead.Overhead())
	n, err := readChunk(body, cur)
	if err != nil {
		return 0, err
	}
	var size int64
	for i := uint32(0); ; i++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		m := 0
		if n == chunkSize {
			if m, err = readChunk(body, ahead); err != nil {
				return 0, err
			}
		}
		if size += int64(n); size > max {
			return 0, ErrTooLarge
		}
		sum.Write(cur[:n])
		out = aead.Seal(out[:0], nonce(i, m == 0), cur[:n], nil)
		if _, err := w.Write(out); err != nil {
			return 0, err
		}
		if m == 0 {
			return size, nil
		}
		cur, ahead, n = ahead, cur, m
	}
}

// readChunk fills b as far as r reaches.
func readChunk(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// nonce is that of chunk i.
func nonce(i uint32, last bool) []byte {
	var b [12]byte
	binary.BigEndian.PutUint32(b[7:], i)
	if last {
		b[11] = 1
	}
	return b[:]
}

// Open returns the bytes of a blob, or store.ErrNotFound. Reading fails with seal.ErrOpen when the file is damaged or cut
// off; nothing that was not verified is returned.
func (s *Store) Open(ctx context.Context, key *seal.Content, tenant, conversation, name string) (io.ReadCloser, error) {
	if b, err := hex.DecodeString(name); err != nil || len(b) != key.BlobName().Size() {
		return nil, store.ErrNotFound
	}
	f, err := s.files.Open(ctx, tenant, conversation, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("opening blob: %w", err)
	}
	salt := make([]byte, seal.SaltSize)
	if n, err := readChunk(f, salt); err != nil || n < len(salt) {
		if err == nil {
			err = seal.ErrOpen
		}
		return nil, errors.Join(fmt.Errorf("reading blob: %w", err), f.Close())
	}
	aead, err := key.Stream(salt)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &reader{f: f, aead: aead, sum: key.BlobName(), name: name}, nil
}

// Names lists the blobs of a conversation, sorted.
func (s *Store) Names(ctx context.Context, tenant, conversation string) ([]string, error) {
	names, err := s.files.Names(ctx, tenant, conversation)
	if err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !named(name) }), nil
}

// named reports whether a file can be a blob.
func named(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == sha256.Size
}

// OpenSealed returns a blob as the place of the files has it, sealed and not verified, or store.ErrNotFound.
func (s *Store) OpenSealed(ctx context.Context, tenant, conversation, name string) (io.ReadCloser, error) {
	f, err := s.files.Open(ctx, tenant, conversation, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("opening blob: %w", err)
	}
	return f, err
}

// PutSealed stores durably what OpenSealed gave in another place, under its name there.
func (s *Store) PutSealed(ctx context.Context, tenant, conversation, name string, body io.Reader) error {
	if !named(name) {
		return errors.New("writing blob: no name of one")
	}
	err := s.files.Write(ctx, tenant, conversation, func(w io.Writer) (string, error) {
		_, err := io.Copy(w, &untilDone{ctx, body})
		return name, err
	})
	if err != nil {
		return fmt.Errorf("writing blob: %w", err)
	}
	return nil
}

// untilDone reads until a context ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// Remove removes a blob, if it is there, durably.
func (s *Store) Remove(ctx context.Context, tenant, conversation, name string) error {
	if err := s.files.Remove(ctx, tenant, conversation, name); err != nil {
		return fmt.Errorf("removing blob: %w", err)
	}
	return nil
}

// RemoveAll removes the blobs of a conversation durably.
func (s *Store) RemoveAll(ctx context.Context, tenant, conversation string) error {
	if err := s.files.RemoveAll(ctx, tenant, conversation); err != nil {
		return fmt.Errorf("removing blobs: %w", err)
	}
	return nil
}

// Reach says what keeps the place of the files from being used: nil for nothing.
func (s *Store) Reach(ctx context.Context) error { return s.files.Reach(ctx) }

// reader opens a file chunk by chunk.
type reader struct {
	f     io.ReadCloser
	aead  cipher.AEAD
	sum   hash.Hash
	name  string
	n     uint32
	plain []byte // opened and not yet read
	buf   []byte
	err   error
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.chunk()
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

// chunk opens the next chunk, and sets err to io.EOF after the last.
func (r *reader) chunk() {
	if r.buf == nil {
		r.buf = make([]byte, chunkSize+r.aead.Overhead())
	}
	n, err := readChunk(r.f, r.buf)
	if err != nil {
		r.err = fmt.Errorf("reading blob: %w", err)
		return
	}
	last := false
	plain, err := r.aead.Open(nil, nonce(r.n, false), r.buf[:n], nil)
	if err != nil {
		last = true
		plain, err = r.aead.Open(nil, nonce(r.n, true), r.buf[:n], nil)
	}
	if err != nil {
		r.err = fmt.Errorf("reading blob: %w", seal.ErrOpen)
		return
	}
	r.n++
	r.sum.Write(plain)
	if last {
		// The name is the hash of the whole: a file under another's name, or with something behind its end, is refused.
		more, err := readChunk(r.f, r.buf[:1])
		want, bad := hex.DecodeString(r.name)
		if err != nil || more != 0 || bad != nil || !hmac.Equal(r.sum.Sum(nil), want) {
			r.err = fmt.Errorf("reading blob: %w", seal.ErrOpen)
			return
		}
		r.err = io.EOF
	}
	r.plain = plain
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.f.Close() }
