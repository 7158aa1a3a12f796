package story

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The example of a shop whose own system knows its customers, as it stands but for the ports and its folder: a gold customer
// who wants to leave reaches a person, who sees why; the check asks the system, and says when it cannot.
func TestCRMExample(t *testing.T) {
	bot := newTestBot(t)
	dir := filepath.Join(t.TempDir(), "crm")
	run(t, "cp", "-r", "../../deploy/examples/crm", dir)
	os.RemoveAll(filepath.Join(dir, "data"))
	keys := exec.Command(filepath.Join(dir, "init-keys"))
	keys.Env = append(os.Environ(), "TURNOUT="+binary)
	if b, err := keys.CombinedOutput(); err != nil {
		t.Fatalf("init-keys: %v\n%s", err, b)
	}
	secret := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "data/keys", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	var down atomic.Bool
	var asked atomic.Int32
	crm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Header.Get("Authorization") != "Bearer "+secret("crm.secret"):
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v1/customers/u-17":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"customer":{"name":"Eve Adams","tier":"gold","open_orders":2,"blocked":false},"tickets":[
				{"number":4711,"title":"Wrong size","state":"solved","opened_at":"2026-01-05T10:00:00Z","link":"https://crm.example/4711"}]}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer crm.Close()
	listen, ops := freeAddr(t), freeAddr(t)
	ports := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:8081", ops, "http://127.0.0.1:5005/", bot.URL, "http://127.0.0.1:5007", crm.URL)
	for _, name := range []string{"turnout.yaml", "resources/shop.yaml"} {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(ports.Replace(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(t, binary, "check", filepath.Join(dir, "turnout.yaml"), "--connect"); !strings.Contains(out, "profile crm: can be reached") || asked.Load() != 1 {
		t.Errorf("the check says, after %d questions:\n%s", asked.Load(), out)
	}
	down.Store(true)
	out, err := exec.Command(binary, "check", filepath.Join(dir, "turnout.yaml"), "--connect").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "profile crm: probe: the server is there, but asking it for this customer fails: the directory answered status 503") {
		t.Errorf("the check of a system that is down says %v\n%s", err, out)
	}
	down.Store(false)

	n := &node{t: t, dir: dir, base: "http://" + listen, keys: map[string]string{"ana": secret("ana.key")}}
	n.start()
	t.Cleanup(n.kill)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	identity, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "u-17", "level": "password", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret("identity.secret")))
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(n.base, "")
	var s struct{ Token string }
	if err := c.do(ctx, "/v1/web/shop.web/session", "", map[string]any{"identity": identity}, &s); err != nil {
		t.Fatal(err)
	}
	c.token = s.Token
	var conversation string
	// The first answer about a customer may miss the wait of the first turn on a busy machine: the next message has it.
	for i := range 20 {
		a, err := c.say(ctx, fmt.Sprint(i), "I want to cancel everything")
		if err != nil {
			t.Fatal(err)
		}
		if conversation = a.Conversation; a.Owner.Kind == "queued" {
			break
		}
	}
	var seen struct {
		Owner   struct{ Kind string }
		Rule    string
		Account json.RawMessage
	}
	if err := n.agent("ana").do(ctx, "/v1/agent/conversations/"+conversation, "", nil, &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Owner.Kind != "queued" || seen.Rule != "gold-leaves" {
		t.Errorf("the conversation is %+v", seen)
	}
	for _, want := range []string{`"name":"Eve Adams"`, `"tier":"gold"`, `"open_orders":2`, `"id":"4711"`, `"url":"https://crm.example/4711"`} {
		if !strings.Contains(string(seen.Account), want) {
			t.Errorf("the agent does not see %s: %s", want, seen.Account)
		}
	}
	n.stop()
}
