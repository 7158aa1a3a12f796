package bench

import (
	"os"
	"path/filepath"
	"testing"

	"turnout/gateway/config"
)

func TestGatewayConfigLoads(t *testing.T) {
	dir := t.TempDir()
	if err := writeGateway(dir, "127.0.0.1:4711"); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(filepath.Join(dir, settingsFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Tenants) != 1 || len(c.Tenants[0].Channels) != 1 || c.Tenants[0].Channels[0].Key != channelKey {
		t.Errorf("the channel is not %s", channelKey)
	}
	if c.Data != filepath.Join(dir, "data") {
		t.Errorf("the data lie in %s, outside of %s", c.Data, dir)
	}
	secrets := config.Secrets{Dir: c.Dir}
	root, err := secrets.Resolve(c.RootKey)
	if err != nil || len(root.Reveal()) != 64 {
		t.Errorf("the root key cannot be used: %v", err)
	}
	if _, err := secrets.Resolve(c.Audit.SigningKey); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(dir, "keys", "root.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("root.key: %v, %v", info.Mode(), err)
	}
}

func TestServingAt(t *testing.T) {
	at := servingAt.FindStringSubmatch("turnout is serving on http://127.0.0.1:40001 (health on http://127.0.0.1:40002)\n")
	if at == nil || at[1] != "127.0.0.1:40001" {
		t.Errorf("found %v", at)
	}
}
