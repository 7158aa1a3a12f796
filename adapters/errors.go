package adapters

import (
	"fmt"
	"time"
)

// SendClass says what a failed send asks for.
type SendClass string

// The classes of failed sends.
const (
	// SendPermanent: the provider refused this message for good. It is also the meaning of an empty class.
	SendPermanent SendClass = "permanent"
	// SendRetry: the same send may work later.
	SendRetry SendClass = "retry"
	// SendWindow: the provider takes no free text for this recipient now (its reply window is closed); people must find
	// another way.
	SendWindow SendClass = "window"
	// SendOperator: no message of the channel will be taken until an operator mends something: credentials, payment, an
	// address that is not there. The row waits, the channel rests, and an alarm is raised.
	SendOperator SendClass = "operator"
)

// SendError is the result of a failed send to a provider. Its text holds no address, no message text and no secret.
type SendError struct {
	// Code is the provider's or the transport's short code, for operators: "131047", "timeout".
	Code  string
	Class SendClass
	// RetryAfter is when the same send may work at the earliest (0: the outbox's own backoff). With Channel the provider
	// means all sends of the channel, not only this one.
	RetryAfter time.Duration
	Channel    bool
	// Uncertain says that the provider may have taken the message all the same. It goes before the class.
	Uncertain bool
	Err       error
}

func (e *SendError) Error() string {
	if e.Err == nil {
		return "sending: " + e.Code
	}
	return fmt.Sprintf("sending: %s: %v", e.Code, e.Err)
}

func (e *SendError) Unwrap() error { return e.Err }

// BotErrorKind says how a bot call failed.
type BotErrorKind string

// The ways in which a bot call fails.
const (
	BotTimeout     BotErrorKind = "timeout"     // no whole answer before the deadline
	BotUnreachable BotErrorKind = "unreachable" // no connection, or it broke before a response
	BotStatus      BotErrorKind = "status"      // an HTTP status that is no success
	BotGarbage     BotErrorKind = "garbage"     // a response that is not what the protocol says
	BotTooLarge    BotErrorKind = "too_large"   // a response over the limit
	BotRefused     BotErrorKind = "refused"     // the address is not allowed (SSRF guard)
)

// BotError is the result of a failed bot call. Its text holds no message text and no secret.
type BotError struct {
	Kind   BotErrorKind
	Status int // HTTP status, for BotStatus
	// RetryAfter is when the bot may be called again, where it said so; 0: it did not.
	RetryAfter time.Duration
	Err        error
}

func (e *BotError) Error() string {
	switch {
	case e.Status != 0:
		return fmt.Sprintf("bot answered status %d", e.Status)
	case e.Err != nil:
		return fmt.Sprintf("bot %s: %v", e.Kind, e.Err)
	}
	return "bot " + string(e.Kind)
}

func (e *BotError) Unwrap() error { return e.Err }

// LookErrorKind says how a look into a directory failed.
type LookErrorKind string

// The ways in which a look fails.
const (
	LookTimeout     LookErrorKind = "timeout"     // no whole answer before the deadline
	LookUnreachable LookErrorKind = "unreachable" // no connection, or it broke before a response
	LookStatus      LookErrorKind = "status"      // an HTTP status that says neither what there is nor that there is nothing
	LookGarbage     LookErrorKind = "garbage"     // a response that is not what the mapping reads
	LookTooLarge    LookErrorKind = "too_large"   // a response over the limit
	LookRefused     LookErrorKind = "refused"     // the address is not allowed (SSRF guard)
)

// LookError is the result of a failed look into a directory.
type LookError struct {
	Kind   LookErrorKind
	Status int // HTTP status, for LookStatus
	Err    error
}

func (e *LookError) Error() string {
	switch {
	case e.Status != 0:
		return fmt.Sprintf("the directory answered status %d", e.Status)
	case e.Err != nil:
		return fmt.Sprintf("directory %s: %v", e.Kind, e.Err)
	}
	return "directory " + string(e.Kind)
}

func (e *LookError) Unwrap() error { return e.Err }
