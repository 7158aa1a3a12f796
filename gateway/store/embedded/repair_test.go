package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
)

// TestRepair takes away rows of the indexes and puts in others: a check finds each and leaves it, a repair makes the index
// what it was, and neither touches anything else.
func TestRepair(t *testing.T) {
	s, err := Open(Options{
		Dir: "data", FS: vfs.NewMem(), Root: bytes.Repeat([]byte{7}, seal.KeySize), IDs: id.NewSource(rand.Reader, time.Now), Now: time.Now,
		Reserve: -1, Ballast: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	load, ctx := storetest.NewLoad(time.Now), t.Context()
	working, stop := context.WithCancel(ctx)
	load.OnAck = func(storetest.Acked) {
		if len(load.Acked()) >= 60 {
			stop()
		}
	}
	load.Run(working, s, 4, 1)

	rows := func() (index []string, rest string) {
		t.Helper()
		if err := s.each([]byte{0}, bytes.Repeat([]byte{0xff}, 64), func(k, v []byte) (bool, error) {
			_, tail, tenant := bytes.Cut(k[1:], []byte{0})
			if k[0] == spaceIndex || k[0] == spaceTenant && tenant && len(tail) > 0 && tail[0] == 'p' {
				index = append(index, string(k))
			} else {
				rest += fmt.Sprintf("%x %x\n", k, v)
			}
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return index, rest
	}
	index, rest := rows()
	kinds := map[string]string{} // a row of each kind
	for _, k := range index {
		if k[0] == spaceIndex {
			kind, _, _, _, _ := parseIndexKey([]byte(k))
			kinds["obligation "+string(rune(kind))] = k
		} else {
			_, tail, _ := bytes.Cut([]byte(k)[1:], []byte{0})
			kinds["path "+string(rune(tail[1]))] = k
		}
	}
	if len(kinds) < 5 {
		t.Fatalf("the load has made rows of the kinds %v only", kinds)
	}
	var some store.Ref
	for _, a := range load.Acked() {
		some = store.Ref{ID: a.Conversation}
	}
	some.Tenant, _ = store.NewTenant("acme")
	damages := map[string]func() error{
		"a timer that nobody set": func() error { return s.db.Set(indexKey(dueTimer, 5, some, "x"), nil, pebble.Sync) },
	}
	for name, k := range kinds {
		if name == "obligation "+string(rune(dueWork)) {
			continue // its row may outlast the work, below
		}
		damages[name] = func() error { return s.db.Delete([]byte(k), pebble.Sync) }
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it stays
				if rep, err := s.Check(ctx); err != nil || rep.Count != 1 || rep.MendedCount != 0 {
					t.Errorf("checking: %+v, %v, want one fault", rep, err)
				}
			}
			if rep, err := s.Repair(ctx); err != nil || rep.Count != 0 || rep.MendedCount != 1 {
				t.Errorf("repairing: %+v, %v, want one place mended", rep, err)
			}
			if rep, err := s.Check(ctx); err != nil || rep.Count != 0 {
				t.Errorf("checking after it: %+v, %v", rep, err)
			}
		})
	}
	again, restAgain := rows()
	if fmt.Sprintf("%x", again) != fmt.Sprintf("%x", index) {
		t.Errorf("%d rows of indexes became %d", len(index), len(again))
	}
	if restAgain != rest {
		t.Error("something else than an index has changed")
	}
}
