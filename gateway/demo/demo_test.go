package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

// holdFolder makes the test binary a process that has a demo's folder, until its standard input ends.
const holdFolder = "TURNOUT_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdFolder); dir != "" {
		d, err := Open(Options{Dir: dir, Rand: rand.Reader})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("has it")
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = d.Close()
		return
	}
	os.Exit(m.Run())
}

func open(t *testing.T, o Options) *Demo {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// node runs a demo. What it logs, at every level, is in log once the test has ended it.
type node struct {
	t   *testing.T
	d   *Demo
	g   *gateway.Gateway
	log bytes.Buffer
}

func start(t *testing.T, dir string) *node {
	t.Helper()
	n := &node{t: t}
	var err error
	if n.d, err = Open(Options{Dir: dir, Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(n.d.Config())
	if err != nil {
		t.Fatal(err)
	}
	registry := builtin.Registry()
	registry.AddShared(n.d.Routes()...)
	n.g, err = gateway.New(context.Background(), gateway.Options{
		Config: cfg, Registry: registry, OneTime: n.d.OneTime(),
		Log: slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err == nil {
		err = n.g.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.end)
	return n
}

// end ends the node, once.
func (n *node) end() {
	if n.g == nil {
		return
	}
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(n.g.Stop(ctx), n.d.Close()); err != nil {
		n.t.Error(err)
	}
	n.g = nil
}

// call sends a request and decodes what comes.
func (n *node) call(method, path, token, body string, into any) int {
	n.t.Helper()
	req, err := http.NewRequest(method, "http://"+n.g.Addr()+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			n.t.Fatalf("%s: %v: %s", path, err, raw)
		}
	}
	return res.StatusCode
}

type said struct {
	Conversation string
	Owner        struct{ Kind string }
	Messages     []struct {
		By   string
		Text string
	}
}

// say is a new customer's first words.
func (n *node) say(text string) (a said, token string) {
	n.t.Helper()
	var s struct{ Token string }
	n.call("POST", "/v1/web/shop.web/session", "", "", &s)
	body, err := json.Marshal(map[string]string{"id": "1", "text": text})
	if err != nil {
		n.t.Fatal(err)
	}
	if code := n.call("POST", "/v1/web/shop.web/messages", s.Token, string(body), &a); code != 200 {
		n.t.Fatalf("%q: status %d", text, code)
	}
	return a, s.Token
}

type waiting struct {
	Items []struct{ Conversation, Queue, Rule string }
}

// signIn signs the agent in by the one-time password.
func (n *node) signIn() (token string, code int) {
	var in struct{ Token string }
	code = n.call("POST", "/v1/agent/login", "", fmt.Sprintf(`{"login":%q,"password":%q}`, n.d.people[0].id, n.d.people[0].password), &in)
	return in.Token, code
}

// Everything that Hello promises: each saying does what stands beside it.
func TestEverySayingDoesWhatItSays(t *testing.T) {
	n := start(t, t.TempDir())
	agent, code := n.signIn()
	if code != 200 {
		t.Fatalf("signing in: status %d", code)
	}
	if _, code := n.signIn(); code != 401 {
		t.Errorf("signing in again with the same password: status %d", code)
	}
	for _, s := range sayings {
		a, _ := n.say(s.say)
		if s.rule == "" {
			if a.Owner.Kind != "bot" || len(a.Messages) != 1 || a.Messages[0].By != "bot" {
				t.Errorf("%q: the bot should answer: %+v", s.say, a)
			}
			continue
		}
		if a.Owner.Kind != "queued" {
			t.Errorf("%q: owner %q", s.say, a.Owner.Kind)
		}
		for _, m := range a.Messages {
			if m.By == "bot" {
				t.Errorf("%q: the bot said %q", s.say, m.Text)
			}
		}
		var q waiting
		n.call("GET", "/v1/agent/queue", agent, "", &q)
		found := false
		for _, item := range q.Items {
			found = found || item.Conversation == a.Conversation && item.Rule == s.rule
		}
		if !found {
			t.Errorf("%q: the queue does not show it with rule %s: %+v", s.say, s.rule, q)
		}
	}
	n.end()
	for _, p := range n.d.people {
		if strings.Contains(n.log.String(), p.password) {
			t.Error("the log holds a one-time password")
		}
	}
}

// A second start finds everything: the conversations, the key, what was changed; and has new passwords.
func TestTheNextStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	n := start(t, dir)
	a, customer := n.say("can I speak to someone?")
	agent, _ := n.signIn()
	first, at := n.d.people, n.g.Addr()
	key, err := os.ReadFile(filepath.Join(dir, "data/keys/robin.key"))
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(dir, "rules.yaml")
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "id: asked-for-person", "id: wants-somebody", 1)
	if err := os.WriteFile(rules, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	n.end()

	n = start(t, dir)
	if n.g.Addr() != at {
		t.Errorf("the second start is at %s, the first was at %s: browsers lose their chats", n.g.Addr(), at)
	}
	for _, p := range n.d.people {
		for _, was := range first {
			if p.password == was.password {
				t.Error("a one-time password of the first start is one of the second")
			}
		}
	}
	for _, token := range []string{agent, strings.TrimSpace(string(key))} {
		var q waiting
		if code := n.call("GET", "/v1/agent/queue", token, "", &q); code != 200 || len(q.Items) != 1 || q.Items[0].Conversation != a.Conversation {
			t.Errorf("the queue after the start: status %d, %+v", code, q)
		}
	}
	if b, _ := n.say("can I speak to someone?"); b.Conversation == a.Conversation {
		t.Error("another customer got the same conversation")
	}
	var q waiting
	n.call("GET", "/v1/agent/queue", agent, "", &q)
	if len(q.Items) != 2 || q.Items[1].Rule != "wants-somebody" {
		t.Errorf("the changed rules are not in force: %+v", q)
	}
	if code := n.call("POST", "/v1/web/shop.web/messages", customer, `{"id":"2","text":"still there?"}`, nil); code != 200 {
		t.Errorf("the customer goes on: status %d", code)
	}
}

func TestTheRulesPassTheirTests(t *testing.T) {
	d := open(t, Options{Dir: t.TempDir(), Rand: rand.Reader})
	cfg, err := config.Load(d.Config())
	if err != nil {
		t.Fatal(err)
	}
	report, err := gateway.Check(t.Context(), cfg, builtin.Registry())
	if err != nil || report.Failed > 0 || report.Rules < 6 {
		t.Errorf("%v, %v", report, err)
	}
}

func TestHelloFitsAScreen(t *testing.T) {
	d := open(t, Options{Dir: filepath.Join(t.TempDir(), "demo"), Rand: rand.Reader})
	d.dir = Folder
	var out bytes.Buffer
	if err := d.Hello(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) > 23 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > 100 {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	for _, want := range []string{d.people[0].password, d.people[1].password, "http://" + d.listen + "/shop/", "http://" + d.listen + "/console/"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing is said of %s", want)
		}
	}
}

func TestAFolderIsOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), holdFolder+"="+dir)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = other.Wait() })
	line := make([]byte, len("has it\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatalf("%s, %v", line, err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "node.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: dir, Rand: rand.Reader})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", other.Process.Pid)) || !strings.Contains(err.Error(), "http://127.0.0.1:") {
		t.Errorf("a second process: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "node.yaml")); err != nil || !bytes.Equal(before, after) {
		t.Error("the second process wrote into the folder of the first")
	}
	// A process that is killed leaves the folder free.
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	open(t, Options{Dir: dir, Rand: rand.Reader})
}

func TestFoldersThatAreNoDemos(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "turnout.yaml"), []byte("listen: 0.0.0.0:80\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Rand: rand.Reader}); !errors.Is(err, ErrFolder) {
		t.Errorf("somebody's configuration: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v now, %v", entries, err)
	}
	file := filepath.Join(dir, "turnout.yaml")
	if _, err := Open(Options{Dir: file, Rand: rand.Reader}); err == nil {
		t.Error("a file is no folder")
	}
	d := open(t, Options{Dir: filepath.Join(dir, "demo"), Rand: rand.Reader})
	if err := os.WriteFile(d.Config(), []byte("listen: 0.0.0.0:80\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.layOut("127.0.0.1:1"); !errors.Is(err, ErrFolder) {
		t.Errorf("settings that the demo did not write: %v", err)
	}
}

func TestAKeyThatIsGone(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	n.end()
	root := filepath.Join(dir, "data/keys/root.key")
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Rand: rand.Reader}); err == nil || !strings.Contains(err.Error(), "root.key is gone") {
		t.Errorf("without the root key: %v", err)
	}
	if _, err := os.Stat(root); err == nil {
		t.Error("another root key was made")
	}
}

func TestAddresses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for listen, says := range map[string]string{
		ln.Addr().String(): "another program has this port", "0.0.0.0:8080": "for this machine alone", ":8080": "for this machine alone",
		"192.0.2.1:80": "for this machine alone", "example.com:80": "for this machine alone", "8080": "want an address and a port",
		"127.0.0.1:notaport": "another",
	} {
		if _, err := Open(Options{Dir: t.TempDir(), Listen: listen, Rand: rand.Reader}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", listen, err, says)
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0"} {
		if strings.Contains(listen, "::1") && !hasIPv6() {
			continue
		}
		d := open(t, Options{Dir: t.TempDir(), Listen: listen, Rand: rand.Reader})
		if _, err := config.Load(d.Config()); err != nil || strings.HasSuffix(d.listen, ":0") {
			t.Errorf("%s: %s, %v", listen, d.listen, err)
		}
	}
	// Where somebody else listens, the demo takes another port by itself.
	d := open(t, Options{Dir: t.TempDir(), Rand: rand.Reader})
	held, err := net.Listen("tcp", d.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if again := open(t, Options{Dir: t.TempDir(), Rand: rand.Reader}); again.listen == d.listen || again.ops == d.listen {
		t.Errorf("the demo wants to listen where another does: %s, %s", again.listen, again.ops)
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
}

func TestNoRandomnessNoDemo(t *testing.T) {
	if _, err := Open(Options{Dir: t.TempDir(), Rand: strings.NewReader("short")}); err == nil {
		t.Error("keys and passwords of nothing")
	}
}

func TestTheShop(t *testing.T) {
	n := start(t, t.TempDir())
	get := func(path string) (*http.Response, string) {
		res, err := http.Get("http://" + n.g.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(b)
	}
	res, page := get("/")
	if res.StatusCode != 200 || res.Request.URL.Path != ShopPath || !strings.Contains(page, `<script src="/widget.js" data-channel="shop.web" async></script>`) {
		t.Errorf("the bare address: %d at %s", res.StatusCode, res.Request.URL)
	}
	for path, kind := range map[string]string{ShopPath: "text/html", ShopPath + "shop.css": "text/css", ShopPath + "shop.js": "text/javascript", ShopPath + "icon.svg": "image/svg+xml"} {
		res, _ := get(path)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), kind) || res.Header.Get("Content-Security-Policy") != shopPolicy {
			t.Errorf("%s: %d, %v", path, res.StatusCode, res.Header)
		}
	}
	if res, _ := get(ShopPath + "index.html"); res.StatusCode != 404 {
		t.Errorf("a file that has no page of its own: %d", res.StatusCode)
	}
}
