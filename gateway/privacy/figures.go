package privacy

import "sync/atomic"

// figures count since the start of the process.
type figures struct {
	requested, refused, done       atomic.Int64
	messages, attachments, dropped atomic.Int64
}

func (f *figures) kept(r Run) {
	f.messages.Add(int64(r.Messages))
	f.attachments.Add(int64(r.Attachments))
	f.dropped.Add(int64(r.Figures))
}

// Stats are figures since the start of the process.
type Stats struct {
	// Requested, Refused and Done count erasures of persons.
	Requested, Refused, Done int64
	// Messages, Attachments and Figures count conversations that lost these because their time was over.
	Messages, Attachments, Figures int64
}

// Stats returns the figures of now.
func (p *Privacy) Stats() Stats {
	f := &p.figs
	return Stats{
		Requested: f.requested.Load(), Refused: f.refused.Load(), Done: f.done.Load(),
		Messages: f.messages.Load(), Attachments: f.attachments.Load(), Figures: f.dropped.Load(),
	}
}
