package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
	"turnout/gateway/api"
	"turnout/gateway/privacy"
	"turnout/gateway/store"
)

// The codes of what stands in the way of an erasure.
const (
	CodeLegalHold      = "legal_hold"
	CodeMustReachHuman = "must_reach_human"
)

// Privacy is what a tenant owes the people whose words it keeps.
type Privacy struct {
	Of  *privacy.Privacy
	Now func() time.Time
	Log *slog.Logger
}

// Routes returns the routes of erasure, of copies for persons, of holds and of retention. Who is erased or exported is named
// in bodies, so that no address stands in the log of a proxy.
func (p Privacy) Routes() []api.Route {
	act := []api.Role{api.RoleOwner, api.RoleAdmin}
	see := []api.Role{api.RoleOwner, api.RoleAdmin, api.RoleAuditor}
	owner := []api.Role{api.RoleOwner}
	row := func(method, path string, roles []api.Role, h api.Handler) api.Route {
		return api.Route{Method: method, Path: "/v1/admin/" + path, Access: api.People, Roles: roles, Handle: h}
	}
	return []api.Route{
		row("POST", "erasures", act, p.erase),
		row("GET", "erasures", see, p.erasures),
		row("GET", "erasures/{id}", see, p.erasure),
		row("POST", "persons/export", owner, p.export),
		row("GET", "holds", see, p.holds),
		row("POST", "holds", owner, p.hold),
		row("POST", "holds/{id}/lift", owner, p.lift),
		row("GET", "retention", see, p.retention),
		row("POST", "retention/dry-run", see, p.dryRun),
	}
}

// erasureBody asks for an erasure.
type erasureBody struct {
	privacy.Person
	// Defer: if something stands in the way, wait until nothing does, instead of a refusal.
	Defer bool `json:"defer"`
	// DryRun: only say what would be erased.
	DryRun bool `json:"dry_run"`
}

// erasureAnswer is an erasure, or for a dry run what one would be; then it has no id.
type erasureAnswer struct {
	ID            string        `json:"id,omitempty"`
	State         privacy.State `json:"state,omitempty"`
	Conversations []string      `json:"conversations"`
	// Waiting is the id of the hold that stands in the way, or of the conversation that a person has to see to first.
	Waiting     string     `json:"waiting,omitempty"`
	By          string     `json:"by,omitempty"`
	RequestedAt *time.Time `json:"requested_at,omitempty"`
	DoneAt      *time.Time `json:"done_at,omitempty"`
}

func erasureOf(e privacy.Erasure) erasureAnswer {
	return erasureAnswer{
		ID: e.ID, State: e.State, Conversations: e.Conversations, Waiting: e.Waiting, By: e.By,
		RequestedAt: instant(e.RequestedAt), DoneAt: instant(e.DoneAt),
	}
}

func (p Privacy) erase(c *api.Call) (any, error) {
	var body erasureBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.DryRun {
		plan, err := p.Of.Plan(c.Context(), c.Tenant(), body.Person)
		if err != nil {
			return nil, owed(err)
		}
		out := erasureAnswer{Conversations: plan.Conversations}
		var held *privacy.HeldError
		var must *privacy.ErrMustReachHuman
		switch {
		case errors.As(plan.Obstacle, &held):
			out.Waiting = held.Hold
		case errors.As(plan.Obstacle, &must):
			out.Waiting = must.Conversation
		}
		return out, nil
	}
	e, err := p.Of.Request(c.Context(), c.Tenant(), body.Person, body.Defer, c.Actor())
	if err != nil {
		return nil, owed(err)
	}
	return erasureOf(e), nil
}

// owed turns what privacy fails with into what the caller has to know.
func owed(err error) error {
	var held *privacy.HeldError
	var must *privacy.ErrMustReachHuman
	switch {
	case errors.As(err, &held):
		return &api.Problem{
			Status: fasthttp.StatusConflict, Code: CodeLegalHold, Extra: map[string]any{"hold": held.Hold},
			Detail: "Legal hold " + held.Hold + " keeps this. Nothing was erased. Lift it first, or ask with defer.",
		}
	case errors.As(err, &must):
		return &api.Problem{
			Status: fasthttp.StatusConflict, Code: CodeMustReachHuman, Extra: map[string]any{"conversation": must.Conversation},
			Detail: "A rule demands that a person sees to conversation " + must.Conversation + " first. Nothing was erased. Resolve it, or ask with defer.",
		}
	case errors.Is(err, privacy.ErrPerson):
		return api.Refuse(problem.CodeBadRequest, "Name a person by conversation, by contact, or by channel and address.")
	case errors.Is(err, privacy.ErrReason):
		return api.Refuse(problem.CodeBadRequest, "Say why: reason has 1 to 500 letters.")
	case errors.Is(err, privacy.ErrTooMany):
		return api.Refuse(problem.CodeBadRequest, "More than 10,000 conversations belong to this person. Erase by conversation.")
	}
	return err
}

// erasureList is a page of erasures.
type erasureList struct {
	Items  []erasureAnswer `json:"items"`
	Cursor string          `json:"cursor,omitempty"`
}

// mostItems bounds a page of these lists.
const mostItems = 200

func (p Privacy) erasures(c *api.Call) (any, error) {
	out := erasureList{Items: []erasureAnswer{}}
	var err error
	out.Cursor, err = paged(c, func(after string, limit int) (last string, n int, err error) {
		list, err := p.Of.Erasures(c.Context(), c.Tenant(), after, limit)
		for _, e := range list {
			last = e.ID
			out.Items = append(out.Items, erasureOf(e))
		}
		return last, len(list), err
	})
	return out, err
}

// paged reads one page of a list of the store and returns the cursor to the next.
func paged(c *api.Call, read func(after string, limit int) (last string, n int, err error)) (string, error) {
	limit, err := c.Limit(mostItems/4, mostItems)
	if err != nil {
		return "", err
	}
	after, err := c.Cursor()
	if err != nil {
		return "", err
	}
	last, n, err := read(after, limit)
	if err != nil || n < limit {
		return "", err
	}
	return c.CursorOf(last), nil
}

func (p Privacy) erasure(c *api.Call) (any, error) {
	e, err := p.Of.Erasure(c.Context(), c.Tenant(), c.Param("id"))
	if err != nil {
		return nil, err
	}
	return erasureOf(e), nil
}

// copyBody asks for everything that is held of a person.
type copyBody struct {
	privacy.Person
	// Format is zip (the default), with attachments, or jsonl.
	Format string `json:"format"`
}

func (p Privacy) export(c *api.Call) (any, error) {
	var body copyBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	body.Format = cmp.Or(body.Format, "zip")
	if body.Format != "zip" && body.Format != "jsonl" {
		return nil, api.Refuse(problem.CodeBadRequest, "format must be zip or jsonl.")
	}
	copied, err := p.Of.Copy(c.Context(), c.Tenant(), body.Person)
	if err != nil {
		return nil, owed(err)
	}
	// Each conversation by its id: the entry names no person, and does not have to.
	for _, conv := range copied.Conversations {
		if err := c.Record("person.exported", conv); err != nil {
			return nil, err
		}
	}
	write, kind := copied.Zip, "application/zip"
	if body.Format == "jsonl" {
		write, kind = copied.JSONL, "application/jsonl"
	}
	name := fmt.Sprintf("person-%s-%s.%s", c.Tenant().Name(), p.Now().UTC().Format(fileTime), body.Format)
	return piped(c, p.Log, kind, name, func(ctx context.Context, w io.Writer) error { return write(ctx, w) }), nil
}

// holdBody sets a hold on a person, a conversation, or everything.
type holdBody struct {
	privacy.Person
	Everything bool   `json:"everything"`
	Reason     string `json:"reason"`
}

// holdList is a page of holds.
type holdList struct {
	Items  []privacy.Hold `json:"items"`
	Cursor string         `json:"cursor,omitempty"`
}

func (p Privacy) holds(c *api.Call) (any, error) {
	out := holdList{Items: []privacy.Hold{}}
	var err error
	out.Cursor, err = paged(c, func(after string, limit int) (last string, n int, err error) {
		list, err := p.Of.Holds(c.Context(), c.Tenant(), after, limit)
		for _, h := range list {
			last = h.ID
			if c.Role() == api.RoleAuditor { // who sees figures sees no addresses
				h.Address = ""
			}
			out.Items = append(out.Items, h)
		}
		return last, len(list), err
	})
	return out, err
}

func (p Privacy) hold(c *api.Call) (any, error) {
	var body holdBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	h, err := p.Of.SetHold(c.Context(), c.Tenant(), privacy.Hold{Person: body.Person, Everything: body.Everything, Reason: body.Reason}, c.Actor())
	if err != nil {
		return nil, owed(err)
	}
	return heldAnswer{h}, nil
}

// heldAnswer is a hold that was set. What is remembered of the answer names no address.
type heldAnswer struct{ privacy.Hold }

// Kept implements api.Kept.
func (h heldAnswer) Kept() any {
	h.Address = ""
	return h.Hold
}

func (p Privacy) lift(c *api.Call) (any, error) {
	return nil, p.Of.LiftHold(c.Context(), c.Tenant(), c.Param("id"), c.Actor())
}

// retentionAnswer is a tenant's policy, in days (0: for good), and the last run.
type retentionAnswer struct {
	Attachments float64      `json:"attachments_days"`
	Messages    float64      `json:"messages_days"`
	Figures     float64      `json:"figures_days"`
	Last        *privacy.Run `json:"last,omitempty"`
}

func (p Privacy) retention(c *api.Call) (any, error) {
	policy := p.Of.PolicyOf(c.Tenant())
	days := func(d time.Duration) float64 { return d.Hours() / 24 }
	out := retentionAnswer{Attachments: days(policy.Attachments), Messages: days(policy.Messages), Figures: days(policy.Figures)}
	last, err := p.Of.LastRun(c.Context(), c.Tenant())
	switch {
	case err == nil:
		out.Last = &last
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	return out, nil
}

func (p Privacy) dryRun(c *api.Call) (any, error) { return p.Of.DryRun(c.Context(), c.Tenant()) }
