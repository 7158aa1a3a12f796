package conversation

import (
	"time"

	"turnout/adapters/message"
)

// visible reports whether an event with this body has a place in what the customer sees. It is the whole list: a note, a
// turn, a decision, a timer has none.
func visible(d Data) bool {
	switch d := d.(type) {
	case *Received, *Sent, *OwnerMoved, *Ended, *Resumed:
		return true
	case *StatusChanged:
		return d.Status == message.Failed
	}
	return false
}

// Visible returns e as the customer's client sees it; ok is false when it may not see it at all.
func (e *Event) Visible(conversation string) (v message.Visible, ok bool) {
	if e.VSeq == 0 {
		return message.Visible{}, false
	}
	v = message.Visible{Conversation: conversation, VSeq: e.VSeq, At: time.UnixMilli(e.At).UTC()}
	switch d := e.Data.(type) {
	case *Received:
		v.Type, v.ID, v.ClientID, v.By = message.VisibleMessage, d.ID, d.In.ID, message.ByCustomer
		part := message.Part{Text: d.In.Text, Attachments: d.In.Attachments}
		if part.Text == "" && d.In.Choice != nil {
			part.Text = d.In.Choice.Label
		}
		v.Part = &part
	case *Sent:
		v.Type, v.ID, v.By, v.Name, v.Turn, v.Part = message.VisibleMessage, d.ID, d.By, d.Name, d.Turn, &d.Part
		if d.Rating {
			v.Type = message.VisibleRating
		}
	case *OwnerMoved:
		v.Type = message.VisibleOwner
		v.Owner = &message.Owner{Kind: d.To.Kind, Name: d.To.Name, Position: d.Position}
	case *StatusChanged:
		v.Type, v.ID = message.VisibleFailed, d.ID
	case *Ended:
		v.Type = message.VisibleClosed
	case *Resumed:
		v.Type = message.VisibleReopened
	default:
		return message.Visible{}, false
	}
	return v, true
}

// Public returns the owner as the customer may see it; position is the place in the queue, 0 for unknown.
func (o Owner) Public(position int) message.Owner {
	return message.Owner{Kind: o.Kind, Name: o.Name, Position: position}
}
