package conversation_test

import (
	"encoding/json"
	"testing"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// typical are the values of an everyday turn: a message, the decision on its answer, and a state after some turns.
type typical struct {
	received, decided, sent conv.Event
	state                   conv.State
}

func newTypical() *typical {
	const (
		op    = "0sEy5oKBxiuFxjJjdoYiAA"
		text  = "Hi, my parcel was meant to arrive on Tuesday and the tracking page still says \"in transit\". Where is it?"
		reply = "The parcel left our house this morning and will be with you tomorrow before noon."
		turn  = "t_2v06h13gq3mw04fhryzf2v3nt8"
	)
	from := message.Address{Channel: "acme.web", Address: "v_9f8e7d6c5b4a39281706"}
	memory := signal.Memory{Language: "en", Guessed: true, Customer: signal.Digests{0x123456789abcdef0, 0xfedcba9876543210},
		Bot: signal.Digests{0xfedcba9876543210, 1}, Trend: 12}
	epoch := conv.Epoch{N: 1, Op: op}
	event := func(seq uint64, a conv.Actor, d conv.Data, typ conv.Type) conv.Event {
		return conv.Event{V: conv.Version, Seq: seq, VSeq: seq, At: 1_700_000_000_123, Type: typ, Epoch: epoch, Op: op, Actor: a, Data: d}
	}
	y := &typical{
		received: event(12, customer, &conv.Received{ID: "m_2v06h13gq3mzwk9e14gnwbbecr", Rules: 7, Memory: memory,
			In: message.Inbound{ID: "6f1c2a94-77d1-4f0a-9f43-0c2f3f0a9b11", From: from, Kind: message.Text, Text: text, Lang: "en"}}, conv.MessageReceived),
		decided: event(14, bot, &conv.Decision{Kind: conv.DecisionPass, Phase: conv.Answer, Turn: turn, Rules: 7, Matched: []string{"greeting"},
			Scores: signal.Scores{Frustration: 0.25, BotRepeat: 1}, Memory: memory, Model: "lexical-1f3a9c", Inputs: json.RawMessage(
				`{"now":1700000000123,"turns":3,"queues":{"care":{"waiting":2,"online":5}}}`)}, conv.DecisionMade),
		sent: event(15, bot, &conv.Sent{ID: "m_2v06h13gq3mxbeyavkccf8fk14", By: message.ByBot, Part: message.Part{Text: reply, Lang: "en"}, Turn: turn}, conv.MessageSent),
		state: conv.State{V: conv.Version, ID: "c_2v06h13gq3m25rqeyfz13gsbtr", From: from, Seq: 12, VSeq: 8, Owner: conv.Owner{Kind: message.OwnerBot},
			Epoch: epoch, Consumed: 8, Turn: &conv.Turn{ID: turn, From: 12, To: 12, Rules: 7, Attempt: 1, Bot: "legacy", Since: 1_700_000_000_123},
			Tags: []string{"delivery"}, Turns: 3, Memory: memory, Profile: &message.Profile{Subject: "u-18273", Name: "Jo Example", Level: "password",
				Fields: map[string]any{"plan": "gold", "balance": 12.5}},
			Timers: map[string]int64{conv.TimerIdle: 1_700_000_600_000}, OpenedAt: 1_700_000_000_000, ActiveAt: 1_700_000_000_123},
	}
	return y
}

// TestAppendAllocates checks that encoding into a buffer with room allocates nothing.
func TestAppendAllocates(t *testing.T) {
	y := newTypical()
	buf := make([]byte, 0, 4096)
	for name, appended := range map[string]func([]byte) ([]byte, error){
		"received": y.received.Append, "decided": y.decided.Append, "sent": y.sent.Append, "state": y.state.Append,
		"received, packed": y.received.AppendPacked, "state, packed": y.state.AppendPacked,
	} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := appended(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	y := newTypical()
	for _, c := range []struct {
		name   string
		append func([]byte) ([]byte, error)
		pack   func([]byte) ([]byte, error)
		value  any
	}{
		{"received", y.received.Append, y.received.AppendPacked, &y.received},
		{"decided", y.decided.Append, y.decided.AppendPacked, &y.decided},
		{"sent", y.sent.Append, y.sent.AppendPacked, &y.sent},
		{"state", y.state.Append, y.state.AppendPacked, &y.state},
	} {
		b.Run(c.name+"/packed", func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				out, err := c.pack(buf)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(out)))
			}
		})
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				out, err := c.append(buf)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(out)))
			}
		})
		b.Run(c.name+"/reflection", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(c.value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDraft is the two commits of a turn, without their encoding.
func BenchmarkDraft(b *testing.B) {
	y := newTypical()
	in, decision, said := y.received.Data.(*conv.Received), y.decided.Data.(*conv.Decision), y.sent.Data.(*conv.Sent)
	start := y.state
	start.Turn = nil
	b.ReportAllocs()
	for b.Loop() {
		d := conv.Begin(&start, conv.Env{Now: start.ActiveAt, Op: "op-1", Actor: system})
		err := d.DoAs(customer, conv.Receive{ID: in.ID, In: in.In, Rules: 7, Memory: in.Memory})
		if err == nil {
			err = d.Do(conv.StartTurn{ID: "t_1", Bot: "legacy"})
		}
		if err != nil {
			b.Fatal(err)
		}
		d = conv.Begin(&d.State, conv.Env{Now: start.ActiveAt, Op: "op-2", Actor: bot})
		if err := d.Do(conv.AnswerTurn{Turn: "t_1", Decision: *decision, Parts: []conv.Sent{*said}}); err != nil {
			b.Fatal(err)
		}
	}
}
