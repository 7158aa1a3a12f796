package redis

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// release opens the store as a node of a release whose events are of a version.
func (n *nodes) release(events conversation.Format) (*Store, error) {
	s, err := Open(n.Context(), Options{
		Addr: n.server.Addr(), Root: bytes.Repeat([]byte{7}, seal.KeySize), IDs: n.ids, Now: n.time, Blobs: "/blobs", FS: vfs.NewMem(),
		Patience: 100 * time.Millisecond, Events: events, WayBack: time.Hour, Beat: time.Hour,
	})
	if err == nil {
		n.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// beaten lets nodes say that they live, now.
func (n *nodes) beaten(stores ...*Store) {
	n.Helper()
	for _, s := range stores {
		m, err := s.beat(n.Context(), true)
		n.must(err)
		n.must(s.follow(n.Context(), m))
	}
}

func versionsOf(n *nodes, s *Store, r store.Ref) (vs []int) {
	n.Helper()
	events, err := s.Log(n.Context(), r, 0, 100)
	n.must(err)
	for _, e := range events {
		vs = append(vs, e.V)
	}
	return vs
}

// TestTwoReleases: while a node of the release before is there, or may come back, the new ones write what it reads. Then they
// write their own, and it is refused; so is one that comes out of a standstill.
func TestTwoReleases(t *testing.T) {
	n := newNodes(t)
	old, err := n.release(1)
	n.must(err)
	next, err := n.release(2)
	n.must(err)
	wrote := func(s *Store, visitor string, want int) store.Ref {
		t.Helper()
		st := n.opening(visitor)
		n.commit(s, st)
		for _, v := range versionsOf(n, next, st.Ref) {
			if v != want {
				t.Errorf("%s is written as version %d, want %d", visitor, v, want)
			}
		}
		if got := n.load(next, st.Ref).State.V; got != want {
			t.Errorf("the state of %s is of version %d, want %d", visitor, got, want)
		}
		return st.Ref
	}
	r := wrote(next, "by the new one", 1)
	if vs := versionsOf(n, old, r); len(vs) != 2 {
		t.Errorf("the old one reads %v of what the new one wrote", vs)
	}
	wrote(old, "by the old one", 1)
	if h := next.Health(t.Context()); !strings.Contains(h.Level, "version 1 of 2") {
		t.Errorf("health: %s", h.Level)
	}
	n.move(2 * time.Hour)
	n.beaten(old, next) // the old one is still there
	n.move(2 * time.Hour)
	n.beaten(old, next, next)
	wrote(next, "beside an old one", 1)

	// The old one is gone, and comes back in time: all begins again.
	n.must(old.Close())
	n.beaten(next)
	n.move(50 * time.Minute)
	n.beaten(next)
	wrote(next, "on the way back", 1)
	back, err := n.release(1)
	n.must(err)
	n.beaten(next)
	n.move(50 * time.Minute)
	n.beaten(back, next)
	wrote(next, "beside one that came back", 1)

	// It stands still, and for longer than the way back lasts: nobody knows of it any more.
	n.move(time.Minute)
	n.beaten(next)
	n.move(2 * time.Hour)
	n.beaten(next)
	n.beaten(next)
	r = wrote(next, "by the new one alone", 2)
	wrote(next, "again", 2)
	if _, err := back.Log(t.Context(), r, 0, 10); !errors.Is(err, conversation.ErrEncoding) {
		t.Errorf("one that comes out of a standstill reads what it cannot: %v", err)
	}
	n.beaten(back)
	if _, err := back.Load(t.Context(), r); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("one that cannot read the others goes on: %v", err)
	}
	if h := back.Health(t.Context()); h.OK || !strings.Contains(h.Reason, "version 2") {
		t.Errorf("its health: %+v", h)
	}
	if _, err := n.release(1); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("the old release joins: %v", err)
	}
	if _, err := n.release(4); err == nil || !strings.Contains(err.Error(), "between") {
		t.Errorf("a release two versions on joins: %v", err)
	}
	_, err = n.release(3)
	n.must(err)
	n.sound(next)
}

// TestStoreOfBefore: a store that does not say which version is in force has the first.
func TestStoreOfBefore(t *testing.T) {
	n := newNodes(t)
	s, err := n.release(1)
	n.must(err)
	n.must(s.Close())
	n.must(n.server.Client().HDel(t.Context(), s.keys.global("m"), metaEvents).Err())
	if s, err = n.release(2); err != nil || s.format.writes(2) != 1 {
		t.Errorf("it writes version %d, %v", s.format.writes(2), err)
	}
	if _, err := n.release(3); err == nil {
		t.Error("a release two versions on joins")
	}
}
