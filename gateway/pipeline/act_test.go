package pipeline_test

import (
	"reflect"
	"testing"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Who repeats an act under the same op gets what the first one made, not what the repeat would have made of it.
func TestARepeatedActReturnsWhatIsDurable(t *testing.T) {
	w := newWorld(t, setup{})
	conv := w.ask(text("v1", "a", "agent")).Conversation
	rosa := conversation.Actor{Kind: conversation.Agent, ID: "rosa"}
	op := store.Token(w.ids.Token())
	note := func(d *conversation.Draft) error { return d.Do(conversation.AddNote{ID: "n_1", Text: "called back"}) }
	first, err := w.p.Act(ctxT(t), w.ref(conv), rosa, op, note)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.agent(conv, "rosa", conversation.Claim{Name: "Rosa"}, conversation.Reply{ID: "m_1", Part: message.Part{Text: "hi"}}); err != nil {
		t.Fatal(err)
	}
	again, err := w.p.Act(ctxT(t), w.ref(conv), rosa, op, note)
	if err != nil {
		t.Fatal(err)
	}
	if durable := w.state(conv); again.Seq == first.Seq || !reflect.DeepEqual(again, durable) {
		t.Errorf("the repeat returns seq %d, durable is %d", again.Seq, durable.Seq)
	}
	if n := count[*conversation.Note](w.log(conv)); n != 1 {
		t.Errorf("%d notes", n)
	}
}
