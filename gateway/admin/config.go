package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
)

// Node is what the routes of configuration need of a node.
type Node interface {
	// Reload puts into force what the files say now.
	Reload(ctx context.Context, by string) (resource.Applied, error)
	// Change changes what a tenant has over the API, all of it or nothing.
	Change(ctx context.Context, t store.Tenant, by string, change func(resource.Set) (resource.Set, error)) (resource.Applied, error)
}

// maxConfig is the largest body that changes a configuration.
const maxConfig = 1 << 20

var (
	changers = []api.Role{api.RoleOwner, api.RoleAdmin}
	readers  = []api.Role{api.RoleOwner, api.RoleAdmin, api.RoleAuditor}
)

// Config returns the routes of a tenant's configuration.
func Config(node Node, versions store.Versions) []api.Route {
	c := &configRoutes{node, versions}
	return []api.Route{
		{Method: "POST", Path: "/v1/admin/reload", Access: api.Operator, Handle: c.reload},
		{Method: "GET", Path: "/v1/admin/resources", Access: api.People, Roles: readers, Handle: c.list},
		{Method: "POST", Path: "/v1/admin/resources", Access: api.People, Roles: changers, MaxBody: maxConfig, Handle: c.apply},
		{Method: "GET", Path: "/v1/admin/resources/{kind}/{id}", Access: api.People, Roles: readers, Handle: c.get},
		{Method: "PUT", Path: "/v1/admin/resources/{kind}/{id}", Access: api.People, Roles: changers, MaxBody: maxConfig, Handle: c.put},
		{Method: "DELETE", Path: "/v1/admin/resources/{kind}/{id}", Access: api.People, Roles: changers, Handle: c.remove},
		{Method: "GET", Path: "/v1/admin/versions", Access: api.People, Roles: readers, Handle: c.history},
		{Method: "GET", Path: "/v1/admin/versions/{id}", Access: api.People, Roles: readers, Handle: c.version},
	}
}

type configRoutes struct {
	node     Node
	versions store.Versions
}

func (c *configRoutes) reload(call *api.Call) (any, error) {
	applied, err := c.node.Reload(call.Context(), call.Actor())
	return applied, faulty(err)
}

// resourceList is a page of what a tenant consists of.
type resourceList struct {
	Version  int                 `json:"version"`
	Items    []config.Resource   `json:"items"`
	Archived []resource.Archived `json:"archived,omitempty"`
	Cursor   string              `json:"cursor,omitempty"`
}

func (c *configRoutes) list(call *api.Call) (any, error) {
	v, err := resource.Current(call.Context(), c.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	kind := call.Query("kind")
	items := slices.DeleteFunc(slices.Clone(v.Set.Resources), func(r config.Resource) bool { return kind != "" && r.Kind != kind })
	page, next, err := api.Page(call, items, func(r config.Resource) string { return r.Kind + "/" + r.Name })
	if err != nil {
		return nil, err
	}
	out := resourceList{Version: v.N, Items: page, Cursor: next}
	if call.Query("cursor") == "" {
		for _, a := range v.Set.Archived {
			if kind == "" || a.Kind == kind {
				out.Archived = append(out.Archived, a)
			}
		}
	}
	return out, nil
}

// oneResource is a resource with the version of the configuration that it was read from.
type oneResource struct {
	config.Resource
	Version int `json:"version"`
}

func (c *configRoutes) get(call *api.Call) (any, error) {
	v, err := resource.Current(call.Context(), c.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	r, ok := v.Set.Find(call.Param("kind"), call.Param("id"))
	if !ok {
		return nil, store.ErrNotFound
	}
	return oneResource{r, v.N}, nil
}

// resourceBody is the body that puts a resource.
type resourceBody struct {
	Spec json.RawMessage `json:"spec"`
	// Version is that of the configuration that the change was made upon; 0: whatever there is.
	Version int `json:"version"`
}

func (c *configRoutes) put(call *api.Call) (any, error) {
	var body resourceBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	r := config.Resource{Kind: call.Param("kind"), Name: call.Param("id"), Spec: body.Spec}
	return c.change(call, body.Version, func(s resource.Set) (resource.Set, error) { return put(call, s, r) })
}

func (c *configRoutes) remove(call *api.Call) (any, error) {
	return c.change(call, 0, func(s resource.Set) (resource.Set, error) {
		return removeResource(call, s, call.Param("kind"), call.Param("id"))
	})
}

// applyBody is several changes that come into force together.
type applyBody struct {
	Resources []putBody `json:"resources"`
	Remove    []nameOf  `json:"remove"`
	Version   int       `json:"version"`
}

type putBody struct {
	Kind string          `json:"kind"`
	Name string          `json:"name"`
	Spec json.RawMessage `json:"spec"`
}

type nameOf struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func (c *configRoutes) apply(call *api.Call) (any, error) {
	var body applyBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	return c.change(call, body.Version, func(s resource.Set) (_ resource.Set, err error) {
		for _, r := range body.Resources {
			if s, err = put(call, s, config.Resource{Kind: r.Kind, Name: r.Name, Spec: r.Spec}); err != nil {
				return s, err
			}
		}
		for _, r := range body.Remove {
			if s, err = removeResource(call, s, r.Kind, r.Name); err != nil {
				return s, err
			}
		}
		return s, nil
	})
}

// change changes the caller's tenant and says what came into force for it.
func (c *configRoutes) change(call *api.Call, upon int, do func(resource.Set) (resource.Set, error)) (any, error) {
	return change(call, c.node, func(s resource.Set) (resource.Set, error) {
		if upon == 0 {
			return do(s)
		}
		v, err := resource.Current(call.Context(), c.versions, call.Tenant())
		if err == nil && v.N != upon {
			err = store.ErrStale
		}
		if err != nil {
			return s, err
		}
		return do(s)
	})
}

func change(call *api.Call, node Node, do func(resource.Set) (resource.Set, error)) (resource.AppliedTenant, error) {
	applied, err := node.Change(call.Context(), call.Tenant(), call.Actor(), do)
	if err != nil {
		return resource.AppliedTenant{}, faulty(err)
	}
	i := slices.IndexFunc(applied.Tenants, func(t resource.AppliedTenant) bool { return t.Tenant == call.Tenant().Name() })
	if i < 0 {
		return resource.AppliedTenant{Tenant: call.Tenant().Name()}, nil
	}
	return applied.Tenants[i], nil
}

// put adds or replaces a resource for a caller.
func put(call *api.Call, s resource.Set, r config.Resource) (resource.Set, error) {
	switch {
	case r.Kind == "rules":
		return s, api.Refuse("bad_request", "Rules are published, not put: POST them to /v1/admin/rules.")
	case r.Kind == "tenant" && r.Name != call.Tenant().Name():
		return s, api.Refuse("bad_request", "A tenant's own resource has the tenant's name.")
	case len(bytes.TrimSpace(r.Spec)) == 0:
		r.Spec = json.RawMessage("{}")
	}
	if err := mayChange(call, s, r.Kind, r.Name, r.Spec); err != nil {
		return s, err
	}
	return s.Put(r)
}

func removeResource(call *api.Call, s resource.Set, kind, name string) (resource.Set, error) {
	if kind == "tenant" {
		return s, api.Refuse("bad_request", `A tenant is removed by the operator of the node: "turnout admin tenants remove".`)
	}
	if err := mayChange(call, s, kind, name, nil); err != nil {
		return s, err
	}
	return s.Remove(kind, name)
}

// mayChange keeps owners in the hands of owners.
func mayChange(call *api.Call, s resource.Set, kind, name string, spec json.RawMessage) error {
	if kind != "agent" || call.Role() == api.RoleOwner {
		return nil
	}
	old, _ := s.Find(kind, name)
	if roleOf(old.Spec) == config.RoleOwner || roleOf(spec) == config.RoleOwner {
		return api.Refuse("forbidden", "Only an owner may make, change or remove an owner.")
	}
	return nil
}

func roleOf(spec json.RawMessage) config.Role {
	var v struct{ Role config.Role }
	_ = json.Unmarshal(spec, &v) // what cannot be read is refused later, with its place
	return config.Role(strings.TrimSpace(string(v.Role)))
}

// versionInfo is what a version of the configuration is known by.
type versionInfo struct {
	Version int       `json:"version"`
	Digest  string    `json:"digest"`
	At      time.Time `json:"at"`
	By      string    `json:"by,omitempty"` // nobody: the node, from its files
	resource.Diff
}

type versionList struct {
	Items  []versionInfo `json:"items"`
	Cursor string        `json:"cursor,omitempty"`
}

// history lists the versions, the newest first, each with what it changed.
func (c *configRoutes) history(call *api.Call) (any, error) {
	limit, err := call.Limit(20, 100)
	if err != nil {
		return nil, err
	}
	v, err := resource.Current(call.Context(), c.versions, call.Tenant())
	if err != nil {
		return nil, err
	}
	n := v.N
	if cursor, err := call.CursorNumber(); err != nil {
		return nil, err
	} else if cursor > 0 {
		n = min(n, int(cursor)-1)
	}
	out := versionList{Items: []versionInfo{}}
	for ; n > 0; n-- {
		if len(out.Items) == limit {
			out.Cursor = call.NumberCursor(uint64(n + 1))
			break
		}
		info, _, err := c.at(call, n)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, info)
	}
	return out, nil
}

func (c *configRoutes) at(call *api.Call, n int) (versionInfo, resource.Version, error) {
	v, err := resource.At(call.Context(), c.versions, call.Tenant(), n)
	if err != nil {
		return versionInfo{}, v, err
	}
	var before resource.Version
	if n > 1 {
		if before, err = resource.At(call.Context(), c.versions, call.Tenant(), n-1); err != nil {
			return versionInfo{}, v, err
		}
	}
	return versionInfo{
		Version: n, Digest: v.Digest, At: time.UnixMilli(v.At).UTC(), By: v.By, Diff: resource.Compare(before.Set, v.Set),
	}, v, nil
}

// wholeVersion is a version with what it consists of.
type wholeVersion struct {
	versionInfo
	Items    []config.Resource   `json:"items"`
	Archived []resource.Archived `json:"archived,omitempty"`
}

func (c *configRoutes) version(call *api.Call) (any, error) {
	n, ok := number(call.Param("id"))
	if !ok {
		return nil, store.ErrNotFound
	}
	info, v, err := c.at(call, n)
	if err != nil {
		return nil, err
	}
	return wholeVersion{info, v.Set.Resources, v.Set.Archived}, nil
}
