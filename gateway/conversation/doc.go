// Package conversation is the state machine of a conversation: pure, without I/O, clock or randomness of its own.
//
// Commands go in, events come out. A Draft takes commands one after the other on a copy of the state; what they decided
// becomes one commit, or nothing. State is the fold of the events and nothing else, so a log can always be folded again
// and must give the same state.
//
// Who may speak is decided here. Exactly one Owner holds a conversation. Every change of owner raises the Epoch, cuts a
// running bot turn off (it becomes the Orphan, whose late answer can only be recorded) and takes what waited for the bot
// away from it. A turn is answered only while it is the turn of the state: an answer that comes after an owner change
// finds no turn of its id and is refused with ErrStale.
//
// What a customer may see has a sequence of its own, without gaps. It is given by type of event; a note has no place in
// it, and the text of a note has a type that nothing sendable is built from.
package conversation
