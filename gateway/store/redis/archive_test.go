package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// sharing opens a node whose blobs are on fs.
func (n *nodes) sharing(fs vfs.FS, dir string, faults fault.Injector, damaged func(store.Ref, error)) *Store {
	n.Helper()
	s, err := Open(n.Context(), Options{
		Addr: n.server.Addr(), Root: bytes.Repeat([]byte{7}, seal.KeySize), IDs: n.ids, Now: n.time, Blobs: dir, FS: fs,
		Patience: 100 * time.Millisecond, Faults: faults, Damaged: damaged,
	})
	n.must(err)
	n.Cleanup(func() {
		if err := s.Close(); err != nil {
			n.Errorf("closing: %v", err)
		}
	})
	return s
}

// closed opens a conversation, lets something be said and decided, and closes it.
func (n *nodes) closed(s *Store, visitor, text string) store.Ref {
	n.Helper()
	st := n.opening(visitor)
	n.commit(s, st)
	from := message.Address{Channel: "acme.web", Address: visitor}
	for i := range 5 {
		n.commit(s, n.step(st.Ref, n.load(s, st.Ref), customer,
			conversation.Receive{ID: n.ids.New(id.Message, 0), In: message.Inbound{ID: fmt.Sprint(i), From: from, Kind: message.Text, Text: text}},
			conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{fmt.Sprint("t", i)}}}))
	}
	n.commit(s, n.step(st.Ref, n.load(s, st.Ref), conversation.Actor{Kind: conversation.System}, conversation.Close{Reason: conversation.ReasonIdle}))
	return st.Ref
}

// whole reads the log and the chain of a conversation, which must fit together.
func (n *nodes) whole(s *Store, r store.Ref) (events []conversation.Event, chain [][]byte) {
	n.Helper()
	events, err := s.Log(n.Context(), r, 0, 1000)
	n.must(err)
	if state := n.load(s, r).State; uint64(len(events)) != state.Seq {
		n.Fatalf("%d events of %d", len(events), state.Seq)
	}
	for i, e := range events {
		if e.Seq != uint64(i)+1 {
			n.Fatalf("event %d is number %d", i+1, e.Seq)
		}
	}
	chain, err = s.Entries(n.Context(), r.Tenant, r.ID, 0, 1000)
	n.must(err)
	if _, err := audit.Verify(r.ID, audit.Head{}, chain); err != nil {
		n.Fatal(err)
	}
	return events, chain
}

// files counts the files below a folder.
func files(t *testing.T, fs vfs.FS, dir string) (n int) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		if info, err := fs.Stat(path); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			n += files(t, fs, path)
		} else {
			n++
		}
	}
	return n
}

var errKilled = errors.New("killed")

// TestArchiveCutOff ends the archiving at every point, as a process that dies does, and then the conversation does what it
// may do: nothing, go on, or go on and be closed again. Nothing is lost or twice, and the next who archives ends it with the
// files that are there already.
func TestArchiveCutOff(t *testing.T) {
	n := newNodes(t)
	fs := vfs.NewMem()
	for i, point := range fault.Archives() {
		for j, then := range []string{"nothing", "reopened", "grown"} {
			dir := fmt.Sprintf("/blobs-%d-%d", i, j)
			s := n.sharing(fs, dir, nil, nil)
			dying := n.sharing(fs, dir, func(_ context.Context, p fault.Point) error {
				if p == point {
					return errKilled
				}
				return nil
			}, nil)
			r := n.closed(s, fmt.Sprint(point, then), "hello")
			events, chain := n.whole(s, r)
			if _, err := dying.Archive(t.Context(), r); !errors.Is(err, errKilled) {
				t.Fatalf("%s: %v", point, err)
			}
			stored := files(t, fs, dir)
			if want := map[fault.Point]int{fault.ArchiveBegun: 0, fault.ArchiveStored: 2, fault.ArchiveRecorded: 2}[point]; stored != want {
				t.Errorf("%s: %d files, want %d", point, stored, want)
			}
			if now, links := n.whole(s, r); len(now) != len(events) || len(links) != len(chain) {
				t.Errorf("%s: %d events and %d entries of %d and %d", point, len(now), len(links), len(events), len(chain))
			}
			segments := 2
			if then != "nothing" {
				n.commit(s, n.step(r, n.load(s, r), customer, conversation.Reopen{}))
				if _, err := s.Archive(t.Context(), r); !errors.Is(err, store.ErrStale) {
					t.Errorf("%s: archiving what was reopened: %v", point, err)
				}
			}
			if then == "grown" {
				n.commit(s, n.step(r, n.load(s, r), conversation.Actor{Kind: conversation.System}, conversation.Close{Reason: conversation.ReasonIdle}))
				segments = 4 // what was begun is ended as it was begun, and what follows is of its own
			}
			events, chain = n.whole(s, r)
			if then != "reopened" {
				if _, err := s.Archive(t.Context(), r); err != nil {
					t.Errorf("%s, %s: %v", point, then, err)
				}
				if got := files(t, fs, dir); got != segments {
					t.Errorf("%s, %s: %d files, want %d", point, then, got, segments)
				}
				p, err := home(r)
				n.must(err)
				if left, err := n.server.Client().Exists(t.Context(), s.keys.conversation(p, r, "l"), s.keys.conversation(p, r, "a")).Result(); err != nil || left != 0 {
					t.Errorf("%s, %s: %d streams are left, %v", point, then, left, err)
				}
			}
			if now, links := n.whole(s, r); len(now) != len(events) || len(links) != len(chain) {
				t.Errorf("%s, %s: %d events and %d entries of %d and %d", point, then, len(now), len(links), len(events), len(chain))
			}
			// What was begun goes with an erasure, too, and the chain does not.
			n.commit(s, n.step(r, n.load(s, r), conversation.Actor{Kind: conversation.System}, conversation.Wipe{}))
			n.must(s.blobs.files.RemoveAll(t.Context(), n.tenant.Name(), r.ID))
			if left, err := s.Entries(t.Context(), r.Tenant, r.ID, 0, 1000); err != nil || len(left) <= len(chain) {
				t.Errorf("%s, %s: the chain has %d entries of %d after an erasure, %v", point, then, len(left), len(chain), err)
			}
			if _, err := s.Archive(t.Context(), r); err != nil {
				t.Errorf("%s, %s: archiving the chain of what was erased: %v", point, then, err)
			}
			if left, err := s.Entries(t.Context(), r.Tenant, r.ID, 0, 1000); err != nil || len(left) <= len(chain) {
				t.Errorf("%s, %s: the chain has %d entries of %d after all, %v", point, then, len(left), len(chain), err)
			}
		}
	}
	s := n.sharing(fs, "/none", nil, nil)
	rep, err := s.Check(t.Context())
	n.must(err)
	for _, f := range rep.Faults { // of another folder of blobs
		if !strings.Contains(f, "archived part") && !strings.Contains(f, "log") {
			t.Error(f)
		}
	}
}

// TestArchiveOtherBuild ends the archiving behind its files, which a build made that compresses otherwise: the next who
// archives makes files of its own, and takes those away.
func TestArchiveOtherBuild(t *testing.T) {
	n := newNodes(t)
	fs := vfs.NewMem()
	s := n.sharing(fs, "/blobs", nil, nil)
	dying := n.sharing(fs, "/blobs", func(_ context.Context, p fault.Point) error {
		if p == fault.ArchiveStored {
			return errKilled
		}
		return nil
	}, nil)
	r := n.closed(s, "x", "hello")
	events, chain := n.whole(s, r)
	if _, err := dying.Archive(t.Context(), r); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	p, err := home(r)
	n.must(err)
	keys, err := s.tenant(t.Context(), r.Tenant)
	n.must(err)
	rec, err := s.existing(t.Context(), r)
	n.must(err)
	c := n.server.Client()
	for field, at := range map[string]spot{"al": logSpot(r, rec.key), "aa": chainSpot(r, p, keys)} {
		state := s.keys.conversation(p, r, "s")
		raw, err := c.HGet(t.Context(), state, field).Bytes()
		n.must(err)
		h, err := decodeShelf(raw)
		n.must(err)
		n.must(s.blobs.files.Remove(t.Context(), "acme", at.folder, h.pending.name))
		body := []byte("what another build made of it")
		h.pending.name = nameOf(at.key, body)
		n.must(s.putBlob(t.Context(), at, *h.pending, body))
		raw, err = h.encode()
		n.must(err)
		n.must(c.HSet(t.Context(), state, field, raw).Err())
	}
	if got := files(t, fs, "/blobs"); got != 2 {
		t.Fatalf("%d files", got)
	}
	if _, err := s.Archive(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := files(t, fs, "/blobs"); got != 2 {
		t.Errorf("%d files, want those that are read", got)
	}
	if now, links := n.whole(s, r); len(now) != len(events) || len(links) != len(chain) {
		t.Errorf("%d events and %d entries of %d and %d", len(now), len(links), len(events), len(chain))
	}
	n.sound(s)
}

// TestArchiveTwice lets two nodes archive many conversations at once: each is archived once, by one of them.
func TestArchiveTwice(t *testing.T) {
	n := newNodes(t)
	fs := vfs.NewMem()
	one, two := n.sharing(fs, "/blobs", nil, nil), n.sharing(fs, "/blobs", nil, nil)
	var refs []store.Ref
	for i := range 30 {
		refs = append(refs, n.closed(one, fmt.Sprint("v", i), "hello"))
	}
	var mu sync.Mutex
	moved := map[store.Ref]int{}
	var wg sync.WaitGroup
	for _, s := range []*Store{one, two} {
		wg.Go(func() {
			for _, r := range refs {
				done, err := s.Archive(t.Context(), r)
				if err != nil && !errors.Is(err, store.ErrStale) {
					t.Errorf("archiving: %v", err)
				}
				mu.Lock()
				moved[r] += done.Events
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, r := range refs {
		events, _ := n.whole(two, r)
		if moved[r] != len(events) {
			t.Errorf("%d events were archived of %d", moved[r], len(events))
		}
	}
	if got := files(t, fs, "/blobs"); got != 2*len(refs) {
		t.Errorf("%d files of %d conversations", got, len(refs))
	}
	n.sound(one)
}

// TestArchiveDamaged damages and removes segments: who reads the conversation is told which file it is, and so is who
// wants to know; nobody else is concerned. A folder that cannot be read is no damage.
func TestArchiveDamaged(t *testing.T) {
	n := newNodes(t)
	fs := vfs.NewMem()
	var told []store.Ref
	s := n.sharing(fs, "/blobs", nil, func(r store.Ref, _ error) { told = append(told, r) })
	whole, changed, missing := n.closed(s, "whole", "hello"), n.closed(s, "changed", "hello"), n.closed(s, "missing", "hello")
	for _, r := range []store.Ref{whole, changed, missing} {
		_, err := s.Archive(t.Context(), r)
		n.must(err)
	}
	path := func(r store.Ref) string {
		names, err := fs.List("/blobs/acme/" + r.ID)
		n.must(err)
		if len(names) != 1 {
			t.Fatalf("files: %v", names)
		}
		return "/blobs/acme/" + r.ID + "/" + names[0]
	}
	n.must(fs.Remove(path(missing)))
	f, err := fs.Create(path(changed), vfs.WriteCategoryUnspecified)
	n.must(err)
	_, err = f.Write([]byte("nonsense that is longer than a salt"))
	n.must(err)
	n.must(f.Close())
	for _, r := range []store.Ref{changed, missing} {
		told = nil
		_, err := s.Log(t.Context(), r, 0, 10)
		if !errors.Is(err, store.ErrArchive) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), r.ID) {
			t.Errorf("reading it: %v", err)
		}
		if len(told) != 1 || told[0] != r {
			t.Errorf("told of %v", told)
		}
		if _, err := s.Visible(t.Context(), r, 0, 10); !errors.Is(err, store.ErrArchive) {
			t.Errorf("reading what is visible: %v", err)
		}
		n.load(s, r)
		// It goes on all the same, and what is said now is read.
		st := n.step(r, n.load(s, r), customer, conversation.Reopen{})
		n.commit(s, st)
		if events, err := s.Log(t.Context(), r, st.Events[0].Seq-1, 10); err != nil || len(events) != len(st.Events) {
			t.Errorf("what came after: %d events, %v", len(events), err)
		}
	}
	n.whole(s, whole)
	rep, err := s.Check(t.Context())
	n.must(err)
	if rep.Count != 2 || !strings.Contains(strings.Join(rep.Faults, "\n"), changed.ID) || !strings.Contains(strings.Join(rep.Faults, "\n"), missing.ID) {
		t.Errorf("the check says %q", rep.Faults)
	}
	for _, r := range []store.Ref{changed, missing} { // and it can be erased
		n.commit(s, n.step(r, n.load(s, r), conversation.Actor{Kind: conversation.System}, conversation.Wipe{}))
	}
	n.must(s.Scrub(t.Context()))
	n.sound(s)
}

// TestArchiveScrubbed erases an archived person: no file of the server or among the blobs opens to what was said. Before, the
// segment is there and opens under the key that is there: the look would see it.
func TestArchiveScrubbed(t *testing.T) {
	const canary = "the canary sings at dawn"
	n := newNodes(t)
	dir := t.TempDir()
	s := n.sharing(vfs.Default, dir, nil, nil)
	r := n.closed(s, "x", canary)
	_, err := s.Archive(t.Context(), r)
	n.must(err)
	p, err := home(r)
	n.must(err)
	rec, err := s.existing(t.Context(), r)
	n.must(err)
	wrapped, err := n.server.Client().HGet(t.Context(), s.keys.ofTenant(p, n.tenant, "k"), r.ID).Bytes()
	n.must(err)
	// opens reports whether any file among the blobs opens under the conversation's key to what was said.
	opens := func() bool {
		names, err := vfs.Default.List(dir + "/acme/" + r.ID)
		if err != nil {
			return false
		}
		for _, name := range names {
			rows, err := s.open(t.Context(), logSpot(r, rec.key), 1, piece{to: rec.state.Seq, name: name})
			if err != nil {
				continue
			}
			for _, row := range rows {
				if bytes.Contains(row.Body, []byte(canary)) {
					return true
				}
			}
		}
		return false
	}
	if !opens() {
		t.Error("the look does not see what was said before it is erased")
	}
	if !holds(t, n.server.Dir(), wrapped) {
		t.Error("the look does not see the key before it is scrubbed")
	}
	n.commit(s, n.step(r, n.load(s, r), conversation.Actor{Kind: conversation.System}, conversation.Wipe{}))
	n.must(s.Scrub(t.Context()))
	if opens() {
		t.Error("a segment of what was erased is there")
	}
	for _, where := range []string{n.server.Dir(), dir} {
		for what, b := range map[string][]byte{"the key": wrapped, "what was said": []byte(canary)} {
			if holds(t, where, b) {
				t.Errorf("a file holds %s of what was erased and scrubbed", what)
			}
		}
	}
	if chain, err := s.Entries(t.Context(), n.tenant, r.ID, 0, 100); err != nil || len(chain) == 0 {
		t.Errorf("its chain: %d entries, %v", len(chain), err)
	}
	n.sound(s)
}

func FuzzShelf(f *testing.F) {
	name := strings.Repeat("ab", nameSize)
	for _, h := range []shelf{{}, {pieces: []piece{{to: 3, upTo: 2, name: name}}}, {pending: &piece{to: 9, name: name}}, {pieces: []piece{{to: 3, name: name}, {to: 4, name: name}}, pending: &piece{to: 9, name: name}}} {
		b, err := h.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{255})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeShelf(b)
		if err != nil {
			if !errors.Is(err, errRow) {
				t.Error(err)
			}
			return
		}
		again, err := h.encode()
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := decodeShelf(again); err != nil || fmt.Sprint(twice.pieces) != fmt.Sprint(h.pieces) || (twice.pending == nil) != (h.pending == nil) {
			t.Errorf("%+v became %+v, %v", h, twice, err)
		}
	})
}
