package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
)

// TestBackupUnderLoad takes backups while customers write and an attachment lies there: each restores to a sound store that
// has everything that was acknowledged before the backup began.
func TestBackupUnderLoad(t *testing.T) {
	dir := t.TempDir()
	o := onDisk(filepath.Join(dir, "store"))
	s := open(t, o)
	st := draft(t, o, sender, nil, "see attached")
	blob, _, err := s.Blobs().Put(t.Context(), st.Ref, strings.NewReader(strings.Repeat("a scan ", 40_000)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, st)
	load := storetest.NewLoad(time.Now)
	var acked atomic.Int64
	begun := make(chan struct{})
	load.OnAck = func(storetest.Acked) {
		if acked.Add(1) == 200 {
			close(begun)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.Run(ctx, s, 4, 1)
	}()
	<-begun
	for n := range scaled(2, 10, 50) {
		before := load.Acked()
		to := filepath.Join(dir, "backups", string(rune('a'+n)))
		files := 0
		report, err := s.Backup(t.Context(), to, func(embedded.Copied) { files++ })
		if err != nil {
			t.Fatal(err)
		}
		if files != report.Files || report.Files < 4 || report.Bytes == 0 {
			t.Errorf("%+v after %d calls", report, files)
		}
		if _, err := s.Backup(t.Context(), to, nil); err == nil {
			t.Error("a backup over another")
		}
		restored := o
		restored.Dir = filepath.Join(dir, "restored", string(rune('a'+n)))
		if _, err := embedded.CheckBackup(t.Context(), restored, to, nil); err != nil {
			t.Error(err)
		}
		got, err := embedded.Restore(t.Context(), restored, to, nil)
		if err != nil || got.Files != report.Files || got.Bytes != report.Bytes || got.Erased != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		r := open(t, restored)
		lost, faults, err := load.Lost(t.Context(), r, before)
		if err != nil || lost > 0 || len(faults) > 0 {
			t.Errorf("%d of %d are missing, %v, %v", lost, len(before), faults, err)
		}
		body, err := r.Blobs().Open(t.Context(), st.Ref, blob)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(body); err != nil || len(b) != 280_000 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		closeStore(t, r)
		if _, err := embedded.Restore(t.Context(), restored, to, nil); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("restoring over a store: %v", err)
		}
	}
	stop()
	<-done
	closeStore(t, s)
	if _, err := os.Stat(filepath.Join(o.Dir, "checkpoint")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the links are still there: %v", err)
	}
}

// backedUp makes a store with one conversation and a backup of it.
func backedUp(t *testing.T) (fs vfs.FS, o embedded.Options, st store.Step, blob string) {
	t.Helper()
	fs = vfs.NewMem()
	o = options(fs, time.Now)
	o.Dir = "/data/store"
	s := open(t, o)
	st = draft(t, o, sender, nil, "my secret is "+canary)
	blob, _, err := s.Blobs().Put(t.Context(), st.Ref, strings.NewReader(canary), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, st)
	if _, err := s.Backup(t.Context(), "/backup", nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	return fs, o, st, blob
}

// TestBackupIsWhole: what was changed, cut, taken away or added by others is found before anything is restored.
func TestBackupIsWhole(t *testing.T) {
	fs, o, st, blob := backedUp(t)
	if found := scan(t, fs, "/backup"); len(found) != 0 {
		t.Errorf("a backup shows the canary in %v", found)
	}
	wrong := o
	wrong.Root, wrong.Dir = bytes.Repeat([]byte{8}, seal.KeySize), "/data/other"
	if _, err := embedded.Restore(t.Context(), wrong, "/backup", nil); !errors.Is(err, seal.ErrRootKey) {
		t.Errorf("with another root key: %v", err)
	}
	o.Dir = "/data/other"
	read := func(name string) []byte {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(name string, b []byte) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(b)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	file := "/backup/blobs/acme/" + st.Ref.ID + "/" + blob
	manifest := "/backup/manifest.jsonl"
	lines := bytes.SplitAfter(read(manifest), []byte("\n"))
	for name, spoil := range map[string]func(){
		"a changed byte": func() { b := bytes.Clone(read(file)); b[20] ^= 1; write(file, b) },
		"a cut file":     func() { write(file, read(file)[:10]) },
		"a missing file": func() { _ = fs.Remove(file) },
		"no manifest":    func() { _ = fs.Remove(manifest) },
		"a cut manifest": func() { write(manifest, bytes.Join(lines[:len(lines)-2], nil)) },
		"a line less":    func() { write(manifest, bytes.Join(append([][]byte{lines[0]}, lines[2:]...), nil)) },
		"a line of others": func() {
			write(manifest, bytes.Replace(read(manifest), []byte("blobs/acme/"), []byte("../../acme/"), 1))
		},
		"an empty manifest":  func() { write(manifest, nil) },
		"a manifest of junk": func() { write(manifest, []byte("junk\n")) },
	} {
		blobWas, manifestWas := read(file), read(manifest)
		spoil()
		for what, err := range map[string]error{
			"check":   func() error { _, err := embedded.CheckBackup(t.Context(), o, "/backup", nil); return err }(),
			"restore": func() error { _, err := embedded.Restore(t.Context(), o, "/backup", nil); return err }(),
		} {
			if !errors.Is(err, embedded.ErrBackup) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if _, err := fs.Stat(o.Dir); err == nil {
			t.Errorf("%s: there is a store", name)
		}
		write(file, blobWas)
		write(manifest, manifestWas)
	}
	if _, err := embedded.Restore(t.Context(), o, "/backup", nil); err != nil {
		t.Error(err)
	}
}

// TestRestoreErasesAgain: what was erased after a backup does not come back with it.
func TestRestoreErasesAgain(t *testing.T) {
	fs, o, st, blob := backedUp(t)
	s := open(t, o)
	snap := load(t, s, st.Ref)
	wipe := store.Step{Ref: st.Ref, Base: snap.Version, Op: store.Token(o.IDs.Token())}
	d := conversation.Begin(snap.State, conversation.Env{Now: 1, Op: string(wipe.Op)})
	if err := d.Do(conversation.Wipe{}); err != nil {
		t.Fatal(err)
	}
	wipe.Events, wipe.State = d.Events, d.Result()
	commit(t, s, wipe)
	if err := s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)

	for name, lists := range map[string][]string{"the list beside the store": nil, "a list from elsewhere": {"/elsewhere"}} {
		if lists == nil {
			if err := fs.RemoveAll(o.Dir); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := errors.Join(vfs.Copy(fs, embedded.ErasedList(o.Dir), "/elsewhere"), fs.Remove(embedded.ErasedList(o.Dir)), fs.RemoveAll(o.Dir)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := embedded.Restore(t.Context(), o, "/backup", nil, lists...)
		if err != nil || got.Erased != 1 {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		s = open(t, o)
		if _, err := s.Load(t.Context(), st.Ref); !errors.Is(err, store.ErrErased) {
			t.Errorf("%s: after a restore: %v", name, err)
		}
		if _, err := s.Blobs().Open(t.Context(), st.Ref, blob); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: its file: %v", name, err)
		}
		if stone, err := s.Tombstone(t.Context(), st.Ref); err != nil || stone.Pending {
			t.Errorf("%s: %+v, %v", name, stone, err)
		}
		sound(t, s)
		closeStore(t, s)
	}
	// Without any list it does come back: the control.
	if err := errors.Join(fs.Remove(embedded.ErasedList(o.Dir)), fs.RemoveAll(o.Dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Restore(t.Context(), o, "/backup", nil); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	load(t, s, st.Ref)
	closeStore(t, s)
	if _, err := embedded.Restore(t.Context(), func() embedded.Options { o.Dir = "/data/third"; return o }(), "/backup", nil, "/missing"); err == nil {
		t.Error("a list that is not there was taken")
	}
}
