package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

const (
	settingsFile = "turnout.yaml"
	channelKey   = "bench.web"
	messagesPath = "/v1/web/" + channelKey + "/messages"
	sessionPath  = "/v1/web/" + channelKey + "/session"
	eventsPath   = "/v1/web/" + channelKey + "/events"
)

const settings = `listen: "127.0.0.1:0"
ops_listen: "127.0.0.1:0"
data: data
root_key: "file:keys/root.key"
audit: {signing_key: "file:keys/audit.key"}
# All limits are in force, but none may be what is measured.
limits:
  connections: 100000
  connections_per_ip: 100000
  messages_per_minute: {visitor: 1000000000, address: 1000000000, tenant: 1000000000}
  bot_calls_per_day: 1000000000000
  allow_networks: ["127.0.0.0/8"]
resources: [bench.yaml]
`

// resources takes the address of the bot.
const resources = `kind: tenant
name: bench
---
kind: queue
name: support
---
kind: bot
name: echo
spec:
  adapter: webhook
  concurrency: 4096
  config: {url: "http://%s/turn", max_conns: 4096}
---
kind: channel
name: web
spec:
  adapter: web
  config: {limits: {rate: 1000000, burst: 1000000}}
---
kind: rules
name: mix
spec: {files: [rules.yaml]}
`

// writeGateway writes the configuration of a gateway in front of the bot into dir, with keys of its own.
func writeGateway(dir, bot string) error {
	files := map[string]string{
		settingsFile: settings,
		"bench.yaml": fmt.Sprintf(resources, bot),
		"rules.yaml": mixedRules(),
	}
	for _, name := range []string{"root", "audit"} {
		key := make([]byte, 32)
		// It never fails: without random numbers the program ends.
		_, _ = rand.Read(key)
		files["keys/"+name+".key"] = hex.EncodeToString(key) + "\n"
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		return fmt.Errorf("writing the gateway's configuration: %w", err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing the gateway's configuration: %w", err)
		}
	}
	return nil
}

// servingAt finds the address in the line that says that the gateway is up.
var servingAt = regexp.MustCompile(`\bserving on http://([0-9.]+:[0-9]+)`)

// startGateway runs the gateway whose configuration is in dir, with more flags, and returns it with its address.
func startGateway(ctx context.Context, program, dir string, flags ...string) (*process, string, error) {
	p, err := startProcess(Gateway, filepath.Join(dir, "gateway.log"), program, append([]string{"serve", "--config", filepath.Join(dir, settingsFile)}, flags...)...)
	if err != nil {
		return nil, "", err
	}
	line, err := p.firstLine(ctx)
	if err != nil {
		p.kill()
		return nil, "", err
	}
	at := servingAt.FindStringSubmatch(line)
	if at == nil {
		p.kill()
		return nil, "", fmt.Errorf("waiting for %s: it does not say where it serves", p.name)
	}
	return p, at[1], nil
}
