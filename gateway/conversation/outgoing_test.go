package conversation_test

import (
	"errors"
	"slices"
	"testing"

	"turnout/adapters/message"
	. "turnout/gateway/conversation"
)

// What the bot had still to send when its term ends: people cancel it and the log names what was on its way; its own end,
// and a reopening, say nothing of it.
func TestOutgoing(t *testing.T) {
	waiting := []Outgoing{{Message: "m_1", InFlight: true}, {Message: "m_2"}, {Message: "m_3", Unsure: true}}
	divert := Divert{Handoff: Handoff{Rule: "r", Queue: "q", Priority: 5}}
	for name, c := range map[string]struct {
		by       Actor
		cmds     []Command
		inFlight []string // of the change of owner
		statuses []string
	}{
		"handoff": {Actor{Kind: System}, []Command{divert}, []string{"m_1"}, []string{"m_2 cancelled", "m_3 uncertain"}},
		"claim":   {Actor{Kind: Supervisor, ID: "sue"}, []Command{Claim{Name: "Sue"}}, []string{"m_1"}, []string{"m_2 cancelled", "m_3 uncertain"}},
		"captured at once": {
			Actor{Kind: System}, []Command{divert, Capture{Queue: "q"}}, []string{"m_1", "m_1"}, []string{"m_2 cancelled", "m_3 uncertain"},
		},
		"goodbye": {Actor{Kind: Bot}, []Command{Close{Reason: ReasonBotEnd}}, nil, nil},
	} {
		d := Begin(new(State), Env{Now: 1, Op: "op-1", Actor: Actor{Kind: System}})
		if err := d.Do(Open{ID: "c_1", From: message.Address{Channel: "acme.sms", Address: "+49"}}); err != nil {
			t.Fatal(err)
		}
		d = Begin(d.Result(), Env{Now: 2, Op: "op-2", Actor: c.by, Outgoing: waiting})
		for _, cmd := range c.cmds {
			if err := d.Do(cmd); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		var inFlight, statuses []string
		for _, e := range d.Events {
			switch data := e.Data.(type) {
			case *OwnerMoved:
				inFlight = append(inFlight, data.InFlight...)
			case *Handoff:
				if !slices.Equal(data.InFlight, []string{"m_1"}) {
					t.Errorf("%s: the handoff names %v", name, data.InFlight)
				}
			case *StatusChanged:
				if statuses = append(statuses, data.ID+" "+string(data.Status)); data.Code != CodeOwnerChanged || e.VSeq != 0 {
					t.Errorf("%s: %+v is visible or without its code", name, e)
				}
			}
		}
		if !slices.Equal(inFlight, c.inFlight) || !slices.Equal(statuses, c.statuses) {
			t.Errorf("%s: in flight %v, %v; want %v, %v", name, inFlight, statuses, c.inFlight, c.statuses)
		}
	}
	if len(waiting) != 3 || waiting[0].Message != "m_1" {
		t.Error("the caller's list was changed")
	}
}

// A delivery only moves forward; what a person sends again begins anew.
func TestAdvance(t *testing.T) {
	var was message.Status
	for _, c := range []struct {
		status message.Status
		code   string
		want   message.Status
		moved  bool
	}{
		{message.Uncertain, "", message.Uncertain, true},
		{message.Sent, "", message.Sent, true},
		{message.Uncertain, "", message.Sent, false},
		{message.Sent, "", message.Sent, false},
		{message.Queued, "", message.Sent, false},
		{message.Failed, "", message.Failed, true},
		{message.Sent, "", message.Failed, false},
		{message.Delivered, "", message.Delivered, true},
		{message.Failed, "", message.Delivered, false},
		{message.Read, "", message.Read, true},
		{message.Delivered, "", message.Read, false},
		{message.Queued, CodeResent, message.Queued, true},
		{message.Sent, "", message.Sent, true},
		{"nonsense", "", message.Sent, false},
	} {
		got, moved := Advance(was, "m_1", &Event{Data: &StatusChanged{ID: "m_1", Status: c.status, Code: c.code}})
		if got != c.want || moved != c.moved {
			t.Errorf("%s after %s: %s, %v", c.status, was, got, moved)
		}
		was = got
	}
	if got, moved := Advance(message.Sent, "m_1", &Event{Data: &StatusChanged{ID: "m_2", Status: message.Read}}); moved || got != message.Sent {
		t.Error("another message's status counts")
	}
}

func TestResendAndDiscard(t *testing.T) {
	d := Begin(new(State), Env{Now: 1, Op: "op", Actor: Actor{Kind: System}})
	if err := d.Do(Resend{ID: "m_1"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a conversation: %v", err)
	}
	must := func(c Command) {
		t.Helper()
		if err := d.Do(c); err != nil {
			t.Fatalf("%T: %v", c, err)
		}
	}
	must(Open{ID: "c_1", From: message.Address{Channel: "acme.sms", Address: "+49"}})
	must(Resend{ID: "m_1", By: message.ByBot})
	must(Divert{Handoff: Handoff{Rule: "r", Queue: "q", Priority: 5}})
	if err := d.Do(Resend{ID: "m_1", By: message.ByBot}); !errors.Is(err, ErrNotOwner) {
		t.Errorf("the bot's over people's heads: %v", err)
	}
	must(Resend{ID: "m_2", By: message.ByAgent})
	must(Discard{ID: "m_1"})
	must(CancelSend{ID: "m_3"})
	if d.State.VSeq != 1 {
		t.Errorf("the customer sees %d events, want the change of owner only", d.State.VSeq)
	}
}
