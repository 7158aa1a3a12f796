package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	slashed "path"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// ErrBackup says that a folder is no backup that can be trusted.
var ErrBackup = errors.New("not a whole backup")

// Restored is what a restore has done.
type Restored struct {
	Copied
	// Erased is how many conversations were erased again.
	Erased int `json:"erased"`
}

// Restore makes the store of o from the backup in the folder from. It fails at once with seal.ErrRootKey when o.Root is not
// the key that the backup was made with, and with ErrBackup when a file is missing, changed or cut. There must be no store
// in o.Dir. What lists of erasures name, ErasedList of o.Dir and others, is erased again, for good, before the store has its
// place: a process that dies on the way leaves no store, and the next Restore begins anew.
func Restore(ctx context.Context, o Options, from string, progress func(Copied), lists ...string) (done Restored, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return done, err
	}
	if names, err := o.FS.List(o.Dir); err == nil && len(names) > 0 {
		return done, fmt.Errorf("restoring into %s: there is something already; move it away first", o.Dir)
	}
	part := o.Dir + ".part"
	b, err := openBackup(o, from)
	if err != nil {
		return done, err
	}
	if err := errors.Join(o.FS.RemoveAll(part), makeFolder(o.FS, part)); err != nil {
		return done, fmt.Errorf("restoring: %w", err)
	}
	if done.Copied, err = b.each(ctx, progress, func(file string) string { return b.fs.PathJoin(part, file) }); err != nil {
		return done, fmt.Errorf("restoring from %s: %w", from, err)
	}
	if err := syncTree(o.FS, part); err != nil {
		return done, fmt.Errorf("restoring: %w", err)
	}
	if done.Erased, err = eraseAgain(ctx, o, part, append(lists, ErasedList(o.Dir))); err != nil {
		return done, fmt.Errorf("erasing again what was erased: %w", err)
	}
	if err := o.FS.RemoveAll(o.Dir); err != nil { // an empty folder
		return done, fmt.Errorf("restoring: %w", err)
	}
	if err := errors.Join(o.FS.Rename(part, o.Dir), syncDir(o.FS, o.FS.PathDir(o.Dir))); err != nil {
		return done, fmt.Errorf("restoring: %w", err)
	}
	return done, nil
}

// CheckBackup reads a whole backup and compares it with its manifest.
func CheckBackup(ctx context.Context, o Options, from string, progress func(Copied)) (Copied, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Copied{}, err
	}
	b, err := openBackup(o, from)
	if err != nil {
		return Copied{}, err
	}
	return b.each(ctx, progress, nil)
}

// backup is one whose manifest holds.
type backup struct {
	fs   vfs.FS
	dir  string
	at   int64
	want manifestEnd
}

// openBackup reads a manifest to its end and verifies it.
func openBackup(o Options, dir string) (*backup, error) {
	root, err := seal.NewRoot(o.Root, o.Rand)
	if err != nil {
		return nil, err
	}
	b := &backup{fs: o.FS, dir: dir}
	mac := hmac.New(sha256.New, root.BackupKey())
	var files int
	var size int64
	if err := b.lines(func(n int, line []byte) error {
		if n == 1 {
			var head manifestHead
			if err := json.Unmarshal(line, &head); err != nil || head.Format != manifestFormat {
				return fmt.Errorf("%w: its manifest is not of format %d", ErrBackup, manifestFormat)
			}
			b.at = head.At
			if err := root.Verify(head.Root); err != nil {
				return err
			}
		} else if err := json.Unmarshal(line, &b.want); err == nil && b.want.MAC != "" {
			if hex.EncodeToString(mac.Sum(nil)) != b.want.MAC || b.want.Files != files || b.want.Bytes != size {
				return fmt.Errorf("%w: its manifest was changed", ErrBackup)
			}
			return io.EOF
		} else {
			f, err := fileOf(line)
			if err != nil {
				return err
			}
			files++
			size += f.Size
		}
		mac.Write(line)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("reading the backup in %s: %w", dir, err)
	}
	if b.want.MAC == "" {
		return nil, fmt.Errorf("reading the backup in %s: %w: its manifest ends early", dir, ErrBackup)
	}
	return b, nil
}

// lines calls f with the lines of the manifest, numbered from 1, until f returns io.EOF.
func (b *backup) lines(f func(n int, line []byte) error) (err error) {
	m, err := b.fs.Open(b.fs.PathJoin(b.dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it has no manifest", ErrBackup)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r := bufio.NewReaderSize(m, longestLine)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: line %d of its manifest: %w", ErrBackup, n, err)
		}
		if err := f(n, line); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

func fileOf(line []byte) (manifestFile, error) {
	var f manifestFile
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || f.Path != slashed.Clean(f.Path) || !strings.HasPrefix(f.Path, "db/") && !strings.HasPrefix(f.Path, "blobs/") {
		return f, fmt.Errorf("%w: a line of its manifest names no file", ErrBackup)
	}
	return f, nil
}

// each reads every file and compares it, copying it to where to says if to is not nil.
func (b *backup) each(ctx context.Context, progress func(Copied), to func(file string) string) (done Copied, err error) {
	done.At = b.at
	err = b.lines(func(n int, line []byte) error {
		if n == 1 {
			return nil
		}
		if done.Files == b.want.Files {
			return io.EOF
		}
		f, err := fileOf(line)
		if err != nil {
			return err
		}
		local := b.fs.PathJoin(strings.Split(f.Path, "/")...)
		target := ""
		if to != nil {
			target = to(local)
			if err := b.fs.MkdirAll(b.fs.PathDir(target), 0o700); err != nil {
				return err
			}
		}
		size, sum, err := copyFile(ctx, b.fs, b.fs.PathJoin(b.dir, local), target)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s is missing", ErrBackup, f.Path)
		case err != nil:
			return fmt.Errorf("reading %s: %w", f.Path, err)
		case size != f.Size || sum != f.SHA256:
			return fmt.Errorf("%w: %s is not the file that was written (%d bytes, it had %d)", ErrBackup, f.Path, size, f.Size)
		}
		done.Files++
		done.Bytes += size
		if progress != nil {
			progress(done)
		}
		return nil
	})
	return done, err
}

// eraseAgain erases in the store in dir what lists name. A list that is not there is none.
func eraseAgain(ctx context.Context, o Options, dir string, lists []string) (n int, err error) {
	o.erased, o.Dir, o.Reserve, o.Ballast = ErasedList(o.Dir), dir, -1, -1
	s, err := Open(o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for i, list := range lists {
		more, err := s.eraseListed(ctx, list, i == len(lists)-1)
		n += more
		if err != nil {
			return n, fmt.Errorf("%s: %w", list, err)
		}
	}
	return n, s.Scrub(ctx)
}

func (s *Store) eraseListed(ctx context.Context, list string, optional bool) (n int, err error) {
	f, err := s.fs.Open(list)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	for at := 1; lines.Scan(); at++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line erasedLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return n, fmt.Errorf("line %d is none of a list of erasures", at)
		}
		t, err := store.NewTenant(line.Tenant)
		if err != nil {
			return n, fmt.Errorf("line %d: %w", at, err)
		}
		again, err := s.eraseOne(ctx, store.Ref{Tenant: t, ID: line.Conversation})
		if err != nil {
			return n, fmt.Errorf("line %d: %w", at, err)
		}
		if again {
			n++
		}
	}
	return n, lines.Err()
}

// eraseOne erases a conversation if it is there.
func (s *Store) eraseOne(ctx context.Context, r store.Ref) (bool, error) {
	snap, err := s.Load(ctx, r)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	st := store.Step{Ref: r, Base: snap.Version, Op: store.Token(s.o.IDs.Token())}
	d := conversation.Begin(snap.State, conversation.Env{Now: s.now(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.System}})
	if err := d.Do(conversation.Wipe{Again: true}); err != nil {
		return false, err
	}
	st.Events, st.State = d.Events, d.Result()
	_, err = s.Commit(ctx, st)
	return err == nil, err
}
