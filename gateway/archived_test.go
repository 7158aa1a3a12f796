package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turnout/adapters/hook"
)

// What a person says while a push channel is taken out waits, and leaves when the channel is back.
func TestRemovedPushChannel(t *testing.T) {
	arrived := make(chan string, 100)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct{ Message struct{ Text string } }
		b, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(b, &m)
		arrived <- m.Message.Text
	}))
	t.Cleanup(app.Close)
	const secret = "a secret of the app, long enough"
	key, digest := newKey(t, "k")
	without := acmeFile + newBot(t, "legacy").resource("legacy") +
		"---\nkind: agent\nname: ana\nspec: {name: Ana, queues: [support], keys: [{id: k, sha256: " + digest + "}]}\n"
	with := without + "---\nkind: channel\nname: app\nspec: {adapter: callback, bot: legacy, config: {url: \"" + app.URL +
		"\", secret: \"file:app.secret\", sign: \"file:sign.secret\", idempotent: true}}\n"
	n := newNode(t, map[string]string{"acme.res.yaml": with, "app.secret": secret, "sign.secret": secret + " and another"})

	conversation := handIn(t, n, "/v1/hooks/acme.app/messages", secret, `{"messages":[{"id":"1","from":"bo","text":"agent"}]}`)
	if said := <-arrived; said == "" {
		t.Errorf("at the handoff the customer hears %q", said)
	}

	n.write("acme.res.yaml", without)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	const word = "Ana here, while the channel is away."
	path := "/v1/agent/conversations/" + conversation
	for _, step := range []struct {
		path string
		body any
	}{{"/v1/agent/presence", struct{}{}}, {path + "/claim", struct{}{}}, {path + "/reply", map[string]string{"text": word}}} {
		if status, answer := n.call("POST", step.path, key, step.body); status/100 != 2 {
			t.Fatalf("%s: %d %v", step.path, status, answer)
		}
	}
	n.write("acme.res.yaml", with)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-arrived:
		if got != word {
			t.Errorf("%q arrived", got)
		}
	case <-time.After(time.Minute):
		t.Error("what was said while the channel was away never left")
	}
}

// What waits for the channels of a tenant that was removed whole is an operator's business, also after a restart, and leaves
// when the tenant is back.
func TestRemovedTenant(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	arrived := make(chan string, 100)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ Message struct{ Text string } }
		b, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(b, &m)
		if busy.Load() {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		arrived <- m.Message.Text
	}))
	t.Cleanup(app.Close)
	const secret = "a secret of the app, long enough"
	bot := newBot(t, "legacy").resource("legacy")
	of := func(tenant, more string) string { // each resource says whose it is
		text := strings.ReplaceAll(acmeFile+bot+more, "kind: ", "tenant: "+tenant+"\nkind: ")
		return strings.Replace(text, "tenant: "+tenant+"\nkind: tenant\nname: acme", "kind: tenant\nname: "+tenant, 1)
	}
	acme, bank := of("acme", ""), of("bank", "---\nkind: channel\nname: app\nspec: {adapter: callback, bot: legacy, config: {url: \""+app.URL+
		"\", secret: \"file:app.secret\", sign: \"file:sign.secret\", idempotent: true}}\n")
	n := newNode(t, map[string]string{"acme.res.yaml": acme, "bank.res.yaml": bank, "app.secret": secret, "sign.secret": secret + " and another"})
	handIn(t, n, "/v1/hooks/bank.app/messages", secret, `{"messages":[{"id":"1","from":"bo","text":"agent"}]}`)

	alarmed := func() bool {
		res, err := http.Get("http://" + n.OpsAddr() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var health struct {
			Alarms []struct{ Name, Tenant, Subject string }
		}
		if err := json.NewDecoder(res.Body).Decode(&health); err != nil {
			t.Fatal(err)
		}
		for _, a := range health.Alarms {
			if a.Name == "outbox.needs_operator" && a.Tenant == "bank" && a.Subject == "bank.app" {
				return true
			}
		}
		return false
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	if err := os.Remove(filepath.Join(n.dir, "bank.res.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	until("an alarm for the removed tenant", alarmed)
	n.stop()
	n.start()
	until("an alarm after a restart", alarmed)

	busy.Store(false)
	n.write("bank.res.yaml", bank)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-time.After(time.Minute):
		t.Fatal("what waited never left")
	}
	until("the alarm's end", func() bool { return !alarmed() })
}

// handIn hands messages in over a callback channel, signed with its secret, and returns the first one's conversation.
func handIn(t *testing.T, n *node, path, secret, body string) string {
	t.Helper()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	req, err := http.NewRequest("POST", "http://"+n.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(hook.HeaderTimestamp, now)
	req.Header.Set(hook.HeaderSignature, hook.Sign([]byte(secret), now, []byte(body)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var taken struct {
		Messages []struct{ Conversation string }
	}
	if err := json.NewDecoder(res.Body).Decode(&taken); err != nil || res.StatusCode != 200 || len(taken.Messages) == 0 {
		t.Fatalf("%d, %v, %+v", res.StatusCode, err, taken)
	}
	return taken.Messages[0].Conversation
}
