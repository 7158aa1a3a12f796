package gateway_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

const sharedSettings = `listen: 127.0.0.1:0
ops_listen: 127.0.0.1:0
data: data
root_key: file:keys/root.key
audit: {signing_key: file:keys/audit.key}
resources: ["r.yaml"]
`

// shared are two tenants and a connection that the first may use, with a channel of each tenant.
func shared(first, second string) string {
	tenant := func(name, channel string) string {
		return `---
{kind: tenant, name: ` + name + `, spec: {default_queue: desk, bot: old}}
---
{kind: queue, tenant: ` + name + `, name: desk}
---
{kind: bot, tenant: ` + name + `, name: old, spec: {adapter: webhook, config: {url: "http://127.0.0.1:1/"}}}
---
{kind: channel, tenant: ` + name + `, name: wa, spec: ` + channel + `}
`
	}
	return tenant("acme", first) + tenant("bank", second) + `---
kind: connection
name: meta
spec:
  adapter: whatsapp
  tenants: [acme]
  config: {app_secret: env:A, verify_token: env:V}
---
kind: connection
name: both
spec:
  adapter: whatsapp
  tenants: [acme, bank]
  config: {app_secret: env:A, verify_token: env:V}
`
}

func on(connection, number string) string {
	return `{adapter: whatsapp, config: {connection: ` + connection + `, number: "` + number + `", token: env:T}}`
}

// Nobody gets what comes in over a connection that is not theirs, nor what is another channel's.
func TestConnections(t *testing.T) {
	for name, c := range map[string]struct{ first, second, want string }{
		"as it should be":       {on("meta", "1001"), on("both", "1001"), ""},
		"the same number twice": {on("both", "1001"), on("both", "1001"), `number: another channel has this number on the connection`},
		"not shared with":       {on("meta", "1001"), on("meta", "1002"), `connection: the operator of the node has no connection "meta" for tenant bank`},
		"unknown":               {on("mta", "1001"), on("both", "1002"), `connection: there is no resource of kind connection with the name "mta"`},
		"without a connection":  {on(`""`, "1001"), on("both", "1002"), `connection: is missing`},
	} {
		cfg, err := config.Parse(fstest.MapFS{
			"turnout.yaml": {Data: []byte(sharedSettings)}, "r.yaml": {Data: []byte(shared(c.first, c.second))},
		}, "turnout.yaml")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = gateway.Check(t.Context(), cfg, builtin.Registry())
		var faults config.Faults
		switch {
		case c.want == "" && err == nil:
		case !errors.As(err, &faults) || c.want == "" || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "r.yaml:"):
			t.Errorf("%s: %v", name, err)
		}
	}
}
