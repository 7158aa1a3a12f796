package pipeline

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Edge is the pipeline as one channel sees it: its Inbox and its Timeline.
type Edge struct {
	p     *Pipeline
	first *Channel // as it was when the edge was made
}

var (
	_ adapters.Inbox    = (*Edge)(nil)
	_ adapters.Timeline = (*Edge)(nil)
)

// Edge returns the edge of a configured channel.
func (p *Pipeline) Edge(key string) (*Edge, error) {
	ch := p.channel(key)
	if ch == nil {
		return nil, fmt.Errorf("%w: channel %q", adapters.ErrNotFound, key)
	}
	return &Edge{p: p, first: ch}, nil
}

// Attach returns the edge of a channel that is to come by Replace.
func (p *Pipeline) Attach(c *Channel) *Edge { return &Edge{p: p, first: c} }

// ch returns the channel as it is now.
func (e *Edge) ch() *Channel { return e.p.latest(e.first) }

// Accept implements adapters.Inbox.
func (e *Edge) Accept(ctx context.Context, in message.Inbound) (adapters.Receipt, error) {
	ch, began := e.ch(), e.p.Now()
	r, err := e.accept(ctx, in)
	e.p.Meter.Accepted(ch.Tenant.Handle.Name(), ch.Key, acceptOutcome(r, err), e.p.Now().Sub(began))
	return r, err
}

func (e *Edge) accept(ctx context.Context, in message.Inbound) (adapters.Receipt, error) {
	in.From.Channel = e.ch().Key
	if in.ID == "" || in.From.Address == "" || !in.Kind.Valid() {
		return adapters.Receipt{}, &adapters.RefusedError{Code: "bad_request", Detail: "a message needs an id, a sender and a kind"}
	}
	if !e.p.enter() {
		return adapters.Receipt{}, fmt.Errorf("%w: %w", adapters.ErrUnavailable, errStopped)
	}
	defer e.p.group.Done()
	if err := e.p.admit(ctx, e.ch(), in); err != nil {
		return adapters.Receipt{}, err
	}
	a, err := e.p.accept(ctx, e.ch(), in)
	if err != nil {
		return adapters.Receipt{}, err
	}
	return e.receipt(ctx, a), nil
}

func (e *Edge) receipt(ctx context.Context, a accepted) adapters.Receipt {
	r := adapters.Receipt{Conversation: a.ref.ID, VSeq: a.message.VSeq, Dup: a.dup, Owner: e.owner(ctx, a.ref, a.state), Trace: &a}
	if a.dup {
		r.Trace = nil
	}
	switch d := a.message.Data.(type) {
	case *conversation.Received:
		r.Message = d.ID
	case *conversation.Held:
		r.Message = d.ID
	}
	return r
}

// owner is the owner with the place in the queue, which is not worth an error.
func (e *Edge) owner(ctx context.Context, r store.Ref, s *conversation.State) message.Owner {
	pos := 0
	if s.Owner.Kind == message.OwnerQueued {
		pos, _ = e.p.Store.Position(ctx, r)
	}
	return s.Owner.Public(pos)
}

// Identify implements adapters.Inbox. An address without a conversation gets one, so that nothing has to be remembered
// elsewhere.
func (e *Edge) Identify(ctx context.Context, from message.Address, pr message.Profile) error {
	ch, has := e.ch(), (*message.Account)(nil)
	r, err := e.onCurrent(ctx, from, func(d *conversation.Draft) error {
		if d.State.Profile != nil && reflect.DeepEqual(*d.State.Profile, pr) {
			has = d.State.AccountOf(nil)
			return nil // a page that loads again says nothing new
		}
		if err := d.Do(conversation.SetProfile{Profile: pr}); err != nil {
			return err
		}
		e.p.recall(d, ch, nil)
		has = d.State.AccountOf(nil)
		return nil
	})
	if err == nil {
		e.p.refresh(r, ch, &pr, has) // before the first message comes
	}
	return err
}

// onCurrent does something to the conversation in which an address would write, opening one if there is none. It does not
// reopen one: only a message does.
func (e *Edge) onCurrent(ctx context.Context, from message.Address, do func(*conversation.Draft) error) (store.Ref, error) {
	from.Channel = e.ch().Key
	p := e.p
	op := store.Token(p.IDs.Token())
	for {
		found, err := p.Store.Find(ctx, e.ch().Tenant.Handle, from, nil)
		if err != nil {
			return store.Ref{}, unavailable(err)
		}
		d, step := p.draft(e.ch(), found.Snapshot, op, from, p.ms())
		if do != nil {
			if err := do(d); err != nil {
				return store.Ref{}, err
			}
		}
		if len(d.Events) == 0 {
			return step.Ref, nil
		}
		step.Events, step.State = d.Events, d.Result()
		_, err = p.commit(ctx, step)
		switch {
		case err == nil:
			return step.Ref, nil
		case errors.Is(err, store.ErrStale) && ctx.Err() == nil:
		default:
			return store.Ref{}, unavailable(err)
		}
	}
}

// Observe implements adapters.Inbox. What is observed of a conversation that is not the sender's own goes nowhere.
func (e *Edge) Observe(o message.Observation) {
	o.From.Channel = e.ch().Key
	var snap *store.Snapshot
	if o.ReadIn != "" {
		own, err := e.own(e.p.root, o.From, o.ReadIn)
		if err != nil {
			return
		}
		snap = own
	} else {
		found, err := e.p.Store.Find(e.p.root, e.ch().Tenant.Handle, o.From, nil)
		if err != nil || found.Snapshot == nil {
			return
		}
		snap = found.Snapshot
	}
	e.p.hub.signal(conversationKey(snap.Ref), signalFrame{by: message.ByCustomer, typing: o.Typing, read: o.Read})
}

// Watch implements adapters.Timeline.
func (e *Edge) Watch(from message.Address, wake func()) adapters.Watch {
	from.Channel = e.ch().Key
	return e.p.hub.follow(addressKey(e.ch().Tenant.Handle.Name(), from), wake)
}

// cursor is where a client stands.
func cursor(conversation string, vseq uint64) adapters.Cursor {
	return adapters.Cursor(conversation + "." + strconv.FormatUint(vseq, 10))
}

// parseCursor reads a cursor; anything else than what cursor made is ErrNotFound.
func parseCursor(c adapters.Cursor) (conv string, vseq uint64, err error) {
	conv, n, ok := strings.Cut(string(c), ".")
	if !ok {
		return "", 0, adapters.ErrNotFound
	}
	if _, err := id.Partition(id.Conversation, conv); err != nil {
		return "", 0, adapters.ErrNotFound
	}
	if vseq, err = strconv.ParseUint(n, 10, 63); err != nil {
		return "", 0, adapters.ErrNotFound
	}
	return conv, vseq, nil
}

// Read implements adapters.Timeline.
func (e *Edge) Read(ctx context.Context, from message.Address, after adapters.Cursor, limit int) (adapters.Page, error) {
	from.Channel = e.ch().Key
	found, err := e.p.Store.Find(ctx, e.ch().Tenant.Handle, from, nil)
	if err != nil {
		return adapters.Page{}, unavailable(err)
	}
	if found.Snapshot == nil {
		if after != "" {
			return adapters.Page{}, adapters.ErrNotFound
		}
		return adapters.Page{}, nil
	}
	snap, vseq := found.Snapshot, uint64(0)
	if after != "" {
		conv, v, err := parseCursor(after)
		if err != nil {
			return adapters.Page{}, err
		}
		if conv != snap.Ref.ID {
			if snap, err = e.own(ctx, from, conv); err != nil {
				return adapters.Page{}, err
			}
		}
		if v > snap.State.VSeq {
			return adapters.Page{}, adapters.ErrNotFound // nobody was given such a cursor
		}
		vseq = v
		if v == snap.State.VSeq && conv != found.Snapshot.Ref.ID {
			// At the end of a finished conversation the cursor leads on to the one that followed it.
			if snap, err = e.successor(ctx, found.Snapshot, conv); err != nil {
				return adapters.Page{}, err
			}
			vseq = 0
		}
	}
	events, err := e.p.Store.Visible(ctx, snap.Ref, vseq, limit)
	if err != nil {
		return adapters.Page{}, unavailable(err)
	}
	page := adapters.Page{
		Conversation: snap.Ref.ID, Owner: e.owner(ctx, snap.Ref, snap.State),
		End: cursor(found.Snapshot.Ref.ID, found.Snapshot.State.VSeq),
	}
	for i := range events {
		if v, ok := events[i].Visible(snap.Ref.ID); ok {
			page.Events = append(page.Events, v)
			vseq = v.VSeq
		}
	}
	page.Next = cursor(snap.Ref.ID, vseq)
	page.More = len(events) == limit || snap.Ref != found.Snapshot.Ref
	return page, nil
}

// own loads a conversation if it is the address' own; a foreign one is as unknown as any.
func (e *Edge) own(ctx context.Context, from message.Address, conv string) (*store.Snapshot, error) {
	snap, err := e.p.Store.Load(ctx, store.Ref{Tenant: e.ch().Tenant.Handle, ID: conv})
	if errors.Is(err, store.ErrNotFound) || err == nil && snap.State.From != from {
		return nil, adapters.ErrNotFound
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return snap, nil
}

// successor walks back from the present to the conversation that followed conv.
func (e *Edge) successor(ctx context.Context, snap *store.Snapshot, conv string) (*store.Snapshot, error) {
	for snap.State.Previous != conv && snap.State.Previous != "" {
		prev, err := e.p.Store.Load(ctx, store.Ref{Tenant: snap.Ref.Tenant, ID: snap.State.Previous})
		if errors.Is(err, store.ErrErased) {
			return nil, adapters.ErrNotFound // the way back ends there: the client starts over
		}
		if err != nil {
			return nil, unavailable(err)
		}
		snap = prev
	}
	return snap, nil
}
