// Package blob keeps bytes that are too large for rows in files of a folder, sealed.
//
// A blob's name is the keyed hash of its plaintext, so the same bytes put twice are one file, and no name can be guessed
// from a file's content without the key. It lies under its tenant and its conversation: erasing a conversation is removing
// a folder.
//
// A file is a salt and chunks. Each chunk is sealed under a key made from the salt, with its number and whether it is the
// last in the nonce: chunks cannot be cut off, swapped or repeated. A file is written under a temporary name, synced and
// renamed, and the folder is synced, before Put returns: a name that was returned is durable.
package blob

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strconv"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// ErrTooLarge says that a body is larger than it may be.
var ErrTooLarge = errors.New("the body is too large")

// chunkSize is the size of a chunk's plaintext, in bytes.
const chunkSize = 64 << 10

// Dir is a folder of blobs. It is safe for concurrent use.
type Dir struct {
	fs   vfs.FS
	dir  string
	temp atomic.Uint64
}

// New returns the blobs in dir, which is made with the first of them.
func New(system vfs.FS, dir string) *Dir { return &Dir{fs: system, dir: dir} }

// Put stores what body holds, at most max bytes, under key for a conversation of a tenant, and returns its name and size.
// Tenant and conversation are names of folders; the caller has looked at their form.
func (d *Dir) Put(ctx context.Context, key *seal.Content, tenant, conversation string, body io.Reader, max int64) (name string, size int64, err error) {
	folder := d.fs.PathJoin(d.dir, tenant, conversation)
	if err := d.makeFolder(folder); err != nil {
		return "", 0, fmt.Errorf("making blob folder: %w", err)
	}
	// A process that died may have left a file of the same temporary name; it is truncated.
	temp := d.fs.PathJoin(folder, "temp-"+strconv.FormatUint(d.temp.Add(1), 10))
	f, err := d.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", 0, fmt.Errorf("creating blob: %w", err)
	}
	sum := key.BlobName()
	size, err = write(ctx, f, key, sum, body, max)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		name = hex.EncodeToString(sum.Sum(nil))
		err = d.fs.Rename(temp, d.fs.PathJoin(folder, name))
	}
	if err == nil {
		err = d.syncDir(folder)
	}
	if err != nil {
		_ = d.fs.Remove(temp) // it may be renamed already
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
func (d *Dir) Open(_ context.Context, key *seal.Content, tenant, conversation, name string) (io.ReadCloser, error) {
	if b, err := hex.DecodeString(name); err != nil || len(b) != key.BlobName().Size() {
		return nil, store.ErrNotFound
	}
	f, err := d.fs.Open(d.fs.PathJoin(d.dir, tenant, conversation, name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, store.ErrNotFound
		}
		return nil, fmt.Errorf("opening blob: %w", err)
	}
	salt := make([]byte, seal.SaltSize)
	if _, err := io.ReadFull(f, salt); err != nil {
		return nil, errors.Join(fmt.Errorf("reading blob: %w", seal.ErrOpen), f.Close())
	}
	aead, err := key.Stream(salt)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &reader{f: f, aead: aead, sum: key.BlobName(), name: name}, nil
}

// Remove removes a blob, if it is there, durably.
func (d *Dir) Remove(tenant, conversation, name string) error {
	folder := d.fs.PathJoin(d.dir, tenant, conversation)
	if err := d.fs.Remove(d.fs.PathJoin(folder, name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("removing blob: %w", err)
	}
	return d.syncDir(folder)
}

// RemoveAll removes the blobs of a conversation durably.
func (d *Dir) RemoveAll(tenant, conversation string) error {
	parent := d.fs.PathJoin(d.dir, tenant)
	if _, err := d.fs.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.fs.RemoveAll(d.fs.PathJoin(parent, conversation)); err != nil {
		return fmt.Errorf("removing blobs: %w", err)
	}
	return d.syncDir(parent)
}

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

// makeFolder makes folder and what is missing above it. The entries are synced also when they are there already: whoever
// made them may not have come so far.
func (d *Dir) makeFolder(folder string) error {
	if err := d.fs.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	tenant := d.fs.PathDir(folder)
	root := d.fs.PathDir(tenant)
	for _, dir := range []string{d.fs.PathDir(root), root, tenant} {
		if err := d.syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) syncDir(dir string) error {
	f, err := d.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
