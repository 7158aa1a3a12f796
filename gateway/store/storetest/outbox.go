package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// rowFor is a bot's row of the conversation's epoch.
func (w *world) rowFor(r store.Ref, text string) store.OutboxRow {
	w.Helper()
	return store.OutboxRow{
		ID: w.ids.New(id.Row, 0), Epoch: w.load(r).State.Epoch, Due: w.clock.Milli(),
		Out: message.Outbound{ID: "m_" + text, To: address(1), Part: message.Part{Text: text}, By: message.ByBot},
	}
}

// push commits rows along with some step.
func (w *world) push(r store.Ref, rows ...store.OutboxRow) {
	w.Helper()
	st := w.step(r, w.load(r), system, conversation.Say{Sent: conversation.Sent{ID: w.ids.New(id.Message, 0), Part: message.Part{Text: "x"}}})
	st.Outbox = rows
	w.commit(st)
}

func (w *world) pending() []store.Ref {
	w.Helper()
	refs, err := w.Store.Pending(w.Context(), w.clock.Milli(), 100)
	w.noErr(err, "asking what is pending")
	return refs
}

func (w *world) lease(r store.Ref) (store.LeasedRow, error) {
	return w.Store.Lease(w.Context(), r, w.clock.Milli(), w.clock.Milli()+1000)
}

func testOutboxOrder(t *testing.T, w *world) {
	r := w.open(address(1))
	var want []string
	for i := range 3 {
		var rows []store.OutboxRow
		for j := range 2 {
			row := w.rowFor(r, fmt.Sprintf("%d.%d", i, j))
			rows = append(rows, row)
			want = append(want, row.ID)
		}
		w.push(r, rows...)
	}
	if p := w.pending(); !slices.Equal(p, []store.Ref{r}) {
		t.Errorf("pending: %v", p)
	}
	var got []string
	for range want {
		row, err := w.lease(r)
		w.noErr(err, "leasing")
		if row.Attempt != 1 || row.Uncertain || row.Row.Out.Attempt != 1 {
			t.Errorf("first attempt: %+v", row)
		}
		_, err = w.lease(r)
		w.wantErr(err, store.ErrStale, "a second sender")
		got = append(got, row.Row.ID)
		w.noErr(w.Store.Settle(t.Context(), row, store.SendResult{Delivered: true, Now: w.clock.Milli()}), "settling")
		w.wantErr(w.Store.Settle(t.Context(), row, store.SendResult{Now: w.clock.Milli()}), store.ErrStale, "settling twice")
	}
	if !slices.Equal(got, want) {
		t.Errorf("left in the order %v, want %v", got, want)
	}
	_, err := w.lease(r)
	w.wantErr(err, store.ErrNotFound, "an empty outbox")
	w.clock.Move(hidden)
	if p := w.pending(); len(p) != 0 {
		t.Errorf("pending at the end: %v", p)
	}

	// A retry holds back what stands behind it.
	first, second := w.rowFor(r, "first"), w.rowFor(r, "second")
	w.push(r, first, second)
	row, err := w.lease(r)
	w.noErr(err, "leasing")
	w.noErr(w.Store.Settle(t.Context(), row, store.SendResult{Retry: w.clock.Milli() + 500, Uncertain: true, Now: w.clock.Milli()}), "settling")
	_, err = w.lease(r)
	w.wantErr(err, store.ErrNotFound, "before the retry")
	if p := w.pending(); len(p) != 0 {
		t.Errorf("pending before the retry: %v", p)
	}
	w.clock.Move(500 * time.Millisecond)
	if p := w.pending(); len(p) != 1 {
		t.Errorf("pending at the retry: %v", p)
	}
	row, err = w.lease(r)
	w.noErr(err, "leasing again")
	if row.Row.ID != first.ID || row.Attempt != 2 || !row.Uncertain || !row.Row.Out.Retry {
		t.Errorf("the retry: %+v", row)
	}
	// A sender who is too late loses the row to the next; his result counts no more.
	w.clock.Move(hidden)
	next, err := w.lease(r)
	w.noErr(err, "taking over")
	if next.Attempt != 3 || !next.Uncertain {
		t.Errorf("taken over: %+v", next)
	}
	w.wantErr(w.Store.Settle(t.Context(), row, store.SendResult{Delivered: true}), store.ErrStale, "a late result")
	w.noErr(w.Store.Settle(t.Context(), next, store.SendResult{Delivered: true}), "settling")
}

func testOutboxCancel(t *testing.T, w *world) {
	r := w.open(address(1))
	flying, waiting, again := w.rowFor(r, "flying"), w.rowFor(r, "waiting"), w.rowFor(r, "again")
	said := w.rowFor(r, "said")
	said.Out.By = message.BySystem
	w.push(r, flying, waiting, said, again)
	row, err := w.lease(r)
	w.noErr(err, "leasing")
	snap := w.load(r)
	st := w.step(r, snap, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
	done := w.commit(st)
	if !slices.Equal(done.InFlight, []string{flying.ID}) {
		t.Errorf("in flight: %v, want %v", done.InFlight, flying.ID)
	}
	if done := w.commit(st); !done.Repeat || !slices.Equal(done.InFlight, []string{flying.ID}) {
		t.Errorf("repeated: %+v", done)
	}
	// Its result is not known; it is not tried again, and the log says so.
	w.noErr(w.Store.Settle(t.Context(), row, store.SendResult{Retry: w.clock.Milli(), Uncertain: true, Now: w.clock.Milli()}), "settling")
	next, err := w.lease(r)
	w.noErr(err, "leasing what is left")
	if next.Row.ID != said.ID {
		t.Errorf("after the handoff %q is sent, want what the system said", next.Row.Out.ID)
	}
	w.noErr(w.Store.Settle(t.Context(), next, store.SendResult{Delivered: true}), "settling")
	_, err = w.lease(r)
	w.wantErr(err, store.ErrNotFound, "nothing of the bot's is left")
	log, err := w.Store.Log(t.Context(), r, snap.State.Seq, 100)
	w.noErr(err, "reading the log")
	last := log[len(log)-1]
	if s, ok := last.Data.(*conversation.StatusChanged); !ok || s.ID != flying.Out.ID || s.Status != message.Uncertain {
		t.Errorf("the log ends with %s %+v", last.Type, last.Data)
	}
	w.clock.Move(hidden)
	if p := w.pending(); len(p) != 0 {
		t.Errorf("pending: %v", p)
	}
}

func testOutboxRestart(t *testing.T, w *world) {
	r := w.open(address(1))
	w.push(r, w.rowFor(r, "one"), w.rowFor(r, "two"))
	one, err := w.lease(r)
	w.noErr(err, "leasing")
	w.reopen()
	if p := w.pending(); len(p) != 1 {
		t.Errorf("pending after a restart: %v", p)
	}
	again, err := w.lease(r)
	w.noErr(err, "leasing after a restart")
	if again.Row.ID != one.Row.ID || again.Attempt != 2 || !again.Uncertain {
		t.Errorf("after a restart: %+v", again)
	}
	w.wantErr(w.Store.Settle(t.Context(), one, store.SendResult{Delivered: true}), store.ErrStale, "a result of the process before")
}

func testDeadLetters(t *testing.T, w *world) {
	r := w.open(address(1))
	rows := []store.OutboxRow{w.rowFor(r, "one"), w.rowFor(r, "two")}
	w.push(r, rows...)
	for i := range rows {
		row, err := w.lease(r)
		w.noErr(err, "leasing")
		w.clock.Move(time.Second)
		w.noErr(w.Store.Settle(t.Context(), row, store.SendResult{Code: fmt.Sprint("code-", i), Now: w.clock.Milli()}), "settling")
	}
	w.reopen()
	dead, err := w.Store.DeadLetters(t.Context(), w.tenant, 10)
	w.noErr(err, "dead letters")
	if len(dead) != 2 || dead[0].Row.ID != rows[0].ID || dead[1].Code != "code-1" || dead[0].Ref != r || dead[0].Attempt != 1 {
		t.Fatalf("dead letters: %+v", dead)
	}
	if dead, err := w.Store.DeadLetters(t.Context(), w.tenant, 1); err != nil || len(dead) != 1 {
		t.Errorf("one of them: %d, %v", len(dead), err)
	}
	w.noErr(w.Store.Redrive(t.Context(), w.tenant, rows[0].ID, true), "discarding")
	w.wantErr(w.Store.Redrive(t.Context(), w.tenant, rows[0].ID, true), store.ErrNotFound, "discarding twice")
	w.noErr(w.Store.Redrive(t.Context(), w.tenant, rows[1].ID, false), "putting back")
	if dead, err := w.Store.DeadLetters(t.Context(), w.tenant, 10); err != nil || len(dead) != 0 {
		t.Errorf("left: %v, %v", dead, err)
	}
	row, err := w.lease(r)
	w.noErr(err, "leasing what was put back")
	if row.Row.ID != rows[1].ID || row.Attempt != 2 {
		t.Errorf("put back: %+v", row)
	}
	w.noErr(w.Store.Settle(t.Context(), row, store.SendResult{Delivered: true}), "settling")
}

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
		w.noErr(w.Store.Publish(ctx, w.tenant, "rules", n, store.VersionedDoc{Digest: fmt.Sprint("d", n+1), Body: []byte{byte(n)}, At: 5}), "publishing")
	}
	w.wantErr(w.Store.Publish(ctx, w.tenant, "rules", 2, store.VersionedDoc{}), store.ErrStale, "on an old version")
	w.wantErr(w.Store.Publish(ctx, w.tenant, "rules", 9, store.VersionedDoc{}), store.ErrStale, "on one that is not there")
	w.reopen()
	cur, err := w.Store.Current(ctx, w.tenant, "rules")
	if err != nil || cur.N != 3 || cur.Digest != "d3" || string(cur.Body) != "\x02" || cur.At != 5 {
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
