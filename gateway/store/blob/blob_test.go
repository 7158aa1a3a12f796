package blob_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store/blob"
	"turnout/gateway/store/blob/blobtest"
)

func TestDir(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.World {
		mem := vfs.NewMem()
		return blobtest.World{
			Files: blob.NewDir(mem, "/blobs"),
			Names: func(tenant, conversation string) []string {
				names, err := mem.List("/blobs/" + tenant + "/" + conversation)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				return names
			},
			Read: func(tenant, conversation, name string) []byte {
				return readFile(t, mem, "/blobs/"+tenant+"/"+conversation+"/"+name)
			},
			Write: func(tenant, conversation, name string, b []byte) {
				writeFile(t, mem, "/blobs/"+tenant+"/"+conversation+"/"+name, b)
			},
		}
	})
}

// TestDurable cuts the power right after Put.
func TestDurable(t *testing.T) {
	mem, key := vfs.NewCrashableMem(), blobtest.Key(t)
	name := blobtest.Put(t, blob.New(blob.NewDir(mem, "/blobs")), key, []byte("hello"))
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if got, err := blobtest.Get(t, blob.New(blob.NewDir(after, "/blobs")), key, name); err != nil || string(got) != "hello" {
		t.Errorf("after the cut: %q, %v", got, err)
	}
}

// FuzzOpen feeds the reader files that nobody wrote.
func FuzzOpen(f *testing.F) {
	mem := vfs.NewMem()
	s, key := blob.New(blob.NewDir(mem, "/blobs")), blobtest.Key(f)
	name := blobtest.Put(f, s, key, []byte("hello"))
	path := "/blobs/acme/c_1/" + name
	good := readFile(f, mem, path)
	f.Add([]byte{})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, file []byte) {
		writeFile(t, mem, path, file)
		got, err := blobtest.Get(t, s, key, name)
		if err == nil && string(got) != "hello" {
			t.Errorf("a forged file reads as %q", got)
		}
		if err != nil && len(got) != 0 && !bytes.HasPrefix([]byte("hello"), got) {
			t.Errorf("unverified bytes %q before %v", got, err)
		}
	})
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
