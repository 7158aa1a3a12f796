package signal_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"turnout/rules/signal"
)

type row struct {
	Text     string   `json:"text"`
	Labels   []string `json:"labels"`
	Source   string   `json:"source"`
	Side     string   `json:"side"`
	Unscored []string `json:"unscored"`
}

type dialogue struct {
	Source   string   `json:"source"`
	Labels   []string `json:"labels"`
	Unscored []string `json:"unscored"`
	Turns    []struct {
		Side   string   `json:"side"`
		Text   string   `json:"text"`
		Labels []string `json:"labels"`
	} `json:"turns"`
}

type tally struct{ tp, fp, fn, tn int }

func (c tally) String() string {
	ratio := func(a, b int) float64 { return float64(a) / float64(max(a+b, 1)) }
	return fmt.Sprintf("tp %4d  fp %4d  fn %4d  tn %5d   precision %.2f  recall %.2f", c.tp, c.fp, c.fn, c.tn, ratio(c.tp, c.fp), ratio(c.tp, c.fn))
}

// TestMeasure prints precision and recall by source over labelled messages and dialogues. It judges nothing: it is for
// tuning. TURNOUT_SIGNAL_DATA names the folder, TURNOUT_SIGNAL_SHOW=human_request/source prints that source's mistakes.
func TestMeasure(t *testing.T) {
	folder := os.Getenv("TURNOUT_SIGNAL_DATA")
	if folder == "" {
		return
	}
	d := detector(t)
	labels := map[string]string{"human_request": "customer", "frustration": "customer", "bot_failure": "bot"}
	names := map[string]string{"bot_failure": "bot_fallback"}
	counts := map[string]*tally{}
	show := os.Getenv("TURNOUT_SIGNAL_SHOW")
	count := func(key string, positive bool, score float64, text string) {
		c := counts[key]
		if c == nil {
			c = &tally{}
			counts[key] = c
		}
		hit := score >= 0.5
		switch {
		case hit && positive:
			c.tp++
		case hit:
			c.fp++
		case positive:
			c.fn++
		default:
			c.tn++
		}
		if show != "" && strings.HasPrefix(key, show) && hit != positive {
			t.Logf("%s %.2f want %v: %s", key, score, positive, text)
		}
	}
	for _, file := range []string{"messages.jsonl", "challenge.jsonl"} {
		readLines(t, filepath.Join(folder, file), func(r row) {
			for label, side := range labels {
				if r.Side != side || slices.Contains(r.Unscored, label) {
					continue
				}
				var s signal.Scores
				if side == "bot" {
					s, _ = d.Bot(r.Text, signal.Memory{})
				} else {
					s, _ = d.Customer(r.Text, "", signal.Memory{})
				}
				name := label
				if n, ok := names[label]; ok {
					name = n
				}
				score, _ := s.Get(name)
				count(label+"/"+r.Source, slices.Contains(r.Labels, label), score, r.Text)
			}
		})
	}
	readLines(t, filepath.Join(folder, "dialogues.jsonl"), func(g dialogue) {
		var m signal.Memory
		var most signal.Scores
		which := ""
		for _, turn := range g.Turns {
			var s signal.Scores
			if turn.Side == "customer" {
				s, m = d.Customer(turn.Text, "", m)
			} else {
				s, m = d.Bot(turn.Text, m)
			}
			if s.HumanRequest > most.HumanRequest || s.Frustration > most.Frustration || s.BotRepeat > most.BotRepeat && show == "dialogue bot_repeat" {
				which = turn.Text
			}
			most = most.Merge(s)
		}
		source, _, _ := strings.Cut(g.Source, "-")
		for _, name := range []string{"human_request", "frustration", "repeat", "bot_repeat"} {
			if !slices.Contains(g.Unscored, name) {
				score, _ := most.Get(name)
				count("dialogue "+name+"/"+source, slices.Contains(g.Labels, name), score, which)
			}
		}
	})
	keys := make([]string, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		fmt.Printf("%-48s %s\n", key, counts[key])
	}
}

func readLines[T any](t *testing.T, path string, use func(T)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		use(v)
	}
}

func detector(t testing.TB) *signal.Lexical {
	t.Helper()
	d, err := signal.NewLexical()
	if err != nil {
		t.Fatal(err)
	}
	return d
}
