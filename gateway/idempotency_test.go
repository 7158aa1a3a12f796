package gateway_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
)

// A write of administration with an Idempotency-Key is carried out once, also over a restart; what was shown once is not
// shown again; another request with the key is refused.
func TestIdempotencyKeys(t *testing.T) {
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	const header = "Idempotency-Key"
	var first, again struct {
		ID      string
		OneTime string `json:"one_time_password"`
	}
	body := object{"id": "ben", "queues": []string{"support"}}
	n.must("", "POST", "/v1/admin/users", body, &first, header, "k1")
	if first.OneTime == "" {
		t.Fatal("no password was made")
	}
	for _, when := range []string{"at once", "after a restart"} {
		again.OneTime = ""
		n.must("", "POST", "/v1/admin/users", body, &again, header, "k1")
		if again.ID != "ben" || again.OneTime != "" {
			t.Errorf("%s: %+v", when, again)
		}
		status, raw := n.overSocket("", "POST", "/v1/admin/users", object{"id": "eve"}, header, "k1")
		if status != 422 || !strings.Contains(string(raw), "idempotency_mismatch") {
			t.Errorf("%s, another request: %d %s", when, status, raw)
		}
		n.stop()
		n.start()
	}
	// Without a key, and with another, it is another request; what is refused may be tried again with the same key.
	n.refused("", "POST", "/v1/admin/users", body, 409, "exists")
	if status, _ := n.overSocket("", "POST", "/v1/admin/users", body, header, "k2"); status != 409 {
		t.Errorf("another key: %d", status)
	}
	n.must("", "DELETE", "/v1/admin/resources/agent/ben", nil, nil, header, "k3")
	n.must("", "DELETE", "/v1/admin/resources/agent/ben", nil, nil, header, "k3")
	n.must("", "POST", "/v1/admin/users", body, nil, header, "k2")
	if status, raw := n.overSocket("", "POST", "/v1/admin/users", body, header, strings.Repeat("k", 257)); status != 400 {
		t.Errorf("a long key: %d %s", status, raw)
	}
	// The scope is the principal and the route.
	n.must("", "POST", "/v1/admin/users/ben/disable", nil, nil, header, "k1")

	// At the same time: one of many is carried out, all are answered alike.
	answers := make([]string, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			_, raw := n.overSocket("", "PUT", "/v1/admin/secrets/bot-key", object{"value": "x"}, header, "k4")
			answers[i] = string(raw)
		})
	}
	all.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.Contains(a, `"version":1`) {
			t.Errorf("%s, another was answered %s", a, answers[0])
		}
	}
	// Its operation is that of the request: the audit chain has it once.
	var list struct{ Items []json.RawMessage }
	n.must("", "GET", "/v1/admin/secrets", nil, &list)
	if len(list.Items) != 2 { // ben's password and the key
		t.Errorf("%d secrets", len(list.Items))
	}
}
