// Package adapters is the contract of the edge: channels that customers write on, and bots that already exist.
//
// A channel takes a customer's message off the wire and hands it to Inbox; what the customer may then see it reads from
// Timeline (pull channels: the client holds a connection or asks again) or gets handed as Outbound (push channels: the
// add-on Sender). A bot answers one turn. Both are built from a Spec by a constructor in a Registry, a value that the
// composition root fills from the visible table in adapters/builtin.
//
// Extras are add-on interfaces, asserted once at wiring, never per message.
package adapters

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/message"
)

// Channel is one configured customer channel. A channel holds no conversation state: everything it needs to survive a
// restart is in Inbox and Timeline.
type Channel interface {
	// Routes lists the HTTP endpoints that the channel serves. The server mounts them once, before it listens.
	Routes() []Route
	// Close ends the channel's streams and background work. It is called once, after the listener stopped taking
	// requests, and works after a failed construction of a neighbour.
	Close() error
}

// Route is an endpoint of a channel. Path is in the form of fasthttp/router ("/v1/web/{channel}/messages"). The handler
// runs behind the server's limits and panic recovery; it must copy whatever it keeps of the request.
type Route struct {
	Method  string
	Path    string
	Handler fasthttp.RequestHandler
	// MaxBody is the largest request body in bytes that the endpoint needs; 0 means the server's own limit. With a limit of
	// its own the server refuses what is declared larger and leaves the body a stream (RequestBodyStream): the handler
	// counts what it reads, because a body need not declare its length.
	MaxBody int64
	// Person says that the endpoint does nothing but ask for a person: limits leave more room for it.
	Person bool
	// Summary is one sentence for the API's document. Pattern is the path in it; the server fills it in with {channel} in
	// the place of the channel's key.
	Summary string
	Pattern string
	// Body is a value of the type of JSON that the endpoint reads, Answers of what it writes, by status; a nil value is an
	// answer without a body. Both are for the API's document. Where they say nothing it only says that there is the endpoint.
	Body    any
	Answers map[int]any
}

// OneOf is a value in Route.Answers for a status with answers of several types.
type OneOf []any

// Sender is the add-on of push channels: those that speak to a provider. Pull channels (web, request-reply fronts) do
// not have it: their committed log is the delivery.
type Sender interface {
	// Send makes one attempt. The attempt was made durable before the call. nil means that the provider has taken the
	// message; any other error should be a *SendError, and one that is not counts as Uncertain.
	Send(ctx context.Context, out message.Outbound) (message.Receipt, error)
	// Policy says how the outbox may send. It is asked once, at wiring.
	Policy() SendPolicy
}

// SendPolicy is what the outbox has to know of a provider. Zero values are the outbox's defaults.
type SendPolicy struct {
	// Idempotent says that the provider takes an Outbound.ID once, however often it is sent. Without it a send of unknown
	// result is uncertain: a bot's text is sent once more and marked, an agent's is put to the agent.
	Idempotent bool
	// Timeout bounds one attempt. Concurrency is how many conversations are sent to at once.
	Timeout     time.Duration
	Concurrency int
	// PerSecond and Burst pace the channel, RecipientPerSecond and RecipientBurst each recipient; 0: no limit.
	PerSecond          float64
	Burst              int
	RecipientPerSecond float64
	RecipientBurst     int
	// Window is how long after a customer's last message the provider takes free text for them; 0: always. People are told, and
	// kept from writing what could not leave.
	Window time.Duration
	// Attempts and MaxAge bound the tries of one message; what does not leave within them becomes a dead letter.
	Attempts int
	MaxAge   time.Duration
}

// Member is the add-on of a channel that shares a connection with others: one app of a provider, with one URL for what it
// posts, carries the numbers, pages or accounts of many tenants.
type Member interface {
	// Membership names the connection, and what of it is the channel's own, in the provider's terms: the id of a number. No two
	// channels have the same.
	Membership() (connection, number string)
}

// Deliveries is where a push channel hands in what its provider reports later.
type Deliveries interface {
	// Report records a step in the delivery of a message. A repeat, and a step back, change nothing and are nil. After nil
	// it may be acknowledged. Errors: ErrNotFound (no message of this channel and recipient is known by these ids: a
	// report may overtake the send that it is about, so it may be known later), ErrUnavailable, ErrUnknownOutcome,
	// *RefusedError.
	Report(ctx context.Context, r message.Report) error
}

// Inbox is where a channel hands in what customers do.
type Inbox interface {
	// Accept makes one message durable, at most once per (channel, address, id), and returns after that. Only after nil
	// may a channel acknowledge. It never waits for a bot. A repeat returns the first receipt with Dup set.
	// Errors: ErrUnavailable (nothing was kept: answer 503 and let the client retry), ErrUnknownOutcome (it may have
	// been kept: the same, the id makes the retry safe), *RefusedError (a 4xx: retrying is no use).
	Accept(ctx context.Context, in message.Inbound) (Receipt, error)
	// Identify adds an authenticated profile to the sender's open conversation, or keeps it for the next one.
	Identify(ctx context.Context, from message.Address, p message.Profile) error
	// Observe reports typing and reading. It is lossy and does not block.
	Observe(o message.Observation)
}

// Receipt is proof that a message is in the log.
type Receipt struct {
	Conversation string
	Message      string // "m_…"
	VSeq         uint64 // 0: not visible (held, or not a message that shows)
	Dup          bool
	Owner        message.Owner
	// Trace spares Outcome a read of what Accept just wrote. It is opaque to channels, and may be nil.
	Trace any
}

// Timeline is what a pull channel reads: only durable events, only those that a customer may see.
type Timeline interface {
	// Outcome waits until the message of r has an outcome and returns it; a message that already has one returns at
	// once with the same. If ctx ends first it returns ctx's error, and the outcome can be asked for again later.
	Outcome(ctx context.Context, r Receipt) (Outcome, error)
	// Read returns, in order, what address from may see after the cursor, at most limit events. An empty cursor means
	// the start of the open conversation. A cursor of somebody else's conversation, or of none, is ErrNotFound.
	Read(ctx context.Context, from message.Address, after Cursor, limit int) (Page, error)
	// Watch subscribes to one address. wake is called after something new became readable, and after a signal, perhaps
	// once for several of them and perhaps for nothing. It must not block, nor call the Watch. The caller must Close it.
	Watch(from message.Address, wake func()) Watch
}

// Cursor is a client's place in its conversation: "<conversation id>.<vseq>". Opaque to clients.
type Cursor string

// Outcome is what became of a customer's message.
type Outcome struct {
	Conversation string
	// MergedInto is the client id of the last message of the burst, which carries the answer; empty otherwise.
	MergedInto string
	Owner      message.Owner
	// Messages are the visible messages that the turn led to, in order, without the customer's own.
	Messages []message.Visible
	Cursor   Cursor
}

// Page is a stretch of a conversation.
type Page struct {
	Conversation string // empty: the address has none yet
	Events       []message.Visible
	Next         Cursor
	Owner        message.Owner
	// More is set when limit cut the page.
	More bool
	// End is the cursor of the newest event there is: a client that has it has caught up.
	End Cursor
}

// Watch tells a stream when to look again.
type Watch interface {
	// Take returns what has come since the last call: whether something new became readable, and what has no sequence: the
	// other side typing, a new position. Slow readers lose some of the latter.
	Take() (news bool, signals []Signal)
	// Close ends the calls of wake; one that is under way may still end after it.
	Close()
}

// Signal is an unsequenced frame.
type Signal struct {
	Typing   bool
	By       message.By
	Name     string
	Position int // 0: not about the position
	// Read is the highest vseq that the other side has read; 0: not about reading.
	Read uint64
}

// Blobs keeps attachments. Bytes are sealed under the key of the sender's conversation.
type Blobs interface {
	// Put stores at most max bytes of r for the sender's open conversation, opening one if there is none, and returns
	// the attachment with its sniffed type. More than max bytes is a *RefusedError with code too_large.
	Put(ctx context.Context, from message.Address, name string, r io.Reader, max int64) (message.Attachment, error)
	// Get opens an attachment that the address may see. Unknown and foreign ids are both ErrNotFound.
	Get(ctx context.Context, from message.Address, id string) (message.Attachment, io.ReadCloser, error)
}

// Errors of Inbox, Timeline and Blobs.
var (
	ErrUnavailable    = errors.New("the store cannot write now")
	ErrUnknownOutcome = errors.New("the outcome is not known")
	ErrNotFound       = errors.New("not found")
)

// RefusedError says why a request of a client was refused: for good, or for RetryAfter. Code is one of the problem codes of the API; Detail
// is a sentence that says what is wrong and how to mend it, free of the customer's own text.
type RefusedError struct {
	Code   string
	Detail string
	// RetryAfter is when the same request may work, for rate_limited; 0: the answer's own default, or never.
	RetryAfter time.Duration
}

func (e *RefusedError) Error() string { return e.Code + ": " + e.Detail }

// Bot answers turns. One call runs at a time per conversation.
type Bot interface {
	// Reply puts one turn to the bot and returns its whole answer. It makes one attempt and honours ctx's deadline.
	// The same turn id may be put twice after a crash. Any error should be a *BotError; of the answer beside one only Usage
	// counts.
	Reply(ctx context.Context, t Turn) (Answer, error)
	// Close releases connections. Running calls may fail.
	Close() error
}

// Prompt is the add-on of a bot whose Reply returns at once when its context ends, whatever the bot does. The caller then
// needs no goroutine beside the call.
type Prompt interface {
	Prompt()
}

// Reacher is the add-on of a bot or a channel that speaks to a server: it can tell whether the server is there, without
// asking it anything.
type Reacher interface {
	// Reach connects, under the same guard as a call and with TLS where a call has it, and hangs up. The error says what is
	// wrong without any secret; it begins with the path of the field that it is about, where there is one ("url: …").
	Reach(ctx context.Context) error
}

// Rememberer is the add-on of a bot whose server keeps nothing of a conversation: every Turn brings what was said before.
type Rememberer interface {
	// Remembers says how much of it. It is asked once, at wiring.
	Remembers() Memory
}

// Memory bounds what a Turn brings of the conversation before it: the last Messages of it, as far as their texts have no
// more than Bytes together. 0 of either: nothing.
type Memory struct {
	Messages, Bytes int
}

// Said is one message of a conversation as far as its customer has seen or written it. Notes, answers that were withheld and messages that
// were not delivered are none.
type Said struct {
	By          message.By
	Text        string
	Attachments []message.Attachment
}

// Turn is what a bot is asked: one customer message or a burst of them.
type Turn struct {
	ID           string // "t_…", the idempotency key of the call
	Tenant       string
	Conversation string
	// From is the customer's address; Contact the tenant's own id of the person when it is authenticated.
	From    message.Address
	Contact string
	// Messages are the messages of the turn in order; never empty.
	Messages []message.Inbound
	Lang     string
	Profile  *message.Profile
	// Attempt is 1 for the first call; a higher one is a repeat after a crash, under the same ID.
	Attempt int
	// History is what was said before, the oldest first, for a Rememberer. It comes from the log, is the same however often
	// the turn is put, and holds nothing of Messages. Cut says that there was more.
	History []Said
	Cut     bool
}

// Answer is what a bot said. Fields that a bot's protocol does not carry stay nil or empty: absent is not zero.
type Answer struct {
	Parts      []message.Part
	Confidence *float64 // 0..1
	Intent     string
	// Fallback is true when the bot itself says that it did not understand.
	Fallback *bool
	// Handoff is set when the bot asks for a person.
	Handoff *HandoffRequest
	// End is set when the bot regards the conversation as finished.
	End     bool
	Sources []Source
	// Usage is what the call cost; nil where the bot's protocol does not say.
	Usage *Usage
	// Raw is the response body, at most 64 KiB, for rules and people.
	Raw []byte
}

// Usage is what a call cost, in tokens: of what was asked and of what was answered.
type Usage struct {
	Prompt, Answer int64
}

// HandoffRequest is a bot's wish to hand over.
type HandoffRequest struct {
	Reason string
	Queue  string // a wish, used only if the tenant has that queue
}

// Source is something that the bot says its answer rests on.
type Source struct {
	Title string
	URL   string
}

// Directory is the tenant's own system that knows its customers: a CRM, a shop, a bank's core. It is asked by what a channel
// verified of a customer, and by nothing else.
type Directory interface {
	// Asks names whom a Look for p would ask for: the same for the same question, and for no other. ok is false when p holds
	// none of the identities that the directory goes by; it is not asked then.
	Asks(p *message.Profile) (question string, ok bool)
	// Look asks once. What the system does not know is an Account with Unknown set, not an error. An error should be a
	// *LookError; its text holds nothing of the customer, of the answer, and no secret.
	Look(ctx context.Context, p *message.Profile) (message.Account, error)
	// Close ends what runs. It is called once.
	Close() error
}

// Deps is what the gateway gives to every adapter it builds.
type Deps struct {
	// Tenant and Key name the instance: Key is the channel's public key or the bot's name.
	Tenant string
	Key    string

	Inbox      Inbox      // channels only
	Timeline   Timeline   // channels only
	Blobs      Blobs      // channels only
	Deliveries Deliveries // push channels only

	// Limits are the node's own: no setting of an instance goes beyond them.
	Limits Limits

	// Secret resolves a reference of the configuration.
	Secret func(SecretRef) (Secret, error)
	// Derive returns a 32-byte key for the named purpose, bound to this instance and stable over restarts.
	Derive func(purpose string) []byte
	// Dial opens outbound connections, guarded against addresses that the operator did not allow.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Now  func() time.Time
	// NewID returns n random bytes for ids; tests freeze it.
	NewID func(n int) []byte
	Log   *slog.Logger
}

// Limits are upper bounds for what customers send. The zero value is no bound.
type Limits struct {
	TextBytes int
	// AttachmentBytes bounds one file; -1: there are no files.
	AttachmentBytes int64
}

// Spec is the raw section of a resource. Decode fills v (a pointer to a struct with yaml tags) strictly: an unknown
// field is an error with its place.
type Spec interface {
	Decode(v any) error
}
