package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/config"
	"turnout/gateway/conversation"
	"turnout/gateway/flood"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/rules"
	"turnout/rules/signal"
)

// ruleBeat is how often the rules are looked after: tested, followed, let in again.
const ruleBeat = 10 * time.Second

// ruleWatch has the rules of all tenants and what watches over them.
type ruleWatch struct {
	versions store.Versions
	nodes    rulebook.Nodes
	detector signal.Detector
	now      func() time.Time
	log      *slog.Logger
	board    *alarm.Board
	flood    *flood.Watch

	mu    sync.Mutex
	books map[store.Tenant]*rulebook.Book
}

func newRuleWatch(v store.Versions, n rulebook.Nodes, d signal.Detector, now func() time.Time, log *slog.Logger, alarmed func(alarm.Alarm)) *ruleWatch {
	w := &ruleWatch{versions: v, nodes: n, detector: d, now: now, log: log, board: alarm.New(now, log, alarmed), books: map[store.Tenant]*rulebook.Book{}}
	w.flood = flood.New(flood.Settings{}, now, w.board)
	return w
}

// configure returns the book of a tenant, judging by what its configuration says.
func (w *ruleWatch) configure(ctx context.Context, t store.Tenant, c *config.Tenant) (*rulebook.Book, error) {
	w.mu.Lock()
	book := w.books[t]
	w.mu.Unlock()
	if book == nil {
		book = rulebook.New(rulebook.Options{
			Versions: w.versions, Tenant: t, Nodes: w.nodes, Detector: w.detector, Board: w.board, Now: w.now, Log: w.log,
		})
	}
	if err := book.Configure(ctx, ruleConfig(c)); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.books[t] = book
	return book, nil
}

// check reports whether configure would refuse what the configuration says.
func (w *ruleWatch) check(c *config.Tenant) error { return rulebook.Check(ruleConfig(c), w.detector) }

// keep forgets the rules and the alarms of tenants that are no longer there.
func (w *ruleWatch) keep(tenants []*config.Tenant) {
	w.mu.Lock()
	maps.DeleteFunc(w.books, func(t store.Tenant, _ *rulebook.Book) bool {
		return !slices.ContainsFunc(tenants, func(c *config.Tenant) bool { return c.Name == t.Name() })
	})
	w.mu.Unlock()
	w.sweep()
}

// sweep ends the alarms of tenants that have no rules here, and so are not there. What is under way may raise one after its
// tenant is gone: the next beat ends it.
func (w *ruleWatch) sweep() {
	there := map[string]bool{}
	for t := range w.all() {
		there[t.Name()] = true
	}
	w.board.Keep(func(tenant string) bool { return there[tenant] })
}

// ruleConfig is what the configuration says of a tenant's rules.
func ruleConfig(c *config.Tenant) rulebook.Config {
	rc := rulebook.Config{Queues: map[string]bool{}, Bots: map[string]bool{}}
	for _, b := range c.Bots {
		rc.Bots[b.Name] = true
	}
	for _, q := range c.Queues {
		rc.Queues[q.Name] = true
	}
	if !c.RulesPublished {
		if rc.Managed = c.RulesFrom; rc.Managed == "" {
			rc.Managed = "no resource of kind rules"
		}
		for _, r := range c.Rules {
			rc.Sources = append(rc.Sources, rules.Source{Name: r.Name, Data: r.Data})
		}
	}
	return rc
}

// Book returns the rules of a tenant.
func (w *ruleWatch) Book(t store.Tenant) (*rulebook.Book, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.books[t]
	return b, ok
}

// all lists the books by tenant.
func (w *ruleWatch) all() map[store.Tenant]*rulebook.Book {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.books)
}

// run looks after the rules until ctx ends.
func (w *ruleWatch) run(ctx context.Context) {
	beat := time.NewTicker(ruleBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			w.beat(ctx)
		}
	}
}

func (w *ruleWatch) beat(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			w.log.Error("recovered from a panic", "in", "the beat of the rules", "type", fmt.Sprintf("%T", v))
		}
	}()
	w.flood.Look()
	for t, book := range w.all() {
		if err := book.Beat(ctx); err != nil && ctx.Err() == nil {
			w.log.Error("looking after rules", "tenant", t.Name(), "err", err)
		}
	}
	w.sweep()
}

// committed counts the handoffs among durable events.
func (w *ruleWatch) committed(h store.Hint) {
	for i := range h.Events {
		if d, ok := h.Events[i].Data.(*conversation.Handoff); ok {
			w.flood.Handoff(h.Ref.Tenant.Name(), d.Rule)
		}
	}
}

// ready says which tenant's rules keep the node from taking work.
func (w *ruleWatch) ready() error {
	books := w.all()
	for _, t := range slices.SortedFunc(maps.Keys(books), func(a, b store.Tenant) int { return strings.Compare(a.Name(), b.Name()) }) {
		if err := books[t].Ready(); err != nil {
			return fmt.Errorf("the rules of tenant %s: %w", t.Name(), err)
		}
	}
	return nil
}
