// Package fault names the points of the way of a turn at which something can go wrong, so that a test can make it go wrong
// there. The injector is a value in the options of each part; the zero value does nothing.
package fault

import "context"

// Injector is called at each named point. What it returns is the error of that step; it may also delay, panic or kill the
// process.
type Injector func(ctx context.Context, point Point) error

// Hit calls the injector, if there is one.
func (i Injector) Hit(ctx context.Context, p Point) error {
	if i == nil {
		return nil
	}
	return i(ctx, p)
}

// Point is a named step.
type Point string

// The points, in the order in which a turn passes them.
const (
	AcceptLoaded   Point = "accept.loaded"   // the snapshot is loaded, nothing decided
	AcceptDecided  Point = "accept.decided"  // decided, nothing written
	CommitPrepared Point = "commit.prepared" // the batch is built, not written
	CommitDurable  Point = "commit.durable"  // durable, nobody told
	AcceptDone     Point = "accept.done"     // told, not answered
	TurnTaken      Point = "turn.taken"      // the lease is durable, the bot not called
	BotCalled      Point = "bot.called"      // the bot has answered, nothing judged
	AnswerJudged   Point = "answer.judged"   // the rules have judged, nothing written
	AnswerDone     Point = "answer.done"     // the answer is durable, nobody told
	ClaimReserved  Point = "claim.reserved"  // capacity is reserved, the owner unchanged
	ActDecided     Point = "act.decided"     // an agent's command is decided, nothing written
	TimerDue       Point = "timer.due"       // a timer is due, nothing done
)

// The points that a message for a push channel passes, in their order.
const (
	SendLeased  Point = "send.leased"  // the attempt is durable, nothing sent
	SendMade    Point = "send.made"    // the provider has answered, nothing written
	SendSettled Point = "send.settled" // the attempt's end is durable, nobody told
)

// The points of a checkpoint.
const (
	CheckpointSealed Point = "checkpoint.sealed" // durable, no copy made
	CheckpointSent   Point = "checkpoint.sent"   // the copy is outside, which nobody has written down
)

// The points of an erasure and of retention.
const (
	ErasureJournaled Point = "erasure.journaled" // the request is durable and complete, nothing destroyed
	ErasureWiped     Point = "erasure.wiped"     // one of its conversations is destroyed
	ErasureErased    Point = "erasure.erased"    // all are, the files not scrubbed
	ErasureScrubbed  Point = "erasure.scrubbed"  // they are, which nobody has written down
	RetentionExpired Point = "retention.expired" // a conversation's time was over and it is destroyed
)

// The points of archiving a conversation.
const (
	ArchiveBegun    Point = "archive.begun"    // the segments that are being made are written down, none is stored
	ArchiveStored   Point = "archive.stored"   // they are durable, and their rows are still there
	ArchiveRecorded Point = "archive.recorded" // their rows are gone, which nobody has counted
)

// The points of a version of a document.
const (
	VersionBuilt   Point = "version.built"   // it is to be written: nothing of it is durable
	VersionDurable Point = "version.durable" // it is, and nobody was told
)

// Points lists those of a turn.
func Points() []Point {
	return []Point{
		AcceptLoaded, AcceptDecided, CommitPrepared, CommitDurable, AcceptDone, TurnTaken, BotCalled, AnswerJudged,
		AnswerDone, ClaimReserved, ActDecided, TimerDue,
	}
}

// Erasures lists those of an erasure.
func Erasures() []Point {
	return []Point{ErasureJournaled, ErasureWiped, ErasureErased, ErasureScrubbed}
}

// Archives lists those of archiving a conversation.
func Archives() []Point { return []Point{ArchiveBegun, ArchiveStored, ArchiveRecorded} }

// Sends lists those of a message for a push channel.
func Sends() []Point { return []Point{SendLeased, SendMade, SendSettled} }
