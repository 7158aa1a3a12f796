// Package alarm keeps what is wrong now. Whatever watches something raises an alarm when it finds it wrong and clears it
// when it is right again; people read the list in the node's health, and are told once when an alarm begins and once when it
// ends.
package alarm

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Alarm is one thing that is wrong. It holds names and figures, never text of a conversation.
type Alarm struct {
	// Name says what kind it is: "rules.self_test". Tenant is whose it is, Subject what of (a rule), empty for the whole.
	Name    string    `json:"name"`
	Tenant  string    `json:"tenant,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Reason  string    `json:"reason"` // a sentence: what is wrong and what to do
	Since   time.Time `json:"since"`
}

type key struct{ name, tenant, subject string }

// Board is the list of what is wrong. It is safe for concurrent use.
type Board struct {
	now    func() time.Time
	log    *slog.Logger
	notify func(Alarm)

	mu     sync.Mutex
	active map[key]Alarm
}

// New returns an empty board. notify, unless it is nil, is told of each alarm that begins; it must not block.
func New(now func() time.Time, log *slog.Logger, notify func(Alarm)) *Board {
	return &Board{now: now, log: log, notify: notify, active: map[key]Alarm{}}
}

// Raise says that something is wrong. While it stays so, raising it again changes its reason and tells nobody.
func (b *Board) Raise(a Alarm) {
	k := key{a.Name, a.Tenant, a.Subject}
	b.mu.Lock()
	old, known := b.active[k]
	if a.Since = b.now(); known {
		a.Since = old.Since
	}
	b.active[k] = a
	b.mu.Unlock()
	if known {
		return
	}
	b.log.Error("alarm", "alarm", a.Name, "tenant", a.Tenant, "subject", a.Subject, "reason", a.Reason)
	if b.notify != nil {
		b.notify(a)
	}
}

// Clear says that it is right again.
func (b *Board) Clear(name, tenant, subject string) {
	k := key{name, tenant, subject}
	b.mu.Lock()
	a, known := b.active[k]
	delete(b.active, k)
	b.mu.Unlock()
	if known {
		b.log.Warn("alarm is over", "alarm", name, "tenant", tenant, "subject", subject, "after", b.now().Sub(a.Since).Round(time.Second))
	}
}

// Keep forgets the alarms of tenants that keep says no to: nobody can mend what is theirs. Those of the node itself stay.
func (b *Board) Keep(keep func(tenant string) bool) {
	for _, a := range b.Active() {
		if a.Tenant != "" && !keep(a.Tenant) {
			b.Clear(a.Name, a.Tenant, a.Subject)
		}
	}
}

// Active returns what is wrong now, sorted.
func (b *Board) Active() []Alarm {
	b.mu.Lock()
	list := make([]Alarm, 0, len(b.active))
	for _, a := range b.active {
		list = append(list, a)
	}
	b.mu.Unlock()
	slices.SortFunc(list, func(x, y Alarm) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(x.Tenant, y.Tenant), strings.Compare(x.Subject, y.Subject))
	})
	return list
}
