package embedded

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBuffer is what is gathered of a table before it is written. Pebble writes block by block, and a file system takes
// pages that come in two pieces much dearer than a row of whole ones: written so, flushes and compactions took twice the
// time in the kernel.
const tableBuffer = 256 << 10

// tableFile gathers what is written to a table. Nobody reads a table before it was synced and closed.
type tableFile struct {
	vfs.File
	buf []byte
}

func newTableFile(f vfs.File) *tableFile { return &tableFile{File: f} }

// Write implements vfs.File.
func (f *tableFile) Write(p []byte) (n int, err error) {
	if f.buf == nil {
		f.buf = make([]byte, 0, tableBuffer)
	}
	for len(p) > 0 {
		m := min(len(p), tableBuffer-len(f.buf))
		f.buf = append(f.buf, p[:m]...)
		p, n = p[m:], n+m
		if len(f.buf) == tableBuffer {
			if err := f.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (f *tableFile) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	_, err := f.File.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

// Sync implements vfs.File.
func (f *tableFile) Sync() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.Sync()
}

// SyncData implements vfs.File.
func (f *tableFile) SyncData() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.File.SyncData()
}

// Stat implements vfs.File.
func (f *tableFile) Stat() (vfs.FileInfo, error) {
	if err := f.flush(); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

// Close implements vfs.File.
func (f *tableFile) Close() error { return errors.Join(f.flush(), f.File.Close()) }
