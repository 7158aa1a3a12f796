package admin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
	"turnout/gateway/vault"
)

// Vault keeps sealed secrets.
type Vault interface {
	Read(ctx context.Context, t store.Tenant) (vault.Values, error)
	Put(ctx context.Context, t store.Tenant, name string, value adapters.Secret, by string, now int64) (vault.Secret, error)
	Remove(ctx context.Context, t store.Tenant, name, by string, now int64) error
}

// Secrets returns the routes of a tenant's sealed secrets. None of them gives out a value.
func Secrets(node Node, v Vault, versions store.Versions, now func() time.Time) []api.Route {
	s := &secretRoutes{node, v, versions, now}
	return []api.Route{
		{Method: "GET", Path: "/v1/admin/secrets", Access: api.People, Roles: readers, Handle: s.list},
		{Method: "PUT", Path: "/v1/admin/secrets/{id}", Access: api.People, Roles: changers, Handle: s.put},
		{Method: "DELETE", Path: "/v1/admin/secrets/{id}", Access: api.People, Roles: changers, Handle: s.remove},
	}
}

type secretRoutes struct {
	node     Node
	vault    Vault
	versions store.Versions
	now      func() time.Time
}

// secretInfo is what may be known of a secret.
type secretInfo struct {
	Name    string    `json:"name"`
	Version int       `json:"version"` // how many values it had
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	// UsedBy are the resources that refer to it, as "kind/name".
	UsedBy []string `json:"used_by,omitempty"`
}

func infoOf(s vault.Secret, used []string) secretInfo {
	return secretInfo{Name: s.Name, Version: s.Version, At: time.UnixMilli(s.At).UTC(), By: s.By, UsedBy: used}
}

type secretList struct {
	Items  []secretInfo `json:"items"`
	Cursor string       `json:"cursor,omitempty"`
}

func (s *secretRoutes) list(call *api.Call) (any, error) {
	values, err := s.vault.Read(call.Context(), call.Tenant())
	if err != nil {
		return nil, err
	}
	v, err := resource.Current(call.Context(), s.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	page, next, err := api.Page(call, values.List(), func(s vault.Secret) string { return s.Name })
	if err != nil {
		return nil, err
	}
	out := secretList{Items: make([]secretInfo, len(page)), Cursor: next}
	for i, secret := range page {
		out.Items[i] = infoOf(secret, usersOf(v.Set, secret.Name))
	}
	return out, nil
}

// secretBody is the body that puts a secret.
type secretBody struct {
	Value string `json:"value"`
}

// put gives a secret a value and builds anew what uses it. A value with which that fails is taken back.
func (s *secretRoutes) put(call *api.Call) (any, error) {
	name := call.Param("id")
	var body secretBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	switch {
	case !config.SealedForm.MatchString(name):
		return nil, api.Refuse("bad_request", "A secret's name is 1 to 40 lower-case letters, digits and hyphens.")
	case body.Value == "" || len(body.Value) > vault.MaxValue:
		return nil, api.Refuse("bad_request", "A secret's value is 1 byte to 64 KiB.")
	}
	v, err := resource.Current(call.Context(), s.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	if err := maySet(call, v.Set, name); err != nil {
		return nil, err
	}
	before, err := s.vault.Read(call.Context(), call.Tenant())
	if err != nil {
		return nil, err
	}
	secret, err := s.vault.Put(call.Context(), call.Tenant(), name, adapters.NewSecret(body.Value), call.Actor(), s.now().UnixMilli())
	if err != nil {
		return nil, err
	}
	var used []string
	if _, err := change(call, s.node, func(set resource.Set) (resource.Set, error) {
		used = usersOf(set, name)
		return set, nil
	}); err != nil {
		return nil, errors.Join(err, restore(call, s.vault, name, before, s.now()))
	}
	return infoOf(secret, used), nil
}

// restoring is how long it may take to take a value back, whatever became of the call.
const restoring = 5 * time.Second

// restore gives a secret the value that it had before, or takes it out if it had none.
func restore(call *api.Call, v Vault, name string, before vault.Values, now time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(call.Context()), restoring)
	defer cancel()
	old, err := before.Get(name)
	if err != nil {
		return v.Remove(ctx, call.Tenant(), name, call.Actor(), now.UnixMilli())
	}
	_, err = v.Put(ctx, call.Tenant(), name, old, call.Actor(), now.UnixMilli())
	return err
}

func (s *secretRoutes) remove(call *api.Call) (any, error) {
	name := call.Param("id")
	v, err := resource.Current(call.Context(), s.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	if err := maySet(call, v.Set, name); err != nil {
		return nil, err
	}
	if used := usersOf(v.Set, name); len(used) > 0 {
		return nil, &api.Problem{
			Status: fasthttp.StatusConflict, Code: CodeInUse,
			Detail: "The secret is used by " + strings.Join(used, ", ") + ". Change that first.", Extra: map[string]any{"used_by": used},
		}
	}
	return nil, s.vault.Remove(call.Context(), call.Tenant(), name, call.Actor(), s.now().UnixMilli())
}

// maySet keeps what owners sign in by in the hands of owners: who could set it could become one. That are the names of
// passwords, and whatever else an owner's password or key refers to.
func maySet(call *api.Call, s resource.Set, name string) error {
	switch {
	case call.Role() == api.RoleOwner:
	case strings.HasPrefix(name, passwordPrefix):
		return errReserved
	case ofOwner(s, name):
		return errOwners
	}
	return nil
}

// ofOwner reports whether an owner's password or key refers to a secret.
func ofOwner(s resource.Set, name string) bool {
	for _, r := range s.Resources {
		if r.Kind == "agent" && roleOf(r.Spec) == config.RoleOwner && uses(r, name) {
			return true
		}
	}
	return false
}

var errOwners = api.Refuse("forbidden", "An owner signs in by this secret. Only an owner may set or remove it.")

var errReserved = api.Refuse("forbidden", "Secrets that begin with "+passwordPrefix+" are passwords; set them with POST /v1/admin/users/{id}/password.")

// usersOf names the resources that refer to a sealed secret.
func usersOf(s resource.Set, name string) (used []string) {
	for _, r := range s.Resources {
		if uses(r, name) {
			used = append(used, r.Kind+"/"+r.Name)
		}
	}
	return used
}

func uses(r config.Resource, name string) bool {
	var spec any
	return json.Unmarshal(r.Spec, &spec) == nil && holds(spec, "sealed:"+name)
}

// holds reports whether a value has a reference in it: as a text of its own, or in that of a header behind a word and a
// space ("Bearer sealed:name").
func holds(v any, ref string) bool {
	switch v := v.(type) {
	case string:
		_, last, _ := strings.Cut(v, " ")
		return v == ref || last == ref
	case []any:
		for _, item := range v {
			if holds(item, ref) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if holds(item, ref) {
				return true
			}
		}
	}
	return false
}
