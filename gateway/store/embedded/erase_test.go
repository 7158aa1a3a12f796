package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

const erasedCanary = "canary-2c9e81"

// graveyard is a store in which something is erased, and all that a thief of its disk and of its keys needs to read it.
type graveyard struct {
	*testing.T
	s    *Store
	fs   vfs.FS
	ref  store.Ref
	keys *tenant
	// A row that holds the canary, as it was sealed: its additional data and its sealed part.
	aad, sealed []byte
}

func newGraveyard(t *testing.T, change func(*Options)) *graveyard {
	t.Helper()
	g := &graveyard{T: t, fs: vfs.NewMem()}
	o := Options{
		Dir: "/data/store", FS: g.fs, Root: make([]byte, seal.KeySize), Now: time.Now,
		IDs: id.NewSource(rand.Reader, time.Now), Reserve: -1, Ballast: -1,
	}
	if change != nil {
		change(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	g.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	for n := range 12 { // a log that is written over begins at its beginning: the key has to lie further on
		g.talk(10+n, "before")
	}
	g.ref = g.talk(1, erasedCanary)
	if g.keys, err = s.tenant(g.ref.Tenant); err != nil {
		t.Fatal(err)
	}
	prefix := kindKey(conversationKey(g.ref), kindLog)
	if err := s.each(prefix, after(prefix), func(k, v []byte) (bool, error) {
		for n := range len(v) { // how long the clear part is, the key says
			if plain, err := s.cache.get(g.ref).key.Open(nil, aad(k, v[:n]), v[n:]); err == nil && bytes.Contains(plain, []byte(erasedCanary)) {
				g.aad, g.sealed = aad(k, v[:n]), bytes.Clone(v[n:])
				return false, nil
			}
		}
		return true, nil
	}); err != nil || g.sealed == nil {
		t.Fatalf("no row holds the canary: %v", err)
	}
	return g
}

// talk opens a conversation in which something is said, with a file.
func (g *graveyard) talk(n int, text string) store.Ref {
	g.Helper()
	ten, err := store.NewTenant("acme")
	if err != nil {
		g.Fatal(err)
	}
	a := message.Address{Channel: "acme.web", Address: fmt.Sprintf("visitor-%d", n)}
	ids := g.s.o.IDs
	st := store.Step{Op: store.Token(ids.Token()), Bind: &store.Bind{Address: a}}
	st.Ref = store.Ref{Tenant: ten, ID: ids.New(id.Conversation, id.PartitionOf(ten.Name(), a.Channel, a.Address))}
	d := conversation.Begin(new(conversation.State), conversation.Env{Now: 1, Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.Customer}})
	for _, c := range []conversation.Command{
		conversation.Open{ID: st.Ref.ID, From: a},
		conversation.Receive{ID: ids.New(id.Message, 0), In: message.Inbound{ID: "1", From: a, Kind: message.Text, Text: text}},
	} {
		if err := d.Do(c); err != nil {
			g.Fatal(err)
		}
	}
	blob, _, err := g.s.Blobs().Put(g.Context(), st.Ref, strings.NewReader(text), 1<<20)
	if err != nil {
		g.Fatal(err)
	}
	st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: ids.New(id.Attachment, 0)}, Blob: blob}}
	st.Events, st.State = d.Events, d.Result()
	if _, err := g.s.Commit(g.Context(), st); err != nil {
		g.Fatal(err)
	}
	return st.Ref
}

func (g *graveyard) erase() {
	g.Helper()
	if err := wipe(g.Context(), g.s, g.ref); err != nil {
		g.Fatal(err)
	}
}

func wipe(ctx context.Context, s *Store, r store.Ref) error {
	snap, err := s.Load(ctx, r)
	if err != nil {
		return err
	}
	st := store.Step{Ref: r, Base: snap.Version, Op: store.Token(s.o.IDs.Token())}
	d := conversation.Begin(snap.State, conversation.Env{Now: 2, Op: string(st.Op)})
	if err := d.Do(conversation.Wipe{}); err != nil {
		return err
	}
	st.Events, st.State = d.Events, d.Result()
	_, err = s.Commit(ctx, st)
	return err
}

// dig looks at every place of every file for a blob that unwraps under the tenant's key and opens the canary, and returns
// the files that hold one.
func (g *graveyard) dig() (found []string) {
	g.Helper()
	const wrapped = seal.KeySize + seal.Overhead
	g.walk("/data", func(name string, b []byte) {
		for i := 0; i+wrapped <= len(b); i++ {
			key, err := g.keys.OpenContent(g.ref.ID, b[i:i+wrapped])
			if err != nil {
				continue
			}
			if plain, err := key.Open(nil, g.aad, g.sealed); err == nil && bytes.Contains(plain, []byte(erasedCanary)) {
				found = append(found, name)
				return
			}
		}
	})
	return found
}

func (g *graveyard) walk(dir string, f func(name string, b []byte)) {
	g.Helper()
	names, err := g.fs.List(dir)
	if err != nil {
		g.Fatal(err)
	}
	for _, n := range names {
		name := g.fs.PathJoin(dir, n)
		info, err := g.fs.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			g.Fatal(err)
		}
		if info.IsDir() {
			g.walk(name, f)
			continue
		}
		b, err := readFile(g.fs, name)
		if err != nil {
			g.Fatal(err)
		}
		f(name, b)
	}
}

// depths are where a key may lie when it is erased: in the log and in memory, in a young table, at the bottom, and in a log
// that was written over in part.
var depths = map[string]func(*graveyard) error{
	"in the log": func(*graveyard) error { return nil },
	"in a table": func(g *graveyard) error { return g.s.db.Flush() },
	"at the bottom": func(g *graveyard) error {
		return errors.Join(g.s.db.Flush(), g.s.db.Compact(g.Context(), []byte{0}, []byte{0xff}, false))
	},
	"in a log of before": func(g *graveyard) error {
		for n := range 3 {
			g.talk(100+n, "x")
			if err := g.s.db.Flush(); err != nil {
				return err
			}
		}
		return nil
	},
}

// TestErasedForGood: after Scrub no file holds a key that opens what was erased, wherever it lay, and its files are gone;
// before Scrub, and with a part of it left out, the same search finds it.
func TestErasedForGood(t *testing.T) {
	for name, bury := range depths {
		for control, change := range map[string]func(*Options){
			"": nil, "no compaction": func(o *Options) { o.UnsafeNoCompact = true }, "no new logs": func(o *Options) { o.UnsafeNoRecycle = true },
		} {
			t.Run(strings.TrimSuffix(name+", "+control, ", "), func(t *testing.T) {
				g := newGraveyard(t, change)
				other := g.talk(2, "another")
				if err := bury(g); err != nil {
					t.Fatal(err)
				}
				if len(g.dig()) == 0 {
					t.Fatal("the search does not find what is there")
				}
				g.erase()
				if len(g.dig()) == 0 {
					t.Error("erased already: the search proves nothing")
				}
				if err := g.s.Scrub(t.Context()); err != nil {
					t.Fatal(err)
				}
				found := g.dig()
				switch {
				case control == "" && len(found) > 0:
					t.Errorf("it is still in %v", found)
				case control == "no new logs" && len(found) == 0 && name == "in a log of before",
					control == "no compaction" && len(found) == 0 && name == "at the bottom":
					t.Error("the control finds nothing")
				}
				g.walk("/data/store/blobs", func(name string, _ []byte) {
					if strings.Contains(name, g.ref.ID) {
						t.Errorf("its file is still there: %s", name)
					}
				})
				list, err := readFile(g.fs, ErasedList("/data/store"))
				if err != nil || !bytes.Contains(list, []byte(g.ref.ID)) || bytes.Count(list, []byte("\n")) != 1 {
					t.Errorf("the list of erasures: %q, %v", list, err)
				}
				if _, err := g.s.Load(t.Context(), other); err != nil {
					t.Error(err)
				}
				rep, err := g.s.Check(t.Context())
				if err != nil || len(rep.Faults) > 0 {
					t.Errorf("check: %v, %v", rep.Faults, err)
				}
			})
		}
	}
}

// TestErasedUnderLoad erases and scrubs while others write.
func TestErasedUnderLoad(t *testing.T) {
	g := newGraveyard(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for n := range 4 {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				g.talk(1000*(n+1)+i%500, strings.Repeat("x", 2000))
			}
		})
	}
	g.erase()
	err := g.s.Scrub(t.Context())
	stop()
	load.Wait()
	if err != nil {
		t.Fatal(err)
	}
	// A file that the load has grown is searched from the mark of the conversation's id: no key stands far from it.
	if found := g.dig(); len(found) > 0 {
		t.Errorf("it is still in %v", found)
	}
}

// TestScrubResumes: wherever a scrub is cut off, the next process ends it.
func TestScrubResumes(t *testing.T) {
	mem := vfs.NewCrashableMem()
	g := newGraveyard(t, func(o *Options) { o.FS = mem })
	g.fs = mem
	g.erase()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.s.Scrub(ctx); err == nil {
		t.Error("it ended without time")
	}
	cut := mem.CrashClone(vfs.CrashCloneCfg{})
	o := g.s.o
	o.FS = cut
	again, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	stone, err := again.Tombstone(t.Context(), g.ref)
	if err != nil || !stone.Pending {
		t.Errorf("after a power cut: %+v, %v", stone, err)
	}
	if err := again.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stone, err := again.Tombstone(t.Context(), g.ref); err != nil || stone.Pending {
		t.Errorf("after the scrub: %+v, %v", stone, err)
	}
	g.fs = cut
	if found := g.dig(); len(found) > 0 {
		t.Errorf("it is still in %v", found)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestRecordForGood: a record that was taken away is in no file after a scrub.
func TestRecordForGood(t *testing.T) {
	g := newGraveyard(t, nil)
	rec := store.Record{Kind: "hold", ID: "h", Body: []byte("+4915112345678")}
	version, err := g.s.PutRecord(t.Context(), g.ref.Tenant, rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	row, err := g.s.get(append(recordPrefix(g.ref.Tenant, "hold"), 'h'))
	if err != nil {
		t.Fatal(err)
	}
	holds := func() (n int) {
		g.walk("/data", func(_ string, b []byte) {
			if bytes.Contains(b, row) {
				n++
			}
		})
		return n
	}
	if holds() == 0 {
		t.Fatal("the search does not find what is there")
	}
	rec.Version = version
	if err := g.s.DeleteRecord(t.Context(), g.ref.Tenant, rec, nil); err != nil {
		t.Fatal(err)
	}
	if err := g.s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := holds(); n > 0 {
		t.Errorf("it is still in %d files", n)
	}
}

// TestCheckFindsFiles: a file that is missing, cut or another's is found, and a key that outlived its conversation.
func TestCheckFindsFiles(t *testing.T) {
	for name, spoil := range map[string]func(g *graveyard, file string) error{
		"missing": func(g *graveyard, file string) error { return g.fs.Remove(file) },
		"cut":     func(g *graveyard, file string) error { return replaceFile(g.fs, file, []byte("short")) },
		"another's": func(g *graveyard, file string) error {
			other := g.talk(7, "other")
			list, err := g.s.Attachments(g.Context(), other, "", 1)
			if err != nil {
				return err
			}
			return vfs.Copy(g.fs, "/data/store/blobs/acme/"+other.ID+"/"+list[0].Blob, file)
		},
		"a key that is left": func(g *graveyard, _ string) error {
			key, err := g.s.get(dataKeyKey(g.ref))
			g.erase()
			return errors.Join(err, g.s.db.Set(dataKeyKey(g.ref), key, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraveyard(t, nil)
			if rep, err := g.s.Check(t.Context()); err != nil || len(rep.Faults) > 0 || rep.Blobs != 13 {
				t.Fatalf("before: %+v, %v", rep, err)
			}
			list, err := g.s.Attachments(t.Context(), g.ref, "", 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(g, "/data/store/blobs/acme/"+g.ref.ID+"/"+list[0].Blob); err != nil {
				t.Fatal(err)
			}
			rep, err := g.s.Check(t.Context())
			if err != nil || len(rep.Faults) != 1 || rep.Count != 1 || !strings.Contains(rep.Faults[0], g.ref.ID) {
				t.Errorf("%+v, %v", rep, err)
			}
		})
	}
}
