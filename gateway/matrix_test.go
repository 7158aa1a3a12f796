package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"turnout/gateway/id"
)

var everyRole = []string{"owner", "admin", "author", "reviewer", "supervisor", "agent", "auditor", "integration"}

// TestMatrix asks a whole node for every route of its document, as nobody, as every role of both tenants and as the
// operator, about what is the tenant's own, another tenant's and nobody's. What is another's answers like what is nobody's,
// byte for byte. The document is the table (see api.TestDocument), so what is added to it is covered from then on.
func TestMatrix(t *testing.T) {
	b := newBot(t, "legacy")
	keys := map[string]string{}
	file := func(tenant string) string {
		text := strings.ReplaceAll(acmeFile+b.resource("legacy"), "name: acme", "name: "+tenant)
		text = strings.ReplaceAll(text, "kind: queue\n", "kind: queue\ntenant: "+tenant+"\n")
		text = strings.ReplaceAll(text, "kind: channel\n", "kind: channel\ntenant: "+tenant+"\n")
		text = strings.ReplaceAll(text, "kind: bot\n", "kind: bot\ntenant: "+tenant+"\n")
		for _, role := range everyRole {
			key, digest := newKey(t, role)
			keys[tenant+"/"+role] = key
			scopes := ""
			if role == "integration" {
				scopes = `, scopes: ["status:read", "rules:read", "audit:read", "outbox:read"]`
			}
			text += fmt.Sprintf("---\nkind: agent\ntenant: %s\nname: %s\nspec: {role: %s, queues: [support], capacity: 50, keys: [{id: %s, sha256: %s%s}]}\n",
				tenant, role, role, role, digest, scopes)
		}
		return text
	}
	n := newNode(t, map[string]string{"acme.res.yaml": file("acme"), "globex.res.yaml": file("globex")})
	conversations := map[string]string{}
	for _, tenant := range []string{"acme", "globex"} {
		if _, owner := n.customer(tenant + ".web").says("agent"); owner != "queued" {
			t.Fatalf("%s: the owner is %s", tenant, owner)
		}
		_, answer := n.call("GET", "/v1/agent/queue", keys[tenant+"/agent"], nil)
		raw, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var queue struct {
			Items []struct{ Conversation string }
		}
		if err := json.Unmarshal(raw, &queue); err != nil || len(queue.Items) != 1 {
			t.Fatalf("%s: %s", tenant, raw)
		}
		conversations[tenant] = queue.Items[0].Conversation
	}
	unknown := unknownLike(t, conversations["globex"])
	asked := 0
	for path, item := range n.document.Paths.Map() {
		for method, op := range item.Operations() {
			access := op.Extensions["x-access"]
			if access != "people" && access != "operator" || strings.HasSuffix(path, "/reload") {
				continue
			}
			asked++
			t.Run(method+" "+path, func(t *testing.T) { n.askAll(t, method, path, op, keys, conversations, unknown) })
		}
	}
	if asked < 50 {
		t.Errorf("the document holds only %d routes for people", asked)
	}
}

// unknownLike makes an id like another that nobody has.
func unknownLike(t *testing.T, conversation string) string {
	t.Helper()
	if _, err := id.Partition(id.Conversation, conversation); err != nil {
		t.Fatal(err)
	}
	last := "0"
	if strings.HasSuffix(conversation, "0") {
		last = "1"
	}
	return conversation[:len(conversation)-1] + last
}

func (n *node) askAll(t *testing.T, method, path string, op *openapi3.Operation, keys, conversations map[string]string, unknown string) {
	fill := func(conv string) string {
		return strings.NewReplacer("{id}", conv, "{kind}", "queue", "{key}", "none", "{n}", "999", "{earlier}", conv, "{attachment}", conv).Replace(path)
	}
	var body any // what a request of this route must say to be looked at
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "reply", "note":
		body = object{"text": "x"}
	case "escalate", "transfer":
		body = object{"queue": "support"}
	}
	ask := func(token, at string) (int, string) {
		auth := ""
		if token != "" {
			auth = "Bearer " + token
		}
		status, raw := n.send(http.DefaultClient, "http://"+n.Addr(), method, at, body, "Authorization", auth)
		return status, string(raw)
	}
	own := fill(conversations["acme"])
	if status, body := ask("", own); status != 401 || !strings.Contains(body, `"unauthenticated"`) {
		t.Errorf("nobody: %d %s", status, body)
	}
	var allowed []string
	list, _ := op.Extensions["x-roles"].([]any)
	for _, r := range list {
		allowed = append(allowed, r.(string))
	}
	if scope, _ := op.Extensions["x-scope"].(string); slices.Contains([]string{"status:read", "rules:read", "audit:read", "outbox:read"}, scope) {
		allowed = append(allowed, "integration")
	}
	for _, role := range everyRole {
		key := keys["acme/"+role]
		if !slices.Contains(allowed, role) {
			if status, body := ask(key, own); status != 403 || !strings.Contains(body, `"forbidden"`) {
				t.Errorf("%s is let in: %d %s", role, status, body)
			}
			continue
		}
		if !strings.Contains(path, "{") {
			// What it says is its own tests' business; that it is no refusal of the role is this one's.
			if status, body := ask(key, path); status == 401 || strings.Contains(body, "Your role, or the scopes") || status >= 500 {
				t.Errorf("%s is refused: %d %s", role, status, body)
			}
			continue
		}
		foreignStatus, foreign := ask(key, fill(conversations["globex"]))
		nobodyStatus, nobodys := ask(key, fill(unknown))
		if foreignStatus != nobodyStatus || strings.ReplaceAll(foreign, conversations["globex"], "ID") != strings.ReplaceAll(nobodys, unknown, "ID") {
			t.Errorf("%s: another tenant's answers %d %s, nobody's %d %s", role, foreignStatus, foreign, nobodyStatus, nobodys)
		}
		if strings.Contains(path, "conversations/") && foreignStatus != 404 {
			t.Errorf("%s: another tenant's conversation answers %d %s", role, foreignStatus, foreign)
		}
	}
}
