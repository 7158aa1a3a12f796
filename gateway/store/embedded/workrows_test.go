package embedded

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// world is a store in memory under a clock that is moved.
type world struct {
	*testing.T
	s   *Store
	now time.Time
	fs  *vfs.MemFS
	n   int
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, now: time.Unix(1_700_000_000, 0), fs: vfs.NewCrashableMem()}
	w.open()
	t.Cleanup(func() {
		if err := w.s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return w
}

func (w *world) open() {
	w.Helper()
	clock := func() time.Time { return w.now }
	s, err := Open(Options{
		Dir: "/store", FS: w.fs, Root: make([]byte, seal.KeySize), Now: clock,
		IDs: id.NewSource(rand.Reader, clock), Reserve: -1, Ballast: -1,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.s = s
}

// cut ends the store as a power cut does.
func (w *world) cut() {
	w.Helper()
	after := w.fs.CrashClone(vfs.CrashCloneCfg{})
	if err := w.s.Close(); err != nil {
		w.Fatal(err)
	}
	w.fs = after
	w.open()
}

// do commits commands on a conversation; the first opens it.
func (w *world) do(r store.Ref, cmds ...conversation.Command) {
	w.Helper()
	w.n++
	st := store.Step{Ref: r, Op: store.Token(fmt.Sprint("op-", w.n))}
	state := new(conversation.State)
	if snap, err := w.s.Load(w.Context(), r); err == nil {
		st.Base, state = snap.Version, snap.State
	}
	d := conversation.Begin(state, conversation.Env{Now: w.now.UnixMilli(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.System}})
	for _, c := range cmds {
		if err := d.Do(c); err != nil {
			w.Fatal(err)
		}
	}
	st.Events, st.State = d.Events, &d.State
	if _, err := w.s.Commit(w.Context(), st); err != nil {
		w.Fatal(err)
	}
}

func (w *world) opened(partition int) store.Ref {
	w.Helper()
	r := store.Ref{Tenant: testRef(w).Tenant, ID: w.s.o.IDs.New(id.Conversation, partition)}
	w.do(r, conversation.Open{ID: r.ID, From: message.Address{Channel: "c", Address: r.ID}})
	return r
}

func (w *world) ask(r store.Ref) {
	w.Helper()
	w.n++
	w.do(r, conversation.Receive{ID: fmt.Sprint("m-", w.n), In: message.Inbound{ID: fmt.Sprint(w.n), Kind: message.Text, Text: "x"}})
}

// turn takes a message and answers it.
func (w *world) turn(r store.Ref) {
	w.Helper()
	w.ask(r)
	w.do(r, conversation.StartTurn{ID: "t"})
	w.do(r, conversation.AnswerTurn{Turn: "t", Decision: conversation.Decision{Kind: conversation.DecisionPass}})
}

// row reports whether the row of work of a conversation stands on the disk.
func (w *world) row(r store.Ref) bool {
	w.Helper()
	v, closer, err := w.s.db.Get(indexKey(dueWork, 0, r, ""))
	if err != nil {
		return false
	}
	if err := closer.Close(); err != nil || len(v) != 0 {
		w.Fatalf("reading a row of work: %x, %v", v, err)
	}
	return true
}

func (w *world) due() map[store.Ref]bool {
	w.Helper()
	jobs, _, err := w.s.Due(w.Context(), w.now.UnixMilli(), 1)
	if err != nil {
		w.Fatal(err)
	}
	all := map[store.Ref]bool{}
	for len(jobs) > 0 {
		for _, j := range jobs {
			all[j.Ref] = true
		}
		if jobs, _, err = w.s.Due(w.Context(), w.now.UnixMilli(), 1); err != nil {
			w.Fatal(err)
		}
	}
	return all
}

func (w *world) sound() {
	w.Helper()
	rep, err := w.s.Check(w.Context())
	if err != nil || len(rep.Faults) != 0 {
		w.Fatalf("check: %v, %v", rep.Faults, err)
	}
}

// TestWorkRowOutlastsWork: the row is put once and stays over turns; it goes with a later step of the partition when the
// conversation has been idle, and never while there is work.
func TestWorkRowOutlastsWork(t *testing.T) {
	w := newWorld(t)
	a, b, other := w.opened(1), w.opened(1), w.opened(2)
	if w.row(a) {
		t.Error("a row before there was work")
	}
	w.turn(a)
	if !w.row(a) || w.due()[a] {
		t.Errorf("after the answer: row %v, due %v; want the row and no work", w.row(a), w.due()[a])
	}
	w.sound()
	w.ask(b) // and nobody answers
	w.now = w.now.Add(time.Hour)
	w.turn(other)
	if !w.row(a) {
		t.Error("a step of another partition took the row away")
	}
	for i := range int64(3) {
		w.do(b, conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1<<50 + i}})
	}
	if w.row(a) {
		t.Error("the row of an idle conversation stays for ever")
	}
	if !w.row(b) || !w.due()[b] {
		t.Error("work has lost its row")
	}
	w.sound()
	w.ask(a)
	if !w.row(a) || !w.due()[a] {
		t.Error("the row did not come back with the work")
	}
	w.sound()
}

// TestWorkAfterACut: what has work is due after a power cut, and only that.
func TestWorkAfterACut(t *testing.T) {
	w := newWorld(t)
	var working []store.Ref
	idle := w.opened(7)
	for i := range 20 {
		r := w.opened(i % 3)
		w.turn(r)
		if i%4 == 0 {
			w.ask(r)
			working = append(working, r)
		}
	}
	w.turn(idle)
	for cut := range 3 {
		w.cut()
		w.sound()
		got := w.due()
		for _, r := range working {
			if !got[r] {
				t.Errorf("cut %d: a conversation with work is not due", cut)
			}
		}
		if len(got) != len(working) {
			t.Errorf("cut %d: %d conversations are due, want %d", cut, len(got), len(working))
		}
		// What is known to be idle now is tidied away like the rest; what works is not.
		w.now = w.now.Add(time.Hour)
		for i := range int64(30) {
			w.do(working[cut], conversation.SetTimer{Timer: conversation.Timer{Name: "x", At: 1<<50 + i}})
		}
		for _, r := range working {
			if !w.row(r) {
				t.Errorf("cut %d: work has lost its row", cut)
			}
		}
	}
	if !w.row(idle) {
		t.Error("a row went without a step of its partition")
	}
}

// TestKnownAfterAMiss: an id that was looked for and not found is known from the step on that wrote it, whether the
// generation is one of this life of the store or of one before.
func TestKnownAfterAMiss(t *testing.T) {
	w := newWorld(t)
	from := message.Address{Channel: "c", Address: "a"}
	ten := testRef(t).Tenant
	r := store.Ref{Tenant: ten, ID: w.s.o.IDs.New(id.Conversation, id.PartitionOf(ten.Name(), from.Channel, from.Address))}
	w.do(r, conversation.Open{ID: r.ID, From: from})
	for i := range 40 {
		if i%10 == 5 {
			w.cut()
		}
		msg := fmt.Sprint("id-", i)
		find := func() store.Known {
			t.Helper()
			found, err := w.s.Find(t.Context(), ten, from, []string{msg})
			if err != nil {
				t.Fatal(err)
			}
			return found.Known[msg]
		}
		step := func(op string) error {
			t.Helper()
			snap, err := w.s.Load(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			d := conversation.Begin(snap.State, conversation.Env{Now: 1, Op: op, Actor: conversation.Actor{Kind: conversation.System}})
			if err := d.Do(conversation.Receive{ID: op, In: message.Inbound{ID: msg, From: from, Kind: message.Text}}); err != nil {
				t.Fatal(err)
			}
			_, err = w.s.Commit(t.Context(), store.Step{
				Ref: r, Op: store.Token(op), Base: snap.Version, Events: d.Events, State: &d.State,
				Dedupe: []store.Dedupe{{From: from, ID: msg, Seq: d.State.Seq}},
			})
			return err
		}
		if k := find(); k != (store.Known{}) {
			t.Fatalf("message %d is known before it came: %+v", i, k)
		}
		if err := step(fmt.Sprint("first-", i)); err != nil {
			t.Fatal(err)
		}
		if k := find(); k.Conversation != r.ID {
			t.Fatalf("message %d is not known: %+v", i, k)
		}
		if err := step(fmt.Sprint("second-", i)); err == nil {
			t.Fatalf("message %d was taken twice", i)
		}
	}
}

// TestBindAfterAMiss: an address that was looked for and not found is found from the step on that bound it.
func TestBindAfterAMiss(t *testing.T) {
	w := newWorld(t)
	ten := testRef(t).Tenant
	// More addresses than a partition remembers.
	for i := range 3 * maxBound {
		from := message.Address{Channel: "c", Address: "a", Thread: fmt.Sprint(i)}
		find := func(thread string) string {
			t.Helper()
			a := from
			a.Thread = thread
			found, err := w.s.Find(t.Context(), ten, a, nil)
			if err != nil {
				t.Fatal(err)
			}
			if found.Snapshot == nil {
				return ""
			}
			return found.Snapshot.Ref.ID
		}
		if c := find(from.Thread); c != "" {
			t.Fatalf("address %d leads to %s before it is bound", i, c)
		}
		r := store.Ref{Tenant: ten, ID: w.s.o.IDs.New(id.Conversation, id.PartitionOf(ten.Name(), from.Channel, from.Address))}
		op := fmt.Sprint("op-", i)
		d := conversation.Begin(new(conversation.State), conversation.Env{Now: 1, Op: op, Actor: conversation.Actor{Kind: conversation.System}})
		if err := d.Do(conversation.Open{ID: r.ID, From: from}); err != nil {
			t.Fatal(err)
		}
		st := store.Step{Ref: r, Op: store.Token(op), Events: d.Events, State: &d.State, Bind: &store.Bind{Address: from, From: "c_x"}}
		if _, err := w.s.Commit(t.Context(), st); err == nil {
			t.Fatal("bound from a conversation where it never was")
		}
		st.Bind = &store.Bind{Address: from}
		if _, err := w.s.Commit(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		if c := find(from.Thread); c != r.ID {
			t.Fatalf("address %d leads to %q, want %s", i, c, r.ID)
		}
		if n := len(w.s.parts[id.PartitionOf(ten.Name(), "c", "a")].recent.bound); n > maxBound {
			t.Fatalf("%d addresses are remembered", n)
		}
	}
	for i := range 3 * maxBound {
		found, err := w.s.Find(t.Context(), ten, message.Address{Channel: "c", Address: "a", Thread: fmt.Sprint(i)}, nil)
		if err != nil || found.Snapshot == nil || found.Snapshot.State.From.Thread != fmt.Sprint(i) {
			t.Fatalf("address %d leads elsewhere: %+v, %v", i, found.Snapshot, err)
		}
	}
}
