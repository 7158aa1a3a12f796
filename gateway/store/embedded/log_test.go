package embedded_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// logFile returns the newest log of a store that was cut off, and its content.
func logFile(t *testing.T, fs vfs.FS) (string, []byte) {
	t.Helper()
	names, err := fs.List("/store/db")
	if err != nil {
		t.Fatal(err)
	}
	var name string
	for _, n := range names {
		if strings.HasSuffix(n, ".log") && n > name {
			name = n
		}
	}
	f, err := fs.Open("/store/db/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return name, bytes.TrimRight(b, "\x00")
}

func rewrite(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create("/store/db/"+name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// crashed returns what a power cut leaves of a store with a few commits.
func crashed(t *testing.T, commits int) (fs *vfs.MemFS, ref store.Ref, seq uint64) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	o := options(mem, time.Now)
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	for range commits {
		commit(t, s, draft(t, o, sender, load(t, s, st.Ref), "more"))
	}
	seq = load(t, s, st.Ref).State.Seq
	fs = mem.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, s)
	return fs, st.Ref, seq
}

// TestTornTail cuts bytes off the end of the log: what is left is whole.
func TestTornTail(t *testing.T) {
	for _, n := range []int{1, 7, 100, 1000} {
		fs, ref, seq := crashed(t, 20)
		name, b := logFile(t, fs)
		rewrite(t, fs, name, b[:len(b)-n])
		s := open(t, options(fs, time.Now))
		if got := load(t, s, ref).State.Seq; got >= seq || got == 0 {
			t.Errorf("%d bytes cut: %d of %d events", n, got, seq)
		}
		sound(t, s)
		closeStore(t, s)
	}
}

// TestDamagedMiddle changes a byte of a commit that others follow: the store does not open, and names the file. The first
// log lies in one block, where Pebble by itself would take the damage for the end; the second in several.
func TestDamagedMiddle(t *testing.T) {
	for _, commits := range []int{20, 400} {
		for _, part := range []int{10, 4, 3, 2} {
			fs, _, _ := crashed(t, commits)
			name, b := logFile(t, fs)
			b[len(b)/part] ^= 0x40
			rewrite(t, fs, name, b)
			s, err := embedded.Open(options(fs, time.Now))
			if err == nil {
				closeStore(t, s)
				t.Errorf("%d commits, damaged at 1/%d of the log: opened", commits, part)
				continue
			}
			if !strings.Contains(err.Error(), strings.TrimSuffix(name, ".log")) {
				t.Errorf("the error does not name %s: %v", name, err)
			}
		}
	}
}
