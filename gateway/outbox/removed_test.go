package outbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"turnout/gateway/conversation"
)

// TestRemovedChannel: what waits for a channel that was removed raises an alarm, which ends when nothing waits; it leaves when
// the channel is back; and if it is not back in time it is a dead letter, to be replayed or discarded.
func TestRemovedChannel(t *testing.T) {
	w := newWorld(t)
	removed := Channel{Key: sms, Tenant: w.tenant, Sender: Removed{}}
	alarms := func() (list []Alarm) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Clone(w.alarms)
	}
	raised := Alarm{Tenant: "acme", Channel: sms, Code: CodeRemoved}
	over := Alarm{Tenant: "acme", Channel: sms, Over: true}

	w.start(removed)
	if stats := w.box.Stats(); len(stats) != 0 {
		t.Errorf("figures of a removed channel for which nothing waits: %+v", stats)
	}
	first, second := w.opened(w.tenant, sms, 1), w.opened(w.tenant, sms, 2)
	one := w.bot(first, "one", "two")
	w.until("an alarm is raised", func() bool { return slices.Equal(alarms(), []Alarm{raised}) })
	w.until("the channel is shown", func() bool { s := w.box.Stats(); return len(s) == 1 && s[0].NeedsOperator })
	other := w.bot(second, "other")

	back := &provider{}
	w.box.Replace([]Channel{w.channel(w.tenant, sms, back)})
	w.until("all leaves at once when it is back", func() bool {
		return w.says(first, one[1], "sent")() && w.says(second, other[0], "sent")()
	})
	if got := back.texts(); slices.Index(got, "one") > slices.Index(got, "two") {
		t.Errorf("sent in the order %q", got)
	}
	if got := alarms(); !slices.Equal(got, []Alarm{raised, over}) {
		t.Errorf("alarms %+v", got)
	}

	w.box.Replace([]Channel{removed})
	w.bot(first, "late", "later")
	w.until("an alarm is raised again", func() bool { return len(alarms()) == 3 })
	w.move(DefaultMaxAge - time.Minute)
	w.until("what is not too old waits", func() bool { w.move(operatorRest / 4); return len(w.dead()) == 0 })
	w.move(2 * time.Minute)
	w.until("both are dead letters", func() bool { w.move(operatorRest); return len(w.dead()) == 2 })
	w.until("the alarm is over", func() bool { w.move(operatorRest); return slices.Equal(alarms()[3:], []Alarm{over}) })
	for _, d := range w.dead() {
		if d.Code != CodeRemoved || d.Attempt != 0 && d.Unsure {
			t.Errorf("dead letter %+v", d)
		}
	}
	dead := &Dead{Store: w.store, IDs: w.ids, Now: w.Now}
	by := conversation.Actor{Kind: conversation.Admin, ID: "ana"}
	for i, d := range w.dead() {
		if _, _, err := dead.Redrive(context.Background(), Redrive{Tenant: w.tenant, Row: d.Row.ID, By: by, Discard: i == 0}); err != nil {
			t.Fatal(err)
		}
	}
	w.until("what was replayed waits", func() bool { w.move(operatorRest / 4); return len(alarms()) == 5 })
	w.box.Replace([]Channel{w.channel(w.tenant, sms, back)})
	w.until("what was replayed is sent", func() bool { return slices.Contains(back.texts(), "later") || slices.Contains(back.texts(), "late") })
	if got := back.texts(); slices.Contains(got, "late") || !slices.Contains(got, "later") {
		t.Errorf("sent %q, want what was replayed and not what was discarded", got)
	}
	w.sound()
}
