package admin

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/valyala/fasthttp"

	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
)

// Tenants returns the routes with which the operator makes and removes tenants.
func Tenants(node Node, versions store.Versions) []api.Route {
	t := &tenantRoutes{node, versions}
	return []api.Route{
		{Method: "GET", Path: "/v1/admin/tenants", Access: api.Operator, Handle: t.list},
		{Method: "POST", Path: "/v1/admin/tenants", Access: api.Operator, Handle: t.create},
		{Method: "DELETE", Path: "/v1/admin/tenants/{id}", Access: api.Operator, Handle: t.remove},
	}
}

type tenantRoutes struct {
	node     Node
	versions store.Versions
}

// tenantInfo is a tenant of the node.
type tenantInfo struct {
	Name string `json:"name"`
	// Title is what people see; File the file that has it, empty for one that was made over the API.
	Title   string `json:"title,omitempty"`
	File    string `json:"file,omitempty"`
	Version int    `json:"version"`
	// Removed is set for one that is no longer served. What it has in the store stays.
	Removed bool `json:"removed,omitempty"`
}

type tenantList struct {
	Items  []tenantInfo `json:"items"`
	Cursor string       `json:"cursor,omitempty"`
}

func (t *tenantRoutes) list(call *api.Call) (any, error) {
	tenants, err := t.versions.Tenants(call.Context())
	if err != nil {
		return nil, err
	}
	page, next, err := api.Page(call, tenants, store.Tenant.Name)
	if err != nil {
		return nil, err
	}
	out := tenantList{Items: []tenantInfo{}, Cursor: next}
	for _, tenant := range page {
		info, err := t.info(call.Context(), tenant)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, info)
	}
	return out, nil
}

func (t *tenantRoutes) info(ctx context.Context, tenant store.Tenant) (tenantInfo, error) {
	v, err := resource.Current(ctx, t.versions, tenant)
	if err != nil {
		return tenantInfo{}, err
	}
	r, ok := v.Set.Find("tenant", tenant.Name())
	var spec struct{ Title string }
	_ = json.Unmarshal(r.Spec, &spec) // a set that is in force was read before
	return tenantInfo{Name: tenant.Name(), Title: spec.Title, File: r.File, Version: v.N, Removed: !ok}, nil
}

// tenantBody is the body that makes a tenant.
type tenantBody struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

var errExists = &api.Problem{Status: fasthttp.StatusConflict, Code: "exists", Detail: "There is one with this name already."}

func (t *tenantRoutes) create(call *api.Call) (any, error) {
	var body tenantBody
	if err := call.Decode(&body); err != nil {
		return nil, err
	}
	tenant, err := store.NewTenant(body.Name)
	if err != nil {
		return nil, api.Refuse("bad_request", "A tenant's name is 1 to 40 lower-case letters, digits and hyphens.")
	}
	spec := map[string]string{}
	if body.Title != "" {
		spec["title"] = body.Title
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	_, err = t.node.Change(call.Context(), tenant, call.Actor(), func(s resource.Set) (resource.Set, error) {
		if _, there := s.Find("tenant", body.Name); there {
			return s, errExists
		}
		return s.Put(config.Resource{Kind: "tenant", Name: body.Name, Spec: b})
	})
	if err != nil {
		return nil, faulty(err)
	}
	return t.info(call.Context(), tenant)
}

// remove takes a tenant with all its resources out of service.
func (t *tenantRoutes) remove(call *api.Call) (any, error) {
	tenant, err := store.NewTenant(call.Param("id"))
	if err != nil {
		return nil, store.ErrNotFound
	}
	_, err = t.node.Change(call.Context(), tenant, call.Actor(), func(s resource.Set) (resource.Set, error) {
		if _, there := s.Find("tenant", tenant.Name()); !there {
			return s, store.ErrNotFound
		}
		i := slices.IndexFunc(s.Resources, func(r config.Resource) bool { return r.File != "" })
		if i >= 0 {
			r := s.Resources[i]
			return s, &resource.FileError{Kind: r.Kind, Name: r.Name, File: r.File}
		}
		return resource.Set{}, nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return nil, faulty(err)
}
