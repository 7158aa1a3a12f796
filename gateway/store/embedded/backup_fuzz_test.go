package embedded_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store/embedded"
	"turnout/gateway/store/seal"
)

func put(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	if err := fs.MkdirAll(fs.PathDir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// FuzzManifest: nothing but what was written with the root key is taken for a backup, and nothing else is restored.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"at":1,"root":"AAAA"}` + "\n" + `{"path":"db/x","size":1,"sha256":"00"}` + "\n" + `{"files":1,"bytes":1,"mac":"00"}` + "\n"))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		fs := vfs.NewMem()
		put(t, fs, "/backup/manifest.jsonl", manifest)
		o := options(fs, time.Now)
		o.Dir = "/data/store"
		_, err := embedded.Restore(t.Context(), o, "/backup", nil)
		if !errors.Is(err, embedded.ErrBackup) && !errors.Is(err, seal.ErrRootKey) {
			t.Errorf("%q: %v", manifest, err)
		}
		if _, err := fs.Stat(o.Dir); err == nil {
			t.Errorf("%q: there is a store", manifest)
		}
	})
}

// FuzzErasedList: a list of erasures is carried out or refused, whatever it holds.
func FuzzErasedList(f *testing.F) {
	f.Add([]byte(`{"tenant":"acme","conversation":"c_0123456789abcdefghjkmnpqrs","at":1,"op":"x"}` + "\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		fs, o, st, _ := backedUp(t)
		o.Dir = "/data/other"
		put(t, fs, "/list", list)
		if _, err := embedded.Restore(t.Context(), o, "/backup", nil, "/list"); err != nil {
			if _, err := fs.Stat(o.Dir); err == nil {
				t.Errorf("%q: there is a store", list)
			}
			return
		}
		s := open(t, o)
		load(t, s, st.Ref) // nobody can guess its id
		closeStore(t, s)
	})
}
