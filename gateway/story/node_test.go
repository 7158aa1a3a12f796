package story

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(faultPoint) != "" || os.Getenv(faultDisk) != "" {
		os.Exit(serveUntilFault())
	}
	if os.Getenv(releaseEvents) != "" {
		os.Exit(serveRelease())
	}
	dir, err := os.MkdirTemp("", "turnout-story-*")
	if err == nil {
		binary = filepath.Join(dir, "turnout")
		build := exec.Command("go", "build", "-o", binary, "turnout/gateway/cmd/turnout")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building turnout:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// node is a gateway process and the folder of its configuration and data.
type node struct {
	t    *testing.T
	dir  string
	keys map[string]string // API keys by agent
	base string            // http://127.0.0.1:port
	ops  string

	gone    []string         // conversations that were erased: there is no story of them
	instead func() *exec.Cmd // the process to start; nil: the program under test

	release int // of which release it is started, by the version of its events; 0: this one

	cmd  *exec.Cmd
	done chan struct{}
	log  lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const settings = `listen: %s
ops_listen: %s
data: data
root_key: file:data/keys/root.key
audit: {signing_key: file:data/keys/audit.key}
limits: {allow_networks: [127.0.0.1/32]}
resources: [shop.yaml]
`

const shop = `kind: tenant
name: shop
spec: {default_queue: support}
---
kind: channel
name: web
spec:
  adapter: web
  config: {allow_no_origin: true, limits: {rate: 1000000, burst: 1000000}}
---
kind: bot
name: legacy
spec:
  adapter: webhook
  deadline: %s
  breaker: {failures: 100000, window: 30s, open_for: 1s}
  config:
    url: %s
    request: {user: conversation, text: text, turn: id}
    response: {text: body.reply}
---
kind: queue
name: support
spec: {title: Customer care}
---
kind: agent
name: ana
spec: {name: Ana, queues: [support], capacity: 1000, keys: [{id: ana-1, sha256: "%s"}]}
---
kind: agent
name: ben
spec: {name: Ben, queues: [support], capacity: 1000, keys: [{id: ben-1, sha256: "%s"}]}
---
kind: rules
name: house
spec:
  rules:
    - id: fraud
      why: Fraud is for people.
      on: inbound
      when: phrase("stolen card")
      then: {handoff: {queue: support, priority: high}, must_reach_human: true}
      locked: true
`

// newNode lays out a configuration before the bot at botURL. It does not start it.
func newNode(t *testing.T, botURL string, deadline time.Duration) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), keys: map[string]string{}}
	run(t, binary, "admin", "init", filepath.Join(n.dir, "data"))
	var digests []any
	for _, name := range []string{"ana", "ben"} {
		made := run(t, binary, "admin", "key", name+"-1")
		n.keys[name] = field(made, "key:")
		digests = append(digests, field(made, "sha256:"))
	}
	listen, ops := freeAddr(t), freeAddr(t)
	n.base, n.ops = "http://"+listen, "http://"+ops
	n.write("turnout.yaml", fmt.Sprintf(settings, listen, ops))
	n.write("shop.yaml", fmt.Sprintf(shop, append([]any{deadline, botURL}, digests...)...))
	t.Cleanup(n.kill)
	return n
}

func (n *node) write(name, content string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), err)
	}
	return string(out)
}

func field(out, name string) string {
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func freeAddr(t *testing.T) string { return adaptertest.FreeAddr(t) }

// start runs the process and returns when it serves.
func (n *node) start() {
	n.t.Helper()
	switch {
	case n.instead != nil:
		n.run(n.instead())
		return
	case n.release != 0:
		n.run(n.ofRelease())
		return
	}
	n.run(exec.Command(binary, "serve", "--config", filepath.Join(n.dir, "turnout.yaml")))
}

func (n *node) run(cmd *exec.Cmd) {
	n.t.Helper()
	n.cmd = cmd
	n.cmd.Stderr = &n.log
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	serving := bufio.NewScanner(out)
	if !serving.Scan() {
		n.cmd.Wait()
		n.t.Fatalf("the gateway did not start:\n%s", n.log.String())
	}
	done := make(chan struct{})
	n.done = done
	go func() {
		defer close(done)
		io.Copy(io.Discard, out)
		cmd.Wait()
	}()
}

// kill ends the process as a power button would.
func (n *node) kill() { n.signal(syscall.SIGKILL) }

// stop asks it to end.
func (n *node) stop() { n.signal(syscall.SIGTERM) }

func (n *node) signal(s syscall.Signal) {
	if n.cmd == nil {
		return
	}
	n.cmd.Process.Signal(s)
	<-n.done
	n.cmd = nil
}

// client is a customer or an agent. It repeats what was not answered, as a good client does, and where there are other
// nodes at the next of them.
type client struct {
	http   *http.Client
	base   string
	others []string
	token  string
	failed func(*errStatus) // is told of every answer of 500 or more; nil: nobody is
}

func newClient(base, token string) *client {
	return &client{http: &http.Client{Transport: &http.Transport{}}, base: base, token: token}
}

// errStatus is an answer that is no success and that repeating does not mend.
type errStatus struct {
	status int
	body   string
	header http.Header
}

func (e *errStatus) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.body) }

// unreadable says what a program misses in an answer that it should try again after; "" for nothing.
func (e *errStatus) unreadable() string {
	var problem struct{ Code, Detail string }
	switch err := json.Unmarshal([]byte(e.body), &problem); {
	case e.header.Get("Content-Type") != "application/problem+json" || err != nil || problem.Code == "" || problem.Detail == "":
		return fmt.Sprintf("%v (%s) is no problem that can be read", e, e.header.Get("Content-Type"))
	case e.status != http.StatusServiceUnavailable:
		return fmt.Sprintf("%v is nothing that a client could try again after", e)
	case e.header.Get("Retry-After") == "":
		return fmt.Sprintf("%v does not say when to try again", e)
	}
	return ""
}

// once sends one request; a nil body is a GET.
func (c *client) once(ctx context.Context, path, key string, body, into any) error {
	method, payload := http.MethodGet, io.Reader(nil)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		method, payload = http.MethodPost, bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		refused := &errStatus{resp.StatusCode, string(b), resp.Header}
		if c.failed != nil && resp.StatusCode >= 500 {
			c.failed(refused)
		}
		return refused
	}
	return json.Unmarshal(b, into)
}

// do repeats a request until it is answered: the process may be dead for a while.
func (c *client) do(ctx context.Context, path, key string, body, into any) error {
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		err := c.once(ctx, path, key, body, into)
		var refused *errStatus
		if err == nil || errors.As(err, &refused) && refused.status < 500 && refused.status != http.StatusTooManyRequests {
			return err
		}
		if len(c.others) > 0 {
			c.base, c.others = c.others[0], append(c.others[1:], c.base)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, last: %w", ctx.Err(), err)
		case <-pause.C:
		}
	}
}

type part struct {
	Text string `json:"text"`
}

type owner struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Position int    `json:"position"`
}

type visible struct {
	Conversation string `json:"conversation"`
	VSeq         uint64 `json:"vseq"`
	Type         string `json:"type"`
	ID           string `json:"id"`
	ClientID     string `json:"client_id"`
	By           string `json:"by"`
	Turn         string `json:"turn"`
	Part         *part  `json:"part"`
	Owner        *owner `json:"owner"`
}

type answer struct {
	Conversation string    `json:"conversation"`
	Owner        owner     `json:"owner"`
	Messages     []visible `json:"messages"`
	MergedInto   string    `json:"merged_into"`
	Cursor       string    `json:"cursor"`
}

// visitor opens a session.
func (n *node) visitor(ctx context.Context) *client {
	n.t.Helper()
	c := newClient(n.base, "")
	var s struct{ Token string }
	if err := c.do(ctx, "/v1/web/shop.web/session", "", map[string]any{}, &s); err != nil {
		n.t.Fatalf("opening a session: %v", err)
	}
	c.token = s.Token
	return c
}

// say sends a message and waits for what becomes of it.
func (c *client) say(ctx context.Context, id, text string) (answer, error) {
	var a answer
	err := c.do(ctx, "/v1/web/shop.web/messages", "", map[string]any{"id": id, "text": text}, &a)
	return a, err
}

// agent returns an agent's client.
func (n *node) agent(name string) *client { return newClient(n.base, n.keys[name]) }

// events reads everything a customer may see, through the stream, until the visible sequence reaches upTo.
func (c *client) events(ctx context.Context, upTo uint64) ([]visible, error) {
	return c.after(ctx, "", func(v visible) bool { return v.VSeq >= upTo })
}

// after reads what a customer may see after a cursor, through the stream, until the last that is wanted.
func (c *client) after(ctx context.Context, cursor string, last func(visible) bool) ([]visible, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/web/shop.web/events?after="+cursor, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all []visible
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var v visible
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			return nil, err
		}
		if v.VSeq == 0 {
			continue
		}
		all = append(all, v)
		if last(v) {
			return all, nil
		}
	}
	return all, fmt.Errorf("the stream ended after %d: %w", len(all), lines.Err())
}

func longCtx(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
