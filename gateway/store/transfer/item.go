// Package transfer moves what a store holds into another one, of the same kind or of another: `turnout store copy`.
//
// A Source gives everything that a store is the truth for as a sequence of items in no store's own form; a Target writes
// items in its own form. What a store derives (indexes, schedules, queue views) is no item: a target derives it again. What
// is only true of running processes (leases, presence, reservations, feeds) is none either: a copy is made while no process
// uses the store, and so all of it is over.
//
// Values are opened at the source and sealed anew at the target, under the same data keys: a sealed value is bound to the
// key of its row, and the stores name their rows differently. So a value that does not open, or is not what it should be,
// stops the copy where it stands. What is bound to no row goes over as it is: wrapped keys, audit entries, checkpoints, the
// files of attachments, the hashes by which addresses and message ids are known. Events keep the encoding in which they were
// logged: audit entries hold its digest.
package transfer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
)

// Item is one thing that a store holds. Its bytes are valid until the call that it was given to returns.
type Item interface {
	// Kind is what it is counted as.
	Kind() Kind
}

// Kind is what an item is counted as. Its name is in the plural, for people.
type Kind string

// The kinds, in the order of the sequence within a tenant. Identities and message ids have no order among themselves.
const (
	Tenants       Kind = "tenants"
	Entries       Kind = "audit_entries"
	Checkpoints   Kind = "checkpoints"
	Versions      Kind = "versions"
	Records       Kind = "records"
	Answers       Kind = "answers"
	Conversations Kind = "conversations"
	Erasures      Kind = "erasures"
	LogRows       Kind = "log_rows"
	Attachments   Kind = "attachments"
	Sendings      Kind = "outbox_rows"
	Blobs         Kind = "files"
	Keys          Kind = "keys_without_conversation"
	DeadLetters   Kind = "dead_letters"
	Identities    Kind = "identities"
	MessageIDs    Kind = "message_ids"
)

// place orders items: by tenant, then by rank, then within it.
type place struct {
	tenant string
	rank   int
	key    string // of a conversation, a document, a record
	part   int
	n      uint64
	name   string
}

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.tenant, q.tenant), cmp.Compare(p.rank, q.rank), strings.Compare(p.key, q.key),
		cmp.Compare(p.part, q.part), cmp.Compare(p.n, q.n), strings.Compare(p.name, q.name))
}

const (
	rankTenant = iota
	rankOwn
	rankCheckpoint
	rankVersion
	rankRecord
	rankAnswer
	rankConversation
	rankKey
	rankDead
	rankNone // of what has no order
)

// Tenant is a tenant's keys, and what its own chain stands at.
type Tenant struct {
	Tenant store.Tenant
	// Wrapped are its keys, wrapped under the root key.
	Wrapped []byte
	// Head is the end of its own audit chain. Moved is set when the chain has grown since the last checkpoint, Sent is up to
	// which checkpoint copies are outside.
	Head  audit.Head
	Moved bool
	Sent  uint64
	// Scrub is set when records were taken away that files of the store may still hold.
	Scrub bool
}

// Entry is an entry of an audit chain: a conversation's, or with no conversation the tenant's own.
type Entry struct {
	Ref  store.Ref
	N    uint64
	Body []byte // in canonical form
}

// Checkpoint is a checkpoint of a tenant.
type Checkpoint struct {
	Tenant store.Tenant
	N      uint64
	Sealed audit.Sealed
}

// Version is a version of a document.
type Version struct {
	Tenant store.Tenant
	Name   string
	Doc    store.VersionedDoc
}

// Record is a record of a tenant.
type Record struct {
	Tenant store.Tenant
	Record store.Record
}

// Answer is what a request was answered with. One whose time is over need not be given or kept.
type Answer struct {
	Tenant store.Tenant
	Answer store.Answer
}

// OpMark stands for an operation among the last ones of a conversation.
type OpMark [8]byte

// Conversation is a conversation's state and what goes with it. The items that follow it are its own, until the next.
type Conversation struct {
	Ref     store.Ref
	Wrapped []byte // its data key, wrapped under the tenant's
	Version store.Token
	Ops     []OpMark // of its last operations, the newest last
	Head    audit.Head
	Moved   bool // the chain has grown since the last checkpoint
	State   *conversation.State
	// Detached are the files that are still to be destroyed, sorted.
	Detached []string
}

// Erasure is what is left of a conversation that was erased. Its chain follows.
type Erasure struct {
	Ref   store.Ref
	Stone store.Tombstone
	Head  audit.Head
	Moved bool
}

// LogRow holds the events of one step.
type LogRow struct {
	Ref    store.Ref
	First  uint64 // the sequence of the first
	Seen   uint64 // the visible sequence before it
	Events []Logged
}

// Logged is an event as it is logged.
type Logged struct {
	VSeq    uint64 // 0 for none
	Encoded []byte
}

// Attachment is the row of an attachment.
type Attachment struct {
	Ref store.Ref
	Row store.Attachment
}

// Sending is a row of the outbox.
type Sending struct {
	Ref store.Ref
	Row form.Out
}

// DeadLetter is a row that did not leave.
type DeadLetter struct {
	Ref store.Ref
	Row form.Dead
}

// Blob is a file of an attachment, sealed as it lies. Open gives its bytes.
type Blob struct {
	Ref   store.Ref
	Name  string
	Early bool // it follows the Key of a conversation that does not exist yet
	Open  func() (io.ReadCloser, error)
}

// Key is the data key of a conversation that does not exist yet: a file came before its first message.
type Key struct {
	Ref     store.Ref
	Wrapped []byte
}

// Identity leads from an address, by its keyed hash, to the conversation in which it writes.
type Identity struct {
	Tenant       store.Tenant
	Hash         [16]byte
	Conversation string
}

// MessageID is a message id, by its keyed hash, that is known in a generation.
type MessageID struct {
	Generation uint32
	Hash       IDHash
	Known      store.Known
}

// IDHash is the hash of a message id. A store need not keep more than its first ShortHash bytes; the others are zero then.
type IDHash [16]byte

// ShortHash is how much of a message id's hash every store keeps, in bytes.
const ShortHash = 10

// Short is the hash with no more than what every store keeps.
func (h IDHash) Short() (s IDHash) {
	copy(s[:], h[:ShortHash])
	return s
}

// Kind implements Item.
func (Tenant) Kind() Kind       { return Tenants }
func (Entry) Kind() Kind        { return Entries }
func (Checkpoint) Kind() Kind   { return Checkpoints }
func (Version) Kind() Kind      { return Versions }
func (Record) Kind() Kind       { return Records }
func (Answer) Kind() Kind       { return Answers }
func (Conversation) Kind() Kind { return Conversations }
func (Erasure) Kind() Kind      { return Erasures }
func (LogRow) Kind() Kind       { return LogRows }
func (Attachment) Kind() Kind   { return Attachments }
func (Sending) Kind() Kind      { return Sendings }
func (DeadLetter) Kind() Kind   { return DeadLetters }
func (Blob) Kind() Kind         { return Blobs }
func (Key) Kind() Kind          { return Keys }
func (Identity) Kind() Kind     { return Identities }
func (MessageID) Kind() Kind    { return MessageIDs }

// The parts of a conversation, in their order.
const (
	partSelf = iota
	partLog
	partEntry
	partAttachment
	partSending
	partBlob
)

// placeOf is where an item stands in the sequence; the order of items is that of their places.
func placeOf(i Item) place {
	switch i := i.(type) {
	case Tenant:
		return place{tenant: i.Tenant.Name(), rank: rankTenant}
	case Entry:
		if i.Ref.ID == "" {
			return place{tenant: i.Ref.Tenant.Name(), rank: rankOwn, n: i.N}
		}
		return within(i.Ref, partEntry, i.N, "")
	case Checkpoint:
		return place{tenant: i.Tenant.Name(), rank: rankCheckpoint, n: i.N}
	case Version:
		return place{tenant: i.Tenant.Name(), rank: rankVersion, key: i.Name, n: uint64(i.Doc.N)}
	case Record:
		return place{tenant: i.Tenant.Name(), rank: rankRecord, key: i.Record.Kind, name: i.Record.ID}
	case Answer:
		return place{tenant: i.Tenant.Name(), rank: rankAnswer, key: string(i.Answer.Key[:])}
	case Conversation:
		return within(i.Ref, partSelf, 0, "")
	case Erasure:
		return within(i.Ref, partSelf, 0, "")
	case LogRow:
		return within(i.Ref, partLog, i.First, "")
	case Attachment:
		return within(i.Ref, partAttachment, 0, i.Row.ID)
	case Sending:
		return within(i.Ref, partSending, i.Row.Place, "")
	case Blob:
		p := within(i.Ref, partBlob, 0, i.Name)
		if i.Early {
			p.rank = rankKey
		}
		return p
	case Key:
		return place{tenant: i.Ref.Tenant.Name(), rank: rankKey, key: i.Ref.ID}
	case DeadLetter:
		return place{tenant: i.Ref.Tenant.Name(), rank: rankDead, n: uint64(i.Row.At), name: i.Row.Row.ID}
	case Identity:
		return place{tenant: i.Tenant.Name(), rank: rankNone}
	}
	return place{rank: rankNone}
}

// ErrAstray says that a part of a conversation does not follow its conversation.
var ErrAstray = errors.New("it does not follow its conversation")

// Within returns the conversation that an item is a part of: it has to be the one that came last. ok is false for an item
// that is none.
func Within(i Item) (r store.Ref, ok bool) {
	switch i := i.(type) {
	case Entry:
		return i.Ref, i.Ref.ID != ""
	case LogRow:
		return i.Ref, true
	case Attachment:
		return i.Ref, true
	case Sending:
		return i.Ref, true
	}
	return r, false
}

// within is a place in a conversation.
func within(r store.Ref, part int, n uint64, name string) place {
	return place{tenant: r.Tenant.Name(), rank: rankConversation, key: r.ID, part: part, n: n, name: name}
}

// same is what two stores agree upon that hold the same item.
func same(i Item) any {
	switch i := i.(type) {
	case Blob:
		return i.Name // the bytes are compared where both files can be read
	case MessageID:
		i.Hash = i.Hash.Short()
		return i
	case Conversation:
		if len(i.Detached) == 0 {
			i.Detached = nil
		}
		return i
	}
	return i
}

// encoded is the form of an item by which it is compared.
func encoded(i Item) ([]byte, error) {
	b, err := json.Marshal(same(i))
	if err != nil {
		return nil, fmt.Errorf("encoding %s to compare it: %w", Where(i), err)
	}
	return b, nil
}

// Where says for people what an item is and where: "log row 7 of conversation c_…".
func Where(i Item) string {
	p := placeOf(i)
	in := "tenant " + p.tenant
	if p.key != "" && (p.rank == rankConversation || p.rank == rankKey) {
		in = "conversation " + p.key + " of " + in
	}
	switch i := i.(type) {
	case Tenant:
		return in
	case Conversation:
		return in
	case Erasure:
		return "what is left of the erased " + in
	case Entry:
		return fmt.Sprintf("audit entry %d of %s", i.N, in)
	case Checkpoint:
		return fmt.Sprintf("checkpoint %d of %s", i.N, in)
	case Version:
		return fmt.Sprintf("version %d of document %s of %s", i.Doc.N, i.Name, in)
	case Record:
		return fmt.Sprintf("record %s/%s of %s", i.Record.Kind, i.Record.ID, in)
	case Answer:
		return "an answer of " + in
	case LogRow:
		return fmt.Sprintf("the log row of event %d of %s", i.First, in)
	case Attachment:
		return fmt.Sprintf("attachment %s of %s", i.Row.ID, in)
	case Sending:
		return fmt.Sprintf("outbox row %s of %s", i.Row.Row.ID, in)
	case DeadLetter:
		return fmt.Sprintf("dead letter %s of conversation %s of %s", i.Row.Row.ID, i.Ref.ID, in)
	case Blob:
		return fmt.Sprintf("file %s of %s", i.Name, in)
	case Key:
		return "the data key of " + in
	case Identity:
		return "an identity that leads to conversation " + i.Conversation + " of " + in
	case MessageID:
		return "a message id of conversation " + i.Known.Conversation
	}
	return in
}

func equal(a, b Item) (bool, error) {
	if a.Kind() != b.Kind() {
		return false, nil
	}
	x, err := encoded(a)
	if err != nil {
		return false, err
	}
	y, err := encoded(b)
	return bytes.Equal(x, y), err
}
