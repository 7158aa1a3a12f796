package config_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters"
	"turnout/gateway/config"
)

// section returns the config of a channel whose lines, two spaces in, follow line 20.
func section(t *testing.T, lines string) config.Section {
	t.Helper()
	c, err := config.Parse(fstest.MapFS{
		"turnout.yaml": {Data: []byte("data: d\nroot_key: env:R\naudit: {signing_key: env:A}\nresources: [res.yaml]\n")},
		"res.yaml": {Data: []byte("kind: tenant\nname: shop\n---\nkind: queue\nname: q\n---\nkind: bot\nname: b\nspec:\n  adapter: webhook\n---\n" +
			"kind: channel\nname: web\nspec:\n  adapter: web\n  config:\n" + lines)},
	}, "turnout.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c.Tenants[0].Channels[0].Config
}

type adapterConfig struct {
	Title    string             `yaml:"title"`
	Wait     time.Duration      `yaml:"wait"`
	MaxBytes int64              `yaml:"max_bytes"`
	Secret   adapters.SecretRef `yaml:"secret"`
	Rate     float64            `yaml:"rate"`
	Headers  map[string]string  `yaml:"headers"`
	Nested   *struct {
		List []int `yaml:"list"`
	} `yaml:"nested"`
	Any  any `yaml:"any"`
	Kept string
}

func TestSectionDecode(t *testing.T) {
	s := section(t, `    title: |
      two
      lines
    wait: 1d
    max_bytes: 2MiB
    secret: env:X
    rate: 3
    headers: {X-One: a, "no": b}
    nested: {list: [1, 2]}
    any: [1, {a: true}, 2.5, null]
`)
	got := adapterConfig{Kept: "as it was"}
	if err := s.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := adapterConfig{
		Title: "two\nlines\n", Wait: 24 * time.Hour, MaxBytes: 2 << 20, Secret: "env:X", Rate: 3,
		Headers: map[string]string{"X-One": "a", "no": "b"},
		Any:     []any{uint64(1), map[string]any{"a": true}, 2.5, nil}, Kept: "as it was",
	}
	want.Nested = &struct {
		List []int `yaml:"list"`
	}{[]int{1, 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded section differs (-want +got):\n%s", diff)
	}
}

func TestSectionFaults(t *testing.T) {
	s := section(t, "    titel: x\n    secret: letmein\n    nested:\n      list:\n        - 1\n        - two\n")
	err := s.Decode(&adapterConfig{})
	want := `res.yaml:17:5: unknown field "titel"; did you mean "title"?
res.yaml:18:13: secret: want a reference to a secret, "env:NAME", "file:path" or "sealed:name"; a secret itself does not belong into a file like this
res.yaml:22:11: list[1] must be a whole number, found text`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestSectionLocate(t *testing.T) {
	s := section(t, "    title: x\n    nested:\n      list: [1, 2]\n")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errors.New("title: too dull"), "res.yaml:17:12: title: too dull"},
		{errors.New("nested.list[1]: too small"), "res.yaml:19:17: nested.list[1]: too small"},
		{errors.New("nested.other: is missing"), "res.yaml:19:7: nested.other: is missing"},
		{errors.New("the whole is wrong"), "res.yaml:17:5: the whole is wrong"},
		{fmt.Errorf("building: %w", errors.New("title: one")), "res.yaml:17:12: building: title: one"},
		{
			fmt.Errorf("building: %w", errors.Join(errors.New("title: one"), errors.New("two"))),
			"res.yaml:17:12: title: one\nres.yaml:17:5: two",
		},
		{fmt.Errorf("title: %w", errors.Join(errors.New("a"), errors.New("b"))), "res.yaml:17:12: title: a\nb"},
		{fmt.Errorf("building: %w", s.Decode(&struct{ Title int }{})), `res.yaml:17:12: title must be a whole number, found text
res.yaml:18:5: unknown field "nested"; there is title`},
	} {
		faults := s.Locate(tc.err)
		if got := faults.Error(); got != tc.want {
			t.Errorf("%v:\n got %s\nwant %s", tc.err, got, tc.want)
		}
	}
	if s.Locate(nil) != nil {
		t.Error("no error has a place")
	}
}

func TestSectionAbsent(t *testing.T) {
	var s config.Section
	got := adapterConfig{Title: "default"}
	if err := s.Decode(&got); err != nil || got.Title != "default" {
		t.Errorf("decoding nothing: %+v, %v", got, err)
	}
	if got := s.Locate(errors.New("url: is missing")).Error(); got != ": url: is missing" {
		t.Errorf("got %q", got)
	}
}
