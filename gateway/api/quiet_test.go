package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

// logged collects the lines of a log.
func logged(t *testing.T, b *bytes.Buffer) (lines []map[string]any) {
	t.Helper()
	for line := range bytes.Lines(b.Bytes()) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	b.Reset()
	return lines
}

// A refusal says why and where to look, a flood of them is two lines a minute, and those of people who signed in are a line
// each.
func TestRefusalsInTheLog(t *testing.T) {
	var log bytes.Buffer
	b := start(t, func(o *Options) {
		o.Log = slog.New(slog.NewJSONHandler(&log, nil))
		o.Routes = append(o.Routes, adapters.Route{Method: "POST", Path: "/v1/web/acme.web/messages", Handler: func(ctx *fasthttp.RequestCtx) {
			problem.WriteError(ctx, &adapters.RefusedError{Code: problem.CodeRateLimited, Detail: "Too many messages."})
		}})
	})
	flood := func(n int) {
		for range n {
			if status := b.request("POST", "/v1/web/acme.web/messages", "").status; status != 429 {
				t.Fatalf("status %d", status)
			}
		}
	}
	log.Reset()
	flood(50)
	lines := logged(t, &log)
	if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["code"] != "rate_limited" || lines[0]["detail"] != "Too many messages." ||
		lines[0]["route"] != "/v1/web/acme.web/messages" || lines[0]["look_at"] != hints[problem.CodeRateLimited] {
		t.Errorf("a flood: %v", lines)
	}
	if err := b.server.RecordRefusals(t.Context()); err != nil || len(logged(t, &log)) != 0 {
		t.Errorf("within the minute: %v", err)
	}
	b.Clock.Add(quietFor)
	if err := b.server.RecordRefusals(t.Context()); err != nil {
		t.Error(err)
	}
	if lines = logged(t, &log); len(lines) != 1 || lines[0]["msg"] != "refused again" || lines[0]["count"] != 49.0 || lines[0]["code"] != "rate_limited" {
		t.Errorf("after the minute: %v", lines)
	}
	flood(1)
	if lines = logged(t, &log); len(lines) != 1 {
		t.Errorf("in the next minute: %v", lines)
	}
	for range 2 {
		b.as("acme/ann", "POST", "/v1/agent/conversations/c_1/claim", "{}")
	}
	if lines = logged(t, &log); len(lines) != 2 || lines[0]["code"] != "not_found" || lines[0]["agent"] != "ann" {
		t.Errorf("of somebody who signed in: %v", lines)
	}
	b.as("acme/ann", "GET", "/v1/agent/queue", "")
	if lines = logged(t, &log); len(lines) != 1 || lines[0]["code"] != nil {
		t.Errorf("no refusal: %v", lines)
	}
}
