package audit_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"turnout/gateway/audit"
)

func signer(t testing.TB, name string) *audit.Signer {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	s, err := audit.NewSigner(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keys(t testing.TB, signers ...*audit.Signer) note.Verifiers {
	t.Helper()
	var list []note.Verifier
	for _, s := range signers {
		v, err := note.NewVerifier(s.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return note.VerifierList(list...)
}

func heads(n int) []audit.ChainHead {
	list := make([]audit.ChainHead, n)
	for i := range list {
		list[i] = audit.ChainHead{Chain: fmt.Sprintf("c_%04d", i), Head: audit.Head{N: uint64(i + 1), Hash: sha256.Sum256([]byte{byte(i)})}}
	}
	return list
}

// TestRoot compares the root with that of another implementation of RFC 6962, for every number of leaves up to 70.
func TestRoot(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = stored[at]
		}
		return out, nil
	})
	all := heads(70)
	for i, h := range all {
		leaf := fmt.Sprintf("%s %d %x\n", h.Chain, h.N, h.Hash)
		more, err := tlog.StoredHashes(int64(i), []byte(leaf), reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		want, err := tlog.TreeHash(int64(i+1), reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := audit.Root(all[:i+1])
		if err != nil || got != want {
			t.Fatalf("root over %d leaves is %x (%v), want %x", i+1, got, err, want)
		}
	}
	if _, err := audit.Root(nil); err == nil {
		t.Error("a root over nothing")
	}
	for _, bad := range [][]audit.ChainHead{{all[1], all[0]}, {all[0], all[0]}} {
		if _, err := audit.Root(bad); err == nil {
			t.Errorf("a root over %v", bad)
		}
	}
}

func TestSeal(t *testing.T) {
	s := signer(t, "ours")
	at := time.Date(2026, 3, 1, 9, 0, 0, 5e6, time.UTC).UnixMilli()
	list := heads(3)
	list[0], list[2] = list[2], list[0]
	first, err := s.Seal("acme", nil, at, list)
	if err != nil {
		t.Fatal(err)
	}
	one, err := audit.OpenCheckpoint(first.Note, keys(t, s))
	if err != nil {
		t.Fatal(err)
	}
	if one.Tenant != "acme" || one.Number != 1 || one.Previous != [32]byte{} || one.At != at || one.Heads != 3 || first.Heads[0].Chain != "c_0000" {
		t.Errorf("checkpoint %+v over %v", one, first.Heads)
	}
	if root, err := audit.Root(first.Heads); err != nil || root != one.Root {
		t.Errorf("root %x, want %x (%v)", one.Root, root, err)
	}
	second, err := s.Seal("acme", first.Note, at+1, heads(1))
	if err != nil {
		t.Fatal(err)
	}
	two, err := audit.OpenCheckpoint(second.Note, keys(t, s))
	if err != nil || two.Number != 2 || two.Previous != one.Hash() {
		t.Errorf("checkpoint %+v after %x (%v)", two, one.Hash(), err)
	}
	if got, err := audit.ReadCheckpoint(second.Note); err != nil || got != two {
		t.Errorf("read %+v without a key (%v), want %+v", got, err, two)
	}
	if !strings.HasPrefix(string(first.Note), "turnout audit checkpoint v1\ntenant acme\nnumber 1\nprevious 0000") ||
		!strings.Contains(string(first.Note), "\ntime 2026-03-01T09:00:00.005Z\nheads 3\nroot ") {
		t.Errorf("the note is\n%s", first.Note)
	}
	for name, err := range map[string]error{
		"no heads":        func() error { _, err := s.Seal("acme", nil, at, nil); return err }(),
		"a chain twice":   func() error { _, err := s.Seal("acme", nil, at, append(heads(1), heads(1)...)); return err }(),
		"damaged newest":  func() error { _, err := s.Seal("acme", []byte("x"), at, heads(1)); return err }(),
		"a key too short": func() error { _, err := audit.NewSigner(make([]byte, 31)); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCheckpointBytes changes every bit of a note and cuts it everywhere: none opens any more.
func TestCheckpointBytes(t *testing.T) {
	s := signer(t, "ours")
	sealed, err := s.Seal("acme", nil, 1_700_000_000_000, heads(2))
	if err != nil {
		t.Fatal(err)
	}
	verifiers := keys(t, s)
	for at := range sealed.Note {
		for bit := range 8 {
			b := bytes.Clone(sealed.Note)
			b[at] ^= 1 << bit
			if _, err := audit.OpenCheckpoint(b, verifiers); err == nil {
				t.Fatalf("byte %d as %q opens", at, b[at])
			}
		}
		if _, err := audit.OpenCheckpoint(sealed.Note[:at], verifiers); err == nil {
			t.Fatalf("the first %d bytes open", at)
		}
	}
}

func TestOpenCheckpoint(t *testing.T) {
	ours, theirs := signer(t, "ours"), signer(t, "theirs")
	sealed, err := ours.Seal("acme", nil, 1_700_000_000_000, heads(2))
	if err != nil {
		t.Fatal(err)
	}
	other, err := note.Sign(&note.Note{Text: "something else\n"}, ours)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := note.Open(sealed.Note, keys(t, ours))
	if err != nil {
		t.Fatal(err)
	}
	both, err := note.Sign(&note.Note{Text: parsed.Text}, ours, theirs)
	if err == nil {
		_, err = audit.OpenCheckpoint(both, keys(t, ours))
	}
	if !errors.Is(err, audit.ErrSignature) {
		t.Errorf("a second signature: %v", err)
	}
	for name, test := range map[string]struct {
		b    []byte
		keys note.Verifiers
		want error
	}{
		"another key":    {sealed.Note, keys(t, theirs), audit.ErrUnknownKey},
		"changed text":   {bytes.Replace(sealed.Note, []byte("number 1"), []byte("number 2"), 1), keys(t, ours), audit.ErrSignature},
		"another text":   {other, keys(t, ours), audit.ErrCheckpoint},
		"no note":        {[]byte("hello"), keys(t, ours), audit.ErrCheckpoint},
		"nothing":        {nil, keys(t, ours), audit.ErrCheckpoint},
		"a line more":    {append(bytes.Clone(sealed.Note), "— turnout-audit AAAAAAAA\n"...), keys(t, ours), audit.ErrSignature},
		"repeated lines": {append(bytes.Clone(sealed.Note), sealed.Note[bytes.Index(sealed.Note, []byte("— ")):]...), keys(t, ours), audit.ErrSignature},
	} {
		if _, err := audit.OpenCheckpoint(test.b, test.keys); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if name == "another key" || name == "changed text" {
			continue // a reader without a key cannot know
		}
		if _, err := audit.ReadCheckpoint(test.b); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	c := audit.Checkpoint{Tenant: "acme", Number: 7, At: 1_700_000_000_123, Heads: 3}
	f.Add(c.Text())
	c.Number, c.At = math.MaxUint64, 0
	f.Add(c.Text())
	f.Add(strings.Replace(c.Text(), "number", "number ", 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := audit.ParseCheckpoint(text)
		if err != nil {
			if !errors.Is(err, audit.ErrCheckpoint) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if c.Text() != text || c.Number == 0 || c.Heads < 1 {
			t.Fatalf("read %+v from %q", c, text)
		}
	})
}

func FuzzNote(f *testing.F) {
	s := signer(f, "ours")
	sealed, err := s.Seal("acme", nil, 1_700_000_000_000, heads(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed.Note)
	f.Add(append(bytes.Clone(sealed.Note), sealed.Note...))
	f.Add([]byte("turnout audit checkpoint v1\n\n— turnout-audit AAAAAAAA\n"))
	verifiers := keys(f, s)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := audit.OpenCheckpoint(b, verifiers); err == nil && !bytes.Equal(b, sealed.Note) {
			t.Fatalf("%+v was never signed:\n%s", c, b)
		}
		if c, err := audit.ReadCheckpoint(b); err == nil && !bytes.HasPrefix(b, []byte(c.Text())) {
			t.Fatalf("read %+v from\n%s", c, b)
		}
	})
}
