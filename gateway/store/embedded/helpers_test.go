package embedded_test

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
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

// small is a disk with a settable rest.
type small struct {
	vfs.FS
	free atomic.Uint64
}

func (s *small) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: s.free.Load()}, nil
}
