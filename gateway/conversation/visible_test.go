package conversation_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

// TestVisible checks what a customer's client gets of each kind of event, to the last field.
func TestVisible(t *testing.T) {
	part := message.Part{Text: "hi"}
	for _, test := range []struct {
		name string
		data conv.Data
		want message.Visible
	}{
		{"message", &conv.Received{ID: "m_1", In: message.Inbound{ID: "7", Kind: message.Text, Text: "hi", Quoted: "old", Raw: []byte("raw"),
			Profile: &message.Profile{Subject: "s"}}},
			message.Visible{Type: message.VisibleMessage, ID: "m_1", ClientID: "7", By: message.ByCustomer, Part: &part}},
		{"choice", &conv.Received{ID: "m_1", In: message.Inbound{ID: "7", Kind: message.Action, Choice: &message.Choice{ID: "x", Label: "hi"}}},
			message.Visible{Type: message.VisibleMessage, ID: "m_1", ClientID: "7", By: message.ByCustomer, Part: &part}},
		{"bot", &conv.Sent{ID: "m_1", By: message.ByBot, Part: part, Turn: "t_1", Rule: "r"},
			message.Visible{Type: message.VisibleMessage, ID: "m_1", By: message.ByBot, Turn: "t_1", Part: &part}},
		{"agent", &conv.Sent{ID: "m_1", By: message.ByAgent, Name: "Ann", Part: part},
			message.Visible{Type: message.VisibleMessage, ID: "m_1", By: message.ByAgent, Name: "Ann", Part: &part}},
		{"rating", &conv.Sent{ID: "m_1", By: message.BySystem, Part: part, Rating: true},
			message.Visible{Type: message.VisibleRating, ID: "m_1", By: message.BySystem, Part: &part}},
		{"owner", &conv.OwnerMoved{To: conv.Owner{Kind: message.OwnerAgent, Queue: "care", Agent: "ann", Name: "Ann"}, Reason: "claim", Position: 2, Priority: 9},
			message.Visible{Type: message.VisibleOwner, Owner: &message.Owner{Kind: message.OwnerAgent, Name: "Ann", Position: 2}}},
		{"failed", &conv.StatusChanged{ID: "m_1", Status: message.Failed, Code: "131026"}, message.Visible{Type: message.VisibleFailed, ID: "m_1"}},
		{"closed", &conv.Ended{Reason: "resolved"}, message.Visible{Type: message.VisibleClosed}},
		{"reopened", &conv.Resumed{}, message.Visible{Type: message.VisibleReopened}},
	} {
		e := conv.Event{Seq: 9, VSeq: 3, At: 1_700_000_000_123, Data: test.data}
		test.want.Conversation, test.want.VSeq, test.want.At = "c_1", 3, time.UnixMilli(e.At).UTC()
		if got, ok := e.Visible("c_1"); !ok || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s is seen as %+v, %t", test.name, got, ok)
		}
		e.VSeq = 0
		if got, ok := e.Visible("c_1"); ok {
			t.Errorf("%s without a visible sequence is seen as %+v", test.name, got)
		}
	}
}

// TestNotesStayInside checks by the running of a whole conversation that no customer sees a note, not even one that was
// given a visible sequence number by mistake.
func TestNotesStayInside(t *testing.T) {
	notes, vseq := 0, uint64(0)
	for _, e := range life(t).events {
		if strings.Contains(asJSON(t, e), canary) {
			notes++
		}
		v, ok := e.Visible("c_1")
		if ok != (e.VSeq != 0) {
			t.Errorf("%s at visible sequence %d: seen %t", e.Type, e.VSeq, ok)
		}
		if ok {
			if vseq++; v.VSeq != vseq {
				t.Errorf("%s is at visible sequence %d, want %d", e.Type, v.VSeq, vseq)
			}
		}
		if e.Type == conv.NoteAdded {
			if e.VSeq != 0 {
				t.Errorf("a note has visible sequence %d", e.VSeq)
			}
			e.VSeq = 1
		}
		if v, _ := e.Visible("c_1"); strings.Contains(asJSON(t, v), canary) {
			t.Errorf("a customer sees the note as %+v", v)
		}
	}
	if notes != 2 {
		t.Errorf("%d events hold a note, want 2: the test looks for the wrong thing", notes)
	}
}

// TestNoteTypes checks that nothing that is sent or shown has a place for the text of a note.
func TestNoteTypes(t *testing.T) {
	note := reflect.TypeFor[conv.NoteText]()
	if !holds(reflect.TypeFor[conv.Note](), note, nil) {
		t.Fatal("the search finds no note in a note")
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[message.Outbound](), reflect.TypeFor[message.Visible](), reflect.TypeFor[conv.Sent](),
		reflect.TypeFor[conv.Held](), reflect.TypeFor[conv.OwnerMoved](), reflect.TypeFor[conv.State](),
	} {
		if holds(typ, note, nil) {
			t.Errorf("%s has a place for a note", typ)
		}
	}
}

// holds reports whether a value of type t can hold one of type want without an interface in between.
func holds(t, want reflect.Type, seen map[reflect.Type]bool) bool {
	if t == want {
		return true
	}
	if seen == nil {
		seen = map[reflect.Type]bool{}
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holds(t.Elem(), want, seen)
	case reflect.Map:
		return holds(t.Key(), want, seen) || holds(t.Elem(), want, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holds(t.Field(i).Type, want, seen) {
				return true
			}
		}
	}
	return false
}

func TestPublicOwner(t *testing.T) {
	o := conv.Owner{Kind: message.OwnerAgent, Queue: "care", Agent: "ann", Name: "Ann"}
	if got, want := o.Public(3), (message.Owner{Kind: message.OwnerAgent, Name: "Ann", Position: 3}); got != want {
		t.Errorf("the customer sees the owner as %+v, want %+v", got, want)
	}
}
