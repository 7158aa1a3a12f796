package config_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"turnout/gateway/config"
)

const ownFile = `kind: tenant
name: shop
spec: {default_queue: support}
---
kind: queue
name: support
---
kind: bot
name: legacy
spec: {adapter: webhook, deadline: 5s, config: {url: "https://bot.example/"}}
`

func files(t *testing.T, resources string) *config.Config {
	t.Helper()
	c, err := config.Parse(fstest.MapFS{
		"turnout.yaml": {Data: []byte("data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: [res.yaml]\n")},
		"res.yaml":     {Data: []byte(resources)},
	}, "turnout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func stored(tenant, kind, name, spec string) config.Stored {
	return config.Stored{Tenant: tenant, Resource: config.Resource{Kind: kind, Name: name, Spec: json.RawMessage(spec)}}
}

func TestWithStored(t *testing.T) {
	c := files(t, ownFile)
	all, err := c.With([]config.Stored{
		stored("bank", "tenant", "bank", `{"title":"The \"Bank\" / Ü \u003c"}`),
		stored("shop", "queue", "returns", `{"title":"Returns: 1 & <2>","priority":"high"}`),
		stored("shop", "bot", "legacy", `{"adapter":"webhook","deadline":"9s"}`), // the file's is in force
		stored("shop", "agent", "ana", `{"queues":["returns"]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Tenants) != 2 || !all.Tenants[0].Stored || all.Tenants[1].Stored {
		t.Fatalf("tenants %+v", all.Tenants)
	}
	shop := all.Tenants[1]
	if len(shop.Queues) != 2 || shop.Queues[0].Title != "Returns: 1 & <2>" || shop.Queues[0].Priority != config.PriorityHigh {
		t.Errorf("queues %+v", shop.Queues)
	}
	if len(shop.Bots) != 1 || shop.Bots[0].Deadline.String() != "5s" {
		t.Errorf("bots %+v", shop.Bots)
	}
	var got []string
	for _, r := range shop.Resources {
		got = append(got, r.Kind+"/"+r.Name+"@"+r.File)
	}
	want := "agent/ana@ bot/legacy@res.yaml queue/returns@ queue/support@res.yaml tenant/shop@res.yaml"
	if strings.Join(got, " ") != want {
		t.Errorf("resources %v", got)
	}
	// What was read comes out the same when it is read again, and the files' own digest says nothing of what is stored.
	var again []config.Stored
	for _, tn := range all.Tenants {
		for _, r := range tn.Resources {
			if r.File == "" {
				again = append(again, config.Stored{Tenant: tn.Name, Resource: r})
			}
		}
	}
	twice, err := c.With(again)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all.Tenants {
		if all.Tenants[i].Digest != twice.Tenants[i].Digest {
			t.Errorf("%s: another digest when it is read again", all.Tenants[i].Name)
		}
	}
	if c.Tenants[0].Digest == shop.Digest {
		t.Error("what is stored is not in the digest")
	}
}

func TestBadStored(t *testing.T) {
	c := files(t, ownFile)
	for name, tt := range map[string]struct {
		stored []config.Stored
		want   string
	}{
		"unknown field":     {[]config.Stored{stored("shop", "queue", "q", `{"titel":"x"}`)}, `api:shop/queue/q:6:3: unknown field "titel"; did you mean "title"?`},
		"unknown reference": {[]config.Stored{stored("shop", "agent", "ana", `{"queues":["suport"]}`)}, `unknown queue "suport"; did you mean "support"?`},
		"unknown tenant":    {[]config.Stored{stored("shap", "queue", "q", `{}`)}, `unknown tenant "shap"; did you mean "shop"?`},
		"literal secret":    {[]config.Stored{stored("shop", "agent", "ana", `{"queues":["support"],"password":"hunter2"}`)}, "want a reference to a secret"},
		"no JSON":           {[]config.Stored{stored("shop", "queue", "q", `{`)}, "api:shop/queue/q: the resource is not JSON"},
		"a tenant with a channel but no bot": {[]config.Stored{
			stored("bank", "tenant", "bank", `{}`), stored("bank", "channel", "web", `{"adapter":"web"}`),
		}, "the tenant has no bot"},
		"a key that is taken": {[]config.Stored{
			stored("shop", "channel", "a", `{"adapter":"web","key":"shop.k"}`), stored("shop", "channel", "b", `{"adapter":"web","key":"shop.k"}`),
		}, `the key "shop.k" is taken by the channel at api:shop/channel/a`},
		"a key of another's": {[]config.Stored{stored("shop", "channel", "a", `{"adapter":"web","key":"bank.web"}`)}, `begins with the tenant's name and a dot: "shop.a"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.With(tt.stored)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNoFilesOfResources(t *testing.T) {
	c, err := config.Parse(fstest.MapFS{
		"turnout.yaml": {Data: []byte("data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: []\n")},
	}, "turnout.yaml")
	if err != nil || len(c.Tenants) != 0 {
		t.Fatalf("%v, %v", c, err)
	}
	if c, err = c.With([]config.Stored{stored("bank", "tenant", "bank", `{}`)}); err != nil || len(c.Tenants) != 1 {
		t.Fatalf("%v, %v", c, err)
	}
}

// TestFilesWithoutTenant has a tenant that was made over the API, and a file whose resource does not say whose it is: it is
// not silently nobody's.
func TestFilesWithoutTenant(t *testing.T) {
	files := fstest.MapFS{
		"turnout.yaml": {Data: []byte("data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: []\n")},
		"res.yaml":     {Data: []byte("kind: queue\nname: night\n")},
	}
	c, err := config.Parse(files, "turnout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files["turnout.yaml"].Data = []byte("data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: [res.yaml]\n")
	_, err = c.Again([]config.Stored{stored("bank", "tenant", "bank", `{}`)})
	if err == nil || !strings.Contains(err.Error(), "res.yaml:1:1: tenant is missing; no file has a tenant") {
		t.Errorf("got %v", err)
	}
	files["res.yaml"].Data = []byte("kind: queue\nname: night\ntenant: bank\n")
	if c, err = c.Again([]config.Stored{stored("bank", "tenant", "bank", `{}`)}); err != nil || len(c.Tenants[0].Queues) != 1 {
		t.Errorf("%v, %v", c, err)
	}
}
