package queue_test

import (
	"errors"
	"testing"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// What could not be delivered is its agent's to decide: to send it once more, or to give it up.
func TestResend(t *testing.T) {
	f := setup(t)
	ref, elsewhere := f.claimed(t, ann), f.claimed(t, ann)
	one, two := f.Dead(t, ref, message.ByAgent, "one"), f.Dead(t, ref, message.ByAgent, "two")
	bots := f.Dead(t, ref, message.ByBot, "said by the bot")
	resend := func(who queue.To, dead store.DeadLetter, discard bool) (queue.Result, error) {
		return f.q.Resend(f.ctx, who, dead.Row.Out.ID, discard)
	}
	for name, c := range map[string]struct {
		to   queue.To
		dead store.DeadLetter
		want error
	}{
		"another agent":         {to(bob, ref), one, conversation.ErrNotOwner},
		"another conversation":  {to(ann, elsewhere), one, store.ErrNotFound},
		"another tenant":        {to(alien, ref), one, store.ErrNotFound},
		"not dead":              {to(ann, ref), store.DeadLetter{Row: store.OutboxRow{Out: message.Outbound{ID: "m_x"}}}, store.ErrNotFound},
		"no queue of the agent": {to(cleo, ref), one, queue.ErrForbidden},
		"the bot's":             {to(ann, ref), bots, conversation.ErrNotOwner},
	} {
		if _, err := resend(c.to, c.dead, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	again := to(ann, ref)
	again.Key = "once"
	got, err := resend(again, one, false)
	if err != nil || got.Message != one.Row.Out.ID || got.Repeated {
		t.Fatalf("resending: %+v, %v", got, err)
	}
	if got, err = resend(again, one, false); err != nil || !got.Repeated || got.Message != one.Row.Out.ID {
		t.Errorf("repeated: %+v, %v", got, err)
	}
	over := to(sue, ref)
	over.Override = true
	if _, err := resend(over, two, true); err != nil {
		t.Errorf("discarding as a supervisor: %v", err)
	}
	if _, err := resend(to(ann, ref), two, true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("discarding twice: %v", err)
	}
	refs, _, err := f.Store.Pending(f.ctx, acme, f.State(t, ref).From.Channel, f.Clock.Now().UnixMilli(), 10)
	if err != nil || len(refs) != 1 || refs[0] != ref {
		t.Errorf("in the outbox: %v, %v", refs, err)
	}
	var said []string
	for _, e := range f.Log(t, ref) {
		if s, ok := e.Data.(*conversation.StatusChanged); ok {
			said = append(said, string(s.Status)+" by "+string(e.Actor.Kind)+" "+e.Actor.ID)
		}
	}
	if len(said) != 2 || said[0] != "queued by agent ann" || said[1] != "discarded by supervisor sue" {
		t.Errorf("the log says %v", said)
	}
}
