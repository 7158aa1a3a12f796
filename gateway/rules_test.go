package gateway_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/api"
	"turnout/gateway/config"
)

var roles = []string{"owner", "admin", "author", "reviewer", "supervisor", "agent", "auditor"}

// ruled is a node with two tenants whose rules are published, and an account for each role in each.
type ruled struct {
	t    *testing.T
	url  string
	ops  string
	keys map[string]string // by "tenant/role"
}

func newRuled(t *testing.T) *ruled {
	t.Helper()
	dir := t.TempDir()
	r := &ruled{t: t, keys: map[string]string{}}
	var resources strings.Builder
	for _, tenant := range []string{"acme", "other"} {
		fmt.Fprintf(&resources, "kind: tenant\nname: %[1]s\n---\nkind: queue\ntenant: %[1]s\nname: support\n---\nkind: bot\ntenant: %[1]s\nname: legacy\nspec: {adapter: webhook, config: {url: \"https://192.0.2.1/\"}}\n---\n"+
			"kind: channel\ntenant: %[1]s\nname: web\nspec: {adapter: web, config: {allow_no_origin: true}}\n---\nkind: rules\ntenant: %[1]s\nname: house\nspec: {managed: api}\n---\n", tenant)
		for _, role := range roles {
			key, digest, err := api.NewKey(rand.Reader, tenant+"-"+role)
			if err != nil {
				t.Fatal(err)
			}
			r.keys[tenant+"/"+role] = key
			fmt.Fprintf(&resources, "kind: agent\ntenant: %s\nname: %s\nspec: {role: %s, queues: [support], keys: [{id: %s-%s, sha256: %s}]}\n---\n", tenant, role, role, tenant, role, digest)
		}
	}
	for name, content := range map[string]string{
		"root.key": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"turnout.yaml": "listen: 127.0.0.1:0\nops_listen: 127.0.0.1:0\ndata: data\nroot_key: file:root.key\n" +
			"audit: {signing_key: file:root.key}\nresources: [all.yaml]\nstore: {reserve_bytes: 1MiB}\n",
		"all.yaml": strings.TrimSuffix(resources.String(), "---\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "turnout.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(t.Context(), gateway.Options{Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.url, r.ops = "http://"+g.Addr(), "http://"+g.OpsAddr()
	return r
}

// ask sends a request as somebody ("tenant/role") and returns the status and the answer.
func (r *ruled) ask(who, method, path string, body any) (status int, answer string) {
	r.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(b))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key := r.keys[who]; key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	} else if who != "" {
		req.Header.Set("Authorization", "Bearer "+who)
	}
	return r.do(req)
}

func (r *ruled) do(req *http.Request) (status int, answer string) {
	r.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func published(text, why string) map[string]any {
	return map[string]any{"files": []map[string]string{{"name": "a.yaml", "text": text}}, "why": why}
}

const nodeRules = `rules:
  - {id: pain, why: w, locked: true, when: 'phrase("canary-4711")', then: {handoff: {queue: support}}}
  - {id: other, why: w, when: 'text == "canary-4711" && turns > 3', then: {tags: [x]}}
`

// chat writes as a customer and returns the conversation.
func (r *ruled) chat(tenant, text string) string {
	r.t.Helper()
	var session struct{ Token string }
	status, body := r.ask("", "POST", "/v1/web/"+tenant+".web/session", map[string]any{})
	if err := json.Unmarshal([]byte(body), &session); err != nil || status != 200 {
		r.t.Fatal(status, body)
	}
	var out struct{ Conversation string }
	status, body = r.ask(session.Token, "POST", "/v1/web/"+tenant+".web/messages", map[string]any{"id": "m1", "text": text})
	if err := json.Unmarshal([]byte(body), &out); err != nil || status != 200 || out.Conversation == "" {
		r.t.Fatal(status, body)
	}
	return out.Conversation
}

// TestRulesRoutes runs each route of rules as every role of both tenants.
func TestRulesRoutes(t *testing.T) {
	r := newRuled(t)
	if status, body := r.ask("acme/owner", "POST", "/v1/admin/rules/publish", published(nodeRules, "first")); status != 200 {
		t.Fatal(status, body)
	}
	conversation := r.chat("acme", "my word is canary-4711")
	explain := "/v1/admin/rules/explain/"
	readers := []string{"owner", "admin", "author", "reviewer", "supervisor", "auditor"}
	authors := []string{"owner", "author"}
	for _, route := range []struct {
		method, path string
		roles        []string
		body         any
		ok           int
	}{
		{"GET", "/v1/admin/rules", readers, nil, 200},
		{"GET", "/v1/admin/rules/versions", readers, nil, 200},
		{"GET", "/v1/admin/rules/versions/1", readers, nil, 200},
		{"GET", "/v1/admin/rules/diff?from=1", readers, nil, 200},
		{"GET", explain + conversation, readers, nil, 200},
		{"POST", "/v1/admin/rules/check", authors, published(nodeRules, ""), 200},
		{"POST", "/v1/admin/rules/publish", authors, published(nodeRules, "same"), 400},
		{"POST", "/v1/admin/rules/rollback", authors, map[string]any{"version": 1, "why": "same"}, 400},
	} {
		if status, _ := r.ask("", route.method, route.path, route.body); status != 401 {
			t.Errorf("%s %s: %d without a key", route.method, route.path, status)
		}
		for _, role := range roles {
			status, body := r.ask("acme/"+role, route.method, route.path, route.body)
			want := 403
			if slices.Contains(route.roles, role) {
				want = route.ok
			}
			if status != want {
				t.Errorf("%s %s as %s: %d %s, want %d", route.method, route.path, role, status, body, want)
			}
		}
	}

	// Texts are for those who may read conversations.
	for _, role := range readers {
		_, body := r.ask("acme/"+role, "GET", explain+conversation, nil)
		if reads := role == "owner" || role == "supervisor"; strings.Contains(body, "my word is") != reads || !strings.Contains(body, `"agrees":true`) {
			t.Errorf("an explanation for %s: %s", role, body)
		}
	}

	// What another tenant has answers like what nobody has.
	_, theirs := r.ask("other/owner", "GET", explain+conversation, nil)
	status, nobodys := r.ask("other/owner", "GET", explain+conversation[:len(conversation)-1]+"z", nil)
	if status != 404 || theirs != nobodys {
		t.Errorf("a foreign conversation answers %s, an unknown one %d %s", theirs, status, nobodys)
	}
	if status, body := r.ask("other/owner", "GET", "/v1/admin/rules/versions/1", nil); status != 404 {
		t.Errorf("another tenant's version 1: %d %s", status, body)
	}
	for _, n := range []string{"0", "-1", "1x", "9", "01"} {
		if status, body := r.ask("acme/owner", "GET", "/v1/admin/rules/versions/"+n, nil); status != 404 {
			t.Errorf("version %s: %d %s", n, status, body)
		}
	}
}

// TestRulesRefusals holds what is said of each publish that is refused.
func TestRulesRefusals(t *testing.T) {
	r := newRuled(t)
	if status, body := r.ask("acme/owner", "POST", "/v1/admin/rules/publish", published(nodeRules, "first")); status != 200 {
		t.Fatal(status, body)
	}
	with := func(m map[string]any, key string, v any) map[string]any { m[key] = v; return m }
	failing := strings.Replace(nodeRules, "then: {tags: [x]}}", "then: {tags: [x]}, tests: [{text: hi, match: true}]}", 1)
	for name, c := range map[string]struct {
		who    string
		path   string
		body   map[string]any
		status int
		says   string
	}{
		"a locked rule, by an author": {"author", "publish", published(strings.Replace(nodeRules, "4711\")", "4712\")", 1), "x"), 403, "which only an owner may change"},
		"faults":                      {"owner", "publish", published("rules: [{id: a}]", "x"), 400, "The rules have 3 faults. POST /v1/admin/rules/check"},
		"tests that fail":             {"owner", "publish", published(failing, "x"), 400, "1 of the rules' own tests fail"},
		"no reason":                   {"owner", "publish", published(nodeRules+"# more\n", ""), 400, "Say why"},
		"no files":                    {"owner", "publish", map[string]any{"why": "x"}, 400, "files lists the rule files"},
		"two files of one name":       {"owner", "publish", with(published("", "x"), "files", []map[string]string{{"name": "a"}, {"name": "a"}}), 400, "a name of its own"},
		"another base":                {"owner", "publish", with(published(nodeRules+"# more\n", "x"), "base", 9), 409, "Other rules are in force"},
		"an unknown field":            {"owner", "publish", with(published(nodeRules, "x"), "wyh", "x"), 400, "It knows: files, why, base"},
		"the same again":              {"owner", "publish", published(nodeRules, "x"), 400, "in force already"},
		"too many files":              {"owner", "publish", with(published("", "x"), "files", manyFiles(201)), 413, "At most 200 files"},
		"a version that is not there": {"owner", "rollback", map[string]any{"version": 7, "why": "x"}, 404, "no such thing"},
	} {
		if status, body := r.ask("acme/"+c.who, "POST", "/v1/admin/rules/"+c.path, c.body); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d and %q", name, status, body, c.status, c.says)
		}
	}
	_, body := r.ask("acme/owner", "POST", "/v1/admin/rules/check", published("rules: [{id: a}]", ""))
	if !strings.Contains(body, `"ok":false`) || !strings.Contains(body, `"message":"why is missing"`) || !strings.Contains(body, `"base":1`) {
		t.Errorf("a check of broken rules: %s", body)
	}
	_, body = r.ask("acme/owner", "POST", "/v1/admin/rules/check", published(failing, ""))
	if !strings.Contains(body, `"failed":[{"rule":"other","file":"a.yaml"`) {
		t.Errorf("a check of rules whose tests fail: %s", body)
	}
}

func manyFiles(n int) []map[string]string {
	var list []map[string]string
	for i := range n {
		list = append(list, map[string]string{"name": fmt.Sprint(i), "text": "rules: []"})
	}
	return list
}

// TestTrippedRuleInHealth follows a rule that fails from the customers' messages to what operators see.
func TestTrippedRuleInHealth(t *testing.T) {
	r := newRuled(t)
	rule := "rules:\n  - {id: breaks, why: w, when: 'tags[9] == \"x\"', then: {tags: [x]}}\n"
	if status, body := r.ask("acme/owner", "POST", "/v1/admin/rules/publish", published(rule, "first")); status != 200 {
		t.Fatal(status, body)
	}
	for range 5 {
		r.chat("acme", "agent")
	}
	health := func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.ops+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, body := r.do(req)
		return body
	}
	if body := health(); !strings.Contains(body, `"name":"rules.tripped","tenant":"acme","subject":"breaks"`) || !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("health: %s", body)
	}
	_, body := r.ask("acme/owner", "GET", "/v1/admin/rules", nil)
	if !strings.Contains(body, `"tripped":[{"rule":"breaks","version":1,"failures":5`) {
		t.Errorf("rules: %s", body)
	}
	if status, body := r.ask("acme/owner", "POST", "/v1/admin/rules/publish", published(strings.Replace(rule, "tags[9]", "lang", 1), "mended")); status != 200 {
		t.Fatal(status, body)
	}
	if body := health(); strings.Contains(body, "alarms") {
		t.Errorf("health after the rule was mended: %s", body)
	}
}
