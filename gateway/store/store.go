// Package store is the contract of the durable store: roles of a few methods, two implementations, one suite (storetest).
//
// Everything that one step of a conversation touches lies in one partition, so a Step is one atomic operation. A step is
// decided outside, in Go, on a Snapshot; Commit applies it whole if the snapshot still holds, or not at all. From the old
// and the new state of a step the store itself derives what must never disagree with them: the audit entries, the
// obligations (work, timers, open handoffs) and the views (queue, agent, contact, tag). Nobody can commit a decision
// without its audit entry, or an owner without its place in a queue.
//
// Values at rest are sealed under a data key per conversation; what is looked up is looked up by a keyed hash. Keys of
// rows hold ids and hashes, never an address or text.
//
// Durable before visible: nil from Commit means durable at the level that Health names, and only then may an effect start.
// Reads show durable events only.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
)

// Tenant is a handle to one tenant's rows. It cannot be made from a request's string without a look at its form.
type Tenant struct{ name string }

var tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// NewTenant returns the handle of the named tenant: 1 to 40 lower-case letters, digits and hyphens.
func NewTenant(name string) (Tenant, error) {
	if !tenantForm.MatchString(name) {
		return Tenant{}, fmt.Errorf("tenant name %q: want 1 to 40 of a-z, 0-9 and hyphen", name)
	}
	return Tenant{name}, nil
}

// Name returns the tenant's name.
func (t Tenant) Name() string { return t.name }

// Operator is the tenant of what belongs to no tenant: its chain holds what happens to the node itself. Its name is one
// that no tenant can have.
var Operator = Tenant{"_operator"}

// TenantOf is NewTenant for a name that a store has written: it knows Operator too.
func TenantOf(name string) (Tenant, error) {
	if name == Operator.name {
		return Operator, nil
	}
	return NewTenant(name)
}

// Ref names a conversation. A reference under the wrong tenant finds nothing.
type Ref struct {
	Tenant Tenant
	ID     string
}

// Token is compared, never ordered: 128 random bits, so that a value can never come back.
type Token string

// Errors of the roles.
var (
	// ErrStale: a comparison failed; nothing was written. Load again and decide again.
	ErrStale = errors.New("stale: the row has changed")
	// ErrUnknown: the step may or may not be durable. Repeat it with the same Op.
	ErrUnknown = errors.New("unknown outcome")
	// ErrFull: the reserve of free space is reached. Nothing was written.
	ErrFull = errors.New("the store is full")
	// ErrNotFound: there is no such row for this tenant.
	ErrNotFound = errors.New("not found")
	// ErrErased: the conversation was erased: only its chain and its Tombstone are left. It is ErrNotFound for those who
	// need no reason.
	ErrErased = fmt.Errorf("erased: %w", ErrNotFound)
	// ErrUnavailable: the store cannot be used now. Nothing was written.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrCapacity: the agent has no free place, or is not present.
	ErrCapacity = errors.New("no free capacity")
	// ErrGap: what was asked for is older than what is kept. Start over from the present.
	ErrGap = errors.New("too old to resume")
)

// Store is all roles together. Code takes the roles it needs.
type Store interface {
	Inbox
	Conversations
	Work
	Outbox
	Queues
	Audit
	Versions
	Answers
	Erasure
	Records
	Hints
	Upkeep
}

// Inbox finds the conversation of a sender.
type Inbox interface {
	// Find returns the conversation in which address now writes, and what became of those of the sender's message ids
	// that are known. The rows it read are not compared at commit; Step.Dedupe and Step.Bind are.
	Find(ctx context.Context, t Tenant, a message.Address, ids []string) (Found, error)
}

// Found is the answer of Find.
type Found struct {
	// Snapshot is nil when the address has no conversation yet.
	Snapshot *Snapshot
	// Known has an entry per id that was accepted before.
	Known map[string]Known
}

// Known says where a message went.
type Known struct {
	Conversation string
	Seq          uint64
}

// Snapshot is a conversation as it stood at a version. State must not be changed; it may be shared.
type Snapshot struct {
	Ref     Ref
	Version Token
	State   *conversation.State
	Lease   Lease
	// Outgoing are the bot's messages that wait in the outbox, in order. A step that gives the conversation to people is
	// decided on them (conversation.Env), and is stale if one of them began to be sent meanwhile.
	Outgoing []conversation.Outgoing
}

// Lease lets one caller run the one bot call of a conversation. It belongs to the call: no change of owner clears it. The
// zero Lease is none.
type Lease struct {
	Token Token
	Until int64 // milliseconds since 1970
}

// Live reports whether the lease still binds at now (milliseconds).
func (l Lease) Live(now int64) bool { return l.Token != "" && now < l.Until }

// Step is everything that one commit does to one conversation.
type Step struct {
	Ref Ref
	// Op identifies the step over retries; Base is the version it was decided upon, empty to create.
	Op   Token
	Base Token
	// Holding, when set, is a lease token that must still be the conversation's own: the step ends a bot call. With
	// Drop the lease is cleared by the step.
	Holding Token
	Drop    bool
	// Take, when set, starts a bot call with this step. There must be no live lease after Drop.
	Take Lease

	Events []conversation.Event
	State  *conversation.State // the fold after Events; the store keeps it

	// Dedupe makes the sender's message id known, pointing at the event with Seq; a known id fails the step with a
	// *DuplicateError. Bind makes the conversation the one in which the address writes.
	Dedupe []Dedupe
	Bind   *Bind
	// Attach adds attachments to the conversation, Outbox rows to send over a push channel. Settle ends a send attempt
	// with the step, Redrive brings a dead letter back or takes it away: what is no longer so is ErrStale.
	Attach  []Attachment
	Outbox  []OutboxRow
	Settle  *Settlement
	Redrive *Redrive
	// Bury makes a dead letter of a message that had left already and then was reported as failed; one that is dead
	// already stays as it is.
	Bury *DeadLetter
	// Detach destroys the bytes of attachments, by id: their rows stay, without a blob.
	Detach []string
	// Keep goes into the tombstone of a step that erases; see Erasure.
	Keep []byte
}

// Dedupe is the row of one accepted message.
type Dedupe struct {
	From message.Address
	ID   string
	Seq  uint64
}

// Bind moves an address to a conversation: From was its conversation before ("" for none), and must still be.
type Bind struct {
	Address message.Address
	From    string
}

// DuplicateError says that a message id of the step is known already. Nothing was written.
type DuplicateError struct {
	ID    string
	Known Known
}

func (e *DuplicateError) Error() string { return "the message was accepted before" }

// Attachment is the row of an attachment: what it is and the blob that holds its bytes.
type Attachment struct {
	message.Attachment
	Blob string `json:"blob"`
}

// Done is what a commit returns.
type Done struct {
	Version Token
	// Repeat is set when the step's Op was applied before.
	Repeat bool
	// InFlight names messages of the bot whose send was already under way when people took over; all its others were
	// cancelled by the step.
	InFlight []string
}

// Conversations loads and commits.
type Conversations interface {
	// Load returns the snapshot of a conversation, or ErrNotFound.
	Load(ctx context.Context, r Ref) (*Snapshot, error)
	// Commit applies all of s or nothing. Errors: ErrStale, *DuplicateError, ErrUnknown, ErrFull, ErrUnavailable. It is
	// idempotent by s.Op over at least the last 16 commits of a conversation.
	Commit(ctx context.Context, s Step) (Done, error)
	// Log returns the events after seq, in order, at most limit.
	Log(ctx context.Context, r Ref, after uint64, limit int) ([]conversation.Event, error)
	// Visible returns the events with a visible sequence after vseq, in order, at most limit.
	Visible(ctx context.Context, r Ref, after uint64, limit int) ([]conversation.Event, error)
	// Attachment returns the row of an attachment of this conversation, or ErrNotFound.
	Attachment(ctx context.Context, r Ref, id string) (Attachment, error)
	// Attachments returns the attachments of a conversation, by id, at most limit, after one ("": from the start).
	Attachments(ctx context.Context, r Ref, after string, limit int) ([]Attachment, error)
	// List returns conversations by an access path, newest first, at most limit, older than before (a conversation id of
	// the page before, or empty).
	List(ctx context.Context, t Tenant, by Path, before string, limit int) ([]Ref, error)
}

// Path is a declared access path: there is no scan for anything else.
type Path struct {
	Kind  PathKind
	Value string
}

// PathKind is a kind of Path.
type PathKind byte

// The access paths: by the agent who holds it, by contact, by tag, by the address that opened it ("channel\x00address").
const (
	ByAgent   PathKind = 'a'
	ByContact PathKind = 'c'
	ByTag     PathKind = 't'
	ByAddress PathKind = 'd'
)

// Work hands out what is due.
type Work interface {
	// Due returns conversations with work and timers whose instant has come, earliest first, at most limit; at least
	// once, possibly for nothing. next is the instant of the next one after these (0: none).
	Due(ctx context.Context, now int64, limit int) (jobs []Job, next int64, err error)
	// Drop clears a lease whose call ended without a step. Repeatable; a token that is not the lease's does nothing.
	Drop(ctx context.Context, r Ref, lease Token) error
}

// Job is a conversation to look at. Timer is its name when a timer is due, empty for a turn to take, retake or write off.
type Job struct {
	Ref   Ref
	Timer conversation.Timer
}

// OutboxRow is one message on its way over a push channel.
type OutboxRow struct {
	ID string `json:"id"` // "r_…": RowOf the message
	// Epoch is the one in force after the step that said it. A bot's row of another epoch is not sent.
	Epoch conversation.Epoch `json:"epoch"`
	// Seq is the message's event, At when it was said (ms), Due when it may be sent.
	Seq uint64           `json:"seq"`
	At  int64            `json:"at"`
	Due int64            `json:"due"`
	Out message.Outbound `json:"out"`
}

// RowOf returns the id of the outbox row of a message: the same letters under another kind.
func RowOf(messageID string) string {
	if _, rest, ok := strings.Cut(messageID, "_"); ok {
		return string(id.Row) + "_" + rest
	}
	return messageID
}

// OutID and ProviderID make the names under which Find knows what was said over a push channel among the ids of its
// recipient: by the message's id, and by what the provider calls it. No id that a provider gives to an inbound message
// begins with a zero byte.
func OutID(messageID string) string     { return "\x00m" + messageID }
func ProviderID(provided string) string { return "\x00p" + provided }

// Outbox hands out rows to send. Rows of one conversation leave in order, one at a time. An attempt ends by a step
// (Step.Settle), together with what the log says of it.
//
// When people take over from the bot, the step cancels the bot's rows whose send has not begun; when the bot's term ends
// otherwise (a close, a reopening), they stay and get the new epoch.
type Outbox interface {
	// Pending hands out conversations of a channel whose head row is due, earliest first, at most limit: at least once,
	// possibly for nothing. next is the instant of the next one after these, 0 for none.
	Pending(ctx context.Context, t Tenant, channel string, now int64, limit int) (refs []Ref, next int64, err error)
	// Lease marks the attempt durably, until when another may take the row over, and returns the head row. ErrNotFound when
	// nothing is due, ErrStale when another holds the row. A bot's row whose epoch has passed is never returned: it is a
	// *LapsedError, and a step has to end it.
	Lease(ctx context.Context, r Ref, now, until int64) (LeasedRow, error)
	// DeadLetters lists rows that did not leave, oldest first, after a cursor (empty: the beginning); next is the cursor
	// after them, empty at the end. A cursor that is none is ErrNotFound.
	DeadLetters(ctx context.Context, t Tenant, after string, limit int) (dead []DeadLetter, next string, err error)
	// DeadLetter returns one by its row's id, or ErrNotFound.
	DeadLetter(ctx context.Context, t Tenant, row string) (DeadLetter, error)
}

// LeasedRow is a row whose attempt has begun.
type LeasedRow struct {
	Ref Ref
	Row OutboxRow
	// Attempt counts from 1 over all attempts, Tries since a person last put the row back, without those of NoTry. Unsure is the number of earlier
	// attempts that have no result, so that the message may have arrived.
	Attempt int
	Tries   int
	Unsure  int
	Token   Token
}

// LapsedError says that the head of an outbox is a bot's row of an epoch that has passed. Row.Token is that of an attempt
// that has begun and has no result, or empty.
type LapsedError struct{ Row LeasedRow }

func (e *LapsedError) Error() string { return "the row's epoch has passed" }

// Settlement is how an attempt, or a lapsed row, ends.
type Settlement struct {
	Row   string
	Token Token
	End   End
	// Due is when to try again, for Retry.
	Due int64
	// Unsure says that the attempt's result is not known.
	Unsure bool
	// NoTry says, for Retry, that the attempt is none of the row's Tries: it said nothing of this message.
	NoTry bool
	// Code says why, for Bury.
	Code string
}

// End is what becomes of a row after an attempt.
type End byte

// The ends.
const (
	Gone   End = iota // it left, or shall not leave any more
	Retry             // it is tried again at Due
	Unsent            // the attempt never began: it counts for nothing, and the row is due at Due
	Bury              // it becomes a dead letter
)

// Redrive puts a dead letter back at the end of its conversation's outbox, or discards it.
type Redrive struct {
	Row     string
	Discard bool
}

// DeadLetter is a row that was given up.
type DeadLetter struct {
	Ref     Ref
	Row     OutboxRow
	Code    string
	Attempt int
	// Unsure is set when an attempt has no result: the message may have arrived.
	Unsure bool
	At     int64
}

// Queues is the view of conversations that wait for people or are with them. It is derived from the owner of each
// conversation and can be built anew from it at any time.
type Queues interface {
	// Waiting returns the conversations of a queue in the order in which they should be taken, at most limit; the empty
	// queue means all of the tenant's.
	Waiting(ctx context.Context, t Tenant, queue string, limit int) ([]Waiting, error)
	// Captured returns the conversations that were set aside until a queue opens, the oldest first, at most limit; the
	// empty queue means all of the tenant's. They have no position.
	Captured(ctx context.Context, t Tenant, queue string, limit int) ([]Waiting, error)
	// Position returns the place of a waiting conversation, 1 for the next; 0 when it does not wait.
	Position(ctx context.Context, r Ref) (int, error)
	// Depth returns the number of conversations that wait in each queue of the tenant.
	Depth(ctx context.Context, t Tenant) (map[string]int, error)
	// SetPresence says until when (ms) an agent is present and how many conversations it may hold. A past instant is off.
	SetPresence(ctx context.Context, t Tenant, p Presence) error
	// Present lists agents by name.
	Present(ctx context.Context, t Tenant) ([]Presence, error)
	// Reserve takes one unit of an agent's capacity for a conversation before the claiming Commit, or fails with
	// ErrCapacity. Cancel gives it back; the effect of a Commit that makes the agent its owner takes it over.
	Reserve(ctx context.Context, t Tenant, agent, conversation string, op Token) error
	Cancel(ctx context.Context, t Tenant, op Token) error
	// Feed returns what changed in the tenant's queues after a position, and the position after it. ErrGap: resync by
	// Waiting. The empty position is the present.
	Feed(ctx context.Context, t Tenant, after string, limit int) (items []FeedItem, next string, err error)
}

// Waiting is a conversation in a queue view.
type Waiting struct {
	Ref      Ref
	Owner    conversation.Owner
	Handoff  conversation.Handoff
	Since    int64 // since when a person is owed
	Position int   // 0 for one that is captured
}

// Presence is an agent's presence.
type Presence struct {
	Agent    string
	Name     string
	Queues   []string
	Until    int64
	Capacity int
	Load     int // conversations held, filled by Present
}

// FeedItem says that a conversation changed in the view.
type FeedItem struct {
	Conversation string
	Owner        conversation.Owner
	Queue        string // the queue it is or was in
	Seq          uint64
}

// Audit reads the chains, appends to the tenant's own, and keeps the checkpoints. What it reads is there for as long as the
// store is, also after a conversation's keys were destroyed.
type Audit interface {
	// Entries returns the canonical bytes of entries after n of a chain, in order. The chain is a conversation's id, or
	// empty for the tenant's own.
	Entries(ctx context.Context, t Tenant, chain string, after uint64, limit int) ([][]byte, error)
	// Append adds an entry of administration: a login, a publish, a refused access of a known principal.
	Append(ctx context.Context, t Tenant, e audit.Entry) error
	// Chains lists the conversations that have a chain, by id, at most limit, after one ("": from the start).
	Chains(ctx context.Context, t Tenant, after string, limit int) ([]string, error)
	// Frontier returns what the next checkpoint is made of: the newest one, and the heads of chains that grew since then,
	// at most limit. After a crash it may name a head that the newest one covers already.
	Frontier(ctx context.Context, t Tenant, limit int) (Frontier, error)
	// Seal stores a checkpoint if the one that it follows is still the newest, or fails with ErrStale. The chains that it
	// covers leave the frontier unless they have grown on meanwhile.
	Seal(ctx context.Context, t Tenant, c audit.Sealed) error
	// Checkpoints returns those with numbers after n, in order, at most limit.
	Checkpoints(ctx context.Context, t Tenant, after uint64, limit int) ([]audit.Sealed, error)
	// Sent records that copies of the checkpoints up to n are outside. It never goes back.
	Sent(ctx context.Context, t Tenant, n uint64) error
}

// Frontier is what the next checkpoint of a tenant is made of.
type Frontier struct {
	Newest []byte // the note of the newest checkpoint; nil for none
	Sent   uint64 // up to which copies are outside
	Heads  []audit.ChainHead
}

// VersionedDoc is an immutable version of a document, for example the rules of a tenant.
type VersionedDoc struct {
	N      int // 1, 2, 3 …
	Digest string
	Body   []byte
	At     int64
	// By is who published it, in the form of an audit entry's actor: "owner:ana", "operator:1000". Empty: the node itself.
	By string `json:",omitempty"`
}

// VersionPublished is the type of the entry that Publish adds to the tenant's audit chain: its Kind is the name of the
// document and the number of the version ("rules 7"), its Digest and Actor are the version's.
const VersionPublished = "version.published"

// Versions keeps documents by version: a rule set stays loadable while a message refers to it.
type Versions interface {
	// Publish adds version prev+1 of a named document, or ErrStale when prev is not the newest. The version and its entry
	// in the tenant's audit chain are one commit.
	Publish(ctx context.Context, t Tenant, doc string, prev int, v VersionedDoc) error
	// Current returns the newest version, or ErrNotFound.
	Current(ctx context.Context, t Tenant, doc string) (VersionedDoc, error)
	// Version returns version n, or ErrNotFound.
	Version(ctx context.Context, t Tenant, doc string, n int) (VersionedDoc, error)
	// Tenants lists those that have anything in the store, sorted by name. Operator is none of them.
	Tenants(ctx context.Context) ([]Tenant, error)
}

// Answers remembers what requests were answered with, so that a repeat is answered alike and not carried out again.
type Answers interface {
	// Remember keeps an answer, in the place of one with the same key.
	Remember(ctx context.Context, t Tenant, a Answer) error
	// Recall returns the answer with a key, or ErrNotFound when there is none or its time is over.
	Recall(ctx context.Context, t Tenant, key [32]byte) (Answer, error)
}

// Answer is what a request was answered with.
type Answer struct {
	// Key names the request, Digest what it asked for; both are keyed hashes.
	Key    [32]byte
	Digest [32]byte
	Body   []byte
	Until  int64 // milliseconds since 1970
}

// Erasure destroys what is held of people. A step that ends with conversation.Wiped, on a conversation that is closed after
// it, is the destruction: with its commit the data key, the log, the state, attachments, outbox, dead letters and every row
// by which the conversation is found are gone. Its audit chain and a Tombstone stay, and the hashes of its message ids until
// their generation is over, so that nothing that is delivered again brings it back. From then on it is ErrErased.
//
// What a database took away may stand in its files still: only Scrub ends it.
type Erasure interface {
	// Erased lists what was erased, by the conversation's id, at most limit, after one ("": from the start).
	Erased(ctx context.Context, t Tenant, after string, limit int) ([]Tombstone, error)
	// Tombstone returns one, or ErrNotFound.
	Tombstone(ctx context.Context, r Ref) (Tombstone, error)
	// Forget takes away what a tombstone keeps.
	Forget(ctx context.Context, r Ref) error
	// Scrub returns when no file of the store holds what was erased or detached by steps, or taken away by DeleteRecord,
	// before the call. It can be repeated, also by the next process, until it has returned nil.
	Scrub(ctx context.Context) error
}

// Tombstone is what is left of a conversation, beside its chain.
type Tombstone struct {
	Conversation string
	At           int64  // ms
	Op           string // of the step that erased it
	Keep         []byte // what the step wanted to be kept; nil for nothing
	// Pending is set until a Scrub after it is done.
	Pending bool
}

// Records keeps small documents of a tenant that change, such as requests, holds and the state of jobs, sealed under the
// tenant's key, each with what it means in the tenant's audit chain. One that was taken away is destroyed by Scrub.
type Records interface {
	// PutRecord writes a record if the one that is there has the version r.Version, empty for none, or fails with ErrStale.
	// entry, if it is not nil, is added to the tenant's own chain in the same commit. It returns the new version.
	PutRecord(ctx context.Context, t Tenant, r Record, entry *audit.Entry) (Token, error)
	// DeleteRecord takes a record of a version away, or fails with ErrStale.
	DeleteRecord(ctx context.Context, t Tenant, r Record, entry *audit.Entry) error
	// Record returns one, or ErrNotFound.
	Record(ctx context.Context, t Tenant, kind, id string) (Record, error)
	// ListRecords lists those of a kind by id, at most limit, after one ("": from the start).
	ListRecords(ctx context.Context, t Tenant, kind, after string, limit int) ([]Record, error)
	// LeaseJob lets one caller at a time do a job of a tenant: it holds until an instant (ms) or until it is given back by
	// DropJob, whichever comes first; ErrStale while another holds it. The holder's own token renews it.
	LeaseJob(ctx context.Context, t Tenant, job string, token Token, until int64) error
	DropJob(ctx context.Context, t Tenant, job string, token Token) error
}

// Record is a document. Kind and ID are 1 to 64 of a-z, 0-9, '_', '-' and '.'.
type Record struct {
	Kind, ID string
	Version  Token
	Body     []byte
}

// Hints are lossy wake-ups: a reader always reads again by sequence.
type Hints interface {
	// Subscribe calls f after each durable commit, from the committing goroutine: f must not block. Closing ends it. Where
	// several nodes share the store, f also hears of the commits of the others, from a goroutine of the store.
	Subscribe(f func(Hint)) io.Closer
}

// Hint says that a conversation has grown. Events may hold what was committed, or be nil.
type Hint struct {
	Ref    Ref
	State  *conversation.State
	Events []conversation.Event
	// Remote is set when another node committed it. State is the conversation as it was found afterwards; several commits
	// may be one hint.
	Remote bool
}

// Health is the state of a store.
type Health struct {
	OK bool
	// Level names the durability in force: "embedded, fsync".
	Level string
	// Reason says what is wrong when OK is false; with OK set, in which part of the store writes are refused.
	Reason string
	// Free is the number of bytes left above the reserve; negative under it, and then writes are refused.
	Free int64
	// Fsync is a recent time of one synchronous write.
	Fsync time.Duration
}

// Upkeep is what operators need.
type Upkeep interface {
	Health(ctx context.Context) Health
	// Check reads everything: each log's fold equals its state row, each index agrees, each chain verifies.
	Check(ctx context.Context) (Report, error)
	// Repair is Check, and mends what can be made anew from the conversations: the lists of work, timers and outboxes, the
	// access paths, the queue views, the marks of chains that a checkpoint has still to cover. It never touches a log, a state
	// or a chain. Report.Mended tells what it has mended, Faults what it could not.
	Repair(ctx context.Context) (Report, error)
	// Close flushes and closes. It returns after running commits ended.
	Close() error
}

// Report is the result of Check.
type Report struct {
	Conversations int
	Events        int
	Blobs         int // files of attachments
	// Faults say what is wrong and where, at most MostFaults of them; Count is how many there are.
	Faults []string
	Count  int
	// Mended says what Repair has made anew, at most MostFaults; MendedCount is how many it was.
	Mended      []string
	MendedCount int
}

// MostFaults is how many faults a report tells: a store that has more is not mended one by one.
const MostFaults = 1000

// Fault adds one.
func (r *Report) Fault(format string, args ...any) {
	if r.Count++; len(r.Faults) < MostFaults {
		r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
	}
}

// Mend adds what was mended.
func (r *Report) Mend(format string, args ...any) {
	if r.MendedCount++; len(r.Mended) < MostFaults {
		r.Mended = append(r.Mended, fmt.Sprintf(format, args...))
	}
}
