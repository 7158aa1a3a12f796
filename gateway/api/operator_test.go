package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"turnout/adapters"
	remote "turnout/gateway/api/client"
	"turnout/gateway/audit"
	"turnout/gateway/store"
)

type thing struct {
	Name string `json:"name"`
}

// area is a small area of administration, as a package of its own would bring it in.
func area(o *Options) {
	o.Admin = append(o.Admin,
		Route{
			Method: "POST", Path: "/v1/admin/things/{id}", Access: People, Roles: []Role{RoleOwner, RoleAuthor}, Scope: ScopeRulesWrite,
			MaxBody: 1 << 20, Doc: Doc{Summary: "Make a thing.", Body: thing{}, Answer: map[string]any{}}, Handle: func(c *Call) (any, error) {
				var body thing
				if err := c.Decode(&body); err != nil {
					return nil, err
				}
				switch c.Param("id") {
				case "gone":
					return nil, store.ErrNotFound
				case "odd":
					return nil, Refuse("bad_request", "A thing has an even id.")
				}
				if err := c.Record("thing.made", c.Param("id")); err != nil {
					return nil, err
				}
				return map[string]any{"tenant": c.Tenant().Name(), "actor": c.Actor(), "name": len(body.Name)}, nil
			},
		},
		Route{Method: "GET", Path: "/v1/admin/things", Access: People, Roles: []Role{RoleOwner}, Handle: func(*Call) (any, error) {
			return &Stream{Type: "application/jsonl", Name: "things.jsonl", Size: -1, Body: io.NopCloser(strings.NewReader("{}\n{}\n"))}, nil
		}},
		Route{Method: "POST", Path: "/v1/admin/restart", Access: Operator, Handle: func(c *Call) (any, error) { return nil, nil }},
	)
}

// operator returns a client of the bench's socket.
func (b *bench) operator(tenant string) *remote.Client {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "turnout.sock")
	if err := b.server.ListenSocket(file); err != nil {
		b.t.Fatal(err)
	}
	return remote.Socket(file, tenant)
}

func (b *bench) chain(tenant store.Tenant) (entries []audit.Entry) {
	b.t.Helper()
	rows, err := b.Store.Entries(context.Background(), tenant, "", 0, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, row := range rows {
		var e audit.Entry
		if err := json.Unmarshal(row, &e); err != nil {
			b.t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func TestOperator(t *testing.T) {
	b := start(t, area)
	op := b.operator("acme")
	var st status
	if err := op.Do(t.Context(), "GET", "/v1/admin/status", nil, &st); err != nil {
		t.Fatal(err)
	}
	if st.Status != "ok" || st.Durability != "memory" || st.Tenant != "acme" {
		t.Errorf("%+v", st)
	}
	var made struct{ Tenant, Actor string }
	body := map[string]string{"name": strings.Repeat("x", 300<<10)} // more than the server's usual limit
	if err := op.Do(t.Context(), "POST", "/v1/admin/things/2", body, &made); err != nil {
		t.Fatal(err)
	}
	want := "operator:" + strconv.Itoa(os.Getuid())
	if made.Tenant != "acme" || made.Actor != want {
		t.Errorf("%+v", made)
	}
	if chain := b.chain(acme); len(chain) != 1 || chain[0].Actor != want || chain[0].Type != "thing.made" || chain[0].Kind != "2" {
		t.Errorf("the chain: %+v", chain)
	}
	if err := op.Do(t.Context(), "POST", "/v1/admin/restart", nil, nil); err != nil {
		t.Error(err)
	}
	lines, err := op.Stream(t.Context(), "GET", "/v1/admin/things", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	if got, err := io.ReadAll(lines); err != nil || string(got) != "{}\n{}\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOperatorIsRefused(t *testing.T) {
	b := start(t, area)
	file := filepath.Join(t.TempDir(), "turnout.sock")
	if err := b.server.ListenSocket(file); err != nil {
		t.Fatal(err)
	}
	big := map[string]string{"name": strings.Repeat("x", 8<<20)}
	for name, tt := range map[string]struct {
		tenant, method, path string
		body                 any
		status               int
		says                 string
	}{
		"no tenant":          {"", "GET", "/v1/admin/status", nil, 400, "Name a tenant of this node (--tenant): acme, other. (400 bad_request)"},
		"no such tenant":     {"acne", "GET", "/v1/admin/status", nil, 400, "acme, other"},
		"no such thing":      {"acme", "POST", "/v1/admin/things/gone", nil, 404, "(404 not_found)"},
		"refused":            {"acme", "POST", "/v1/admin/things/odd", nil, 400, "A thing has an even id."},
		"too large":          {"acme", "POST", "/v1/admin/things/2", big, 413, "(413 too_large)"},
		"a field too many":   {"acme", "POST", "/v1/admin/things/2", map[string]int{"nom": 1}, 400, "It knows: name."},
		"not administration": {"acme", "GET", "/v1/agent/me", nil, 404, "(404 not_found)"},
	} {
		t.Run(name, func(t *testing.T) {
			err := remote.Socket(file, tt.tenant).Do(t.Context(), tt.method, tt.path, tt.body, nil)
			var p *remote.Problem
			if !errors.As(err, &p) || p.Status != tt.status || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %d %s", err, tt.status, tt.says)
			}
		})
	}
	// The header means nothing on the public listener.
	b.want(401, "unauthenticated", b.request("GET", "/v1/admin/status", "", TenantHeader, "acme"))
	var st status
	b.want(200, "", b.as("acme/owner", "GET", "/v1/admin/status", "", TenantHeader, "other")).into(t, &st)
	if st.Tenant != "acme" {
		t.Errorf("an owner of acme reads of %s", st.Tenant)
	}
}

func TestScopes(t *testing.T) {
	b := start(t, area)
	keys := map[string]string{}
	var accounts []Account
	for name, scopes := range map[string][]Scope{"none": nil, "status": {ScopeStatus}, "rules": {ScopeRulesWrite, ScopeRulesRead}} {
		a := b.account(acme, name, RoleIntegration)
		a.Keys[0].Scopes = scopes
		accounts = append(accounts, a)
		keys[name] = b.keys["acme/"+name]
	}
	dir, err := NewAccounts(accounts, map[store.Tenant][]string{acme: {"support"}})
	if err != nil {
		t.Fatal(err)
	}
	b.o.Accounts = dir
	b.serve()
	for name, want := range map[string][2]int{"none": {403, 403}, "status": {200, 403}, "rules": {403, 200}} {
		auth := []string{"Authorization", "Bearer " + keys[name]}
		got := [2]int{
			b.request("GET", "/v1/admin/status", "", auth...).status, b.request("POST", "/v1/admin/things/2", "", auth...).status,
		}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	a := b.account(acme, "wide", RoleAdmin)
	a.Keys[0].Scopes = []Scope{ScopeStatus}
	if _, err := NewAccounts([]Account{a}, nil); err == nil {
		t.Error("the key of an admin has scopes")
	}
}

func TestRowsThatAreRefused(t *testing.T) {
	b := start(t)
	good := Route{
		Method: "GET", Path: "/v1/admin/things", Access: People, Roles: []Role{RoleOwner},
		Handle: func(*Call) (any, error) { return nil, nil },
	}
	for name, tt := range map[string]struct {
		change func(*Route)
		says   string
	}{
		"no access":           {func(r *Route) { r.Access = 0 }, "for people or for the operator"},
		"public":              {func(r *Route) { r.Access = Public }, "for people or for the operator"},
		"nobody":              {func(r *Route) { r.Roles = nil }, "names no roles"},
		"a scope alone":       {func(r *Route) { r.Roles, r.Scope = nil, ScopeStatus }, "names no roles"},
		"operator with roles": {func(r *Route) { r.Access = Operator }, "neither roles nor a scope"},
		"elsewhere":           {func(r *Route) { r.Path = "/v1/agent/things" }, "not below /v1/admin/"},
		"no handler":          {func(r *Route) { r.Handle = nil }, "no handler"},
		"unknown scope":       {func(r *Route) { r.Scope = "things:read" }, "unknown scope"},
		"unknown role":        {func(r *Route) { r.Roles = []Role{"king"} }, `"king"`},
		"integration":         {func(r *Route) { r.Roles = append(r.Roles, RoleIntegration) }, "by a scope"},
		"taken":               {func(r *Route) { r.Path = "/v1/admin/status" }, "served twice"},
	} {
		r := good
		r.Roles = []Role{RoleOwner}
		tt.change(&r)
		o := b.o
		o.Admin = []Route{r}
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRemoteClient(t *testing.T) {
	b := start(t)
	owner, err := remote.Remote(b.url, adapters.NewSecret(b.keys["acme/owner"]))
	if err != nil {
		t.Fatal(err)
	}
	var st status
	if err := owner.Do(t.Context(), "GET", "/v1/admin/status", nil, &st); err != nil || st.Tenant != "acme" {
		t.Errorf("%+v, %v", st, err)
	}
	agent, err := remote.Remote(b.url+"/", adapters.NewSecret(b.keys["acme/agent"]))
	if err != nil {
		t.Fatal(err)
	}
	err = agent.Do(t.Context(), "GET", "/v1/admin/status", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "(403 forbidden)") || strings.Contains(err.Error(), b.keys["acme/agent"]) {
		t.Errorf("%v", err)
	}
	for _, server := range []string{"", "chat.example.com", "ftp://x", "http://chat.example.com"} {
		if _, err := remote.Remote(server, adapters.NewSecret("tk_x.y")); err == nil {
			t.Errorf("%q: a key is sent there", server)
		}
	}
	err = remote.Socket(filepath.Join(t.TempDir(), "turnout.sock"), "").Do(t.Context(), "GET", "/v1/admin/status", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("no socket: %v", err)
	}
}
