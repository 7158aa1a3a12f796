package audit_test

import (
	"testing"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
)

// BenchmarkNext is the link of a decision, its MAC aside.
func BenchmarkNext(b *testing.B) {
	sum := mac([]byte("e"))
	digest := func([]byte) []byte { return sum }
	e := conversation.Event{V: 1, Seq: 14, At: 1_700_000_000_123, Type: conversation.DecisionMade, Epoch: conversation.Epoch{N: 1, Op: "op"},
		Op: "op_01JDZ8K2V7Q3M5N9X4T6B8C0D1", Actor: system, Data: &conversation.Decision{Kind: conversation.DecisionPass, Rules: 7}}
	events := []audit.Event{{Event: &e, Encoded: []byte("e")}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audit.Next("c_7q3v5n8b1c6d0f4k2m9x", audit.Head{N: 41}, events, digest); err != nil {
			b.Fatal(err)
		}
	}
}
