package conversation

import (
	"encoding/json"
	"fmt"

	"turnout/gateway/jsonenc"
)

// packed is the first byte of what AppendPacked writes: the version of the form and of its dictionary. No JSON begins
// with it.
const packed = 1

// AppendPacked appends e to dst in the form in which it is stored: that of Append, packed. It allocates nothing when dst
// has room. On an error dst is returned as it was.
func (e *Event) AppendPacked(dst []byte) ([]byte, error) {
	w := jsonenc.Packed(append(dst, packed), dictionary)
	b, err := e.encode(&w)
	if err != nil {
		return dst, err
	}
	return b, nil
}

// AppendPacked appends s to dst in the form in which it is stored: that of Append, packed. It allocates nothing when dst
// has room and s no more than a few timers. On an error dst is returned as it was.
func (s *State) AppendPacked(dst []byte) ([]byte, error) {
	w := jsonenc.Packed(append(dst, packed), dictionary)
	b, err := s.encode(&w)
	if err != nil {
		return dst, err
	}
	return b, nil
}

// DecodePacked reads what Event.AppendPacked wrote, by this version or the one before. The event shares nothing with b.
func DecodePacked(b []byte) (Event, error) { return Format(0).decodePacked(b) }

func (f Format) decodePacked(b []byte) (Event, error) {
	text, err := unpack(b)
	if err != nil {
		return Event{}, err
	}
	return f.Decode(text)
}

// DecodeLogged reads an event as it stands in a log: packed or as JSON. Audit entries hold digests of events in the form in
// which they were logged first, so a log that has moved to a store of another kind keeps that form.
func DecodeLogged(b []byte) (Event, error) { return Format(0).DecodeLogged(b) }

// DecodeLogged is the function of that name, for the versions that f reads.
func (f Format) DecodeLogged(b []byte) (Event, error) {
	if len(b) > 0 && b[0] == packed {
		return f.decodePacked(b)
	}
	return f.Decode(b)
}

// DecodePackedState reads what State.AppendPacked wrote. The state shares nothing with b.
func DecodePackedState(b []byte) (*State, error) {
	text, err := unpack(b)
	if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return s, nil
}

func unpack(b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != packed {
		return nil, fmt.Errorf("%w: not packed by it", ErrEncoding)
	}
	text, err := jsonenc.Unpack(make([]byte, 0, 3*len(b)), b[1:], dictionary)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return text, nil
}

// dictionary holds the keys of events and states and the values that come often. Words are only ever added, at the end:
// TestDictionary holds it to what stores have been written with.
var dictionary = jsonenc.NewDictionary(
	// keys
	"v", "seq", "vseq", "at", "type", "epoch", "op", "actor", "data", "n", "kind", "id", "in", "from", "channel", "address",
	"thread", "text", "quoted", "choice", "label", "attachments", "name", "size", "lang", "sent_at", "profile", "subject",
	"email", "phone", "fields", "level", "trace", "raw", "rules", "scores", "memory", "model", "inputs", "held",
	"human_request", "frustration", "repeat", "bot_fallback", "bot_repeat", "l", "g", "c", "b", "f", "a", "t",
	"by", "part", "until", "reason", "choices", "link", "turn", "rule", "rating", "status", "code", "note", "to", "attempt",
	"bot", "answer", "final", "phase", "matched", "shadow", "failed", "tags", "notify", "must_reach_human", "withheld",
	"confidence", "intent", "fallback", "handoff", "end", "sources", "queue", "priority", "skills", "in_flight", "position",
	"agent", "contact", "previous", "owner", "consumed", "pending", "first", "last", "count", "orphan", "since",
	"human_involved", "returns", "handoffs", "touched", "offer", "snoozed", "held_in", "held_out", "turns", "timers",
	"opened_at", "active_at", "closed_at", "resolver",
	// values
	"message.received", "message.held", "message.sent", "message.status", "note.added", "turn.started", "turn.discarded",
	"turn.failed", "decision.made", "handoff.made", "owner.changed", "offer.made", "offer.lapsed", "offer.declined",
	"timer.set", "timer.fired", "profile.changed", "contact.linked", "conversation.opened", "conversation.closed",
	"conversation.reopened", "conversation.erased",
	"customer", "supervisor", "admin", "system", "action", "media", "location", "order", "human", "reaction", "edit",
	"revoke", "join", "queued", "uncertain", "sent", "delivered", "read", "captured", "closed", "rejected", "undone",
	"cancelled", "discarded", "pass", "replace", "say", "tag", "deny", "inbound",
	"builtin.human_request", "builtin.talk_to_a_person", "builtin.bot_request", "builtin.bot_down", "builtin.locked_rule_failed",
	"idle", "snooze", "claim", "transfer", "escalate", "release", "resolve", "capture", "opened", "reopen", "auto_return",
	"resolved", "bot_end", "owner_changed", "lost", "timeout", "breaker_open", "budget", "gave_up", "en", "es", "de", "fr", "pt", "it",
	"route", "heard_at",
)
