package alarm_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turnout/gateway/alarm"
)

func TestBoard(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	var log bytes.Buffer
	var told []string
	b := alarm.New(func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)), func(a alarm.Alarm) { told = append(told, a.Name+" "+a.Subject) })
	b.Clear("x", "acme", "") // nothing to clear
	b.Raise(alarm.Alarm{Name: "x", Tenant: "acme", Subject: "b", Reason: "one"})
	begun := now
	now = now.Add(time.Minute)
	b.Raise(alarm.Alarm{Name: "x", Tenant: "acme", Subject: "b", Reason: "two"})
	b.Raise(alarm.Alarm{Name: "x", Tenant: "acme", Subject: "a", Reason: "other"})
	got := b.Active()
	if len(got) != 2 || got[0].Subject != "a" || got[1].Reason != "two" || !got[1].Since.Equal(begun) {
		t.Errorf("active %+v", got)
	}
	if strings.Join(told, ",") != "x b,x a" {
		t.Errorf("told %q, want each once", told)
	}
	if n := strings.Count(log.String(), "level=ERROR msg=alarm "); n != 2 || strings.Contains(log.String(), "alarm is over") {
		t.Errorf("%d alarms in the log, want each once and none that is over:\n%s", n, log.String())
	}
	b.Clear("x", "acme", "b")
	if got := b.Active(); len(got) != 1 || !strings.Contains(log.String(), "alarm is over") || !strings.Contains(log.String(), "after=1m0s") {
		t.Errorf("after the end: %+v\n%s", got, log.String())
	}
	b.Raise(alarm.Alarm{Name: "x", Tenant: "acme", Subject: "b"})
	if len(told) != 3 {
		t.Error("an alarm that begins again is not told")
	}
	b.Raise(alarm.Alarm{Name: "x", Tenant: "bank"})
	b.Raise(alarm.Alarm{Name: "node"})
	b.Keep(func(tenant string) bool { return tenant == "bank" })
	if got := b.Active(); len(got) != 2 || got[0].Name != "node" || got[1].Tenant != "bank" {
		t.Errorf("without acme: %+v", got)
	}
}
