package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turnout/adapters/hook"
)

const appSecret = "what the app's server signs with, 32+"

// An app's server refuses what is said to its customers; the operator sees it, sends one of it again and gives one up.
func TestOutbox(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusUnprocessableEntity)
	taken := make(chan string, 16)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m struct{ ID string }
		_ = json.Unmarshal(body, &m)
		w.WriteHeader(int(status.Load()))
		if status.Load() == http.StatusOK {
			taken <- m.ID
		}
	}))
	defer app.Close()
	dir := layOut(t, map[string]string{
		"turnout.yaml": settings + "limits: {allow_networks: [127.0.0.1/32]}\n",
		"app.secret":   appSecret,
		"shop.yaml": shop + fmt.Sprintf(`---
kind: channel
name: app
spec: {adapter: callback, config: {url: "%s", secret: "file:app.secret"}}
`, app.URL),
	})
	p := serve(t, dir)
	for n := range 3 {
		say(t, p.url, fmt.Sprint("customer-", n))
	}
	var page deadPage
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for len(page.Items) < 3 {
		select {
		case <-late.C:
			t.Fatalf("%d dead letters; the node's log:\n%s", len(page.Items), p.log.String())
		default:
		}
		out, stderr, ok := run(t, dir, "outbox", "list", "--json")
		if !ok || json.Unmarshal([]byte(out), &page) != nil {
			t.Fatalf("listing: %s %s", out, stderr)
		}
	}
	one, two, three := page.Items[0], page.Items[1], page.Items[2]
	if one.Code != "422" || one.Channel != "shop.app" || one.By != "system" || one.Attempts != 1 || one.MayHaveArrived {
		t.Errorf("a dead letter: %+v", one)
	}
	out, _, ok := run(t, dir, "outbox", "list", "--limit", "2")
	if !ok || !strings.Contains(out, one.ID) || strings.Contains(out, three.ID) || !strings.Contains(out, "more: --after ") {
		t.Errorf("for people: %s", out)
	}
	cursor := strings.TrimSpace(out[strings.Index(out, "more: --after ")+len("more: --after "):])
	if out, _, ok = run(t, dir, "outbox", "list", "--after", cursor); !ok || !strings.Contains(out, three.ID) || strings.Contains(out, one.ID) {
		t.Errorf("the second page: %s", out)
	}
	if out, _, ok = run(t, dir, "outbox", "channels"); !ok || !strings.Contains(out, "shop.app") || !strings.Contains(out, "well") {
		t.Errorf("the channels: %s", out)
	}

	status.Store(http.StatusOK)
	if out, stderr, ok := run(t, dir, "outbox", "replay", one.ID); !ok || !strings.Contains(out, one.ID+" is in the outbox again") {
		t.Errorf("replaying: %s %s", out, stderr)
	}
	select {
	case id := <-taken:
		if id != one.Message {
			t.Errorf("%s was sent again, want %s", id, one.Message)
		}
	case <-late.C:
		t.Fatal("it is not sent again")
	}
	if out, stderr, ok := run(t, dir, "outbox", "discard", two.ID, three.ID, one.ID); ok ||
		!strings.Contains(out, two.ID+" is given up\n"+three.ID+" is given up") || !strings.Contains(stderr, one.ID+": ") || !strings.Contains(stderr, "not_found") {
		t.Errorf("discarding: %s %s", out, stderr)
	}
	if out, _, ok := run(t, dir, "outbox", "list"); !ok || !strings.Contains(out, "nothing waits") {
		t.Errorf("in the end: %s", out)
	}
	// The decisions are in the audit log, with the operator's name and without a word of what was said.
	export, stderr, ok := run(t, dir, "audit", "export")
	if !ok || strings.Count(export, "resent") != 1 || strings.Count(export, "discarded") != 2 || !strings.Contains(export, "operator:") {
		t.Errorf("the audit log: %s %s", export, stderr)
	}
}

// say hands in a message of a customer over the app's channel.
func say(t *testing.T, url, customer string) {
	t.Helper()
	body := []byte(fmt.Sprintf(`{"messages":[{"id":"1","from":"%s","text":"hello"}]}`, customer))
	req, err := http.NewRequest(http.MethodPost, url+"/v1/hooks/shop.app/messages", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set(hook.HeaderTimestamp, ts)
	req.Header.Set(hook.HeaderSignature, hook.Sign([]byte(appSecret), ts, body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
}

// A fault in a channel's section is told with its place.
func TestCheckNamesThePlaceInACallbackChannel(t *testing.T) {
	dir := layOut(t, map[string]string{"shop.yaml": shop + `---
kind: channel
name: app
spec:
  adapter: callback
  config:
    url: ftp://app.example
    secret: env:APP_SECRET
    tolerance: 2h
    inbound:
      id: body.id
      from: body.from.(
      text: body.text
`})
	_, stderr, ok := run(t, dir, "check", "turnout.yaml")
	for _, want := range []string{"shop.yaml:20:10: ", "url: must begin with http", "shop.yaml:22:16: ", "tolerance: must lie between"} {
		if ok || !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	dir = layOut(t, map[string]string{"shop.yaml": shop + `---
kind: channel
name: app
spec:
  adapter: callback
  config: {url: "https://app.example", secret: "env:A", inbound: {id: body.id, from: "body.from.(", text: body.text}}
`})
	if _, stderr, ok = run(t, dir, "check", "turnout.yaml"); ok || !strings.Contains(stderr, "shop.yaml:19:86: ") || !strings.Contains(stderr, "inbound.from: 1:11") {
		t.Errorf("an expression: %s", stderr)
	}
}
