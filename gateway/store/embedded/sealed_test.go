package embedded_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/seal"
)

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
	bury := store.Step{Ref: st.Ref, Base: "op", Op: "op-2", State: &d.State}
	bury.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token, End: store.Bury, Code: canary}
	commit(t, s, bury)
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
