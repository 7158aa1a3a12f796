package admin

import (
	"context"
	"errors"
	"fmt"

	"turnout/adapters/problem"
	"turnout/gateway/api"
	"turnout/gateway/conversation"
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
	return ruleVersions{list}, err
}

// ruleVersions are versions, the newest first.
type ruleVersions struct {
	Versions []rulebook.Version `json:"versions"`
}

// ruleSources is a version with its files.
type ruleSources struct {
	rulebook.Version
	Files []file `json:"files"`
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
	return ruleSources{v, files}, nil
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

// rollback is the body that brings a version back.
type rollback struct {
	Version int    `json:"version"`
	Why     string `json:"why"`
	Base    int    `json:"base"`
}

func postRollback(c *api.Call, b *rulebook.Book) (any, error) {
	var p rollback
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
