package story

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// proven ends a story with its proof: everything that was decided comes out again when it is judged by what the log holds,
// and the audit log verifies, covered to its end, after the node has stopped.
func (n *node) proven(t *testing.T) { n.provenOf(t, 1<<30) }

// provenOf is proven with at most so many conversations judged again, spread over all of them: each is a run of a command.
func (n *node) provenOf(t *testing.T, most int) {
	t.Helper()
	settings, file := filepath.Join(n.dir, "turnout.yaml"), filepath.Join(n.dir, "audit.jsonl")
	run(t, binary, "audit", "export", "--config", settings, "-o", file)
	export, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var conversations []string
	for _, m := range regexp.MustCompile(`"chain":"(c_[0-9a-z]+)"`).FindAllSubmatch(export, -1) {
		conversations = append(conversations, string(m[1]))
	}
	slices.Sort(conversations)
	conversations = slices.DeleteFunc(slices.Compact(conversations), func(id string) bool { return slices.Contains(n.gone, id) })
	judged, step := 0, max(1, (len(conversations)+most-1)/most)
	for i := 0; i < len(conversations); i += step {
		id := conversations[i]
		var story struct {
			Lines []struct {
				Seq   uint64
				Check *struct{ Differs, Missing []string }
			}
			Judged, Equal int
		}
		if err := json.Unmarshal([]byte(run(t, binary, "replay", "--config", settings, id, "--recompute", "--json")), &story); err != nil {
			t.Fatal(err)
		}
		judged += story.Judged
		if story.Judged == story.Equal {
			continue
		}
		for _, l := range story.Lines {
			if l.Check != nil && len(l.Check.Differs)+len(l.Check.Missing) > 0 {
				t.Errorf("%s, event %d, recomputed: %q, missing %q", id, l.Seq, l.Check.Differs, l.Check.Missing)
			}
		}
	}
	n.stop()
	run(t, binary, "audit", "export", "--config", settings, "-o", file)
	key := strings.TrimSpace(run(t, binary, "audit", "key", "--config", settings))
	var v struct {
		OK                            bool
		Entries, Covered, Checkpoints uint64
	}
	if err := json.Unmarshal([]byte(run(t, binary, "audit", "verify", file, "--key", key, "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if !v.OK || v.Covered != v.Entries || v.Entries == 0 || v.Checkpoints == 0 || judged == 0 {
		t.Errorf("the proof: %d judgements recomputed, verdict %+v", judged, v)
	}
	t.Logf("%d judgements recomputed, %d audit entries under %d checkpoints", judged, v.Entries, v.Checkpoints)
}
