// Package rulebook keeps the rules of a tenant on a node: which version judges, how a new one comes into force, and what
// happens to a rule that fails.
//
// # Versions
//
// A publish adds a version to the store; that is its audit entry, too. The version is pending until every node with a live
// heartbeat has compiled and tested it and confirmed its digest; whichever node sees the last confirmation makes it
// effective, by one compare-and-set of a pointer that the nodes follow. A node alone does all of this within the publish. A
// node that cannot follow the pointer is not ready (Ready) and must take no messages and turns until it can. Versions stay
// loadable for as long as messages refer to them.
//
// # Failing rules
//
// A rule whose condition fails, or takes too long, is counted (trip.go); too often within a window, and it is left out until
// a pause is over or another version is effective. A locked rule is never left out: it diverts when it fails.
//
// # Self-test
//
// The tests of locked rules run when a version is published, when a node starts, and again and again on the rules that judge
// (Beat). A failure refuses the publish, refuses the start, and raises an alarm.
package rulebook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/store"
	"turnout/rules"
	"turnout/rules/signal"
)

// The documents of a tenant in the store.
const (
	// Doc has the versions of the rules.
	Doc = "rules"
	// EffectiveDoc has which of them is in force.
	EffectiveDoc = "rules.effective"
)

// Names of alarms.
const (
	AlarmSelfTest = "rules.self_test"
	AlarmTripped  = "rules.tripped"
	AlarmLocked   = "rules.locked_failing"
	AlarmBehind   = "rules.behind"
)

// Options are the parts of a Book.
type Options struct {
	Versions store.Versions
	Tenant   store.Tenant
	Nodes    Nodes
	Detector signal.Detector
	Board    *alarm.Board
	Now      func() time.Time
	// Stopwatch reads a clock that only goes forward, to measure how long a rule takes; nil: the processor time of the thread,
	// where the system tells it. Whoever reads it stays on one thread between the readings.
	Stopwatch func() time.Duration
	Trip      Trip
	Log       *slog.Logger
}

// Config is what the configuration says of a tenant's rules.
type Config struct {
	// Managed is the file that manages the rules, and Sources are they; empty: they are published.
	Managed string
	Sources []rules.Source
	// Queues are the queues that rules may hand over to; nil: any.
	Queues map[string]bool
	// Bots are the bots that rules may give conversations to; nil: any.
	Bots map[string]bool
}

// Book is the rules of one tenant by version. It is safe for concurrent use.
type Book struct {
	o Options

	current atomic.Pointer[loaded]
	behind  atomic.Pointer[error]

	timing sync.Mutex // held by whoever times rules one by one
	mu     sync.Mutex // of what follows, and of every change of current
	config Config
	sets   map[int]*loaded
	broken map[int]error // versions that were tried and cannot be used here
	trips  map[tripKey]*trip
}

// loaded is a version in memory. It is replaced, never changed.
type loaded struct {
	n        int
	full     *rules.Set
	judging  *rules.Set // full without what is tripped
	explain  func() (*rules.Explainer, error)
	document Document
}

// Document is what the store has of a version.
type Document struct {
	Sources []rules.Source `json:"sources"`
	Why     string         `json:"why,omitempty"`
	// Of is the version that this one brings back.
	Of int `json:"of,omitempty"`
	// From is the file of the configuration that the rules come from; empty: they were published.
	From string `json:"from,omitempty"`
}

// Version is a version as people see it.
type Version struct {
	N      int       `json:"version"`
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Why    string    `json:"why,omitempty"`
	Of     int       `json:"rollback_of,omitempty"`
	From   string    `json:"from,omitempty"`
	Rules  int       `json:"rules,omitempty"`
}

// New returns a book that judges by nothing yet. Configure must follow.
func New(o Options) *Book {
	if o.Stopwatch == nil {
		o.Stopwatch = stopwatch()
	}
	o.Trip = o.Trip.withDefaults()
	b := &Book{o: o, sets: map[int]*loaded{}, broken: map[int]error{}, trips: map[tripKey]*trip{}}
	empty := rules.Empty()
	none := &loaded{full: empty, judging: empty}
	none.explain = sync.OnceValues(func() (*rules.Explainer, error) { return rules.NewExplainer(empty) })
	b.sets[0] = none
	b.current.Store(none)
	return b
}

// Configure makes the book judge by what the configuration says: its own rules, as a new version if their digest is not that
// of the newest one, or what was published last. It fails if that cannot be used here, and what judged goes on: a node must
// not start without its rules. It may be called again with another configuration.
func (b *Book) Configure(ctx context.Context, c Config) (err error) {
	n, err := b.effective(ctx)
	if err != nil {
		return err
	}
	if c.Managed == "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.enter(ctx, n); err != nil {
			return err
		}
		b.config = c
		return nil
	}
	set, err := examine(c, b.o.Detector)
	if err != nil {
		return err
	}
	b.mu.Lock()
	before := b.config
	b.config = c
	b.mu.Unlock()
	defer func() {
		if err != nil {
			b.mu.Lock()
			b.config = before
			b.mu.Unlock()
		}
	}()
	newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading the newest rules: %w", err)
	}
	if err == nil && newest.Digest == set.Digest() {
		if newest.N > n { // it waits for nodes
			return b.Beat(ctx)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.enter(ctx, n)
	}
	// What waits, if anything does, is another one: it is never in force after this.
	if _, err := b.publish(ctx, set, Document{Sources: c.Sources, From: c.Managed}, ""); err != nil {
		return err
	}
	return b.Beat(ctx)
}

func (b *Book) configured() Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.config
}

// Current returns the rules that judge now, and their version.
func (b *Book) Current() (*rules.Set, int) {
	c := b.current.Load()
	return c.judging, c.n
}

// Version returns the rules of version n; 0 is the empty set.
func (b *Book) Version(ctx context.Context, n int) (*rules.Set, error) {
	if c := b.current.Load(); c.n == n {
		return c.judging, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.load(ctx, n)
	if err != nil {
		return nil, err
	}
	return l.judging, nil
}

// Whole returns the rules of version n with what is tripped now.
func (b *Book) Whole(ctx context.Context, n int) (*rules.Set, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.load(ctx, n)
	if err != nil {
		return nil, err
	}
	return l.full, nil
}

// Explainer returns the explainer of version n as it judged while the given rules were left out.
func (b *Book) Explainer(ctx context.Context, n int, tripped []string) (*rules.Explainer, error) {
	b.mu.Lock()
	l, err := b.load(ctx, n)
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if len(tripped) > 0 {
		return rules.NewExplainer(l.full.Without(tripped...))
	}
	return l.explain()
}

// Ready says why this node must take no messages and turns of the tenant; nil: it may.
func (b *Book) Ready() error {
	if err := b.behind.Load(); err != nil {
		return *err
	}
	return nil
}

// effective returns the number of the version in force, 0 for none.
func (b *Book) effective(ctx context.Context) (int, error) {
	doc, err := b.o.Versions.Current(ctx, b.o.Tenant, EffectiveDoc)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading which rules are in force: %w", err)
	}
	var at pointer
	if err := json.Unmarshal(doc.Body, &at); err != nil {
		return 0, fmt.Errorf("decoding which rules are in force: %w", err)
	}
	return at.N, nil
}

// pointer is the body of EffectiveDoc.
type pointer struct {
	N int `json:"n"`
}

// load returns a version from memory or the store. The caller holds mu.
func (b *Book) load(ctx context.Context, n int) (*loaded, error) {
	if l := b.sets[n]; l != nil {
		return l, nil
	}
	doc, err := b.o.Versions.Version(ctx, b.o.Tenant, Doc, n)
	if err != nil {
		return nil, fmt.Errorf("reading rules version %d: %w", n, err)
	}
	d, err := decode(doc.Body)
	if err != nil {
		return nil, fmt.Errorf("decoding rules version %d: %w", n, err)
	}
	set, err := rules.Load(d.Sources)
	if err != nil {
		return nil, fmt.Errorf("compiling rules version %d: %w", n, err)
	}
	if set.Digest() != doc.Digest {
		return nil, fmt.Errorf("rules version %d: its digest is not that of its sources", n)
	}
	return b.keep(n, set, d), nil
}

// keep puts a version into memory. The caller holds mu.
func (b *Book) keep(n int, set *rules.Set, d Document) *loaded {
	l := &loaded{n: n, full: set, judging: set, document: d}
	l.explain = sync.OnceValues(func() (*rules.Explainer, error) { return rules.NewExplainer(set) })
	b.sets[n] = l
	if len(b.sets) > mostLoaded {
		now := b.current.Load().n
		for _, old := range slices.Sorted(maps.Keys(b.sets)) {
			if old != 0 && old != n && old != now {
				delete(b.sets, old) // whoever refers to it loads it again
				break
			}
		}
	}
	return l
}

// mostLoaded is how many versions are kept in memory.
const mostLoaded = 32

// decode reads the body of a version; the first ones were a bare list of sources.
func decode(body []byte) (d Document, err error) {
	if len(body) > 0 && body[0] == '[' {
		return d, json.Unmarshal(body, &d.Sources)
	}
	return d, json.Unmarshal(body, &d)
}

// enter makes a version the one that judges. The caller holds mu.
func (b *Book) enter(ctx context.Context, n int) error {
	l, err := b.load(ctx, n)
	if err != nil {
		return err
	}
	if err := selfTest(l.full, b.o.Detector); err != nil {
		return fmt.Errorf("rules version %d: %w", n, err)
	}
	old := b.current.Load()
	b.current.Store(l)
	b.behind.Store(nil)
	b.o.Board.Clear(AlarmBehind, b.o.Tenant.Name(), "")
	if old.n != n {
		b.forget(old.n)
	}
	return nil
}

// SelfTestError says that tests of locked rules fail.
type SelfTestError struct{ Failed []rules.TestResult }

func (e *SelfTestError) Error() string {
	f := e.Failed[0]
	return fmt.Sprintf("%d tests of locked rules fail, the first is that of rule %s at %s:%d:%d", len(e.Failed), f.Rule, f.File, f.Line, f.Column)
}

func selfTest(set *rules.Set, d signal.Detector) error {
	if failed := set.SelfTest(d); len(failed) > 0 {
		return &SelfTestError{failed}
	}
	return nil
}
