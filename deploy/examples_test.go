package deploy_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

// TestExamples loads every example and builds what it names. The rules' own tests pass.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*/turnout.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	folders, err := os.ReadDir("examples")
	if err != nil || len(folders) != len(files) {
		t.Fatalf("%d folders, %d with settings, %v", len(folders), len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			cfg, err := config.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			report, err := gateway.Check(context.Background(), cfg, builtin.Registry())
			if err != nil || report.Failed > 0 {
				t.Errorf("%v\n%v", err, report)
			}
		})
	}
}

// TestUnits: what a unit names is there, and a reload is what the program does on SIGHUP.
func TestUnits(t *testing.T) {
	unit, err := os.ReadFile("systemd/turnout.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ExecStart=/usr/local/bin/turnout serve --config /etc/turnout/turnout.yaml", "ExecReload=/bin/kill -HUP $MAINPID"} {
		if !strings.Contains(string(unit), line) {
			t.Errorf("the unit has no line %q", line)
		}
	}
}
