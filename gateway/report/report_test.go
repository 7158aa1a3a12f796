package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/rules/signal"
)

var (
	bot    = conversation.Owner{Kind: message.OwnerBot}
	queued = conversation.Owner{Kind: message.OwnerQueued, Queue: "support"}
	ben    = conversation.Owner{Kind: message.OwnerAgent, Queue: "support", Agent: "ben", Name: "Ben"}
	closed = conversation.Owner{Kind: message.OwnerClosed}
	start  = time.Date(2026, 11, 25, 23, 59, 0, 0, time.UTC)
)

// log makes events, ten seconds apart.
func log(data ...conversation.Data) (events []conversation.Event) {
	for i, d := range data {
		events = append(events, conversation.Event{Seq: uint64(i) + 1, At: start.Add(time.Duration(i) * 10 * time.Second).UnixMilli(), Data: d})
	}
	return events
}

func at(i int) time.Time { return start.Add(time.Duration(i) * 10 * time.Second) }

// story is a conversation in which a person helped and gave it back.
func story() []conversation.Event {
	return log(
		&conversation.Begun{ID: "c_1", From: message.Address{Channel: "acme.web", Address: "secret-address"}}, // 0
		&conversation.Received{ID: "m_1", In: message.Inbound{Text: "secret text"}, Memory: signal.Memory{Language: "es"}},
		&conversation.TurnBegun{ID: "t_1"},
		&conversation.Decision{Kind: conversation.DecisionPass, Phase: conversation.Answer, Turn: "t_1", Tags: []string{"vip"}},
		&conversation.Sent{By: message.ByBot, Part: message.Part{Text: "secret text"}},
		&conversation.Received{ID: "m_2"}, // 5
		&conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Inbound, Tags: []string{"vip", "care"}, MustReachHuman: true},
		&conversation.Handoff{Rule: "asks", Queue: "support"},
		&conversation.OwnerMoved{From: bot, To: queued, Reason: conversation.ReasonHandoff},
		&conversation.Sent{By: message.BySystem},
		&conversation.OwnerMoved{From: queued, To: ben, Reason: conversation.ReasonClaim}, // 10
		&conversation.Note{ID: "n", Note: "secret text"},
		&conversation.Sent{By: message.ByAgent, Name: "Ben"},
		&conversation.OwnerMoved{From: ben, To: bot, Reason: conversation.ReasonRelease},
		&conversation.TurnBroken{ID: "t_2", Kind: "timeout"},
		&conversation.TurnBroken{ID: "t_2", Kind: "timeout", Final: true}, // 15
		&conversation.Handoff{Rule: conversation.ByBotDown, Queue: "vip"},
		&conversation.OwnerMoved{From: bot, To: queued, Reason: conversation.ReasonHandoff},
		&conversation.OwnerMoved{From: queued, To: ben, Reason: conversation.ReasonClaim},
		&conversation.Sent{By: message.ByAgent, Name: "Ben"},
		&conversation.OwnerMoved{From: ben, To: closed, Reason: conversation.ReasonResolve}, // 20
		&conversation.Ended{Reason: "resolved"},
	)
}

func TestSummarize(t *testing.T) {
	want := Summary{
		Conversation: "c_1", Channel: "acme.web", Language: "es", OpenedAt: at(0), ActiveAt: at(19), ClosedAt: at(21), Closed: "resolved",
		Owner: "closed", Agent: "ben", FromCustomer: 2, FromBot: 1, FromAgents: 2, FromSystem: 1, Turns: 1, FailedTurns: 1, Handoffs: 2,
		HandoffAt: at(7), Rule: "asks", Queue: "support", ClaimedAt: at(10), AnsweredAt: at(12), Returns: 1,
		Tags: []string{"care", "vip"}, MustReachHuman: true,
	}
	got := Summarize(story())
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if w, ok := got.Wait(); !ok || w != 30*time.Second {
		t.Errorf("waited %v, %v", w, ok)
	}
	b, err := json.Marshal(got)
	if err != nil || strings.Contains(string(b), "secret") {
		t.Errorf("%v: %s", err, b)
	}
	if _, ok := new(Summary).Answer(); ok {
		t.Error("nobody answered and yet it took a time")
	}
}

func TestDays(t *testing.T) {
	var d Days
	if rows := d.Rows(); len(rows) != 0 {
		t.Errorf("nothing makes %v", rows)
	}
	alone := Summary{Channel: "acme.web", OpenedAt: start, Closed: "idle", FromCustomer: 1, FromBot: 1, Turns: 1}
	next := alone
	next.OpenedAt = start.Add(time.Minute) // the next day
	other := alone
	other.Channel = "acme.crm"
	for _, s := range []Summary{next, alone, Summarize(story()), other} {
		d.Add(s)
	}
	rows := d.Rows()
	var order []string
	for _, r := range rows {
		order = append(order, r.Day+" "+r.Channel)
	}
	if want := []string{"2026-11-25 acme.crm", "2026-11-25 acme.web", "2026-11-26 acme.web"}; !cmp.Equal(order, want) {
		t.Fatalf("%q, want %q", order, want)
	}
	wait, answer := 30.0, 50.0
	if diff := cmp.Diff(Day{
		Day: "2026-11-25", Channel: "acme.web", Conversations: 2, FromCustomer: 3, FromBot: 2, FromAgents: 2, Turns: 2, FailedTurns: 1,
		HandedOff: 1, Claimed: 1, Answered: 1, Returned: 1, Resolved: 1, Contained: 1,
		WaitMedian: &wait, WaitP90: &wait, AnswerMedian: &answer, AnswerP90: &answer,
	}, rows[1]); diff != "" {
		t.Error(diff)
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{9, 1, 2, 3, 4, 5, 6, 7, 8, 10}
	for q, want := range map[float64]float64{0: 1, .1: 1, .5: 5, .9: 9, 1: 10} {
		if got := quantile(values, q); got == nil || *got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if quantile(nil, .5) != nil {
		t.Error("the median of nothing")
	}
}

// TestCSV has a cell for every column in every row, and no formula.
func TestCSV(t *testing.T) {
	var b bytes.Buffer
	w := NewCSV(&b)
	evil := Summary{Conversation: "c_2", Rule: `=HYPERLINK("http://x","y")`, Tags: []string{"-1+1", "b,\"c\""}}
	for _, s := range []Summary{Summarize(story()), evil} {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	cells := map[string][]string{}
	for i, name := range rows[0] {
		cells[name] = []string{rows[1][i], rows[2][i]}
	}
	for name, want := range map[string][]string{
		"conversation": {"c_1", "c_2"}, "opened_at": {"2026-11-25T23:59:00Z", ""}, "from_customer": {"2", "0"},
		"rule": {"asks", `'=HYPERLINK("http://x","y")`}, "tags": {"care vip", `'-1+1 b,"c"`}, "must_reach_human": {"true", "false"},
	} {
		if !cmp.Equal(cells[name], want) {
			t.Errorf("%s: %q, want %q", name, cells[name], want)
		}
	}
	var days bytes.Buffer
	w = NewCSV(&days)
	wait := 1.5
	if err := w.Write(Day{Day: "2026-11-25", WaitMedian: &wait}); err != nil || w.Flush() != nil || !strings.Contains(days.String(), ",1.5,,,\n") {
		t.Errorf("%v: %s", err, days.String())
	}
}
