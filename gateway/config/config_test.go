package config_test

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"turnout/gateway/config"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// TestBad loads one configuration per mistake; the file want.txt beside each holds what is said about it.
func TestBad(t *testing.T) {
	dirs, err := filepath.Glob("testdata/bad/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			_, err := config.Parse(os.DirFS(dir), "turnout.yaml")
			var faults config.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want faults", err)
			}
			got := faults.Error() + "\n"
			golden := filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("faults differ (-want +got):\n%s", diff)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a fault repeats a secret")
			}
		})
	}
}

func good(t *testing.T) *config.Config {
	t.Helper()
	c, err := config.Load("testdata/good/turnout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSettings(t *testing.T) {
	c := good(t)
	want := config.Settings{
		Listen: "0.0.0.0:443", OpsListen: "[::1]:9090", Data: filepath.Join("testdata", "good", "var"),
		Store:   config.Store{Kind: "embedded", ReserveBytes: 1 << 30},
		RootKey: "file:keys/root.key", Audit: config.Audit{SigningKey: "env:TURNOUT_AUDIT_KEY"},
		Limits: config.Limits{
			BodyBytes: 128 << 10, HeaderBytes: 8192, AttachmentBytes: 5_000_000, TextBytes: 4 << 10,
			Connections: 100, ConnectionsPerIP: 10,
			ReadTimeout: 5 * time.Second, WriteTimeout: 6 * time.Second, IdleTimeout: 90 * time.Second,
			MessagesPerMinute: config.Rates{Visitor: 1, Address: 2, Tenant: 3}, BotCallsPerDay: 4,
			BotCalls: 20, Sends: 30, Shares: map[string]config.Share{"shop": {Weight: 3, BotCalls: 20, Sends: 10}, "bank": {Weight: 2}},
			AllowNetworks:  []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00::/8")},
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		},
		Resources: []string{"conf/*.yaml", "conf/shop.yaml"},
	}
	if diff := cmp.Diff(want, c.Settings, values); diff != "" {
		t.Errorf("settings differ (-want +got):\n%s", diff)
	}
	if c.Dir != filepath.Join("testdata", "good") {
		t.Errorf("Dir is %q", c.Dir)
	}
}

func TestResources(t *testing.T) {
	c := good(t)
	if len(c.Tenants) != 2 || c.Tenants[0].Name != "bank" {
		t.Fatalf("tenants are not bank and shop")
	}
	want := &config.Tenant{
		Name: "shop", Title: "The Shop", DefaultQueue: "support", Bot: "legacy", BotByLanguage: map[string]string{"pt-br": "spare"}, Languages: []string{"en", "pt-BR"},
		IdleNew: 48 * time.Hour, ReopenWithin: time.Hour, BotLadder: config.BotLadder{CaptureOver: 50}, RulesFrom: "conf/shop.yaml",
		Channels: []*config.Channel{{Name: "web", Adapter: "web", Key: "shop", Bot: "spare", BotByLanguage: map[string]string{"en": "legacy"}, ReopenWithin: 5 * time.Minute}},
		Bots: []*config.Bot{
			{
				Name: "legacy", Adapter: "webhook", Deadline: 10 * time.Second, Concurrency: 8,
				Breaker:   config.Breaker{Failures: 3, Window: time.Minute, OpenFor: 10 * time.Second},
				Budget:    config.Budget{CallsPerHour: 500, TokensPerDay: 2_000_000},
				Alternate: "spare",
			},
			{
				Name: "spare", Adapter: "webhook", Deadline: 20 * time.Second, Concurrency: 64,
				Breaker: config.Breaker{Failures: 5, Window: 30 * time.Second, OpenFor: 30 * time.Second},
			},
		},
		Queues: []*config.Queue{
			{Name: "emergency", Title: "emergency", Priority: config.PriorityUrgent},
			{Name: "support", Title: "Customer care", Priority: config.PriorityLow},
		},
		Agents: []*config.Agent{
			{
				ID: "ana", Name: "ana", Login: "ana", Password: "file:keys/ana.argon2id", Role: config.RoleAgent,
				Queues: []string{"emergency", "support"}, Capacity: 5,
			},
			{
				ID: "desk-robot", Name: "Desk robot", Login: "robot@shop.example", Role: config.RoleIntegration,
				Queues: []string{"emergency"}, Keys: []config.Key{
					{ID: "first", SHA256: sha, Expires: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)},
					{ID: "second", SHA256: "env:ROBOT_KEY_SHA256"},
				},
			},
		},
	}
	ignore := cmpopts.IgnoreFields(config.Tenant{}, "Rules", "Canonical", "Digest", "Resources")
	if diff := cmp.Diff(want, c.Tenants[1], values, ignore); diff != "" {
		t.Errorf("tenant differs (-want +got):\n%s", diff)
	}
	shop := c.Tenants[1]
	if hex, ref := shop.Agents[1].Keys[0].Digest(); hex != sha || ref != "" {
		t.Errorf("first key: digest %q, reference %q", hex, ref)
	}
	if hex, ref := shop.Agents[1].Keys[1].Digest(); hex != "" || ref != "env:ROBOT_KEY_SHA256" {
		t.Errorf("second key: digest %q, reference %q", hex, ref)
	}
	if got := shop.Channels[0].At.String(); got != filepath.Join("testdata", "good", "conf", "shop.yaml")+":14:1" {
		t.Errorf("the channel is said to be at %s", got)
	}

	// What the bank leaves out.
	bank := c.Tenants[0]
	web := bank.Channels[0]
	if bank.Bot != "clerk" || bank.DefaultQueue != "counter" || web.Bot != "clerk" || web.Key != "bank.web" ||
		web.ReopenWithin != 30*time.Minute || !bank.BareRequests || bank.IdleNew != 24*time.Hour {
		t.Errorf("defaults: bot %q, queue %q, channel %+v", bank.Bot, bank.DefaultQueue, web)
	}
}

const sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// values compares what a configuration says, not where it says it.
var values = cmp.Options{
	cmpopts.IgnoreUnexported(config.Settings{}, config.Tenant{}, config.Channel{}, config.Bot{}, config.Agent{}),
	cmpopts.IgnoreTypes(config.Section{}, config.Pos{}),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// TestRuleSources checks that each rule keeps the line and column that it has in its file.
func TestRuleSources(t *testing.T) {
	shop := good(t).Tenants[1]
	type rule struct {
		source       string
		line, column int
	}
	got := map[string]rule{}
	for _, s := range shop.Rules {
		if s.Name != "conf/rules/a.yaml" && s.Name != "conf/shop.yaml" {
			t.Errorf("source is called %q", s.Name)
		}
		var doc struct {
			Rules []struct {
				ID, Why, When string
				Then          any
			}
		}
		if err := yaml.UnmarshalWithOptions(s.Data, &doc, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, s.Data)
		}
		for _, r := range doc.Rules {
			for i, line := range strings.Split(string(s.Data), "\n") {
				if at := strings.Index(line, "id: "+r.ID); at >= 0 {
					got[r.ID] = rule{s.Name, i + 1, at + 1}
				}
			}
		}
	}
	want := map[string]rule{
		"from-a-file": {"conf/rules/a.yaml", 2, 5},
		"inline":      {"conf/shop.yaml", 83, 7},
		"last":        {"conf/shop.yaml", 96, 5},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(rule{})); diff != "" {
		t.Errorf("rules differ (-want +got):\n%s", diff)
	}
}

func TestLoadWithoutFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "turnout.yaml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error that says the file is not there", err)
	}
}

// TestDigest changes layout and content of a tenant's files: only content may change the digest.
func TestDigest(t *testing.T) {
	const settings = "data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: [res.yaml]\n"
	const base = "kind: tenant\nname: shop\n---\nkind: queue\nname: q\nspec: {title: Q, priority: low}\n---\nkind: bot\nname: b\nspec: {adapter: webhook, config: {url: u}}\n"
	digest := func(resources string) string {
		t.Helper()
		c, err := config.Parse(fstest.MapFS{
			"turnout.yaml": {Data: []byte(settings)}, "res.yaml": {Data: []byte(resources)},
		}, "turnout.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return c.Tenants[0].Digest
	}
	first := digest(base)
	if len(first) != 64 {
		t.Fatalf("digest %q is not a SHA-256 in hex", first)
	}
	same := "# moved\nname: b\nkind: bot\nspec:\n  config: {\"url\": 'u'}\n  adapter: webhook\n---\nkind: queue\nname: q\nspec:\n  priority: low\n  title: Q\n---\nkind: tenant\nname: shop\n"
	if digest(same) != first {
		t.Error("another layout gives another digest")
	}
	for _, change := range []string{"title: Q>title: R", "url: u>url: v", "name: q>name: p", ", priority: low>"} {
		from, to, _ := strings.Cut(change, ">")
		if digest(strings.Replace(base, from, to, 1)) == first {
			t.Errorf("replacing %q by %q does not change the digest", from, to)
		}
	}
}

// TestForeignEditors gives files the marks and line ends of other systems: they say the same.
func TestForeignEditors(t *testing.T) {
	files := fstest.MapFS{}
	for _, name := range []string{"turnout.yaml", "conf/shop.yaml", "conf/bank.yaml", "conf/rules/a.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata/good", name))
		if err != nil {
			t.Fatal(err)
		}
		data = append([]byte("\ufeff"), bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))...)
		files[name] = &fstest.MapFile{Data: data}
	}
	c, err := config.Parse(files, "turnout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range good(t).Tenants {
		if got := c.Tenants[i]; got.Digest != want.Digest {
			t.Errorf("tenant %s differs:\n%s", want.Name, cmp.Diff(string(want.Canonical), string(got.Canonical)))
		}
	}
}

// TestExamples loads every example that the repository ships.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../deploy/examples/*/turnout.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		c, err := config.Load(file)
		if err != nil {
			t.Errorf("%s:\n%v", file, err)
			continue
		}
		for _, tenant := range c.Tenants {
			if len(tenant.Channels) == 0 || len(tenant.Agents) == 0 || len(tenant.Rules) == 0 {
				t.Errorf("%s: tenant %s has no channel, no agent or no rules", file, tenant.Name)
			}
		}
	}
}

// TestArchiveAfter: what is closed is archived after a week where nothing else is said, on a Redis store only, and "0s" is
// never.
func TestArchiveAfter(t *testing.T) {
	for store, want := range map[string]time.Duration{
		"{kind: embedded}":                                       0,
		"{kind: redis, address: \"r:6379\"}":                     7 * 24 * time.Hour,
		"{kind: redis, address: \"r:6379\", archive_after: 36h}": 36 * time.Hour,
		"{kind: redis, address: \"r:6379\", archive_after: 0s}":  0,
		"{kind: redis, address: \"r:6379\", archive_after: 30d}": 30 * 24 * time.Hour,
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "turnout.yaml")
		if err := os.WriteFile(file, []byte("data: data\nroot_key: file:k\naudit: {signing_key: file:k}\nresources: []\nstore: "+store+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file)
		if err != nil {
			t.Fatalf("%s: %v", store, err)
		}
		if c.Store.ArchiveAfter != want {
			t.Errorf("%s: %v, want %v", store, c.Store.ArchiveAfter, want)
		}
	}
}
