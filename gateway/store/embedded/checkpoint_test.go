package embedded

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/audit/notary"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

// sealAll makes a checkpoint over everything that moved.
func sealAll(t *testing.T, s *Store, ten store.Tenant) audit.Sealed {
	t.Helper()
	signer, err := audit.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Frontier(t.Context(), ten, 100)
	if err != nil {
		t.Fatal(err)
	}
	c, err := signer.Seal(ten.Name(), f.Newest, 1, f.Heads)
	if err == nil {
		err = s.Seal(t.Context(), ten, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestErasedChain: without a conversation's key nothing of its content can be read, and all of its chain.
func TestErasedChain(t *testing.T) {
	w := newWorld(t)
	r := noted(w)
	w.do(r, conversation.Wipe{})
	before, err := w.s.Entries(t.Context(), r.Tenant, r.ID, 0, 100)
	if err != nil || len(before) == 0 {
		t.Fatalf("%d entries, %v", len(before), err)
	}
	if err := w.s.db.Delete(dataKeyKey(r), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	w.s.cache.clear()
	if _, err := w.s.Load(t.Context(), r); err == nil {
		t.Error("it is read without its key")
	}
	c := sealAll(t, w.s, r.Tenant)
	if len(c.Heads) != 1 || c.Heads[0].Chain != r.ID || c.Heads[0].N != uint64(len(before)) {
		t.Errorf("sealed %v", c.Heads)
	}
	if f, err := w.s.Frontier(t.Context(), r.Tenant, 10); err != nil || len(f.Heads) != 0 {
		t.Errorf("after the seal: %v, %v", f.Heads, err)
	}
	if chains, err := w.s.Chains(t.Context(), r.Tenant, "", 10); err != nil || len(chains) != 1 || chains[0] != r.ID {
		t.Errorf("chains %v, %v", chains, err)
	}
	entries, err := w.s.Entries(t.Context(), r.Tenant, r.ID, 0, 100)
	if err != nil || len(entries) != len(before) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if head, err := audit.Verify(r.ID, audit.Head{}, entries); err != nil || head != c.Heads[0].Head {
		t.Errorf("the chain ends at %d, %v", head.N, err)
	}
	signer, err := audit.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	var export bytes.Buffer
	if _, err := audit.Export(t.Context(), &export, notary.Source(w.s, r.Tenant), r.Tenant.Name(), signer.VerifierKey(), time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	v, err := audit.VerifyExport(&export, audit.VerifyOptions{
		Keys: []string{signer.VerifierKey()}, Copies: []audit.Copy{{Name: "outside", Note: c.Note}},
	})
	if err != nil || !v.OK || v.Covered != uint64(len(before)) || v.OutsideCopy != 1 {
		t.Errorf("its export: %+v, %v", v, err)
	}
}

// TestMarkIsKept: a mark that a crash leaves behind after a seal costs a head that is covered twice and nothing else.
func TestMarkIsKept(t *testing.T) {
	w := newWorld(t)
	r := noted(w)
	c := sealAll(t, w.s, r.Tenant)
	if err := w.s.db.Set(movedKey(r.Tenant, r.ID), nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	again := sealAll(t, w.s, r.Tenant)
	if len(again.Heads) != 1 || again.Heads[0] != c.Heads[0] {
		t.Errorf("sealed again: %v, want %v", again.Heads, c.Heads)
	}
	if rep, err := w.s.Check(t.Context()); err != nil || len(rep.Faults) != 0 {
		t.Errorf("check: %v, %v", rep.Faults, err)
	}
}

func FuzzSealed(f *testing.F) {
	f.Add(form.EncodeCheckpoint(audit.Sealed{Note: []byte("note"), Heads: []audit.ChainHead{{Chain: "c_1", Head: audit.Head{N: 7}}, {Chain: "acme"}}}))
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := form.DecodeCheckpoint(b)
		if err != nil {
			return
		}
		again, err := form.DecodeCheckpoint(form.EncodeCheckpoint(c))
		if err != nil || !bytes.Equal(again.Note, c.Note) || len(again.Heads) != len(c.Heads) {
			t.Fatalf("%+v is read back as %+v, %v", c, again, err)
		}
		for i := range c.Heads {
			if again.Heads[i] != c.Heads[i] {
				t.Fatalf("head %d of %+v is read back as %+v", i, c, again)
			}
		}
	})
}
