package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turnout/gateway/fault"
	"turnout/gateway/resource"
	"turnout/gateway/store"
)

const halfwayTenant = `kind: tenant
name: %[1]s
spec: {default_queue: support}
---
kind: queue
tenant: %[1]s
name: support
---
kind: channel
tenant: %[1]s
name: web
spec: {adapter: web, bot: %[1]s, config: {allow_no_origin: true, wait: 10s}}
---
kind: bot
tenant: %[1]s
name: %[1]s
spec: {adapter: webhook, config: {url: "https://192.0.2.1/"}}
---
kind: rules
tenant: %[1]s
name: house
spec: %[2]s
---
`

// versions are what the store and the node have of a tenant, without the numbers.
func (n *node) versions(tenant string) string {
	n.t.Helper()
	t, err := store.NewTenant(tenant)
	if err != nil {
		n.t.Fatal(err)
	}
	v, err := n.Set(context.Background(), t)
	if err != nil {
		n.t.Fatal(err)
	}
	b, err := json.Marshal(v.Set)
	if err != nil {
		n.t.Fatal(err)
	}
	if status, _ := n.call("POST", "/v1/web/"+tenant+".web/session", "", struct{}{}); status == 404 {
		return string(b)
	}
	var rules struct {
		InForce struct{ Digest string } `json:"in_force"`
		Pending *struct{ Version int }
	}
	n.must(tenant, "GET", "/v1/admin/rules", nil, &rules)
	return fmt.Sprintf("%s %s %+v", b, rules.InForce.Digest, rules.Pending)
}

// A store that fails at any write of a reload of three tenants leaves what was in force, in the store and on the node: also
// over a restart, and also if it takes nothing back at once.
func TestReloadWhoseStoreFails(t *testing.T) {
	const rule = "\n  rules:\n    - {id: %s, why: w, when: 'phrase(\"%s\")', then: {tags: [x]}}"
	before := fmt.Sprintf(halfwayTenant, "acme", fmt.Sprintf(rule, "one", "tea")) + fmt.Sprintf(halfwayTenant, "bank", "{managed: api}")
	after := fmt.Sprintf(halfwayTenant, "acme", fmt.Sprintf(rule, "two", "milk")) + "kind: queue\ntenant: acme\nname: extra\n---\n" +
		fmt.Sprintf(halfwayTenant, "bank", fmt.Sprintf(rule, "three", "coal")) + fmt.Sprintf(halfwayTenant, "cafe", fmt.Sprintf(rule, "four", "cake"))
	disk := errors.New("the disk is full")
	for step, stays := range map[int]bool{1: false, 3: true} { // step: not every write is tried with a store that stays broken
		for fails := 1; ; fails += step {
			var writes, failing atomic.Int64 // failing: from which write on; 0: none
			n := &node{t: t, dir: t.TempDir(), logs: &logged{}, faults: func(_ context.Context, p fault.Point) error {
				if p != fault.VersionBuilt || failing.Load() == 0 {
					return nil
				}
				if w := writes.Add(1); w == failing.Load() || stays && w > failing.Load() {
					return disk
				}
				return nil
			}}
			n.write("root.key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
			n.write("turnout.yaml", nodeSettings)
			n.write("all.res.yaml", before)
			n.start()
			t.Cleanup(n.stop)
			n.must("bank", "POST", "/v1/admin/rules/publish", object{
				"files": []object{{"name": "a.yaml", "text": "rules: [{id: published, why: w, when: turns > 90, then: {tags: [x]}}]\n"}}, "why": "to try",
			}, nil)
			was := n.versions("acme") + n.versions("bank")
			holds := func(when string) {
				t.Helper()
				if is := n.versions("acme") + n.versions("bank"); is != was {
					t.Errorf("write %d fails, %s: %s\nwant %s", fails, when, is, was)
				}
				cafe, err := store.NewTenant("cafe")
				if err != nil {
					t.Fatal(err)
				}
				if v, err := n.Set(context.Background(), cafe); err != nil || len(v.Set.Resources) != 0 {
					t.Errorf("write %d fails, %s: the new tenant has %+v, %v", fails, when, v, err)
				}
			}
			n.write("all.res.yaml", after)
			failing.Store(int64(fails))
			_, err := n.reload()
			if err == nil {
				if fails < 8 {
					t.Errorf("a reload made %d writes", fails-1)
				}
				n.stop()
				break
			}
			if !errors.Is(err, disk) {
				t.Fatalf("write %d fails: %v", fails, err)
			}
			if stays {
				if _, err := n.reload(); !errors.Is(err, disk) {
					t.Errorf("write %d fails, once more: %v", fails, err)
				}
				alarmed := strings.Contains(n.logs.String(), "alarm=config.halfway")
				if alarmed != (fails > 1) {
					t.Errorf("write %d fails and cannot be taken back: alarm %t", fails, alarmed)
				}
				failing.Store(0)
				n.write("all.res.yaml", "kind: nonsense\n")
				if _, err := n.reload(); err == nil {
					t.Error("nonsense is in force")
				}
				if over := strings.Contains(n.logs.String(), `msg="alarm is over" component=rules alarm=config.halfway`); over != alarmed {
					t.Errorf("write %d failed and was taken back: alarm over %t", fails, over)
				}
			}
			failing.Store(0)
			holds("at once")
			n.write("all.res.yaml", before)
			var applied resource.Applied
			if applied, err = n.reload(); err != nil {
				t.Errorf("write %d failed, the files as before: %v", fails, err)
			}
			for _, a := range applied.Tenants {
				if len(a.Added)+len(a.Changed)+len(a.Removed) > 0 {
					t.Errorf("write %d failed, the files as before change %+v", fails, a)
				}
			}
			holds("after another reload")
			n.stop()
			if fails%4 == 3 {
				n.start()
				holds("after a restart")
				n.stop()
			}
		}
	}
}

// A change of which the store cannot say whether it was written is answered as it came out, and comes out the same over a
// restart.
func TestChangeOfUnknownOutcome(t *testing.T) {
	doubt := fmt.Errorf("%w: the disk did not say", store.ErrUnknown)
	var at atomic.Value // the point of the next fault
	at.Store(fault.Point(""))
	n := &node{t: t, dir: t.TempDir(), logs: &logged{}, faults: func(_ context.Context, p fault.Point) error {
		if at.CompareAndSwap(p, fault.Point("")) {
			return doubt
		}
		return nil
	}}
	n.write("root.key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	n.write("turnout.yaml", nodeSettings)
	n.write("acme.res.yaml", acmeFile+newBot(t, "legacy").resource("legacy"))
	n.start()
	t.Cleanup(n.stop)
	holds := func(queue, when string, want bool) {
		t.Helper()
		if status, _ := n.overSocket("", "GET", "/v1/admin/resources/queue/"+queue, nil); (status == 200) != want {
			t.Errorf("%s: queue %s: %d, want it there: %t", when, queue, status, want)
		}
	}
	body := object{"spec": object{"title": "Q"}}
	at.Store(fault.VersionDurable)
	n.must("", "PUT", "/v1/admin/resources/queue/written", body, nil)
	at.Store(fault.VersionBuilt)
	n.refused("", "PUT", "/v1/admin/resources/queue/lost", body, 503, "store_unavailable")
	for _, when := range []string{"at once", "after a restart"} {
		holds("written", when, true)
		holds("lost", when, false)
		if got := at.Load(); got != fault.Point("") {
			t.Errorf("%s: no version passed %v", when, got)
		}
		n.stop()
		n.start()
	}
	n.must("", "PUT", "/v1/admin/resources/queue/lost", body, nil)
	at.Store(fault.VersionDurable)
	n.must("", "PUT", "/v1/admin/secrets/bot-key", object{"value": "x"}, nil)
	holds("lost", "by a repeat", true)
}

// What a store did not let be taken back is, as soon as it does, without anybody's help.
func TestHalfwayIsTakenBackByItself(t *testing.T) {
	disk := errors.New("the disk is full")
	var broken atomic.Int64 // writes that still succeed, below 0: none fails
	broken.Store(-1)
	n := &node{t: t, dir: t.TempDir(), logs: &logged{}, faults: func(_ context.Context, p fault.Point) error {
		switch {
		case p != fault.VersionBuilt || broken.Load() < 0:
		case broken.Load() > 0:
			broken.Add(-1)
		default:
			return disk
		}
		return nil
	}}
	n.write("root.key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	n.write("turnout.yaml", nodeSettings)
	files := func(queue string) string {
		return fmt.Sprintf(halfwayTenant, "acme", "{managed: api}") + queue + fmt.Sprintf(halfwayTenant, "bank", "{managed: api}") +
			strings.ReplaceAll(queue, "acme", "bank")
	}
	n.write("all.res.yaml", files(""))
	n.start()
	t.Cleanup(n.stop)
	was := n.versions("acme") + n.versions("bank")
	n.write("all.res.yaml", files("kind: queue\ntenant: acme\nname: extra\n---\n"))
	broken.Store(1) // the first tenant's set is written, and nothing after it
	if _, err := n.reload(); !errors.Is(err, disk) {
		t.Fatalf("reloading: %v", err)
	}
	if is := n.versions("acme") + n.versions("bank"); is == was {
		t.Fatal("nothing of the change is in the store: there is nothing to take back")
	}
	broken.Store(-1)
	for end := time.Now().Add(time.Minute); !strings.Contains(n.logs.String(), `msg="alarm is over" component=rules alarm=config.halfway`); {
		if time.Now().After(end) {
			t.Fatal("it is not taken back")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if is := n.versions("acme") + n.versions("bank"); is != was {
		t.Errorf("after it was taken back: %s\nwant %s", is, was)
	}
}
