// Package problem writes the error answers of every HTTP face: RFC 9457 problem details with a stable code for programs
// and a sentence for people that says what to mend. The sentence is fixed text of ours; nothing that a client sent is
// echoed in it.
package problem

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
)

// The codes of the API. A code says more than the status and never changes its meaning.
const (
	CodeBadRequest          = "bad_request"
	CodeUnauthenticated     = "unauthenticated"
	CodeForbidden           = "forbidden"
	CodeNotFound            = "not_found"
	CodeAlreadyClaimed      = "already_claimed"
	CodeStale               = "stale"
	CodeNotOwner            = "not_owner"
	CodeReturnLimit         = "return_limit"
	CodeWindowClosed        = "window_closed"
	CodeTooLarge            = "too_large"
	CodeRateLimited         = "rate_limited"
	CodeIdempotencyMismatch = "idempotency_mismatch"
	CodeStoreUnavailable    = "store_unavailable"
	CodeUnknownOutcome      = "unknown_outcome"
	CodeInternal            = "internal"
)

// ContentType is the media type of the answers.
const ContentType = "application/problem+json"

// RetryAfterSeconds is what a client is told to wait when the store cannot write.
const RetryAfterSeconds = 1

// Details is the body of an answer.
type Details struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
	// RetryAfter is what the header of that name says where the status asks for one, in whole seconds; 0 means
	// RetryAfterSeconds.
	RetryAfter int `json:"-"`
}

// New returns the body for a status, a code and a sentence.
func New(status int, code, detail string) Details {
	return Details{Type: "about:blank", Title: fasthttp.StatusMessage(status), Status: status, Code: code, Detail: detail}
}

// Of maps an error of an Inbox, a Timeline or a Blobs to the answer that the contract of that error asks for. An error
// of no known kind becomes an internal one whose text is not shown.
func Of(err error) Details {
	var refused *adapters.RefusedError
	switch {
	case errors.As(err, &refused):
		d := New(StatusOf(refused.Code), refused.Code, refused.Detail)
		d.RetryAfter = int(math.Ceil(refused.RetryAfter.Seconds()))
		return d
	case errors.Is(err, adapters.ErrUnavailable):
		return New(fasthttp.StatusServiceUnavailable, CodeStoreUnavailable,
			"Nothing was kept. Send the same request again, with the same id, after the time in Retry-After.")
	case errors.Is(err, adapters.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return New(fasthttp.StatusServiceUnavailable, CodeUnknownOutcome,
			"It is not known whether the request took effect. Send it again with the same id; it takes effect once.")
	case errors.Is(err, adapters.ErrNotFound):
		return New(fasthttp.StatusNotFound, CodeNotFound, "There is no such thing here, or it is not yours.")
	}
	return New(fasthttp.StatusInternalServerError, CodeInternal, "Something went wrong on our side; it was recorded.")
}

// StatusOf returns the HTTP status that goes with a code, 400 for one that is not known.
func StatusOf(code string) int {
	switch code {
	case CodeUnauthenticated:
		return fasthttp.StatusUnauthorized
	case CodeForbidden, CodeNotOwner:
		return fasthttp.StatusForbidden
	case CodeNotFound:
		return fasthttp.StatusNotFound
	case CodeAlreadyClaimed, CodeStale, CodeReturnLimit, CodeWindowClosed:
		return fasthttp.StatusConflict
	case CodeTooLarge:
		return fasthttp.StatusRequestEntityTooLarge
	case CodeIdempotencyMismatch:
		return fasthttp.StatusUnprocessableEntity
	case CodeRateLimited:
		return fasthttp.StatusTooManyRequests
	case CodeStoreUnavailable, CodeUnknownOutcome:
		return fasthttp.StatusServiceUnavailable
	case CodeInternal:
		return fasthttp.StatusInternalServerError
	}
	return fasthttp.StatusBadRequest
}

// Write answers with a problem, in place of whatever body the response had. Headers already set, such as those of
// CORS, stay.
func Write(ctx *fasthttp.RequestCtx, status int, code, detail string) {
	WriteDetails(ctx, New(status, code, detail))
}

// WriteError answers with the problem that err maps to.
func WriteError(ctx *fasthttp.RequestCtx, err error) {
	WriteDetails(ctx, Of(err))
}

// WriteDetails answers with d, and with Retry-After where the client should come again.
func WriteDetails(ctx *fasthttp.RequestCtx, d Details) {
	body, err := json.Marshal(d)
	if err != nil {
		ctx.Response.SetStatusCode(fasthttp.StatusInternalServerError)
		return
	}
	ctx.Response.ResetBody()
	ctx.Response.SetStatusCode(d.Status)
	ctx.Response.Header.SetContentType(ContentType)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	switch d.Status {
	case fasthttp.StatusServiceUnavailable, fasthttp.StatusTooManyRequests:
		if len(ctx.Response.Header.Peek(fasthttp.HeaderRetryAfter)) == 0 {
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(cmp.Or(d.RetryAfter, RetryAfterSeconds)))
		}
	case fasthttp.StatusUnauthorized:
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	}
	ctx.Response.SetBody(body)
	ctx.SetUserValue(written{}, d)
}

// written is the key under which a request remembers its problem.
type written struct{}

// Written returns the problem that the request was answered with, for whoever logs it.
func Written(ctx *fasthttp.RequestCtx) (d Details, ok bool) {
	d, ok = ctx.UserValue(written{}).(Details)
	return d, ok
}
