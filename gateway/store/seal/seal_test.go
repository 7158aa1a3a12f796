package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"turnout/gateway/store/seal"
)

func root(t testing.TB, fill byte) *seal.Root {
	t.Helper()
	r, err := seal.NewRoot(bytes.Repeat([]byte{fill}, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func content(t testing.TB) (*seal.Root, *seal.Tenant, *seal.Content) {
	t.Helper()
	r := root(t, 1)
	ten, _, err := r.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := ten.NewContent("c_1")
	if err != nil {
		t.Fatal(err)
	}
	return r, ten, c
}

func TestWrongRootIsRecognised(t *testing.T) {
	r := root(t, 1)
	if err := root(t, 1).Verify(r.CheckValue()); err != nil {
		t.Errorf("the same key: %v", err)
	}
	if err := root(t, 2).Verify(r.CheckValue()); !errors.Is(err, seal.ErrRootKey) {
		t.Errorf("another key: %v, want ErrRootKey", err)
	}
	if _, err := seal.NewRoot(make([]byte, 31), rand.Reader); err == nil {
		t.Error("a key of 31 bytes was taken")
	}
}

func TestKeysUnwrapOnlyInTheirPlace(t *testing.T) {
	r := root(t, 1)
	ten, wrapped, err := r.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.OpenTenant("acme", wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if ten.Hash("x") != again.Hash("x") {
		t.Error("an unwrapped tenant hashes differently")
	}
	if _, err := r.OpenTenant("other", wrapped); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("under another name: %v", err)
	}
	if _, err := root(t, 2).OpenTenant("acme", wrapped); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("under another root: %v", err)
	}

	c, ck, err := ten.NewContent("c_1")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := c.Seal(nil, []byte("row"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	c2, err := again.OpenContent("c_1", ck)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c2.Open(nil, []byte("row"), sealed); err != nil || string(got) != "hello" {
		t.Errorf("after unwrapping: %q, %v", got, err)
	}
	if _, err := again.OpenContent("c_2", ck); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("as another conversation's: %v", err)
	}
}

func TestValuesOpenOnlyInTheirPlace(t *testing.T) {
	_, ten, c := content(t)
	other, _, err := ten.NewContent("c_2")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		aad := rapid.SliceOf(rapid.Byte()).Draw(t, "aad")
		sealed, err := c.Seal([]byte("p"), aad, plain)
		if err != nil {
			t.Fatal(err)
		}
		sealed = sealed[1:]
		if len(sealed) != len(plain)+seal.Overhead {
			t.Fatalf("%d bytes sealed to %d", len(plain), len(sealed))
		}
		got, err := c.Open(nil, aad, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened %x, %v; want %x", got, err, plain)
		}
		if _, err := c.Open(nil, append(aad, 0), sealed); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("in another row: %v", err)
		}
		if _, err := other.Open(nil, aad, sealed); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("under another key: %v", err)
		}
		bad := bytes.Clone(sealed)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := c.Open(nil, aad, bad); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("with a flipped bit: %v", err)
		}
	})
}

func TestNoncesDiffer(t *testing.T) {
	_, _, c := content(t)
	seen := map[string]bool{}
	for range 1000 {
		b, err := c.Seal(nil, nil, []byte("same"))
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(b)] {
			t.Fatal("two equal sealed values")
		}
		seen[string(b)] = true
	}
}

func TestHashKeepsPartsApart(t *testing.T) {
	r := root(t, 1)
	a, _, err := r.NewTenant("a")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := r.NewTenant("b")
	if err != nil {
		t.Fatal(err)
	}
	if a.Hash("ab", "") == a.Hash("a", "b") {
		t.Error("parts run together")
	}
	if a.Hash("x") == b.Hash("x") {
		t.Error("two tenants share a hash")
	}
	if first := a.Hash("x"); first != a.Hash("x") {
		t.Error("a hash is not stable")
	}
}

func TestStreamsHaveKeysOfTheirOwn(t *testing.T) {
	_, _, c := content(t)
	one, salt, err := c.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := c.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, one.NonceSize())
	sealed := one.Seal(nil, nonce, []byte("x"), nil)
	if bytes.Equal(sealed, two.Seal(nil, nonce, []byte("x"), nil)) {
		t.Error("two streams share a key")
	}
	again, err := c.Stream(salt)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(nil, nonce, sealed, nil); err != nil || string(got) != "x" {
		t.Errorf("by its salt: %q, %v", got, err)
	}
}

func FuzzOpen(f *testing.F) {
	_, ten, c := content(f)
	good, err := c.Seal(nil, []byte("row"), []byte("hello"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("row"), good)
	f.Add([]byte("other"), good)
	f.Add([]byte("row"), good[:len(good)-1])
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, aad, sealed []byte) {
		got, err := c.Open(nil, aad, sealed)
		if err == nil && (string(aad) != "row" || !bytes.Equal(sealed, good) || string(got) != "hello") {
			t.Errorf("forged: %q opened under %q", got, aad)
		}
		if _, err := ten.OpenContent("c_1", sealed); err == nil {
			t.Error("a value unwrapped as a key")
		}
		if _, err := ten.Open(nil, aad, sealed); err == nil {
			t.Error("a conversation's value opened as the tenant's")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	_, _, c := content(b)
	plain, aad := make([]byte, 1024), []byte("a row of a conversation, about this long")
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = c.Seal(buf[:0], aad, plain); err != nil {
			b.Fatal(err)
		}
	}
}
