package privacy_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/privacy"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// TestArchived: what is archived is a person's like anything else. A hold keeps it, it is handed out, it is erased with its
// files, and its time comes as if it were not archived; one that is damaged keeps no other from its time.
func TestArchived(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	ctx, fs, clock := t.Context(), vfs.NewMem(), storetest.NewClock()
	tenant, err := store.NewTenant("acme")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	ids := id.NewSource(rand.Reader, clock.Now)
	s, err := redis.Open(ctx, redis.Options{Addr: server.Addr(), Root: make([]byte, 32), IDs: ids, Now: clock.Now, Blobs: "/blobs", FS: fs})
	must(err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	policy := privacy.Policy{}
	p := privacy.New(privacy.Options{Store: s, Blobs: s.Blobs(), IDs: ids, Now: clock.Now, Policy: func(store.Tenant) privacy.Policy { return policy }})
	archived := func(n int) store.Ref {
		t.Helper()
		a := address(n)
		r := store.Ref{Tenant: tenant, ID: ids.New(id.Conversation, id.PartitionOf("acme", a.Channel, a.Address))}
		d := conversation.Begin(new(conversation.State), conversation.Env{Now: clock.Milli(), Op: ids.Token(), Actor: owner})
		for _, c := range []conversation.Command{
			conversation.Open{ID: r.ID, From: a},
			conversation.Receive{ID: ids.New(id.Message, 0), In: message.Inbound{ID: "1", From: a, Kind: message.Text, Text: "I am " + canary}},
			conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"x"}}},
			idle,
		} {
			must(d.Do(c))
		}
		_, err := s.Commit(ctx, store.Step{Ref: r, Op: store.Token(ids.Token()), Bind: &store.Bind{Address: a}, Events: d.Events, State: d.Result()})
		must(err)
		done, err := s.Archive(ctx, r)
		must(err)
		if done.Events != len(d.Events) {
			t.Fatalf("archived: %+v", done)
		}
		return r
	}
	segments := func(r store.Ref) []string {
		names, err := fs.List("/blobs/acme/" + r.ID)
		if err != nil {
			return nil
		}
		return names
	}
	chain := func(r store.Ref) {
		t.Helper()
		list, err := s.Entries(ctx, tenant, r.ID, 0, 100)
		must(err)
		if _, err := audit.Verify(r.ID, audit.Head{}, list); err != nil || len(list) < 2 {
			t.Errorf("its chain has %d entries: %v", len(list), err)
		}
	}

	one, other := archived(1), archived(2)
	who := privacy.Person{Conversation: one.ID}
	copied, err := p.Copy(ctx, tenant, who)
	must(err)
	var lines bytes.Buffer
	must(copied.JSONL(ctx, &lines))
	if !strings.Contains(lines.String(), "I am "+canary) || strings.Contains(lines.String(), other.ID) {
		t.Errorf("what is held of the person: %s", lines.String())
	}
	hold, err := p.SetHold(ctx, tenant, privacy.Hold{Person: who, Reason: "a court asks"}, "owner:ana")
	must(err)
	var held *privacy.HeldError
	if _, err := p.Request(ctx, tenant, who, false, "owner:ana"); !errors.As(err, &held) {
		t.Errorf("erasing what is held: %v", err)
	}
	if len(segments(one)) != 1 {
		t.Errorf("the files of what is held: %v", segments(one))
	}
	must(p.LiftHold(ctx, tenant, hold.ID, "owner:ana"))
	_, err = p.Request(ctx, tenant, who, false, "owner:ana")
	must(err)
	must(p.Sweep(ctx))
	if len(segments(one)) != 0 || len(segments(other)) != 1 {
		t.Errorf("files after the erasure: %v, of another person %v", segments(one), segments(other))
	}
	if _, err := s.Log(ctx, one, 0, 1); !errors.Is(err, store.ErrErased) {
		t.Errorf("its log: %v", err)
	}
	chain(one)

	// Its time comes. Of the damaged one the figures could not be kept: it stays until it is mended.
	damaged := archived(3)
	file := "/blobs/acme/" + damaged.ID + "/" + segments(damaged)[0]
	must(fs.Rename(file, "/elsewhere"))
	policy = privacy.Policy{Messages: 30 * day}
	clock.Move(31 * day)
	must(p.Sweep(ctx))
	run, err := p.LastRun(ctx, tenant)
	must(err)
	if run.Messages != 1 || run.Unfinished != 1 || len(segments(other)) != 0 {
		t.Errorf("the run: %+v, files %v", run, segments(other))
	}
	stone, err := s.Tombstone(ctx, other)
	must(err)
	if !strings.Contains(string(stone.Keep), "closed_at") {
		t.Errorf("its figures: %s", stone.Keep)
	}
	chain(other)
	must(fs.Rename("/elsewhere", file))
	clock.Move(25 * time.Hour)
	must(p.Sweep(ctx))
	if run, err := p.LastRun(ctx, tenant); err != nil || run.Messages != 1 || run.Unfinished != 0 {
		t.Errorf("when it is mended: %+v, %v", run, err)
	}
	rep, err := s.Check(ctx)
	must(err)
	if len(rep.Faults) > 0 {
		t.Error(fmt.Sprint(rep.Faults))
	}
}
