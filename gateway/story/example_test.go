package story

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
)

// The example of an app of one's own, as it stands but for the ports and its folder: its customer is answered.
func TestAppExample(t *testing.T) {
	bot := newTestBot(t)
	a := &app{ok: true}
	dir := filepath.Join(t.TempDir(), "app")
	run(t, "cp", "-r", "../../deploy/examples/app", dir)
	os.RemoveAll(filepath.Join(dir, "data"))
	keys := exec.Command(filepath.Join(dir, "init-keys"))
	keys.Env = append(os.Environ(), "TURNOUT="+binary)
	if b, err := keys.CombinedOutput(); err != nil {
		t.Fatalf("init-keys: %v\n%s", err, b)
	}
	secret := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "data/keys", name+".secret"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	a.in, a.out = secret("app-in"), secret("app-out")
	a.Provider = adaptertest.NewProvider(t, a.read, a.take)
	listen, ops := freeAddr(t), freeAddr(t)
	ports := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:8081", ops, "http://127.0.0.1:5005/", bot.URL, "http://127.0.0.1:5006/turnout", a.URL)
	for _, name := range []string{"turnout.yaml", "resources/app.yaml"} {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(ports.Replace(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.n = &node{t: t, dir: dir, base: "http://" + listen}
	a.n.start()
	t.Cleanup(a.n.kill)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := a.say(ctx, "customer-7", "1", "Hello!"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Arrived():
	case <-ctx.Done():
		t.Fatal("nothing was sent")
	}
	if w := a.Wire(); len(w) != 1 || w[0].To != "customer-7" || w[0].Text != "you said: Hello!" || w[0].Key != w[0].ID {
		t.Errorf("on the wire: %+v", w)
	}
	a.n.stop()
}
