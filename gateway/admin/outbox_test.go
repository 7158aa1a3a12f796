package admin_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/admin"
	"turnout/gateway/api"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/outbox"
	"turnout/gateway/queue/queuetest"
	"turnout/gateway/store"
)

var roles = []api.Role{
	api.RoleAgent, api.RoleSupervisor, api.RoleAdmin, api.RoleOwner, api.RoleAuditor, api.RoleAuthor, api.RoleReviewer,
}

// node is a server with the routes of the outbox, and more, and an account of each role in both tenants.
type node struct {
	*queuetest.Kit
	*testing.T
	url  string
	keys map[string]string // "tenant/role"
}

func newNode(t *testing.T, more ...api.Route) *node {
	n := &node{Kit: queuetest.New(t), T: t, keys: map[string]string{}}
	var accounts []api.Account
	queues := map[store.Tenant][]string{}
	for _, tenant := range queuetest.Tenants {
		queues[tenant] = []string{"support"}
		for _, role := range roles {
			key, digest, err := api.NewKey(rand.Reader, string(role))
			if err != nil {
				t.Fatal(err)
			}
			n.keys[tenant.Name()+"/"+string(role)] = key
			accounts = append(accounts, api.Account{
				Tenant: tenant, ID: string(role), Login: string(role), Role: role, Queues: []string{"support"}, Capacity: 5,
				Keys: []api.Key{{ID: string(role), SHA256: digest}},
			})
		}
	}
	dir, err := api.NewAccounts(accounts, queues)
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(context.Background(), api.Options{
		Queue: n.Queue(t, dir), Audit: n.Store, Accounts: dir, SessionKey: bytes.Repeat([]byte{5}, 32), Now: n.Clock.Now, Log: n.Logger, Health: n.Store.Health,
		Admin: append(admin.Outbox{
			Dead: &outbox.Dead{Store: n.Store, IDs: n.IDs, Now: n.Clock.Now},
			Stats: func() []outbox.Stats {
				return []outbox.Stats{{Tenant: "acme", Channel: "acme.app", Sent: 7, RestUntil: n.Clock.Now()}, {Tenant: "other", Channel: "other.app"}}
			},
		}.Routes(), more...),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen("127.0.0.1:0", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + server.Addr()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *node) ask(who, method, path string) (int, string) {
	n.Helper()
	req, err := http.NewRequest(method, n.url+"/v1/admin/"+path, nil)
	if err != nil {
		n.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.keys[who])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const canary = "canary-text"

// dead makes a dead letter of something that was said in a conversation of its own.
func (n *node) dead(t store.Tenant, by message.By) store.DeadLetter {
	n.Helper()
	return n.Dead(n.T, n.Open(n.T, t, "hello"), by, canary)
}

func TestOutboxRoles(t *testing.T) {
	n := newNode(t)
	acme, other := queuetest.Tenants[0], queuetest.Tenants[1]
	n.dead(acme, message.BySystem)
	theirs := n.dead(other, message.BySystem)
	readers := []api.Role{api.RoleSupervisor, api.RoleAdmin, api.RoleOwner, api.RoleAuditor}
	actors := []api.Role{api.RoleSupervisor, api.RoleAdmin, api.RoleOwner}
	unknown := n.IDs.New(id.Row, 3)
	for _, role := range roles {
		who := "acme/" + string(role)
		for _, path := range []string{"outbox", "dead-letters"} {
			status, body := n.ask(who, "GET", path)
			if want := map[bool]int{true: 200, false: 403}[slices.Contains(readers, role)]; status != want {
				t.Errorf("%s %s: %d %s", role, path, status, body)
			}
			if strings.Contains(body, theirs.Row.ID) || strings.Contains(body, "other.") || strings.Contains(body, canary) || strings.Contains(body, `v_`) {
				t.Errorf("%s sees in %s: %s", role, path, body)
			}
		}
		for _, act := range []string{"/replay", "/discard"} {
			status, foreign := n.ask(who, "POST", "dead-letters/"+theirs.Row.ID+act)
			nobodys, body := n.ask(who, "POST", "dead-letters/"+unknown+act)
			malformed, bad := n.ask(who, "POST", "dead-letters/x"+act)
			want := map[bool]int{true: 404, false: 403}[slices.Contains(actors, role)]
			if status != want || nobodys != want || malformed != want || foreign != body || foreign != bad {
				t.Errorf("%s %s: a foreign one answers %d %s, an unknown one %d %s, none %d %s", role, act, status, foreign, nobodys, body, malformed, bad)
			}
		}
	}
	if status, body := n.ask("acme/owner", "GET", "dead-letters?after=x"); status != 404 {
		t.Errorf("a cursor that is none: %d %s", status, body)
	}
	if _, err := n.Store.DeadLetter(context.Background(), other, theirs.Row.ID); err != nil {
		t.Errorf("the other tenant's: %v", err)
	}
}

func TestReplayAndDiscard(t *testing.T) {
	n := newNode(t)
	acme := queuetest.Tenants[0]
	one, two, bots := n.dead(acme, message.BySystem), n.dead(acme, message.ByAgent), n.dead(acme, message.ByBot)
	if status, body := n.ask("acme/supervisor", "POST", "dead-letters/"+one.Row.ID+"/replay"); status != 200 || !strings.Contains(body, one.Row.Out.ID) {
		t.Errorf("replaying: %d %s", status, body)
	}
	if status, body := n.ask("acme/owner", "POST", "dead-letters/"+two.Row.ID+"/discard"); status != 200 {
		t.Errorf("discarding: %d %s", status, body)
	}
	n.Do(t, bots.Ref, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "support", Priority: 5}})
	if status, body := n.ask("acme/owner", "POST", "dead-letters/"+bots.Row.ID+"/replay"); status != 409 || !strings.Contains(body, `"stale"`) {
		t.Errorf("the bot's over people's heads: %d %s", status, body)
	}
	for _, d := range []struct {
		dead  store.DeadLetter
		actor string
		kind  string
	}{{one, "supervisor:supervisor", "resent"}, {two, "admin:owner:owner", "discarded"}} {
		entries, err := n.Store.Entries(context.Background(), acme, d.dead.Ref.ID, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var last audit.Entry
		if err := json.Unmarshal(entries[len(entries)-1], &last); err != nil || last.Actor != d.actor || last.Kind != d.kind {
			t.Errorf("the entry of %s: %+v", d.kind, last)
		}
	}
}
