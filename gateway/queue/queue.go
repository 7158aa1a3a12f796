// Package queue is the human side of a conversation: what waits, who is there, and everything that an agent may do.
//
// Every act goes the way of the pipeline: load, decide on the pure state machine, commit. The package adds what the state
// machine cannot know: which of the tenant's people may touch which conversation, an agent's capacity, and what a request
// with an Idempotency-Key did the first time.
//
// # Who may what
//
// A conversation of another tenant does not exist: the answer is that for an unknown id (ErrNotFound). Within a tenant an
// agent sees and claims what belongs to the agent's queues, what the agent holds and what the agent resolved; a supervisor
// sees everything. Saying something, passing on, giving back and closing need the ownership of the conversation. A
// supervisor may go over that by saying so (Override): such an act carries the supervisor as its actor of kind
// conversation.Supervisor in the log and in the conversation's audit chain. Refusals of a known agent are entries in the
// tenant's own chain.
//
// # Capacity
//
// A conversation that goes to an agent takes a place of that agent: load, reserve, compare and set, each attempt under an
// operation of its own. A reservation whose commit did not come to be is given back.
//
// # Repeats
//
// With an Idempotency-Key the operation's id is a keyed hash of the agent, the act, the conversation and the key, followed
// by a digest of what was asked. The log keeps the operation of every event, so a repeat finds what the first request did,
// also after a restart: the log is looked through from its end back to events older than KeyLife. The same key with
// another request is ErrMismatch. An act that changed nothing (claiming what one holds) leaves no trace and is simply done
// again.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"turnout/adapters"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/outbox"
	"turnout/gateway/store"
)

// PresenceFor is how long a heartbeat counts.
const PresenceFor = 45 * time.Second

// KeyLife is for how long an Idempotency-Key is remembered.
const KeyLife = 8 * 24 * time.Hour

// MaxHold is the longest send hold of a reply.
const MaxHold = 30 * time.Second

// Errors of the queue, beside those of conversation and store.
var (
	// ErrForbidden: the agent may not do this to this conversation.
	ErrForbidden = errors.New("not allowed for this agent")
	// ErrWindowClosed: the channel takes no free text for the customer any more.
	ErrWindowClosed = errors.New("the channel takes no reply any more")
	// ErrMismatch: the idempotency key was used before for another request.
	ErrMismatch = errors.New("the idempotency key belongs to another request")
)

// InvalidError says what is wrong with a request. Detail is a sentence for people, free of what they sent.
type InvalidError struct{ Detail string }

func (e *InvalidError) Error() string { return "invalid request: " + e.Detail }

// Agent is one of a tenant's people as the queue sees them.
type Agent struct {
	Tenant store.Tenant
	ID     string
	// Name is what customers and colleagues see.
	Name   string
	Queues []string
	// Capacity is how many conversations the agent may hold.
	Capacity int
	// Supervisor sees all queues and may override.
	Supervisor bool
}

func (a Agent) serves(queue string) bool { return queue != "" && slices.Contains(a.Queues, queue) }

// Pipeline is what the queue needs of the pipeline.
type Pipeline interface {
	Act(ctx context.Context, r store.Ref, a conversation.Actor, op store.Token, decide func(*conversation.Draft) error) (*conversation.State, error)
	Asks(t store.Tenant, s *conversation.State) bool
	Refresh(ctx context.Context, r store.Ref, a conversation.Actor, op store.Token) (*conversation.State, error)
	Follow(r store.Ref, wake func()) adapters.Watch
	Typing(s *conversation.State, t store.Tenant, name string)
}

// Store is what the queue needs of a store.
type Store interface {
	store.Queues
	store.Hints
	Load(ctx context.Context, r store.Ref) (*store.Snapshot, error)
	Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
	Attachment(ctx context.Context, r store.Ref, id string) (store.Attachment, error)
	List(ctx context.Context, t store.Tenant, by store.Path, before string, limit int) ([]store.Ref, error)
	Append(ctx context.Context, t store.Tenant, e audit.Entry) error
}

// Blobs opens the bytes of attachments. The caller closes what Open returns.
type Blobs interface {
	Open(ctx context.Context, r store.Ref, blob string) (io.ReadCloser, error)
}

// Dead carries out what people decide about messages that could not be delivered.
type Dead interface {
	Redrive(ctx context.Context, r outbox.Redrive) (store.DeadLetter, *conversation.State, error)
}

// Directory knows a tenant's people and queues.
type Directory interface {
	// Agent returns one of the tenant's people who may hold conversations.
	Agent(t store.Tenant, id string) (Agent, bool)
	// Agents lists those, in the order of their names.
	Agents(t store.Tenant) []Agent
	// HasQueue reports whether the tenant has the queue, Queues lists them.
	HasQueue(t store.Tenant, queue string) bool
	Queues(t store.Tenant) []string
}

// Options are the parts of a Queue. All but Blobs and Faults are required.
type Options struct {
	Pipeline  Pipeline
	Store     Store
	Directory Directory
	IDs       *id.Source
	Now       func() time.Time
	// Key derives operation ids from idempotency keys; 32 bytes, the same after a restart and on every node.
	Key   []byte
	Blobs Blobs // nil: no attachment can be opened
	Dead  Dead  // nil: no channel has an outbox
	// Window is how long after a customer's last message a channel takes what people write, 0: always; nil: no channel has a
	// limit.
	Window func(channel string) time.Duration
	Faults fault.Injector
	Log    *slog.Logger
}

// Queue is the human side. It is safe for concurrent use.
type Queue struct {
	Options
	hints io.Closer
	gates [64]chan struct{} // one request per idempotency key at a time
	mu    sync.Mutex
	feeds map[store.Tenant]map[*feed]struct{}
}

// New returns a Queue. Close ends it.
func New(o Options) (*Queue, error) {
	switch {
	case o.Pipeline == nil || o.Store == nil || o.Directory == nil || o.IDs == nil || o.Now == nil || o.Log == nil:
		return nil, errors.New("building the queue: a part is missing")
	case len(o.Key) < 32:
		return nil, errors.New("building the queue: the key is shorter than 32 bytes")
	}
	q := &Queue{Options: o, feeds: map[store.Tenant]map[*feed]struct{}{}}
	for i := range q.gates {
		q.gates[i] = make(chan struct{}, 1)
	}
	q.hints = o.Store.Subscribe(q.hint)
	return q, nil
}

// Close ends the subscription to the store's hints.
func (q *Queue) Close() error { return q.hints.Close() }

// load returns a conversation of the agent's tenant, or store.ErrNotFound for whatever is not one.
func (q *Queue) load(ctx context.Context, a Agent, conv string) (*store.Snapshot, error) {
	if _, err := id.Partition(id.Conversation, conv); err != nil {
		return nil, store.ErrNotFound
	}
	return q.Store.Load(ctx, store.Ref{Tenant: a.Tenant, ID: conv})
}

// visible loads a conversation that the agent may look at.
func (q *Queue) visible(ctx context.Context, a Agent, what, conv string) (*store.Snapshot, error) {
	snap, err := q.load(ctx, a, conv)
	if err != nil {
		return nil, err
	}
	if !sees(a, snap.State) {
		return nil, q.refuse(ctx, a, what, conv)
	}
	return snap, nil
}

// sees reports whether the agent may look at a conversation in this state.
func sees(a Agent, s *conversation.State) bool {
	return a.Supervisor || s.Owner.Agent == a.ID || a.serves(s.Owner.Queue) || s.Resolver == a.ID ||
		s.Handoff != nil && a.serves(s.Handoff.Queue)
}

// refuse records that a known agent was refused and returns ErrForbidden. A store that cannot write the entry is logged:
// the refusal stands anyway.
func (q *Queue) refuse(ctx context.Context, a Agent, what, conv string) error {
	err := q.Store.Append(ctx, a.Tenant, audit.Entry{
		At: q.Now().UnixMilli(), Type: "access.refused", Kind: what + " " + conv, Op: q.IDs.Token(), Actor: "agent:" + a.ID,
	})
	if err != nil {
		q.Log.Error("recording a refusal", "agent", a.ID, "conversation", conv, "err", err)
	}
	return fmt.Errorf("%s: %w", what, ErrForbidden)
}
