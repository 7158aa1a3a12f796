package gateway_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"turnout/gateway/config"
	"turnout/gateway/resource"
)

func (n *node) reload() (resource.Applied, error) {
	return n.Reload(context.Background(), "operator:test")
}

// One reload changes a bot, adds a channel and removes a queue while a turn runs with the old bot.
func TestReloadWhileATurnRuns(t *testing.T) {
	old, fresh := newBot(t, "old"), newBot(t, "fresh")
	old.hold = make(chan struct{})
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + "kind: queue\nname: extra\n---\n" + old.resource("legacy")})
	c := n.customer("acme.web")
	type answer struct {
		said  []string
		owner string
	}
	running := make(chan answer)
	go func() {
		said, owner := c.says("hello")
		running <- answer{said, owner}
	}()
	<-old.asked
	n.write("acme.res.yaml", acmeFile+"kind: channel\nname: second\nspec: {adapter: web, config: {allow_no_origin: true}}\n---\n"+fresh.resource("legacy"))
	applied, err := n.reload()
	if err != nil {
		t.Fatal(err)
	}
	if len(applied.Tenants) != 1 || applied.Tenants[0].Version != 2 || len(applied.Restart) != 0 ||
		!slices.Equal(applied.Tenants[0].Added, []string{"channel/second"}) ||
		!slices.Equal(applied.Tenants[0].Changed, []string{"bot/legacy"}) || !slices.Equal(applied.Tenants[0].Removed, []string{"queue/extra"}) {
		t.Errorf("%+v", applied)
	}
	for _, key := range []string{"acme.web", "acme.second"} {
		if said, _ := n.customer(key).says("hello"); !slices.Equal(said, []string{"bot: fresh here"}) {
			t.Errorf("%s: %q", key, said)
		}
	}
	close(old.hold)
	if got := <-running; !slices.Equal(got.said, []string{"bot: old here"}) || got.owner != "bot" {
		t.Errorf("the running turn came to %q, %s", got.said, got.owner)
	}
	if said, _ := c.says("again"); !slices.Equal(said, []string{"bot: fresh here"}) {
		t.Errorf("the next turn: %q", said)
	}
	if strings.Contains(n.logs.String(), "level=ERROR") {
		t.Errorf("the log has errors:\n%s", n.logs.String())
	}
	// Nothing changed: no new version.
	if applied, err := n.reload(); err != nil || applied.Tenants[0].Version != 2 {
		t.Errorf("once more: %+v, %v", applied, err)
	}
}

// A file that is broken leaves everything as it was, and says where.
func TestReloadIsAllOrNothing(t *testing.T) {
	b := newBot(t, "legacy")
	good := acmeFile + b.resource("legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": good})
	file := filepath.Join(n.dir, "acme.res.yaml")
	moved := strings.Replace(good, "name: web", "name: moved", 1) // what would be in force
	for name, tt := range map[string]struct{ text, says string }{
		"syntax":             {moved + "---\nkind: [\n", file + ":"},
		"unknown field":      {moved + "---\nkind: queue\nname: q\nspec: {titel: x}\n", `unknown field "titel"; did you mean "title"?`},
		"an adapter's field": {moved + "---\nkind: channel\nname: c\nspec: {adapter: web, config: {titel: x}}\n", ":18:31"},
		"unknown adapter":    {moved + "---\nkind: channel\nname: c\nspec: {adapter: wab}\n", "this build has"},
		"a secret":           {moved + "---\nkind: agent\nname: ana\nspec: {queues: [support], password: 'env:TURNOUT_NOT_SET'}\n", "is not set"},
		"a sealed secret":    {moved + "---\nkind: agent\nname: ana\nspec: {queues: [support], password: 'sealed:ana'}\n", "turnout admin secrets set ana"},
		"a rule":             {moved + "---\nkind: rules\nname: r\nspec:\n  rules:\n    - {id: x, on: inbound, when: 'nonsense >', then: {tags: [a]}}\n", ":20:44"},
		"gone":               {"", "no resource file has a tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			n.write("acme.res.yaml", tt.text)
			_, err := n.reload()
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
			if said, _ := n.customer("acme.web").says("hello"); !slices.Equal(said, []string{"bot: legacy here"}) {
				t.Errorf("what was in force is not: %q", said)
			}
			if status, _ := n.call("POST", "/v1/web/acme.moved/session", "", struct{}{}); status != 404 {
				t.Errorf("a part of it is in force: %d", status)
			}
		})
	}
	n.write("acme.res.yaml", moved+"---\nkind: queue\nname: q\nspec: {titel: x}\n")
	n.refused("", "POST", "/v1/admin/reload", nil, 422, "invalid_config", "stays in force", `"faults":[{`, "has 1 faults", `"line":18,"column":8`)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var faults config.Faults
	if _, err := n.reload(); !errors.As(err, &faults) || !strings.Contains(err.Error(), "no file matches") {
		t.Errorf("without the file: %v", err)
	}
	n.write("acme.res.yaml", good)
	if applied, err := n.reload(); err != nil || applied.Tenants[0].Version != 1 {
		t.Errorf("%+v, %v", applied, err)
	}
}

func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	n.write("turnout.yaml", strings.Replace(nodeSettings, "ops_listen: 127.0.0.1:0", "ops_listen: 127.0.0.1:9", 1)+"\n")
	applied, err := n.reload()
	if err != nil || !slices.Equal(applied.Restart, []string{"ops_listen"}) {
		t.Errorf("%+v, %v", applied, err)
	}
}

// What waits in a queue that is taken out is still seen, by those who serve the default queue; a queue that comes back is
// archived no more. All of it over a restart.
func TestRemovedResourcesAreArchived(t *testing.T) {
	b := newBot(t, "legacy")
	people := "kind: agent\nname: ana\nspec: {queues: [support], keys: [{id: k, sha256: %s}]}\n---\n"
	key, digest := newKey(t, "k")
	people = strings.Replace(people, "%s", digest, 1)
	with := acmeFile + people +
		"kind: queue\nname: returns\n---\nkind: rules\nname: r\nspec:\n  rules:\n    - id: back\n      why: They want to send it back.\n      on: inbound\n      when: phrase(\"send it back\")\n      then: {handoff: {queue: returns}}\n---\n" + b.resource("legacy")
	without := acmeFile + people + b.resource("legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": with})
	c := n.customer("acme.web")
	if _, owner := c.says("I want to send it back"); owner != "queued" {
		t.Fatalf("the owner is %s", owner)
	}
	sees := func() int {
		t.Helper()
		status, answer := n.call("GET", "/v1/agent/queue", key, nil)
		items, _ := answer["items"].([]any)
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		return len(items)
	}
	if sees() != 0 {
		t.Error("who does not serve the queue sees it")
	}
	n.write("acme.res.yaml", without)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"after the reload", "after a restart"} {
		if got := sees(); got != 1 {
			t.Errorf("%s: %d conversations are seen", when, got)
		}
		var list struct{ Archived []struct{ Kind, Name string } }
		n.must("", "GET", "/v1/admin/resources", nil, &list)
		if len(list.Archived) != 2 || list.Archived[0].Name != "returns" || list.Archived[1].Kind != "rules" {
			t.Errorf("%s: archived %+v", when, list.Archived)
		}
		n.stop()
		n.start()
	}
	n.write("acme.res.yaml", with)
	if _, err := n.reload(); err != nil {
		t.Fatal(err)
	}
	var list struct{ Archived []struct{ Kind, Name string } }
	n.must("", "GET", "/v1/admin/resources", nil, &list)
	if len(list.Archived) != 0 {
		t.Errorf("archived %+v", list.Archived)
	}
	if sees() != 0 {
		t.Error("who does not serve the queue sees it when it is back")
	}
}
