package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
)

var sender = message.Address{Channel: "acme.web", Address: "visitor-1"}

func tenant(t testing.TB) store.Tenant {
	t.Helper()
	ten, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	return ten
}

// message drafts the next message of a conversation, or the one that opens it when snap is nil.
func draft(t testing.TB, o embedded.Options, from message.Address, snap *store.Snapshot, text string) store.Step {
	t.Helper()
	ten := tenant(t)
	st := store.Step{Op: store.Token(o.IDs.Token())}
	state := new(conversation.State)
	if snap != nil {
		st.Ref, st.Base, state = snap.Ref, snap.Version, snap.State
	} else {
		st.Ref = store.Ref{Tenant: ten, ID: o.IDs.New(id.Conversation, id.PartitionOf(ten.Name(), from.Channel, from.Address))}
		st.Bind = &store.Bind{Address: from}
	}
	d := conversation.Begin(state, conversation.Env{Now: o.Now().UnixMilli(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.Customer}})
	if snap == nil {
		if err := d.Do(conversation.Open{ID: st.Ref.ID, From: from}); err != nil {
			t.Fatal(err)
		}
	}
	in := message.Inbound{ID: string(st.Op), From: from, Kind: message.Text, Text: text}
	if err := d.Do(conversation.Receive{ID: o.IDs.New(id.Message, 0), In: in}); err != nil {
		t.Fatal(err)
	}
	st.Events, st.State = d.Events, &d.State
	st.Dedupe = []store.Dedupe{{From: from, ID: in.ID, Seq: d.State.Seq}}
	return st
}

func commit(t testing.TB, s *embedded.Store, st store.Step) {
	t.Helper()
	if _, err := s.Commit(t.Context(), st); err != nil {
		t.Fatalf("committing: %v", err)
	}
}

func load(t testing.TB, s *embedded.Store, r store.Ref) *store.Snapshot {
	t.Helper()
	snap, err := s.Load(t.Context(), r)
	if err != nil {
		t.Fatalf("loading: %v", err)
	}
	return snap
}

func closeStore(t testing.TB, s *embedded.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func sound(t testing.TB, s *embedded.Store) {
	t.Helper()
	rep, err := s.Check(t.Context())
	if err != nil {
		t.Fatalf("checking: %v", err)
	}
	for _, f := range rep.Faults {
		t.Errorf("check: %s", f)
	}
}

// usable waits until the store has mended itself.
func usable(t testing.TB, s *embedded.Store) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for h := s.Health(t.Context()); !h.OK; h = s.Health(t.Context()) {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("the store does not recover: %s", h.Reason)
		}
	}
}

// faulty is a file system in memory whose log writes or syncs fail while a switch is on.
func faulty(kind errorfs.OpKind, fail *atomic.Bool, cause error) vfs.FS {
	return faultyOn(vfs.NewCrashableMem(), kind, fail, cause)
}

func faultyOn(fs vfs.FS, kind errorfs.OpKind, fail *atomic.Bool, cause error) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		sync := kind == errorfs.OpFileSync && (op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncTo)
		if fail.Load() && (op.Kind == kind || sync) && strings.HasSuffix(op.Path, ".log") {
			return &os.PathError{Op: "write", Path: op.Path, Err: cause}
		}
		return nil
	}))
}

// TestFullDisk lets writes of the log fail for want of space: nothing is acknowledged, the store refuses, and comes back
// with its order kept when there is space again.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	o := options(faulty(errorfs.OpFileWrite, &full, syscall.ENOSPC), time.Now)
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	s := open(t, o)
	first := draft(t, o, sender, nil, "one")
	commit(t, s, first)
	for range 3 {
		snap := load(t, s, first.Ref)
		full.Store(true)
		st := draft(t, o, sender, snap, "two")
		if _, err := s.Commit(t.Context(), st); !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("on a full disk: %v, want an unknown outcome", err)
		}
		if _, err := s.Commit(t.Context(), st); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("after the failure: %v, want unavailable", err)
		}
		if _, err := s.Load(t.Context(), first.Ref); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("reading after the failure: %v, want unavailable", err)
		}
		if h := s.Health(t.Context()); h.OK || h.Reason == "" {
			t.Errorf("health: %+v", h)
		}
		full.Store(false)
		usable(t, s)
		// The outcome is decided now, and the same operation finds out which it was.
		commit(t, s, st)
		if got := load(t, s, first.Ref); got.Version != st.Op || got.State.Seq != snap.State.Seq+1 {
			t.Errorf("after the recovery: version %s, seq %d, want %s, %d", got.Version, got.State.Seq, st.Op, snap.State.Seq+1)
		}
	}
	sound(t, s)
	closeStore(t, s)
	s = open(t, o)
	if seq := load(t, s, first.Ref).State.Seq; seq != 5 {
		t.Errorf("after a restart: %d events, want 5", seq)
	}
	sound(t, s)
	closeStore(t, s)
}

// TestFailingFsync: after a failed fsync the kernel's cache cannot be trusted. Nothing is acknowledged any more, and the
// process is told to end.
func TestFailingFsync(t *testing.T) {
	var broken atomic.Bool
	mem := vfs.NewCrashableMem()
	o := options(faultyOn(mem, errorfs.OpFileSync, &broken, syscall.EIO), time.Now)
	fatal := make(chan error, 1)
	o.Fatal = func(err error) { fatal <- err }
	s := open(t, o)
	first := draft(t, o, sender, nil, "one")
	commit(t, s, first)
	snap := load(t, s, first.Ref)
	broken.Store(true)
	var hinted atomic.Bool
	defer s.Subscribe(func(store.Hint) { hinted.Store(true) }).Close()
	if _, err := s.Commit(t.Context(), draft(t, o, sender, snap, "two")); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("with a failing fsync: %v", err)
	}
	if err := <-fatal; !errors.Is(err, syscall.EIO) {
		t.Errorf("fatal: %v, want an I/O error", err)
	}
	broken.Store(false) // the disk seems well again; that is the trap
	for range 100 {
		if _, err := s.Commit(t.Context(), draft(t, o, sender, snap, "three")); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("after a failed fsync: %v", err)
		}
	}
	if hinted.Load() {
		t.Error("somebody was told of a commit that is not durable")
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close()
	s = open(t, options(after, time.Now))
	if got := load(t, s, first.Ref); got.Version != first.Op {
		t.Errorf("after the cut the version is %s, want the only one acknowledged", got.Version)
	}
	sound(t, s)
	closeStore(t, s)
}

// small is a disk with a settable rest.
type small struct {
	vfs.FS
	free atomic.Uint64
}

func (s *small) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: s.free.Load()}, nil
}

func TestReserve(t *testing.T) {
	disk := &small{FS: vfs.NewMem()}
	disk.free.Store(1000 << 20)
	o := options(disk, time.Now)
	o.Reserve, o.Ballast = 100<<20, 1<<20
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	if h := s.Health(t.Context()); !h.OK || h.Free != 900<<20 {
		t.Errorf("health: %+v", h)
	}
	disk.free.Store(99 << 20)
	// Health asks the disk, and from then on every write does.
	if h := s.Health(t.Context()); h.OK || h.Free != -1<<20 {
		t.Errorf("health under the reserve: %+v", h)
	}
	ctx := t.Context()
	next := draft(t, o, sender, load(t, s, st.Ref), "two")
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("%s: %v, want full", what, err)
		}
	}
	_, err := s.Commit(ctx, next)
	full("a commit", err)
	_, _, err = s.Blobs().Put(ctx, st.Ref, strings.NewReader("x"), 10)
	full("a blob", err)
	full("a version", s.Publish(ctx, st.Ref.Tenant, "doc", 0, store.VersionedDoc{}))
	if done, err := s.Commit(ctx, st); err != nil || !done.Repeat {
		t.Errorf("asking after an old operation: %+v, %v", done, err)
	}
	disk.free.Store(1000 << 20)
	commit(t, s, next)
	sound(t, s)
	closeStore(t, s)
}

// TestGateSeesTheDiskFill writes without anybody asking after the store's health: it notices by itself.
func TestGateSeesTheDiskFill(t *testing.T) {
	disk := &small{FS: vfs.NewMem()}
	disk.free.Store(1000 << 20)
	o := options(disk, time.Now)
	o.Reserve = 100 << 20
	s := open(t, o)
	defer closeStore(t, s)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	disk.free.Store(1 << 20)
	for i := range 100 {
		if _, err := s.Commit(t.Context(), draft(t, o, sender, load(t, s, st.Ref), "x")); errors.Is(err, store.ErrFull) {
			return
		} else if err != nil {
			t.Fatalf("commit %d: %v", i, err)
		}
	}
	t.Error("100 commits went to a full disk")
}

func TestFaultPoints(t *testing.T) {
	boom := errors.New("boom")
	var at atomic.Value
	at.Store(fault.Point(""))
	o := options(vfs.NewMem(), time.Now)
	o.Faults = func(_ context.Context, p fault.Point) error {
		if at.Load() == p {
			return boom
		}
		return nil
	}
	s := open(t, o)
	defer closeStore(t, s)
	first := draft(t, o, sender, nil, "one")
	commit(t, s, first)

	at.Store(fault.CommitPrepared)
	snap := load(t, s, first.Ref)
	two := draft(t, o, sender, snap, "two")
	if _, err := s.Commit(t.Context(), two); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, boom) {
		t.Errorf("before the write: %v", err)
	}
	if load(t, s, first.Ref).Version != snap.Version {
		t.Error("before the write: something was written")
	}
	at.Store(fault.CommitDurable)
	if _, err := s.Commit(t.Context(), two); !errors.Is(err, store.ErrUnknown) || !errors.Is(err, boom) {
		t.Errorf("after the write: %v", err)
	}
	at.Store(fault.Point(""))
	if done, err := s.Commit(t.Context(), two); err != nil || !done.Repeat {
		t.Errorf("repeated: %+v, %v", done, err)
	}
	sound(t, s)
}

func TestRootKey(t *testing.T) {
	o := options(vfs.NewMem(), time.Now)
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	closeStore(t, s)
	wrong := o
	wrong.Root = bytes.Repeat([]byte{8}, seal.KeySize)
	if _, err := embedded.Open(wrong); !errors.Is(err, seal.ErrRootKey) {
		t.Errorf("with another root key: %v", err)
	}
	other := o
	other.Dedupe = embedded.Dedupe{Generations: 5, Length: 72 * time.Hour}
	if _, err := embedded.Open(other); err == nil || !strings.Contains(err.Error(), "dedupe") {
		t.Errorf("with other generations: %v", err)
	}
	other.Dedupe = embedded.Dedupe{Generations: 3, Length: 72 * time.Hour}
	if _, err := embedded.Open(other); err == nil {
		t.Error("generations that forget after 6 days were taken")
	}
	s = open(t, o)
	load(t, s, st.Ref)
	closeStore(t, s)
}

func TestLock(t *testing.T) {
	o := onDisk(t.TempDir())
	s := open(t, o)
	_, err := embedded.Open(o)
	if err == nil || !strings.Contains(err.Error(), "process ") {
		t.Errorf("opened twice: %v, want an error that names the process", err)
	}
	closeStore(t, s)
	closeStore(t, open(t, o))
}

// canary is looked for in every file of a store.
const canary = "canary-7d1f3a"

// TestCanary writes a canary wherever text or an address goes and then looks for it in all files.
func TestCanary(t *testing.T) {
	mem := vfs.NewMem()
	o := options(mem, time.Now)
	s := open(t, o)
	ctx := t.Context()
	from := message.Address{Channel: "acme.web", Address: canary + "@example.org", Thread: canary}
	st := draft(t, o, from, nil, "my secret is "+canary)
	st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: "a_1", Name: canary}, Blob: "b"}}
	st.Outbox = []store.OutboxRow{{ID: o.IDs.New(id.Row, 0), Out: message.Outbound{ID: "m", To: from, Part: message.Part{Text: canary}}}}
	commit(t, s, st)
	snap := load(t, s, st.Ref)
	d := conversation.Begin(snap.State, conversation.Env{Now: 1, Op: "op", Actor: conversation.Actor{Kind: conversation.Agent, ID: "ann"}})
	for _, c := range []conversation.Command{
		conversation.AddNote{ID: "n", Text: canary},
		conversation.LinkContact{Contact: canary},
		conversation.SetProfile{Profile: message.Profile{Subject: canary, Name: canary}},
		conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{canary}}},
		conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Reason: canary, Queue: "q", Priority: 5}},
	} {
		if err := d.Do(c); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, store.Step{Ref: st.Ref, Base: snap.Version, Op: "op", Events: d.Events, State: &d.State})
	row, err := s.Lease(ctx, st.Ref, o.Now().UnixMilli(), o.Now().UnixMilli()+1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx, row, store.SendResult{Code: canary, Now: 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Blobs().Put(ctx, st.Ref, strings.NewReader(strings.Repeat(canary, 10000)), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := s.Publish(ctx, st.Ref.Tenant, "rules", 0, store.VersionedDoc{Body: []byte(canary)}); err != nil {
		t.Fatal(err)
	}
	found := scan(t, mem, "/store")
	closeStore(t, s)
	found = append(found, scan(t, mem, "/store")...)
	s = open(t, o) // what was in the log is in tables now
	closeStore(t, s)
	if found = append(found, scan(t, mem, "/store")...); len(found) != 0 {
		t.Errorf("the canary stands in %v", found)
	}

	// The scan can find it.
	f, err := mem.Create("/store/db/plain", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "x"+canary+"x"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, mem, "/store"); len(got) != 1 {
		t.Errorf("the control finds the canary in %v", got)
	}
}

// scan returns the files under dir that hold the canary, in one of the forms that encoders give it.
func scan(t testing.TB, fs vfs.FS, dir string) (found []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		path := fs.PathJoin(dir, n)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			found = append(found, scan(t, fs, path)...)
			continue
		}
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte("Y2FuYXJ5")) {
			found = append(found, path)
		}
	}
	return found
}

func TestBlobs(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := options(mem, time.Now)
	s := open(t, o)
	ctx := t.Context()
	st := draft(t, o, sender, nil, "see attached")
	// The file comes before the conversation.
	name, size, err := s.Blobs().Put(ctx, st.Ref, strings.NewReader("hello"), 10)
	if err != nil || size != 5 {
		t.Fatalf("putting: %d, %v", size, err)
	}
	commit(t, s, st)
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, s)
	s = open(t, options(after, time.Now))
	defer closeStore(t, s)
	r, err := s.Blobs().Open(ctx, st.Ref, name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(b) != "hello" {
		t.Errorf("after a power cut: %q, %v", b, err)
	}
	for what, r := range map[string]store.Ref{
		"an unknown conversation": {Tenant: st.Ref.Tenant, ID: o.IDs.New(id.Conversation, 1)},
		"a malformed one":         {Tenant: st.Ref.Tenant, ID: "../x"},
	} {
		if _, err := s.Blobs().Open(ctx, r, name); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	sound(t, s)
}

// logFile returns the newest log of a store that was cut off, and its content.
func logFile(t *testing.T, fs vfs.FS) (string, []byte) {
	t.Helper()
	names, err := fs.List("/store/db")
	if err != nil {
		t.Fatal(err)
	}
	var name string
	for _, n := range names {
		if strings.HasSuffix(n, ".log") && n > name {
			name = n
		}
	}
	f, err := fs.Open("/store/db/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return name, bytes.TrimRight(b, "\x00")
}

func rewrite(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create("/store/db/"+name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// crashed returns what a power cut leaves of a store with a few commits.
func crashed(t *testing.T, commits int) (fs *vfs.MemFS, ref store.Ref, seq uint64) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	o := options(mem, time.Now)
	s := open(t, o)
	st := draft(t, o, sender, nil, "one")
	commit(t, s, st)
	for range commits {
		commit(t, s, draft(t, o, sender, load(t, s, st.Ref), "more"))
	}
	seq = load(t, s, st.Ref).State.Seq
	fs = mem.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, s)
	return fs, st.Ref, seq
}

// TestTornTail cuts bytes off the end of the log: what is left is whole.
func TestTornTail(t *testing.T) {
	for _, n := range []int{1, 7, 100, 1000} {
		fs, ref, seq := crashed(t, 20)
		name, b := logFile(t, fs)
		rewrite(t, fs, name, b[:len(b)-n])
		s := open(t, options(fs, time.Now))
		if got := load(t, s, ref).State.Seq; got >= seq || got == 0 {
			t.Errorf("%d bytes cut: %d of %d events", n, got, seq)
		}
		sound(t, s)
		closeStore(t, s)
	}
}

// TestDamagedMiddle changes a byte of a commit that others follow: the store does not open, and names the file. The first
// log lies in one block, where Pebble by itself would take the damage for the end; the second in several.
func TestDamagedMiddle(t *testing.T) {
	for _, commits := range []int{20, 400} {
		for _, part := range []int{10, 4, 3, 2} {
			fs, _, _ := crashed(t, commits)
			name, b := logFile(t, fs)
			b[len(b)/part] ^= 0x40
			rewrite(t, fs, name, b)
			s, err := embedded.Open(options(fs, time.Now))
			if err == nil {
				closeStore(t, s)
				t.Errorf("%d commits, damaged at 1/%d of the log: opened", commits, part)
				continue
			}
			if !strings.Contains(err.Error(), strings.TrimSuffix(name, ".log")) {
				t.Errorf("the error does not name %s: %v", name, err)
			}
		}
	}
}

// TestLoadIsUsed looks that the load of the crash tests comes everywhere.
func TestLoadIsUsed(t *testing.T) {
	l := storetest.NewLoad(time.Now)
	s := open(t, options(vfs.NewMem(), time.Now))
	defer closeStore(t, s)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	l.OnAck = countdown(200, done)
	go func() {
		<-done
		stop()
	}()
	l.Run(ctx, s, 4, 1)
	rep, err := s.Check(t.Context())
	if err != nil || len(rep.Faults) != 0 {
		t.Fatalf("check: %v, %v", rep.Faults, err)
	}
	// A load that never diverts, closes or sends would prove nothing.
	dead, err := s.DeadLetters(t.Context(), tenant(t), 1000)
	if err != nil || len(dead) == 0 {
		t.Errorf("%d dead letters, %v", len(dead), err)
	}
	if rep.Conversations <= 16 {
		t.Errorf("%d conversations of 16 customers: none was closed", rep.Conversations)
	}
}
