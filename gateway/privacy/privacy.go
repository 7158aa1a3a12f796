// Package privacy is what a tenant owes the people whose words it keeps: to destroy them on request and in time, to hand
// them out, and to keep them where the law says so.
//
// # Erasure
//
// A request names a person by a conversation, a contact or an address. Everything that is the same person's, by address and
// by contact, belongs to it. The request is a record with the conversations' ids and nothing else of the person; it is
// durable before anything is destroyed, and each step after it can be repeated: whoever finds a request that is not done
// goes on with it. Conversations are destroyed one by one, each in one commit with its entry in the chain (store.Erasure);
// then the store's files are scrubbed, and only then the request is done.
//
// # What stands in the way
//
// A legal hold, on whichever node it was set (hold_fence.go), and a conversation that a rule wants a person to see to first. Then nothing of the person is destroyed: the
// request is refused, or, if it is to be deferred, waits until nothing stands in the way any more.
//
// # Retention
//
// A job, once a day for each tenant with a policy, under a lease. It never touches what is open, what must reach a person,
// and what is under a hold.
package privacy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/leased"
	"turnout/gateway/store"
)

// Store is what this package needs of a store.
type Store interface {
	store.Erasure
	store.Records
	Load(ctx context.Context, r store.Ref) (*store.Snapshot, error)
	Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
	List(ctx context.Context, t store.Tenant, by store.Path, before string, limit int) ([]store.Ref, error)
	Attachments(ctx context.Context, r store.Ref, after string, limit int) ([]store.Attachment, error)
	Chains(ctx context.Context, t store.Tenant, after string, limit int) ([]string, error)
	Commit(ctx context.Context, s store.Step) (store.Done, error)
	Append(ctx context.Context, t store.Tenant, e audit.Entry) error
	Tenants(ctx context.Context) ([]store.Tenant, error)
}

// Options are what a Privacy works with; all but Faults and Log are required.
type Options struct {
	Store Store
	Blobs Blobs
	IDs   *id.Source
	Now   func() time.Time
	// Policy is how long a tenant keeps what, as it is now; the zero Policy keeps everything.
	Policy func(store.Tenant) Policy
	// Forget, if it is not nil, drops what is remembered of a customer elsewhere than in the store.
	Forget func(store.Tenant, *message.Profile)
	Faults fault.Injector
	Log    *slog.Logger
}

// Privacy carries out erasures, holds, exports and retention. It is safe for concurrent use.
type Privacy struct {
	o    Options
	wake chan struct{}
	figs figures
	// passed is up to which erasure of a tenant all are done.
	mu     sync.Mutex
	passed map[store.Tenant]string
}

// New returns a Privacy that does nothing yet by itself; see Run.
func New(o Options) *Privacy {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Privacy{o: o, wake: make(chan struct{}, 1), passed: map[store.Tenant]string{}}
}

// Kinds of records, and of ids.
const (
	recordErasure   = "erasure"
	recordHold      = "hold"
	recordRetention = "retention"

	kindErasure = id.Kind('e')
	kindHold    = id.Kind('h')
)

// job is the name of the lease under which erasures and retention are done.
const (
	job      = "privacy"
	jobLease = 2 * time.Minute
	// between is how often Run looks for what is due.
	between = time.Minute
	page    = 256
)

// Run carries out what is asked for, and what is due, until ctx ends. What an earlier process has left is taken up at once.
func (p *Privacy) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.Sweep(ctx); err != nil && ctx.Err() == nil {
			p.o.Log.Error("erasing and keeping in time: it is tried again", "err", err)
		}
		timer := time.NewTimer(between)
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Sweep does once what Run does again and again. A tenant whose job somebody else does is left out.
func (p *Privacy) Sweep(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("recovered from a panic: %T", v)
		}
	}()
	tenants, err := p.o.Store.Tenants(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tenants {
		errs = append(errs, leased.Run(ctx, p.o.Store, leased.Job{Tenant: t, Name: job, Token: store.Token(p.o.IDs.Token()), For: jobLease}, p.o.Now, func(ctx context.Context) error {
			return errors.Join(p.erasures(ctx, t), p.retain(ctx, t))
		}))
	}
	// What a process has left behind between a commit and its scrub, and what was taken away of holds.
	return errors.Join(append(errs, p.o.Store.Scrub(ctx))...)
}

// kick lets Run look at once.
func (p *Privacy) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// entry is one for a tenant's own chain.
func (p *Privacy) entry(what, kind, by string) *audit.Entry {
	return &audit.Entry{At: p.o.Now().UnixMilli(), Type: what, Kind: kind, Op: p.o.IDs.Token(), Actor: by}
}

// attempt loads a conversation, decides on it and commits, once.
func (p *Privacy) attempt(ctx context.Context, r store.Ref, op store.Token, by conversation.Actor, decide func(*store.Snapshot, *conversation.Draft, *store.Step) error) error {
	snap, err := p.o.Store.Load(ctx, r)
	if err != nil {
		return err
	}
	d := conversation.Begin(snap.State, conversation.Env{Now: p.o.Now().UnixMilli(), Op: string(op), Actor: by, Outgoing: snap.Outgoing})
	st := store.Step{Ref: r, Op: op, Base: snap.Version}
	if err := decide(snap, d, &st); err != nil {
		return err
	}
	st.Events, st.State = d.Events, d.Result()
	_, err = p.o.Store.Commit(ctx, st)
	return err // store.ErrUnknown too: the next sweep sees what became of it
}

// actor is who an actor of the audit log ("owner:ana") is in a conversation's.
func actor(by string) conversation.Actor {
	kind, id, ok := strings.Cut(by, ":")
	if !ok || kind == "system" {
		return conversation.Actor{Kind: conversation.System}
	}
	return conversation.Actor{Kind: conversation.Admin, ID: id}
}
