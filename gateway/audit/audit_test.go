package audit_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
)

var (
	system     = conversation.Actor{Kind: conversation.System}
	customer   = conversation.Actor{Kind: conversation.Customer, ID: "v_1"}
	ann        = conversation.Actor{Kind: conversation.Agent, ID: "ann"}
	supervisor = conversation.Actor{Kind: conversation.Supervisor, ID: "sue"}
)

// secret stands in every text of the conversation that the tests chain.
const secret = "canary-4711"

func mac(b []byte) []byte {
	h := hmac.New(sha256.New, []byte("key of the content"))
	h.Write(b)
	return h.Sum(nil)
}

// commits are the commits of a conversation in which every kind of decision is made.
func commits(t testing.TB) [][]audit.Event {
	const later = int64(1) << 60
	var (
		s    conversation.State
		all  [][]audit.Event
		text = message.Inbound{ID: "x", Kind: message.Text, Text: secret}
		part = message.Part{Text: secret}
	)
	do := func(a conversation.Actor, cs ...conversation.Command) {
		d := conversation.Begin(&s, conversation.Env{Now: int64(len(all)), Op: fmt.Sprintf("op-%d", len(all)), Actor: a})
		var events []audit.Event
		for _, c := range cs {
			if err := d.Do(c); err != nil {
				t.Fatalf("%T: %v", c, err)
			}
		}
		for i := range d.Events {
			b, err := d.Events[i].Encode()
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, audit.Event{Event: &d.Events[i], Encoded: b})
		}
		s, all = d.State, append(all, events)
	}
	do(customer, conversation.Open{ID: "c_1"}, conversation.Receive{ID: "m_1", In: text}, conversation.StartTurn{ID: "t_1"})
	do(system, conversation.FailTurn{Turn: "t_1", Kind: "timeout"}, conversation.RetakeTurn{})
	do(system, conversation.AnswerTurn{Turn: "t_1", Decision: conversation.Decision{Kind: conversation.DecisionPass, Rules: 3},
		Parts: []conversation.Sent{{ID: "m_2", By: message.ByBot, Part: part}}})
	do(customer, conversation.Receive{ID: "m_3", In: text}, conversation.StartTurn{ID: "t_2"})
	do(system, conversation.FailTurn{Turn: "t_2", Kind: "breaker_open", Final: true})
	do(customer, conversation.Receive{ID: "m_4", In: text}, conversation.StartTurn{ID: "t_3"})
	do(system, conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Inbound, Rule: "r", Rules: 3}},
		conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "care", Priority: 5}})
	do(system, conversation.DiscardTurn{Turn: "t_3", Reason: "owner_changed", Answer: []message.Part{part}})
	do(system, conversation.MakeOffer{Agent: "ann", Until: later}, conversation.EndOffer{Agent: "ann"},
		conversation.MakeOffer{Agent: "ann", Until: later}, conversation.EndOffer{Agent: "ann", Declined: true})
	do(ann, conversation.Claim{Name: "Ann"}, conversation.AddNote{ID: "n_1", Text: secret},
		conversation.Reply{ID: "m_5", Part: part}, conversation.Reply{ID: "m_6", Part: part, HoldUntil: later}, conversation.UndoHeld{ID: "m_6"})
	do(system, conversation.Hold{ID: "m_7", In: text}, conversation.SetProfile{Profile: message.Profile{Subject: "s", Name: secret}},
		conversation.SetAccount{Account: message.Account{Subject: "s", Name: secret, Fields: map[string]any{"plan": secret}}},
		conversation.LinkContact{Contact: "k_1"}, conversation.SetStatus{ID: "m_5", Status: message.Failed},
		conversation.SetTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: 9}},
		conversation.FireTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: 9}})
	do(ann, conversation.Review{Receive: conversation.Receive{ID: "m_7"}, Reject: true}, conversation.Escalate{Queue: "second"})
	do(system, conversation.Say{Sent: conversation.Sent{ID: "m_8", Part: part}}, conversation.Capture{Queue: "second"}, conversation.Uncapture{})
	do(supervisor, conversation.Resolve{Override: true})
	do(customer, conversation.Reopen{Queue: "care"})
	divert := func(rule string) conversation.Divert {
		return conversation.Divert{Handoff: conversation.Handoff{Rule: rule, Queue: "care", Priority: 5}}
	}
	decide := func(kind conversation.DecisionKind, rule string) conversation.Decide {
		return conversation.Decide{Decision: conversation.Decision{Kind: kind, Phase: conversation.Inbound, Rule: rule, Rules: 3}}
	}
	do(system, divert("alone"))
	do(system, decide(conversation.DecisionHandoff, "r"), divert("r"), divert("r")) // the second was not decided
	do(system, decide(conversation.DecisionHandoff, "r"), divert("another"))
	do(system, decide(conversation.DecisionTag, "r"), divert("r"))
	do(system, decide(conversation.DecisionHandoff, "r"))
	do(system, divert("r")) // in a commit of its own
	do(system, conversation.Wipe{})
	return all
}

// decisions says for every type of event which of them have an entry: the number of entries of the events above, by
// type and kind. It is written from what a decision is and not from the code.
var decisions = map[string]int{
	"conversation.opened ":         1,
	"decision.made pass":           1,
	"turn.failed breaker_open":     1,
	"decision.made handoff":        4,
	"decision.made tag":            1,
	"handoff.made ":                5,
	"turn.discarded owner_changed": 1,
	"offer.made ":                  2,
	"offer.lapsed ":                1,
	"offer.declined ":              1,
	"owner.changed claim":          1,
	"note.added ":                  1,
	"message.held ":                2,
	"message.status undone":        1,
	"profile.changed ":             1,
	"profile.changed account":      1,
	"message.status rejected":      1,
	"owner.changed escalate":       1,
	"owner.changed capture":        1,
	"owner.changed opening":        1,
	"owner.changed resolve":        1,
	"owner.changed reopen":         1,
	"owner.changed erased":         1,
	"conversation.erased ":         1,
}

// TestEntries checks that every decision has one entry and every entry one decision, in the same order and in the same
// commit, with its digest and without its text.
func TestEntries(t *testing.T) {
	var head audit.Head
	var chain [][]byte
	got := map[string]int{}
	for i, events := range commits(t) {
		links, err := audit.Next("c_1", head, events, mac)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, link := range links {
			en := link.Entry
			j := slices.IndexFunc(events[at:], func(e audit.Event) bool { return e.Seq == en.Seq })
			if j < 0 {
				t.Fatalf("entry %d stands for event %d, which is not in commit %d or stands for two", en.N, en.Seq, i)
			}
			e := events[at+j]
			at += j + 1
			actor := string(e.Actor.Kind)
			if e.Actor.ID != "" {
				actor += ":" + e.Actor.ID
			}
			if en.Type != string(e.Type) || en.At != e.At || en.Op != e.Op || en.Epoch != e.Epoch.N || en.Actor != actor {
				t.Errorf("entry %+v stands for event %+v", en, e.Event)
			}
			if en.Digest != hex.EncodeToString(mac(e.Encoded)) {
				t.Errorf("entry %d has another digest than its event", en.N)
			}
			if bytes.Contains(link.Bytes, []byte(secret)) {
				t.Errorf("entry %d holds text: %s", en.N, link.Bytes)
			}
			if en.N != head.N+1 || en.Prev != hex.EncodeToString(head.Hash[:]) || link.Head.Hash != sha256.Sum256(link.Bytes) {
				t.Errorf("entry %d does not follow entry %d", en.N, head.N)
			}
			got[en.Type+" "+en.Kind]++
			head, chain = link.Head, append(chain, link.Bytes)
		}
	}
	for _, names := range []map[string]int{got, decisions} {
		for name := range names {
			if got[name] != decisions[name] {
				t.Errorf("%d entries of %q, want %d", got[name], name, decisions[name])
			}
		}
	}
	if end, err := audit.Verify("c_1", audit.Head{}, chain); err != nil || end != head {
		t.Errorf("the chain verifies to entry %d, %v", end.N, err)
	}
}

func TestDecisionEntry(t *testing.T) {
	d := &conversation.Decision{Kind: conversation.DecisionReplace, Rule: "no-prices", Rules: 12, Withheld: []message.Part{{Text: secret}}}
	e := conversation.Event{Seq: 3, At: 5, Type: conversation.DecisionMade, Epoch: conversation.Epoch{N: 2, Op: "o"}, Op: "op", Actor: ann, Data: d}
	links, err := audit.Next("c_1", audit.Head{}, []audit.Event{{Event: &e, Encoded: []byte("e")}}, mac)
	if err != nil || len(links) != 1 {
		t.Fatal(links, err)
	}
	want := audit.Entry{Chain: "c_1", N: 1, Prev: strings.Repeat("00", sha256.Size), At: 5, Seq: 3, Type: "decision.made", Kind: "replace",
		Epoch: 2, Op: "op", Actor: "agent:ann", Rule: "no-prices", Rules: 12, Digest: hex.EncodeToString(mac([]byte("e")))}
	if links[0].Entry != want {
		t.Errorf("entry %+v, want %+v", links[0].Entry, want)
	}
}
