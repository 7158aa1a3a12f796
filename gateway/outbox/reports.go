package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// ReportStore is what reports need of a store.
type ReportStore interface {
	store.Inbox
	steps
}

// Reports takes in what providers say of messages that they took.
type Reports struct {
	Store ReportStore
	IDs   *id.Source
	Now   func() time.Time
}

// Channel returns where the named channel hands in its reports.
func (r *Reports) Channel(t store.Tenant, key string) adapters.Deliveries {
	return &channelReports{r, t, key}
}

type channelReports struct {
	*Reports
	tenant store.Tenant
	key    string
}

// maxCode bounds a provider's reason, which goes into the log.
const maxCode = 64

// Report implements adapters.Deliveries. A message that is reported as failed becomes a dead letter, like one that never
// left.
func (c *channelReports) Report(ctx context.Context, r message.Report) error {
	switch r.Status {
	case message.Sent, message.Failed, message.Delivered, message.Read:
	default:
		return &adapters.RefusedError{Code: "bad_request", Detail: "status must be sent, failed, delivered or read"}
	}
	if r.ID == "" && r.ProviderID == "" || r.To.Address == "" {
		return &adapters.RefusedError{Code: "bad_request", Detail: "a report needs a recipient and the id of a message"}
	}
	if len(r.Code) > maxCode {
		return &adapters.RefusedError{Code: "bad_request", Detail: fmt.Sprintf("code must be %d bytes at most", maxCode)}
	}
	r.To.Channel = c.key
	ref, seq, err := c.find(ctx, r)
	if err != nil {
		return err
	}
	sent, err := c.sent(ctx, ref, seq)
	if err != nil {
		return err
	}
	_, err = step(ctx, c.Store, c.Now, c.IDs.Token, system, ref, seq, sent.ID, func(d *conversation.Draft, was message.Status, s *store.Step) error {
		if !was.Before(r.Status) {
			return conversation.ErrNothing
		}
		if r.Status == message.Failed {
			s.Bury = &store.DeadLetter{Row: rowOf(sent, &d.State, seq, d.Now()), Code: r.Code}
		}
		return d.Do(conversation.SetStatus{ID: sent.ID, Status: r.Status, Code: r.Code})
	})
	switch {
	case err == nil, errors.Is(err, conversation.ErrNothing):
		return nil
	}
	return reportError(err)
}

// find returns the conversation and the event of the message.
func (c *channelReports) find(ctx context.Context, r message.Report) (store.Ref, uint64, error) {
	var names []string
	if r.ID != "" {
		names = append(names, store.OutID(r.ID))
	}
	if r.ProviderID != "" {
		names = append(names, store.ProviderID(r.ProviderID))
	}
	found, err := c.Store.Find(ctx, c.tenant, r.To, names)
	if err != nil {
		return store.Ref{}, 0, reportError(err)
	}
	for _, name := range names {
		if k, ok := found.Known[name]; ok {
			return store.Ref{Tenant: c.tenant, ID: k.Conversation}, k.Seq, nil
		}
	}
	return store.Ref{}, 0, adapters.ErrNotFound
}

// sent reads what was said.
func (c *channelReports) sent(ctx context.Context, ref store.Ref, seq uint64) (*conversation.Sent, error) {
	events, err := c.Store.Log(ctx, ref, seq-1, 1)
	if err != nil {
		return nil, reportError(err)
	}
	if len(events) == 1 {
		if d, ok := events[0].Data.(*conversation.Sent); ok {
			return d, nil
		}
	}
	return nil, adapters.ErrNotFound
}

// rowOf makes the row of a message anew.
func rowOf(d *conversation.Sent, s *conversation.State, seq uint64, now int64) store.OutboxRow {
	return store.OutboxRow{
		ID: store.RowOf(d.ID), Epoch: s.Epoch, Seq: seq, At: now, Due: now,
		Out: message.Outbound{ID: d.ID, To: s.From, Part: d.Part, By: d.By},
	}
}

// reportError maps an error of the store to what a channel may hear.
func reportError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return adapters.ErrNotFound
	case errors.Is(err, store.ErrUnknown):
		return fmt.Errorf("%w: %w", adapters.ErrUnknownOutcome, err)
	}
	return fmt.Errorf("%w: %w", adapters.ErrUnavailable, err)
}
