package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
	"turnout/gateway/conversation"
	"turnout/gateway/lookup"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// CodeNoCapacity says that the agent who would get a conversation is not present or has no free place.
const CodeNoCapacity = "no_capacity"

// CodeErased says that there was a conversation, and that all that was said in it is destroyed.
const CodeErased = "erased"

// CodeNoLookup says that nobody can be asked who a customer is, CodeLookupFailed that whoever was asked did not say.
const (
	CodeNoLookup     = "no_lookup"
	CodeLookupFailed = "lookup_failed"
)

// claimed is the problem of a claim that somebody else won.
type claimed struct {
	problem.Details
	Winner winner `json:"winner"`
}

type winner struct {
	Agent string `json:"agent"`
	Name  string `json:"name"`
}

// Problem is an error that says what its answer is, for those that need more than Refuse: a status of their own, or fields
// beside the usual ones.
type Problem struct {
	Status       int
	Code, Detail string
	Extra        map[string]any
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

func refuse(code, detail string) error { return &adapters.RefusedError{Code: code, Detail: detail} }

func badRequest(detail string) error { return refuse(problem.CodeBadRequest, detail) }

// details maps an error to its problem. Every error that a client can cause has a row here; what has none is ours.
func details(err error) problem.Details {
	at := func(code, detail string) problem.Details { return problem.New(problem.StatusOf(code), code, detail) }
	var invalid *queue.InvalidError
	var refused *adapters.RefusedError
	var taken *conversation.ClaimedError
	var own *Problem
	switch {
	case errors.As(err, &own):
		return problem.New(own.Status, own.Code, own.Detail)
	case errors.As(err, &refused):
		return problem.Of(refused)
	case errors.As(err, &invalid):
		return at(problem.CodeBadRequest, invalid.Detail)
	case errors.As(err, &taken):
		return at(problem.CodeAlreadyClaimed, "Another agent has claimed this conversation.")
	case errors.Is(err, store.ErrErased):
		return problem.New(fasthttp.StatusGone, CodeErased, "This conversation was erased. Only the audit log knows that it was there.")
	case errors.Is(err, store.ErrNotFound):
		return problem.Of(adapters.ErrNotFound)
	case errors.Is(err, queue.ErrForbidden):
		return at(problem.CodeForbidden, "Your role or your queues do not allow this. A supervisor may.")
	case errors.Is(err, queue.ErrMismatch):
		return at(problem.CodeIdempotencyMismatch,
			"This Idempotency-Key was used for another request on this conversation. Take a new key for a new request.")
	case errors.Is(err, store.ErrCapacity):
		return problem.New(fasthttp.StatusConflict, CodeNoCapacity,
			"The agent is not present or has no free place. POST /v1/agent/presence says that you are there.")
	case errors.Is(err, lookup.ErrNotAsked):
		return problem.New(fasthttp.StatusConflict, CodeNoLookup,
			"Nobody can be asked who this customer is: no identity was verified that is enough, or the channel has no profile lookup.")
	case errors.Is(err, lookup.ErrFailed):
		return problem.New(fasthttp.StatusBadGateway, CodeLookupFailed,
			"Your own system did not say who this customer is. What is known from before still stands; try again in a moment.")
	case errors.Is(err, conversation.ErrNotOwner):
		return problem.New(fasthttp.StatusConflict, problem.CodeNotOwner,
			"Only the agent who holds the conversation may do this. Claim it first.")
	case errors.Is(err, queue.ErrWindowClosed):
		return at(problem.CodeWindowClosed,
			"The channel takes no free text for this customer any more: too much time has passed since they wrote. They have to write first.")
	case errors.Is(err, conversation.ErrReturnLimit):
		return at(problem.CodeReturnLimit,
			"The conversation went back to the bot twice already and stays with people. A supervisor may override this.")
	case errors.Is(err, conversation.ErrMustReachHuman):
		return at(problem.CodeForbidden, "A rule demands that a person sees to this conversation first. Claim it.")
	case errors.Is(err, conversation.ErrClosed):
		return at(problem.CodeStale, "The conversation is closed.")
	case errors.Is(err, conversation.ErrStale):
		return at(problem.CodeStale, "The conversation has moved on. Read it again.")
	case errors.Is(err, conversation.ErrInvalid):
		return at(problem.CodeBadRequest, "This makes no sense for the conversation as it is.")
	case errors.Is(err, store.ErrGap):
		return at(problem.CodeStale, "What changed since then is no longer kept. Start over from the list.")
	case errors.Is(err, store.ErrUnknown):
		return problem.Of(adapters.ErrUnknownOutcome)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrStale):
		return problem.Of(adapters.ErrUnavailable)
	}
	return problem.Of(err)
}

// writeError answers with the problem of an error.
func (s *Server) writeError(ctx *fasthttp.RequestCtx, err error) {
	d := details(err)
	if d.Status == fasthttp.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		s.o.Log.Error("answering a request", "err", err)
	}
	problem.WriteDetails(ctx, d)
	var own *Problem
	if errors.As(err, &own) && len(own.Extra) > 0 {
		body := maps.Clone(own.Extra)
		body["type"], body["title"], body["status"], body["code"], body["detail"] = d.Type, d.Title, d.Status, d.Code, d.Detail
		if b, err := json.Marshal(body); err == nil {
			ctx.Response.SetBodyRaw(b)
		}
	}
	var taken *conversation.ClaimedError
	if errors.As(err, &taken) {
		body, err := json.Marshal(claimed{d, winner{Agent: taken.Winner.Agent, Name: taken.Winner.Name}})
		if err == nil {
			ctx.Response.SetBodyRaw(body)
		}
	}
}
