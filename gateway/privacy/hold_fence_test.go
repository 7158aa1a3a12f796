package privacy_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"turnout/gateway/conversation"
	"turnout/gateway/privacy"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// halted is the store as a node has it that stands still before a commit that destroys, until it is let go.
type halted struct {
	*embedded.Store
	once    sync.Once
	reached chan struct{}
	on      chan struct{}
}

func (h *halted) Commit(ctx context.Context, s store.Step) (store.Done, error) {
	wipes := slices.ContainsFunc(s.Events, func(e conversation.Event) bool { _, ok := e.Data.(*conversation.Wiped); return ok })
	if wipes || len(s.Detach) > 0 {
		h.once.Do(func() {
			close(h.reached)
			<-h.on
		})
	}
	return h.Store.Commit(ctx, s)
}

// other is another node on the world's store.
func (w *world) other() (*privacy.Privacy, *halted) {
	h := &halted{Store: w.s, reached: make(chan struct{}), on: make(chan struct{})}
	return privacy.New(privacy.Options{
		Store: h, Blobs: w.s.Blobs(), IDs: w.o.IDs, Now: w.clock.Now, Policy: func(store.Tenant) privacy.Policy { return w.policy },
	}), h
}

// TestHoldBesideADestruction: one node has read the holds and stands still before it destroys; the other sets a hold. When
// that has returned, nothing that it covers goes, however long the first has stood still.
func TestHoldBesideADestruction(t *testing.T) {
	for name, hold := range map[string]func(store.Ref) privacy.Hold{
		"conversation": func(r store.Ref) privacy.Hold { return privacy.Hold{Person: privacy.Person{Conversation: r.ID}} },
		"address": func(store.Ref) privacy.Hold {
			return privacy.Hold{Person: privacy.Person{Channel: "acme.sms", Address: address(1).Address}}
		},
		"everything": func(store.Ref) privacy.Hold { return privacy.Hold{Everything: true} },
	} {
		for _, retention := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				r := w.talk(1, idle)
				if retention {
					w.policy = privacy.Policy{Messages: day}
					w.clock.Move(2 * day)
				} else if _, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: r.ID}, true, "owner:ana"); err != nil {
					t.Fatal(err)
				}
				node, h := w.other()
				swept := make(chan error, 1)
				go func() { swept <- node.Sweep(context.Background()) }()
				<-h.reached
				w.clock.Move(time.Hour) // no lease is as long
				legal := hold(r)
				legal.Reason = "case"
				if _, err := w.SetHold(t.Context(), w.t, legal, "owner:ana"); err != nil {
					t.Fatal(err)
				}
				close(h.on)
				if err := <-swept; err != nil {
					t.Errorf("the sweep: %v", err)
				}
				if _, err := w.s.Load(t.Context(), r); err != nil {
					t.Errorf("what is held: %v", err)
				}
			})
		}
	}
}

// TestDestroyedBeforeTheHold is the control: without a hold what stood still is destroyed, and a hold on it comes too late.
func TestDestroyedBeforeTheHold(t *testing.T) {
	w := newWorld(t)
	r := w.talk(1, idle)
	if _, err := w.Request(t.Context(), w.t, privacy.Person{Conversation: r.ID}, true, "owner:ana"); err != nil {
		t.Fatal(err)
	}
	node, h := w.other()
	close(h.on)
	if err := node.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.Load(t.Context(), r); !errors.Is(err, store.ErrErased) {
		t.Errorf("what was to be erased: %v", err)
	}
	if _, err := w.SetHold(t.Context(), w.t, privacy.Hold{Person: privacy.Person{Conversation: r.ID}, Reason: "case"}, "owner:ana"); !errors.Is(err, store.ErrErased) {
		t.Errorf("a hold on what is gone: %v", err)
	}
	if left, err := w.s.ListRecords(t.Context(), w.t, "destroying", "", 10); err != nil || len(left) != 0 {
		t.Errorf("%d conversations are still said to be destroyed, %v", len(left), err)
	}
}
