// Package audit makes the entries that prove what was decided. Each conversation has a chain of its own: an entry holds
// the hash of the one before, ids, versions and keyed digests, never text, so that the chain still verifies after the
// content's keys were destroyed.
//
// A store appends the entries in the commit of their effect, by Next: a decision without its entry cannot be committed.
package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"turnout/gateway/conversation"
)

// Head is the end of a chain: how many entries it has and the hash of the last (zeroes for none).
type Head struct {
	N    uint64
	Hash [sha256.Size]byte
}

// Entry is one link of a chain. Its canonical form is its JSON encoding, which Bytes holds when it was read back.
type Entry struct {
	Chain string `json:"chain"` // the conversation, or the tenant's name for administration
	N     uint64 `json:"n"`     // 1, 2, 3 …
	Prev  string `json:"prev"`  // hash of entry n-1, hex
	At    int64  `json:"at"`    // milliseconds since 1970
	// Seq and Type are those of the event that the entry stands for, Kind narrows the type (a decision's kind, the
	// reason of a change of owner, a verb of administration).
	Seq   uint64 `json:"seq,omitempty"`
	Type  string `json:"type"`
	Kind  string `json:"kind,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	Op    string `json:"op"`
	Actor string `json:"actor"`
	Rule  string `json:"rule,omitempty"`
	Rules int    `json:"rules,omitempty"` // version of the rules
	Count int    `json:"count,omitempty"` // of what is counted and not chained one by one
	// Digest is a MAC of the event under a key that is destroyed with the conversation's content.
	Digest string `json:"digest"`
}

// Link is an entry with its canonical bytes and the head of the chain after it.
type Link struct {
	Entry Entry
	Bytes []byte
	Head  Head
}

// Event is a committed event with its encoding as it is logged: the packed form, or the JSON that says the same.
type Event struct {
	*conversation.Event
	Encoded []byte
}

// Next returns the links that events add to a chain, in order. mac digests an encoded event. The events are those of whole
// commits: what a decision causes stands in the commit of the decision.
func Next(chain string, head Head, events []Event, mac func([]byte) []byte) ([]Link, error) {
	var links []Link
	var decided handoff
	for _, e := range events {
		entry, ok := entryOf(e.Event)
		switch d := e.Data.(type) {
		case *conversation.Decision:
			if d.Kind == conversation.DecisionHandoff {
				decided = handoff{op: e.Op, rule: d.Rule}
			}
		case *conversation.Handoff:
			ok = decided != handoff{op: e.Op, rule: d.Rule}
			decided = handoff{}
		}
		if !ok {
			continue
		}
		entry.Digest = hexOf(mac(e.Encoded))
		link, err := Append(chain, head, entry)
		if err != nil {
			return nil, err
		}
		links = append(links, link)
		head = link.Head
	}
	return links, nil
}

// handoff is a decision whose effect, the diversion, is still to come in the same commit. It stands for one diversion: a
// diversion that no decision of its rule precedes is a decision of its own, so that none goes without an entry.
type handoff struct{ op, rule string }

// Append links one entry to a chain; it fills Chain, N and Prev.
func Append(chain string, head Head, e Entry) (Link, error) {
	e.Chain, e.N, e.Prev = chain, head.N+1, hexOf(head.Hash[:])
	for _, s := range []*string{&e.Type, &e.Kind, &e.Op, &e.Actor, &e.Rule, &e.Digest} {
		*s = strings.ToValidUTF8(*s, "\ufffd") // JSON would replace it, and what is read back must encode to the same bytes
	}
	b, err := e.Append(make([]byte, 0, entrySize))
	if err != nil {
		return Link{}, err
	}
	return Link{Entry: e, Bytes: b, Head: Head{N: e.N, Hash: sha256.Sum256(b)}}, nil
}

// entryOf says which events are decisions: everything that a rule, a person or the machine chose, one entry each. The
// handoff event and the change of owner that a decision of kind handoff causes are its effect, not another decision; for a
// handoff event Next knows whether such a decision precedes it.
func entryOf(e *conversation.Event) (Entry, bool) {
	en := Entry{At: e.At, Seq: e.Seq, Type: string(e.Type), Epoch: e.Epoch.N, Op: e.Op, Actor: string(e.Actor.Kind)}
	if e.Actor.ID != "" {
		en.Actor += ":" + e.Actor.ID
	}
	switch d := e.Data.(type) {
	case *conversation.Received:
		if !d.Held {
			return Entry{}, false
		}
		en.Kind = "released" // somebody let a held message through
	case *conversation.Decision:
		en.Kind, en.Rule, en.Rules = string(d.Kind), d.Rule, d.Rules
	case *conversation.Handoff:
		en.Rule = d.Rule
	case *conversation.OwnerMoved:
		if d.Reason == conversation.ReasonHandoff {
			return Entry{}, false
		}
		en.Kind = d.Reason
	case *conversation.TurnBroken:
		if !d.Final {
			return Entry{}, false
		}
		en.Kind = d.Kind
	case *conversation.TurnDropped:
		en.Kind = d.Reason
	case *conversation.StatusChanged:
		switch {
		case d.Status == conversation.StatusRejected, d.Status == conversation.StatusUndone, d.Status == conversation.StatusDiscarded:
			en.Kind = string(d.Status)
		case d.Code == conversation.CodeResent:
			en.Kind = d.Code
		default:
			return Entry{}, false
		}
	case *conversation.Profiled:
		if d.Account != nil {
			en.Kind = "account" // the tenant's own system was asked
		}
	case *conversation.Offered, *conversation.Held, *conversation.Begun, *conversation.Wiped, *conversation.Note:
	default:
		switch e.Type {
		case conversation.OfferLapsed, conversation.OfferDeclined:
		default:
			return Entry{}, false
		}
	}
	return en, true
}

// Verify checks that links, in order, continue the chain after head, and returns the head after them. The error names the
// first entry that does not fit.
func Verify(chain string, head Head, entries [][]byte) (Head, error) {
	var canon []byte
	for i, b := range entries {
		e, err := decodeEntry(b)
		if err != nil {
			return head, fmt.Errorf("reading entry %d of %s: %w", head.N+1, chain, err)
		}
		switch {
		case e.Chain != chain:
			return head, fmt.Errorf("entry %d of %s belongs to chain %q", head.N+1, chain, e.Chain)
		case e.N != head.N+1:
			return head, fmt.Errorf("entry %d of %s has number %d", head.N+1, chain, e.N)
		case e.Prev != hexOf(head.Hash[:]):
			return head, fmt.Errorf("entry %d of %s does not follow the one before", e.N, chain)
		}
		if canon, err = e.Append(canon[:0]); err != nil || !bytes.Equal(canon, b) {
			return head, fmt.Errorf("entry %d of %s is not in canonical form", e.N, chain)
		}
		head = Head{N: e.N, Hash: sha256.Sum256(entries[i])}
	}
	return head, nil
}
