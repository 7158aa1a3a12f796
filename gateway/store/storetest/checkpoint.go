package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

func (w *world) frontier() store.Frontier {
	w.Helper()
	f, err := w.Store.Frontier(w.Context(), w.tenant, 1000)
	w.noErr(err, "reading the frontier")
	return f
}

// signer is the key that the suite signs with.
func (w *world) signer() *audit.Signer {
	w.Helper()
	seed := sha256.Sum256([]byte("storetest"))
	s, err := audit.NewSigner(seed[:])
	w.noErr(err, "making a signer")
	return s
}

// checkpoint makes the checkpoint that f asks for, unsealed.
func (w *world) checkpoint(f store.Frontier) audit.Sealed {
	w.Helper()
	c, err := w.signer().Seal(w.tenant.Name(), f.Newest, w.clock.Milli(), f.Heads)
	w.noErr(err, "making a checkpoint")
	return c
}

func (w *world) tag(r store.Ref, tag string) {
	w.Helper()
	w.do(r, system, conversation.Decide{Decision: conversation.Decision{
		Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{tag},
	}})
}

func chainsOf(heads []audit.ChainHead) (names []string) {
	for _, h := range heads {
		names = append(names, h.Chain)
	}
	slices.Sort(names)
	return names
}

func testCheckpoints(t *testing.T, w *world) {
	ctx := t.Context()
	if f := w.frontier(); f.Newest != nil || f.Sent != 0 || len(f.Heads) != 0 {
		t.Errorf("before anything: %+v", f)
	}
	a, b := w.open(address(1)), w.open(address(2))
	w.noErr(w.Store.Append(ctx, w.tenant, audit.Entry{Type: "login", Op: "op", Actor: "agent:ann"}), "appending")
	all := []string{a.ID, b.ID, w.tenant.Name()}
	slices.Sort(all)
	first := w.frontier()
	if got := chainsOf(first.Heads); !slices.Equal(got, all) {
		t.Fatalf("chains that moved: %v, want %v", got, all)
	}
	if f, err := w.Store.Frontier(ctx, w.tenant, 2); err != nil || len(f.Heads) != 2 {
		t.Errorf("at most two: %v, %v", f.Heads, err)
	}
	one := w.checkpoint(first)
	w.noErr(w.Store.Seal(ctx, w.tenant, one), "sealing")
	if f := w.frontier(); len(f.Heads) != 0 || string(f.Newest) != string(one.Note) {
		t.Errorf("after a checkpoint: %+v", f)
	}

	// What grows afterwards is marked again, also when the cache is cold; what does not is not.
	w.tag(a, "x")
	if f := w.frontier(); !slices.Equal(chainsOf(f.Heads), []string{a.ID}) {
		t.Errorf("after one commit: %v", f.Heads)
	}
	w.reopen()
	w.tag(a, "y")
	w.noErr(w.Store.Append(ctx, w.tenant, audit.Entry{Type: "logout", Op: "op2", Actor: "agent:ann"}), "appending")
	two := w.checkpoint(w.frontier())
	if got := chainsOf(two.Heads); !slices.Equal(got, chainsOf([]audit.ChainHead{{Chain: a.ID}, {Chain: w.tenant.Name()}})) {
		t.Errorf("in the second: %v", got)
	}

	// A chain that grows between the look and the seal stays.
	w.tag(a, "z")
	w.noErr(w.Store.Seal(ctx, w.tenant, two), "sealing the second")
	if f := w.frontier(); !slices.Equal(chainsOf(f.Heads), []string{a.ID}) {
		t.Errorf("grown meanwhile: %v", f.Heads)
	}

	// Whoever decided on an older one has lost.
	w.wantErr(w.Store.Seal(ctx, w.tenant, two), store.ErrStale, "the same again")
	w.wantErr(w.Store.Seal(ctx, w.tenant, w.checkpoint(store.Frontier{Newest: one.Note, Heads: first.Heads})), store.ErrStale, "upon the first")
	w.wantErr(w.Store.Seal(ctx, w.tenant, w.checkpoint(store.Frontier{Heads: first.Heads})), store.ErrStale, "upon nothing")
	other := w.newTenant("other")
	foreign, err := w.signer().Seal(other.Name(), nil, 1, first.Heads)
	w.noErr(err, "making a foreign checkpoint")
	for name, c := range map[string]audit.Sealed{
		"foreign": foreign, "empty": {}, "no note": {Note: []byte("x")}, "heads missing": {Note: w.checkpoint(w.frontier()).Note},
	} {
		if err := w.Store.Seal(ctx, w.tenant, c); err == nil || errors.Is(err, store.ErrStale) {
			t.Errorf("%s: %v", name, err)
		}
	}

	w.reopen()
	list, err := w.Store.Checkpoints(ctx, w.tenant, 0, 10)
	if err != nil || len(list) != 2 || string(list[0].Note) != string(one.Note) || string(list[1].Note) != string(two.Note) ||
		!slices.Equal(list[0].Heads, one.Heads) || !slices.Equal(list[1].Heads, two.Heads) {
		t.Errorf("checkpoints: %v, %v", list, err)
	}
	if list, err := w.Store.Checkpoints(ctx, w.tenant, 1, 1); err != nil || len(list) != 1 || string(list[0].Note) != string(two.Note) {
		t.Errorf("after the first: %v, %v", list, err)
	}
	if list, err := w.Store.Checkpoints(ctx, other, 0, 10); err != nil || len(list) != 0 {
		t.Errorf("foreign: %v, %v", list, err)
	}

	w.noErr(w.Store.Sent(ctx, w.tenant, 2), "recording what was sent")
	w.noErr(w.Store.Sent(ctx, w.tenant, 1), "recording less")
	w.reopen()
	if f := w.frontier(); f.Sent != 2 {
		t.Errorf("sent up to %d", f.Sent)
	}
}

func testChains(t *testing.T, w *world) {
	ctx := t.Context()
	var want []string
	for i := range 7 {
		want = append(want, w.open(address(i)).ID)
	}
	slices.Sort(want)
	var got []string
	for last := ""; ; last = got[len(got)-1] {
		page, err := w.Store.Chains(ctx, w.tenant, last, 3)
		w.noErr(err, "listing chains")
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("chains %v, want %v", got, want)
	}
	if list, err := w.Store.Chains(ctx, w.tenant, "", 0); err != nil || len(list) != 0 {
		t.Errorf("none asked for: %v, %v", list, err)
	}
}

// testOperator: what belongs to no tenant has a chain like a tenant's.
func testOperator(t *testing.T, w *world) {
	ctx := t.Context()
	w.noErr(w.Store.Append(ctx, store.Operator, audit.Entry{Type: "access.refused", Kind: "login", Op: "op", Actor: "nobody", Count: 3}), "appending")
	entries, err := w.Store.Entries(ctx, store.Operator, "", 0, 10)
	w.noErr(err, "reading entries")
	if head, err := audit.Verify(store.Operator.Name(), audit.Head{}, entries); err != nil || head.N != 1 {
		t.Errorf("the chain: %d entries, %v", head.N, err)
	}
	w.reopen()
	f, err := w.Store.Frontier(ctx, store.Operator, 10)
	if err != nil || len(f.Heads) != 1 {
		t.Fatalf("moved: %v, %v", f.Heads, err)
	}
	c, err := w.signer().Seal(store.Operator.Name(), nil, 1, f.Heads)
	w.noErr(err, "making a checkpoint")
	w.noErr(w.Store.Seal(ctx, store.Operator, c), "sealing")
	if _, err := store.NewTenant(store.Operator.Name()); err == nil {
		t.Error("a tenant can have the operator's name")
	}
}

// testSealRace lets conversations grow while checkpoints are sealed: each checkpoint is one that was there, and in the end
// every chain is covered up to its head. A mark that got lost would leave one behind.
func testSealRace(t *testing.T, w *world) {
	ctx := t.Context()
	const conversations, rounds = 8, 25
	refs := make([]store.Ref, conversations)
	for i := range refs {
		refs[i] = w.open(address(i))
	}
	var grow sync.WaitGroup
	failed := make(chan error, conversations)
	for _, r := range refs {
		grow.Go(func() {
			for i := range rounds {
				if err := w.grow(r, fmt.Sprint("tag-", i)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { grow.Wait(); close(done) }()
	covered := map[string]audit.Head{}
	number := uint64(0)
	seal := func() bool {
		f := w.frontier()
		if len(f.Heads) == 0 {
			return false
		}
		c := w.checkpoint(f)
		w.noErr(w.Store.Seal(ctx, w.tenant, c), "sealing")
		number++
		for _, h := range c.Heads {
			if covered[h.Chain].N > h.N {
				t.Errorf("checkpoint %d takes %s back from %d to %d", number, h.Chain, covered[h.Chain].N, h.N)
			}
			covered[h.Chain] = h.Head
		}
		return true
	}
	for growing := true; growing; {
		select {
		case <-done:
			growing = false
		default:
		}
		seal()
	}
	for seal() {
	}
	select {
	case err := <-failed:
		t.Fatalf("growing: %v", err)
	default:
	}
	for _, r := range refs {
		entries, err := w.Store.Entries(ctx, w.tenant, r.ID, 0, 1000)
		w.noErr(err, "reading entries")
		head, err := audit.Verify(r.ID, audit.Head{}, entries)
		if err != nil || head != covered[r.ID] || head.N < rounds {
			t.Errorf("%s ends at %d, covered up to %d, %v", r.ID, head.N, covered[r.ID].N, err)
		}
	}
}

// grow adds one decision; it may be called from any goroutine.
func (w *world) grow(r store.Ref, tag string) error {
	snap, err := w.Store.Load(w.Context(), r)
	if err != nil {
		return err
	}
	st, err := w.draft(r, snap, system, conversation.Decide{Decision: conversation.Decision{
		Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{tag},
	}})
	if err != nil {
		return err
	}
	_, err = w.Store.Commit(w.Context(), st)
	return err
}
