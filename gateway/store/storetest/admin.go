package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

func testAudit(t *testing.T, w *world) {
	ctx := t.Context()
	r := w.open(address(1))
	w.divert(r, "q", conversation.PriorityNormal)
	w.claim(r, "ann")
	w.do(r, agent("ann"), conversation.AddNote{ID: "n", Text: "a note"})
	w.do(r, agent("ann"), conversation.Release{})
	entries, err := w.Store.Entries(ctx, w.tenant, r.ID, 0, 1000)
	w.noErr(err, "reading entries")
	head, err := audit.Verify(r.ID, audit.Head{}, entries)
	w.noErr(err, "verifying")

	// One entry for each decision in the log, and none else.
	log, err := w.Store.Log(ctx, r, 0, 1000)
	w.noErr(err, "reading the log")
	events := make([]audit.Event, len(log))
	for i := range log {
		events[i] = audit.Event{Event: &log[i]}
	}
	links, err := audit.Next(r.ID, audit.Head{}, events, func([]byte) []byte { return nil })
	w.noErr(err, "deriving entries")
	if len(links) != len(entries) || len(links) < 4 {
		t.Errorf("%d entries for %d decisions", len(entries), len(links))
	}
	if f := w.frontier(); !slices.Contains(f.Heads, audit.ChainHead{Chain: r.ID, Head: head}) {
		t.Errorf("moved: %v, want %v", f.Heads, head)
	}
	if page, err := w.Store.Entries(ctx, w.tenant, r.ID, 2, 1); err != nil || len(page) != 1 || string(page[0]) != string(entries[2]) {
		t.Errorf("a page: %q, %v", page, err)
	}

	// Each kind of tampering is found.
	for name, tamper := range map[string]func([][]byte) [][]byte{
		"cut":    func(e [][]byte) [][]byte { return slices.Delete(e, 1, 2) },
		"swap":   func(e [][]byte) [][]byte { e[0], e[1] = e[1], e[0]; return e },
		"repeat": func(e [][]byte) [][]byte { return slices.Insert(e, 1, e[0]) },
		"edit": func(e [][]byte) [][]byte {
			e[1] = slices.Clone(e[1])
			e[1][len(e[1])-3] ^= 1
			return e
		},
	} {
		got, err := audit.Verify(r.ID, audit.Head{}, tamper(slices.Clone(entries)))
		if err == nil && got == head {
			t.Errorf("%s: not found", name)
		}
	}
}

func testAdministration(t *testing.T, w *world) {
	ctx := t.Context()
	for i := range 3 {
		w.noErr(w.Store.Append(ctx, w.tenant, audit.Entry{At: w.clock.Milli(), Type: "login", Op: fmt.Sprint("op-", i), Actor: "agent:ann"}), "appending")
	}
	w.reopen()
	w.noErr(w.Store.Append(ctx, w.tenant, audit.Entry{At: w.clock.Milli(), Type: "publish", Op: "op-4", Actor: "agent:ann"}), "appending")
	entries, err := w.Store.Entries(ctx, w.tenant, "", 0, 100)
	w.noErr(err, "reading entries")
	head, err := audit.Verify(w.tenant.Name(), audit.Head{}, entries)
	if err != nil || head.N != 4 {
		t.Errorf("the tenant's chain: %d entries, %v", head.N, err)
	}
	if f := w.frontier(); !slices.Contains(f.Heads, audit.ChainHead{Chain: w.tenant.Name(), Head: head}) {
		t.Errorf("moved: %v, want %v", f.Heads, head)
	}
}

func testVersions(t *testing.T, w *world) {
	ctx := t.Context()
	_, err := w.Store.Current(ctx, w.tenant, "rules")
	w.wantErr(err, store.ErrNotFound, "before the first")
	for n := range 3 {
		w.noErr(w.Store.Publish(ctx, w.tenant, "rules", n, store.VersionedDoc{
			Digest: fmt.Sprint("d", n+1), Body: []byte{byte(n)}, At: 5, By: []string{"", "owner:ana", "author:ben"}[n],
		}), "publishing")
	}
	w.wantErr(w.Store.Publish(ctx, w.tenant, "rules", 2, store.VersionedDoc{}), store.ErrStale, "on an old version")
	w.wantErr(w.Store.Publish(ctx, w.tenant, "rules", 9, store.VersionedDoc{}), store.ErrStale, "on one that is not there")
	w.reopen()
	cur, err := w.Store.Current(ctx, w.tenant, "rules")
	if err != nil || cur.N != 3 || cur.Digest != "d3" || string(cur.Body) != "\x02" || cur.At != 5 || cur.By != "author:ben" {
		t.Errorf("current: %+v, %v", cur, err)
	}
	old, err := w.Store.Version(ctx, w.tenant, "rules", 1)
	if err != nil || old.N != 1 || old.Digest != "d1" {
		t.Errorf("version 1: %+v, %v", old, err)
	}
	for _, n := range []int{-1, 0, 4} {
		_, err := w.Store.Version(ctx, w.tenant, "rules", n)
		w.wantErr(err, store.ErrNotFound, fmt.Sprint("version ", n))
	}
	_, err = w.Store.Current(ctx, w.tenant, "rule")
	w.wantErr(err, store.ErrNotFound, "the beginning of a name")

	// A version and its entry are one: what was refused has none.
	entries, err := w.Store.Entries(ctx, w.tenant, "", 0, 10)
	w.noErr(err, "reading entries")
	head, err := audit.Verify(w.tenant.Name(), audit.Head{}, entries)
	if err != nil || head.N != 3 {
		t.Errorf("the tenant's chain: %d entries, %v", head.N, err)
	}
	for i, actor := range []string{"system", "owner:ana", "author:ben"} {
		var e audit.Entry
		w.noErr(json.Unmarshal(entries[i], &e), "decoding an entry")
		if e.Type != store.VersionPublished || e.Kind != fmt.Sprint("rules ", i+1) || e.Actor != actor || e.Digest != fmt.Sprint("d", i+1) || e.At != 5 || e.Op == "" {
			t.Errorf("entry %d: %+v", i+1, e)
		}
	}
	aside := w.newTenant("aside")
	before, err := w.Store.Tenants(ctx)
	w.noErr(err, "listing tenants")
	w.noErr(w.Store.Publish(ctx, aside, "rules", 0, store.VersionedDoc{}), "publishing")
	tenants, err := w.Store.Tenants(ctx)
	if err != nil || !slices.Contains(tenants, aside) || slices.Contains(before, aside) || !slices.Contains(before, w.tenant) {
		t.Errorf("tenants: %v, before %v, %v", tenants, before, err)
	}
}

func testHints(t *testing.T, w *world) {
	var got []store.Hint
	sub := w.Store.Subscribe(func(h store.Hint) {
		// Told means durable and visible: the store can be asked from here.
		if snap, err := w.Store.Load(t.Context(), h.Ref); err != nil || snap.State.Seq < h.State.Seq {
			t.Errorf("told of what cannot be read: %v", err)
		}
		got = append(got, h)
	})
	st := w.opening(address(1), "m1", "hello")
	w.commit(st)
	if len(got) != 1 || got[0].Ref != st.Ref || got[0].State.Seq != 2 {
		t.Fatalf("hints: %+v", got)
	}
	w.commit(st)
	if _, err := w.Store.Commit(t.Context(), w.opening(address(1), "m1", "x")); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("a duplicate: %v", err)
	}
	if len(got) != 1 {
		t.Errorf("%d hints after a repeat and a duplicate", len(got)-1)
	}
	w.noErr(sub.Close(), "unsubscribing")
	w.do(st.Ref, customer, w.inbound(address(1), "m2", "x"))
	if len(got) != 1 {
		t.Error("told after the end of the subscription")
	}
}

func testAnswers(t *testing.T, w *world) {
	ctx := t.Context()
	key := func(n byte) [32]byte { return [32]byte{n} }
	_, err := w.Store.Recall(ctx, w.tenant, key(1))
	w.wantErr(err, store.ErrNotFound, "before the first")
	until := w.clock.Milli() + 1000
	a := store.Answer{Key: key(1), Digest: [32]byte{9}, Body: []byte(`{"x":1}`), Until: until}
	w.noErr(w.Store.Remember(ctx, w.tenant, a), "remembering")
	w.noErr(w.Store.Remember(ctx, w.tenant, store.Answer{Key: key(2), Until: until}), "remembering one without a body")
	other := w.newTenant("other")
	w.noErr(w.Store.Remember(ctx, other, store.Answer{Key: key(3), Until: until}), "remembering for another tenant")
	w.reopen()
	got, err := w.Store.Recall(ctx, w.tenant, key(1))
	if err != nil || got.Digest != a.Digest || string(got.Body) != string(a.Body) || got.Until != until {
		t.Errorf("recalled %+v, %v", got, err)
	}
	if got, err := w.Store.Recall(ctx, w.tenant, key(2)); err != nil || len(got.Body) != 0 {
		t.Errorf("one without a body: %+v, %v", got, err)
	}
	for n := range byte(4) {
		if _, err := w.Store.Recall(ctx, other, key(n)); n != 3 && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant recalls answer %d: %v", n, err)
		}
	}
	a.Body = []byte("again")
	w.noErr(w.Store.Remember(ctx, w.tenant, a), "remembering again")
	if got, err := w.Store.Recall(ctx, w.tenant, key(1)); err != nil || string(got.Body) != "again" {
		t.Errorf("in the place of the first: %+v, %v", got, err)
	}
	w.clock.Move(2 * time.Second)
	for n := range byte(3) {
		_, err := w.Store.Recall(ctx, w.tenant, key(n))
		w.wantErr(err, store.ErrNotFound, "when its time is over")
	}
	w.noErr(w.Store.Remember(ctx, w.tenant, store.Answer{Key: key(0), Until: until + 10_000}), "remembering what sweeps")
	w.reopen()
}
