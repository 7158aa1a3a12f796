package outbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
)

// A send under way ends with the sender that it began with, and its conversation goes on with the next one; a channel that
// stays, with what it holds, is not touched; one that is new sends.
func TestReplaceWhileSendsRun(t *testing.T) {
	w := newWorld(t)
	old, fresh, stays, added := &provider{}, &provider{}, &provider{}, &provider{}
	released := make(chan struct{})
	hang := func(context.Context, message.Outbound) (message.Receipt, error) {
		<-released
		return message.Receipt{}, nil
	}
	old.does(hang)
	stays.does(hang)
	for _, p := range []*provider{old, stays} {
		p.policy.Timeout, p.policy.Concurrency = time.Hour, 1
	}
	app := w.channel(w.tenant, "acme.app", stays)
	w.start(w.channel(w.tenant, sms, old), app)
	first, second := w.opened(w.tenant, sms, 1), w.opened(w.tenant, "acme.app", 1)
	ids := w.bot(first, "one", "two")
	kept := w.bot(second, "one", "two")
	w.until("both hang", func() bool { return len(old.sends()) == 1 && len(stays.sends()) == 1 })

	globex := w.tenantNamed("globex")
	w.box.Replace([]Channel{w.channel(w.tenant, sms, fresh), app, w.channel(globex, "globex.sms", added)})
	other := w.opened(w.tenant, sms, 2)
	others := w.bot(other, "by the new one")
	theirs := w.opened(globex, "globex.sms", 1)
	news := w.bot(theirs, "hello")
	w.until("the new senders send", func() bool { return w.says(other, others[0], "sent")() && w.says(theirs, news[0], "sent")() })
	if n := len(stays.sends()); n != 1 {
		t.Errorf("%d sends of the channel that stays, whose limit is 1", n)
	}
	close(released)
	w.until("all are sent", func() bool { return w.says(first, ids[1], "sent")() && w.says(second, kept[1], "sent")() })
	if got := old.texts(); !slices.Equal(got, []string{"one"}) {
		t.Errorf("the old sender sent %q", got)
	}
	if got := fresh.texts(); !slices.Equal(got, []string{"by the new one", "two"}) {
		t.Errorf("the new sender sent %q", got)
	}
	if stats := w.box.Stats(); len(stats) != 3 {
		t.Errorf("figures of %d channels", len(stats))
	}
	w.sound()
}

// A send that ends after its sender was replaced says nothing of the next one: no alarm is raised that nobody would end.
func TestNoAlarmForASenderThatWasReplaced(t *testing.T) {
	w := newWorld(t)
	old, fresh := &provider{}, &provider{}
	released := make(chan struct{})
	old.does(func(context.Context, message.Outbound) (message.Receipt, error) {
		<-released
		return message.Receipt{}, &adapters.SendError{Code: "401", Class: adapters.SendOperator}
	})
	old.policy.Timeout = time.Hour
	w.start(w.channel(w.tenant, sms, old))
	r := w.opened(w.tenant, sms, 1)
	ids := w.bot(r, "with the old credentials")
	w.until("it hangs", func() bool { return len(old.sends()) == 1 })
	w.box.Replace([]Channel{w.channel(w.tenant, sms, fresh)})
	other := w.opened(w.tenant, sms, 2)
	w.until("the new sender sends", w.says(other, w.bot(other, "with the new ones")[0], "sent"))
	close(released)
	w.until("it goes out with the new sender", func() bool { w.move(time.Second); return w.says(r, ids[0], "sent")() })
	w.end()
	needs := w.box.Stats()[0].NeedsOperator
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.alarms) != 0 || needs {
		t.Errorf("alarms %+v, needs an operator: %t", w.alarms, needs)
	}
}
