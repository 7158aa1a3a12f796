package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
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
	"turnout/gateway/api/apitest"
	"turnout/gateway/api/client"
	"turnout/gateway/api/local"
	"turnout/gateway/config"
	"turnout/gateway/fault"
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
	t        *testing.T
	dir      string
	logs     *logged
	document *apitest.Document
	faults   fault.Injector // from the next start on
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
		Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.NewTextHandler(n.logs, nil)), Faults: n.faults,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.Start(context.Background()); err != nil {
		n.t.Fatal(err)
	}
	res, err := http.Get("http://" + n.Addr() + "/openapi.json")
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	if n.document, err = apitest.Load(body); err != nil {
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

// must sends a request over the socket and decodes its answer.
func (n *node) must(tenant, method, path string, body, answer any, headers ...string) {
	n.t.Helper()
	status, raw := n.overSocket(tenant, method, path, body, headers...)
	if status/100 != 2 {
		n.t.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		n.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
	}
}

// overSocket sends a request over the node's socket, and holds it against the document.
func (n *node) overSocket(tenant, method, path string, body any, headers ...string) (status int, answer []byte) {
	n.t.Helper()
	socket := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return local.Dial(ctx, filepath.Join(n.dir, "data", gateway.SocketName))
	}}
	defer socket.CloseIdleConnections()
	return n.send(&http.Client{Transport: socket}, "http://node", method, path, body, append(headers, api.TenantHeader, tenant)...)
}

// send sends a request with headers given as pairs, and holds it against the document.
func (n *node) send(c *http.Client, base, method, path string, body any, headers ...string) (status int, answer []byte) {
	n.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		n.t.Fatal(err)
	}
	if body == nil {
		b = nil
	}
	req, err := http.NewRequest(method, base+path, bytes.NewReader(b))
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := c.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.document.Check(apitest.Exchange{
		Method: method, Path: req.URL.Path, Request: b, Status: res.StatusCode, Header: res.Header, Answer: raw,
	}); err != nil {
		n.t.Error(err)
	}
	return res.StatusCode, raw
}

// refused sends a request over the socket that must end in a problem, and returns what it says.
func (n *node) refused(tenant, method, path string, body any, status int, code string, says ...string) string {
	n.t.Helper()
	got, raw := n.overSocket(tenant, method, path, body)
	var p struct{ Code, Detail string }
	_ = json.Unmarshal(raw, &p)
	if got != status || p.Code != code {
		n.t.Fatalf("%s %s: %d %s, want %d %s", method, path, got, raw, status, code)
	}
	for _, s := range says {
		if !strings.Contains(string(raw), s) {
			n.t.Errorf("%s %s: %s does not say %q", method, path, raw, s)
		}
	}
	return p.Detail
}

// call sends a request to the public listener.
func (n *node) call(method, path, token string, body any) (status int, answer map[string]any) {
	n.t.Helper()
	auth := ""
	if token != "" {
		auth = "Bearer " + token
	}
	status, raw := n.send(http.DefaultClient, "http://"+n.Addr(), method, path, body, "Authorization", auth)
	_ = json.Unmarshal(raw, &answer)
	return status, answer
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

// operator returns a client of the node's socket.
func (n *node) operator(tenant string) *client.Client {
	return client.Socket(filepath.Join(n.dir, "data", gateway.SocketName), tenant)
}
