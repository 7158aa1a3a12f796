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

// Resend puts a dead letter back into its conversation's outbox; it will be tried as if it were new. The decision is in
// the conversation's log and audit chain, in the same commit. store.ErrNotFound: it is not dead, or no longer.
// conversation.ErrNotOwner: it is the bot's, and people have the conversation.
func (d *Dead) Resend(ctx context.Context, t store.Tenant, row string, by conversation.Actor) (store.DeadLetter, error) {
	return d.decide(ctx, t, row, by, false)
}

// Discard gives a dead letter up for good.
func (d *Dead) Discard(ctx context.Context, t store.Tenant, row string, by conversation.Actor) (store.DeadLetter, error) {
	return d.decide(ctx, t, row, by, true)
}

func (d *Dead) decide(ctx context.Context, t store.Tenant, row string, by conversation.Actor, discard bool) (store.DeadLetter, error) {
	dead, err := d.Store.DeadLetter(ctx, t, row)
	if err != nil {
		return dead, err
	}
	out := dead.Row.Out
	_, err = step(ctx, d.Store, d.Now, d.IDs.Token, by, dead.Ref, dead.Row.Seq, out.ID, func(c *conversation.Draft, _ message.Status, s *store.Step) error {
		s.Redrive = &store.Redrive{Row: row, Discard: discard}
		if discard {
			return c.Do(conversation.Discard{ID: out.ID})
		}
		return c.Do(conversation.Resend{ID: out.ID, By: out.By})
	})
	if errors.Is(err, store.ErrStale) {
		err = store.ErrNotFound // somebody was quicker
	}
	return dead, err
}
