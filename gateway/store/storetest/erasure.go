package storetest

import (
	"errors"
	"slices"
	"testing"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// full opens a conversation that has something of everything: a lease, a timer, a tag, a contact, an attachment, a row of
// the outbox and a dead letter.
func (w *world) full(a message.Address, clientID string) store.Ref {
	w.Helper()
	st := w.opening(a, clientID, "my secret")
	st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: w.ids.New(id.Attachment, 0), Name: "scan.pdf"}, Blob: "b"}}
	st.Outbox = []store.OutboxRow{w.out(a), w.out(a)}
	w.commit(st)
	now := w.clock.Milli()
	row, err := w.Store.Lease(w.Context(), st.Ref, now, now+1000)
	w.noErr(err, "leasing a send")
	snap := w.load(st.Ref)
	bury := store.Step{Ref: st.Ref, Base: snap.Version, Op: store.Token(w.ids.Token()), State: snap.State}
	bury.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token, End: store.Bury, Code: "refused"}
	w.commit(bury)
	w.do(st.Ref, system,
		conversation.SetTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: now + 1000}},
		conversation.LinkContact{Contact: "k_1"},
		conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"vip"}}})
	return st.Ref
}

func (w *world) out(a message.Address) store.OutboxRow {
	m := w.ids.New(id.Message, 0)
	return store.OutboxRow{
		ID: store.RowOf(m), At: w.clock.Milli(), Due: w.clock.Milli(),
		Out: message.Outbound{ID: m, To: a, By: message.ByAgent, Part: message.Part{Text: "a secret"}},
	}
}

// testErasure: with one step everything of a conversation is gone but its chain and its tombstone, for every reader, also
// after a restart, and nothing brings it back.
func testErasure(t *testing.T, w *world) {
	ctx := t.Context()
	a := address(1)
	for _, kind := range []string{"bot", "turn", "queued", "held"} {
		r := w.full(a, kind)
		other := w.full(address(2), kind)
		switch kind {
		case "turn":
			st := w.step(r, w.load(r), system, conversation.StartTurn{ID: w.ids.New(id.Turn, 0)})
			st.Take = store.Lease{Token: store.Token(w.ids.Token()), Until: w.clock.Milli() + 60_000}
			w.commit(st)
		case "queued":
			w.divert(r, "support", 5)
		case "held":
			w.divert(r, "support", 5)
			w.claim(r, "ann")
		}
		snap := w.load(r)
		before, err := w.Store.Entries(ctx, w.tenant, r.ID, 0, 1000)
		w.noErr(err, "reading the chain")
		step := w.step(r, snap, agent("own"), conversation.Wipe{})
		step.Keep = []byte("figures")
		w.commit(step)
		if again := w.commit(step); !again.Repeat {
			t.Errorf("%s: the same step again: %+v", kind, again)
		}
		for range 2 {
			w.erased(r, step, len(before))
			found, err := w.Store.Find(ctx, w.tenant, a, []string{kind})
			w.noErr(err, "finding")
			if found.Snapshot != nil || found.Known[kind].Conversation != r.ID {
				t.Errorf("%s: by its address: %+v", kind, found)
			}
			for _, p := range []store.Path{{Kind: store.ByContact, Value: "k_1"}, {Kind: store.ByTag, Value: "vip"}, {Kind: store.ByAddress, Value: a.Channel + "\x00" + a.Address}} {
				if refs, err := w.Store.List(ctx, w.tenant, p, "", 100); err != nil || slices.Contains(refs, r) {
					t.Errorf("%s: by path %c: %v, %v", kind, p.Kind, refs, err)
				}
			}
			waiting, err := w.Store.Waiting(ctx, w.tenant, "", 100)
			w.noErr(err, "reading the queue")
			if slices.ContainsFunc(waiting, func(x store.Waiting) bool { return x.Ref == r }) {
				t.Errorf("%s: it waits", kind)
			}
			jobs, _, err := w.Store.Due(ctx, w.clock.Milli()+120_000, 100)
			w.noErr(err, "looking for work")
			if slices.ContainsFunc(jobs, func(j store.Job) bool { return j.Ref == r }) {
				t.Errorf("%s: it has work", kind)
			}
			dead, _, err := w.Store.DeadLetters(ctx, w.tenant, "", 100)
			w.noErr(err, "listing dead letters")
			if slices.ContainsFunc(dead, func(d store.DeadLetter) bool { return d.Ref == r }) {
				t.Errorf("%s: it has a dead letter", kind)
			}
			w.load(other)
			w.reopen()
		}
		w.noErr(w.Store.Scrub(ctx), "scrubbing")
		w.do(other, system, conversation.Wipe{}) // the next round begins anew
	}
	// The address starts over.
	r := w.open(a)
	w.load(r)
	w.clock.Move(w.Forgotten)
	w.noErr(w.Store.Scrub(ctx), "scrubbing")
	stones, err := w.Store.Erased(ctx, w.tenant, "", 100)
	w.noErr(err, "listing")
	if len(stones) != 8 {
		t.Errorf("%d tombstones", len(stones))
	}
	for i, s := range stones {
		if s.Pending {
			t.Errorf("%s still waits", s.Conversation)
		}
		page, err := w.Store.Erased(ctx, w.tenant, s.Conversation, 1)
		if err != nil || i+1 < len(stones) && (len(page) != 1 || page[0].Conversation != stones[i+1].Conversation) {
			t.Errorf("the page after %d: %v, %v", i, page, err)
		}
	}
}

// erased looks at a conversation that is gone.
func (w *world) erased(r store.Ref, by store.Step, entries int) {
	w.Helper()
	ctx := w.Context()
	_, err := w.Store.Load(ctx, r)
	w.wantErr(err, store.ErrErased, "loading")
	_, err = w.Store.Log(ctx, r, 0, 10)
	w.wantErr(err, store.ErrErased, "the log")
	_, err = w.Store.Visible(ctx, r, 0, 10)
	w.wantErr(err, store.ErrErased, "what is visible")
	_, err = w.Store.Attachments(ctx, r, "", 10)
	w.wantErr(err, store.ErrErased, "attachments")
	_, err = w.Store.Lease(ctx, r, w.clock.Milli(), w.clock.Milli()+1)
	w.wantErr(err, store.ErrNotFound, "its outbox")
	other := by
	other.Op = store.Token(w.ids.Token())
	_, err = w.Store.Commit(ctx, other)
	w.wantErr(err, store.ErrStale, "a step on it")
	opening := w.step(r, nil, customer, conversation.Open{ID: r.ID, From: address(1)}, w.inbound(address(1), "again", "x"))
	_, err = w.Store.Commit(ctx, opening)
	w.wantErr(err, store.ErrErased, "making it again")
	stone, err := w.Store.Tombstone(ctx, r)
	w.noErr(err, "its tombstone")
	if stone.Op != string(by.Op) || string(stone.Keep) != "figures" || !stone.Pending || stone.At == 0 {
		w.Errorf("its tombstone is %+v", stone)
	}
	chain, err := w.Store.Entries(ctx, w.tenant, r.ID, 0, 1000)
	w.noErr(err, "its chain")
	if _, err := audit.Verify(r.ID, audit.Head{}, chain); err != nil || len(chain) <= entries {
		w.Errorf("its chain has %d entries, before it had %d: %v", len(chain), entries, err)
	}
}

// testErasureUnsound: what is not closed, or adds something, is not erased; Forget takes what a tombstone kept.
func testErasureUnsound(t *testing.T, w *world) {
	ctx := t.Context()
	r := w.open(address(1))
	st := w.step(r, w.load(r), system, conversation.Wipe{})
	for name, spoil := range map[string]func(*store.Step){
		"not closed": func(s *store.Step) {
			state := *s.State
			state.Owner = conversation.Owner{Kind: message.OwnerQueued, Queue: "q"}
			s.State = &state
		},
		"with a row to send":  func(s *store.Step) { s.Outbox = []store.OutboxRow{w.out(address(1))} },
		"with an attachment":  func(s *store.Step) { s.Attach = []store.Attachment{{}} },
		"with something else": func(s *store.Step) { s.Detach = []string{"a"} },
	} {
		bad := st
		spoil(&bad)
		if _, err := w.Store.Commit(ctx, bad); err == nil {
			t.Errorf("%s: it was erased", name)
		}
	}
	w.wantErr(w.Store.Forget(ctx, r), store.ErrNotFound, "forgetting what is there")
	_, err := w.Store.Tombstone(ctx, r)
	w.wantErr(err, store.ErrNotFound, "the tombstone of what is there")
	st.Keep = []byte("figures")
	w.commit(st)
	for range 2 {
		w.noErr(w.Store.Forget(ctx, r), "forgetting")
		if s, err := w.Store.Tombstone(ctx, r); err != nil || s.Keep != nil {
			t.Errorf("after forgetting: %+v, %v", s, err)
		}
		w.reopen()
	}
}

// testDetach: an attachment without its bytes is still known.
func testDetach(t *testing.T, w *world) {
	ctx := t.Context()
	st := w.opening(address(1), "m", "x")
	var ids []string
	for range 3 {
		ids = append(ids, w.ids.New(id.Attachment, 0))
		st.Attach = append(st.Attach, store.Attachment{Attachment: message.Attachment{ID: ids[len(ids)-1], Name: "scan.pdf"}, Blob: "b"})
	}
	w.commit(st)
	slices.Sort(ids)
	snap := w.load(st.Ref)
	w.commit(store.Step{Ref: st.Ref, Base: snap.Version, Op: store.Token(w.ids.Token()), State: snap.State, Detach: []string{ids[1], w.ids.New(id.Attachment, 0)}})
	w.reopen()
	w.noErr(w.Store.Scrub(ctx), "scrubbing")
	list, err := w.Store.Attachments(ctx, st.Ref, "", 10)
	w.noErr(err, "listing")
	for i, a := range list {
		if a.ID != ids[i] || a.Name != "scan.pdf" || (a.Blob == "") != (i == 1) {
			t.Errorf("attachment %d: %+v", i, a)
		}
	}
	if page, err := w.Store.Attachments(ctx, st.Ref, ids[0], 1); err != nil || len(page) != 1 || page[0].ID != ids[1] {
		t.Errorf("a page: %v, %v", page, err)
	}
}

// testRecords: a record is written on what was read, with its entry or not at all.
func testRecords(t *testing.T, w *world) {
	ctx := t.Context()
	entry := func(kind string) *audit.Entry {
		return &audit.Entry{At: w.clock.Milli(), Type: "hold", Kind: kind, Op: w.ids.Token(), Actor: "owner:ann"}
	}
	entries := func() int {
		list, err := w.Store.Entries(ctx, w.tenant, "", 0, 100)
		w.noErr(err, "reading the chain")
		return len(list)
	}
	rec := store.Record{Kind: "hold", ID: "h.1", Body: []byte("one")}
	_, err := w.Store.Record(ctx, w.tenant, "hold", "h.1")
	w.wantErr(err, store.ErrNotFound, "before")
	if rec.Version, err = w.Store.PutRecord(ctx, w.tenant, rec, entry("set")); err != nil {
		t.Fatal(err)
	}
	stale := store.Record{Kind: "hold", ID: "h.1", Body: []byte("x")}
	_, err = w.Store.PutRecord(ctx, w.tenant, stale, entry("set"))
	w.wantErr(err, store.ErrStale, "making what is there")
	stale.Version = "other"
	_, err = w.Store.PutRecord(ctx, w.tenant, stale, entry("set"))
	w.wantErr(err, store.ErrStale, "changing another version")
	w.wantErr(w.Store.DeleteRecord(ctx, w.tenant, stale, entry("lift")), store.ErrStale, "deleting another version")
	if n := entries(); n != 1 {
		t.Errorf("%d entries after one change", n)
	}
	rec.Body = []byte("two")
	if rec.Version, err = w.Store.PutRecord(ctx, w.tenant, rec, nil); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"h.3", "h.2"} {
		_, err := w.Store.PutRecord(ctx, w.tenant, store.Record{Kind: "hold", ID: id}, nil)
		w.noErr(err, "putting")
	}
	_, err = w.Store.PutRecord(ctx, w.tenant, store.Record{Kind: "holds", ID: "h.1"}, nil)
	w.noErr(err, "another kind")
	w.reopen()
	got, err := w.Store.Record(ctx, w.tenant, "hold", "h.1")
	if err != nil || string(got.Body) != "two" || got.Version != rec.Version {
		t.Errorf("%+v, %v", got, err)
	}
	list, err := w.Store.ListRecords(ctx, w.tenant, "hold", "h.1", 10)
	if err != nil || len(list) != 2 || list[0].ID != "h.2" || list[1].ID != "h.3" {
		t.Errorf("the list: %v, %v", list, err)
	}
	other := w.newTenant("other")
	if list, err := w.Store.ListRecords(ctx, other, "hold", "", 10); err != nil || len(list) != 0 {
		t.Errorf("another tenant's: %v, %v", list, err)
	}
	w.noErr(w.Store.DeleteRecord(ctx, w.tenant, rec, entry("lift")), "deleting")
	_, err = w.Store.Record(ctx, w.tenant, "hold", "h.1")
	w.wantErr(err, store.ErrNotFound, "after")
	if n := entries(); n != 2 {
		t.Errorf("%d entries after two changes", n)
	}
	for _, bad := range []store.Record{{Kind: "", ID: "x"}, {Kind: "x", ID: "a\x00b"}, {Kind: "x", ID: "A"}} {
		if _, err := w.Store.PutRecord(ctx, w.tenant, bad, nil); err == nil || errors.Is(err, store.ErrStale) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	w.noErr(w.Store.Scrub(ctx), "scrubbing")
}

func testJobs(t *testing.T, w *world) {
	ctx := t.Context()
	until := w.clock.Milli() + 1000
	w.noErr(w.Store.LeaseJob(ctx, w.tenant, "retention", "one", until), "taking")
	w.noErr(w.Store.LeaseJob(ctx, w.tenant, "retention", "one", until), "renewing")
	w.wantErr(w.Store.LeaseJob(ctx, w.tenant, "retention", "two", until), store.ErrStale, "taking what is held")
	w.noErr(w.Store.LeaseJob(ctx, w.tenant, "erasure", "two", until), "another job")
	w.noErr(w.Store.LeaseJob(ctx, w.newTenant("other"), "retention", "two", until), "another tenant's")
	w.noErr(w.Store.DropJob(ctx, w.tenant, "retention", "two"), "dropping what is another's")
	w.wantErr(w.Store.LeaseJob(ctx, w.tenant, "retention", "two", until), store.ErrStale, "taking what is still held")
	w.noErr(w.Store.DropJob(ctx, w.tenant, "retention", "one"), "dropping")
	w.noErr(w.Store.LeaseJob(ctx, w.tenant, "retention", "two", until), "taking what is free")
	w.clock.Move(2e9)
	w.noErr(w.Store.LeaseJob(ctx, w.tenant, "retention", "three", until+5000), "taking what has run out")
}
