package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

// startLimited starts a node with limits, given as the settings' own text. Its bot is never reached.
func startLimited(t *testing.T, limits string) (url string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"root.key": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"turnout.yaml": "listen: 127.0.0.1:0\nops_listen: 127.0.0.1:0\ndata: data\nroot_key: file:root.key\n" +
			"audit: {signing_key: file:root.key}\nresources: [acme.yaml]\nstore: {reserve_bytes: 1MiB}\n" + limits,
		"acme.yaml": `kind: tenant
name: acme
---
kind: queue
name: support
---
kind: bot
name: legacy
spec: {adapter: webhook, config: {url: "https://192.0.2.1/"}}
---
kind: channel
name: web
spec: {adapter: web, config: {wait: 1ms, limits: {text_bytes: 2000}, attachments: {max_bytes: 4000000}}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "turnout.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(t.Context(), gateway.Options{
		Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the calls to a bot that is not there need no patience
		g.Stop(ctx)
	})
	return "http://" + g.Addr() + "/v1/web/acme.web"
}

// post sends a request and returns the status, what the answer says and its Retry-After.
func post(t *testing.T, url, token, contentType string, body io.Reader) (status int, answer map[string]any, retry string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatalf("decoding an answer of status %d: %v", res.StatusCode, err)
	}
	return res.StatusCode, answer, res.Header.Get("Retry-After")
}

func session(t *testing.T, url string) string {
	t.Helper()
	_, answer, _ := post(t, url+"/session", "", "application/json", strings.NewReader("{}"))
	token, _ := answer["token"].(string)
	if token == "" {
		t.Fatalf("no token in %v", answer)
	}
	return token
}

func say(t *testing.T, url, token, id, text string) (status int, code any, retry string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"id": id, "text": text})
	if err != nil {
		t.Fatal(err)
	}
	status, answer, retry := post(t, url+"/messages", token, "application/json", bytes.NewReader(body))
	return status, answer["code"], retry
}

func upload(t *testing.T, url, token string, size int) (status int, code any) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "notes.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(part, strings.Repeat("a", size)); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	status, answer, _ := post(t, url+"/attachments", token, form.FormDataContentType(), &body)
	return status, answer["code"]
}

// The node's limits bound every channel, whatever its own section says; a channel that is stricter stays so.
func TestNodeLimitsBoundChannels(t *testing.T) {
	for _, c := range []struct {
		limits     string
		text, file int // the largest that are taken
	}{
		{"", 2000, 4_000_000}, // the control: the channel's own
		{"limits: {text_bytes: 100, attachment_bytes: 5000}", 100, 5000},
		{"limits: {text_bytes: 8KiB, attachment_bytes: 8MiB}", 2000, 4_000_000},
	} {
		url := startLimited(t, c.limits)
		token := session(t, url)
		for n, want := range map[int]bool{c.text: true, c.text + 1: false} {
			if status, code, _ := say(t, url, token, fmt.Sprint(n), strings.Repeat("a", n)); (status < 300) != want {
				t.Errorf("%q: a text of %d bytes: %d %v", c.limits, n, status, code)
			}
		}
		for n, want := range map[int]bool{c.file: true, c.file + 1: false} {
			if status, code := upload(t, url, token, n); (status < 300) != want || !want && code != "too_large" {
				t.Errorf("%q: a file of %d bytes: %d %v", c.limits, n, status, code)
			}
		}
	}
}

func TestANodeWithoutFiles(t *testing.T) {
	url := startLimited(t, "limits: {attachment_bytes: 0}")
	if status, code := upload(t, url, session(t, url), 1); status < 400 {
		t.Errorf("a file was taken: %d %v", status, code)
	}
}

func TestNodeLimitsRates(t *testing.T) {
	for name, rates := range map[string]string{
		"visitor": "{visitor: 12}", "tenant": "{tenant: 12}", "address": "{address: 13}", // the session is a request, too
	} {
		t.Run(name, func(t *testing.T) {
			url := startLimited(t, "limits: {messages_per_minute: "+rates+"}")
			token := session(t, url)
			refused := 0
			for i := range 20 {
				status, code, retry := say(t, url, token, fmt.Sprint(i), "hello")
				if status != http.StatusTooManyRequests {
					continue
				}
				refused++
				if code != "rate_limited" || retry == "" || retry == "0" {
					t.Errorf("message %d: %v, Retry-After %q", i, code, retry)
				}
			}
			if refused == 0 || refused > 8 {
				t.Errorf("%d of 20 messages at once were refused, want up to 8", refused)
			}
			if status, answer, _ := post(t, url+"/human", token, "application/json", strings.NewReader("{}")); status != http.StatusOK {
				t.Errorf("the request for a person: %d %v", status, answer["code"])
			}
		})
	}
}
