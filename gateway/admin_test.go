package gateway_test

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/gateway/api"
	"turnout/gateway/api/client"
	"turnout/gateway/resource"
)

type object = map[string]any

// What no file has can be changed over the API, and is there after a restart; what a file has cannot, and says where it
// stands; a file takes over what was the API's.
func TestResourcesOverTheAPI(t *testing.T) {
	b, other := newBot(t, "legacy"), newBot(t, "other")
	file := acmeFile + b.resource("legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": file})
	web := object{"spec": object{"adapter": "web", "bot": "other", "config": object{"allow_no_origin": true, "wait": "10s"}}}
	bot := object{"adapter": "webhook", "config": object{
		"url": other.URL, "request": object{"text": "text"}, "response": object{"text": "body.reply"},
	}}

	// A channel whose bot is not there yet is refused whole, with the place.
	n.refused("", "PUT", "/v1/admin/resources/channel/second", web, 422, "invalid_config", `unknown bot \"other\"`, "api:acme/channel/second")
	var applied resource.AppliedTenant
	n.must("", "POST", "/v1/admin/resources", object{"resources": []object{
		{"kind": "bot", "name": "other", "spec": bot}, {"kind": "channel", "name": "second", "spec": web["spec"]},
	}}, &applied)
	if applied.Version != 2 || !slices.Equal(applied.Added, []string{"bot/other", "channel/second"}) {
		t.Errorf("%+v", applied)
	}
	for _, when := range []string{"at once", "after a restart"} {
		for key, want := range map[string]string{"acme.web": "bot: legacy here", "acme.second": "bot: other here"} {
			if said, _ := n.customer(key).says("hello"); !slices.Equal(said, []string{want}) {
				t.Errorf("%s, %s: %q", when, key, said)
			}
		}
		n.stop()
		n.start()
	}

	p := n.refused("", "PUT", "/v1/admin/resources/bot/legacy", object{"spec": bot}, 409, "managed_by_file")
	if want := "The bot legacy stands in " + filepath.Join(n.dir, "acme.res.yaml") + ". Change it there"; !strings.Contains(p, want) {
		t.Errorf("%s", p)
	}
	n.refused("", "DELETE", "/v1/admin/resources/queue/support", nil, 409, "managed_by_file")
	n.refused("", "DELETE", "/v1/admin/resources/queue/none", nil, 404, "not_found")
	n.refused("", "GET", "/v1/admin/resources/queue/none", nil, 404, "not_found")
	n.refused("", "PUT", "/v1/admin/resources/rules/x", object{}, 400, "bad_request", "published")
	n.refused("", "PUT", "/v1/admin/resources/tenant/x", object{}, 400, "bad_request")
	n.refused("", "DELETE", "/v1/admin/resources/bot/other", nil, 422, "invalid_config", `unknown bot`)
	n.refused("", "PUT", "/v1/admin/resources/queue/q", object{"spec": object{}, "version": 1}, 409, "stale")
	n.refused("", "PUT", "/v1/admin/resources/queue/q", object{"spec": object{"titel": "x"}}, 422, "invalid_config", `did you mean`)
	n.refused("", "PUT", "/v1/admin/resources/queue/Q", object{"spec": object{}}, 422, "invalid_config", `a name is`)

	// What is made over the API reads none of the node's own secrets, wherever it would send them.
	for _, ref := range []string{"file:root.key", "env:HOME"} {
		for _, config := range []object{
			{"url": other.URL, "sign": ref, "request": object{"text": "text"}, "response": object{"text": "body.reply"}},
			{"url": other.URL, "headers": object{"X-Key": ref}, "request": object{"text": "text"}, "response": object{"text": "body.reply"}},
		} {
			thief := object{"spec": object{"adapter": "webhook", "config": config}}
			n.refused("", "PUT", "/v1/admin/resources/bot/thief", thief, 422, "invalid_config", "sealed secrets only")
		}
		agent := object{"spec": object{"queues": []string{"support"}, "password": ref}}
		n.refused("", "PUT", "/v1/admin/resources/agent/thief", agent, 422, "invalid_config", "sealed secrets only")
	}

	// A broken file on the disk, not in force, keeps nobody from the API.
	n.write("acme.res.yaml", "kind: [")
	n.must("", "PUT", "/v1/admin/resources/queue/q", object{"spec": object{"title": "Q"}, "version": 2}, &applied)
	if applied.Version != 3 || !slices.Equal(applied.Added, []string{"queue/q"}) {
		t.Errorf("%+v", applied)
	}
	n.write("acme.res.yaml", file+"---\nkind: queue\nname: q\nspec: {title: The file's}\n")
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	n.refused("", "DELETE", "/v1/admin/resources/queue/q", nil, 409, "managed_by_file")

	// The list by pages, and the history, which names who.
	var kinds []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		var page struct {
			Items  []struct{ Kind, Name string }
			Cursor string
		}
		n.must("", "GET", "/v1/admin/resources?limit=2&cursor="+cursor, nil, &page)
		for _, i := range page.Items {
			kinds = append(kinds, i.Kind+"/"+i.Name)
		}
		cursor = page.Cursor
	}
	if got := strings.Join(kinds, " "); got != "bot/legacy bot/other channel/second channel/web queue/q queue/support tenant/acme" {
		t.Errorf("by pages: %s", got)
	}
	n.refused("", "GET", "/v1/admin/resources?cursor=!", nil, 400, "bad_request")
	var history struct {
		Items []struct {
			Version int
			By      string
		}
		Cursor string
	}
	n.must("", "GET", "/v1/admin/versions?limit=3", nil, &history)
	if len(history.Items) != 3 || history.Items[0].Version != 4 || history.Items[0].By != "operator:test" ||
		!strings.HasPrefix(history.Items[1].By, "operator:") || history.Cursor == "" {
		t.Errorf("%+v", history)
	}
	cursor := history.Cursor
	history.Items = nil
	n.must("", "GET", "/v1/admin/versions?cursor="+cursor, nil, &history)
	if len(history.Items) != 1 || history.Items[0].Version != 1 || history.Items[0].By != "" {
		t.Errorf("the rest: %+v", history)
	}
	n.refused("", "GET", "/v1/admin/versions/9", nil, 404, "not_found")
	n.refused("", "GET", "/v1/admin/versions/x", nil, 404, "not_found")
}

func TestTenantsOverTheSocket(t *testing.T) {
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	n.must("", "POST", "/v1/admin/tenants", object{"name": "bank", "title": "The Bank"}, nil)
	n.refused("", "POST", "/v1/admin/tenants", object{"name": "bank"}, 409, "exists")
	n.refused("", "POST", "/v1/admin/tenants", object{"name": "Bank"}, 400, "bad_request")
	n.refused("", "GET", "/v1/admin/status", nil, 400, "bad_request", "acme, bank")
	bot := object{"adapter": "webhook", "config": object{"url": b.URL, "request": object{"text": "text"}, "response": object{"text": "body.reply"}}}
	n.must("bank", "POST", "/v1/admin/resources", object{"resources": []object{
		{"kind": "bot", "name": "clerk", "spec": bot}, {"kind": "queue", "name": "counter"},
		{"kind": "channel", "name": "web", "spec": object{"adapter": "web", "config": object{"allow_no_origin": true, "wait": "10s"}}},
	}}, nil)
	n.stop()
	n.start()
	if said, _ := n.customer("bank.web").says("hello"); !slices.Equal(said, []string{"bot: legacy here"}) {
		t.Errorf("%q", said)
	}
	n.refused("", "DELETE", "/v1/admin/tenants/acme", nil, 409, "managed_by_file", "acme.res.yaml")
	n.refused("", "DELETE", "/v1/admin/tenants/none", nil, 404, "not_found")
	n.must("", "DELETE", "/v1/admin/tenants/bank", nil, nil)
	if status, _ := n.call("POST", "/v1/web/bank.web/session", "", object{}); status != 404 {
		t.Errorf("a channel of a tenant that was removed: %d", status)
	}
	var list struct {
		Items []struct {
			Name    string
			File    string
			Removed bool
		}
	}
	n.must("", "GET", "/v1/admin/tenants", nil, &list)
	if len(list.Items) != 2 || list.Items[0].File == "" || list.Items[0].Removed || !list.Items[1].Removed {
		t.Errorf("%+v", list)
	}
	if said, _ := n.customer("acme.web").says("hello"); len(said) != 1 {
		t.Errorf("the other tenant: %q", said)
	}
}

func TestUsersAndKeys(t *testing.T) {
	b := newBot(t, "legacy")
	key, digest := newKey(t, "k")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy") +
		"---\nkind: agent\nname: ada\nspec: {role: admin, keys: [{id: k, sha256: " + digest + "}]}\n"})
	var made struct {
		ID      string
		OneTime string `json:"one_time_password"`
		Role    string
	}
	n.must("", "POST", "/v1/admin/users", object{"id": "ben", "name": "Ben", "queues": []string{"support"}}, &made)
	if made.OneTime == "" || made.Role != "agent" {
		t.Fatalf("%+v", made)
	}
	signIn := func(password string) (token string) {
		t.Helper()
		_, answer := n.call("POST", "/v1/agent/login", "", object{"login": "ben", "password": password})
		token, _ = answer["token"].(string)
		return token
	}
	me := func(token string) int {
		t.Helper()
		status, _ := n.call("GET", "/v1/agent/me", token, nil)
		return status
	}
	session := signIn(made.OneTime)
	if me(session) != 200 || signIn("not the password") != "" {
		t.Error("ben cannot sign in, or with any password")
	}
	n.refused("", "POST", "/v1/admin/users", object{"id": "ben"}, 409, "exists")
	n.refused("", "POST", "/v1/admin/users", object{"id": "Ben"}, 400, "bad_request")
	n.refused("", "POST", "/v1/admin/users", object{"id": "eve", "password": "short"}, 400, "bad_request")
	n.refused("", "POST", "/v1/admin/users", object{"id": "eve", "queues": []string{"suport"}}, 422, "invalid_config", "did you mean")
	n.refused("", "POST", "/v1/admin/users/ada/disable", nil, 409, "managed_by_file")
	n.refused("", "POST", "/v1/admin/users/none/disable", nil, 404, "not_found")

	// Another password ends what began with the old one.
	n.must("", "POST", "/v1/admin/users/ben/password", object{"password": "correct horse battery"}, nil)
	if me(session) != 401 || signIn(made.OneTime) != "" {
		t.Error("the old password still counts")
	}
	session = signIn("correct horse battery")
	n.must("", "POST", "/v1/admin/users/ben/disable", nil, nil)
	if me(session) != 401 || signIn("correct horse battery") != "" {
		t.Error("somebody who was shut out is in")
	}
	n.must("", "POST", "/v1/admin/users/ben/enable", nil, nil)
	if me(session) != 200 {
		t.Error("somebody who was let in again is out")
	}

	// Keys: shown once, rotated with an overlap, revoked.
	var first, second struct{ ID, Key string }
	n.must("", "POST", "/v1/admin/users/ben/keys", object{"id": "laptop"}, &first)
	n.refused("", "POST", "/v1/admin/users/ben/keys", object{"id": "laptop"}, 409, "exists")
	n.refused("", "POST", "/v1/admin/users/ben/keys", object{"id": "a b"}, 400, "bad_request")
	n.refused("", "POST", "/v1/admin/users/ben/keys", object{"id": "x", "scopes": []string{"audit:read"}}, 422, "invalid_config", "integrations")
	n.must("", "POST", "/v1/admin/users/ben/keys/laptop/rotate", object{"overlap": 3600}, &second)
	if me(first.Key) != 200 || me(second.Key) != 200 {
		t.Error("during the overlap one of the keys does not work")
	}
	n.must("", "POST", "/v1/admin/users/ben/keys/laptop/rotate", nil, &second)
	if me(first.Key) != 401 || me(second.Key) != 200 {
		t.Error("after a rotation without overlap the old key works, or the new one does not")
	}
	n.must("", "DELETE", "/v1/admin/users/ben/keys/laptop", nil, nil)
	if me(second.Key) != 401 {
		t.Error("a revoked key works")
	}
	n.refused("", "DELETE", "/v1/admin/users/ben/keys/laptop", nil, 404, "not_found")

	// An admin makes no owners, and does not touch them.
	n.must("", "POST", "/v1/admin/users", object{"id": "olga", "role": "owner", "no_password": true}, nil)
	n.must("", "POST", "/v1/admin/users/olga/keys", object{"id": "k"}, &first)
	admin, err := client.Remote("http://"+n.Addr(), adapters.NewSecret(key))
	if err != nil {
		t.Fatal(err)
	}
	owner, err := client.Remote("http://"+n.Addr(), adapters.NewSecret(first.Key))
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string]any{
		"POST /v1/admin/users":                    object{"id": "eve", "role": "owner"},
		"POST /v1/admin/users/olga/password":      object{},
		"POST /v1/admin/users/olga/keys":          object{"id": "mine"},
		"POST /v1/admin/users/olga/disable":       nil,
		"PUT /v1/admin/resources/agent/ben":       object{"spec": object{"role": "owner"}},
		"PUT /v1/admin/resources/agent/olga":      object{"spec": object{"role": "agent", "queues": []string{"support"}}},
		"DELETE /v1/admin/resources/agent/olga":   nil,
		"PUT /v1/admin/secrets/password-olga":     object{"value": "x"},
		"DELETE /v1/admin/secrets/password-olga":  nil,
		"POST /v1/admin/users/olga/keys/k/rotate": object{},
		"DELETE /v1/admin/users/olga/keys/k":      nil,
	} {
		method, path, _ := strings.Cut(what, " ")
		if err := admin.Do(t.Context(), method, path, body, nil); err == nil || !strings.Contains(err.Error(), "(403 forbidden)") {
			t.Errorf("%s as an admin: %v", what, err)
		}
	}
	if err := owner.Do(t.Context(), "POST", "/v1/admin/users", object{"id": "zoe", "role": "owner", "no_password": true}, nil); err != nil {
		t.Errorf("an owner makes an owner: %v", err)
	}
	var list struct {
		Items []struct {
			ID, Role, File string
			Password       bool
			Keys           []struct{ ID string }
		}
	}
	raw := json.RawMessage{}
	n.must("", "GET", "/v1/admin/users", nil, &raw)
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Items) != 4 || list.Items[0].File == "" || !list.Items[1].Password {
		t.Errorf("%s, %v", raw, err)
	}
	for _, secret := range []string{"argon2id", "sha256", digest, first.Key} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("the list holds %q", secret)
		}
	}
}

// What an owner signs in by is for owners, whatever it is called: an admin who could set it could become one.
func TestSecretsOfOwners(t *testing.T) {
	b := newBot(t, "legacy")
	key, digest := newKey(t, "k")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy") +
		"---\nkind: agent\nname: ada\nspec: {role: admin, keys: [{id: k, sha256: " + digest + "}]}\n"})
	_, theirs := newKey(t, "theirs")
	hash, err := api.HashPassword(rand.Reader, "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"boss": hash, "boss-key": theirs, "password-root": hash} {
		n.must("", "PUT", "/v1/admin/secrets/"+name, object{"value": value}, nil)
	}
	for name, spec := range map[string]object{
		"olga": {"role": "owner", "password": "sealed:boss", "keys": []object{{"id": "theirs", "sha256": "sealed:boss-key"}}},
		"otto": {"role": "owner", "password": "sealed:password-root"},
	} {
		n.must("", "PUT", "/v1/admin/resources/agent/"+name, object{"spec": spec}, nil)
	}
	admin, err := client.Remote("http://"+n.Addr(), adapters.NewSecret(key))
	if err != nil {
		t.Fatal(err)
	}
	own, err := api.HashPassword(rand.Reader, "the admin's own choice")
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string]object{
		"PUT /v1/admin/secrets/boss":        {"value": own},
		"PUT /v1/admin/secrets/boss-key":    {"value": digest},
		"DELETE /v1/admin/secrets/boss-key": nil,
		"POST /v1/admin/users":              {"id": "root", "queues": []string{"support"}, "password": "the admin's own choice"},
	} {
		method, path, _ := strings.Cut(what, " ")
		if err := admin.Do(t.Context(), method, path, body, nil); err == nil || !strings.Contains(err.Error(), "(403 forbidden)") {
			t.Errorf("%s as an admin: %v", what, err)
		}
	}
	for _, login := range []string{"olga", "otto"} {
		if status, _ := n.call("POST", "/v1/agent/login", "", object{"login": login, "password": "the admin's own choice"}); status != 401 {
			t.Errorf("an admin signs in as the owner %s: %d", login, status)
		}
		if status, _ := n.call("POST", "/v1/agent/login", "", object{"login": login, "password": "correct horse battery"}); status != 200 {
			t.Errorf("the owner %s cannot sign in: %d", login, status)
		}
	}
}

// A change of somebody that comes to nothing leaves the password as it was, and a key that ends on a day is no obstacle to
// shutting its holder out.
func TestChangesOfUsers(t *testing.T) {
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	n.must("", "POST", "/v1/admin/users", object{"id": "ben", "queues": []string{"support"}, "password": "correct horse battery"}, nil)
	login := func() int {
		t.Helper()
		status, _ := n.call("POST", "/v1/agent/login", "", object{"login": "ben", "password": "correct horse battery"})
		return status
	}
	n.refused("", "POST", "/v1/admin/users", object{"id": "ben", "password": "another one altogether"}, 409, "exists")
	if login() != 200 {
		t.Error("who makes somebody that there is has changed the password")
	}
	// A file that a resource reads is gone: no change comes into force.
	n.write("ada.sha256", strings.Repeat("0", 64))
	n.write("acme.res.yaml", acmeFile+b.resource("legacy")+"---\nkind: agent\nname: ada\nspec: {role: admin, keys: [{id: k, sha256: 'file:ada.sha256'}]}\n")
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.dir, "ada.sha256")); err != nil {
		t.Fatal(err)
	}
	n.refused("", "POST", "/v1/admin/users/ben/password", object{"password": "another one altogether"}, 422, "invalid_config")
	n.write("ada.sha256", strings.Repeat("0", 64))
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	if login() != 200 {
		t.Error("a change of a password that was refused is in force")
	}
	_, digest := newKey(t, "k")
	n.must("", "PUT", "/v1/admin/resources/agent/eve", object{"spec": object{
		"queues": []string{"support"}, "keys": []object{{"id": "k", "sha256": digest, "expires": "2999-01-31"}},
	}}, nil)
	n.must("", "POST", "/v1/admin/users/eve/disable", nil, nil)
	n.must("", "POST", "/v1/admin/users/eve/keys", object{"id": "k2", "expires": "2999-02-01T12:00:00Z"}, nil)
	n.must("", "POST", "/v1/admin/users/eve/keys/k/rotate", object{"overlap": 60}, nil)
	var raw json.RawMessage
	n.must("", "GET", "/v1/admin/users", nil, &raw)
	for _, end := range []string{`"id":"k","expires":"2999-01-31T00:00:00Z"`, `"id":"k2","expires":"2999-02-01T12:00:00Z"`} {
		if !strings.Contains(string(raw), end) {
			t.Errorf("%s is not in %s", end, raw)
		}
	}
}

// A sealed secret goes in and is used; nothing gives it out; a rotation is in force at once, and a name that is not there
// is said.
func TestSealedSecrets(t *testing.T) {
	const canary = "canary-5e41ed"
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	signed := strings.Replace(b.resource("legacy"), "request:", "sign: 'sealed:bot-key', request:", 1)
	n.write("acme.res.yaml", acmeFile+signed)
	n.refused("", "POST", "/v1/admin/reload", nil, 422, "invalid_config", `no sealed secret \"bot-key\"`, "turnout admin secrets set bot-key")
	n.must("", "PUT", "/v1/admin/secrets/bot-key", object{"value": canary + "-1"}, nil)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{canary + "-1", canary + "-2"} {
		var info struct {
			Version int
			UsedBy  []string `json:"used_by"`
		}
		n.must("", "PUT", "/v1/admin/secrets/bot-key", object{"value": value}, &info)
		if !slices.Equal(info.UsedBy, []string{"bot/legacy"}) {
			t.Errorf("%+v", info)
		}
		for range 2 {
			n.customer("acme.web").says("hello")
			if !b.signedWith(value) {
				t.Error("the bot's calls are not signed with the value of now")
			}
			n.stop()
			n.start()
		}
	}
	n.refused("", "DELETE", "/v1/admin/secrets/bot-key", nil, 409, "in_use", "bot/legacy")
	header := func(ref string) object { // a reference within a header's value is one as well
		return object{"spec": object{"adapter": "webhook", "config": object{
			"url": b.URL, "headers": object{"Authorization": "Bearer " + ref}, "request": object{"text": "text"}, "response": object{"text": "body.reply"},
		}}}
	}
	n.must("", "PUT", "/v1/admin/resources/bot/extra", header("sealed:bot-key"), nil)
	n.refused("", "PUT", "/v1/admin/resources/bot/extra", header("sealed:none"), 422, "invalid_config", "secrets set none")
	n.must("", "PUT", "/v1/admin/secrets/header-key", object{"value": "x"}, nil)
	n.must("", "PUT", "/v1/admin/resources/bot/extra", header("sealed:header-key"), nil)
	n.refused("", "DELETE", "/v1/admin/secrets/header-key", nil, 409, "in_use", "bot/extra")
	n.must("", "DELETE", "/v1/admin/resources/bot/extra", nil, nil)
	n.must("", "DELETE", "/v1/admin/secrets/header-key", nil, nil)
	n.refused("", "DELETE", "/v1/admin/secrets/none", nil, 404, "not_found")
	n.refused("", "PUT", "/v1/admin/secrets/Bot", object{"value": "x"}, 400, "bad_request")
	n.refused("", "PUT", "/v1/admin/secrets/bot-key", object{}, 400, "bad_request")
	n.refused("", "PUT", "/v1/admin/secrets/bot-key", object{"wert": canary}, 400, "bad_request")
	var shown []string
	for _, path := range []string{"secrets", "resources", "versions", "versions/1", "versions/2", "users", "status"} {
		var raw json.RawMessage
		n.must("", "GET", "/v1/admin/"+path, nil, &raw)
		shown = append(shown, string(raw))
	}
	if !strings.Contains(shown[0], `"name":"bot-key","version":3`) {
		t.Errorf("the list: %s", shown[0])
	}
	n.write("acme.res.yaml", acmeFile+b.resource("legacy"))
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	n.must("", "DELETE", "/v1/admin/secrets/bot-key", nil, nil)
	n.stop()
	for where, text := range map[string]string{"an answer": strings.Join(shown, ""), "the log": n.logs.String(), "the data folder": n.stored()} {
		if strings.Contains(text, canary) {
			t.Errorf("the secret is in %s", where)
		}
	}
}

// stored is every byte of the node's data folder.
func (n *node) stored() string {
	n.t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(n.dir, "data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "ballast" {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return all.String()
}
