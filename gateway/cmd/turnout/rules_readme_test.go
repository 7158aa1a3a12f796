package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	savedAs = regexp.MustCompile("[Ss]ave this as `([a-z.]+)`:\n$")
	fence   = regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```\n")
)

// TestRulesReadme does what rules/README.md says, in its order, in the folder of a running node: it saves the files, runs the
// commands, and looks for the lines that the page shows in what they print. The report over public dialogues is compared
// when TURNOUT_DIALOGUES names them; otherwise the same command runs over a handful of its own.
func TestRulesReadme(t *testing.T) {
	repository, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(repository, "rules", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	resources := strings.Replace(shop, "config: {}}", "config: {allow_no_origin: true}}", 1) + `---
kind: queue
name: emergency
---
kind: queue
name: general
---
kind: rules
name: house
spec: {managed: api}
`
	dir := layOut(t, map[string]string{"shop.yaml": strings.Replace(resources, "name: shop\n", "name: shop\nspec: {default_queue: support}\n", 1)})
	if err := os.Symlink(filepath.Join(repository, "rules"), filepath.Join(dir, "rules")); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(bin, "turnout")); err != nil {
		t.Fatal(err)
	}
	node := serve(t, dir)
	dialogues, public := filepath.Join(repository, "rules", "examples", "dialogues.jsonl"), os.Getenv("TURNOUT_DIALOGUES")
	if public != "" {
		dialogues = public
	}
	env := append(os.Environ(), asTurnout+"=1", "PATH="+bin+":"+os.Getenv("PATH"), "DIALOGUES="+dialogues)
	printed, commands := "", 0
	for _, m := range fence.FindAllStringSubmatchIndex(page, -1) {
		before, kind, body := page[:m[0]], page[m[2]:m[3]], page[m[4]:m[5]]
		switch kind {
		case "yaml":
			name := savedAs.FindStringSubmatch(strings.TrimSuffix(before, "\n"))
			if name == nil {
				t.Fatalf("the page does not say as what this is saved:\n%s", body)
			}
			put(t, dir, name[1], body)
		case "sh":
			if strings.Contains(body, "$CONVERSATION") && commands > 0 {
				env = append(env, "CONVERSATION="+node.chat(t, "my chest hurts"))
			}
			if strings.Contains(body, "turnout rules versions") { // the page compares two versions by then
				put(t, dir, "second.yaml", strings.Replace(clinic, "queue: support, priority: urgent", "queue: general", 1))
				if stdout, stderr, ok := run(t, dir, "rules", "publish", "second.yaml", "--why", "a second version"); !ok {
					t.Fatal(stdout, stderr)
				}
			}
			cmd := exec.Command("sh", "-e", "-c", body)
			cmd.Dir, cmd.Env = dir, env
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s\n%s", err, body, out)
			}
			printed = string(out)
			commands += strings.Count(body, "turnout ")
		case "text":
			if strings.Contains(body, "1457 dialogues") && public == "" {
				continue
			}
			for line := range strings.Lines(body) {
				if !strings.Contains(printed, strings.TrimSuffix(line, "\n")) {
					t.Errorf("the page shows %q, which is not in\n%s", line, printed)
				}
			}
		default:
			t.Errorf("a block of kind %q is not checked", kind)
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands ran", commands)
	}
}
