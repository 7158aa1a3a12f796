package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"encoding/json"
	"turnout/gateway/bench"
)

// TestExport writes figures of a running node, for the operator and for those with a key, and text only for those who may
// read it.
func TestExport(t *testing.T) {
	dir := audited(t)
	p := serve(t, dir)
	conv := talk(t, p.url)
	page, err := os.ReadFile("../../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"export", "conversations", "--config", "turnout.yaml", "--from", "2026-01-01", "-o", "conversations.jsonl"},
		{"export", "metrics", "--config", "turnout.yaml", "--format", "csv", "-o", "days.csv"},
	} {
		shown := "turnout " + strings.Replace(strings.Join(args, " "), "turnout.yaml", "/etc/turnout/turnout.yaml", 1)
		if !strings.Contains(string(page), shown) {
			t.Errorf("deploy/README.md does not show %q", shown)
		}
		if code, stdout, stderr := ended(t, dir, args...); code != 0 || stdout != "" {
			t.Fatalf("%v: %d %q %s", args, code, stdout, stderr)
		}
	}
	for name, want := range map[string]string{"conversations.jsonl": `"conversation":"` + conv + `"`, "days.csv": ",shop.web,1,"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(b), want) || strings.Contains(string(b), canary) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	if code, stdout, _ := ended(t, dir, "export", "conversations", "--text"); code != 0 || !strings.Contains(stdout, canary) {
		t.Errorf("with text: %d %s", code, stdout)
	}
	elsewhere := []string{"export", "conversations", "--server", p.url, "--key", "file:ada.key"}
	if code, stdout, stderr := ended(t, dir, elsewhere...); code != 0 || !strings.Contains(stdout, conv) {
		t.Errorf("the auditor: %d %s", code, stderr)
	}
	if code, stdout, stderr := ended(t, dir, append(elsewhere, "--text")...); code != 1 || stdout != "" || !strings.Contains(stderr, "leave out text") {
		t.Errorf("the auditor with text: %d %s %s", code, stdout, stderr)
	}
	if code, _, stderr := ended(t, dir, "export", "conversations", "--server", p.url, "--key", "file:ben.key"); code != 1 || !strings.Contains(stderr, "forbidden") {
		t.Errorf("an agent: %d %s", code, stderr)
	}
}

// TestBenchDisk measures the folder that it is given and leaves nothing in it.
func TestBenchDisk(t *testing.T) {
	dir := t.TempDir()
	var d bench.Disk
	code, stdout, stderr := ended(t, dir, "bench", "disk", "--json")
	if err := json.Unmarshal([]byte(stdout), &d); code != 0 || err != nil || d.Syncs == 0 || d.MedianUS <= 0 {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	if code, stdout, _ := ended(t, dir, "bench", "disk", "."); code != 0 || !strings.Contains(stdout, "median") {
		t.Errorf("%d %s", code, stdout)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if code, _, stderr := ended(t, dir, "bench", "disk", "gone"); code == 0 || !strings.Contains(stderr, "gone") {
		t.Errorf("%d %s", code, stderr)
	}
}
