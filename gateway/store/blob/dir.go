package blob

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store"
)

var _ Files = (*Dir)(nil)

// Dir is Files in a folder, one below it for each tenant and conversation. A file is written under a temporary name, synced
// and renamed, and the folder is synced, before Write returns: a name that was returned is durable.
type Dir struct {
	fs   vfs.FS
	dir  string
	temp atomic.Uint64
}

// unfinished begins the names of files that are being written.
const unfinished = "temp-"

// NewDir returns the files in dir, which is made with the first of them.
func NewDir(system vfs.FS, dir string) *Dir { return &Dir{fs: system, dir: dir} }

// Write implements Files.
func (d *Dir) Write(_ context.Context, tenant, conversation string, fill func(io.Writer) (string, error)) error {
	folder := d.fs.PathJoin(d.dir, tenant, conversation)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	// A process that died may have left a file of the same temporary name; it is truncated.
	temp := d.fs.PathJoin(folder, unfinished+strconv.FormatUint(d.temp.Add(1), 10))
	f, err := d.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	name, err := fill(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.fs.Rename(temp, d.fs.PathJoin(folder, name))
	}
	if err == nil {
		err = d.syncDir(folder)
	}
	if err != nil {
		_ = d.fs.Remove(temp) // it may be renamed already
	}
	return err
}

// Open implements Files.
func (d *Dir) Open(_ context.Context, tenant, conversation, name string) (io.ReadCloser, error) {
	f, err := d.fs.Open(d.fs.PathJoin(d.dir, tenant, conversation, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store.ErrNotFound
	}
	return f, err
}

// Names implements Files.
func (d *Dir) Names(_ context.Context, tenant, conversation string) ([]string, error) {
	names, err := d.fs.List(d.fs.PathJoin(d.dir, tenant, conversation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, unfinished) })
	slices.Sort(names)
	return names, err
}

// Remove implements Files.
func (d *Dir) Remove(_ context.Context, tenant, conversation, name string) error {
	folder := d.fs.PathJoin(d.dir, tenant, conversation)
	if err := d.fs.Remove(d.fs.PathJoin(folder, name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return d.syncDir(folder)
}

// RemoveAll implements Files.
func (d *Dir) RemoveAll(_ context.Context, tenant, conversation string) error {
	parent := d.fs.PathJoin(d.dir, tenant)
	if _, err := d.fs.Stat(parent); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.fs.RemoveAll(d.fs.PathJoin(parent, conversation)); err != nil {
		return err
	}
	return d.syncDir(parent)
}

// Reach implements Files: what a folder lacks shows when it is written to.
func (d *Dir) Reach(context.Context) error { return nil }

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
