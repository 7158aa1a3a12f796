package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"turnout/adapters"
	"turnout/gateway/api/apitest"
)

// TestDocument holds the table and the document against each other, both ways.
func TestDocument(t *testing.T) {
	b := start(t, area, func(o *Options) {
		for _, channel := range []string{"acme.web", "other.web"} {
			o.Routes = append(o.Routes, adapters.Route{
				Method: "POST", Path: "/v1/web/" + channel + "/session", Pattern: "/v1/web/{channel}/session", Summary: "Begin.",
			})
		}
	})
	a := b.want(200, "", b.request("GET", "/openapi.json", ""))
	if a.header.Get("Content-Type") != "application/json" {
		t.Errorf("served as %s", a.header.Get("Content-Type"))
	}
	if strings.Contains(string(a.body), "acme") {
		t.Error("the document names a tenant's channel")
	}
	doc, err := apitest.Load(a.body)
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]*openapi3.Operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			operations[method+" "+path] = op
		}
	}
	ids := map[string]bool{}
	for _, r := range b.server.Routes() {
		if r.page {
			continue
		}
		pattern := r.Path
		if r.Pattern != "" {
			pattern = r.Pattern
		}
		key := r.Method + " " + pattern
		op := operations[key]
		if op == nil {
			if r.Access != Channel { // seen before, on another channel
				t.Errorf("%s is not in the document", key)
			}
			continue
		}
		delete(operations, key)
		if ids[op.OperationID] || op.OperationID == "" {
			t.Errorf("%s: the id %q is not its own", key, op.OperationID)
		}
		ids[op.OperationID] = true
		var roles []string
		for _, r := range r.Roles {
			roles = append(roles, string(r))
		}
		var listed []string
		for _, v := range anys(op.Extensions["x-roles"]) {
			listed = append(listed, v.(string))
		}
		scope, _ := op.Extensions["x-scope"].(string)
		if !slices.Equal(roles, listed) || scope != string(r.Scope) {
			t.Errorf("%s: roles %v and scope %q, the table has %v and %q", key, listed, scope, roles, r.Scope)
		}
		if op.Summary == "" {
			t.Errorf("%s has no summary", key)
		}
		if (op.RequestBody != nil) != (r.Doc.Body != nil || r.Access == Channel) {
			t.Errorf("%s: the body is not as the table says", key)
		}
		parameters := 0
		for _, p := range op.Parameters {
			if p.Value.In == "path" {
				parameters++
			}
		}
		if parameters != strings.Count(pattern, "{") {
			t.Errorf("%s has %d parameters in its path", key, parameters)
		}
	}
	for key := range operations {
		t.Errorf("%s is in the document and not in the table", key)
	}
}

func anys(v any) []any {
	list, _ := v.([]any)
	return list
}

// TestDocumentCanFail: what the document does not allow is found.
func TestDocumentCanFail(t *testing.T) {
	b := start(t)
	kind := func(k string) http.Header { return http.Header{"Content-Type": {k}} }
	json, problem := kind("application/json"), kind("application/problem+json")
	good := b.as("acme/ann", "GET", "/v1/agent/me", "").body
	for name, tt := range map[string]struct {
		e  apitest.Exchange
		ok bool
	}{
		"as it is":        {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 200, Header: json, Answer: good}, true},
		"a field is gone": {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 200, Header: json, Answer: without(t, good, "role")}, false},
		"another type":    {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 200, Header: json, Answer: []byte(strings.Replace(string(good), `"capacity":50`, `"capacity":"50"`, 1))}, false},
		"another status":  {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 201, Header: json, Answer: good}, false},
		"another content": {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 200, Header: kind("text/html"), Answer: good}, false},
		"an unknown path": {apitest.Exchange{Method: "GET", Path: "/v1/agent/you", Status: 200, Header: json, Answer: good}, false},
		"a code":          {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 401, Header: problem, Answer: []byte(`{"type":"about:blank","title":"x","status":401,"code":"unauthenticated"}`)}, true},
		"an unknown code": {apitest.Exchange{Method: "GET", Path: "/v1/agent/me", Status: 401, Header: problem, Answer: []byte(`{"type":"about:blank","title":"x","status":401,"code":"stale"}`)}, false},
		"a field too many in a request": {apitest.Exchange{
			Method: "POST", Path: "/v1/agent/presence", Request: []byte(`{"off":true}`), Status: 200, Header: json, Answer: []byte(`{"on":true,"capacity":1,"load":0}`),
		}, false},
	} {
		if err := b.document.Check(tt.e); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func without(t *testing.T, body []byte, field string) []byte {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	delete(v, field)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
