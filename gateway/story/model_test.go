package story

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/adapters/wire/openai"
)

const modelBots = `
---
kind: bot
name: model
spec:
  adapter: openai
  deadline: 60s
  breaker: {failures: 100000, window: 30s, open_for: 1s}
  config:
    url: %[1]s/v1
    model: streaming
    key: file:data/keys/model.key
    prompt: You answer for the shop.
    handoff: sentinel
---
kind: bot
name: invoices
spec:
  adapter: openai
  deadline: 60s
  breaker: {failures: 100000, window: 30s, open_for: 1s}
  config:
    url: %[1]s/v1
    model: whole
    key: file:data/keys/model.key
    stream: false
`

const modelRules = `    - id: invoices
      why: Invoices have a bot of their own.
      when: phrase("invoice")
      then: {bot: invoices}
`

// modelProxy stands before the server in the place of a model: it writes down what is asked, and does what the server
// cannot be told to do.
type modelProxy struct {
	*httptest.Server
	to    string
	mu    sync.Mutex
	asked []openai.Request
	busy  bool // it has said so
	wrong []string
}

func newModelProxy(t *testing.T, to, key string) *modelProxy {
	p := &modelProxy{to: to}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, key) }))
	t.Cleanup(p.Close)
	return p
}

func (p *modelProxy) serve(w http.ResponseWriter, r *http.Request, key string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	req, err := openai.DecodeRequest(body)
	p.mu.Lock()
	if err != nil || r.Header.Get("Authorization") != "Bearer "+key {
		p.wrong = append(p.wrong, fmt.Sprintf("%v with authorization %d bytes", err, len(r.Header.Get("Authorization"))))
	}
	p.asked = append(p.asked, req)
	said := ""
	if n := len(req.Messages); n > 0 {
		said = req.Messages[n-1].Content
	}
	busy := said == "are you busy" && !p.busy
	p.busy = p.busy || busy
	p.mu.Unlock()
	if busy {
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"error":{"code":"rate_limit_exceeded"}}`, http.StatusTooManyRequests)
		return
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.to+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		http.Error(w, "the server is not there", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	if said == "cut it" { // in the middle of the stream
		_, _ = io.CopyN(w, resp.Body, 400)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = io.Copy(w, resp.Body)
}

// last is what was asked last.
func (p *modelProxy) last() (openai.Request, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[len(p.asked)-1], len(p.asked)
}

// A model behind a server that somebody else wrote: with a memory that is the log, asking for people by tool and by
// sentinel, busy, broken and cut off in the middle.
func TestAModel(t *testing.T) {
	dir := os.Getenv("TURNOUT_MODEL")
	if dir == "" {
		t.Log("TURNOUT_MODEL is not set: make test sets it and runs this story with a server of chat completions")
		return
	}
	addr := freeAddr(t)
	host, port, _ := strings.Cut(addr, ":")
	server := exec.Command("node", filepath.Join(dir, "node_modules/@dwmkerr/mock-llm/dist/main.js"), "--config", filepath.Join(dir, "script.yaml"))
	server.Env = append(os.Environ(), "HOST="+host, "PORT="+port)
	if err := server.Start(); err != nil {
		t.Fatalf("starting the server: %v", err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	ctx := longCtx(t, 4*time.Minute)
	ready := newClient("http://"+addr, "")
	if err := ready.do(ctx, "/ready", "", nil, &struct{}{}); err != nil {
		t.Fatalf("the server did not get ready: %v", err)
	}

	const key = "sk-canary-5d41402abc4b2a76"
	model := newModelProxy(t, "http://"+addr, key)
	n := newNode(t, "http://127.0.0.1:1", time.Second)
	n.write("data/keys/model.key", key)
	resources, err := os.ReadFile(filepath.Join(n.dir, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(resources), "spec: {default_queue: support}", "spec: {default_queue: support, bot: model}", 1)
	n.write("shop.yaml", text+modelRules+fmt.Sprintf(modelBots, model.URL))
	if out, err := exec.Command(binary, "check", "--connect", filepath.Join(n.dir, "turnout.yaml")).CombinedOutput(); !strings.Contains(string(out), "bot model") {
		t.Errorf("check --connect says nothing of the model (%v):\n%s", err, out)
	}
	n.start()

	said := func(a answer) (lines []string) {
		for _, m := range a.Messages {
			if m.Part != nil {
				lines = append(lines, m.By+": "+m.Part.Text)
			}
		}
		return lines
	}
	say := func(c *client, id, text string) answer {
		t.Helper()
		a, err := c.say(ctx, id, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if strings.Contains(strings.Join(said(a), " "), "TALK_TO") {
			t.Errorf("the customer reads the sentinel: %q", said(a))
		}
		return a
	}
	is := func(a answer, owner, first string) {
		t.Helper()
		if got := said(a); a.Owner.Kind != owner || len(got) == 0 || got[0] != first {
			t.Errorf("owner %s, said %q; want %s, %q", a.Owner.Kind, got, owner, first)
		}
	}

	// Answers, with what was said before.
	ann := n.visitor(ctx)
	is(say(ann, "1", "hello"), "bot", "bot: You said: hello")
	is(say(ann, "2", "what now"), "bot", "bot: You said: what now")
	r, _ := model.last()
	want := []openai.Message{{Role: "user", Content: "hello"}, {Role: "assistant", Content: "You said: hello"}, {Role: "user", Content: "what now"}}
	if len(r.Messages) != 4 || !slices.Equal(r.Messages[1:], want) || !r.Stream || r.Model != "streaming" || len(r.Tools) != 0 {
		t.Errorf("asked %+v", r)
	}

	// By sentinel, which came in pieces of five characters; then a person, and the model again, which has read it all.
	a := say(ann, "3", "I want my money back")
	is(a, "queued", "bot: One moment, please.")
	rosa, path, ok := n.agent("ana"), "/v1/agent/conversations/"+a.Conversation, struct{}{}
	var seen json.RawMessage
	if err := rosa.do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		path string
		body any
		into any
	}{
		{"", nil, &seen},
		{"/claim", map[string]any{}, &ok},
		{"/note", map[string]any{"text": "a note for colleagues"}, &ok},
		{"/reply", map[string]any{"text": "You get it back."}, &ok},
		{"/release", map[string]any{}, &ok},
	} {
		if err := rosa.do(ctx, path+step.path, fmt.Sprint("key-", i), step.body, step.into); err != nil {
			t.Fatalf("%s: %v", step.path, err)
		}
	}
	if !strings.Contains(string(seen), `"reason":"wants the money back"`) || strings.Contains(string(seen), "[[TALK_TO") {
		t.Errorf("the agent sees %s", seen)
	}
	is(say(ann, "4", "thanks"), "bot", "bot: You said: thanks")
	r, _ = model.last()
	told := fmt.Sprintf("%+v", r.Messages)
	if !strings.Contains(told, "[human agent] You get it back.") || strings.Contains(told, "a note for") || strings.Contains(told, "TALK_TO_HUMAN]]") {
		t.Errorf("the model is told %s", told)
	}

	// Another bot by a rule, which asks for a person by its tool.
	a = say(ann, "5", "my invoice is wrong")
	if a.Owner.Kind != "queued" {
		t.Errorf("owner %s, said %q", a.Owner.Kind, said(a))
	}
	if r, _ = model.last(); r.Model != "whole" || r.Stream || len(r.Tools) != 1 || len(r.Messages) < 8 {
		t.Errorf("asked %+v", r)
	}

	// Cut off in the middle, twice; and an error in the stream: people, and nothing of an answer.
	for i, text := range []string{"cut it", "break down"} {
		_, before := model.last()
		a = say(n.visitor(ctx), fmt.Sprint("c", i), text)
		_, after := model.last()
		if a.Owner.Kind != "queued" || strings.Contains(strings.Join(said(a), " "), "You said") {
			t.Errorf("%s: owner %s, said %q", text, a.Owner.Kind, said(a))
		}
		if calls := after - before; calls != 2-i {
			t.Errorf("%s: %d calls", text, calls)
		}
	}

	// Busy, and told when to come back.
	is(say(n.visitor(ctx), "b", "are you busy"), "bot", "bot: You said: are you busy")

	if len(model.wrong) > 0 {
		t.Errorf("wrong requests: %q", model.wrong)
	}
	figures, err := http.Get(n.ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer figures.Body.Close()
	b, err := io.ReadAll(figures.Body)
	if err != nil || !strings.Contains(string(b), `turnout_bot_tokens_total{bot="invoices",kind="prompt",tenant="shop"} 40`) {
		t.Errorf("the tokens are not counted: %v", err)
	}
	n.stop()
	if log := n.log.String(); strings.Contains(log, key) || strings.Contains(log, "money back") {
		t.Error("the log holds the key or what was said")
	}
}
