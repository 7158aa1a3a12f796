package embedded

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/id"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
	"turnout/gateway/store/transfer"
)

// TestDamagedSource damages one row of a store after the other: a copy says which one, or carries over what nobody can tell
// from what was meant, and never lets half a store be opened.
func TestDamagedSource(t *testing.T) {
	s, err := Open(Options{
		Dir: "/store", FS: vfs.NewMem(), Root: make([]byte, seal.KeySize), Now: time.Now, IDs: id.NewSource(rand.Reader, time.Now), Reserve: -1, Ballast: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}()
	storetest.Furnish(t, s)
	type row struct{ key, value []byte }
	var rows []row
	if err := s.each([]byte{spaceKey}, []byte{spaceIndex}, func(k, v []byte) (bool, error) {
		if len(v) > 0 {
			rows = append(rows, row{bytes.Clone(k), bytes.Clone(v)})
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	set := func(k, v []byte) {
		if err := s.db.Set(k, v, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rows {
		bad := bytes.Clone(r.value)
		bad[len(bad)/2] ^= 1
		set(r.key, bad)
		err := copied(t, s)
		// In the clear, and said by nothing else: where a message went, up to where copies of checkpoints are outside, where an
		// address writes; and of a checkpoint only those can judge a signature who have a key.
		plain := r.key[0] == spaceDedupe || bytes.HasPrefix(r.key, []byte("Tacme\x00w")) || bytes.HasPrefix(r.key, []byte("Tacme\x00i")) || bytes.HasPrefix(r.key, []byte("Tacme\x00k"))
		switch {
		case err == nil && !plain:
			t.Errorf("row %q was damaged, and the copy says nothing", r.key)
		case err != nil && !plain && !strings.Contains(err.Error(), "acme") && !strings.Contains(err.Error(), "c_"):
			t.Errorf("row %q was damaged, and the copy does not say where: %v", r.key, err)
		}
		set(r.key, r.value)
	}
	if err := copied(t, s); err != nil || len(rows) < 25 {
		t.Errorf("%d rows, and when all are mended: %v", len(rows), err)
	}
}

// copied copies a store to a new folder, and returns what the copy says. When it is not whole the folder must not open.
func copied(t *testing.T, s *Store) error {
	t.Helper()
	to := s.o
	to.FS, to.erased = vfs.NewMem(), ""
	target := NewTarget(to)
	s.tenants.clear() // the rows are what is read
	rep, err := transfer.Copy(t.Context(), s, target, time.Now, nil)
	if bad := target.Close(); bad != nil {
		t.Fatal(bad)
	}
	if err == nil && !rep.Whole() {
		err = errors.New(strings.Join(append(rep.Differences, rep.Check.Faults...), "; "))
	}
	made, bad := Open(to)
	var incomplete *transfer.Incomplete
	if (err == nil) != (bad == nil) || bad != nil && !errors.As(bad, &incomplete) {
		t.Errorf("the copy says %v, and opening %v", err, bad)
	}
	if bad == nil {
		if bad := made.Close(); bad != nil {
			t.Fatal(bad)
		}
	}
	return err
}
