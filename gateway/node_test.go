package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"turnout/adapters/builtin"
	"turnout/adapters/hook"
	"turnout/gateway"
	"turnout/gateway/api"
	"turnout/gateway/api/client"
	"turnout/gateway/config"
)

// bot is a bot on loopback. Its answers name it; the last request is kept.
type bot struct {
	*httptest.Server
	name string

	mu    sync.Mutex
	last  *http.Request
	body  []byte        // of last
	asked chan struct{} // gets a value for each call
	hold  chan struct{} // a call waits for it, if it is set
}

func newBot(t *testing.T, name string) *bot {
	t.Helper()
	b := &bot{name: name, asked: make(chan struct{}, 100)}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.last, b.body = r, body
		hold := b.hold
		b.mu.Unlock()
		b.asked <- struct{}{}
		if hold != nil {
			<-hold
		}
		fmt.Fprintf(w, `{"reply":"%s here"}`, name)
	}))
	t.Cleanup(b.Close)
	return b
}

// signedWith reports whether the last request was signed with a key.
func (b *bot) signedWith(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last.Header.Get(hook.HeaderSignature) == hook.Sign([]byte(key), b.last.Header.Get(hook.HeaderTimestamp), b.body)
}

// resource is the bot as a document of a resource file.
func (b *bot) resource(name string) string {
	return fmt.Sprintf("kind: bot\nname: %s\nspec: {adapter: webhook, deadline: 10s, config: {url: %q, request: {text: text}, response: {text: body.reply}}}\n", name, b.URL)
}

// node is a gateway in this process and the folder of its files.
type node struct {
	*gateway.Gateway
	t    *testing.T
	dir  string
	logs *logged
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const nodeSettings = `listen: 127.0.0.1:0
ops_listen: 127.0.0.1:0
data: data
root_key: file:root.key
audit: {signing_key: file:root.key}
resources: ["*.res.yaml"]
store: {reserve_bytes: 1MiB}
limits: {allow_networks: [127.0.0.1/32]}
`

const acmeFile = `kind: tenant
name: acme
spec: {default_queue: support}
---
kind: queue
name: support
---
kind: channel
name: web
spec: {adapter: web, bot: legacy, config: {allow_no_origin: true, wait: 10s}}
---
`

// newNode starts a node with files, beside those that every node has. It ends with the test.
func newNode(t *testing.T, files map[string]string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), logs: &logged{}}
	n.write("root.key", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	n.write("turnout.yaml", nodeSettings)
	for name, text := range files {
		n.write(name, text)
	}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) start() {
	n.t.Helper()
	cfg, err := config.Load(filepath.Join(n.dir, "turnout.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.Gateway, err = gateway.New(context.Background(), gateway.Options{
		Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.NewTextHandler(n.logs, nil)),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.Start(context.Background()); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) stop() {
	if n.Gateway == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // bots of tests that have failed need no patience
	n.Stop(ctx)
	n.Gateway = nil
}

// operator returns a client of the node's socket.
func (n *node) operator(tenant string) *client.Client {
	return client.Socket(filepath.Join(n.dir, "data", gateway.SocketName), tenant)
}

// must sends a request over the socket and decodes its answer.
func (n *node) must(tenant, method, path string, body, answer any) {
	n.t.Helper()
	if err := n.operator(tenant).Do(context.Background(), method, path, body, answer); err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// refused sends a request over the socket that must end in a problem.
func (n *node) refused(tenant, method, path string, body any, status int, code string, says ...string) *client.Problem {
	n.t.Helper()
	err := n.operator(tenant).Do(context.Background(), method, path, body, nil)
	var p *client.Problem
	if !errors.As(err, &p) || p.Status != status || p.Code != code {
		n.t.Fatalf("%s %s: %v, want %d %s", method, path, err, status, code)
	}
	for _, s := range says {
		if !strings.Contains(string(p.Body), s) {
			n.t.Errorf("%s %s: %s does not say %q", method, path, p.Body, s)
		}
	}
	return p
}

// call sends a request to the public listener.
func (n *node) call(method, path, token string, body any) (status int, answer map[string]any) {
	n.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		n.t.Fatal(err)
	}
	req, err := http.NewRequest(method, "http://"+n.Addr()+path, bytes.NewReader(b))
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
	_ = json.Unmarshal(raw, &answer)
	return res.StatusCode, answer
}

// customer is somebody who chats.
type customer struct {
	n        *node
	key      string
	token    string
	messages int
}

func (n *node) customer(key string) *customer {
	n.t.Helper()
	status, answer := n.call("POST", "/v1/web/"+key+"/session", "", struct{}{})
	token, _ := answer["token"].(string)
	if token == "" {
		n.t.Fatalf("no session on %s: %d %v", key, status, answer)
	}
	return &customer{n: n, key: key, token: token}
}

// says sends a text and returns what came back, as "by: text", and the owner.
func (c *customer) says(text string) (said []string, owner string) {
	c.n.t.Helper()
	c.messages++
	status, answer := c.n.call("POST", "/v1/web/"+c.key+"/messages", c.token, map[string]any{"id": fmt.Sprint("m", c.messages), "text": text})
	if status != http.StatusOK {
		c.n.t.Fatalf("saying %q: %d %v", text, status, answer)
	}
	b, err := json.Marshal(answer)
	if err != nil {
		c.n.t.Fatal(err)
	}
	var out struct {
		Owner    struct{ Kind string }
		Messages []struct {
			By   string
			Part struct{ Text string }
		}
	}
	if err := json.Unmarshal(b, &out); err != nil {
		c.n.t.Fatal(err)
	}
	for _, m := range out.Messages {
		said = append(said, m.By+": "+m.Part.Text)
	}
	return said, out.Owner.Kind
}

// newKey makes an API key.
func newKey(t *testing.T, id string) (key, digest string) {
	t.Helper()
	key, digest, err := api.NewKey(rand.Reader, id)
	if err != nil {
		t.Fatal(err)
	}
	return key, digest
}
