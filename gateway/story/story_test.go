package story

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The README's commands, as written, with the legacy bot that stands beside the shop example: each "# -> …" line is
// something that the commands must have printed by then.
func TestTheReadmeTellsTheTruth(t *testing.T) {
	botDir := os.Getenv("TURNOUT_LEGACYBOT")
	if botDir == "" {
		t.Log("TURNOUT_LEGACYBOT is not set: make test sets it and runs this story with the legacy bot")
		return
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- story -->\n+```bash\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README has no story")
	}
	script := string(block[1])

	bot := exec.Command("node", filepath.Join(botDir, "server.mjs"))
	botAddr := freeAddr(t)
	bot.Env = append(os.Environ(), "PORT="+botAddr[strings.LastIndex(botAddr, ":")+1:])
	out, err := bot.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bot.Start(); err != nil {
		t.Fatalf("starting the legacy bot: %v", err)
	}
	t.Cleanup(func() { bot.Process.Kill(); bot.Wait() })
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("the legacy bot did not get ready")
	}

	// The shop example on other ports and in another folder, else as it is.
	work := t.TempDir()
	shopDir := filepath.Join(work, "deploy/examples/shop")
	if err := os.MkdirAll(filepath.Dir(shopDir), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", "-r", filepath.Join(root, "deploy/examples/shop"), shopDir)
	os.RemoveAll(filepath.Join(shopDir, "data"))
	listen, ops := freeAddr(t), freeAddr(t)
	ports := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:8081", ops, "127.0.0.1:5005", botAddr)
	for _, name := range []string{"turnout.yaml", "resources/shop.yaml"} {
		file := filepath.Join(shopDir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(ports.Replace(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := exec.Command(filepath.Join(shopDir, "init-keys"))
	keys.Env = append(os.Environ(), "TURNOUT="+binary)
	if b, err := keys.CombinedOutput(); err != nil {
		t.Fatalf("init-keys: %v\n%s", err, b)
	}
	n := &node{t: t, dir: shopDir}
	n.start()
	t.Cleanup(n.kill)

	shell := exec.CommandContext(longCtx(t, 3*time.Minute), "bash", "-euo", "pipefail", "-c", ports.Replace(script))
	shell.Dir = work
	printed, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("the story ended with %v\n%s\nlog of the gateway:\n%s", err, printed, n.log.String())
	}
	rest := string(printed)
	for _, m := range regexp.MustCompile(`(?m)# -> (.*)$`).FindAllStringSubmatch(script, -1) {
		i := strings.Index(rest, m[1])
		if i < 0 {
			t.Fatalf("the story does not print %q where it says so:\n%s", m[1], printed)
		}
		rest = rest[i+len(m[1]):]
	}
	n.stop()
}

// Whatever the bot does, the customer is answered, by it or by people, and told the truth.
func TestTroubledBots(t *testing.T) {
	bot := newTestBot(t)
	n := newNode(t, bot.URL, 700*time.Millisecond)
	n.start()
	ctx := longCtx(t, 3*time.Minute)

	for text, want := range map[string]string{"hello": "bot", "hang": "queued", "garbage": "queued", "500": "queued", "empty": "bot", "twice": "bot"} {
		a, err := n.visitor(ctx).say(ctx, "1", text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if a.Owner.Kind != want {
			t.Errorf("%s: owner %+v, want %s", text, a.Owner, want)
		}
		if want == "queued" && (len(a.Messages) != 1 || a.Messages[0].By != "system") {
			t.Errorf("%s: the customer was told %+v", text, a.Messages)
		}
		if text == "twice" && (len(a.Messages) != 1 || a.Messages[0].Part.Text != "first here") {
			t.Errorf("twice: said %+v", a.Messages)
		}
	}
	// Nobody else gets the second response of the bot that answers twice.
	for i := range 20 {
		a, err := n.visitor(ctx).say(ctx, "1", fmt.Sprint("after ", i))
		if err != nil || len(a.Messages) != 1 || a.Messages[0].Part.Text != fmt.Sprint("you said: after ", i) {
			t.Fatalf("after the double answer: %+v, %v", a, err)
		}
	}

	// AGENT while the bot hangs: in the queue before the call ends, and the late answer never arrives.
	c := n.visitor(ctx)
	first := make(chan answer, 1)
	go func() {
		a, _ := c.say(ctx, "1", "late")
		first <- a
	}()
	waitFor(t, ctx, func() bool {
		for _, call := range bot.asked() {
			if call.Text == "late" {
				return true
			}
		}
		return false
	})
	a, err := c.say(ctx, "2", "AGENT")
	if err != nil || a.Owner.Kind != "queued" {
		t.Fatalf("AGENT: %+v, %v", a, err)
	}
	if a := <-first; a.Owner.Kind != "queued" {
		t.Errorf("the first message's outcome: %+v", a)
	}
	close(bot.late)
	var got struct {
		Events []struct{ Type string }
	}
	waitFor(t, ctx, func() bool {
		if err := n.agent("ana").do(ctx, "/v1/agent/conversations/"+a.Conversation, "", nil, &got); err != nil {
			t.Fatal(err)
		}
		for _, e := range got.Events {
			if e.Type == "turn.discarded" {
				return true
			}
		}
		return false
	})
	seen, err := c.events(ctx, 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range seen {
		if v.By == "bot" {
			t.Errorf("the bot spoke after the handoff: %+v", v)
		}
	}
	n.stop()
}

// waitFor asks again until ok: the process under test has no other way to tell.
func waitFor(t *testing.T, ctx context.Context, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-tick.C:
		}
	}
}
