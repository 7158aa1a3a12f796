package privacy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Erasure is a request to erase a person, and how far it has come. It holds nothing of the person but ids.
type Erasure struct {
	ID            string    `json:"id"`
	By            string    `json:"by"`
	RequestedAt   time.Time `json:"requested_at"`
	Conversations []string  `json:"conversations"`
	State         State     `json:"state"`
	// Waiting says what stands in the way, for StateWaiting: the id of a hold, or the conversation that a person has to
	// see to first.
	Waiting string `json:"waiting,omitempty"`
	// Defer is set for a request that waits when something stands in the way.
	Defer  bool      `json:"defer,omitempty"`
	DoneAt time.Time `json:"done_at,omitzero"`
}

// State is how far an erasure has come.
type State string

// The states, in their order.
const (
	StateRequested State = "requested"
	StateWaiting   State = "waiting" // something stands in the way
	StateErased    State = "erased"  // nobody can read it any more; files are still to be scrubbed
	StateDone      State = "done"    // no file holds anything of it
)

// ErrMustReachHuman says that a person has to see to a conversation before it can be erased.
type ErrMustReachHuman struct{ Conversation string }

func (e *ErrMustReachHuman) Error() string {
	return "a person has to see to conversation " + e.Conversation + " first"
}

// Plan is what an erasure would destroy, and what stands in its way: nil for nothing, else a *HeldError or an
// *ErrMustReachHuman.
type Plan struct {
	Conversations []string
	Obstacle      error
}

// Plan finds out what belongs to a person.
func (p *Privacy) Plan(ctx context.Context, t store.Tenant, who Person) (plan Plan, err error) {
	if plan.Conversations, err = p.conversations(ctx, t, who); err != nil {
		return plan, err
	}
	err = p.obstacle(ctx, t, plan.Conversations)
	if isObstacle(err) {
		plan.Obstacle, err = err, nil
	}
	return plan, err
}

// Request asks for the erasure of a person. When something stands in the way and the request is not to be deferred, it is
// refused with that error, and the refusal is in the tenant's chain. After nil it is carried out, whatever happens.
func (p *Privacy) Request(ctx context.Context, t store.Tenant, who Person, wait bool, by string) (Erasure, error) {
	plan, err := p.Plan(ctx, t, who)
	if err != nil {
		return Erasure{}, err
	}
	e := Erasure{
		ID: p.o.IDs.New(kindErasure, 0), By: by, RequestedAt: p.o.Now().UTC(), Conversations: plan.Conversations, State: StateRequested, Defer: wait,
	}
	if plan.Obstacle != nil {
		if !wait {
			p.figs.refused.Add(1)
			return Erasure{}, errors.Join(p.o.Store.Append(ctx, t, *p.entry("erasure.refused", subject(plan.Obstacle), by)), plan.Obstacle)
		}
		e.State, e.Waiting = StateWaiting, subject(plan.Obstacle)
	}
	if err := p.put(ctx, t, &request{Erasure: e}, "erasure.requested"); err != nil {
		return Erasure{}, err
	}
	p.figs.requested.Add(1)
	p.kick()
	return e, nil
}

// Erasure returns a request, or store.ErrNotFound.
func (p *Privacy) Erasure(ctx context.Context, t store.Tenant, erasure string) (Erasure, error) {
	if _, err := id.Partition(kindErasure, erasure); err != nil {
		return Erasure{}, store.ErrNotFound
	}
	rec, err := p.o.Store.Record(ctx, t, recordErasure, erasure)
	if err != nil {
		return Erasure{}, err
	}
	var e Erasure
	if err := json.Unmarshal(rec.Body, &e); err != nil {
		return e, fmt.Errorf("decoding an erasure: %w", err)
	}
	return e, nil
}

// Erasures lists a tenant's requests, oldest first, at most limit, after one ("": from the start).
func (p *Privacy) Erasures(ctx context.Context, t store.Tenant, after string, limit int) ([]Erasure, error) {
	return list[Erasure](ctx, p.o.Store, t, recordErasure, after, limit)
}

// request is an Erasure with the version of its record.
type request struct {
	Erasure
	version store.Token
}

// put writes a request, with an entry in the tenant's chain if it has a name.
func (p *Privacy) put(ctx context.Context, t store.Tenant, r *request, what string) (err error) {
	rec := store.Record{Kind: recordErasure, ID: r.ID, Version: r.version}
	if rec.Body, err = json.Marshal(r.Erasure); err != nil {
		return err
	}
	entry := p.entry(what, r.ID, r.By)
	entry.Count = len(r.Conversations)
	if what == "" {
		entry = nil
	}
	r.version, err = p.o.Store.PutRecord(ctx, t, rec, entry)
	return err
}

// settledFor is how old a request is that nobody finds behind a later one any more: clocks of nodes differ by less.
const settledFor = time.Hour

// erasures goes on with every request that is not done. Those before the first that is not done are looked at once.
func (p *Privacy) erasures(ctx context.Context, t store.Tenant) error {
	var errs []error
	p.mu.Lock()
	after := p.passed[t]
	p.mu.Unlock()
	for passing := true; ; {
		records, err := p.o.Store.ListRecords(ctx, t, recordErasure, after, page)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, rec := range records {
			after = rec.ID
			r := &request{version: rec.Version}
			if err := json.Unmarshal(rec.Body, &r.Erasure); err != nil {
				errs = append(errs, fmt.Errorf("decoding an erasure: %w", err))
				continue
			}
			if passing = passing && r.State == StateDone && p.o.Now().Sub(r.RequestedAt) > settledFor; passing {
				p.mu.Lock()
				p.passed[t] = rec.ID
				p.mu.Unlock()
			}
			if r.State != StateDone {
				if err := p.goOn(ctx, t, r); err != nil {
					errs = append(errs, fmt.Errorf("erasure %s: %w", r.ID, err))
				}
			}
		}
		if len(records) < page || ctx.Err() != nil {
			return errors.Join(errs...)
		}
	}
}

// goOn takes a request from where it stands to its end, or to what stands in its way.
func (p *Privacy) goOn(ctx context.Context, t store.Tenant, r *request) error {
	if r.State == StateRequested || r.State == StateWaiting {
		done, err := p.destroy(ctx, t, r)
		if err != nil || !done {
			return err
		}
	}
	if err := p.o.Faults.Hit(ctx, fault.ErasureErased); err != nil {
		return err
	}
	if err := p.o.Store.Scrub(ctx); err != nil {
		return err
	}
	if err := p.o.Faults.Hit(ctx, fault.ErasureScrubbed); err != nil {
		return err
	}
	r.State, r.DoneAt = StateDone, p.o.Now().UTC()
	if err := p.put(ctx, t, r, "erasure.done"); err != nil {
		return err
	}
	p.figs.done.Add(1)
	p.o.Log.Info("a person was erased", "tenant", t.Name(), "erasure", r.ID, "conversations", len(r.Conversations))
	return nil
}

// destroy erases the conversations of a request; false when something stands in the way.
func (p *Privacy) destroy(ctx context.Context, t store.Tenant, r *request) (bool, error) {
	// What has come since the request is the same person's.
	all, err := p.closure(ctx, t, r.Conversations)
	if err != nil {
		return false, err
	}
	if len(all) != len(r.Conversations) {
		r.Conversations = all
		if err := p.put(ctx, t, r, ""); err != nil {
			return false, err
		}
	}
	if err := p.o.Faults.Hit(ctx, fault.ErasureJournaled); err != nil {
		return false, err
	}
	err = p.obstacle(ctx, t, r.Conversations)
	for _, conv := range r.Conversations {
		if err != nil {
			break
		}
		err = p.wipe(ctx, store.Ref{Tenant: t, ID: conv}, r.By, nil)
		if err == nil {
			err = p.o.Faults.Hit(ctx, fault.ErasureWiped)
		}
	}
	if isObstacle(err) {
		if now := subject(err); r.State != StateWaiting || r.Waiting != now {
			r.State, r.Waiting = StateWaiting, now
			return false, p.put(ctx, t, r, "erasure.waiting")
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.State, r.Waiting = StateErased, ""
	return true, p.put(ctx, t, r, "")
}

// obstacle returns what stands in the way of erasing conversations.
func (p *Privacy) obstacle(ctx context.Context, t store.Tenant, conversations []string) error {
	holds, err := p.allHolds(ctx, t)
	if err != nil {
		return err
	}
	for _, conv := range conversations {
		snap, err := p.o.Store.Load(ctx, store.Ref{Tenant: t, ID: conv})
		if errors.Is(err, store.ErrErased) {
			continue
		}
		if err != nil {
			return err
		}
		if err := standing(holds, snap.State); err != nil {
			return err
		}
	}
	return nil
}

// standing returns what stands in the way of destroying one conversation.
func standing(holds []Hold, s *conversation.State) error {
	if err := holding(holds, s); err != nil {
		return err
	}
	if s.MustReachHuman {
		return &ErrMustReachHuman{s.ID}
	}
	return nil
}

// wipe destroys a conversation unless something stands in the way; keep returns what is to be kept of it and decides
// whether it is to be destroyed at all.
func (p *Privacy) wipe(ctx context.Context, r store.Ref, by string, keep func(*store.Snapshot) ([]byte, error)) error {
	var profile *message.Profile
	err := p.destroyOf(ctx, r, actor(by), func(holds []Hold, snap *store.Snapshot, d *conversation.Draft, st *store.Step) (err error) {
		profile = snap.State.Profile
		if err := standing(holds, snap.State); err != nil {
			return err
		}
		if keep != nil {
			if st.Keep, err = keep(snap); err != nil {
				return err
			}
		}
		return d.Do(conversation.Wipe{})
	})
	if errors.Is(err, store.ErrErased) {
		return nil
	}
	if err == nil && profile != nil && p.o.Forget != nil {
		p.o.Forget(r.Tenant, profile)
	}
	return err
}

func isObstacle(err error) bool {
	var held *HeldError
	var must *ErrMustReachHuman
	return errors.As(err, &held) || errors.As(err, &must)
}

// subject is the id of what stands in the way.
func subject(err error) string {
	var held *HeldError
	var must *ErrMustReachHuman
	switch {
	case errors.As(err, &held):
		return held.Hold
	case errors.As(err, &must):
		return must.Conversation
	}
	return ""
}
