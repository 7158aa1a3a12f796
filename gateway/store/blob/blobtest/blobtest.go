// Package blobtest is the suite that every implementation of blob.Files passes: what is put comes back, what is tampered
// with is refused, what is removed is gone, and what fails leaves nothing.
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/seal"
)

// World is an empty place of files, and a look behind it.
type World struct {
	Files blob.Files
	// Names lists what lies under a conversation: what is older, unfinished or temporary too.
	Names func(tenant, conversation string) []string
	// Read and Write are a file's bytes as the place has them.
	Read  func(tenant, conversation, name string) []byte
	Write func(tenant, conversation, name string, b []byte)
}

// Chunk is the size of a chunk's plaintext, in bytes: around its multiples is where files break.
const Chunk = 64 << 10

// Run runs the suite on what open gives.
func Run(t *testing.T, open func(t *testing.T) World) {
	for name, test := range map[string]func(*testing.T, World){
		"round trip": roundTrip, "limits": limits, "unknown names": unknownNames, "tampering": tampering,
		"removal": removal, "moved": moved, "neighbours": neighbours, "at once": atOnce, "reach": reach,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Key makes the data key of a conversation.
func Key(t testing.TB) *seal.Content {
	t.Helper()
	r, err := seal.NewRoot(make([]byte, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ten, _, err := r.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := ten.NewContent("c_1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Random returns n bytes that nothing compresses or guesses.
func Random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// Put puts b for conversation c_1 of acme.
func Put(t testing.TB, s *blob.Store, key *seal.Content, b []byte) string {
	t.Helper()
	return putIn(t, s, key, "acme", "c_1", b)
}

func putIn(t testing.TB, s *blob.Store, key *seal.Content, tenant, conversation string, b []byte) string {
	t.Helper()
	name, size, err := s.Put(t.Context(), key, tenant, conversation, iotest.HalfReader(bytes.NewReader(b)), int64(len(b)))
	if err != nil || size != int64(len(b)) {
		t.Fatalf("putting %d bytes: size %d, %v", len(b), size, err)
	}
	return name
}

// Get returns a blob of conversation c_1 of acme, as far as it could be read.
func Get(t testing.TB, s *blob.Store, key *seal.Content, name string) ([]byte, error) {
	t.Helper()
	return getIn(t, s, key, "acme", "c_1", name)
}

func getIn(t testing.TB, s *blob.Store, key *seal.Content, tenant, conversation, name string) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), key, tenant, conversation, name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func roundTrip(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	for _, n := range []int{0, 1, 100, Chunk - 1, Chunk, Chunk + 1, 2 * Chunk, 3*Chunk + 7} {
		b := Random(t, n)
		name := Put(t, s, key, b)
		got, err := Get(t, s, key, name)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes: %d back, %v", n, len(got), err)
		}
		if again := Put(t, s, key, b); again != name {
			t.Errorf("%d bytes: the same bytes have two names", n)
		}
		if raw := w.Read("acme", "c_1", name); n >= 100 && bytes.Contains(raw, b[:100]) {
			t.Errorf("%d bytes: the plaintext lies open", n)
		}
	}
	if names := w.Names("acme", "c_1"); len(names) != 8 {
		t.Errorf("8 blobs, each put twice, are %d files: %v", len(names), names)
	}
	if a, b := Put(t, s, key, []byte("x")), Put(t, s, Key(t), []byte("x")); a == b {
		t.Error("two keys give one name")
	}
}

func limits(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	for _, n := range []int{10, Chunk, 2 * Chunk} {
		_, _, err := s.Put(t.Context(), key, "acme", "c_1", bytes.NewReader(Random(t, n+1)), int64(n))
		if !errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("%d bytes over a limit of %d: %v", n+1, n, err)
		}
	}
	broken := errors.New("the line broke")
	_, _, err := s.Put(t.Context(), key, "acme", "c_1", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), 100)
	if !errors.Is(err, broken) {
		t.Errorf("a body that breaks off: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, key, "acme", "c_1", strings.NewReader("x"), 100); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	if left := w.Names("acme", "c_1"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func unknownNames(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	name := Put(t, s, key, []byte("x"))
	for _, n := range []string{"", "..", "../../etc/passwd", strings.Repeat("0", 64), strings.ToUpper(name) + "0", name[:10]} {
		if _, err := Get(t, s, key, n); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", n, err)
		}
	}
	for _, where := range [][2]string{{"acme", "c_2"}, {"acme", "c_"}, {"acme", "c_11"}, {"globex", "c_1"}} {
		if _, err := getIn(t, s, key, where[0], where[1], name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("in %s of %s: %v", where[1], where[0], err)
		}
	}
}

// tampering changes a file in every way that chunks invite; nothing unverified may come out as a whole.
func tampering(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	body := Random(t, 3*Chunk+5)
	name := Put(t, s, key, body)
	good := w.Read("acme", "c_1", name)
	const salt, sealed = seal.SaltSize, Chunk + 16
	cut := func(n int) []byte { return bytes.Clone(good[:n]) }
	swapped := bytes.Clone(good)
	copy(swapped[salt:], good[salt+sealed:salt+2*sealed])
	copy(swapped[salt+sealed:], good[salt:salt+sealed])
	flipped := bytes.Clone(good)
	flipped[salt+sealed+1] ^= 1
	for what, b := range map[string][]byte{
		"empty":             nil,
		"cut in the salt":   cut(5),
		"only a salt":       cut(salt),
		"cut at a chunk":    cut(salt + sealed),
		"cut within one":    cut(salt + sealed + 9),
		"without its end":   cut(len(good) - 1),
		"something behind":  append(bytes.Clone(good), 0),
		"twice":             append(bytes.Clone(good), good[salt:]...),
		"one bit":           flipped,
		"chunks swapped":    swapped,
		"another blob's":    w.Read("acme", "c_1", Put(t, s, key, []byte("other"))),
		"a chunk left out":  append(cut(salt), good[salt+sealed:]...),
		"a chunk put twice": append(cut(salt+sealed), good[salt:]...),
	} {
		w.Write("acme", "c_1", name, b)
		if got, err := Get(t, s, key, name); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	w.Write("acme", "c_1", name, good)
	if _, err := Get(t, s, Key(t), name); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("under another key: %v", err)
	}
	if got, err := Get(t, s, key, name); err != nil || !bytes.Equal(got, body) {
		t.Errorf("mended: %v", err)
	}
}

func removal(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	a, b := Put(t, s, key, []byte("a")), Put(t, s, key, []byte("b"))
	for range 2 { // it may be repeated
		if err := s.Remove(t.Context(), "acme", "c_1", a); err != nil {
			t.Fatal(err)
		}
		if names := w.Names("acme", "c_1"); !slices.Equal(names, []string{b}) {
			t.Fatalf("without %s there is %v", a, names)
		}
	}
	if _, err := Get(t, s, key, a); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what was removed: %v", err)
	}
	if again := Put(t, s, key, []byte("a")); again != a {
		t.Errorf("put again it is named %s", again)
	}
	for range 2 {
		if err := s.RemoveAll(t.Context(), "acme", "c_1"); err != nil {
			t.Fatal(err)
		}
		if names := w.Names("acme", "c_1"); len(names) != 0 {
			t.Fatalf("left behind: %v", names)
		}
	}
	if err := s.RemoveAll(t.Context(), "nobody", "c_1"); err != nil {
		t.Errorf("of a tenant without files: %v", err)
	}
	if err := s.Remove(t.Context(), "nobody", "c_1", a); err != nil {
		t.Errorf("one of a tenant without files: %v", err)
	}
}

// moved lists the blobs of a conversation and takes each to another one's place as it lies, from where it opens as before.
func moved(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	if names, err := s.Names(t.Context(), "acme", "c_1"); err != nil || len(names) != 0 {
		t.Errorf("before the first: %v, %v", names, err)
	}
	bodies := map[string][]byte{}
	for _, n := range []int{0, 1, Chunk, Chunk + 1, 3 * Chunk} {
		b := Random(t, n)
		bodies[Put(t, s, key, b)] = b
	}
	putIn(t, s, key, "acme", "c_11", []byte("another's"))
	names, err := s.Names(t.Context(), "acme", "c_1")
	if err != nil || len(names) != len(bodies) || !slices.IsSorted(names) {
		t.Fatalf("listed %v, %v", names, err)
	}
	for _, name := range names {
		body, err := s.OpenSealed(t.Context(), "acme", "c_1", name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.PutSealed(t.Context(), "acme", "c_2", name, body), body.Close()); err != nil {
			t.Fatal(err)
		}
		f, err := s.Open(t.Context(), key, "acme", "c_2", name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil || !bytes.Equal(got, bodies[name]) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(bodies[name]), err)
		}
	}
	if _, err := s.OpenSealed(t.Context(), "acme", "c_3", names[0]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	for _, name := range []string{"", "temp-1", "../" + names[0], names[0] + "00"} {
		if err := s.PutSealed(t.Context(), "acme", "c_2", name, strings.NewReader("x")); err == nil {
			t.Errorf("kept under the name %q", name)
		}
	}
}

// neighbours are conversations and tenants whose names begin alike: removing one touches no other.
func neighbours(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	where := [][2]string{{"acme", "c_1"}, {"acme", "c_11"}, {"acme", "c_"}, {"acm", "c_1"}, {"acme-2", "c_1"}}
	names := make([]string, len(where))
	for i, at := range where {
		names[i] = putIn(t, s, key, at[0], at[1], []byte("x"))
	}
	if err := s.RemoveAll(t.Context(), "acme", "c_1"); err != nil {
		t.Fatal(err)
	}
	for i, at := range where {
		b, err := getIn(t, s, key, at[0], at[1], names[i])
		if i == 0 {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("what was removed: %q, %v", b, err)
			}
		} else if err != nil || string(b) != "x" {
			t.Errorf("%s of %s: %q, %v", at[1], at[0], b, err)
		}
	}
}

// atOnce puts the same and other bytes from several sides.
func atOnce(t *testing.T, w World) {
	s, key := blob.New(w.Files), Key(t)
	const writers = 8
	var all sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		all.Go(func() {
			for _, body := range []string{"the same", fmt.Sprint("of writer ", i)} {
				name, _, err := s.Put(t.Context(), key, "acme", "c_1", strings.NewReader(body), 100)
				if err != nil {
					errs[i] = err
					return
				}
				r, err := s.Open(t.Context(), key, "acme", "c_1", name)
				if err != nil {
					errs[i] = err
					return
				}
				got, err := io.ReadAll(r)
				if err = errors.Join(err, r.Close()); err == nil && string(got) != body {
					err = fmt.Errorf("%q came back as %q", body, got)
				}
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if names := w.Names("acme", "c_1"); len(names) != writers+1 {
		t.Errorf("%d files, want %d", len(names), writers+1)
	}
}

func reach(t *testing.T, w World) {
	if err := w.Files.Reach(t.Context()); err != nil {
		t.Error(err)
	}
}
