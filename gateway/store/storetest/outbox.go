package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// rowFor is a bot's row of the conversation's epoch.
func (w *world) rowFor(r store.Ref, text string) store.OutboxRow {
	w.Helper()
	m := w.ids.New(id.Message, 0)
	s := w.load(r).State
	return store.OutboxRow{
		ID: store.RowOf(m), Epoch: s.Epoch, Seq: s.Seq + 1, At: w.clock.Milli(), Due: w.clock.Milli(),
		Out: message.Outbound{ID: m, To: s.From, Part: message.Part{Text: text}, By: message.ByBot},
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
	refs, _, err := w.Store.Pending(w.Context(), w.tenant, address(1).Channel, w.clock.Milli(), 100)
	w.noErr(err, "asking what is pending")
	return refs
}

func (w *world) lease(r store.Ref) (store.LeasedRow, error) {
	return w.Store.Lease(w.Context(), r, w.clock.Milli(), w.clock.Milli()+1000)
}

// settle ends an attempt by a step.
func (w *world) settle(row store.LeasedRow, end store.Settlement, cmds ...conversation.Command) error {
	w.Helper()
	st := w.step(row.Ref, w.load(row.Ref), system, cmds...)
	end.Row, end.Token = row.Row.ID, row.Token
	st.Settle = &end
	_, err := w.Store.Commit(w.Context(), st)
	return err
}

func (w *world) redrive(r store.Ref, row string, discard bool) error {
	w.Helper()
	st := w.step(r, w.load(r), system)
	st.Redrive = &store.Redrive{Row: row, Discard: discard}
	_, err := w.Store.Commit(w.Context(), st)
	return err
}

func sent(row store.LeasedRow) conversation.Command {
	return conversation.SetStatus{ID: row.Row.Out.ID, Status: message.Sent}
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
		if row.Attempt != 1 || row.Tries != 1 || row.Unsure != 0 || row.Row.Out.Attempt != 1 || row.Row.Out.Retry {
			t.Errorf("first attempt: %+v", row)
		}
		_, err = w.lease(r)
		w.wantErr(err, store.ErrStale, "a second sender")
		got = append(got, row.Row.ID)
		w.noErr(w.settle(row, store.Settlement{}, sent(row)), "settling")
		w.wantErr(w.settle(row, store.Settlement{End: store.Bury}), store.ErrStale, "settling twice")
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
	w.wantErr(w.settle(store.LeasedRow{Ref: r, Row: second}, store.Settlement{}), store.ErrStale, "settling a row that nobody sends")
	w.noErr(w.settle(row, store.Settlement{End: store.Retry, Due: w.clock.Milli() + 500, Unsure: true}), "settling")
	_, err = w.lease(r)
	w.wantErr(err, store.ErrNotFound, "before the retry")
	if p := w.pending(); len(p) != 0 {
		t.Errorf("pending before the retry: %v", p)
	}
	if _, next, err := w.Store.Pending(t.Context(), w.tenant, address(1).Channel, w.clock.Milli(), 100); err != nil || next != w.clock.Milli()+500 {
		t.Errorf("next at %d, %v", next, err)
	}
	w.clock.Move(500 * time.Millisecond)
	if p := w.pending(); len(p) != 1 {
		t.Errorf("pending at the retry: %v", p)
	}
	row, err = w.lease(r)
	w.noErr(err, "leasing again")
	if row.Row.ID != first.ID || row.Attempt != 2 || row.Tries != 2 || row.Unsure != 1 || !row.Row.Out.Retry {
		t.Errorf("the retry: %+v", row)
	}
	// An attempt that said nothing of the message is an attempt and no try.
	w.noErr(w.settle(row, store.Settlement{End: store.Retry, Due: w.clock.Milli(), NoTry: true}), "settling what is no try")
	row, err = w.lease(r)
	w.noErr(err, "leasing after what was no try")
	if row.Row.ID != first.ID || row.Attempt != 3 || row.Tries != 2 || row.Unsure != 1 {
		t.Errorf("after what was no try: %+v", row)
	}
	// An attempt that never began counts for nothing.
	w.noErr(w.settle(row, store.Settlement{End: store.Unsent, Due: w.clock.Milli()}), "giving back")
	row, err = w.lease(r)
	w.noErr(err, "leasing what was given back")
	if row.Row.ID != first.ID || row.Attempt != 3 || row.Unsure != 1 {
		t.Errorf("given back: %+v", row)
	}
	// A sender who is too late loses the row to the next; his result counts no more.
	w.clock.Move(hidden)
	next, err := w.lease(r)
	w.noErr(err, "taking over")
	if next.Attempt != 4 || next.Unsure != 2 {
		t.Errorf("taken over: %+v", next)
	}
	w.wantErr(w.settle(row, store.Settlement{}, sent(row)), store.ErrStale, "a late result")
	w.noErr(w.settle(next, store.Settlement{}, sent(next)), "settling")
}

// handoff drafts the diversion of a conversation on a snapshot.
func (w *world) handoff(r store.Ref, snap *store.Snapshot) store.Step {
	w.Helper()
	return w.step(r, snap, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
}

// statuses lists what the log says of deliveries after seq: message=status.
func (w *world) statuses(r store.Ref, after uint64) (out []string) {
	w.Helper()
	log, err := w.Store.Log(w.Context(), r, after, 1000)
	w.noErr(err, "reading the log")
	for _, e := range log {
		if s, ok := e.Data.(*conversation.StatusChanged); ok {
			out = append(out, s.ID+"="+string(s.Status))
		}
	}
	return out
}

// testOutboxCancel lets people take over while rows wait: the bot's are gone, with the log to say so, all others leave.
func testOutboxCancel(t *testing.T, w *world) {
	r := w.open(address(1))
	first, second := w.rowFor(r, "first"), w.rowFor(r, "second")
	said := w.rowFor(r, "said")
	said.Out.By = message.BySystem
	w.push(r, first, said, second)
	snap := w.load(r)
	if len(snap.Outgoing) != 2 || snap.Outgoing[0].Message != first.Out.ID || snap.Outgoing[0].InFlight {
		t.Errorf("outgoing: %+v", snap.Outgoing)
	}
	st := w.handoff(r, snap)
	if done := w.commit(st); len(done.InFlight) != 0 {
		t.Errorf("in flight: %v", done.InFlight)
	}
	want := []string{first.Out.ID + "=cancelled", second.Out.ID + "=cancelled"}
	if got := w.statuses(r, snap.State.Seq); !slices.Equal(got, want) {
		t.Errorf("the log says %v, want %v", got, want)
	}
	row, err := w.lease(r)
	w.noErr(err, "leasing what is left")
	if row.Row.ID != said.ID {
		t.Errorf("after the handoff %q is sent, want what the system said", row.Row.Out.Part.Text)
	}
	w.noErr(w.settle(row, store.Settlement{}, sent(row)), "settling")
	_, err = w.lease(r)
	w.wantErr(err, store.ErrNotFound, "nothing of the bot's is left")
	w.clock.Move(hidden)
	if p := w.pending(); len(p) != 0 {
		t.Errorf("pending: %v", p)
	}
}

// testOutboxInFlight lets people take over while a send is under way: it is named, and not tried again whatever its end.
func testOutboxInFlight(t *testing.T, w *world) {
	r := w.open(address(1))
	flying, waiting := w.rowFor(r, "flying"), w.rowFor(r, "waiting")
	said := w.rowFor(r, "said")
	said.Out.By = message.BySystem
	w.push(r, flying, waiting, said)
	row, err := w.lease(r)
	w.noErr(err, "leasing")
	snap := w.load(r)
	st := w.handoff(r, snap)
	done := w.commit(st)
	if !slices.Equal(done.InFlight, []string{flying.Out.ID}) {
		t.Errorf("in flight: %v, want %v", done.InFlight, flying.Out.ID)
	}
	if done := w.commit(st); !done.Repeat || !slices.Equal(done.InFlight, []string{flying.Out.ID}) {
		t.Errorf("repeated: %+v", done)
	}
	if h := w.load(r).State.Handoff; h == nil || !slices.Equal(h.InFlight, []string{flying.Out.ID}) {
		t.Errorf("the handoff: %+v", h)
	}
	// Its result is not known. Nobody gets it to send again.
	w.noErr(w.settle(row, store.Settlement{End: store.Retry, Due: w.clock.Milli(), Unsure: true}), "settling")
	var lapsed *store.LapsedError
	if _, err = w.lease(r); !errors.As(err, &lapsed) || lapsed.Row.Row.ID != flying.ID || lapsed.Row.Unsure != 1 {
		t.Fatalf("leasing a row whose epoch has passed: %v", err)
	}
	w.noErr(w.settle(lapsed.Row, store.Settlement{}, conversation.CancelSend{ID: flying.Out.ID}), "ending it")
	next, err := w.lease(r)
	w.noErr(err, "leasing what is left")
	if next.Row.ID != said.ID {
		t.Errorf("after the handoff %q is sent, want what the system said", next.Row.Out.Part.Text)
	}
	w.noErr(w.settle(next, store.Settlement{}, sent(next)), "settling")

	// The same over a restart: the attempt has begun and nobody knows its end.
	r = w.open(address(2))
	w.push(r, w.rowFor(r, "one"), w.rowFor(r, "two"))
	one, err := w.lease(r)
	w.noErr(err, "leasing")
	w.restart()
	if done := w.commit(w.handoff(r, w.load(r))); !slices.Equal(done.InFlight, []string{one.Row.Out.ID}) {
		t.Errorf("in flight after a restart: %v", done.InFlight)
	}
	if _, err = w.lease(r); !errors.As(err, &lapsed) || lapsed.Row.Token != one.Token {
		t.Fatalf("leasing after a restart: %v", err)
	}
	w.noErr(w.settle(lapsed.Row, store.Settlement{Unsure: true}), "ending it")
	_, err = w.lease(r)
	w.wantErr(err, store.ErrNotFound, "the rest was cancelled")

	// One that waits for its next attempt is cancelled like the others, but it may have arrived.
	r = w.open(address(3))
	may := w.rowFor(r, "may")
	w.push(r, may)
	row, err = w.lease(r)
	w.noErr(err, "leasing")
	w.noErr(w.settle(row, store.Settlement{End: store.Retry, Due: w.clock.Milli() + 1000, Unsure: true}), "settling")
	snap = w.load(r)
	if len(snap.Outgoing) != 1 || !snap.Outgoing[0].Unsure || snap.Outgoing[0].InFlight {
		t.Errorf("outgoing: %+v", snap.Outgoing)
	}
	w.commit(w.handoff(r, snap))
	if got := w.statuses(r, snap.State.Seq); !slices.Equal(got, []string{may.Out.ID + "=uncertain"}) {
		t.Errorf("the log says %v", got)
	}
	_, err = w.lease(r)
	w.wantErr(err, store.ErrNotFound, "it is not sent again")
}

// testOutboxRace lets a send begin between the decision of a handoff and its commit: the handoff is decided again, so that
// its log tells the truth.
func testOutboxRace(t *testing.T, w *world) {
	r := w.open(address(1))
	row := w.rowFor(r, "one")
	w.push(r, row)
	st := w.handoff(r, w.load(r))
	leased, err := w.lease(r)
	w.noErr(err, "leasing")
	_, err = w.Store.Commit(t.Context(), st)
	w.wantErr(err, store.ErrStale, "a handoff that does not know of the send")
	if done := w.commit(w.handoff(r, w.load(r))); !slices.Equal(done.InFlight, []string{row.Out.ID}) {
		t.Errorf("in flight: %v", done.InFlight)
	}
	w.noErr(w.settle(leased, store.Settlement{}, sent(leased)), "settling")
}

// testOutboxTerms ends the bot's term by its own word: what it said is sent all the same, also after a reopening.
func testOutboxTerms(t *testing.T, w *world) {
	r := w.open(address(1))
	before, goodbye := w.rowFor(r, "before"), w.rowFor(r, "goodbye")
	w.push(r, before)
	st := w.step(r, w.load(r), botActor, conversation.Close{Reason: conversation.ReasonBotEnd})
	goodbye.Epoch = st.State.Epoch
	st.Outbox = []store.OutboxRow{goodbye}
	w.commit(st)
	row, err := w.lease(r)
	w.noErr(err, "leasing after the close")
	if row.Row.ID != before.ID {
		t.Errorf("after the close: %+v", row)
	}
	w.do(r, customer, conversation.Reopen{})
	w.noErr(w.settle(row, store.Settlement{}, sent(row)), "settling")
	row, err = w.lease(r)
	w.noErr(err, "leasing after the reopening")
	if row.Row.ID != goodbye.ID {
		t.Errorf("after the reopening: %+v", row)
	}
	w.noErr(w.settle(row, store.Settlement{}, sent(row)), "settling")
}

// testOutboxChannels asks for the work of one channel: another's, and another tenant's, is not in it.
func testOutboxChannels(t *testing.T, w *world) {
	a, b := address(1), message.Address{Channel: "acme.sms", Address: "+49"}
	r := w.open(a)
	w.push(r, w.rowFor(r, "one"))
	other := w.open(b)
	w.push(other, w.rowFor(other, "two"))
	w.restart()
	ask := func(ten store.Tenant, channel string) []store.Ref {
		t.Helper()
		refs, _, err := w.Store.Pending(t.Context(), ten, channel, w.clock.Milli(), 10)
		w.noErr(err, "asking what is pending")
		return refs
	}
	if got := ask(w.tenant, b.Channel); !slices.Equal(got, []store.Ref{other}) {
		t.Errorf("of one channel: %v", got)
	}
	if got := ask(w.tenant, a.Channel); !slices.Equal(got, []store.Ref{r}) {
		t.Errorf("of the other: %v", got)
	}
	if got := ask(w.newTenant("other"), a.Channel); len(got) != 0 {
		t.Errorf("of another tenant: %v", got)
	}
	if got := ask(w.tenant, "acme.fax"); len(got) != 0 {
		t.Errorf("of a channel that has nothing: %v", got)
	}
}

func testOutboxRestart(t *testing.T, w *world) {
	r := w.open(address(1))
	w.push(r, w.rowFor(r, "one"), w.rowFor(r, "two"))
	one, err := w.lease(r)
	w.noErr(err, "leasing")
	w.restart()
	if p := w.pending(); len(p) != 1 {
		t.Errorf("pending after a restart: %v", p)
	}
	again, err := w.lease(r)
	w.noErr(err, "leasing after a restart")
	if again.Row.ID != one.Row.ID || again.Attempt != 2 || again.Unsure != 1 {
		t.Errorf("after a restart: %+v", again)
	}
	w.wantErr(w.settle(one, store.Settlement{}, sent(one)), store.ErrStale, "a result of the process before")
}

func testDeadLetters(t *testing.T, w *world) {
	r := w.open(address(1))
	rows := []store.OutboxRow{w.rowFor(r, "one"), w.rowFor(r, "two"), w.rowFor(r, "three")}
	w.push(r, rows...)
	for i := range rows {
		row, err := w.lease(r)
		w.noErr(err, "leasing")
		w.clock.Move(time.Second)
		w.noErr(w.settle(row, store.Settlement{End: store.Bury, Code: fmt.Sprint("code-", i), Unsure: i == 1}), "settling")
	}
	w.reopen()
	dead, next, err := w.Store.DeadLetters(t.Context(), w.tenant, "", 10)
	w.noErr(err, "dead letters")
	if len(dead) != 3 || next != "" || dead[0].Row.ID != rows[0].ID || dead[1].Code != "code-1" || dead[0].Ref != r ||
		dead[0].Attempt != 1 || dead[0].Unsure || !dead[1].Unsure {
		t.Fatalf("dead letters: %+v, next %q", dead, next)
	}
	var paged []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		if dead, cursor, err = w.Store.DeadLetters(t.Context(), w.tenant, cursor, 1); err != nil || len(dead) != 1 {
			t.Fatalf("a page: %d, %v", len(dead), err)
		}
		paged = append(paged, dead[0].Row.ID)
	}
	if len(paged) != 3 || paged[2] != rows[2].ID {
		t.Errorf("by pages: %v", paged)
	}
	_, _, err = w.Store.DeadLetters(t.Context(), w.tenant, "../x", 1)
	w.wantErr(err, store.ErrNotFound, "a cursor that is none")
	one, err := w.Store.DeadLetter(t.Context(), w.tenant, rows[1].ID)
	if err != nil || one.Row.Out.Part.Text != "two" {
		t.Errorf("one of them: %+v, %v", one, err)
	}
	for _, which := range []string{w.ids.New(id.Row, 3), "r_x", ""} {
		_, err = w.Store.DeadLetter(t.Context(), w.tenant, which)
		w.wantErr(err, store.ErrNotFound, "a row that is not dead")
	}

	w.noErr(w.redrive(r, rows[0].ID, true), "discarding")
	w.wantErr(w.redrive(r, rows[0].ID, true), store.ErrStale, "discarding twice")
	w.wantErr(w.redrive(w.open(address(2)), rows[1].ID, false), store.ErrStale, "from another conversation")
	w.clock.Move(time.Minute)
	w.noErr(w.redrive(r, rows[1].ID, false), "putting back")
	w.wantErr(w.redrive(r, rows[1].ID, false), store.ErrStale, "putting back twice")
	if dead, _, err := w.Store.DeadLetters(t.Context(), w.tenant, "", 10); err != nil || len(dead) != 1 || dead[0].Row.ID != rows[2].ID {
		t.Errorf("left: %v, %v", dead, err)
	}
	if p := w.pending(); len(p) != 1 {
		t.Errorf("pending: %v", p)
	}
	row, err := w.lease(r)
	w.noErr(err, "leasing what was put back")
	if row.Row.ID != rows[1].ID || row.Attempt != 2 || row.Tries != 1 || row.Unsure != 1 || row.Row.At != w.clock.Milli() {
		t.Errorf("put back: %+v", row)
	}
	w.noErr(w.settle(row, store.Settlement{}, sent(row)), "settling")

	// What had left is reported as failed: it is a dead letter like any other, once.
	for range 2 {
		st := w.step(r, w.load(r), system, conversation.SetStatus{ID: row.Row.Out.ID, Status: message.Failed})
		st.Bury = &store.DeadLetter{Row: row.Row, Code: "late"}
		w.commit(st)
		w.clock.Move(time.Second)
	}
	if dead, _, err := w.Store.DeadLetters(t.Context(), w.tenant, "", 10); err != nil || len(dead) != 2 || dead[1].Code != "late" {
		t.Errorf("after a late failure: %+v, %v", dead, err)
	}
}
