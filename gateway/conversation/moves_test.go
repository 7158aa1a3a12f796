package conversation_test

import (
	"math/bits"
	"slices"

	"pgregory.net/rapid"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

type move func(*world) []act

func times(n int, moves ...move) []move { return slices.Repeat(moves, n) }

// moves are all operations, each as often as it is listed.
var moves = slices.Concat(
	times(3, write, startTurn, answer, askForPerson, claim, reply, sweep),
	times(2, divert, release, failTurn, heldBack, review, settleSend, resolve, closeAlone, reopen, offer, endOffer, snooze),
	times(1, retake, react, note, say, pass, autoRelease, capture, uncapture, setTimer, status, decide, about, wipe),
)

// fitting are the operations that an owner is there for. Most operations are drawn from them: with all alike, a
// conversation would hardly ever be the bot's for long enough to see a turn through.
var fitting = map[message.OwnerKind][]move{
	message.OwnerBot:      slices.Concat(times(3, write, react), times(6, startTurn, answer), times(1, failTurn, retake, heldBack, review, divert, decide)),
	message.OwnerQueued:   {claim, claim, offer, endOffer, endOffer, autoRelease, capture, write, answer, divert},
	message.OwnerAgent:    {reply, reply, reply, sweep, sweep, settleSend, settleSend, release, release, pass, snooze, note, resolve, write, divert},
	message.OwnerCaptured: {uncapture, autoRelease, claim, write, pass},
	message.OwnerClosed:   {reopen},
}

// draw draws the next operation. What does not exist yet is opened first, nearly always.
func (w *world) draw() []act {
	if w.model.owner == "" {
		if w.chance("unopened", 10) {
			return pick(w, "move", moves...)(w)
		}
		return append([]act{open()}, write(w)...)
	}
	from := moves
	if !w.chance("any", 4) {
		from = fitting[w.model.owner]
	}
	return pick(w, "move", from...)(w)
}

// below draws a number below n, all equally often: rapid's own ranges prefer small ones.
func (w *world) below(name string, n int) int {
	if n == 1 {
		return 0
	}
	return rapid.Custom(func(t *rapid.T) int {
		v := 0
		for range bits.Len(uint(n)) + 3 {
			v <<= 1
			if rapid.Bool().Draw(t, "bit") {
				v++
			}
		}
		return v % n
	}).Draw(w.t, name)
}

func pick[T any](w *world, name string, from ...T) T { return from[w.below(name, len(from))] }

// recent picks one of the last few, or what does not exist.
func recent(w *world, name string, from []string) string {
	if len(from) == 0 {
		return "none"
	}
	return pick(w, name, from[max(0, len(from)-4):]...)
}

func (w *world) chance(name string, oneIn int) bool {
	return w.below(name, oneIn) == oneIn-1
}

// staff picks who of the people acts: mostly the one who has the conversation.
func (w *world) staff() conv.Actor {
	if w.model.agent != "" && !w.chance("other", 4) {
		return map[string]conv.Actor{ann.ID: ann, ben.ID: ben, supervisor.ID: supervisor}[w.model.agent]
	}
	return pick(w, "staff", ann, ben, supervisor)
}

// override draws whether an actor uses the right of supervisors, or tries to.
func (w *world) override(a conv.Actor) bool {
	if a.Kind == conv.Supervisor {
		return w.chance("override", 2)
	}
	return w.chance("presumption", 8)
}

func (w *world) queue() string { return pick(w, "queue", "care", "sales") }
