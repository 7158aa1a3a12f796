package gateway

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
)

// TestReconciled: a failover raises no alarm, and one with a loss an alarm for each tenant that says what is gone.
func TestReconciled(t *testing.T) {
	var told []string
	g := &Gateway{}
	g.rules = newRuleWatch(nil, rulebook.Alone{}, nil, time.Now, slog.New(slog.DiscardHandler), func(a alarm.Alarm) { told = append(told, a.Tenant) })
	g.reconciled(redis.Reconciled{Partitions: 1024, Mended: 3})
	if len(told) != 0 {
		t.Errorf("a failover without a loss alarms %v", told)
	}
	acme, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	g.reconciled(redis.Reconciled{Partitions: 1024, Lost: []redis.Loss{
		{Tenant: store.Operator, Own: true}, {Tenant: acme, Conversations: 2, Events: 5, Example: "c_1", Checkpoint: 7},
	}})
	active := g.rules.board.Active()
	if len(active) != 2 || active[0].Tenant != "" || active[1].Tenant != "acme" || active[0].Name != alarmLost {
		t.Fatalf("alarms: %+v", active)
	}
	for _, want := range []string{"2 conversations", "c_1", "5 events", "checkpoint 7", "turnout store check"} {
		if !strings.Contains(active[1].Reason, want) {
			t.Errorf("the reason does not say %q: %s", want, active[1].Reason)
		}
	}
}
