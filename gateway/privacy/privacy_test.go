package privacy_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/privacy"
	"turnout/gateway/report"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/storetest"
)

const canary = "canary-77e0b1"

const day = 24 * time.Hour

// world is a store, a clock that is moved, and a Privacy over both.
type world struct {
	*testing.T
	*privacy.Privacy
	clock  *storetest.Clock
	fs     *vfs.MemFS
	o      embedded.Options
	s      *embedded.Store
	t      store.Tenant
	policy privacy.Policy
	faults fault.Injector
	forgot []string // subjects
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ten, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, clock: storetest.NewClock(), fs: vfs.NewCrashableMem(), t: ten}
	w.o = embedded.Options{
		Dir: "/data/store", FS: w.fs, Root: make([]byte, 32), Now: w.clock.Now, IDs: id.NewSource(rand.Reader, w.clock.Now), Reserve: -1, Ballast: -1,
	}
	w.open()
	t.Cleanup(func() {
		rep, err := w.s.Check(context.Background())
		if err != nil || len(rep.Faults) > 0 {
			t.Errorf("check: %v, %v", rep.Faults, err)
		}
		if err := w.s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.s, err = embedded.Open(w.o); err != nil {
		w.Fatal(err)
	}
	w.Privacy = privacy.New(privacy.Options{
		Store: w.s, Blobs: w.s.Blobs(), IDs: w.o.IDs, Now: w.clock.Now, Policy: func(store.Tenant) privacy.Policy { return w.policy },
		Faults: func(ctx context.Context, p fault.Point) error { return w.faults.Hit(ctx, p) },
		Forget: func(_ store.Tenant, p *message.Profile) { w.forgot = append(w.forgot, p.Subject) },
	})
}

// cut ends the process as a power cut does, and begins another.
func (w *world) cut() {
	w.Helper()
	after := w.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := w.s.Close(); err != nil {
		w.Fatal(err)
	}
	w.fs, w.o.FS = after, after
	w.open()
}

func address(n int) message.Address {
	return message.Address{Channel: "acme.sms", Address: fmt.Sprintf("+49151%d", n)}
}

var owner, human = conversation.Actor{Kind: conversation.System}, conversation.Actor{Kind: conversation.Agent, ID: "ann"}

// talk opens a conversation of an address in which something is said, with a file; cmds follow.
func (w *world) talk(n int, cmds ...conversation.Command) store.Ref {
	w.Helper()
	a, ids := address(n), w.o.IDs
	found, err := w.s.Find(w.Context(), w.t, a, nil)
	if err != nil {
		w.Fatal(err)
	}
	st := store.Step{Op: store.Token(ids.Token()), Bind: &store.Bind{Address: a}}
	if found.Snapshot != nil {
		st.Bind.From = found.Snapshot.Ref.ID
	}
	st.Ref = store.Ref{Tenant: w.t, ID: ids.New(id.Conversation, id.PartitionOf(w.t.Name(), a.Channel, a.Address))}
	blob, _, err := w.s.Blobs().Put(w.Context(), st.Ref, strings.NewReader("a scan of "+canary), 1<<20)
	if err != nil {
		w.Fatal(err)
	}
	st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: ids.New(id.Attachment, 0), Name: "my scan.pdf"}, Blob: blob}}
	in := message.Inbound{ID: ids.Token(), From: a, Kind: message.Text, Text: "I am " + canary}
	w.commit(st, new(conversation.State), owner, append([]conversation.Command{
		conversation.Open{ID: st.Ref.ID, From: a}, conversation.Receive{ID: ids.New(id.Message, 0), In: in},
	}, cmds...))
	return st.Ref
}

func (w *world) do(r store.Ref, by conversation.Actor, cmds ...conversation.Command) {
	w.Helper()
	snap, err := w.s.Load(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	w.commit(store.Step{Ref: r, Base: snap.Version, Op: store.Token(w.o.IDs.Token())}, snap.State, by, cmds)
}

func (w *world) commit(st store.Step, s *conversation.State, by conversation.Actor, cmds []conversation.Command) {
	w.Helper()
	d := conversation.Begin(s, conversation.Env{Now: w.clock.Milli(), Op: string(st.Op), Actor: by})
	for _, c := range cmds {
		if err := d.Do(c); err != nil {
			w.Fatal(err)
		}
	}
	st.Events, st.State = d.Events, d.Result()
	if _, err := w.s.Commit(w.Context(), st); err != nil {
		w.Fatal(err)
	}
}

// is reports whether a conversation is there.
func (w *world) is(r store.Ref) bool {
	w.Helper()
	_, err := w.s.Load(w.Context(), r)
	if err != nil && !errors.Is(err, store.ErrErased) {
		w.Fatal(err)
	}
	return err == nil
}

func (w *world) sweep() {
	w.Helper()
	if err := w.Sweep(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// entries returns "type kind" of the tenant's own chain.
func (w *world) entries() (out []string) {
	w.Helper()
	list, err := w.s.Entries(w.Context(), w.t, "", 0, 1000)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := audit.Verify(w.t.Name(), audit.Head{}, list); err != nil {
		w.Error(err)
	}
	for _, b := range list {
		var e audit.Entry
		if err := json.Unmarshal(b, &e); err != nil {
			w.Fatal(err)
		}
		if bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte("+49151")) {
			w.Errorf("the chain names a person: %s", b)
		}
		out = append(out, e.Type+" "+e.Kind)
	}
	return out
}

var (
	mustReach = conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, MustReachHuman: true}}
	toPeople  = conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "support", Priority: 5}}
	idle      = conversation.Close{Reason: conversation.ReasonIdle}
)

// TestErase: a person is named by any of three, and all that is theirs goes, and nothing of others.
func TestErase(t *testing.T) {
	for name, who := range map[string]func(store.Ref) privacy.Person{
		"conversation": func(r store.Ref) privacy.Person { return privacy.Person{Conversation: r.ID} },
		"contact":      func(store.Ref) privacy.Person { return privacy.Person{Contact: "k_1"} },
		"address": func(store.Ref) privacy.Person {
			return privacy.Person{Channel: "acme.sms", Address: address(1).Address}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			old := w.talk(1, idle)
			now := w.talk(1, conversation.LinkContact{Contact: "k_1"}, toPeople)
			elsewhere := w.talk(2, conversation.LinkContact{Contact: "k_1"})
			other := w.talk(3, conversation.LinkContact{Contact: "k_2"})
			want := []string{old.ID, now.ID, elsewhere.ID}
			slices.Sort(want)
			plan, err := w.Plan(t.Context(), w.t, who(old))
			if err != nil || plan.Obstacle != nil || !slices.Equal(plan.Conversations, want) {
				t.Fatalf("%+v, %v", plan, err)
			}
			if !w.is(old) {
				t.Fatal("a plan has erased")
			}
			e, err := w.Request(t.Context(), w.t, who(old), false, "owner:ana")
			if err != nil || e.State != privacy.StateRequested || !slices.Equal(e.Conversations, want) {
				t.Fatalf("%+v, %v", e, err)
			}
			late := w.talk(2) // it comes before the erasure is carried out
			w.sweep()
			if e, err = w.Erasure(t.Context(), w.t, e.ID); err != nil || e.State != privacy.StateDone || len(e.Conversations) != 4 || e.DoneAt.IsZero() {
				t.Errorf("%+v, %v", e, err)
			}
			for _, r := range []store.Ref{old, now, elsewhere, late} {
				if w.is(r) {
					t.Errorf("%s is there", r.ID)
				}
				if stone, err := w.s.Tombstone(t.Context(), r); err != nil || stone.Keep != nil || stone.Pending {
					t.Errorf("%+v, %v", stone, err)
				}
			}
			if !w.is(other) {
				t.Error("another person was erased")
			}
			if got := w.entries(); !slices.Equal(got, []string{"erasure.requested " + e.ID, "erasure.done " + e.ID}) {
				t.Errorf("the chain says %q", got)
			}
			if _, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: old.ID}, false, "owner:ana"); !errors.Is(err, store.ErrErased) {
				t.Errorf("once more: %v", err)
			}
			if list, err := w.Erasures(t.Context(), w.t, "", 10); err != nil || len(list) != 1 || list[0].ID != e.ID {
				t.Errorf("the list: %+v, %v", list, err)
			}
			if st := w.Stats(); st.Requested != 1 || st.Done != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestManyErasures: those that are done long ago are not looked at again, and those among them that wait are.
func TestManyErasures(t *testing.T) {
	w := newWorld(t)
	hold, err := w.SetHold(t.Context(), w.t, privacy.Hold{Person: privacy.Person{Channel: "acme.sms", Address: address(280).Address}, Reason: "case"}, "owner:ana")
	if err != nil {
		t.Fatal(err)
	}
	var refs []store.Ref
	for n := range 300 {
		r := w.talk(n)
		refs = append(refs, r)
		if _, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: r.ID}, true, "owner:ana"); err != nil {
			t.Fatal(err)
		}
		w.clock.Move(time.Minute)
	}
	for range 2 {
		w.sweep()
		w.clock.Move(2 * time.Hour)
		for n, r := range refs {
			if w.is(r) != (n == 280) {
				t.Fatalf("person %d is there: %v", n, w.is(r))
			}
		}
	}
	if err := w.LiftHold(t.Context(), w.t, hold.ID, "owner:ana"); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	if w.is(refs[280]) {
		t.Error("the one that waited was not looked at")
	}
}

func TestEraseNobody(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	for name, test := range map[string]struct {
		who  privacy.Person
		want error
	}{
		"nobody":                  {privacy.Person{}, privacy.ErrPerson},
		"two":                     {privacy.Person{Conversation: "c", Contact: "k"}, privacy.ErrPerson},
		"a channel alone":         {privacy.Person{Channel: "acme.sms"}, privacy.ErrPerson},
		"an unknown conversation": {privacy.Person{Conversation: w.o.IDs.New(id.Conversation, 1)}, store.ErrNotFound},
		"no conversation":         {privacy.Person{Conversation: "../x"}, store.ErrNotFound},
		"an unknown contact":      {privacy.Person{Contact: "k_9"}, store.ErrNotFound},
	} {
		if _, err := w.Request(t.Context(), w.t, test.who, true, "owner:ana"); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if got := w.entries(); len(got) != 0 {
		t.Errorf("the chain says %q", got)
	}
}

// TestObstacles: a hold, and a conversation that must reach a person, refuse an erasure whole, or let it wait until they are
// out of the way.
func TestObstacles(t *testing.T) {
	for name, test := range map[string]struct {
		put  func(w *world, r store.Ref) (subject string, away func())
		want func(error) bool
	}{
		"hold on the address": {put: holdOn(func(store.Ref) privacy.Hold {
			return privacy.Hold{Person: privacy.Person{Channel: "acme.sms", Address: address(1).Address}}
		}), want: isHeld},
		"hold on the conversation": {put: holdOn(func(r store.Ref) privacy.Hold { return privacy.Hold{Person: privacy.Person{Conversation: r.ID}} }), want: isHeld},
		"hold on the contact":      {put: holdOn(func(store.Ref) privacy.Hold { return privacy.Hold{Person: privacy.Person{Contact: "k_1"}} }), want: isHeld},
		"hold on everything":       {put: holdOn(func(store.Ref) privacy.Hold { return privacy.Hold{Everything: true} }), want: isHeld},
		"must reach a person": {
			put: func(w *world, r store.Ref) (string, func()) {
				w.do(r, owner, mustReach, toPeople)
				return r.ID, func() {
					w.do(r, human, conversation.Claim{Name: "Ann"})
					w.do(r, human, conversation.Resolve{})
				}
			},
			want: func(err error) bool { var m *privacy.ErrMustReachHuman; return errors.As(err, &m) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			first := w.talk(1, conversation.LinkContact{Contact: "k_1"}, idle)
			second := w.talk(1)
			who := privacy.Person{Conversation: first.ID}
			subject, away := test.put(w, second)
			if name == "hold on the contact" || name == "hold on everything" || name == "hold on the address" {
				second = first
			}
			if plan, err := w.Plan(t.Context(), w.t, who); err != nil || !test.want(plan.Obstacle) {
				t.Errorf("%+v, %v", plan, err)
			}
			if _, err := w.Request(t.Context(), w.t, who, false, "owner:ana"); !test.want(err) {
				t.Fatalf("not deferred: %v", err)
			}
			e, err := w.Request(t.Context(), w.t, who, true, "owner:ana")
			if err != nil || e.State != privacy.StateWaiting || e.Waiting != subject {
				t.Fatalf("%+v, %v", e, err)
			}
			for range 2 {
				w.sweep()
				w.cut()
			}
			if !w.is(first) || !w.is(second) {
				t.Error("something was erased all the same")
			}
			got := w.entries()
			if !slices.Contains(got, "erasure.refused "+subject) || !slices.Contains(got, "erasure.requested "+e.ID) || slices.Contains(got, "erasure.done "+e.ID) {
				t.Errorf("the chain says %q", got)
			}
			away()
			w.sweep()
			if e, err := w.Erasure(t.Context(), w.t, e.ID); err != nil || e.State != privacy.StateDone || e.Waiting != "" {
				t.Errorf("%+v, %v", e, err)
			}
			if w.is(first) || w.is(second) {
				t.Error("it is still there")
			}
		})
	}
}

func isHeld(err error) bool { var h *privacy.HeldError; return errors.As(err, &h) }

func holdOn(of func(store.Ref) privacy.Hold) func(w *world, r store.Ref) (string, func()) {
	return func(w *world, r store.Ref) (string, func()) {
		h := of(r)
		if _, err := w.SetHold(w.Context(), w.t, h, "owner:ana"); !errors.Is(err, privacy.ErrReason) {
			w.Errorf("without a reason: %v", err)
		}
		h.Reason = "case 12/2026"
		set, err := w.SetHold(w.Context(), w.t, h, "owner:ana")
		if err != nil {
			w.Fatal(err)
		}
		if list, err := w.Holds(w.Context(), w.t, "", 10); err != nil || len(list) != 1 || list[0].ID != set.ID || list[0].By != "owner:ana" {
			w.Errorf("the list: %+v, %v", list, err)
		}
		return set.ID, func() {
			if err := w.LiftHold(w.Context(), w.t, set.ID, "owner:ana"); err != nil {
				w.Fatal(err)
			}
			if err := w.LiftHold(w.Context(), w.t, set.ID, "owner:ana"); !errors.Is(err, store.ErrNotFound) {
				w.Errorf("lifted twice: %v", err)
			}
			if got := w.entries(); !slices.Contains(got, "hold.set "+set.ID) || !slices.Contains(got, "hold.lifted "+set.ID) {
				w.Errorf("the chain says %q", got)
			}
		}
	}
}

// TestResumes: wherever the power goes, what was asked for is carried out by the next process, once.
func TestResumes(t *testing.T) {
	for _, point := range fault.Erasures() {
		t.Run(string(point), func(t *testing.T) {
			w := newWorld(t)
			first := w.talk(1, idle)
			second := w.talk(1)
			e, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: first.ID}, false, "owner:ana")
			if err != nil {
				t.Fatal(err)
			}
			gone := errors.New("the power is gone")
			hits := 0
			w.faults = func(_ context.Context, p fault.Point) error {
				if p == point {
					hits++
					return gone
				}
				return nil
			}
			if err := w.Sweep(t.Context()); !errors.Is(err, gone) || hits == 0 {
				t.Fatalf("%v after %d hits", err, hits)
			}
			w.faults = nil
			w.cut()
			w.sweep()
			if e, err = w.Erasure(t.Context(), w.t, e.ID); err != nil || e.State != privacy.StateDone {
				t.Errorf("%+v, %v", e, err)
			}
			if w.is(first) || w.is(second) {
				t.Error("something is still there")
			}
			got := w.entries()
			if n := len(slices.DeleteFunc(got, func(s string) bool { return s != "erasure.done "+e.ID })); n != 1 {
				t.Errorf("%d entries say that it is done", n)
			}
		})
	}
}

// TestRetention: each class goes when its time is over and not a day before; what is open, held or must reach a person
// stays; a dry run says the same and changes nothing.
func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.policy = privacy.Policy{Attachments: 10 * day, Messages: 30 * day, Figures: 90 * day}
	closed := w.talk(1, idle)
	open := w.talk(2)
	waits := w.talk(3, mustReach, toPeople)
	held := w.talk(4, idle)
	if _, err := w.SetHold(t.Context(), w.t, privacy.Hold{Person: privacy.Person{Conversation: held.ID}, Reason: "case"}, "owner:ana"); err != nil {
		t.Fatal(err)
	}
	files := func(r store.Ref) bool {
		list, err := w.s.Attachments(t.Context(), r, "", 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		return list[0].Blob != ""
	}
	for _, step := range []struct {
		after                          time.Duration
		messages, attachments, figures int
	}{
		{9 * day, 0, 0, 0}, {day, 0, 1, 0}, {19 * day, 0, 0, 0}, {day, 1, 0, 0}, {59 * day, 0, 0, 0}, {day, 0, 0, 1}, {day, 0, 0, 0},
	} {
		w.clock.Move(step.after)
		young := w.talk(9)
		dry, err := w.DryRun(t.Context(), w.t)
		if err != nil || !dry.DryRun {
			t.Fatalf("%+v, %v", dry, err)
		}
		before := w.is(closed)
		w.sweep()
		run, err := w.LastRun(t.Context(), w.t)
		if err != nil || !run.At.Equal(w.clock.Now()) {
			t.Fatalf("%+v, %v", run, err)
		}
		if run.Messages != step.messages || run.Attachments != step.attachments || run.Figures != step.figures {
			t.Errorf("at %v: %+v, want %+v", w.clock.Now(), run, step)
		}
		if dry.DryRun = false; dry != run {
			t.Errorf("the dry run said %+v, the run %+v", dry, run)
		}
		if before && w.is(closed) == (step.messages == 1) {
			t.Errorf("at %v: it is there: %v", w.clock.Now(), w.is(closed))
		}
		if step.attachments == 1 && files(closed) {
			t.Error("its file is still there")
		}
		if step.messages == 1 {
			stone, err := w.s.Tombstone(t.Context(), closed)
			var kept report.Summary
			if err != nil || json.Unmarshal(stone.Keep, &kept) != nil || kept.Conversation != closed.ID || kept.FromCustomer != 1 || bytes.Contains(stone.Keep, []byte(canary)) {
				t.Errorf("%s, %v", stone.Keep, err)
			}
		}
		for _, r := range []store.Ref{open, waits, held, young} {
			if !w.is(r) || !files(r) {
				t.Errorf("at %v: %s has lost something", w.clock.Now(), r.ID)
			}
		}
		w.sweep() // not due again
	}
	if stone, err := w.s.Tombstone(t.Context(), closed); err != nil || stone.Keep != nil {
		t.Errorf("%s, %v", stone.Keep, err)
	}
	if run, err := w.LastRun(t.Context(), w.t); err != nil || run.Held != 1 || run.Unfinished < 2 {
		t.Errorf("%+v, %v", run, err)
	}
	if st := w.Stats(); st.Messages != 1 || st.Attachments != 1 || st.Figures != 1 {
		t.Errorf("%+v", st)
	}
	if got := w.entries(); len(got) != 4 { // the hold, and three runs that destroyed something
		t.Errorf("the chain says %q", got)
	}
}

// TestRetentionResumes: a run that is cut off is done by the next process.
func TestRetentionResumes(t *testing.T) {
	w := newWorld(t)
	w.policy = privacy.Policy{Messages: day}
	var refs []store.Ref
	for n := range 5 {
		refs = append(refs, w.talk(n, idle))
	}
	w.clock.Move(2 * day)
	gone := errors.New("the power is gone")
	w.faults = func(_ context.Context, p fault.Point) error {
		if p == fault.RetentionExpired {
			return gone
		}
		return nil
	}
	for range 3 {
		if err := w.Sweep(t.Context()); !errors.Is(err, gone) {
			t.Fatal(err)
		}
		w.cut()
	}
	w.faults = nil
	w.sweep()
	for _, r := range refs {
		if w.is(r) {
			t.Errorf("%s is there", r.ID)
		}
		if stone, err := w.s.Tombstone(t.Context(), r); err != nil || stone.Pending || stone.Keep == nil {
			t.Errorf("%+v, %v", stone, err)
		}
	}
	if run, err := w.LastRun(t.Context(), w.t); err != nil || run.Messages != 2 {
		t.Errorf("%+v, %v", run, err)
	}
}

// TestLease: while another does a tenant's job, nothing is done.
func TestLease(t *testing.T) {
	w := newWorld(t)
	r := w.talk(1)
	if _, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: r.ID}, false, "owner:ana"); err != nil {
		t.Fatal(err)
	}
	if err := w.s.LeaseJob(t.Context(), w.t, "privacy", "another", w.clock.Milli()+1000); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	if !w.is(r) {
		t.Error("two do one job")
	}
	w.clock.Move(2 * time.Second)
	w.sweep()
	if w.is(r) {
		t.Error("nobody does the job")
	}
}

// TestExport: a person gets everything, in one form or the other, and nothing of others.
func TestExport(t *testing.T) {
	w := newWorld(t)
	first := w.talk(1, conversation.SetProfile{Profile: message.Profile{Subject: "s-1", Name: "Jo"}}, idle)
	second := w.talk(1, toPeople)
	w.do(second, human, conversation.Claim{Name: "Ann"}, conversation.AddNote{ID: "n_1", Text: "a note about Jo"})
	other := w.talk(2)
	copied, err := w.Copy(t.Context(), w.t, privacy.Person{Conversation: second.ID})
	if err != nil || len(copied.Conversations) != 2 {
		t.Fatalf("%+v, %v", copied, err)
	}
	var lines, archive bytes.Buffer
	if err := errors.Join(copied.JSONL(t.Context(), &lines), copied.Zip(t.Context(), &archive)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{first.ID, second.ID, canary, "a note about Jo", "s-1", address(1).Address, "my scan.pdf"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("%q is not in the lines", want)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(lines.String()), "\n") {
		if !json.Valid([]byte(line)) || strings.Contains(line, other.ID) || strings.Contains(line, address(2).Address) {
			t.Errorf("a line: %s", line)
		}
	}
	z, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, "-my_scan.pdf") && string(b) == "a scan of "+canary {
			found++
		}
	}
	if len(z.File) != 4 || found != 2 {
		t.Errorf("%d entries, %d scans", len(z.File), found)
	}
	if _, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: first.ID}, false, "owner:ana"); err != nil {
		t.Fatal(err)
	}
	w.sweep()
	if !slices.Equal(w.forgot, []string{"s-1"}) {
		t.Errorf("forgotten elsewhere: %q", w.forgot)
	}
	lines.Reset()
	if err := copied.JSONL(t.Context(), &lines); err != nil || lines.Len() != 0 {
		t.Errorf("after the erasure: %s, %v", lines.String(), err)
	}
}
