package outbox

import (
	"context"
	"errors"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// DeadStore is what dead letters need of a store.
type DeadStore interface {
	steps
	DeadLetters(ctx context.Context, t store.Tenant, after string, limit int) ([]store.DeadLetter, string, error)
	DeadLetter(ctx context.Context, t store.Tenant, row string) (store.DeadLetter, error)
}

// Dead is the dead letters of all tenants, for people.
type Dead struct {
	Store DeadStore
	IDs   *id.Source
	Now   func() time.Time
}

// MostDead is the most dead letters of a page.
const MostDead = 200

// List returns dead letters after a cursor, oldest first; next is empty at the end.
func (d *Dead) List(ctx context.Context, t store.Tenant, after string, limit int) ([]store.DeadLetter, string, error) {
	if limit <= 0 || limit > MostDead {
		limit = MostDead
	}
	return d.Store.DeadLetters(ctx, t, after, limit)
}

// Redrive is what a person decided about a dead letter.
type Redrive struct {
	Tenant store.Tenant
	Row    string
	By     conversation.Actor
	// Discard gives it up for good; else it goes back into its conversation's outbox and is tried as if it were new.
	Discard bool
	// In, when set, is the conversation that it must be of. Op makes the decision safe to repeat; empty: a new one.
	In string
	Op store.Token
}

// Redrive carries a decision out. It is in the conversation's log and audit chain, in the same commit. store.ErrNotFound: it
// is not dead, or no longer. conversation.ErrNotOwner: it is the bot's, and people have the conversation.
func (d *Dead) Redrive(ctx context.Context, r Redrive) (store.DeadLetter, *conversation.State, error) {
	dead, err := d.Store.DeadLetter(ctx, r.Tenant, r.Row)
	if err != nil {
		return dead, nil, err
	}
	if r.In != "" && dead.Ref.ID != r.In {
		return store.DeadLetter{}, nil, store.ErrNotFound
	}
	token := d.IDs.Token
	if r.Op != "" {
		token = func() string { return string(r.Op) }
	}
	out := dead.Row.Out
	state, err := step(ctx, d.Store, d.Now, token, r.By, dead.Ref, dead.Row.Seq, out.ID, func(c *conversation.Draft, _ message.Status, s *store.Step) error {
		s.Redrive = &store.Redrive{Row: r.Row, Discard: r.Discard}
		if r.Discard {
			return c.Do(conversation.Discard{ID: out.ID})
		}
		return c.Do(conversation.Resend{ID: out.ID, By: out.By})
	})
	if errors.Is(err, store.ErrStale) {
		err = store.ErrNotFound // somebody was quicker
	}
	return dead, state, err
}
