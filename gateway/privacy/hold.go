package privacy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Hold keeps what it covers from being destroyed: a person's conversations, of now and to come, or with Everything all of
// the tenant's. Named by a conversation, it covers that one.
type Hold struct {
	ID string `json:"id"`
	Person
	Everything bool      `json:"everything,omitempty"`
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
}

// HeldError says that a hold stands in the way.
type HeldError struct{ Hold string }

func (e *HeldError) Error() string { return "legal hold " + e.Hold }

// ErrReason says that a hold has no reason, or a long one.
var ErrReason = errors.New("a reason of 1 to 500 letters is needed")

const longestReason = 500

func reasonOf(s string) error {
	if n := utf8.RuneCountInString(s); n == 0 || n > longestReason || !utf8.ValidString(s) {
		return ErrReason
	}
	return nil
}

// covers reports whether a hold covers a conversation.
func (h *Hold) covers(s *conversation.State) bool {
	return h.Everything ||
		h.Conversation != "" && h.Conversation == s.ID ||
		h.Contact != "" && h.Contact == s.Contact ||
		h.Address != "" && h.Channel == s.From.Channel && h.Address == s.From.Address
}

// SetHold sets a hold. When it returns, nothing that it covers is destroyed any more, by whichever node.
func (p *Privacy) SetHold(ctx context.Context, t store.Tenant, h Hold, by string) (Hold, error) {
	if err := reasonOf(h.Reason); err != nil {
		return Hold{}, err
	}
	if !h.Everything {
		if err := h.check(); err != nil {
			return Hold{}, err
		}
	} else if h.Person != (Person{}) {
		return Hold{}, ErrPerson
	}
	if h.Conversation != "" {
		if _, err := id.Partition(id.Conversation, h.Conversation); err != nil {
			return Hold{}, store.ErrNotFound
		}
		if _, err := p.o.Store.Load(ctx, store.Ref{Tenant: t, ID: h.Conversation}); err != nil {
			return Hold{}, err
		}
	}
	h.ID, h.By, h.At = p.o.IDs.New(kindHold, 0), by, p.o.Now().UTC()
	body, err := json.Marshal(h)
	if err != nil {
		return Hold{}, err
	}
	if _, err = p.o.Store.PutRecord(ctx, t, store.Record{Kind: recordHold, ID: h.ID, Body: body}, p.entry("hold.set", h.ID, by)); err != nil {
		return h, err
	}
	if err := p.fence(ctx, t); err != nil {
		return h, fmt.Errorf("the hold stands, and what was being destroyed may still go: set it again: %w", err)
	}
	return h, nil
}

// LiftHold lifts a hold, or returns store.ErrNotFound. What it kept back goes its way with the next sweep.
func (p *Privacy) LiftHold(ctx context.Context, t store.Tenant, hold, by string) error {
	if _, err := id.Partition(kindHold, hold); err != nil {
		return store.ErrNotFound
	}
	rec, err := p.o.Store.Record(ctx, t, recordHold, hold)
	if err != nil {
		return err
	}
	if err := p.o.Store.DeleteRecord(ctx, t, rec, p.entry("hold.lifted", hold, by)); err != nil {
		return err
	}
	p.kick()
	return nil
}

// Holds lists a tenant's holds, oldest first, at most limit, after one ("": from the start).
func (p *Privacy) Holds(ctx context.Context, t store.Tenant, after string, limit int) ([]Hold, error) {
	return list[Hold](ctx, p.o.Store, t, recordHold, after, limit)
}

// allHolds returns every hold of a tenant.
func (p *Privacy) allHolds(ctx context.Context, t store.Tenant) (all []Hold, err error) {
	for after := ""; ; {
		some, err := p.Holds(ctx, t, after, page)
		if err != nil {
			return nil, fmt.Errorf("reading holds: %w", err)
		}
		all = append(all, some...)
		if len(some) < page {
			return all, nil
		}
		after = some[len(some)-1].ID
	}
}

// holding returns a *HeldError for the first hold that covers a conversation.
func holding(holds []Hold, s *conversation.State) error {
	for i := range holds {
		if holds[i].covers(s) {
			return &HeldError{holds[i].ID}
		}
	}
	return nil
}

// list decodes a page of records.
func list[T any](ctx context.Context, s store.Records, t store.Tenant, kind, after string, limit int) ([]T, error) {
	records, err := s.ListRecords(ctx, t, kind, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]T, len(records))
	for i, r := range records {
		if err := json.Unmarshal(r.Body, &out[i]); err != nil {
			return nil, fmt.Errorf("decoding a record of kind %s: %w", kind, err)
		}
	}
	return out, nil
}
