package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/valyala/fasthttp"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/metrics"
	"turnout/gateway/pipeline"
	"turnout/gateway/store"
)

// canary stands for everything that must not come out in a figure: text, addresses and ids.
const canary = "canary-7319"

func standing() metrics.State {
	return metrics.State{
		Ready: true, Store: store.Health{OK: true, Level: "embedded, fsync", Free: 1 << 30, Fsync: 200 * time.Microsecond},
		Queues:   []metrics.QueueState{{Tenant: "acme", Queue: "support", Waiting: 3, Present: 2, Oldest: 90 * time.Second}},
		Bots:     []metrics.BotState{{Tenant: "acme", Bot: "legacy", Running: 4, Line: 1, BreakerOpen: true}},
		Senders:  []metrics.SenderState{{Tenant: "acme", Channel: "acme.crm", Attempts: 9, Sent: 7, Dead: 1}},
		Profiles: []metrics.ProfileState{{Tenant: "acme", Fresh: 5, Stale: 2, Missing: 3, Entries: 7, Running: 1, Bytes: 9000, BreakerOpen: true}},
		Places: []metrics.PlacesState{{Kind: "bot_calls", Bound: 8, Tenants: []metrics.TenantPlaces{
			{Tenant: "acme", Held: 4, Bound: 4, Waiting: 3, Longest: 2 * time.Second, Granted: 20, Waited: 5},
		}}},
		Sealed: 42 * time.Second, Unsent: 2,
		Alarms: []metrics.AlarmState{{Tenant: "acme", Alarm: "rules.tripped", Subject: "breaks"}},
	}
}

// used is what a node counts in a conversation in which everything happens.
func used(t *testing.T) *metrics.Metrics {
	t.Helper()
	m := metrics.New("v1.2.3", standing)
	tenant, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	bot, agent := conversation.Owner{Kind: message.OwnerBot}, conversation.Owner{Kind: message.OwnerAgent, Queue: "support", Agent: canary, Name: canary}
	queued := conversation.Owner{Kind: message.OwnerQueued, Queue: "support"}
	h := store.Hint{
		Ref: store.Ref{Tenant: tenant, ID: canary},
		State: &conversation.State{
			From:    message.Address{Channel: "acme.web", Address: canary},
			Handoff: &conversation.Waiting{Handoff: conversation.Handoff{Queue: "support"}, At: 1_000},
		},
	}
	for _, d := range []conversation.Data{
		&conversation.Received{ID: canary, In: message.Inbound{ID: canary, Text: canary}},
		&conversation.TurnBegun{ID: canary, Bot: "legacy"},
		&conversation.Decision{
			Kind: conversation.DecisionPass, Phase: conversation.Answer, Turn: canary, Matched: []string{"greets"},
			Shadow: []string{"watches"}, Failed: []string{"breaks"},
		},
		&conversation.Decision{Kind: conversation.DecisionReplace, Phase: conversation.Answer, Turn: canary},
		&conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Answer, Turn: canary},
		&conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound},
		&conversation.Sent{ID: canary, By: message.ByBot, Part: message.Part{Text: canary}},
		&conversation.Sent{ID: canary, By: message.ByAgent, Name: canary, Part: message.Part{Text: canary}},
		&conversation.TurnBroken{ID: canary, Kind: "timeout"},
		&conversation.TurnBroken{ID: canary, Kind: "timeout", Final: true},
		&conversation.TurnDropped{ID: canary, Reason: "owner_changed"},
		&conversation.Handoff{Rule: "greets", Queue: "support", Reason: canary},
		&conversation.OwnerMoved{From: bot, To: queued, Reason: "handoff"},
		&conversation.OwnerMoved{From: queued, To: agent, Reason: "claim"},
		&conversation.StatusChanged{ID: canary, Status: message.Delivered},
		&conversation.Note{ID: canary, Note: canary},
	} {
		h.Events = append(h.Events, conversation.Event{At: 61_000, Data: d})
	}
	m.Commit(h)
	m.Commit(store.Hint{Ref: h.Ref}) // a hint may be bare
	m.Accepted("acme", "acme.web", pipeline.OutcomeAccepted, time.Millisecond)
	m.Accepted("acme", "acme.web", pipeline.OutcomeDuplicate, time.Millisecond)
	m.Called("acme", "legacy", "ok", 20*time.Millisecond)
	m.Looked("acme", "found", 20*time.Millisecond)
	m.Waited("acme", "acme.web", "in_time")
	m.Spent("acme", "legacy", 120, 30)
	m.Answered("acme", "acme.web", 25*time.Millisecond)
	m.Requested("/v1/agent/queue", "GET", 200, time.Millisecond)
	return m
}

// TestFigures counts each kind of event where it belongs.
func TestFigures(t *testing.T) {
	text := scrape(t, used(t))
	for _, want := range []string{
		`turnout_accept_messages_total{channel="acme.web",outcome="accepted",tenant="acme"} 1`,
		`turnout_accept_messages_total{channel="acme.web",outcome="duplicate",tenant="acme"} 1`,
		`turnout_accept_duration_seconds_count{channel="acme.web",tenant="acme"} 2`,
		`turnout_turns_started_total{channel="acme.web",tenant="acme"} 1`,
		`turnout_turns_ended_total{channel="acme.web",outcome="answered",tenant="acme"} 1`,
		`turnout_turns_ended_total{channel="acme.web",outcome="replaced",tenant="acme"} 1`,
		`turnout_turns_ended_total{channel="acme.web",outcome="handoff",tenant="acme"} 1`,
		`turnout_turns_ended_total{channel="acme.web",outcome="failed",tenant="acme"} 1`,
		`turnout_turns_ended_total{channel="acme.web",outcome="discarded",tenant="acme"} 1`,
		`turnout_turn_duration_seconds_sum{channel="acme.web",tenant="acme"} 0.025`,
		`turnout_bot_calls_total{bot="legacy",outcome="ok",tenant="acme"} 1`,
		`turnout_bot_tokens_total{bot="legacy",kind="answer",tenant="acme"} 30`,
		`turnout_bot_tokens_total{bot="legacy",kind="prompt",tenant="acme"} 120`,
		`turnout_messages_sent_total{by="bot",channel="acme.web",tenant="acme"} 1`,
		`turnout_messages_sent_total{by="agent",channel="acme.web",tenant="acme"} 1`,
		`turnout_delivery_status_total{channel="acme.web",status="delivered",tenant="acme"} 1`,
		`turnout_rules_decisions_total{kind="pass",phase="answer",tenant="acme"} 1`,
		`turnout_rules_decisions_total{kind="tag",phase="inbound",tenant="acme"} 1`,
		`turnout_rules_matches_total{mode="enforce",rule="greets",tenant="acme"} 1`,
		`turnout_rules_matches_total{mode="shadow",rule="watches",tenant="acme"} 1`,
		`turnout_rules_failures_total{rule="breaks",tenant="acme"} 1`,
		`turnout_handoffs_total{queue="support",rule="greets",tenant="acme"} 1`,
		`turnout_owner_changes_total{reason="claim",tenant="acme",to="agent"} 1`,
		`turnout_queue_wait_seconds_sum{queue="support",tenant="acme"} 60`,
		`turnout_audit_entries_total{tenant="acme"} 4`,
		`turnout_store_commits_total{tenant="acme"} 1`,
		`turnout_http_requests_total{code="200",method="GET",route="/v1/agent/queue"} 1`,
		`turnout_build_info{version="v1.2.3"} 1`,
		`turnout_ready 1`,
		`turnout_store_ok{durability="embedded, fsync"} 1`,
		`turnout_store_fsync_seconds 0.0002`,
		`turnout_queue_waiting{queue="support",tenant="acme"} 3`,
		`turnout_queue_agents_present{queue="support",tenant="acme"} 2`,
		`turnout_queue_oldest_wait_seconds{queue="support",tenant="acme"} 90`,
		`turnout_bot_calls_running{bot="legacy",tenant="acme"} 4`,
		`turnout_bot_breaker_open{bot="legacy",tenant="acme"} 1`,
		`turnout_outbox_attempts_total{channel="acme.crm",outcome="dead",tenant="acme"} 1`,
		`turnout_audit_checkpoint_age_seconds 42`,
		`turnout_audit_unsent_checkpoints 2`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(text, canary) {
		t.Error("a figure holds what somebody wrote, or an id")
	}
}

// TestLint asks Prometheus' own linter.
func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(used(t).Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	bad, err := promlint.New(strings.NewReader("# TYPE turnout_things counter\nturnout_things 1\n")).Lint()
	if err != nil || len(bad) == 0 {
		t.Errorf("the linter finds nothing wrong with a bad figure: %v, %v", bad, err)
	}
}

// TestDocumented holds the table in deploy/README.md to the figures, both ways.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(turnout_[a-z_]+)`").FindAllSubmatch(page, -1) {
		documented = append(documented, string(m[1]))
	}
	families, err := used(t).Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "turnout_") {
			there = append(there, f.GetName())
		}
	}
	slices.Sort(documented)
	if !slices.Equal(documented, there) {
		t.Errorf("documented %q\nthere %q", documented, there)
	}
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod("GET")
	ctx.Request.SetRequestURI("/metrics")
	m.Handler()(&ctx)
	if code := ctx.Response.StatusCode(); code != 200 {
		t.Fatalf("status %d: %s", code, ctx.Response.Body())
	}
	return string(ctx.Response.Body())
}
