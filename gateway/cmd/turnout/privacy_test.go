package main

import (
	"archive/zip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turnout/gateway"
)

// settle asks until an erasure has come to a state.
func settle(t *testing.T, dir, id, state string) erasure {
	t.Helper()
	for {
		e := answered[erasure](t, dir, "privacy", "status", id)
		if e.State == state {
			return e
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("it stays %s", e.State)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestPrivacy hands a person what is held of them, holds them, erases them, and shows what is left.
func TestPrivacy(t *testing.T) {
	for _, line := range []string{
		"turnout privacy export --conversation c_… -o person.zip", "turnout privacy erase --conversation c_… --dry-run",
		"turnout privacy erase --conversation c_… --wait", "turnout privacy status", "turnout privacy holds", "turnout privacy lift h_…",
		`turnout privacy hold --conversation c_… --reason "case 12/2026"`, "turnout privacy retention", "turnout privacy retention --dry-run",
	} {
		documented(t, line)
	}
	dir := openNode(t)
	p := serve(t, dir)
	load := startCustomers(t, p.url, 2)
	load.wait(5)
	conv := talk(t, p.url)
	if _, stdout, _ := ended(t, dir, "privacy", "retention"); !strings.Contains(stdout, "messages_days") {
		t.Errorf("retention: %s", stdout)
	}
	ended(t, dir, "privacy", "retention", "--dry-run")

	if code, _, stderr := ended(t, dir, "privacy", "export", "--conversation", conv, "-o", "person.zip"); code != 0 {
		t.Fatal(stderr)
	}
	z, err := zip.OpenReader(filepath.Join(dir, "person.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open(conv + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || !strings.Contains(string(b), canary) {
		t.Errorf("%s, %v", b, err)
	}
	if code, stdout, stderr := ended(t, dir, "privacy", "export", "--conversation", conv, "--format", "jsonl"); code != 0 || !strings.Contains(stdout, canary) {
		t.Errorf("as lines: %d %s", code, stderr)
	}
	if code, _, stderr := ended(t, dir, "privacy", "export", "--conversation", conv, "--server", p.url, "--key", "file:ada.key"); code != 1 || !strings.Contains(stderr, "forbidden") {
		t.Errorf("the auditor: %d %s", code, stderr)
	}

	hold := answered[struct{ ID string }](t, dir, "privacy", "hold", "--conversation", conv, "--reason", "case 12/2026")
	if plan := answered[erasure](t, dir, "privacy", "erase", "--conversation", conv, "--dry-run"); plan.Waiting != hold.ID || len(plan.Conversations) != 1 {
		t.Errorf("%+v", plan)
	}
	if code, _, stderr := ended(t, dir, "privacy", "erase", "--conversation", conv); code != 1 || !strings.Contains(stderr, "legal_hold") {
		t.Errorf("under a hold: %d %s", code, stderr)
	}
	answered[erasure](t, dir, "privacy", "erase", "--conversation", conv, "--defer")
	if _, stdout, _ := ended(t, dir, "privacy", "holds"); !strings.Contains(stdout, hold.ID) {
		t.Errorf("holds: %s", stdout)
	}
	_, stdout, _ := ended(t, dir, "privacy", "status")
	id := ""
	for _, word := range strings.Fields(stdout) {
		if strings.HasPrefix(word, "e_") {
			id = word
		}
	}
	if !strings.Contains(stdout, hold.ID) || id == "" {
		t.Fatalf("status: %s", stdout)
	}
	if code, _, stderr := ended(t, dir, "privacy", "lift", hold.ID); code != 0 {
		t.Fatal(stderr)
	}
	settle(t, dir, id, "done")

	if code, _, stderr := ended(t, dir, "privacy", "erase", "--conversation", conv, "--wait"); code != 1 || !strings.Contains(stderr, "erased") {
		t.Errorf("once more: %d %s", code, stderr)
	}
	if code, _, stderr := ended(t, dir, "replay", conv); code == 0 || !strings.Contains(stderr, "erased") {
		t.Errorf("its story: %d %s", code, stderr)
	}
	if _, stdout, _ := ended(t, dir, "export", "conversations", "--text"); strings.Contains(stdout, canary) || strings.Contains(stdout, conv) {
		t.Error("an export has it")
	}
	other := talk(t, p.url)
	if done := answered[erasure](t, dir, "privacy", "erase", "--conversation", other, "--wait"); done.State != "done" {
		t.Errorf("%+v", done)
	}
	load.end()
	verified(t, dir)
	if check := answered[gateway.StorageLine](t, dir, "store", "check"); check.FaultCount != 0 {
		t.Errorf("%+v", check)
	}
}

// verified exports the audit log and verifies it.
func verified(t *testing.T, dir string) {
	t.Helper()
	if code, _, stderr := ended(t, dir, "audit", "export", "-o", "audit.jsonl"); code != 0 {
		t.Fatal(stderr)
	}
	if code, stdout, stderr := ended(t, dir, "audit", "verify", "audit.jsonl"); code != 0 {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
}

// TestErasureKilled kills the node over and over while persons are erased and others write: every erasure is done in the end,
// and does not come back with a backup from before.
func TestErasureKilled(t *testing.T) {
	dir := openNode(t)
	p := serve(t, dir)
	load := startCustomers(t, p.url, 2)
	rounds := 3
	if os.Getenv("TURNOUT_SCALE") == "full" {
		rounds = 60
	}
	load.wait(4*rounds + 8)
	answered[gateway.StorageLine](t, dir, "store", "backup", "before")
	var ids []string
	var gone []string
	for n := range rounds {
		for _, conv := range load.list()[4*n : 4*n+4] {
			code, stdout, _ := ended(t, dir, "privacy", "erase", "--conversation", conv, "--json")
			var e erasure
			if code == 0 && json.Unmarshal([]byte(stdout), &e) == nil {
				ids, gone = append(ids, e.ID), append(gone, conv)
			}
		}
		p.kill()
		p = serve(t, dir)
		load.mu.Lock()
		load.url = p.url
		load.mu.Unlock()
	}
	load.end()
	if len(gone) != 4*rounds {
		t.Fatalf("%d erasures were taken of %d", len(gone), 4*rounds)
	}
	for _, id := range ids {
		settle(t, dir, id, "done")
	}
	verified(t, dir)
	if check := answered[gateway.StorageLine](t, dir, "store", "check"); check.FaultCount != 0 {
		t.Errorf("%+v", check)
	}
	p.end()
	if err := os.RemoveAll(filepath.Join(dir, "data", "store")); err != nil {
		t.Fatal(err)
	}
	if done := answered[gateway.StorageLine](t, dir, "store", "restore", "before"); done.Erased != len(gone) {
		t.Errorf("%+v, want %d erased again", done, len(gone))
	}
	serve(t, dir)
	_, exported, _ := ended(t, dir, "export", "conversations")
	for _, conv := range gone {
		if strings.Contains(exported, conv) {
			t.Errorf("%s has come back", conv)
		}
	}
	verified(t, dir)
}
