package embedded

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestTableFile checks that what was written in pieces of any size is there, in order, once the file is synced or closed.
func TestTableFile(t *testing.T) {
	fs := vfs.NewMem()
	inner, err := fs.Create("t.sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	f := newTableFile(inner)
	var want []byte
	for i, size := range []int{1, 100, tableBuffer - 101, 1, tableBuffer, 3 * tableBuffer, 5, 0, tableBuffer - 5, 7} {
		piece := bytes.Repeat([]byte{byte(i + 1)}, size)
		want = append(want, piece...)
		if n, err := f.Write(piece); n != size || err != nil {
			t.Fatalf("piece %d: %d, %v", i, n, err)
		}
	}
	read := func() []byte {
		r, err := fs.Open("t.sst")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got := read(); len(got) >= len(want) {
		t.Errorf("%d bytes were written already: nothing was gathered", len(got))
	}
	for name, sync := range map[string]func() error{
		"sync": f.Sync, "sync of the data": f.SyncData, "stat": func() error { _, err := f.Stat(); return err },
	} {
		want = append(want, 'x')
		if _, err := f.Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
		if err := sync(); err != nil || !bytes.Equal(read(), want) {
			t.Errorf("after %s (%v) the file is not what was written", name, err)
		}
	}
	if _, err := f.Write([]byte{'y'}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil || !bytes.Equal(read(), append(want, 'y')) {
		t.Errorf("closed (%v), the file is not what was written", err)
	}
}

// TestTableFileFails checks that no error of a write that was put off is lost.
func TestTableFileFails(t *testing.T) {
	broken := errors.New("no disk")
	for name, sync := range map[string]func(*tableFile) error{
		"sync": (*tableFile).Sync, "sync of the data": (*tableFile).SyncData, "close": (*tableFile).Close,
		"stat":  func(f *tableFile) error { _, err := f.Stat(); return err },
		"write": func(f *tableFile) error { _, err := f.Write(make([]byte, tableBuffer)); return err },
	} {
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite {
				return broken
			}
			return nil
		}))
		inner, err := fs.Create("t.sst", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f := newTableFile(inner)
		if _, err := f.Write([]byte("gathered")); err != nil {
			t.Fatal(err)
		}
		if err := sync(f); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
