package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"turnout/adapters/problem"
	"turnout/gateway/api"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/rules"
)

// Rules is what the routes of rules need.
type Rules struct {
	// Book returns the rules of a tenant.
	Book func(store.Tenant) (*rulebook.Book, bool)
	// Log reads a conversation's events after seq.
	Log func(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
}

// Routes returns the routes of rules: what is in force and what was, publishing, and why an exchange was judged as it was.
func (r Rules) Routes() []api.Route {
	readers := []api.Role{api.RoleOwner, api.RoleAdmin, api.RoleAuthor, api.RoleReviewer, api.RoleSupervisor, api.RoleAuditor}
	authors := []api.Role{api.RoleOwner, api.RoleAuthor}
	row := func(method, path string, roles []api.Role, body int64, h func(*api.Call, *rulebook.Book) (any, error)) api.Route {
		return api.Route{Method: method, Path: "/v1/admin/rules" + path, Access: api.People, Roles: roles, MaxBody: body, Handle: func(c *api.Call) (any, error) {
			book, ok := r.Book(c.Tenant())
			if !ok {
				return nil, store.ErrNotFound
			}
			v, err := h(c, book)
			return v, refusal(err)
		}}
	}
	const large = 2 * rulebook.MaxSource // texts grow in JSON
	return []api.Route{
		row("GET", "", readers, 0, getRules),
		row("GET", "/versions", readers, 0, getVersions),
		row("GET", "/versions/{n}", readers, 0, getVersion),
		row("GET", "/diff", readers, 0, getDiff),
		row("POST", "/check", authors, large, postCheck),
		row("POST", "/publish", authors, large, postPublish),
		row("POST", "/rollback", authors, 0, postRollback),
		row("GET", "/explain/{id}", readers, 0, r.getExplain),
	}
}

// refusal says in words what a book refuses. What is not listed is for the server to map.
func refusal(err error) error {
	var failed *rulebook.TestsError
	var locked *rulebook.SelfTestError
	var slow *rulebook.TooSlowError
	var faults rules.Faults
	switch {
	case errors.As(err, &slow):
		return api.Refuse(problem.CodeBadRequest, slow.Error())
	case errors.Is(err, rulebook.ErrManaged):
		return api.Refuse(problem.CodeForbidden, "The configuration's files manage these rules: change them there, or have one resource of kind rules with managed: api. GET /v1/admin/rules says which file it is.")
	case errors.Is(err, rulebook.ErrLocked):
		return api.Refuse(problem.CodeForbidden, "The change touches a locked rule, which only an owner may change or remove. POST /v1/admin/rules/check lists the changes.")
	case errors.Is(err, rulebook.ErrSame):
		return api.Refuse(problem.CodeBadRequest, "These rules are in force already.")
	case errors.Is(err, rulebook.ErrNoWhy):
		return api.Refuse(problem.CodeBadRequest, fmt.Sprintf("Say why in one sentence, in at most %d bytes.", rulebook.MaxWhy))
	case errors.Is(err, rulebook.ErrTooLarge):
		return api.Refuse(problem.CodeTooLarge, fmt.Sprintf("At most %d files of together %d MiB can be published.", rulebook.MaxFiles, rulebook.MaxSource>>20))
	case errors.Is(err, rulebook.ErrPending):
		return api.Refuse(problem.CodeStale, "Another version waits for nodes to confirm it. GET /v1/admin/rules says for which; a publish with that version as its base takes its place.")
	case errors.Is(err, store.ErrStale):
		return api.Refuse(problem.CodeStale, "Other rules are in force than those that this change was made on. Look at them and publish again.")
	case errors.As(err, &faults):
		return api.Refuse(problem.CodeBadRequest, fmt.Sprintf("The rules have %d faults. POST /v1/admin/rules/check lists them.", len(faults)))
	case errors.As(err, &failed):
		return api.Refuse(problem.CodeBadRequest, fmt.Sprintf("%d of the rules' own tests fail. POST /v1/admin/rules/check lists them.", len(failed.Failed)))
	case errors.As(err, &locked):
		return api.Refuse(problem.CodeBadRequest, fmt.Sprintf("%d tests of locked rules fail. POST /v1/admin/rules/check lists them.", len(locked.Failed)))
	}
	return err
}

// inForce is the answer of GET /v1/admin/rules.
type inForce struct {
	rulebook.State
	Rules []rules.RuleRef `json:"rules"`
}

func getRules(c *api.Call, b *rulebook.Book) (any, error) {
	state, err := b.State(c.Context())
	return inForce{state, b.Rules()}, err
}

const mostVersions = 100

func getVersions(c *api.Call, b *rulebook.Book) (any, error) {
	before, err := c.Number("before", 1<<31-1)
	if err != nil {
		return nil, err
	}
	limit, err := c.Number("limit", mostVersions)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = 20
	}
	list, err := b.Versions(c.Context(), int(before), int(limit))
	if list == nil {
		list = []rulebook.Version{}
	}
	return struct {
		Versions []rulebook.Version `json:"versions"`
	}{list}, err
}

// file is a rule file in JSON.
type file struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func getVersion(c *api.Call, b *rulebook.Book) (any, error) {
	var n int
	if _, err := fmt.Sscanf(c.Param("n"), "%d", &n); err != nil || n < 1 || fmt.Sprint(n) != c.Param("n") {
		return nil, store.ErrNotFound
	}
	v, sources, err := b.Sources(c.Context(), n)
	if err != nil {
		return nil, err
	}
	files := []file{}
	for _, s := range sources {
		files = append(files, file{s.Name, string(s.Data)})
	}
	return struct {
		rulebook.Version
		Files []file `json:"files"`
	}{v, files}, nil
}

// changed are differences.
type changed struct {
	Changes []rules.Change `json:"changes"`
}

func getDiff(c *api.Call, b *rulebook.Book) (any, error) {
	from, err := c.Number("from", 1<<31-1)
	if err != nil {
		return nil, err
	}
	to, err := c.Number("to", 1<<31-1)
	if err != nil {
		return nil, err
	}
	if _, now := b.Current(); to == 0 {
		to = uint64(now)
	}
	changes, err := b.Diff(c.Context(), int(from), int(to))
	return changed{orEmpty(changes)}, err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// proposal is the body of a check and a publish.
type proposal struct {
	Files []file `json:"files"`
	Why   string `json:"why"`
	Base  int    `json:"base"`
}

func (p *proposal) sources() []rules.Source {
	var list []rules.Source
	for _, f := range p.Files {
		list = append(list, rules.Source{Name: f.Name, Data: []byte(f.Text)})
	}
	return list
}

// read decodes the body of a check or a publish.
func read(c *api.Call) (p proposal, err error) {
	if err := c.Decode(&p); err != nil {
		return p, err
	}
	names := map[string]bool{}
	for _, f := range p.Files {
		if f.Name == "" || len(f.Name) > 200 || names[f.Name] {
			return p, api.Refuse(problem.CodeBadRequest, "Each file needs a name of its own, of at most 200 bytes.")
		}
		names[f.Name] = true
	}
	if len(p.Files) == 0 {
		return p, api.Refuse(problem.CodeBadRequest, "files lists the rule files, each with a name and a text.")
	}
	return p, nil
}

// checked is the answer of a check.
type checked struct {
	// Base is the version in force, to be sent with the publish.
	Base int `json:"base"`
	// Pending is the version that waits for nodes to confirm it; as the base of a publish it is replaced.
	Pending int            `json:"pending,omitempty"`
	OK      bool           `json:"ok"`
	Faults  rules.Faults   `json:"faults"`
	Failed  []failed       `json:"failed"`
	Changes []rules.Change `json:"changes"`
}

// failed is a test that did not come out as written.
type failed struct {
	Rule   string `json:"rule"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Want   bool   `json:"want"`
	Got    bool   `json:"got"`
}

func postCheck(c *api.Call, b *rulebook.Book) (any, error) {
	p, err := read(c)
	if err != nil {
		return nil, err
	}
	_, base := b.Current()
	pending, err := b.Pending(c.Context())
	if err != nil {
		return nil, err
	}
	out := checked{Base: base, Pending: pending, Faults: rules.Faults{}, Failed: []failed{}, Changes: []rules.Change{}}
	changes, err := b.Examine(c.Context(), p.sources())
	var faults rules.Faults
	var tests *rulebook.TestsError
	var locked *rulebook.SelfTestError
	switch {
	case err == nil:
		out.OK, out.Changes = true, orEmpty(changes)
	case errors.As(err, &faults):
		out.Faults = faults
	case errors.As(err, &tests):
		out.Failed = failedOf(tests.Failed)
	case errors.As(err, &locked):
		out.Failed = failedOf(locked.Failed)
	default:
		return nil, err
	}
	return out, nil
}

func failedOf(results []rules.TestResult) []failed {
	var list []failed
	for _, t := range results {
		list = append(list, failed{t.Rule, t.File, t.Line, t.Column, t.Want, t.Got})
	}
	return list
}

func postPublish(c *api.Call, b *rulebook.Book) (any, error) {
	p, err := read(c)
	if err != nil {
		return nil, err
	}
	return answer(b.Publish(c.Context(), rulebook.Proposal{
		Sources: p.sources(), Why: p.Why, Base: p.Base, By: c.Actor(), Owner: c.Role() == api.RoleOwner,
	}))
}

func postRollback(c *api.Call, b *rulebook.Book) (any, error) {
	var p struct {
		Version int    `json:"version"`
		Why     string `json:"why"`
		Base    int    `json:"base"`
	}
	if err := c.Decode(&p); err != nil {
		return nil, err
	}
	return answer(b.Rollback(c.Context(), p.Version, rulebook.Proposal{Why: p.Why, Base: p.Base, By: c.Actor(), Owner: c.Role() == api.RoleOwner}))
}

func answer(p rulebook.Published, err error) (any, error) {
	if p.N > 0 && err != nil {
		// The version is durable and will come into force: that it cannot be said when is no refusal.
		err = nil
	}
	p.Changes = orEmpty(p.Changes)
	return p, err
}

// mostEvents bounds the log of a conversation that is explained, mostTraces the rules times the exchanges of one answer.
const (
	mostEvents = 20_000
	mostTraces = 20_000
)

// explained is one judgement of a conversation, explained.
type explained struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Turn    string    `json:"turn,omitempty"`
	Version int       `json:"version"`
	// Agrees is set when the rules come to what was recorded; Recorded is that, where they do not.
	Agrees   bool     `json:"agrees"`
	Recorded []string `json:"recorded,omitempty"`
	Tripped  []string `json:"tripped,omitempty"`
	*rules.Explanation
}

// getExplain explains the judgements of a conversation: all, or the one of seq, with all rules or with one.
func (r Rules) getExplain(c *api.Call, b *rulebook.Book) (any, error) {
	seq, err := c.Number("seq", 1<<62)
	if err != nil {
		return nil, err
	}
	events, err := r.events(c.Context(), store.Ref{Tenant: c.Tenant(), ID: c.Param("id")})
	if err != nil {
		return nil, err
	}
	recorded, err := exchange.Read(events)
	if err != nil {
		return nil, err
	}
	// Who may read conversations sees the values; the others see how the rules came to their results.
	whole := c.Role() == api.RoleOwner || c.Role() == api.RoleSupervisor
	if whole {
		if err := c.Record("rules.explained", c.Param("id")); err != nil {
			return nil, err
		}
	}
	complete := len(events) < mostEvents
	rule := c.Query("rule")
	if seq != 0 {
		recorded = slices.DeleteFunc(recorded, func(r exchange.Recorded) bool { return r.Seq != seq })
		if len(recorded) == 0 {
			return nil, store.ErrNotFound
		}
	} else if set, _ := b.Current(); rule == "" {
		if n := max(1, mostTraces/max(1, set.Len())); len(recorded) > n { // the last ones; earlier ones by seq
			recorded, complete = recorded[len(recorded)-n:], false
		}
	}
	out := []explained{}
	for i := range recorded {
		e, err := explain(c.Context(), b, &recorded[i])
		if err != nil {
			return nil, err
		}
		if rule != "" {
			e.Rules = slices.DeleteFunc(e.Rules, func(t rules.RuleTrace) bool { return t.Rule != rule })
		}
		if !whole {
			e.Redact()
		}
		out = append(out, e)
	}
	return struct {
		Exchanges []explained `json:"exchanges"`
		// Complete is false for a conversation too long to be explained as a whole in one answer.
		Complete bool `json:"complete"`
	}{out, complete}, nil
}

func (r Rules) events(ctx context.Context, ref store.Ref) (events []conversation.Event, err error) {
	for len(events) < mostEvents {
		after := uint64(0)
		if len(events) > 0 {
			after = events[len(events)-1].Seq
		}
		page, err := r.Log(ctx, ref, after, 1000)
		if err != nil || len(page) == 0 {
			return events, err
		}
		events = append(events, page...)
	}
	return events, nil
}

func explain(ctx context.Context, b *rulebook.Book, r *exchange.Recorded) (explained, error) {
	explainer, err := b.Explainer(ctx, r.Rules, r.Inputs.Tripped)
	if err != nil {
		return explained{}, err
	}
	e := explained{
		Seq: r.Seq, At: r.At.UTC(), Turn: r.Turn, Version: r.Rules, Tripped: r.Inputs.Tripped, Explanation: explainer.Explain(&r.Exchange),
	}
	var matched, failed []string
	for _, t := range e.Rules {
		switch t.Result {
		case rules.Matched:
			matched = append(matched, t.Rule)
		case rules.Failed:
			failed = append(failed, t.Rule)
		}
	}
	was, broke := r.Matched()
	e.Agrees = same(matched, was) && same(failed, broke)
	if !e.Agrees {
		e.Recorded = slices.Concat(was, broke)
	}
	return e, nil
}

func same(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
