package exchange_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/rules"
)

// TestZone: rules read the clock of then, wherever a log is read again.
func TestZone(t *testing.T) {
	at := time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC)
	d := conversation.Begin(&conversation.State{}, conversation.Env{Now: at.UnixMilli(), Op: "op", Actor: conversation.Actor{Kind: conversation.System}})
	in := message.Inbound{ID: "1", Kind: message.Text, Text: "hello"}
	for _, c := range []conversation.Command{
		conversation.Open{ID: "c_1"},
		conversation.Receive{ID: "m_1", In: in, Inputs: exchange.Inputs{Zone: 2 * 60 * 60}.Encode()},
		conversation.Receive{ID: "m_2", In: in},
	} {
		if err := d.Do(c); err != nil {
			t.Fatal(err)
		}
	}
	recorded, err := exchange.Read(d.Events)
	if err != nil || len(recorded) != 2 {
		t.Fatal(recorded, err)
	}
	if now := recorded[0].Exchange.Now; now.Hour() != 1 || now.Weekday() != time.Monday || !now.Equal(at) {
		t.Errorf("two hours ahead of UTC it was %v", now)
	}
	if now := recorded[1].Exchange.Now; now.Hour() != 23 || now.Weekday() != time.Sunday {
		t.Errorf("without a zone it was %v", now)
	}
}

// TestSettings: what follows from a verdict with a tenant's settings follows again from what was stored of them.
func TestSettings(t *testing.T) {
	queues := rapid.SampledFrom([]string{"", "support", "emergency", "nowhere"})
	rapid.Check(t, func(r *rapid.T) {
		live := exchange.Settings{
			Queue: rapid.SampledFrom([]string{"support", "other"}).Draw(r, "default"), Bare: rapid.Bool().Draw(r, "bare"),
			Queues: map[string]bool{"support": true, "emergency": rapid.Bool().Draw(r, "emergency")},
		}
		v := rules.Verdict{}
		if rapid.Bool().Draw(r, "handoff") {
			v.Handoff = &rules.Handoff{Rule: "r", Queue: queues.Draw(r, "queue"), Priority: rapid.SampledFrom([]int{0, 3, 9}).Draw(r, "priority")}
		}
		if rapid.Bool().Draw(r, "say") {
			v.Say = &rules.Saying{Rule: "s", Texts: map[string]string{"en": "x"}}
		}
		s := conversation.State{Owner: conversation.Owner{Kind: rapid.SampledFrom([]message.OwnerKind{
			message.OwnerBot, message.OwnerQueued, message.OwnerAgent, message.OwnerClosed,
		}).Draw(r, "owner")}}
		if rapid.Bool().Draw(r, "before") {
			s.Handoff = &conversation.Waiting{Handoff: conversation.Handoff{Priority: 5}}
		}
		m := message.Inbound{Kind: rapid.SampledFrom([]message.Kind{message.Text, message.Human}).Draw(r, "kind"), Text: rapid.SampledFrom([]string{"agent", "hello"}).Draw(r, "text")}
		var w *exchange.Wish
		if rapid.Bool().Draw(r, "wish") {
			w = &exchange.Wish{Queue: queues.Draw(r, "wished")}
		}
		again := func(in exchange.Inputs) (out exchange.Inputs) {
			if b := in.Encode(); b != nil {
				if err := json.Unmarshal(b, &out); err != nil {
					r.Fatal(err)
				}
			}
			return out
		}
		var in exchange.Inputs
		h, say := live.Inbound(&v, &s, &m, &in)
		stored := again(in)
		h2, say2 := stored.Settings().Inbound(&v, &s, &m, &exchange.Inputs{})
		if !reflect.DeepEqual(h, h2) || say != say2 {
			r.Fatalf("a message leads to %+v, from %+v to %+v", h, stored, h2)
		}
		in = exchange.Inputs{}
		h = live.Answer(&v, w, &in)
		if stored = again(in); w != nil {
			w = &exchange.Wish{Queue: stored.BotQueue}
		}
		if h2 = stored.Settings().Answer(&v, w, &exchange.Inputs{}); !reflect.DeepEqual(h, h2) {
			r.Fatalf("an answer leads to %+v, from %+v to %+v", h, stored, h2)
		}
	})
}
