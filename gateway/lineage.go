package gateway

import (
	"fmt"
	"strings"

	"turnout/gateway/alarm"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
)

// alarmLost says that a server does not have what it acknowledged.
const alarmLost = "store.history_lost"

// reconciled raises an alarm for what a shared store has lost. It stands until somebody has had the store checked.
func (g *Gateway) reconciled(r redis.Reconciled) {
	for _, l := range r.Lost {
		a := alarm.Alarm{Name: alarmLost, Reason: lostReason(l)}
		if l.Tenant != store.Operator {
			a.Tenant = l.Tenant.Name()
		}
		g.rules.board.Raise(a)
	}
}

func lostReason(l redis.Loss) string {
	var what []string
	if l.Conversations > 0 {
		what = append(what, fmt.Sprintf("%d conversations are older than they were, or gone (%s is one), with at least %d events", l.Conversations, l.Example, l.Events))
	}
	if l.Checkpoint > 0 {
		what = append(what, fmt.Sprintf("checkpoint %d of the audit chains is gone", l.Checkpoint))
	}
	if l.Own {
		what = append(what, "the tenant's own audit chain ends before a checkpoint that vouches for it")
	}
	return "The Redis server does not have what it acknowledged: " + strings.Join(what, "; ") +
		". Messages that may have been sent already count as uncertain. Find out which replica was promoted, or what was put back; then run turnout store check: when it finds nothing wrong, this alarm is over. The entry history.lost stays in the audit chain."
}
