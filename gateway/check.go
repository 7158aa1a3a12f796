package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"turnout/adapters"
	"turnout/gateway/config"
	"turnout/gateway/id"
	"turnout/rules"
	"turnout/rules/lab"
	"turnout/rules/signal"
)

// CheckReport is what a check without faults found.
type CheckReport struct {
	Tenants     int          `json:"tenants"`
	Channels    int          `json:"channels"`
	Bots        int          `json:"bots"`
	Connections int          `json:"connections,omitempty"`
	Rules       int          `json:"rules"`
	Tests       int          `json:"tests"`
	Failed      int          `json:"failed"`
	Failures    []FailedTest `json:"failures,omitempty"`
}

// FailedTest is an inline test of a rule that did not come out as written.
type FailedTest struct {
	Rule    string `json:"rule"`
	At      string `json:"at"`
	Message string `json:"message"`
}

func (r CheckReport) String() string {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "%s: rule %s: %s\n", f.At, f.Rule, f.Message)
	}
	if r.Tenants > 0 {
		fmt.Fprintf(&b, "%d tenants, %d channels, %d bots, ", r.Tenants, r.Channels, r.Bots)
	}
	fmt.Fprintf(&b, "%d rules, %d tests, %d failed", r.Rules, r.Tests, r.Failed)
	return b.String()
}

// Check builds everything that a configuration names, without connecting, opening or resolving anything, and runs the
// rules' own tests. Faults are config.Faults; those of rule sources are rules.Faults.
func Check(ctx context.Context, cfg *config.Config, reg adapters.Registry) (CheckReport, error) {
	report := CheckReport{Tenants: len(cfg.Tenants)}
	ids := id.NewSource(rand.Reader, time.Now)
	dry := adapters.Deps{
		Secret: func(ref adapters.SecretRef) (adapters.Secret, error) { // each another, as long as any has to be
			return adapters.NewSecret("not resolved by a check, only named: " + string(ref)), nil
		},
		Derive: func(string) []byte { return make([]byte, 32) },
		Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("a check does not connect")
		},
		Now: time.Now, NewID: ids.Bytes, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	var faults config.Faults
	var others []error
	var joined []member
	for _, t := range cfg.Tenants {
		for _, b := range t.Bots {
			report.Bots++
			d := dry
			d.Tenant, d.Key = t.Name, b.Name
			bot, err := reg.BuildBot(b.Adapter, b.Config, d)
			if err != nil {
				faults = append(faults, b.Config.Locate(err)...)
				continue
			}
			bot.Close()
		}
		for _, c := range t.Channels {
			report.Channels++
			d := dry
			d.Tenant, d.Key = t.Name, c.Key
			ch, err := reg.BuildChannel(c.Adapter, c.Config, d)
			if err != nil {
				faults = append(faults, c.Config.Locate(err)...)
				continue
			}
			joined = appendMember(joined, t.Name, c, ch)
			ch.Close()
		}
		if p := t.Profile; p != nil {
			d := dry
			d.Tenant, d.Key = t.Name, p.Name
			dir, err := reg.BuildDirectory(p.Adapter, p.Config, d)
			if err != nil {
				faults = append(faults, p.Config.Locate(err)...)
			} else {
				dir.Close()
			}
		}
		var sources []rules.Source
		for _, r := range t.Rules {
			sources = append(sources, rules.Source{Name: r.Name, Data: r.Data})
		}
		if err := report.addRules(sources); err != nil {
			others = append(others, err)
		}
	}
	report.Connections = len(cfg.Connections)
	_, err := connections(cfg, reg, func(name string) adapters.Deps {
		d := dry
		d.Key = name
		return d
	}, joined)
	var wrong config.Faults
	if errors.As(err, &wrong) {
		faults = append(faults, wrong...)
	} else if err != nil {
		others = append(others, err)
	}
	if len(faults) > 0 {
		others = append([]error{faults}, others...)
	}
	return report, errors.Join(others...)
}

// IsRules reports whether a file holds rules and nothing else.
func IsRules(data []byte) bool {
	var top map[string]any
	if err := yaml.Unmarshal(data, &top); err != nil || len(top) != 1 {
		return false
	}
	_, ok := top["rules"]
	return ok
}

// IsSettings reports whether a file holds neither rules nor tests of rules and is so taken for the settings of a node.
func IsSettings(data []byte) bool {
	var top map[string]any
	if err := yaml.Unmarshal(data, &top); err != nil {
		return false // whoever reads it as rules says what is wrong
	}
	_, listens := top["listen"]
	_, resources := top["resources"]
	return listens || resources
}

// CheckRules checks a rule file by itself.
func CheckRules(name string, data []byte) (CheckReport, error) {
	var report CheckReport
	err := report.addRules([]rules.Source{{Name: name, Data: data}})
	return report, err
}

func (r *CheckReport) addRules(sources []rules.Source) error {
	if len(sources) == 0 {
		return nil
	}
	detector, err := signal.NewLexical()
	if err != nil {
		return fmt.Errorf("building signals: %w", err)
	}
	bench, err := lab.Open(sources, detector)
	if errors.Is(err, lab.ErrNoRules) {
		return nil // an empty list is allowed
	}
	if err != nil {
		return err
	}
	report := bench.Test()
	r.Rules += report.Rules
	r.Tests += report.Tests
	r.Failed += report.Failed
	for _, c := range report.Cases {
		if !c.Passed {
			r.Failures = append(r.Failures, FailedTest{
				Rule: c.Rule, At: fmt.Sprintf("%s:%d:%d", c.File, c.Line, c.Column), Message: strings.Join(slices.Concat(c.Problems, c.Because), "; "),
			})
		}
	}
	return nil
}
