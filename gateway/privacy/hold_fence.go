package privacy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// A hold and a destruction on two nodes. Whoever is about to destroy something of a conversation says so in a record first,
// and only then loads the conversation, reads the holds and commits. Whoever sets a hold writes it first, and then gives
// every conversation that is named in such a record another version. So a destruction that had read the holds before is
// stale however late its commit comes, and begins anew; one that names its conversation later finds the hold. No clock and no
// lease is in this: a node may stand still at any point for as long as it likes.

const (
	recordDestroying = "destroying"
	kindDestroying   = id.Kind('d')
	// forgotten is after what time the word of a destruction is taken away whose process did not live to do it.
	forgotten = 24 * time.Hour
)

// destroying is the body of the record.
type destroying struct {
	Conversation string `json:"conversation"`
}

// destroyOf runs decide and its commit on a conversation under the holds that are in force, as often as either moves on.
func (p *Privacy) destroyOf(ctx context.Context, r store.Ref, by conversation.Actor, decide func([]Hold, *store.Snapshot, *conversation.Draft, *store.Step) error) error {
	for {
		err := p.destroyOnce(ctx, r, by, decide)
		if !errors.Is(err, store.ErrStale) || ctx.Err() != nil {
			return err
		}
	}
}

func (p *Privacy) destroyOnce(ctx context.Context, r store.Ref, by conversation.Actor, decide func([]Hold, *store.Snapshot, *conversation.Draft, *store.Step) error) error {
	body, err := json.Marshal(destroying{r.ID})
	if err != nil {
		return err
	}
	rec := store.Record{Kind: recordDestroying, ID: p.o.IDs.New(kindDestroying, 0), Body: body}
	if rec.Version, err = p.o.Store.PutRecord(ctx, r.Tenant, rec, nil); err != nil {
		return err
	}
	err = p.attempt(ctx, r, store.Token(p.o.IDs.Token()), by, func(snap *store.Snapshot, d *conversation.Draft, st *store.Step) error {
		holds, err := p.allHolds(ctx, r.Tenant)
		if err != nil {
			return err
		}
		return decide(holds, snap, d, st)
	})
	if errors.Is(err, store.ErrUnknown) {
		return err // the commit may still come, so its word stays
	}
	if gone := p.o.Store.DeleteRecord(context.WithoutCancel(ctx), r.Tenant, rec, nil); gone != nil {
		p.o.Log.Warn("taking away that a conversation was to be destroyed; it is forgotten in a day", "conversation", r.ID, "err", gone)
	}
	return err
}

// fence makes every destruction stale that has read the holds before.
func (p *Privacy) fence(ctx context.Context, t store.Tenant) error {
	for after := ""; ; {
		records, err := p.o.Store.ListRecords(ctx, t, recordDestroying, after, page)
		if err != nil {
			return err
		}
		for _, rec := range records {
			after = rec.ID
			var d destroying
			if err := json.Unmarshal(rec.Body, &d); err != nil {
				return fmt.Errorf("decoding a record of kind %s: %w", recordDestroying, err)
			}
			if err := p.touch(ctx, store.Ref{Tenant: t, ID: d.Conversation}); err != nil {
				return err
			}
			if made, err := id.Time(kindDestroying, rec.ID); err == nil && p.o.Now().Sub(made) > forgotten {
				if err := p.o.Store.DeleteRecord(ctx, t, rec, nil); err != nil && !errors.Is(err, store.ErrStale) {
					return err
				}
			}
		}
		if len(records) < page {
			return nil
		}
	}
}

// touch gives a conversation another version and changes nothing else. That somebody else does so meanwhile is as good.
func (p *Privacy) touch(ctx context.Context, r store.Ref) error {
	snap, err := p.o.Store.Load(ctx, r)
	if err == nil {
		st := store.Step{Ref: r, Op: store.Token(p.o.IDs.Token()), Base: snap.Version, State: snap.State}
		_, err = p.o.Store.Commit(ctx, st)
		for ctx.Err() == nil && errors.Is(err, store.ErrUnknown) {
			_, err = p.o.Store.Commit(ctx, st)
		}
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrStale) { // erased before, or moved on
		return nil
	}
	return err
}
