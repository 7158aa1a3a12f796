package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// MaxEvents is the most events that one page holds, MaxPrevious the most previous conversations.
const (
	MaxEvents   = 500
	MaxPrevious = 10
)

// Context is a conversation with everything that is known of it.
type Context struct {
	Row
	Epoch conversation.Epoch `json:"epoch"`
	// Address is how the customer is reached on the channel, Contact the tenant's own id of the person.
	Address string           `json:"address,omitempty"`
	Contact string           `json:"contact,omitempty"`
	Profile *message.Profile `json:"profile,omitempty"`
	// Account is what the tenant's own system says of the customer, and since when.
	Account *message.Account `json:"account,omitempty"`
	// Lookup says that the system can be asked again, see Queue.Account.
	Lookup   bool       `json:"lookup,omitempty"`
	OpenedAt *time.Time `json:"opened_at,omitempty"`
	ClosedAt *time.Time `json:"closed_at,omitempty"`
	// Bot is the bot that a rule gave the conversation to; empty: the channel's, by its language.
	Bot      string `json:"bot,omitempty"`
	Handoffs int    `json:"handoffs,omitempty"`
	// InFlight is the turn that was with the bot when people took over and whose answer is not in yet. The customer does
	// not get it: it is recorded as discarded.
	InFlight string `json:"in_flight,omitempty"`
	// HeldOut are replies that have not left yet, HeldIn customer messages that wait for review.
	HeldOut []HeldMessage `json:"held_out,omitempty"`
	HeldIn  []HeldMessage `json:"held_in,omitempty"`
	Timers  []Timer       `json:"timers,omitempty"`
	// Previous are earlier conversations of the same address or contact, newest first.
	Previous []Previous `json:"previous,omitempty"`
	Page
}

// Page is a stretch of a log. Earlier and More are set when there are events before its first and after its last.
type Page struct {
	Events  []Event `json:"events"`
	Earlier bool    `json:"earlier,omitempty"`
	More    bool    `json:"more,omitempty"`
}

// Window says which stretch: the first Limit events after After, or, when Before is given, the last Limit events before
// Before. A Before beyond the end gives the end of the log. Limit 0 is MaxEvents.
type Window struct {
	After, Before uint64
	Limit         int
}

// HeldMessage is a message that waits.
type HeldMessage struct {
	ID    string     `json:"id"`
	Until *time.Time `json:"until,omitempty"`
	By    string     `json:"by,omitempty"` // the agent
}

// Timer is an instant at which something happens by itself.
type Timer struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Previous is an earlier conversation.
type Previous struct {
	Conversation string            `json:"conversation"`
	Channel      string            `json:"channel"`
	Owner        message.OwnerKind `json:"owner"`
	OpenedAt     *time.Time        `json:"opened_at,omitempty"`
	ClosedAt     *time.Time        `json:"closed_at,omitempty"`
	Tags         []string          `json:"tags,omitempty"`
	// About is the beginning of what the customer said first.
	About string `json:"about,omitempty"`
}

// Get returns a conversation as its agents see it, with a stretch of its log.
func (q *Queue) Get(ctx context.Context, a Agent, conv string, w Window) (Context, error) {
	snap, err := q.visible(ctx, a, "read", conv)
	if err != nil {
		return Context{}, err
	}
	s := snap.State
	c := Context{
		Row: q.rowOf(s), Epoch: s.Epoch, Address: s.From.Address, Contact: s.Contact, Profile: s.Profile, Account: s.Account, Lookup: q.Pipeline.Asks(snap.Ref.Tenant, s),
		OpenedAt: instant(s.OpenedAt), ClosedAt: instant(s.ClosedAt), Handoffs: s.Handoffs, Bot: s.Bot,
		HeldOut: held(s.HeldOut), HeldIn: held(s.HeldIn), Timers: timers(s.Timers),
	}
	if s.Orphan != nil {
		c.InFlight = s.Orphan.ID
	}
	if c.Position, err = q.Store.Position(ctx, snap.Ref); err != nil {
		return Context{}, fmt.Errorf("reading the position: %w", err)
	}
	if c.Page, err = q.page(ctx, snap, w); err != nil {
		return Context{}, err
	}
	if err = q.lately(ctx, snap, &c.Row); err != nil {
		return Context{}, err
	}
	c.Previous, err = q.previous(ctx, snap)
	return c, err
}

// Events returns a stretch of the log of a conversation that the agent may look at.
func (q *Queue) Events(ctx context.Context, a Agent, conv string, w Window) (Page, error) {
	snap, err := q.visible(ctx, a, "read", conv)
	if err != nil {
		return Page{}, err
	}
	return q.page(ctx, snap, w)
}

// Past returns a stretch of the log of an earlier conversation of the same customer. Whoever may look at what the customer
// wants now may look at what there was before, also where nobody but the bot had it.
func (q *Queue) Past(ctx context.Context, a Agent, conv, earlier string, w Window) (Past, error) {
	snap, err := q.visible(ctx, a, "read", conv)
	if err != nil {
		return Past{}, err
	}
	other, err := q.load(ctx, a, earlier)
	if err != nil {
		return Past{}, err
	}
	if !samePerson(snap.State, other.State) {
		return Past{}, store.ErrNotFound
	}
	p := Past{Row: q.rowOf(other.State)}
	p.Page, err = q.page(ctx, other, w)
	return p, err
}

// Past is an earlier conversation, to read.
type Past struct {
	Row
	Page
}

func samePerson(a, b *conversation.State) bool {
	return a.From.Channel == b.From.Channel && a.From.Address == b.From.Address && a.From.Address != "" ||
		a.Contact != "" && a.Contact == b.Contact
}

func (q *Queue) page(ctx context.Context, snap *store.Snapshot, w Window) (Page, error) {
	if w.Limit <= 0 || w.Limit > MaxEvents {
		w.Limit = MaxEvents
	}
	if w.Before > 0 {
		before := min(w.Before, snap.State.Seq+1) - 1
		w.After = before - min(before, uint64(w.Limit))
		w.Limit = int(before - w.After)
	}
	if w.Limit == 0 {
		return Page{Events: []Event{}, More: snap.State.Seq > 0}, nil
	}
	log, err := q.Store.Log(ctx, snap.Ref, w.After, w.Limit)
	if err != nil {
		return Page{}, fmt.Errorf("reading the log: %w", err)
	}
	p := Page{Events: make([]Event, 0, len(log))}
	for i := range log {
		p.Events = append(p.Events, eventOf(&log[i]))
	}
	if n := len(log); n > 0 {
		p.Earlier, p.More = log[0].Seq > 1, log[n-1].Seq < snap.State.Seq
	}
	return p, nil
}

// previous lists the other conversations of the same person.
func (q *Queue) previous(ctx context.Context, snap *store.Snapshot) ([]Previous, error) {
	s := snap.State
	paths := []store.Path{{Kind: store.ByAddress, Value: s.From.Channel + "\x00" + s.From.Address}}
	if s.Contact != "" {
		paths = append(paths, store.Path{Kind: store.ByContact, Value: s.Contact})
	}
	var out []Previous
	seen := map[string]bool{s.ID: true}
	for _, p := range paths {
		refs, err := q.Store.List(ctx, snap.Ref.Tenant, p, "", MaxPrevious+1)
		if err != nil {
			return nil, fmt.Errorf("listing previous conversations: %w", err)
		}
		for _, r := range refs {
			if seen[r.ID] || len(out) == MaxPrevious {
				continue
			}
			seen[r.ID] = true
			other, err := q.Store.Load(ctx, r)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading a previous conversation: %w", err)
			}
			o := other.State
			about, err := q.about(ctx, other)
			if err != nil {
				return nil, err
			}
			out = append(out, Previous{
				Conversation: o.ID, Channel: o.From.Channel, Owner: o.Owner.Kind,
				OpenedAt: instant(o.OpenedAt), ClosedAt: instant(o.ClosedAt), Tags: o.Tags, About: about,
			})
		}
	}
	return out, nil
}

// aboutDepth is how far from its beginning a log is searched for the customer's first words.
const aboutDepth = 8

func (q *Queue) about(ctx context.Context, snap *store.Snapshot) (string, error) {
	events, err := q.Store.Log(ctx, snap.Ref, 0, aboutDepth)
	if err != nil {
		return "", fmt.Errorf("reading the first words: %w", err)
	}
	for i := range events {
		if d, ok := events[i].Data.(*conversation.Received); ok && d.In.Text != "" {
			return shorten(d.In.Text, previewRunes), nil
		}
	}
	return "", nil
}

// File opens an attachment of a conversation that the agent may look at. The caller closes it.
func (q *Queue) File(ctx context.Context, a Agent, conv, attachment string) (message.Attachment, io.ReadCloser, error) {
	snap, err := q.visible(ctx, a, "read", conv)
	if err != nil {
		return message.Attachment{}, nil, err
	}
	if _, err := id.Partition(id.Attachment, attachment); err != nil || q.Blobs == nil {
		return message.Attachment{}, nil, store.ErrNotFound
	}
	row, err := q.Store.Attachment(ctx, snap.Ref, attachment)
	if err != nil {
		return message.Attachment{}, nil, err
	}
	body, err := q.Blobs.Open(ctx, snap.Ref, row.Blob)
	if err != nil {
		return message.Attachment{}, nil, fmt.Errorf("opening an attachment: %w", err)
	}
	return row.Attachment, body, nil
}

func held(refs []conversation.HeldRef) (out []HeldMessage) {
	for _, r := range refs {
		out = append(out, HeldMessage{ID: r.ID, Until: instant(r.Until), By: r.By})
	}
	return out
}
