package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// TestLearn opens a store that holds many message ids: it soon knows in memory which they are, and refuses each of them
// before and after.
func TestLearn(t *testing.T) {
	const messages = 2*learnedRows + 10
	fs := vfs.NewMem()
	o := Options{Dir: "store", FS: fs, Root: make([]byte, 32), IDs: id.NewSource(rand.Reader, time.Now), Now: time.Now, Reserve: -1, Ballast: -1}
	tenant, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	from := message.Address{Channel: "acme.web", Address: "v"}
	ref := store.Ref{Tenant: tenant, ID: o.IDs.New(id.Conversation, id.PartitionOf("acme", from.Channel, from.Address))}
	step := func(first, count int, base store.Token) store.Step {
		op := store.Token(o.IDs.Token())
		st := store.Step{Ref: ref, Op: op, Base: base}
		d := conversation.Begin(&conversation.State{}, conversation.Env{Now: 1, Op: string(op), Actor: conversation.Actor{Kind: conversation.System}})
		if err := d.Do(conversation.Open{ID: ref.ID, From: from}); err != nil {
			t.Fatal(err)
		}
		st.Events, st.State = d.Events, d.Result()
		for i := range count {
			st.Dedupe = append(st.Dedupe, store.Dedupe{From: from, ID: fmt.Sprint(first + i), Seq: 1})
		}
		return st
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.trouble.mending.Wait()
	if _, err := s.Commit(t.Context(), step(0, messages, "")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gen := s.gens.of(s.generation())
	s.trouble.mending.Wait() // until all is learned
	keys, err := s.tenant(tenant)
	if err != nil {
		t.Fatal(err)
	}
	if gen.old || gen.full {
		t.Fatalf("the generation is not learned: %+v", gen)
	}
	wrong := 0
	for i := range messages {
		if !gen.may(dedupeHash(keys, from, fmt.Sprint(i))) {
			t.Fatalf("message %d is forgotten", i)
		}
		if gen.may(dedupeHash(keys, from, fmt.Sprint(messages+i))) {
			wrong++
		}
	}
	if wrong > messages/20 {
		t.Errorf("%d of %d unknown messages are taken for known ones", wrong, messages)
	}
	var dup *store.DuplicateError
	for _, i := range []int{0, learnedRows - 1, learnedRows, learnedRows + 1, messages - 1} {
		if _, err := s.Commit(t.Context(), step(i, 1, "")); !errors.As(err, &dup) {
			t.Errorf("message %d again: %v", i, err)
		}
	}
}

// TestLearnForgets checks that a generation which is full asks the disk for ever, and that nothing is learned of one that
// is no longer the store's.
func TestLearnForgets(t *testing.T) {
	g := &generation{old: true, full: true}
	g.learned()
	if !g.may(idHash{1}) {
		t.Error("a full generation forgot what it may hold")
	}
	o := Options{Dir: "store", FS: vfs.NewMem(), Root: make([]byte, 32), IDs: id.NewSource(rand.Reader, time.Now), Now: time.Now, Reserve: -1, Ballast: -1}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.learnSome(1, &generation{old: true}, dedupeKey(1, idHash{})); !errors.Is(err, errForgotten) {
		t.Errorf("a foreign generation: %v", err)
	}
}
