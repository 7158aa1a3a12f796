package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

func testLog(t *testing.T, w *world) {
	st := w.opening(address(1), "m1", "hello")
	w.commit(st)
	all := slices.Clone(st.Events)
	for i := range 10 {
		st := w.step(st.Ref, w.load(st.Ref), customer, w.inbound(address(1), fmt.Sprint(i), "x"),
			conversation.SetTimer{Timer: conversation.Timer{Name: "idle", At: w.clock.Milli() + int64(i)}})
		w.commit(st)
		all = append(all, st.Events...)
	}
	for _, restart := range []bool{false, true} {
		if restart {
			w.reopen()
		}
		for after := uint64(0); after <= uint64(len(all))+1; after++ {
			for _, limit := range []int{0, 1, 3, 1000} {
				got, err := w.Store.Log(t.Context(), st.Ref, after, limit)
				w.noErr(err, "reading the log")
				want := all[min(int(after), len(all)):]
				want = want[:min(limit, len(want))]
				if len(got) != len(want) || len(want) > 0 && !cmp.Equal(got, want) {
					t.Fatalf("after %d, limit %d: %s", after, limit, cmp.Diff(want, got))
				}
			}
		}
	}
}

// testVisible mixes visible and invisible events and resumes at every point.
func testVisible(t *testing.T, w *world) {
	r := w.open(address(1))
	w.divert(r, "support", conversation.PriorityNormal)
	w.claim(r, "ann")
	for i := range 12 {
		var cmds []conversation.Command
		for n := range i % 4 {
			cmds = append(cmds, conversation.AddNote{ID: fmt.Sprintf("n-%d-%d", i, n), Text: "not for the customer"})
		}
		if i%3 != 0 {
			cmds = append(cmds, conversation.Reply{ID: fmt.Sprintf("r-%d", i), Part: message.Part{Text: "yes"}})
		}
		if len(cmds) > 0 {
			w.do(r, agent("ann"), cmds...)
		}
	}
	log, err := w.Store.Log(t.Context(), r, 0, 1000)
	w.noErr(err, "reading the log")
	var all []conversation.Event
	for i, e := range log {
		if e.VSeq != 0 {
			all = append(all, e)
			if int(e.VSeq) != len(all) {
				t.Fatalf("event %d has visible sequence %d, want %d", i, e.VSeq, len(all))
			}
		}
	}
	for after := uint64(0); after <= uint64(len(all))+1; after++ {
		for _, limit := range []int{0, 1, 2, 1000} {
			got, err := w.Store.Visible(t.Context(), r, after, limit)
			w.noErr(err, "reading what is visible")
			want := all[min(int(after), len(all)):]
			want = want[:min(limit, len(want))]
			if len(got) != len(want) || len(want) > 0 && !cmp.Equal(got, want) {
				t.Fatalf("after %d, limit %d: %s", after, limit, cmp.Diff(want, got))
			}
		}
	}
}

func testPaths(t *testing.T, w *world) {
	list := func(kind store.PathKind, value, before string, limit int) []string {
		t.Helper()
		refs, err := w.Store.List(t.Context(), w.tenant, store.Path{Kind: kind, Value: value}, before, limit)
		w.noErr(err, "listing")
		var out []string
		for _, r := range refs {
			if r.Tenant != w.tenant {
				t.Errorf("a conversation of %q", r.Tenant.Name())
			}
			out = append(out, r.ID)
		}
		return out
	}
	var made []string // newest first
	for i := range 7 {
		r := w.open(address(i))
		made = append([]string{r.ID}, made...)
		w.do(r, system, conversation.LinkContact{Contact: "k_1"},
			conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"vip", fmt.Sprint("n", i)}}})
		w.divert(r, "support", conversation.PriorityNormal)
		w.claim(r, "ann")
		w.clock.Move(time.Second)
	}
	for _, restart := range []bool{false, true} {
		if restart {
			w.reopen()
		}
		for _, p := range []store.Path{{Kind: store.ByContact, Value: "k_1"}, {Kind: store.ByTag, Value: "vip"}, {Kind: store.ByAgent, Value: "ann"}} {
			if got := list(p.Kind, p.Value, "", 100); !slices.Equal(got, made) {
				t.Errorf("by %c: %v, want %v", p.Kind, got, made)
			}
			var paged []string
			for before := ""; ; before = paged[len(paged)-1] {
				page := list(p.Kind, p.Value, before, 3)
				paged = append(paged, page...)
				if len(page) < 3 {
					break
				}
			}
			if !slices.Equal(paged, made) {
				t.Errorf("by %c in pages: %v, want %v", p.Kind, paged, made)
			}
		}
	}
	if got := list(store.ByAddress, "acme.web\x00visitor-3", "", 10); !slices.Equal(got, made[3:4]) {
		t.Errorf("by address: %v, want %v", got, made[3:4])
	}
	if got := list(store.ByTag, "n6", "", 10); !slices.Equal(got, made[:1]) {
		t.Errorf("by a tag of one: %v", got)
	}

	// What no longer holds is no longer found.
	r := store.Ref{Tenant: w.tenant, ID: made[0]}
	w.do(r, agent("ann"), conversation.Transfer{Agent: "bob", Name: "Bob"})
	w.do(r, system, conversation.LinkContact{Contact: "k_2"})
	if got := list(store.ByAgent, "ann", "", 10); !slices.Equal(got, made[1:]) {
		t.Errorf("after a transfer: %v", got)
	}
	if got := list(store.ByAgent, "bob", "", 10); !slices.Equal(got, made[:1]) {
		t.Errorf("the new agent's: %v", got)
	}
	if got := list(store.ByContact, "k_1", "", 10); !slices.Equal(got, made[1:]) {
		t.Errorf("after a new contact: %v", got)
	}
	if got := list(store.ByContact, "nobody", "", 10); got != nil {
		t.Errorf("of an unknown value: %v", got)
	}
}

func testAttachments(t *testing.T, w *world) {
	a := address(1)
	st := w.opening(a, "m1", "hello")
	att := store.Attachment{Attachment: message.Attachment{ID: "a_1", Name: "scan.png", Type: "image/png", Size: 9}, Blob: "b10b"}
	st.Attach = []store.Attachment{att}
	w.commit(st)
	w.reopen()
	got, err := w.Store.Attachment(t.Context(), st.Ref, "a_1")
	w.noErr(err, "reading an attachment")
	if got != att {
		t.Errorf("attachment = %+v, want %+v", got, att)
	}
	_, err = w.Store.Attachment(t.Context(), st.Ref, "a_2")
	w.wantErr(err, store.ErrNotFound, "an unknown attachment")
	_, err = w.Store.Attachment(t.Context(), w.open(address(2)), "a_1")
	w.wantErr(err, store.ErrNotFound, "another conversation's attachment")
}

// testTenancy asks for everything of one tenant as another, and compares the answers with those for what is not there.
func testTenancy(t *testing.T, w *world) {
	a := address(1)
	st := w.opening(a, "m1", "hello")
	st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: "a_1"}, Blob: "b"}}
	w.commit(st)
	w.do(st.Ref, system, conversation.LinkContact{Contact: "k_1"})
	w.divert(st.Ref, "support", conversation.PriorityNormal)
	w.noErr(w.Store.Publish(t.Context(), w.tenant, "rules", 0, store.VersionedDoc{Body: []byte("x")}), "publishing")
	row := w.rowFor(st.Ref, "r1")
	row.Due = w.clock.Milli()
	push := w.step(st.Ref, w.load(st.Ref), system, conversation.Say{Sent: conversation.Sent{ID: "m_9", Part: message.Part{Text: "x"}}})
	push.Outbox = []store.OutboxRow{row}
	w.commit(push)

	other := w.newTenant("other")
	w.noErr(w.Store.Publish(t.Context(), other, "theirs", 0, store.VersionedDoc{Body: []byte("y")}), "publishing") // it exists
	foreign := store.Ref{Tenant: other, ID: st.Ref.ID}
	unknown := store.Ref{Tenant: other, ID: w.ids.New(id.Conversation, 7)}
	ctx := t.Context()
	for name, ask := range map[string]func(store.Ref) (any, error){
		"load":       func(r store.Ref) (any, error) { return w.Store.Load(ctx, r) },
		"log":        func(r store.Ref) (any, error) { return w.Store.Log(ctx, r, 0, 10) },
		"visible":    func(r store.Ref) (any, error) { return w.Store.Visible(ctx, r, 0, 10) },
		"attachment": func(r store.Ref) (any, error) { return w.Store.Attachment(ctx, r, "a_1") },
		"drop":       func(r store.Ref) (any, error) { return nil, w.Store.Drop(ctx, r, "x") },
		"outbox":     func(r store.Ref) (any, error) { return w.Store.Lease(ctx, r, w.clock.Milli(), w.clock.Milli()+1) },
		"entries":    func(r store.Ref) (any, error) { return w.Store.Entries(ctx, r.Tenant, r.ID, 0, 10) },
	} {
		got, err := ask(foreign)
		none, errNone := ask(unknown)
		malformed, errMalformed := ask(store.Ref{Tenant: other, ID: "../" + st.Ref.ID})
		w.wantErr(err, store.ErrNotFound, name)
		if !reflect.DeepEqual(got, none) || fmt.Sprint(err) != fmt.Sprint(errNone) {
			t.Errorf("%s: a foreign conversation answers %v, %v; an unknown one %v, %v", name, got, err, none, errNone)
		}
		if !reflect.DeepEqual(got, malformed) || fmt.Sprint(err) != fmt.Sprint(errMalformed) {
			t.Errorf("%s: a malformed id answers %v, %v", name, malformed, errMalformed)
		}
	}
	step := w.step(st.Ref, w.load(st.Ref), customer, w.inbound(a, "m2", "x"))
	step.Ref = foreign
	_, err := w.Store.Commit(ctx, step)
	w.wantErr(err, store.ErrStale, "committing to a foreign conversation")
	if n, err := w.Store.Position(ctx, foreign); n != 0 || err != nil {
		t.Errorf("a foreign position: %d, %v", n, err)
	}
	if found, err := w.Store.Find(ctx, other, a, []string{"m1"}); err != nil || found.Snapshot != nil || len(found.Known) != 0 {
		t.Errorf("a foreign address: %+v, %v", found, err)
	}
	if refs, err := w.Store.List(ctx, other, store.Path{Kind: store.ByContact, Value: "k_1"}, "", 10); err != nil || refs != nil {
		t.Errorf("a foreign path: %v, %v", refs, err)
	}
	if l, err := w.Store.Waiting(ctx, other, "", 10); err != nil || len(l) != 0 {
		t.Errorf("a foreign queue: %v, %v", l, err)
	}
	if f, err := w.Store.Frontier(ctx, other, 10); err != nil || len(f.Heads) != 1 || f.Heads[0].Chain != "other" || f.Newest != nil { // its own, of its document
		t.Errorf("a foreign frontier: %v, %v", f, err)
	}
	if chains, err := w.Store.Chains(ctx, other, "", 10); err != nil || len(chains) != 0 {
		t.Errorf("foreign chains: %v, %v", chains, err)
	}
	_, err = w.Store.Current(ctx, other, "rules")
	w.wantErr(err, store.ErrNotFound, "a foreign document")
	leased, err := w.lease(st.Ref)
	w.noErr(err, "leasing")
	w.noErr(w.settle(leased, store.Settlement{End: store.Bury}), "burying")
	_, err = w.Store.DeadLetter(ctx, other, row.ID)
	w.wantErr(err, store.ErrNotFound, "a foreign dead letter")
	if dead, _, err := w.Store.DeadLetters(ctx, other, "", 10); err != nil || len(dead) != 0 {
		t.Errorf("foreign dead letters: %v, %v", dead, err)
	}
}

func testReopen(t *testing.T, w *world) {
	r := w.open(address(1))
	w.divert(r, "support", conversation.PriorityUrgent)
	held := w.open(address(2))
	w.divert(held, "support", conversation.PriorityNormal)
	w.claim(held, "ann")
	before := w.load(r)
	w.reopen()
	snap := w.load(r)
	if diff := cmp.Diff(before.State, snap.State); diff != "" || snap.Version != before.Version {
		t.Errorf("after a restart:\n%s", diff)
	}
	l, err := w.Store.Waiting(t.Context(), w.tenant, "support", 10)
	w.noErr(err, "listing")
	if len(l) != 1 || l[0].Ref != r || l[0].Handoff.Priority != conversation.PriorityUrgent {
		t.Errorf("after a restart there wait %+v", l)
	}
	w.noErr(w.Store.SetPresence(t.Context(), w.tenant, store.Presence{Agent: "ann", Name: "Ann", Until: w.clock.Milli() + 1000, Capacity: 1}), "presence")
	w.wantErr(w.Store.Reserve(t.Context(), w.tenant, "ann", r.ID, "op"), store.ErrCapacity, "an agent who holds one from before the restart")
	if h := w.Store.Health(t.Context()); !h.OK || h.Level == "" {
		t.Errorf("health = %+v", h)
	}
	w.noErr(w.Store.Close(), "closing")
	w.noErr(w.Store.Close(), "closing twice")
	_, err = w.Store.Load(t.Context(), r)
	w.wantErr(err, store.ErrUnavailable, "after the close")
	w.reopen()
}
