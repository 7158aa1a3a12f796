package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const clinic = `rules:
  - id: chest-pain
    why: Chest pain reaches the emergency desk at once.
    when: phrase("chest pain", "chest hurts")
    then: {handoff: {queue: support, priority: urgent}}
    locked: true
    tests:
      - {text: "my chest hurts", match: true}
      - {text: "a chest of drawers", match: false}
  - id: unsure
    why: An answer that the bot does not trust is not sent.
    on: answer
    when: bot.confidence < 0.4
    then: {handoff: {queue: support}}
    tests:
      - {text: hi, bot: {text: Yes., confidence: 0.2}, match: true}
      - {text: hi, bot: Yes., match: false}
`

const clinicTests = "tests:\n  - {name: urgent, text: my chest hurts, expect: {handoff: {queue: support, priority: urgent}}}\n"

// code runs the program and returns what it writes and the code it ends with.
func code(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := turnout(t, dir, args...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return out.String(), bad.String(), code
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRulesOverFiles is about the verbs that need no node: what they print and the code they end with.
func TestRulesOverFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "clinic.yaml", clinic)
	put(t, dir, "clinic.tests.yaml", clinicTests)
	put(t, dir, "wide.yaml", strings.Replace(clinic, `"chest hurts"`, `"chest hurts", "chest"`, 1))
	put(t, dir, "broken.yaml", "rules:\n  - {id: a, why: w, when: turns = 1, then: {tags: [x]}}\n")
	put(t, dir, "exchange.yaml", "text: hello\nbot: {text: Maybe., confidence: 0.1}\n")
	put(t, dir, "dialogues.jsonl", `{"turns": [{"side": "customer", "text": "my chest hurts"}], "labels": ["pain"]}`+"\n")
	put(t, dir, "turnout.yaml", settings)
	put(t, dir, "shop.yaml", shop+"---\nkind: rules\nname: house\nspec: {files: [clinic.yaml]}\n")
	for _, c := range []struct {
		args   string
		code   int
		stdout []string
		stderr string
	}{
		{"rules test clinic.yaml clinic.tests.yaml", 0, []string{"2 rules, 5 tests, 0 failed"}, ""},
		{"rules test turnout.yaml", 0, []string{"2 rules, 4 tests, 0 failed"}, ""},
		{"rules test clinic.yaml --rule unsure", 0, []string{"2 rules, 2 tests, 0 failed"}, ""},
		{"rules test wide.yaml", 1, []string{"wide.yaml:9:10: FAIL chest-pain, test 2", "match is true, the test wants false", `because chest-pain matched: "chest" was found`}, "1 of 4 tests failed"},
		{"rules test broken.yaml", 2, nil, `broken.yaml:2:33: rule a: when: compare with == instead of =`},
		{"rules test nothing.yaml", 2, nil, "nothing.yaml"},
		{"rules test clinic.tests.yaml", 2, nil, "no rules among the files"},
		{"rules lint clinic.yaml", 0, []string{"2 rules, 0 findings"}, ""},
		{"rules lint broken.yaml", 2, nil, "compare with =="},
		{"rules explain clinic.yaml --text=my_chest_hurts --answer=Rest.", 0, []string{
			"MATCHED     chest-pain", "-> hands over to support, priority urgent", `because "chest hurts" was found`, "NOT MATCHED unsure", "bot.confidence absent",
			"Together: rule chest-pain hands over to support, priority urgent.",
		}, ""},
		{"rules explain clinic.yaml --exchange=exchange.yaml --rule=unsure", 0, []string{"MATCHED     unsure", "bot.confidence = 0.1"}, ""},
		{"rules explain clinic.yaml --exchange=exchange.yaml --text=x", 2, nil, "either --exchange or"},
		{"rules explain clinic.yaml --text=x --rule=nobody", 2, nil, "there is no rule nobody"},
		{"rules explain clinic.yaml", 2, nil, "what is to be explained?"},
		{"rules explain", 2, nil, "name the files of the rules, or a conversation"},
		{"rules diff wide.yaml --old=clinic.yaml", 0, []string{"~ chest-pain (locked)  changed", `+ when: phrase("chest pain", "chest hurts", "chest")`}, ""},
		{"rules diff clinic.yaml --old=clinic.yaml", 0, []string{"no difference"}, ""},
		{"rules diff", 2, nil, "compare files with"},
		{"rules backtest clinic.yaml --dialogues=dialogues.jsonl", 0, []string{"1 dialogues, 1 customers' messages: 1 dialogues (100.0 %)", "| pain | 1 | 1 (100.0 %) | chest-pain |"}, ""},
		{"rules backtest clinic.yaml --dialogues=clinic.yaml", 2, nil, "clinic.yaml: line 1 is not a dialogue"},
		{"rules bench --rules=0", 2, nil, "--rules is between 1 and 10000"},
		{"rules publish clinic.yaml --why=x", 1, nil, "is it running?"},
		{"rules publish wide.yaml --why=x", 1, nil, "nothing was published: tests fail"},
	} {
		var args []string
		for _, a := range strings.Fields(c.args) {
			args = append(args, strings.ReplaceAll(a, "_", " "))
		}
		stdout, stderr, got := code(t, dir, args...)
		if got != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("turnout %s: ends with %d and %q, want %d and %q", c.args, got, stderr, c.code, c.stderr)
		}
		for _, want := range c.stdout {
			if !strings.Contains(stdout, want) {
				t.Errorf("turnout %s: prints %s\nwant %s", c.args, stdout, want)
			}
		}
	}
	for args, into := range map[string]any{
		"rules test wide.yaml --json":                                   &struct{ Tests, Failed int }{},
		"rules lint clinic.yaml --json":                                 &[]any{},
		"rules explain clinic.yaml --text=hi --json":                    &[]struct{ Rules []any }{},
		"rules diff wide.yaml --old=clinic.yaml --json":                 &[]struct{ Rule, Kind string }{},
		"rules backtest clinic.yaml --dialogues=dialogues.jsonl --json": &struct{ Dialogues int }{},
		"rules bench --rules=20 --for=20ms --json":                      &map[string]float64{},
	} {
		stdout, stderr, _ := code(t, dir, strings.Fields(args)...)
		if err := json.Unmarshal([]byte(stdout), into); err != nil {
			t.Errorf("turnout %s: %v in %q %q", args, err, stdout, stderr)
		}
		if cost, ok := into.(*map[string]float64); ok && (len(*cost) != 4 || (*cost)["rules"] != 20 || (*cost)["ns_per_exchange"] < 0) {
			t.Errorf("turnout %s: %v", args, *cost)
		}
	}
	if _, _, got := code(t, dir, "rules", "test", "wide.yaml", "--junit", "report.xml"); got != 1 {
		t.Errorf("with a JUnit report it ends with %d", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "report.xml"))
	if err != nil || xml.Unmarshal(data, new(struct{})) != nil || !bytes.Contains(data, []byte(`failures="1"`)) {
		t.Errorf("JUnit report %s, %v", data, err)
	}
}

// TestRulesOfANode publishes, compares, rolls back and explains on a running node.
func TestRulesOfANode(t *testing.T) {
	shop := strings.Replace(shop, "config: {}}", "config: {allow_no_origin: true}}", 1)
	published := "---\nkind: rules\nname: house\nspec: {managed: api}\n"
	dir := layOut(t, map[string]string{"shop.yaml": shop + published, "clinic.yaml": clinic, "clinic.tests.yaml": clinicTests})
	node := serve(t, dir)
	want := func(wanted int, says string, args ...string) string {
		t.Helper()
		stdout, stderr, got := code(t, dir, args...)
		if got != wanted || !strings.Contains(stdout+stderr, says) {
			t.Errorf("turnout %q: ends with %d: %s%s\nwant %d and %q", args, got, stdout, stderr, wanted, says)
		}
		return stdout
	}
	want(0, "+ chest-pain (locked)  added, judged 1st", "rules", "diff", "clinic.yaml")
	want(0, "version 1 is in force", "rules", "publish", "clinic.yaml", "clinic.tests.yaml", "--why", "the first ones")
	want(1, "in force already", "rules", "publish", "clinic.yaml", "--why", "again")
	want(0, "no difference", "rules", "diff", "clinic.yaml")
	put(t, dir, "nobody.yaml", strings.Replace(clinic, "queue: support, priority", "queue: nobody, priority", 1))
	want(2, "nobody.yaml:5:29: rule chest-pain: there is no queue nobody", "rules", "publish", "nobody.yaml", "--why", "x")
	put(t, dir, "clinic.yaml", strings.Replace(clinic, "priority: urgent", "priority: high", 1))
	want(1, "nothing was published: tests fail", "rules", "publish", "clinic.yaml", "clinic.tests.yaml", "--why", "x")
	want(0, "+ handoff: support, priority high", "rules", "publish", "clinic.yaml", "--why", "not so urgent")

	conversation := node.chat(t, "my chest hurts")
	got := want(0, "MATCHED     chest-pain", "rules", "explain", "--conversation", conversation)
	for _, line := range []string{"rules version 2", "-> hands over to support, priority high", `because "chest hurts" was found`} {
		if !strings.Contains(got, line) {
			t.Errorf("explained as %s\nwant %s", got, line)
		}
	}
	if strings.Contains(got, "NOTE") {
		t.Errorf("the explanation does not agree with the record: %s", got)
	}
	want(0, `"agrees":true`, "rules", "explain", "--conversation", conversation, "--json")
	want(1, "404", "rules", "explain", "--conversation", conversation, "--seq", "4711")
	want(1, "404", "rules", "explain", "--conversation", "c_nonsense")
	want(2, "leave out the files", "rules", "explain", "clinic.yaml", "--conversation", conversation)

	want(0, "version 3 is in force", "rules", "rollback", "1", "--why", "it was urgent after all")
	want(1, "404", "rules", "rollback", "17", "--why", "x")
	list := want(0, "* 3", "rules", "versions")
	for _, line := range []string{"managed by api", "back to version 1: it was urgent after all", "not so urgent", "the first ones", "operator:"} {
		if !strings.Contains(list, line) {
			t.Errorf("versions %s\nwant %s", list, line)
		}
	}
	want(0, "+ handoff: support, priority urgent", "rules", "diff", "--from", "2", "--to", "3")
	want(0, `"in_force":{"version":3`, "rules", "versions", "--json")
	node.end()
	if !strings.Contains(node.log.String(), "rules published") || strings.Contains(node.log.String(), "chest hurts") {
		t.Errorf("the log: %s", node.log.String())
	}

	// What is published stays in force over a restart; rules in files are read-only for it.
	again := serve(t, dir)
	want(0, "* 3", "rules", "versions")
	again.end()
	put(t, dir, "shop.yaml", shop+"---\nkind: rules\nname: house\nspec: {files: [clinic.yaml]}\n")
	serve(t, dir)
	want(0, "managed by shop.yaml", "rules", "versions")
	want(1, "The configuration's files manage these rules", "rules", "publish", "clinic.yaml", "--why", "x")
	want(1, "The configuration's files manage these rules", "rules", "rollback", "1", "--why", "x")
}

// chat writes a message on the node's web channel and returns the conversation.
func (p *process) chat(t *testing.T, text string) string {
	t.Helper()
	post := func(path, token, body string) map[string]any {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v1/web/shop.web"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode/100 != 2 {
			t.Fatalf("POST %s: %d %v %v", path, res.StatusCode, answer, err)
		}
		return answer
	}
	session := post("/session", "", "{}")
	token, _ := session["token"].(string)
	answer := post("/messages", token, `{"id":"m1","text":"`+text+`"}`)
	conversation, _ := answer["conversation"].(string)
	if conversation == "" {
		t.Fatalf("no conversation in %v", answer)
	}
	return conversation
}
