package story

import (
	"bytes"
	"context"
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

	wire "turnout/adapters/wire/whatsapp"
)

// meta is a server in the place of Meta: its Graph API takes what is said to customers, and it posts what they write.
type meta struct {
	*httptest.Server
	url    string // of the webhook
	secret string
	mu     sync.Mutex
	said   []string // in order, as "to: text"
	came   chan struct{}
}

func (m *meta) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var send struct {
		To, Type string
		Status   string
		Text     struct{ Body string }
		Inter    struct {
			Body   struct{ Text string }
			Action struct {
				Buttons []struct{ Reply struct{ ID, Title string } }
			}
		} `json:"interactive"`
	}
	if json.NewDecoder(r.Body).Decode(&send) != nil || !strings.HasSuffix(r.URL.Path, "/1000001/messages") || r.Header.Get("Authorization") != "Bearer the token" {
		http.Error(w, `{"error":{"code":100}}`, http.StatusBadRequest)
		return
	}
	if send.Status == "read" {
		_, _ = io.WriteString(w, `{"success":true}`)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	line := send.To + ": " + send.Text.Body + send.Inter.Body.Text
	for _, b := range send.Inter.Action.Buttons {
		line += " [" + b.Reply.Title + "]"
	}
	m.said = append(m.said, line)
	_, _ = fmt.Fprintf(w, `{"messages":[{"id":"wamid.OUT%d"}]}`, len(m.said))
	m.came <- struct{}{}
}

// post posts the value of a change, and again until it is acknowledged.
func (m *meta) post(ctx context.Context, value map[string]any) error {
	value["messaging_product"], value["metadata"] = "whatsapp", map[string]any{"phone_number_id": "1000001", "display_phone_number": "15550100"}
	raw, err := json.Marshal(map[string]any{"object": "whatsapp_business_account", "entry": []any{map[string]any{"id": "9", "changes": []any{map[string]any{"field": "messages", "value": value}}}}})
	if err != nil {
		return err
	}
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(raw))
		if err != nil {
			return err
		}
		req.Header.Set(wire.HeaderSignature, wire.Sign([]byte(m.secret), raw))
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			if resp.StatusCode < 500 {
				return fmt.Errorf("the webhook was answered by status %d", resp.StatusCode)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
	}
}

func (m *meta) text(ctx context.Context, id, body string) error {
	return m.post(ctx, map[string]any{"messages": []any{map[string]any{
		"from": "15550101", "id": id, "timestamp": fmt.Sprint(time.Now().Unix()), "type": "text", "text": map[string]any{"body": body},
	}}})
}

// hears waits until something was said that begins like this, and returns all that was.
func (m *meta) hears(t *testing.T, ctx context.Context, begin string) []string {
	t.Helper()
	for {
		m.mu.Lock()
		said := append([]string(nil), m.said...)
		m.mu.Unlock()
		if slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, begin) }) {
			return said
		}
		select {
		case <-m.came:
		case <-ctx.Done():
			t.Fatalf("heard only %q", said)
		}
	}
}

// The example of a number on WhatsApp, as it stands but for the ports and its folder: the bot answers, the customer presses the
// button for a person, an agent answers, the process is killed in the middle, and everything was said once.
func TestWhatsAppExample(t *testing.T) {
	bot := newTestBot(t)
	m := &meta{came: make(chan struct{}, 100)}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	dir := filepath.Join(t.TempDir(), "whatsapp")
	run(t, "cp", "-r", "../../deploy/examples/whatsapp", dir)
	os.RemoveAll(filepath.Join(dir, "data"))
	keys := exec.Command(filepath.Join(dir, "init-keys"))
	keys.Env = append(os.Environ(), "TURNOUT="+binary, "APP_SECRET=the app's secret", "ACCESS_TOKEN=the token")
	if b, err := keys.CombinedOutput(); err != nil {
		t.Fatalf("init-keys: %v\n%s", err, b)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "data/keys", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	listen, ops := freeAddr(t), freeAddr(t)
	ports := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:8081", ops, "http://127.0.0.1:5005/", bot.URL, "https://graph.facebook.com/v25.0", m.URL+"/v25.0")
	for _, name := range []string{"turnout.yaml", "resources/whatsapp.yaml"} {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(ports.Replace(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := &node{t: t, dir: dir, base: "http://" + listen, keys: map[string]string{"ana": read("ana.key")}}
	n.start()
	t.Cleanup(n.kill)
	m.url, m.secret = n.base+"/v1/hooks/meta", read("app.secret")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	resp, err := http.Get(m.url + "?hub.mode=subscribe&hub.challenge=42&hub.verify_token=" + read("verify.token"))
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(b) != "42" {
		t.Fatalf("the handshake: %d %s", resp.StatusCode, b)
	}
	resp.Body.Close()

	for range 3 { // Meta brings things more than once
		if err := m.text(ctx, "wamid.1", "Hello!"); err != nil {
			t.Fatal(err)
		}
	}
	m.hears(t, ctx, "15550101: you said: Hello!")
	n.kill()
	n.start()
	if err := m.text(ctx, "wamid.1", "Hello!"); err != nil {
		t.Fatal(err)
	}
	press := map[string]any{"from": "15550101", "id": "wamid.2", "timestamp": fmt.Sprint(time.Now().Unix()), "type": "interactive",
		"interactive": map[string]any{"type": "button_reply", "button_reply": map[string]any{"id": "turnout:person", "title": "Talk to a person"}}}
	if err := m.post(ctx, map[string]any{"messages": []any{press}}); err != nil {
		t.Fatal(err)
	}
	ana := n.agent("ana")
	var queue struct {
		Items []struct {
			Conversation string
			WindowUntil  time.Time `json:"window_until"`
		}
	}
	if err := ana.do(ctx, "/v1/agent/queue", "", nil, &queue); err != nil || len(queue.Items) != 1 {
		t.Fatalf("the queue: %+v, %v", queue, err)
	}
	if left := time.Until(queue.Items[0].WindowUntil); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("a reply is taken until %v", queue.Items[0].WindowUntil)
	}
	at := "/v1/agent/conversations/" + queue.Items[0].Conversation
	for _, step := range []struct {
		path string
		body map[string]any
	}{{"/v1/agent/presence", map[string]any{}}, {at + "/claim", map[string]any{}}, {at + "/reply", map[string]any{"text": "Ana here."}}} {
		if err := ana.do(ctx, step.path, "", step.body, new(json.RawMessage)); err != nil {
			t.Fatalf("%s: %v", step.path, err)
		}
	}
	said := m.hears(t, ctx, "15550101: Ana here.")
	if err := m.post(ctx, map[string]any{"statuses": []any{map[string]any{"id": fmt.Sprint("wamid.OUT", len(said)), "status": "read", "timestamp": "1760000000", "recipient_id": "15550101"}}}); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Events []struct {
			Type   string
			Status *struct{ Status string }
		}
	}
	seen := map[string]int{}
	waitFor(t, ctx, func() bool {
		if err := ana.do(ctx, at+"?limit=500", "", nil, &log); err != nil {
			t.Fatal(err)
		}
		clear(seen)
		for _, e := range log.Events {
			if e.Status != nil {
				seen[e.Status.Status]++
			}
		}
		return seen["read"] == 1
	})
	times := map[string]int{}
	for _, s := range said {
		times[s]++
	}
	// The kill may have come between the send and the note of it. Then the answer is said once more, and the log says that.
	if n := times["15550101: you said: Hello! [Talk to a person]"]; n != 1 && (n != 2 || seen["uncertain"] != 1) || len(said)-n != 2 {
		t.Errorf("heard %q, and the log has %v", said, seen)
	}
	n.stop()
}
