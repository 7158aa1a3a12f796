// Package form has the forms of rows that every store writes alike, so that what one has written is what another can take
// over. Where a row lies, and under which key it is sealed, is the store's own.
package form

import (
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Out is a row of the outbox.
type Out struct {
	Row store.OutboxRow `json:"row"`
	// Attempt counts the attempts, Past those that are no tries (before a person put the row back, and of NoTry), Unsure
	// those without a result.
	Attempt int `json:"attempt,omitempty"`
	Past    int `json:"past,omitempty"`
	Unsure  int `json:"unsure,omitempty"`
	// Token is the attempt's that has begun and has no result.
	Token store.Token `json:"token,omitempty"`

	// Place is a number that rises in the order in which rows leave: the sequence of the state that the row came with in the
	// upper bits. It is part of the row's key.
	Place uint64 `json:"-"`
}

// PlaceBits is the room in a place for rows of one state.
const PlaceBits = 16

// Leased is the row as an attempt of its conversation has it.
func (o *Out) Leased(r store.Ref) store.LeasedRow {
	out := store.LeasedRow{Ref: r, Row: o.Row, Attempt: o.Attempt, Tries: o.Attempt - o.Past, Unsure: o.Unsure, Token: o.Token}
	out.Row.Out.Attempt, out.Row.Out.Retry = o.Attempt, o.Unsure > 0
	return out
}

// Lapsed reports whether the row is the bot's and its term is over.
func (o *Out) Lapsed(s *conversation.State) bool {
	return o.Row.Out.By == message.ByBot && o.Row.Epoch != s.Epoch
}

// Dead is a dead letter.
type Dead struct {
	Row     store.OutboxRow `json:"row"`
	Code    string          `json:"code"`
	Attempt int             `json:"attempt"`
	Unsure  int             `json:"unsure,omitempty"`
	At      int64           `json:"at"`
}
