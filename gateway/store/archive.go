package store

import (
	"context"
	"errors"
)

// ErrArchive: a part of the conversation that was archived is damaged or missing. Others are not concerned, and nothing but
// mending the file helps.
var ErrArchive = errors.New("an archived part of the conversation is damaged or missing")

// Archive is what a store has that can move the rows of closed conversations into files: the events of the log and the
// entries of the audit chain, compressed and sealed. Every reader of Conversations and Audit finds them there, in their
// order, and a conversation goes on behind them as if they were rows. What is not moved is what a conversation is found
// and gone on with by: its state, its keys, its access paths, the ids of its messages.
type Archive interface {
	// Closed lists conversations of a tenant that have been closed, and still, since an instant (ms) or longer and have
	// rows to move, the longest first, at most limit. Erased ones are among them: their chains stay.
	Closed(ctx context.Context, t Tenant, since int64, limit int) ([]Ref, error)
	// Archive moves the rows of a conversation. The files are durable, and were read back, before one step takes the rows
	// away; whoever is interrupted is continued by the next call, and of several at once one wins. ErrStale: it is open, or
	// has moved on meanwhile.
	Archive(ctx context.Context, r Ref) (Archived, error)
}

// Archived says what one call of Archive has moved.
type Archived struct {
	Events, Entries int
	// Before is what was moved as it lay in rows, After the files that it is in now, in bytes.
	Before, After int64
}
