package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// archives are the tests of stores that archive.
var archives = []struct {
	name string
	test func(*testing.T, *world, store.Archive)
}{
	{"archive", testArchive},
	{"archive pieces", testArchivePieces},
	{"archive reopened", testArchiveReopened},
	{"archive erased", testArchiveErased},
	{"archive detach", testArchiveDetach},
	{"archive checkpoints", testArchiveCheckpoints},
	{"archive race", testArchiveRace},
}

// archive is the store as one that archives, as it is now.
func (w *world) archive() store.Archive { return w.Store.(store.Archive) }

// talked opens a conversation that has been with the bot and with people, has a file and a few decisions, and is closed.
func (w *world) talked(a message.Address, turns int) store.Ref {
	w.Helper()
	return w.talkedWith(a, turns, strings.Repeat("ab", 32))
}

// talkedWith is talked with a file that is there.
func (w *world) talkedWith(a message.Address, turns int, blob string) store.Ref {
	w.Helper()
	st := w.opening(a, "hello", "my secret")
	st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: w.ids.New(id.Attachment, 0), Name: "scan.pdf"}, Blob: blob}}
	w.commit(st)
	for i := range turns {
		turn := w.ids.New(id.Turn, 0)
		w.do(st.Ref, system, conversation.StartTurn{ID: turn})
		w.do(st.Ref, botActor, conversation.AnswerTurn{
			Turn: turn, Decision: conversation.Decision{Kind: conversation.DecisionPass},
			Parts: []conversation.Sent{{ID: w.ids.New(id.Message, 0), Turn: turn, Part: message.Part{Text: fmt.Sprint("answer ", i)}}},
		})
		in := w.step(st.Ref, w.load(st.Ref), customer, w.inbound(a, fmt.Sprint("more-", i), "and then?"))
		in.Dedupe = []store.Dedupe{{From: a, ID: fmt.Sprint("more-", i), Seq: in.State.Seq}}
		w.commit(in)
	}
	w.divert(st.Ref, "support", 5)
	w.claim(st.Ref, "ann")
	w.do(st.Ref, agent("ann"), conversation.AddNote{ID: w.ids.New(id.Message, 0), Text: "done"}, conversation.Resolve{})
	return st.Ref
}

// seen is everything that readers see of a conversation.
type seen struct {
	events, visible []conversation.Event
	entries         [][]byte
	files           []store.Attachment
}

// look reads a conversation in every way and in pages of every size.
func (w *world) look(r store.Ref) (s seen) {
	w.Helper()
	ctx := w.Context()
	state := w.load(r).State
	var err error
	s.events, err = w.Store.Log(ctx, r, 0, 1<<20)
	w.noErr(err, "reading the log")
	s.visible, err = w.Store.Visible(ctx, r, 0, 1<<20)
	w.noErr(err, "reading what is visible")
	s.entries, err = w.Store.Entries(ctx, w.tenant, r.ID, 0, 1<<20)
	w.noErr(err, "reading the chain")
	s.files, err = w.Store.Attachments(ctx, r, "", 1000)
	w.noErr(err, "reading attachments")
	if uint64(len(s.events)) != state.Seq || uint64(len(s.visible)) != state.VSeq {
		w.Fatalf("%d events of %d, %d visible of %d", len(s.events), state.Seq, len(s.visible), state.VSeq)
	}
	var folded conversation.State
	for _, e := range s.events {
		w.noErr(folded.Fold(e), "folding")
	}
	if !bytes.Equal(asJSON(&folded), asJSON(state)) {
		w.Error("the fold of the log is not the state")
	}
	for _, limit := range []int{1, 3, 7} {
		for after := range len(s.events) {
			page, err := w.Store.Log(ctx, r, uint64(after), limit)
			if err != nil || !bytes.Equal(asJSON(page), asJSON(s.events[after:min(after+limit, len(s.events))])) {
				w.Fatalf("the log, %d after %d: %d events, %v", limit, after, len(page), err)
			}
		}
		for after := range len(s.visible) {
			page, err := w.Store.Visible(ctx, r, uint64(after), limit)
			if err != nil || !bytes.Equal(asJSON(page), asJSON(s.visible[after:min(after+limit, len(s.visible))])) {
				w.Fatalf("what is visible, %d after %d: %d events, %v", limit, after, len(page), err)
			}
		}
		for after := range len(s.entries) {
			page, err := w.Store.Entries(ctx, w.tenant, r.ID, uint64(after), limit)
			if err != nil || !slices.EqualFunc(page, s.entries[after:min(after+limit, len(s.entries))], bytes.Equal) {
				w.Fatalf("the chain, %d after %d: %d entries, %v", limit, after, len(page), err)
			}
		}
	}
	if more, err := w.Store.Entries(ctx, w.tenant, r.ID, uint64(len(s.entries)), 10); err != nil || len(more) != 0 {
		w.Errorf("behind the end of the chain: %d entries, %v", len(more), err)
	}
	return s
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// same compares what readers saw before and see now.
func (w *world) same(before, now seen) {
	w.Helper()
	switch {
	case !bytes.Equal(asJSON(before.events), asJSON(now.events)):
		w.Errorf("%d events have become %d others", len(before.events), len(now.events))
	case !bytes.Equal(asJSON(before.visible), asJSON(now.visible)):
		w.Errorf("%d visible events have become %d others", len(before.visible), len(now.visible))
	case !slices.EqualFunc(before.entries, now.entries, bytes.Equal):
		w.Errorf("%d entries have become %d others", len(before.entries), len(now.entries))
	case !bytes.Equal(asJSON(before.files), asJSON(now.files)):
		w.Error("the attachments have become others")
	}
}

// closed lists what is to be archived now.
func (w *world) closed() []store.Ref {
	w.Helper()
	refs, err := w.archive().Closed(w.Context(), w.tenant, w.clock.Milli(), 100)
	w.noErr(err, "listing what is closed")
	return refs
}

// testArchive: what is closed is listed, the longest first; once it is archived every reader sees what it saw before, also
// after a restart; what is open stays as it is.
func testArchive(t *testing.T, w *world, a store.Archive) {
	ctx := t.Context()
	open := w.open(address(9))
	first := w.talked(address(1), 3)
	w.clock.Move(1e9)
	since := w.clock.Milli() - 1
	second := w.talked(address(2), 40)
	if got, err := a.Closed(ctx, w.tenant, since, 100); err != nil || !slices.Equal(got, []store.Ref{first}) {
		t.Errorf("closed for a second: %v, %v", got, err)
	}
	if got := w.closed(); !slices.Equal(got, []store.Ref{first, second}) {
		t.Errorf("closed: %v", got)
	}
	if got, err := a.Closed(ctx, w.tenant, w.clock.Milli(), 1); err != nil || !slices.Equal(got, []store.Ref{first}) {
		t.Errorf("one that is closed: %v, %v", got, err)
	}
	if got, err := a.Closed(ctx, w.newTenant("other"), w.clock.Milli(), 100); err != nil || len(got) != 0 {
		t.Errorf("another tenant's: %v, %v", got, err)
	}
	_, err := a.Archive(ctx, open)
	w.wantErr(err, store.ErrStale, "archiving what is open")
	_, err = a.Archive(ctx, store.Ref{Tenant: w.newTenant("other"), ID: first.ID})
	w.wantErr(err, store.ErrNotFound, "archiving as another tenant")
	_, err = a.Archive(ctx, store.Ref{Tenant: w.tenant, ID: w.newID(address(7))})
	w.wantErr(err, store.ErrNotFound, "archiving what is not there")
	for _, r := range []store.Ref{first, second} {
		before, snap := w.look(r), w.load(r)
		done, err := a.Archive(ctx, r)
		w.noErr(err, "archiving")
		if done.Events != len(before.events) || done.Entries != len(before.entries) || done.After == 0 || done.After >= done.Before {
			t.Errorf("%d events and %d entries were archived as %+v", len(before.events), len(before.entries), done)
		}
		w.same(before, w.look(r))
		if now := w.load(r); now.Version != snap.Version || !bytes.Equal(asJSON(now.State), asJSON(snap.State)) {
			t.Error("the snapshot is another one")
		}
		if again, err := a.Archive(ctx, r); err != nil || again != (store.Archived{}) {
			t.Errorf("archiving it again: %+v, %v", again, err)
		}
		w.reopen()
		a = w.archive()
		w.same(before, w.look(r))
		if found, err := w.Store.Find(ctx, w.tenant, snap.State.From, []string{"hello"}); err != nil || found.Snapshot == nil || found.Snapshot.Ref != r || found.Known["hello"].Seq != 2 {
			t.Errorf("by its address: %+v, %v", found, err)
		}
		if got, err := w.Store.Attachment(ctx, r, before.files[0].ID); err != nil || got.Blob != before.files[0].Blob {
			t.Errorf("its attachment: %+v, %v", got, err)
		}
	}
	if got := w.closed(); len(got) != 0 {
		t.Errorf("closed and not archived, after all: %v", got)
	}
}

// testArchivePieces: a long conversation becomes several segments, and is read through all of them.
func testArchivePieces(t *testing.T, w *world, a store.Archive) {
	r := w.open(address(1))
	long := strings.Repeat("0123456789abcdef", 4096) // 64 KiB
	for i := range 40 {
		w.do(r, customer, w.inbound(address(1), fmt.Sprint(i), fmt.Sprint(i, long)))
		if i%5 == 0 {
			w.tag(r, fmt.Sprint("t", i))
		}
	}
	w.do(r, system, conversation.Close{Reason: conversation.ReasonIdle})
	events, err := w.Store.Log(t.Context(), r, 0, 1000)
	w.noErr(err, "reading the log")
	chain, err := w.Store.Entries(t.Context(), w.tenant, r.ID, 0, 1000)
	w.noErr(err, "reading the chain")
	done, err := a.Archive(t.Context(), r)
	w.noErr(err, "archiving")
	if done.Events != len(events) || done.Entries != len(chain) || done.After > done.Before/10 {
		t.Errorf("%d events and %d entries were archived as %+v", len(events), len(chain), done)
	}
	for _, limit := range []int{1, 9, 1000} {
		var all []conversation.Event
		for {
			page, err := w.Store.Log(t.Context(), r, uint64(len(all)), limit)
			w.noErr(err, "reading a page")
			if all = append(all, page...); len(page) < limit {
				break
			}
		}
		if !bytes.Equal(asJSON(all), asJSON(events)) {
			t.Errorf("in pages of %d: %d events of %d", limit, len(all), len(events))
		}
	}
	for after := range uint64(41) {
		page, err := w.Store.Visible(t.Context(), r, after, 1)
		if err != nil || len(page) != 1 || page[0].VSeq != after+1 {
			t.Errorf("visible after %d: %v, %v", after, page, err)
		}
	}
}

// testArchiveReopened: an archived conversation goes on, and is archived once more; what was accepted is known for as long
// as in any other; what it did before stays in order before what it does now.
func testArchiveReopened(t *testing.T, w *world, a store.Archive) {
	ctx := t.Context()
	r := w.talked(address(1), 4)
	for round := range 3 {
		before := w.look(r)
		_, err := a.Archive(ctx, r)
		w.noErr(err, "archiving")
		again := w.step(r, w.load(r), customer, conversation.Reopen{}, w.inbound(address(1), "hello", "the same once more"))
		again.Dedupe = []store.Dedupe{{From: address(1), ID: "hello", Seq: again.State.Seq}}
		_, err = w.Store.Commit(ctx, again)
		var dup *store.DuplicateError
		if !errors.As(err, &dup) || dup.Known.Conversation != r.ID || dup.Known.Seq != 2 {
			t.Errorf("round %d: a redelivery: %v", round, err)
		}
		w.do(r, customer, conversation.Reopen{}, w.inbound(address(1), fmt.Sprint("back-", round), "one more thing"))
		if got := w.closed(); len(got) != 0 {
			t.Errorf("round %d: open, and to be archived: %v", round, got)
		}
		_, err = a.Archive(ctx, r)
		w.wantErr(err, store.ErrStale, "archiving what was reopened")
		now := w.look(r)
		if n := len(before.events); !bytes.Equal(asJSON(now.events[:n]), asJSON(before.events)) || len(now.events) <= n {
			t.Errorf("round %d: what was before has changed", round)
		}
		if n := len(before.entries); len(now.entries) < n || !slices.EqualFunc(now.entries[:n], before.entries, bytes.Equal) {
			t.Errorf("round %d: its chain has changed", round)
		}
		w.tag(r, fmt.Sprint("round-", round))
		w.do(r, system, conversation.Close{Reason: conversation.ReasonIdle})
		if got := w.closed(); !slices.Equal(got, []store.Ref{r}) {
			t.Errorf("round %d: closed again: %v", round, got)
		}
		if round == 1 {
			w.reopen()
			a = w.archive()
		}
	}
}

// testArchiveErased: erasing takes the segments of the log with it; the chain stays whole, is archived by itself, and still
// verifies.
func testArchiveErased(t *testing.T, w *world, a store.Archive) {
	ctx := t.Context()
	for n, archived := range []bool{true, false} {
		r := w.talked(address(n), 4)
		before := w.look(r)
		if archived {
			_, err := a.Archive(ctx, r)
			w.noErr(err, "archiving")
		}
		step := w.step(r, w.load(r), agent("own"), conversation.Wipe{})
		step.Keep = []byte("figures")
		w.commit(step)
		for _, when := range []string{"erased", "scrubbed", "archived", "opened again"} {
			switch when {
			case "scrubbed":
				w.noErr(w.Store.Scrub(ctx), "scrubbing")
			case "archived":
				if got := w.closed(); !slices.Equal(got, []store.Ref{r}) {
					t.Errorf("chains to archive: %v", got)
				}
				done, err := a.Archive(ctx, r)
				w.noErr(err, "archiving the chain")
				if done.Events != 0 || done.Entries == 0 {
					t.Errorf("archived of what is erased: %+v", done)
				}
			case "opened again":
				w.reopen()
				a = w.archive()
			}
			chain, err := w.Store.Entries(ctx, w.tenant, r.ID, 0, 1000)
			w.noErr(err, "its chain")
			if n := len(before.entries); len(chain) <= n || !slices.EqualFunc(chain[:n], before.entries, bytes.Equal) {
				t.Errorf("%s: its chain has %d entries, before it had %d", when, len(chain), n)
			}
			if _, err := audit.Verify(r.ID, audit.Head{}, chain); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			_, err = w.Store.Log(ctx, r, 0, 10)
			w.wantErr(err, store.ErrErased, "the log, "+when)
			_, err = w.Store.Visible(ctx, r, 0, 10)
			w.wantErr(err, store.ErrErased, "what is visible, "+when)
		}
	}
}

// testArchiveDetach: the files of an archived conversation can go before it.
func testArchiveDetach(t *testing.T, w *world, a store.Archive) {
	r := w.talked(address(1), 1)
	before := w.look(r)
	_, err := a.Archive(t.Context(), r)
	w.noErr(err, "archiving")
	snap := w.load(r)
	w.commit(store.Step{Ref: r, Op: store.Token(w.ids.Token()), Base: snap.Version, State: snap.State, Detach: []string{before.files[0].ID}})
	before.files[0].Blob = ""
	w.same(before, w.look(r))
	w.noErr(w.Store.Scrub(t.Context()), "scrubbing")
	w.same(before, w.look(r))
}

// testArchiveCheckpoints: what a checkpoint is made of is the same, archived or not, and one that was made before vouches
// for what is archived after it.
func testArchiveCheckpoints(t *testing.T, w *world, a store.Archive) {
	ctx := t.Context()
	one, two := w.talked(address(1), 2), w.talked(address(2), 2)
	_, err := a.Archive(ctx, one)
	w.noErr(err, "archiving")
	f := w.frontier()
	if got := chainsOf(f.Heads); len(got) != 2 {
		t.Errorf("chains that moved: %v", got)
	}
	w.noErr(w.Store.Seal(ctx, w.tenant, w.checkpoint(f)), "sealing")
	_, err = a.Archive(ctx, two)
	w.noErr(err, "archiving")
	if f := w.frontier(); len(f.Heads) != 0 {
		t.Errorf("archiving moved chains: %v", f.Heads)
	}
	chains, err := w.Store.Chains(ctx, w.tenant, "", 100)
	if err != nil || len(chains) != 2 {
		t.Errorf("chains: %v, %v", chains, err)
	}
}

// testArchiveRace: while several archive the same conversation, others read it, open it again and close it, everything that
// was written is read in its order, once.
func testArchiveRace(t *testing.T, w *world, a store.Archive) {
	ctx := t.Context()
	r := w.talked(address(1), 10)
	const rounds = 20
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := a.Archive(ctx, r); err != nil && !errors.Is(err, store.ErrStale) {
					t.Errorf("archiving: %v", err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			var last uint64
			for {
				select {
				case <-over:
					return
				default:
				}
				events, err := w.Store.Log(ctx, r, 0, 1<<20)
				for i, e := range events {
					if e.Seq != uint64(i)+1 {
						t.Errorf("event %d is number %d", i+1, e.Seq)
						return
					}
				}
				if err != nil || uint64(len(events)) < last {
					t.Errorf("reading: %d events, there were %d; %v", len(events), last, err)
					return
				}
				last = uint64(len(events))
				chain, err := w.Store.Entries(ctx, w.tenant, r.ID, 0, 1<<20)
				if err == nil {
					_, err = audit.Verify(r.ID, audit.Head{}, chain)
				}
				if err != nil {
					t.Errorf("reading the chain: %v", err)
					return
				}
			}
		})
	}
	for i := range rounds {
		w.do(r, customer, conversation.Reopen{}, w.inbound(address(1), fmt.Sprint("r", i), "again"))
		w.tag(r, fmt.Sprint("r", i))
		w.do(r, system, conversation.Close{Reason: conversation.ReasonIdle})
	}
	close(over)
	wg.Wait()
	_, err := a.Archive(ctx, r)
	w.noErr(err, "archiving at last")
	w.look(r)
	if got := w.closed(); len(got) != 0 {
		t.Errorf("to be archived, after all: %v", got)
	}
}
