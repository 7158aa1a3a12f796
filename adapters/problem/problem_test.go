package problem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{adapters.ErrUnavailable, 503, "store_unavailable", "1"},
		{fmt.Errorf("accepting: %w", adapters.ErrUnknownOutcome), 503, "unknown_outcome", "1"},
		{context.DeadlineExceeded, 503, "unknown_outcome", "1"},
		{adapters.ErrNotFound, 404, "not_found", ""},
		{&adapters.RefusedError{Code: "window_closed", Detail: "d"}, 409, "window_closed", ""},
		{&adapters.RefusedError{Code: "rate_limited", Detail: "d"}, 429, "rate_limited", "1"},
		{&adapters.RefusedError{Code: "rate_limited", Detail: "d", RetryAfter: 2500 * time.Millisecond}, 429, "rate_limited", "3"},
		{&adapters.RefusedError{Code: "window_closed", Detail: "d", RetryAfter: time.Minute}, 409, "window_closed", ""},
		{&adapters.RefusedError{Code: "idempotency_mismatch", Detail: "d"}, 422, "idempotency_mismatch", ""},
		{errors.New("pebble: secret-canary"), 500, "internal", ""},
	} {
		var ctx fasthttp.RequestCtx
		ctx.Response.SetBodyString("left over")
		problem.WriteError(&ctx, c.err)
		var d problem.Details
		if err := json.Unmarshal(ctx.Response.Body(), &d); err != nil {
			t.Fatalf("%v: body is no JSON: %v", c.err, err)
		}
		if ctx.Response.StatusCode() != c.status || d.Status != c.status || d.Code != c.code {
			t.Errorf("%v: got %d %q, want %d %q", c.err, d.Status, d.Code, c.status, c.code)
		}
		if got := string(ctx.Response.Header.Peek("Retry-After")); got != c.retry {
			t.Errorf("%v: Retry-After %q, want %q", c.err, got, c.retry)
		}
		if ct := string(ctx.Response.Header.ContentType()); ct != problem.ContentType {
			t.Errorf("%v: content type %q", c.err, ct)
		}
		if strings.Contains(string(ctx.Response.Body()), "canary") {
			t.Errorf("%v: the answer shows the internal error", c.err)
		}
	}
}

func TestUnauthenticatedNamesTheScheme(t *testing.T) {
	var ctx fasthttp.RequestCtx
	problem.Write(&ctx, fasthttp.StatusUnauthorized, problem.CodeUnauthenticated, "x")
	if got := string(ctx.Response.Header.Peek("WWW-Authenticate")); got != "Bearer" {
		t.Errorf("WWW-Authenticate %q", got)
	}
}
