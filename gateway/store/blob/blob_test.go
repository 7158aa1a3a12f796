package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/seal"
)

func content(t testing.TB) *seal.Content {
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

func random(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, d *blob.Dir, key *seal.Content, b []byte) string {
	t.Helper()
	name, size, err := d.Put(t.Context(), key, "acme", "c_1", iotest.HalfReader(bytes.NewReader(b)), int64(len(b)))
	if err != nil || size != int64(len(b)) {
		t.Fatalf("putting %d bytes: size %d, %v", len(b), size, err)
	}
	return name
}

func get(t testing.TB, d *blob.Dir, key *seal.Content, name string) ([]byte, error) {
	t.Helper()
	r, err := d.Open(t.Context(), key, "acme", "c_1", name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

const chunk = 64 << 10

func TestRoundTrip(t *testing.T) {
	d, key := blob.New(vfs.NewMem(), "/blobs"), content(t)
	for _, n := range []int{0, 1, 100, chunk - 1, chunk, chunk + 1, 2 * chunk, 3*chunk + 7} {
		b := random(t, n)
		name := put(t, d, key, b)
		got, err := get(t, d, key, name)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes: %d back, %v", n, len(got), err)
		}
		if again := put(t, d, key, b); again != name {
			t.Errorf("%d bytes: the same bytes have two names", n)
		}
	}
	if a, b := put(t, d, key, []byte("x")), put(t, d, content(t), []byte("x")); a == b {
		t.Error("two keys give one name")
	}
}

func TestLimits(t *testing.T) {
	mem := vfs.NewMem()
	d, key := blob.New(mem, "/blobs"), content(t)
	for _, n := range []int{10, chunk, 2 * chunk} {
		_, _, err := d.Put(t.Context(), key, "acme", "c_1", bytes.NewReader(random(t, n+1)), int64(n))
		if !errors.Is(err, blob.ErrTooLarge) {
			t.Errorf("%d bytes over a limit of %d: %v", n+1, n, err)
		}
	}
	broken := errors.New("the line broke")
	_, _, err := d.Put(t.Context(), key, "acme", "c_1", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), 100)
	if !errors.Is(err, broken) {
		t.Errorf("a body that breaks off: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := d.Put(ctx, key, "acme", "c_1", strings.NewReader("x"), 100); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
	if left, err := mem.List("/blobs/acme/c_1"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUnknownNames(t *testing.T) {
	d, key := blob.New(vfs.NewMem(), "/blobs"), content(t)
	name := put(t, d, key, []byte("x"))
	for _, n := range []string{"", "..", "../../etc/passwd", strings.Repeat("0", 64), strings.ToUpper(name) + "0", name[:10]} {
		if _, err := get(t, d, key, n); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", n, err)
		}
	}
	if _, err := d.Open(t.Context(), key, "acme", "c_2", name); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("in another conversation: %v", err)
	}
}

// TestTampering changes a file in every way that chunks invite; nothing unverified may come out as a whole.
func TestTampering(t *testing.T) {
	mem := vfs.NewMem()
	d, key := blob.New(mem, "/blobs"), content(t)
	body := random(t, 3*chunk+5)
	name := put(t, d, key, body)
	path := "/blobs/acme/c_1/" + name
	good := readFile(t, mem, path)
	const salt, sealed = seal.SaltSize, chunk + 16
	cut := func(n int) []byte { return bytes.Clone(good[:n]) }
	swapped := bytes.Clone(good)
	copy(swapped[salt:], good[salt+sealed:salt+2*sealed])
	copy(swapped[salt+sealed:], good[salt:salt+sealed])
	for what, b := range map[string][]byte{
		"empty":             nil,
		"cut in the salt":   cut(5),
		"only a salt":       cut(salt),
		"cut at a chunk":    cut(salt + sealed),
		"cut within one":    cut(salt + sealed + 9),
		"without its end":   cut(len(good) - 1),
		"something behind":  append(bytes.Clone(good), 0),
		"twice":             append(bytes.Clone(good), good[salt:]...),
		"chunks swapped":    swapped,
		"another blob's":    readFile(t, mem, "/blobs/acme/c_1/"+put(t, d, key, []byte("other"))),
		"a chunk left out":  append(cut(salt), good[salt+sealed:]...),
		"a chunk put twice": append(cut(salt+sealed), good[salt:]...),
	} {
		writeFile(t, mem, path, b)
		if got, err := get(t, d, key, name); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	writeFile(t, mem, path, good)
	if _, err := get(t, d, content(t), name); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("under another key: %v", err)
	}
	if got, err := get(t, d, key, name); err != nil || !bytes.Equal(got, body) {
		t.Errorf("mended: %v", err)
	}
}

// TestDurable cuts the power right after Put.
func TestDurable(t *testing.T) {
	mem, key := vfs.NewCrashableMem(), content(t)
	name := put(t, blob.New(mem, "/blobs"), key, []byte("hello"))
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if got, err := get(t, blob.New(after, "/blobs"), key, name); err != nil || string(got) != "hello" {
		t.Errorf("after the cut: %q, %v", got, err)
	}
}

// FuzzOpen feeds the reader files that nobody wrote.
func FuzzOpen(f *testing.F) {
	mem := vfs.NewMem()
	d, key := blob.New(mem, "/blobs"), content(f)
	name := put(f, d, key, []byte("hello"))
	path := "/blobs/acme/c_1/" + name
	good := readFile(f, mem, path)
	f.Add([]byte{})
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, file []byte) {
		writeFile(t, mem, path, file)
		got, err := get(t, d, key, name)
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
