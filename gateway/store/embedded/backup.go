package embedded

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store/seal"
)

// A backup is a folder: the database as it stood at one instant (db), the blobs of then (blobs), and the manifest, which is
// written last. The manifest is a line for the backup, a line for each file, and a line that closes it with a MAC under a
// key made of the root key: what is restored is what was written, all of it, by somebody who had that key. The root key
// itself is not in it, nor is any other key that is not wrapped.

const (
	manifestName   = "manifest.jsonl"
	manifestFormat = 1
	checkpointName = "checkpoint"
	longestLine    = 64 << 10
)

type manifestHead struct {
	Format int    `json:"format"`
	At     int64  `json:"at"`
	Root   []byte `json:"root"` // by which the root key is recognised
}

type manifestFile struct {
	Path   string `json:"path"` // with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

type manifestEnd struct {
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	MAC   string `json:"mac"` // of all lines before
}

// Copied is how far a backup, a restore or a check of a backup has come, or what it has done.
type Copied struct {
	At    int64 `json:"at,omitempty"` // of the backup, ms
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Backup copies the store as it stands now into a new folder while it works on; everything that was acknowledged before the
// call is in it. Commits wait while the database links its files, which takes as long as it has files, not bytes. progress,
// if it is not nil, is called after each file. The folder has its name when it is whole.
func (s *Store) Backup(ctx context.Context, dir string, progress func(Copied)) (done Copied, err error) {
	if _, err := s.fs.Stat(dir); err == nil {
		return done, fmt.Errorf("backing up to %s: it is there already; a backup makes its own folder", dir)
	}
	s.copying.RLock() // before life, as Scrub does
	defer s.copying.RUnlock()
	if err := s.enter(ctx); err != nil {
		return done, err
	}
	defer s.life.RUnlock()
	if err := s.gate.check(); err != nil {
		return done, err
	}
	ctx, stop := s.untilTrouble(ctx)
	defer stop()
	at := s.now()
	links := s.fs.PathJoin(s.o.Dir, checkpointName)
	if !s.backing.TryLock() {
		return done, errors.New("another backup is under way")
	}
	defer s.backing.Unlock()
	defer func() { err = errors.Join(err, s.fs.RemoveAll(links)) }()
	if err := s.checkpoint(links); err != nil {
		return done, fmt.Errorf("backing up: %w", err)
	}
	part := dir + ".part"
	if err := errors.Join(s.fs.RemoveAll(part), makeFolder(s.fs, part)); err != nil {
		return done, fmt.Errorf("backing up to %s: %w", dir, err)
	}
	done, err = s.copyOut(ctx, links, part, at, progress)
	if err == nil {
		err = s.fs.Rename(part, dir)
	}
	if err == nil {
		err = syncDir(s.fs, s.fs.PathDir(dir))
	}
	if err != nil {
		return done, errors.Join(fmt.Errorf("backing up to %s: %w", dir, err), context.Cause(ctx), s.fs.RemoveAll(part))
	}
	return done, nil
}

// checkpoint links the database's files into a folder. No commit may be on its way: its record could be copied in halves.
func (s *Store) checkpoint(links string) error {
	if err := s.fs.RemoveAll(links); err != nil {
		return err
	}
	if err := s.db.Flush(); err != nil { // what is left of the log to copy is little
		return err
	}
	s.quiet.Lock()
	defer s.quiet.Unlock()
	if err := s.trouble.now(); err != nil {
		return err
	}
	return s.db.Checkpoint(links, pebble.WithFlushedWAL())
}

// copyOut writes a whole backup into a folder.
func (s *Store) copyOut(ctx context.Context, links, to string, at int64, progress func(Copied)) (Copied, error) {
	m, err := newManifest(s.fs, s.fs.PathJoin(to, manifestName), s.root, at)
	if err != nil {
		return Copied{}, err
	}
	m.progress = progress
	err = m.copyFolder(ctx, links, to, "db")
	if err == nil {
		err = s.eachBlobFolder(ctx, func(tenant, conversation string) error {
			path := "blobs/" + tenant + "/" + conversation
			return m.copyFolder(ctx, s.fs.PathJoin(s.o.Dir, "blobs", tenant, conversation), to, path)
		})
	}
	if err == nil {
		err = syncTree(s.fs, to)
	}
	return m.done, errors.Join(err, m.close(err == nil))
}

// eachBlobFolder calls f with the conversations that have a key and so may have blobs, a page at a time.
func (s *Store) eachBlobFolder(ctx context.Context, f func(tenant, conversation string) error) error {
	from, to := []byte{spaceKey, 'c'}, []byte{spaceKey, 'c' + 1}
	for {
		var page [][]byte
		if err := s.each(from, to, func(k, _ []byte) (bool, error) {
			page = append(page, bytes.Clone(k))
			return len(page) < scrubPage, ctx.Err()
		}); err != nil {
			return err
		}
		for _, k := range page {
			tenant, conversation, ok := strings.Cut(string(k[2:]), "\x00")
			if !ok {
				return errors.New("a key's row names no conversation")
			}
			if err := f(tenant, conversation); err != nil {
				return err
			}
		}
		if len(page) < scrubPage {
			return nil
		}
		from = append(page[len(page)-1], 0)
	}
}

// manifest writes the lines of a backup.
type manifest struct {
	fs       vfs.FS
	f        vfs.File
	mac      hash.Hash
	done     Copied
	progress func(Copied)
}

func newManifest(fs vfs.FS, name string, root *seal.Root, at int64) (*manifest, error) {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	m := &manifest{fs: fs, f: f, mac: hmac.New(sha256.New, root.BackupKey()), done: Copied{At: at}}
	if err := m.line(manifestHead{Format: manifestFormat, At: at, Root: root.CheckValue()}, true); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

func (m *manifest) line(v any, sum bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if sum {
		m.mac.Write(b)
	}
	_, err = m.f.Write(b)
	return err
}

// close ends the manifest, whole or not.
func (m *manifest) close(whole bool) error {
	if !whole {
		return m.f.Close()
	}
	err := m.line(manifestEnd{Files: m.done.Files, Bytes: m.done.Bytes, MAC: hex.EncodeToString(m.mac.Sum(nil))}, false)
	return errors.Join(err, m.f.Sync(), m.f.Close())
}

// copyFolder copies the files of a folder, if it is there, to a path below to.
func (m *manifest) copyFolder(ctx context.Context, from, to, path string) error {
	names, err := m.fs.List(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	folder := m.fs.PathJoin(append([]string{to}, strings.Split(path, "/")...)...)
	if err := m.fs.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "temp-") || name == "LOCK" { // on its way still, or of nobody's concern
			continue
		}
		size, sum, err := copyFile(ctx, m.fs, m.fs.PathJoin(from, name), m.fs.PathJoin(folder, name))
		if err != nil {
			return fmt.Errorf("copying %s/%s: %w", path, name, err)
		}
		if err := m.line(manifestFile{Path: path + "/" + name, Size: size, SHA256: sum}, true); err != nil {
			return err
		}
		m.done.Files++
		m.done.Bytes += size
		if m.progress != nil {
			m.progress(m.done)
		}
	}
	return nil
}

// copyFile copies a file durably, to nowhere for an empty name, and returns its size and digest.
func copyFile(ctx context.Context, fs vfs.FS, from, to string) (size int64, digest string, err error) {
	in, err := fs.Open(from)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	sum := sha256.New()
	var out io.Writer = sum
	if to != "" {
		f, err := fs.Create(to, vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, "", err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = io.MultiWriter(sum, f)
		if size, err = io.Copy(out, &untilDone{ctx, in}); err == nil {
			err = f.Sync()
		}
		return size, hex.EncodeToString(sum.Sum(nil)), err
	}
	size, err = io.Copy(out, &untilDone{ctx, in})
	return size, hex.EncodeToString(sum.Sum(nil)), err
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

// syncTree makes the entries of all folders below dir durable.
func syncTree(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := syncTree(fs, path); err != nil {
				return err
			}
		}
	}
	return syncDir(fs, dir)
}
