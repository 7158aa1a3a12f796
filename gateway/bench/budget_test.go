package bench

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func TestStepOfFunction(t *testing.T) {
	for name, want := range map[string]string{
		"turnout/adapters/web.(*Channel).readInbound":                     "parse",
		"turnout/adapters/web.tokens.read":                                "token",
		"turnout/adapters/web.writeOutcome":                               "channel",
		"turnout/gateway/store/embedded.(*Store).known":                   "dedupe",
		"turnout/gateway/store/embedded.(*Store).Commit":                  "commit",
		"turnout/rules/signal.(*Lexical).Bot":                             "rules",
		"turnout/rules.(*Set).Eval":                                       "rules",
		"turnout/gateway/conversation.(*Event).AppendPacked":              "encode",
		"turnout/gateway/conversation.(*Draft).Do":                        "decide",
		"turnout/gateway/store/seal.(*Content).Seal":                      "encrypt",
		"crypto/internal/fips140/aes/gcm.gcmAesEnc":                       "encrypt",
		"turnout/gateway/audit.Next":                                      "hash",
		"github.com/valyala/fasthttp.(*HostClient).Do":                    "bot",
		"github.com/valyala/fasthttp.(*Server).serveConn":                 "http",
		"github.com/cockroachdb/pebble/v2.(*memTable).apply":              "commit",
		"github.com/cockroachdb/pebble/v2/record.(*LogWriter).flushBlock": "write",
		"github.com/cockroachdb/pebble/v2/vfs.(*syncingFile).Write":       "", // whoever writes
		"runtime.mallocgc":                                                "", // whoever allocates
		"runtime.gcBgMarkWorker":                                          "collector",
	} {
		if got := stepOfFunction(name); got != want {
			t.Errorf("%s belongs to %q, want %q", name, got, want)
		}
	}
}

// TestBudget divides a small profile: memory and system calls are paid by whoever asked for them.
func TestBudget(t *testing.T) {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 10e6,
	}
	functions := map[string]*profile.Location{}
	sample := func(ns int64, stack ...string) {
		s := &profile.Sample{Value: []int64{1, ns}}
		for _, name := range stack {
			l := functions[name]
			if l == nil {
				f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name}
				l = &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
				p.Function, p.Location, functions[name] = append(p.Function, f), append(p.Location, l), l
			}
			s.Location = append(s.Location, l)
		}
		p.Sample = append(p.Sample, s)
	}
	sample(10e6, "runtime.mallocgc", "turnout/gateway/jsonenc.To", "turnout/gateway/store/embedded.(*Store).Commit")
	sample(30e6, "syscall.write", "github.com/cockroachdb/pebble/v2/record.(*LogWriter).flushLoop")
	sample(20e6, "runtime.mallocgc", "main.main")
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	got, err := readBudget(bytes.NewReader(data), 1000)
	if err != nil {
		t.Fatal(err)
	}
	spent := map[string]float64{}
	for _, s := range got.Steps {
		if s.MicrosPerTurn != 0 {
			spent[s.Name] = s.MicrosPerTurn
		}
	}
	if got.MicrosPerTurn != 60 || len(spent) != 3 || spent["encode"] != 10 || spent["write"] != 30 || spent[otherStep] != 20 {
		t.Errorf("%v µs: %v", got.MicrosPerTurn, spent)
	}
	text := Report{Budget: &got}.String()
	for _, want := range []string{"60 µs of a turn", "write", "30.0 µs", "50.0 %"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if _, err := readBudget(bytes.NewReader(data), 0); err == nil {
		t.Error("a budget of no turns")
	}
	if _, err := readBudget(strings.NewReader("no profile"), 1); err == nil {
		t.Error("a budget of no profile")
	}
}
