package pipeline

import (
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// pushed adds to a step on a push channel the outbox rows of what it says, whoever says it, in order, and makes each known
// by its message's id, by which the provider may report on it.
//
// The rows are of the epoch after the step: what a bot says together with its own wish for a person, or its goodbye, was
// decided in the same commit as the end of its term and is no late word.
func pushed(s *store.Step) {
	for i := range s.Events {
		e := &s.Events[i]
		sent, ok := e.Data.(*conversation.Sent)
		if !ok || sent.Part.Empty() {
			continue
		}
		row := store.OutboxRow{ID: store.RowOf(sent.ID), Epoch: s.State.Epoch, Seq: e.Seq, At: e.At, Due: e.At}
		row.Out.ID, row.Out.To, row.Out.Part, row.Out.By = sent.ID, s.State.From, sent.Part, sent.By
		s.Outbox = append(s.Outbox, row)
		s.Dedupe = append(s.Dedupe, store.Dedupe{From: s.State.From, ID: store.OutID(sent.ID), Seq: e.Seq})
	}
}
