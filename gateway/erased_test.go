package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"turnout/gateway/privacy"
)

// conversations returns the summaries of a tenant's conversations as an export has them.
func (n *node) conversations(tenant string) (list []struct{ Conversation, Owner string }) {
	n.t.Helper()
	_, raw := n.overSocket(tenant, "GET", "/v1/admin/export/conversations", nil)
	for line := range strings.Lines(string(raw)) {
		var s struct{ Conversation, Owner string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			n.t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// erase erases a person over the API and waits until it is done.
func (n *node) erase(tenant string, who object) privacy.Erasure {
	n.t.Helper()
	var e privacy.Erasure
	n.must(tenant, "POST", "/v1/admin/erasures", who, &e)
	for e.State != privacy.StateDone {
		select {
		case <-n.t.Context().Done():
			n.t.Fatalf("it stays %s", e.State)
		case <-time.After(20 * time.Millisecond):
		}
		n.must(tenant, "GET", "/v1/admin/erasures/"+e.ID, nil, &e)
	}
	return e
}

// TestErasedPerson erases a person while the bot thinks about what they said, and another who has waited for people: nothing
// comes back, their agents are told what has become of it, and they start over.
func TestErasedPerson(t *testing.T) {
	b := newBot(t, "legacy")
	key, digest := newKey(t, "ana")
	auditor, auditorDigest := newKey(t, "ada")
	people := func(name, role, digest string) string {
		return fmt.Sprintf("---\nkind: agent\nname: %s\nspec: {role: %s, queues: [support], keys: [{id: %s, sha256: %s}]}\n", name, role, name, digest)
	}
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy") + people("ana", "agent", digest) + people("ada", "auditor", auditorDigest)})

	jo := n.customer("acme.web")
	if _, owner := jo.says("agent"); owner != "queued" {
		t.Fatalf("the owner is %s", owner)
	}
	conv := n.conversations("acme")[0].Conversation
	path := "/v1/agent/conversations/" + conv
	if status, answer := n.call("GET", path, key, nil); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}

	// The auditor sees a hold without the address that it names, and may not set one.
	var hold privacy.Hold
	n.must("acme", "POST", "/v1/admin/holds", object{"channel": "acme.web", "address": "somebody", "reason": "case"}, &hold)
	if status, answer := n.call("GET", "/v1/admin/holds", auditor, nil); status != http.StatusOK || strings.Contains(fmt.Sprint(answer), "somebody") || !strings.Contains(fmt.Sprint(answer), hold.ID) {
		t.Errorf("%d %v", status, answer)
	}
	if status, _ := n.call("POST", "/v1/admin/holds/"+hold.ID+"/lift", auditor, nil); status != http.StatusForbidden {
		t.Errorf("the auditor lifts a hold: %d", status)
	}
	n.must("acme", "POST", "/v1/admin/holds/"+hold.ID+"/lift", nil, nil)
	n.refused("acme", "POST", "/v1/admin/erasures", object{}, 400, "bad_request", "by conversation")
	n.refused("acme", "POST", "/v1/admin/erasures", object{"conversation": unknownLike(t, conv)}, 404, "not_found")
	n.refused("acme", "POST", "/v1/admin/holds", object{"everything": true}, 400, "bad_request", "reason")

	n.erase("acme", object{"conversation": conv})
	n.refused("acme", "POST", "/v1/admin/erasures", object{"conversation": conv}, 410, "erased")
	n.refused("acme", "GET", "/v1/admin/conversations/"+conv+"/replay", nil, 410, "erased")
	for _, act := range []struct{ method, path string }{{"GET", path}, {"POST", path + "/claim"}} {
		if status, answer := n.call(act.method, act.path, key, map[string]any{}); status != http.StatusGone || answer["code"] != "erased" {
			t.Errorf("%s: %d %v", act.path, status, answer)
		}
	}
	if _, answer := n.call("GET", "/v1/agent/queue", key, nil); strings.Contains(fmt.Sprint(answer), conv) {
		t.Errorf("it waits still: %v", answer)
	}
	if list := n.conversations("acme"); len(list) != 0 {
		t.Errorf("exported: %v", list)
	}

	// The same visitor is a new one.
	b.mu.Lock()
	b.hold = make(chan struct{})
	b.mu.Unlock()
	for len(b.asked) > 0 {
		<-b.asked
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		jo.messages = 10 // what was erased is still known by its id
		jo.n.call("POST", "/v1/web/acme.web/messages", jo.token, map[string]any{"id": "m11", "text": "hello"})
	}()
	<-b.asked
	list := n.conversations("acme")
	if len(list) != 1 || list[0].Conversation == conv || list[0].Owner != "bot" {
		t.Fatalf("%+v", list)
	}
	n.erase("acme", object{"conversation": list[0].Conversation}) // while the bot thinks
	close(b.hold)
	<-answered
	if list := n.conversations("acme"); len(list) != 0 {
		t.Errorf("the bot's answer has brought it back: %+v", list)
	}
	n.stop()
	if logs := n.logs.String(); strings.Contains(logs, "level=ERROR") {
		t.Errorf("the log holds errors: %s", logs)
	}
}
