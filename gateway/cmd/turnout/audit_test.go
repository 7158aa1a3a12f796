package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"turnout/gateway/audit"
)

// people are those who may look, and one who may not.
const people = `
---
kind: agent
name: ada
spec: {name: Ada, role: auditor, keys: [{id: ada, sha256: "file:ada.sha256"}]}
---
kind: agent
name: ben
spec: {name: Ben, queues: [support], keys: [{id: ben, sha256: "file:ben.sha256"}]}
`

// audited lays out a node with people, whose keys lie in files, and with outside copies.
func audited(t *testing.T) (dir string) {
	t.Helper()
	open := strings.Replace(shop, "web, config: {}", "web, config: {allow_no_origin: true}", 1)
	send := strings.Replace(settings, "audit.key}", "audit.key, send_to: copies/}", 1)
	dir = layOut(t, map[string]string{"turnout.yaml": send, "shop.yaml": open + people})
	for _, who := range []string{"ada", "ben"} {
		stdout, stderr, ok := run(t, dir, "admin", "key", who)
		lines := strings.Fields(stdout)
		if !ok || len(lines) != 4 {
			t.Fatal(stdout, stderr)
		}
		for name, value := range map[string]string{who + ".key": lines[1], who + ".sha256": lines[3]} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

const canary = "canary in a customer's words"

// talk lets a customer write something and ask for a person.
func talk(t *testing.T, url string) (conversation string) {
	t.Helper()
	post := func(path, token, body string) map[string]any {
		req, err := http.NewRequest("POST", url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		var out map[string]any
		if err != nil || json.Unmarshal(b, &out) != nil || res.StatusCode/100 != 2 {
			t.Fatalf("POST %s: %d %s, %v", path, res.StatusCode, b, err)
		}
		return out
	}
	token, _ := post("/v1/web/shop.web/session", "", "")["token"].(string)
	out := post("/v1/web/shop.web/messages", token, `{"id":"1","text":"agent"}`)
	post("/v1/web/shop.web/messages", token, `{"id":"2","text":"`+canary+`"}`)
	conversation, _ = out["conversation"].(string)
	if conversation == "" {
		t.Fatalf("no conversation in %v", out)
	}
	return conversation
}

// ended runs the program and returns its exit code.
func ended(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := turnout(t, dir, args...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	var exited *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exited) {
		code = exited.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return code, out.String(), bad.String()
}

func TestAudit(t *testing.T) {
	dir := audited(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	code, key, stderr := ended(t, dir, "audit", "key", "--config", "turnout.yaml")
	if code != 0 || !strings.HasPrefix(key, "turnout-audit+") {
		t.Fatal(key, stderr)
	}
	if err := os.WriteFile(file("vkey"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	export := func(name string, flags ...string) string {
		t.Helper()
		if code, stdout, stderr := ended(t, dir, append([]string{"audit", "export", "-o", name}, flags...)...); code != 0 || stdout != "" {
			t.Fatalf("%v: %d %q %s", flags, code, stdout, stderr)
		}
		b, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	verdict := func(want int, args ...string) (v audit.Verdict) {
		t.Helper()
		code, stdout, stderr := ended(t, dir, append([]string{"audit", "verify", "--json", "--key", "vkey"}, args...)...)
		if err := json.Unmarshal([]byte(stdout), &v); code != want || want != 1 && err != nil || v.OK != (want == 0) {
			t.Fatalf("%v: exit %d, want %d: %s %s", args, code, want, stdout, stderr)
		}
		return v
	}

	p := serve(t, dir)
	conv := talk(t, p.url)
	live := export("live.jsonl")
	if !strings.Contains(live, `"chain":"`+conv+`"`) || !strings.Contains(live, `"type":"handoff.made"`) && !strings.Contains(live, `"kind":"handoff"`) {
		t.Errorf("the conversation is not in the export:\n%s", live)
	}
	if strings.Contains(live, canary) {
		t.Error("the export holds text")
	}
	v := verdict(0, "live.jsonl", "--tenant", "shop")
	if v.Covered != v.Entries || v.Entries < 2 || v.Chains != 2 {
		t.Errorf("a live export is covered to its end: %+v", v)
	}
	// Who may, over HTTP: the auditor; not an agent.
	export("ada.jsonl", "--server", p.url, "--key", "file:ada.key")
	verdict(0, "ada.jsonl")
	if code, _, stderr := ended(t, dir, "audit", "export", "-o", "ben.jsonl", "--server", p.url, "--key", "file:ben.key"); code != 1 || !strings.Contains(stderr, "forbidden") {
		t.Errorf("an agent: %d %s", code, stderr)
	}
	if _, err := os.Stat(file("ben.jsonl")); !os.IsNotExist(err) {
		t.Error("a refused export has left a file")
	}
	// A refusal without a sign-in is the operator's.
	if code, _, _ := ended(t, dir, "audit", "export", "-o", "x", "--server", p.url, "--key", "file:vkey"); code != 1 {
		t.Error("a key of nobody's")
	}
	if node := export("node.jsonl", "--node"); !strings.Contains(node, `"kind":"request"`) || !strings.Contains(node, `"count":1`) {
		t.Errorf("the operator's log:\n%s", node)
	}
	verdict(0, "node.jsonl", "--tenant", "_operator")
	if v := verdict(2, "node.jsonl", "--tenant", "shop"); v.Faults[0].Kind != audit.Foreign {
		t.Errorf("the operator's log as the tenant's: %v", v.Faults)
	}
	talk(t, p.url)
	p.end()

	// The end of the process is a checkpoint, whose copy is outside.
	export("offline.jsonl", "--config", "turnout.yaml")
	v = verdict(0, "offline.jsonl", "--checkpoint", "copies")
	if v.Covered != v.Entries || v.OutsideCopy != v.Checkpoints || len(v.NotProven) != 0 || v.Chains != 3 {
		t.Errorf("after the end: %+v", v)
	}
	if v := verdict(2, "live.jsonl", "--checkpoint", "copies"); v.Faults[0].Kind != audit.MissingTail {
		t.Errorf("an old export beside newer copies: %v", v.Faults)
	}
	forged := strings.Replace(export("again.jsonl"), `"type":"audit.exported"`, `"type":"audit.forged"`, 1)
	if err := os.WriteFile(file("forged.jsonl"), []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verdict(2, "forged.jsonl"); v.Faults[0].Kind != audit.Edited || v.Faults[0].Chain != "shop" {
		t.Errorf("forged: %v", v.Faults)
	}
	if code, stdout, _ := ended(t, dir, "audit", "verify", "forged.jsonl"); code != 2 || !strings.Contains(stdout, "edit: chain shop, entry") || !strings.Contains(stdout, "DOES NOT HOLD") {
		t.Errorf("for people: %d\n%s", code, stdout)
	}
	if code, stdout, _ := ended(t, dir, "audit", "verify", "offline.jsonl"); code != 0 || !strings.Contains(stdout, "not proven: who signed") || !strings.Contains(stdout, "not proven: anything against an administrator") {
		t.Errorf("without a key: %d\n%s", code, stdout)
	}

	// Another node is another key.
	other := layOut(t, nil)
	_, strange, _ := ended(t, other, "audit", "key", "--config", "turnout.yaml")
	if code, stdout, _ := ended(t, dir, "audit", "verify", "offline.jsonl", "--key", strings.TrimSpace(strange)); code != 2 || !strings.Contains(stdout, "unknown_key") {
		t.Errorf("another key: %d\n%s", code, stdout)
	}
	for says, args := range map[string][]string{
		"no audit export":               {"turnout.yaml"},
		"no such file":                  {"nowhere.jsonl"},
		"is none":                       {"offline.jsonl", "--key", "turnout-audit+x"},
		"want a checkpoint":             {"offline.jsonl", "--checkpoint", "shop.yaml"},
		"holds no copy of a checkpoint": {"offline.jsonl", "--checkpoint", "data/keys/.."},
	} {
		code, _, stderr := ended(t, dir, append([]string{"audit", "verify"}, args...)...)
		if code != 1 || !strings.Contains(stderr, says) {
			t.Errorf("%v: %d %q, want %q", args, code, stderr, says)
		}
	}
	if code, _, stderr := ended(t, dir, "audit", "export", "-o", "x", "--tenant", "mall"); code != 1 || !strings.Contains(stderr, "shop") {
		t.Errorf("an unknown tenant: %d %s", code, stderr)
	}
	if code, _, stderr := ended(t, dir, "audit", "export", "-o", "x", "--data", "data"); code != 1 || !strings.Contains(stderr, "is it running?") {
		t.Errorf("without settings there is nothing to read a folder with: %d %s", code, stderr)
	}
}

// TestProveIt runs the page for whoever is to prove something, as it stands.
func TestProveIt(t *testing.T) {
	page, err := os.ReadFile("../../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- prove it -->\n+```sh\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no commands")
	}
	dir := audited(t)
	p := serve(t, dir)
	talk(t, p.url)
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "turnout"), []byte("#!/bin/sh\n"+asTurnout+"=1 exec "+self+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(string(block[1]), "deploy/examples/shop/turnout.yaml", "turnout.yaml")
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := string(out)
	for _, m := range regexp.MustCompile(`(?m)^# -> (.*)$`).FindAllStringSubmatch(script, -1) {
		at := strings.Index(rest, m[1])
		if at < 0 {
			t.Fatalf("the output lacks %q:\n%s", m[1], out)
		}
		rest = rest[at+len(m[1]):]
	}
}

func TestReplay(t *testing.T) {
	dir := audited(t)
	p := serve(t, dir)
	conv := talk(t, p.url)
	replay := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := ended(t, dir, append([]string{"replay"}, args...)...)
		if code != want {
			t.Fatalf("%v: exit %d, want %d: %s %s", args, code, want, stdout, stderr)
		}
		return stdout, stderr
	}
	story, _ := replay(0, conv, "--recompute")
	for _, want := range []string{
		"a conversation on shop.web begins", "handed over to queue support with priority 5 by builtin.human_request",
		"recomputed: equal", "2 of 2 judgements recomputed as they were",
	} {
		if !strings.Contains(story, want) {
			t.Errorf("no %q in\n%s", want, story)
		}
	}
	if strings.Contains(story, canary) || strings.Contains(story, "recomputed: differs") {
		t.Errorf("the story:\n%s", story)
	}
	if told, _ := replay(0, conv, "--text"); !strings.Contains(told, "> "+canary) {
		t.Errorf("with text:\n%s", told)
	}
	var lines struct {
		Lines []struct{ Type, What string }
		Equal int
	}
	if out, _ := replay(0, conv, "--json", "--recompute"); json.Unmarshal([]byte(out), &lines) != nil || len(lines.Lines) < 4 || lines.Equal != 2 || strings.Contains(out, canary) {
		t.Errorf("as JSON: %s", out)
	}

	// The auditor sees what was decided and no text; an agent has another way to conversations.
	ada := []string{"--server", p.url, "--key", "file:ada.key"}
	if out, _ := replay(0, append(ada, conv, "--recompute")...); !strings.Contains(out, "2 of 2") || strings.Contains(out, canary) {
		t.Errorf("the auditor: %s", out)
	}
	if out, stderr := replay(1, append(ada, conv, "--text")...); !strings.Contains(stderr, "not what was said") || strings.Contains(out, canary) {
		t.Errorf("the auditor, with text: %s %s", out, stderr)
	}
	if _, stderr := replay(1, "--server", p.url, "--key", "file:ben.key", conv); !strings.Contains(stderr, "forbidden") {
		t.Errorf("an agent: %s", stderr)
	}
	other := map[bool]string{true: "4", false: "0"}[strings.HasSuffix(conv, "0")]
	if _, stderr := replay(1, conv[:len(conv)-1]+other); !strings.Contains(stderr, "not_found") {
		t.Errorf("an unknown one: %s", stderr)
	}
	// Who read text is in the audit log.
	if code, out, stderr := ended(t, dir, "audit", "export"); code != 0 || !strings.Contains(out, `"type":"conversation.read","kind":"`+conv+`"`) {
		t.Errorf("reading was not recorded: %s", stderr)
	}
	p.end()
	if strings.Contains(p.log.String(), canary) {
		t.Error("the log holds text")
	}
}
