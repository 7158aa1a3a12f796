package gateway_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
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

	body := []byte(`{"messages":[{"id":"1","from":"bo","text":"agent"}]}`)
	now := strconv.FormatInt(time.Now().Unix(), 10)
	req, err := http.NewRequest("POST", "http://"+n.Addr()+"/v1/hooks/acme.app/messages", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(hook.HeaderTimestamp, now)
	req.Header.Set(hook.HeaderSignature, hook.Sign([]byte(secret), now, body))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var taken struct {
		Messages []struct{ Conversation string }
	}
	if err := json.NewDecoder(res.Body).Decode(&taken); err != nil || res.StatusCode != 200 || len(taken.Messages) != 1 {
		t.Fatalf("%d, %v, %+v", res.StatusCode, err, taken)
	}
	if said := <-arrived; said == "" {
		t.Errorf("at the handoff the customer hears %q", said)
	}

	n.write("acme.res.yaml", without)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	const word = "Ana here, while the channel is away."
	path := "/v1/agent/conversations/" + taken.Messages[0].Conversation
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
