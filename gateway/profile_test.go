package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// crm is a tenant's own system on loopback, with the faults that such systems have.
type crm struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // who was asked for, with the secret that came
	plan  string
	does  http.HandlerFunc // in the place of a good answer
}

func newCRM(t *testing.T, plan string) *crm {
	t.Helper()
	c := &crm{plan: plan}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.asked = append(c.asked, r.URL.Path+" "+r.Header.Get("Authorization"))
		plan, does := c.plan, c.does
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if does != nil {
			does(w, r)
			return
		}
		fmt.Fprintf(w, `{"name":"Eve Adams","plan":%q,"since":2019,"cases":[{"id":"C-1","subject":"It broke","status":"open","at":"2026-01-02T03:04:05Z","url":"https://crm.example/C-1"}]}`, plan)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *crm) set(plan string, does http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plan, c.does = plan, does
}

func (c *crm) questions() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

const (
	identityKey = "a-key-that-site-and-gateway-share-0123456789"
	crmToken    = "canary-crm-token-4471"
	subject     = "canary-subject-5582"
)

// profileFile is a tenant whose customers its own system knows.
func profileFile(b *bot, c *crm, spec string) string {
	return strings.Replace(acmeFile, "allow_no_origin: true", `allow_no_origin: true, identity: {secret: "file:identity"}`, 1) + b.resource("legacy") +
		fmt.Sprintf(`---
kind: profile
name: crm
spec:
  breaker: {failures: 1000}
%s
  config:
    url: %s/customers/{subject}
    headers: {Authorization: "Bearer file:crm-token"}
    response:
      name: body.name
      fields: {plan: body.plan, since: body.since}
      tickets: body.cases
---
kind: rules
name: house
spec:
  files: [rules.yaml]
`, spec, c.URL)
}

const profileRules = `rules:
  - {id: gold, why: Gold customers who leave are called., when: 'account.fields.plan == "gold" && phrase("cancel")', then: {handoff: {queue: support}}}
  - {id: silver, why: w, when: 'account.fields.plan == "silver"', then: {tags: [silver], say: {en: Welcome back.}}}
`

func profileNode(t *testing.T, b *bot, c *crm, spec string) (n *node, key string) {
	t.Helper()
	key, digest := newKey(t, "ana")
	n = newNode(t, map[string]string{
		"acme.res.yaml": profileFile(b, c, spec) + "---\nkind: agent\nname: ana\nspec: {queues: [support], keys: [{id: ana, sha256: " + digest + "}]}\n",
		"rules.yaml":    profileRules, "identity": identityKey, "crm-token": crmToken,
	})
	return n, key
}

// identified is a customer whom the tenant's site vouches for.
func (n *node) identified(key, who string) *customer {
	n.t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": who, "exp": time.Now().Add(time.Hour).Unix(), "level": "password"}).SignedString([]byte(identityKey))
	if err != nil {
		n.t.Fatal(err)
	}
	status, answer := n.call("POST", "/v1/web/"+key+"/session", "", map[string]any{"identity": token})
	session, _ := answer["token"].(string)
	if session == "" {
		n.t.Fatalf("no session: %d %v", status, answer)
	}
	return &customer{n: n, key: key, token: session}
}

// known is an identified customer of whom the tenant's own system has said what it knows: no wait of a turn decides about
// what a test sees.
func (n *node) known(tenant, who string) *customer {
	n.t.Helper()
	c := n.identified(tenant+".web", who)
	_, answer := n.call("POST", "/v1/web/"+tenant+".web/session", "", map[string]any{"token": c.token})
	conversation, _ := answer["conversation"].(string)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		_, story := n.overSocket(tenant, "GET", "/v1/admin/conversations/"+conversation+"/replay", nil)
		if strings.Contains(string(story), "the tenant's system says") {
			return c
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("nothing is known of the customer: %v", answer)
		}
	}
}

type seen struct {
	Conversation string
	Customer     string
	Lookup       bool
	Tags         []string
	Account      *struct {
		At      time.Time
		Name    string
		Fields  map[string]any
		Tickets []struct{ ID, Subject, Status, URL string }
	}
	Events []struct {
		Seq     uint64
		Type    string
		Actor   struct{ Kind, ID string }
		Account *struct{ Fields map[string]any }
	}
}

// waiting returns what an agent sees of the only conversation that waits.
func (n *node) waiting(key string) (s seen) {
	n.t.Helper()
	var list struct{ Items []seen }
	n.get(key, "/v1/agent/queue", &list)
	if len(list.Items) != 1 {
		n.t.Fatalf("%d conversations wait", len(list.Items))
	}
	n.get(key, "/v1/agent/conversations/"+list.Items[0].Conversation, &s)
	return s
}

func (n *node) get(key, path string, into any) {
	n.t.Helper()
	status, answer := n.call("GET", path, key, nil)
	raw, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil || status != 200 {
		n.t.Fatalf("%s: %d %v", path, status, err)
	}
}

// TestProfile: what a tenant's own system says of a customer reaches rules before the bot is asked, and agents, who may ask
// again; it is in the audit and recomputes. Nobody is asked for who was not verified.
func TestProfile(t *testing.T) {
	b, c := newBot(t, "legacy"), newCRM(t, "gold")
	n, key := profileNode(t, b, c, "  late_wait: 2s\n  deadline: 30s")
	n.customer("acme.web").says("cancel it")
	if asked := c.questions(); len(asked) != 0 {
		t.Fatalf("asked for somebody whom nobody verified: %v", asked)
	}
	<-b.asked
	if said, owner := n.known("acme", subject).says("cancel it"); owner != "queued" || len(said) != 1 {
		t.Fatalf("%v, %s", said, owner)
	}
	if asked := c.questions(); !slices.Equal(asked, []string{"/customers/" + subject + " Bearer " + crmToken}) {
		t.Errorf("asked %v", asked)
	}
	if len(b.asked) != 0 {
		t.Error("the bot was asked although a rule handed over")
	}
	s := n.waiting(key)
	if a := s.Account; a == nil || a.Name != "Eve Adams" || a.Fields["plan"] != "gold" || a.Fields["since"] != 2019.0 || len(a.Tickets) != 1 || a.Tickets[0].URL != "https://crm.example/C-1" {
		t.Errorf("an agent sees %+v", s.Account)
	}
	if s.Customer != "Eve Adams" || !s.Lookup {
		t.Errorf("the customer is called %q", s.Customer)
	}

	// Asked again by an agent, it is as of now, in the agent's name.
	c.set("silver", nil)
	if status, answer := n.call("POST", "/v1/agent/conversations/"+s.Conversation+"/account", key, object{}); status != 200 {
		t.Errorf("asking again: %d %v", status, answer)
	}
	again := n.waiting(key)
	last := again.Events[len(again.Events)-1]
	if again.Account.Fields["plan"] != "silver" || !again.Account.At.After(s.Account.At) || last.Type != "profile.changed" || last.Actor.ID != "ana" || last.Account == nil {
		t.Errorf("then %+v, last %+v", again.Account, last)
	}
	c.set("silver", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	if status, answer := n.call("POST", "/v1/agent/conversations/"+s.Conversation+"/account", key, object{}); status != 502 || answer["code"] != "lookup_failed" {
		t.Errorf("with a system that is down: %d %v", status, answer)
	}

	// What was decided with it comes out again, and the audit says that it was asked.
	var story struct {
		Judged, Differs int
		Equal           int
	}
	n.must("acme", "GET", "/v1/admin/conversations/"+s.Conversation+"/replay?recompute=1", nil, &story)
	if story.Judged < 1 || story.Differs != 0 {
		t.Errorf("recomputed: %+v", story)
	}
	_, export := n.overSocket("acme", "GET", "/v1/admin/audit/export", nil)
	if got := strings.Count(string(export), `"kind":"account"`); got < 2 {
		t.Errorf("%d entries of the audit say that the system was asked", got)
	}
	for _, leak := range []string{subject, crmToken, "Eve Adams", c.Listener.Addr().String()} {
		if strings.Contains(n.logs.String(), leak) {
			t.Errorf("the log holds %q", leak)
		}
		if strings.Contains(string(export), leak) {
			t.Errorf("the audit holds %q", leak)
		}
	}
}

// TestProfileFaults: whatever a tenant's own system does, its customers get answers, and nobody's log learns of them.
func TestProfileFaults(t *testing.T) {
	b, c := newBot(t, "legacy"), newCRM(t, "silver")
	private := newCRM(t, "silver")
	end := make(chan struct{})
	defer close(end)
	n, _ := profileNode(t, b, c, "  late_wait: 100ms\n  deadline: 300ms")
	flap := false
	for i, f := range []struct {
		name string
		does http.HandlerFunc
	}{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}},
		{"is slow", func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(`{"plan":`))
			w.(http.Flusher).Flush()
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}},
		{"answers 500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, subject, 500) }},
		{"answers garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>"+subject) }},
		{"is huge", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"plan":"silver","x":"%s"}`, strings.Repeat("x", 1<<20))
		}},
		{"leads elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, private.URL+r.URL.Path, http.StatusFound)
		}},
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"flaps", func(w http.ResponseWriter, _ *http.Request) {
			if flap = !flap; flap {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(503)
		}},
	} {
		c.set("silver", f.does)
		who := n.identified("acme.web", fmt.Sprint(subject, i))
		for range 2 {
			if said, owner := who.says("where is my order"); owner != "bot" || !slices.Equal(said, []string{"bot: legacy here"}) {
				t.Errorf("a system that %s: %v, %s", f.name, said, owner)
			}
		}
	}
	if len(private.questions()) > 0 {
		t.Error("a redirect was followed")
	}
	// When it is well again, so is everything.
	c.set("silver", nil)
	if said, _ := n.identified("acme.web", subject).says("where is my order"); !slices.Contains(said, "bot: legacy here") {
		t.Errorf("when it is back: %v", said)
	}
	for _, leak := range []string{subject, crmToken} {
		if strings.Contains(n.logs.String(), leak) {
			t.Errorf("the log holds %q", leak)
		}
	}
	if strings.Contains(n.logs.String(), "level=ERROR") {
		t.Errorf("errors in the log: %s", n.logs)
	}
}

// TestProfileGuard: without the operator's leave no private address is asked, whatever the resource says.
func TestProfileGuard(t *testing.T) {
	b, c := newBot(t, "legacy"), newCRM(t, "silver")
	n, _ := profileNode(t, b, c, "  late_wait: 2s\n  deadline: 30s")
	n.stop()
	n.write("turnout.yaml", strings.Replace(n.read("turnout.yaml"), "allow_networks: [127.0.0.1/32]", "allow_networks: [192.0.2.1/32]", 1))
	n.start()
	n.identified("acme.web", subject).says("hello") // the bot cannot be asked either: people get it
	if asked := c.questions(); len(asked) != 0 {
		t.Errorf("asked %v", asked)
	}
}

// TestProfileReload: a changed section is another system from then on, one that has not changed keeps what it knows, and
// without one nobody is asked.
func TestProfileReload(t *testing.T) {
	b, c, other := newBot(t, "legacy"), newCRM(t, "silver"), newCRM(t, "silver")
	n, _ := profileNode(t, b, c, "  late_wait: 2s\n  deadline: 30s")
	reload := func(file string) {
		t.Helper()
		n.write("acme.res.yaml", file)
		if _, err := n.Reload(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
	}
	file := n.read("acme.res.yaml")
	says := func(want ...string) {
		t.Helper()
		c := n.identified("acme.web", subject)
		if len(want) > 1 {
			c = n.known("acme", subject)
		}
		if said, _ := c.says("hello"); !slices.Equal(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	}
	says("system: Welcome back.", "bot: legacy here")
	reload(strings.Replace(file, "name: support", "name: support\nspec: {title: Care}", 1))
	says("system: Welcome back.", "bot: legacy here")
	if n := len(c.questions()); n != 1 {
		t.Errorf("asked %d times: what was known is gone", n)
	}
	reload(strings.Replace(file, c.URL, other.URL, 1))
	says("system: Welcome back.", "bot: legacy here")
	if len(c.questions()) != 1 || len(other.questions()) != 1 {
		t.Errorf("asked %d and %d times", len(c.questions()), len(other.questions()))
	}
	reload(file[:strings.Index(file, "---\nkind: profile")] + file[strings.Index(file, "---\nkind: rules"):])
	says("bot: legacy here")
	// A secret that is another now is another system, too.
	reload(file)
	if err := os.WriteFile(filepath.Join(n.dir, "crm-token"), []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(file)
	says("system: Welcome back.", "bot: legacy here")
	if asked := c.questions(); !strings.HasSuffix(asked[len(asked)-1], "Bearer rotated") {
		t.Error("the old secret is sent")
	}
}

// TestProfileTenants: the same customer of two tenants is somebody else to each.
func TestProfileTenants(t *testing.T) {
	b, gold, silver := newBot(t, "legacy"), newCRM(t, "gold"), newCRM(t, "silver")
	file := func(tenant string, c *crm) string {
		text := strings.ReplaceAll(profileFile(b, c, "  late_wait: 2s\n  deadline: 30s"), "name: acme", "name: "+tenant)
		for _, kind := range []string{"queue", "channel", "bot", "profile", "rules"} {
			text = strings.ReplaceAll(text, "kind: "+kind+"\n", "kind: "+kind+"\ntenant: "+tenant+"\n")
		}
		return text
	}
	n := newNode(t, map[string]string{
		"acme.res.yaml": file("acme", gold), "globex.res.yaml": file("globex", silver),
		"rules.yaml": profileRules, "identity": identityKey, "crm-token": crmToken,
	})
	if _, owner := n.known("acme", subject).says("cancel it"); owner != "queued" {
		t.Errorf("acme: %s", owner)
	}
	if said, owner := n.known("globex", subject).says("cancel it"); owner != "bot" || !slices.Equal(said, []string{"system: Welcome back.", "bot: legacy here"}) {
		t.Errorf("globex: %v, %s", said, owner)
	}
	if len(gold.questions()) != 1 || len(silver.questions()) != 1 {
		t.Error("a tenant's system was asked for another's customer")
	}
}
