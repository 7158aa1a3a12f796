package adaptertest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
)

// Reply is what the World's bot does with one message.
type Reply struct {
	Parts []message.Part
	// MergedInto makes the outcome refer to a later message.
	MergedInto string
	// Owner, if set, takes the conversation over.
	Owner *message.Owner
	// Hang leaves the message without an outcome.
	Hang bool
}

// Echo says what the customer said.
func Echo(in message.Inbound) Reply {
	return Reply{Parts: []message.Part{{Text: "echo: " + in.Text}}}
}

// World is an in-memory Inbox, Timeline and Blobs with the manners of the real ones: everything durable at once, one
// open conversation per address, dedupe by sender and id. It is safe for concurrent use.
type World struct {
	channel string
	now     func() time.Time

	mu            sync.Mutex
	script        func(message.Inbound) Reply
	fault         error
	conversations map[message.Address]*conversation
	messages      map[string]*accepted
	inbounds      []message.Inbound
	observations  []message.Observation
	profiles      map[message.Address]message.Profile
	blobs         map[string]blob
	watches       map[*watch]struct{}
	said          map[string]message.Address // over a push channel, by id and by provider id
	reports       []message.Report
}

type conversation struct {
	id       string
	from     message.Address
	owner    message.Owner
	events   []message.Visible
	receipts map[string]adapters.Receipt // by client id
}

type accepted struct {
	outcome adapters.Outcome
	done    chan struct{}
}

func newWorld(channel string, now func() time.Time) *World {
	return &World{
		channel: channel, now: now, script: Echo,
		conversations: map[message.Address]*conversation{}, messages: map[string]*accepted{},
		profiles: map[message.Address]message.Profile{}, blobs: map[string]blob{}, watches: map[*watch]struct{}{},
		said: map[string]message.Address{},
	}
}

// Script says what the bot does from now on.
func (w *World) Script(f func(message.Inbound) Reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.script = f
}

// Fail makes the store answer err from now on; nil heals it. With adapters.ErrUnknownOutcome messages are kept all the
// same, as they may be in life.
func (w *World) Fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = err
}

// Inbounds returns the messages that took effect, in order.
func (w *World) Inbounds() []message.Inbound {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.inbounds)
}

// Observations returns what was observed.
func (w *World) Observations() []message.Observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.observations)
}

// Profile returns what was proven about an address.
func (w *World) Profile(from message.Address) (message.Profile, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.profiles[from]
	return p, ok
}

// Watches returns the number of open subscriptions.
func (w *World) Watches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.watches)
}

// Say commits something that is said to an address.
func (w *World) Say(to message.Address, by message.By, part message.Part) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.open(to)
	w.append(c, message.Visible{Type: message.VisibleMessage, By: by, ID: "m_said" + strconv.Itoa(len(c.events)), Part: &part})
}

// SetOwner commits a change of owner.
func (w *World) SetOwner(of message.Address, owner message.Owner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setOwner(w.open(of), owner)
}

// Signal sends an unsequenced frame to the address's watches.
func (w *World) Signal(to message.Address, s adapters.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for watch := range w.watches {
		if watch.from == to && len(watch.signals) < 16 {
			watch.signals = append(watch.signals, s)
			watch.wake()
		}
	}
}

// Sent makes a message known that a push channel has sent, so that it can be reported on.
func (w *World) Sent(out message.Outbound, r message.Receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[out.ID] = out.To
	if r.ProviderID != "" {
		w.said["provider "+r.ProviderID] = out.To
	}
}

// Reports returns what was reported, in order.
func (w *World) Reports() []message.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reports)
}

// Report implements adapters.Deliveries.
func (w *World) Report(ctx context.Context, r message.Report) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		return w.fault
	}
	if r.Status != message.Sent && r.Status != message.Failed && r.Status != message.Delivered && r.Status != message.Read {
		return &adapters.RefusedError{Code: "bad_request", Detail: "no status of a report"}
	}
	to, ok := w.said[r.ID]
	if !ok {
		to, ok = w.said["provider "+r.ProviderID]
	}
	if !ok || to != r.To {
		return adapters.ErrNotFound
	}
	w.reports = append(w.reports, r)
	return nil
}

// Accept implements adapters.Inbox.
func (w *World) Accept(ctx context.Context, in message.Inbound) (adapters.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return adapters.Receipt{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.ID == "" || !in.Kind.Valid() || in.From.Channel != w.channel || in.From.Address == "" {
		return adapters.Receipt{}, fmt.Errorf("the channel handed in a message that is not complete")
	}
	if w.fault != nil && w.fault != adapters.ErrUnknownOutcome {
		return adapters.Receipt{}, w.fault
	}
	c := w.open(in.From)
	r, known := c.receipts[in.ID]
	if !known {
		r = w.take(c, in)
	}
	r.Dup = known
	if w.fault != nil {
		return adapters.Receipt{}, w.fault
	}
	return r, nil
}

func (w *World) take(c *conversation, in message.Inbound) adapters.Receipt {
	w.inbounds = append(w.inbounds, in)
	id := fmt.Sprintf("m_%04d", len(w.inbounds))
	w.append(c, message.Visible{
		Type: message.VisibleMessage, By: message.ByCustomer, ID: id, ClientID: in.ID,
		Part: &message.Part{Text: in.Text, Attachments: in.Attachments},
	})
	r := adapters.Receipt{Conversation: c.id, Message: id, VSeq: uint64(len(c.events))}
	a := &accepted{done: make(chan struct{})}
	w.messages[id] = a
	var reply Reply
	switch {
	case in.Kind == message.Human:
		reply.Owner = &message.Owner{Kind: message.OwnerQueued, Position: 1}
	case c.owner.Kind == message.OwnerBot && in.Kind.StartsTurn():
		reply = w.script(in)
	}
	from := len(c.events)
	if reply.Owner != nil {
		w.setOwner(c, *reply.Owner)
	}
	for i, p := range reply.Parts {
		w.append(c, message.Visible{
			Type: message.VisibleMessage, By: message.ByBot, ID: id + "." + strconv.Itoa(i), Turn: "t_" + id, Part: &p,
		})
	}
	r.Owner = c.owner
	c.receipts[in.ID] = r
	if !reply.Hang {
		a.outcome = adapters.Outcome{
			Conversation: c.id, MergedInto: reply.MergedInto, Owner: c.owner, Messages: messagesOf(c.events[from:]), Cursor: c.cursor(),
		}
		close(a.done)
	}
	return r
}

func messagesOf(events []message.Visible) []message.Visible {
	var out []message.Visible
	for _, e := range events {
		if e.Type == message.VisibleMessage {
			out = append(out, e)
		}
	}
	return out
}

func (w *World) open(from message.Address) *conversation {
	c := w.conversations[from]
	if c == nil {
		c = &conversation{
			id: fmt.Sprintf("c_%04d", len(w.conversations)+1), from: from,
			owner: message.Owner{Kind: message.OwnerBot}, receipts: map[string]adapters.Receipt{},
		}
		w.conversations[from] = c
	}
	return c
}

func (w *World) setOwner(c *conversation, owner message.Owner) {
	c.owner = owner
	w.append(c, message.Visible{Type: message.VisibleOwner, Owner: &owner})
}

func (w *World) append(c *conversation, e message.Visible) {
	e.Conversation, e.VSeq, e.At = c.id, uint64(len(c.events)+1), w.now()
	c.events = append(c.events, e)
	for watch := range w.watches {
		if watch.from == c.from {
			watch.news = true
			watch.wake()
		}
	}
}

func (c *conversation) cursor() adapters.Cursor {
	return adapters.Cursor(c.id + "." + strconv.Itoa(len(c.events)))
}

// Identify implements adapters.Inbox.
func (w *World) Identify(_ context.Context, from message.Address, p message.Profile) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		return w.fault
	}
	w.profiles[from] = p
	return nil
}

// Observe implements adapters.Inbox.
func (w *World) Observe(o message.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observations = append(w.observations, o)
}

// Outcome implements adapters.Timeline.
func (w *World) Outcome(ctx context.Context, r adapters.Receipt) (adapters.Outcome, error) {
	w.mu.Lock()
	a := w.messages[r.Message]
	w.mu.Unlock()
	if a == nil {
		return adapters.Outcome{}, adapters.ErrNotFound
	}
	select {
	case <-a.done:
		return a.outcome, nil
	case <-ctx.Done():
		return adapters.Outcome{}, ctx.Err()
	}
}

// Read implements adapters.Timeline.
func (w *World) Read(_ context.Context, from message.Address, after adapters.Cursor, limit int) (adapters.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.conversations[from]
	start := 0
	if after != "" {
		id, seq, _ := strings.Cut(string(after), ".")
		n, err := strconv.Atoi(seq)
		if c == nil || id != c.id || err != nil || n < 0 {
			return adapters.Page{}, adapters.ErrNotFound
		}
		start = min(n, len(c.events))
	}
	if c == nil {
		return adapters.Page{}, nil
	}
	end := min(start+limit, len(c.events))
	return adapters.Page{
		Conversation: c.id, Events: slices.Clone(c.events[start:end]), Owner: c.owner, More: end < len(c.events),
		Next: adapters.Cursor(c.id + "." + strconv.Itoa(end)), End: c.cursor(),
	}, nil
}

type watch struct {
	world   *World
	from    message.Address
	wake    func()
	news    bool // guarded by world.mu, like signals
	signals []adapters.Signal
}

// Watch implements adapters.Timeline.
func (w *World) Watch(from message.Address, wake func()) adapters.Watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	watch := &watch{world: w, from: from, wake: wake}
	w.watches[watch] = struct{}{}
	return watch
}

// Take implements adapters.Watch.
func (s *watch) Take() (news bool, signals []adapters.Signal) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	news, signals = s.news, s.signals
	s.news, s.signals = false, nil
	return news, signals
}

func (s *watch) Close() {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	delete(s.world.watches, s)
}
