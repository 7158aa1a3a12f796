// Package message holds the values that cross the edge of turnout: what a customer wrote, what is said to a customer,
// and what a customer's client may see of a conversation. It is a leaf: standard library only, no behaviour beyond
// small helpers.
//
// Values own their bytes. An adapter copies what it takes from a transport buffer before it builds one of these, so a
// value may be kept for as long as anybody likes.
package message

import "time"

// Address names one customer on one channel: the unit that conversations, deduplication and partitions hang on.
type Address struct {
	// Channel is the public key of the channel, for example "acme.web".
	Channel string `json:"channel"`
	// Address is the customer's address in the channel's own terms: a visitor id, a phone number, a mail address.
	Address string `json:"address"`
	// Thread separates conversations of one address: a mail ticket, the conversation id of a protocol front. It is
	// empty for web, SMS and WhatsApp, where one address has one open conversation.
	Thread string `json:"thread,omitempty"`
}

// Kind says what an Inbound is. It decides whether a turn starts (StartsTurn).
type Kind string

// The kinds of inbound message.
const (
	Text     Kind = "text"
	Action   Kind = "action" // a pressed button, a chosen list or flow reply
	Media    Kind = "media"  // attachments, with or without a caption in Text
	Location Kind = "location"
	Order    Kind = "order"
	// Human is the one-step request for a person: the widget's button, the form without JavaScript.
	Human Kind = "human"

	Reaction Kind = "reaction"
	Edit     Kind = "edit"
	Revoke   Kind = "revoke"
	Join     Kind = "join"
)

// StartsTurn reports whether a message of this kind is put to the bot. The others are recorded only.
func (k Kind) StartsTurn() bool {
	switch k {
	case Text, Action, Media, Location, Order:
		return true
	}
	return false
}

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool {
	switch k {
	case Text, Action, Media, Location, Order, Human, Reaction, Edit, Revoke, Join:
		return true
	}
	return false
}

// Inbound is one message from a customer, normalised.
type Inbound struct {
	// ID is the provider's or the client's id of the message, scoped to the sender (Address). A second Inbound with
	// the same (tenant, Channel, Address.Address, ID) is the same message.
	ID   string  `json:"id"`
	From Address `json:"from"`
	Kind Kind    `json:"kind"`
	// Text is the new part of what was written, valid UTF-8; Quoted is what it repeats of earlier messages.
	Text   string `json:"text,omitempty"`
	Quoted string `json:"quoted,omitempty"`
	// Choice is what was pressed, for Kind Action. Text is then its label.
	Choice      *Choice      `json:"choice,omitempty"`
	Attachments []Attachment `json:"attachments,omitempty"`
	// Lang is the language that the client says its user reads, a BCP 47 tag, or empty.
	Lang string `json:"lang,omitempty"`
	// SentAt is the provider's time of the message; zero where the provider has none.
	SentAt time.Time `json:"sent_at,omitzero"`
	// Profile is what the channel knows of the sender for certain; nil when nothing is.
	Profile *Profile `json:"profile,omitempty"`
	// Trace is the W3C trace context (header traceparent) of the request that brought the message, or empty. Whatever the
	// message sets off goes on in it.
	Trace string `json:"trace,omitempty"`
	// Raw is the provider's own form of the message, kept for rules and for people; nil where it adds nothing.
	Raw []byte `json:"raw,omitempty"`
}

// Choice is one thing to press.
type Choice struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// Attachment names a file that the blob store holds. The bytes never travel in a message.
type Attachment struct {
	ID   string `json:"id"` // "a_…"
	Name string `json:"name"`
	// Type is the media type as sniffed by the gateway, never as claimed by a client.
	Type string `json:"type"`
	Size int64  `json:"size"` // bytes
}

// Profile is an authenticated statement about who a customer is. A channel sets it only from a source it verified.
type Profile struct {
	// Subject is the tenant's own stable id of the person.
	Subject string `json:"subject"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`
	Phone   string `json:"phone,omitempty"`
	// Fields are further attributes for rules and agents: plan, balance, region. Values are string, float64 or bool.
	Fields map[string]any `json:"fields,omitempty"`
	// Level says how the person was authenticated, in the tenant's words ("password", "2fa"). Empty: identified only.
	Level string `json:"level,omitempty"`
}

// Part is one thing said to a customer: a bubble. An answer is a list of parts and its parts leave in order.
type Part struct {
	Text string `json:"text,omitempty"`
	// Lang is the language of Text as a BCP 47 tag, where it is known.
	Lang        string       `json:"lang,omitempty"`
	Choices     []Choice     `json:"choices,omitempty"`
	Attachments []Attachment `json:"attachments,omitempty"`
	// Link is a URL that the part offers (a card, a hosted page), http or https only.
	Link string `json:"link,omitempty"`
}

// Empty reports whether p would show nothing.
func (p Part) Empty() bool {
	return p.Text == "" && len(p.Choices) == 0 && len(p.Attachments) == 0 && p.Link == ""
}

// Outbound is one part on its way to a customer over a push channel. A note has no way to become one: the type is built
// only from a committed message.sent event.
type Outbound struct {
	// ID is stable over attempts: an idempotency key for providers that take one.
	ID      string  `json:"id"`
	To      Address `json:"to"`
	Part    Part    `json:"part"`
	By      By      `json:"by"`
	Attempt int     `json:"attempt"` // 1 for the first
	// Retry is set when an earlier attempt may have arrived.
	Retry bool `json:"retry,omitempty"`
}

// Receipt is what a provider says on taking an Outbound.
type Receipt struct {
	// ProviderID is the provider's own id of the message, by which it reports on it later; empty: it has none, or reports
	// by Outbound.ID.
	ProviderID string `json:"provider_id"`
}

// Report is what a provider says later of a message that it took.
type Report struct {
	// To is whom the message was for. Thread is empty where the provider does not know it.
	To Address `json:"to"`
	// ID is the Outbound's, ProviderID that of its Receipt. One is enough; ID goes first.
	ID         string `json:"id,omitempty"`
	ProviderID string `json:"provider_id,omitempty"`
	// Status is Sent, Failed, Delivered or Read.
	Status Status `json:"status"`
	// Code is the provider's short reason, for people: "30003", "mailbox_full". It holds no address and no text.
	Code string `json:"code,omitempty"`
}

// By says who speaks.
type By string

// The speakers.
const (
	ByCustomer By = "customer"
	ByBot      By = "bot"
	ByAgent    By = "agent"
	BySystem   By = "system"
)

// Status is the state of delivery of something that was sent. Statuses only move forward (Before).
type Status string

// The statuses, weakest first. Uncertain: an attempt was made and whether the provider took it is not known. Sent: it did.
// Failed is terminal unless a stronger proof of delivery follows.
const (
	Queued    Status = "queued"
	Uncertain Status = "uncertain"
	Sent      Status = "sent"
	Failed    Status = "failed"
	Delivered Status = "delivered"
	Read      Status = "read"
)

var statusRank = map[Status]int{Queued: 1, Uncertain: 2, Sent: 3, Failed: 4, Delivered: 5, Read: 6}

// Before reports whether next is a step forward from s. Unknown statuses never are.
func (s Status) Before(next Status) bool {
	return statusRank[next] > statusRank[s]
}

// OwnerKind is who holds a conversation.
type OwnerKind string

// The owners. Exactly one holds a conversation at any point of its log.
const (
	OwnerBot      OwnerKind = "bot"
	OwnerQueued   OwnerKind = "queued"
	OwnerAgent    OwnerKind = "agent"
	OwnerCaptured OwnerKind = "captured"
	OwnerClosed   OwnerKind = "closed"
)

// Owner is the owner as a customer may see it.
type Owner struct {
	Kind OwnerKind `json:"kind"`
	// Name is the agent's public name, for OwnerAgent.
	Name string `json:"name,omitempty"`
	// Position is the place in the queue, 1 for the next; 0 when not waiting or not known.
	Position int `json:"position,omitempty"`
}

// VisibleType is the type of a Visible.
type VisibleType string

// What a customer may see, and nothing else can be: there is no value for a note.
const (
	VisibleMessage  VisibleType = "message"
	VisibleOwner    VisibleType = "owner"
	VisibleRating   VisibleType = "rating"
	VisibleClosed   VisibleType = "closed"
	VisibleReopened VisibleType = "reopened"
	VisibleFailed   VisibleType = "delivery_failed"
)

// Visible is one event of a conversation as a customer's client sees it. Clients apply them in order of VSeq and drop
// what they have: the sequence has no gaps.
type Visible struct {
	Conversation string      `json:"conversation"`
	VSeq         uint64      `json:"vseq"`
	At           time.Time   `json:"at"`
	Type         VisibleType `json:"type"`
	// ID is the message's id ("m_…") for VisibleMessage and VisibleFailed.
	ID string `json:"id,omitempty"`
	// ClientID is the Inbound.ID of the customer's own message.
	ClientID string `json:"client_id,omitempty"`
	By       By     `json:"by,omitempty"`
	// Name is the agent's public name when By is ByAgent.
	Name string `json:"name,omitempty"`
	// Turn is the id of the turn that a bot part answers.
	Turn  string `json:"turn,omitempty"`
	Part  *Part  `json:"part,omitempty"`
	Owner *Owner `json:"owner,omitempty"`
}

// Observation is something seen about a customer that is no message: unsequenced, lossy, never in the way of a turn.
type Observation struct {
	From Address
	// Typing is true while the customer types. It lapses by itself after a few seconds.
	Typing bool
	// Read is the highest visible sequence that the customer has seen, 0 for none, in conversation ReadIn.
	Read   uint64
	ReadIn string
}
