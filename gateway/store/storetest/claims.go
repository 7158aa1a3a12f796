package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// claimed is how a claim ended: won, or lost to winner, or with an error.
type claimed struct {
	won    bool
	winner string
	err    error
}

// tryClaim claims as the queue does: load, reserve, compare and set; from the start again when it was stale.
func (w *world) tryClaim(r store.Ref, who string) claimed {
	return w.tryClaimFrom(r, who, nil, conversation.Claim{Name: who})
}

func (w *world) tryClaimFrom(r store.Ref, who string, snap *store.Snapshot, again conversation.Claim) claimed {
	claim := conversation.Claim{Name: who}
	for {
		var err error
		if snap == nil {
			if snap, err = w.Store.Load(w.Context(), r); err != nil {
				return claimed{err: err}
			}
		}
		by := agent(who)
		if claim.Override {
			by.Kind = conversation.Supervisor
		}
		st, err := w.draft(r, snap, by, claim)
		var lost *conversation.ClaimedError
		if errors.As(err, &lost) {
			return claimed{winner: lost.Winner.Agent}
		}
		if err != nil {
			return claimed{err: err}
		}
		if err := w.Store.Reserve(w.Context(), r.Tenant, who, r.ID, st.Op); err != nil {
			return claimed{err: err}
		}
		if _, err = w.Store.Commit(w.Context(), st); err == nil {
			return claimed{won: true, winner: who}
		}
		if err := w.Store.Cancel(w.Context(), r.Tenant, st.Op); err != nil {
			return claimed{err: err}
		}
		if !errors.Is(err, store.ErrStale) {
			return claimed{err: err}
		}
		snap, claim = nil, again
	}
}

// owners is the model: a register that the first claim sets, and every later one reads.
var owners = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		owner, who, out := state.(string), input.(string), output.(claimed)
		if owner == "" {
			return out.won, who
		}
		return !out.won && out.winner == owner, owner
	},
	Equal: func(a, b any) bool { return a == b },
}

// race lets n agents claim one conversation at once and returns the history.
func (w *world) race(n int, claim func(r store.Ref, snap *store.Snapshot, who string) claimed) []porcupine.Operation {
	w.Helper()
	r := w.open(address(n))
	w.divert(r, "q", conversation.PriorityNormal)
	for i := range n {
		w.noErr(w.Store.SetPresence(w.Context(), w.tenant, store.Presence{
			Agent: fmt.Sprint("agent-", i), Until: w.clock.Milli() + time.Hour.Milliseconds(), Capacity: 100,
		}), "presence")
	}
	ops := make([]porcupine.Operation, n)
	var mu sync.Mutex
	var tick int64 // orders calls and returns without a clock
	stamp := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		tick++
		return tick
	}
	var wg, loaded sync.WaitGroup
	loaded.Add(n)
	for i := range n {
		wg.Go(func() {
			who := fmt.Sprint("agent-", i)
			ops[i] = porcupine.Operation{ClientId: i, Input: who, Call: stamp()}
			snap, err := w.Store.Load(w.Context(), r)
			loaded.Done()
			if err != nil {
				w.Errorf("loading: %v", err)
				return
			}
			loaded.Wait() // all decide on the same snapshot
			out := claim(r, snap, who)
			if out.err != nil {
				w.Errorf("claiming: %v", out.err)
			}
			ops[i].Output, ops[i].Return = out, stamp()
		})
	}
	wg.Wait()
	return ops
}

func testClaims(t *testing.T, w *world) {
	for _, n := range []int{2, 3, 8, 16, 64} {
		ops := w.race(n, func(r store.Ref, snap *store.Snapshot, who string) claimed {
			return w.tryClaimFrom(r, who, snap, conversation.Claim{Name: who})
		})
		if !porcupine.CheckOperations(owners, ops) {
			t.Errorf("%d claimants: the history is not linearizable", n)
		}
	}
}

// testClaimsControl breaks the fence: who finds his snapshot stale takes the conversation all the same. The checker has
// to see it.
func testClaimsControl(t *testing.T, w *world) {
	ops := w.race(8, func(r store.Ref, snap *store.Snapshot, who string) claimed {
		return w.tryClaimFrom(r, who, snap, conversation.Claim{Name: who, Override: true})
	})
	if porcupine.CheckOperations(owners, ops) {
		t.Error("claims without a fence pass for linearizable")
	}
}
