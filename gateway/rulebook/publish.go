package rulebook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	"turnout/gateway/store"
	"turnout/rules"
	"turnout/rules/signal"
)

// Limits on what is published.
const (
	MaxFiles  = 200
	MaxSource = 4 << 20 // bytes of all files
	MaxWhy    = 500     // bytes
)

// Errors of Publish and Rollback.
var (
	// ErrManaged: the configuration's files have the rules.
	ErrManaged = errors.New("the configuration manages these rules")
	// ErrSame: they are in force already.
	ErrSame = errors.New("these rules are in force already")
	// ErrLocked: the change touches a locked rule, which only an owner may change.
	ErrLocked = errors.New("only an owner may change or remove a locked rule")
	// ErrPending: the version before is not effective yet.
	ErrPending = errors.New("a version is waiting for nodes to confirm it")
	// ErrNoWhy: nobody said why.
	ErrNoWhy = errors.New("a publish needs a reason")
	// ErrTooLarge: more files or bytes than may be published.
	ErrTooLarge = fmt.Errorf("at most %d files of together %d MiB can be published", MaxFiles, MaxSource>>20)
)

// TestsError says that rules do not pass their own tests.
type TestsError struct{ Failed []rules.TestResult }

func (e *TestsError) Error() string {
	f := e.Failed[0]
	return fmt.Sprintf("%d of the rules' own tests fail, the first is that of rule %s at %s:%d:%d", len(e.Failed), f.Rule, f.File, f.Line, f.Column)
}

// TooSlowError says that patterns of rules cost more than judging may.
type TooSlowError struct {
	Rules  []rules.Timing
	Budget time.Duration
}

func (e *TooSlowError) Error() string {
	return fmt.Sprintf("the patterns of rule %s take %v on a text of 8 KiB, and %v is what judging may take: make its counted repetitions smaller, or look for phrases",
		e.Rules[0].Rule, e.Rules[0].Took.Round(time.Millisecond/10), e.Budget)
}

// Proposal is a publish.
type Proposal struct {
	Sources []rules.Source
	Why     string
	By      string // in the form of an audit entry's actor
	// Owner is set when the publisher may change locked rules.
	Owner bool
	// Base, when it is not 0, is the version that must be in force, or the one that waits and that this one replaces: whoever
	// looked at another one must look again.
	Base int
}

// Published is what a publish came to.
type Published struct {
	Version
	// Effective is set when it is in force; if not, Waiting names the nodes that have not confirmed it.
	Effective bool           `json:"effective"`
	Waiting   []string       `json:"waiting,omitempty"`
	Changes   []rules.Change `json:"changes"`
}

// Examine compiles rules and runs their tests as a publish does, and says what would change. Faults are rules.Faults.
func (b *Book) Examine(ctx context.Context, sources []rules.Source) ([]rules.Change, error) {
	set, err := b.examine(sources)
	if err != nil {
		return nil, err
	}
	return rules.Diff(b.current.Load().full, set), nil
}

// examine is for rules that are published: all their tests must pass.
func (b *Book) examine(sources []rules.Source) (*rules.Set, error) {
	size := 0
	for _, s := range sources {
		size += len(s.Data)
	}
	if len(sources) > MaxFiles || size > MaxSource {
		return nil, ErrTooLarge
	}
	set, err := examine(Config{Sources: sources, Queues: b.configured().Queues, Bots: b.configured().Bots}, b.o.Detector)
	if err != nil {
		return nil, err
	}
	var failed []rules.TestResult
	for _, t := range set.Test(b.o.Detector) {
		if !t.Passed() {
			failed = append(failed, t)
		}
	}
	if len(failed) > 0 {
		return nil, &TestsError{failed}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if slow := set.Slow(b.o.Trip.Budget, b.o.Stopwatch); len(slow) > 0 {
		return nil, &TooSlowError{slow, b.o.Trip.Budget}
	}
	return set, nil
}

// examine compiles rules, looks for the queues and bots that they name, and runs the tests of the locked ones.
func examine(c Config, d signal.Detector) (*rules.Set, error) {
	set, err := rules.Load(c.Sources)
	if err != nil {
		return nil, err
	}
	var faults rules.Faults
	for _, q := range set.QueueRefs() {
		if c.Queues != nil && !c.Queues[q.Queue] {
			faults = append(faults, rules.Fault{
				File: q.File, Line: q.Line, Column: q.Column, Rule: q.Rule,
				Message: fmt.Sprintf("there is no queue %s: a handoff to it would go to the default queue", q.Queue),
			})
		}
	}
	for _, b := range set.BotRefs() {
		if c.Bots != nil && !c.Bots[b.Bot] {
			faults = append(faults, rules.Fault{
				File: b.File, Line: b.Line, Column: b.Column, Rule: b.Rule,
				Message: fmt.Sprintf("there is no bot %s: the conversation would stay with the bot of its channel", b.Bot),
			})
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return set, selfTest(set, d)
}

// Check reports whether Configure would refuse rules that the configuration has.
func Check(c Config, d signal.Detector) error {
	if c.Managed == "" {
		return nil
	}
	_, err := examine(c, d)
	return err
}

// Publish makes rules a new version. It returns once the version is durable and, where this node is the only one, effective.
func (b *Book) Publish(ctx context.Context, p Proposal) (Published, error) {
	if b.configured().Managed != "" {
		return Published{}, ErrManaged
	}
	if p.Why == "" || len(p.Why) > MaxWhy {
		return Published{}, ErrNoWhy
	}
	set, err := b.examine(p.Sources)
	if err != nil {
		return Published{}, err
	}
	return b.replace(ctx, p, set, Document{Sources: p.Sources, Why: p.Why})
}

// Rollback publishes the rules of an earlier version again, as a new version. Its sources must still compile and pass their
// tests.
func (b *Book) Rollback(ctx context.Context, n int, p Proposal) (Published, error) {
	if b.configured().Managed != "" {
		return Published{}, ErrManaged
	}
	if p.Why == "" || len(p.Why) > MaxWhy {
		return Published{}, ErrNoWhy
	}
	doc, err := b.o.Versions.Version(ctx, b.o.Tenant, Doc, n)
	if err != nil {
		return Published{}, err
	}
	d, err := decode(doc.Body)
	if err != nil {
		return Published{}, fmt.Errorf("decoding rules version %d: %w", n, err)
	}
	set, err := b.examine(d.Sources)
	if err != nil {
		return Published{}, err
	}
	return b.replace(ctx, p, set, Document{Sources: d.Sources, Why: p.Why, Of: n})
}

// Reinstate makes the rules of version n the ones in force again, as a new version, whoever manages them; 0 is none. It is for
// a change of the configuration that is taken back. It does nothing when they are the newest.
func (b *Book) Reinstate(ctx context.Context, n int) error {
	newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil // there are none
	case err != nil:
		return fmt.Errorf("reading the newest rules: %w", err)
	}
	var d Document
	if n > 0 {
		doc, err := b.o.Versions.Version(ctx, b.o.Tenant, Doc, n)
		if err != nil {
			return fmt.Errorf("reading rules version %d: %w", n, err)
		}
		if d, err = decode(doc.Body); err != nil {
			return fmt.Errorf("decoding rules version %d: %w", n, err)
		}
	}
	set, err := rules.Load(d.Sources)
	if err != nil {
		return fmt.Errorf("compiling rules version %d: %w", n, err)
	}
	if newest.Digest != set.Digest() {
		if _, err := b.publish(ctx, set, Document{Sources: d.Sources, Why: d.Why, From: d.From, Of: n}, ""); err != nil {
			return err
		}
	}
	return b.Beat(ctx)
}

// replace publishes set in the place of what is in force.
func (b *Book) replace(ctx context.Context, p Proposal, set *rules.Set, d Document) (Published, error) {
	cur := b.current.Load()
	pending, err := b.Pending(ctx)
	switch {
	case err != nil:
		return Published{}, err
	case pending != 0 && p.Base != pending:
		return Published{}, ErrPending
	case pending == 0 && p.Base != 0 && p.Base != cur.n:
		return Published{}, store.ErrStale
	}
	if pending == 0 && set.Digest() == cur.full.Digest() { // in the place of one that waits they take it back
		return Published{}, ErrSame
	}
	out := Published{Changes: rules.Diff(cur.full, set)}
	for _, c := range out.Changes {
		if c.Locked && !p.Owner {
			return Published{}, fmt.Errorf("%w: %s", ErrLocked, c.Rule)
		}
	}
	if out.Version, err = b.publish(ctx, set, d, p.By); err != nil {
		return Published{}, err
	}
	if err := b.Beat(ctx); err != nil {
		return out, err
	}
	_, now := b.Current()
	if out.Effective = now >= out.N; !out.Effective {
		out.Waiting, err = b.o.Nodes.Unconfirmed(ctx, b.o.Tenant, out.Digest)
	}
	return out, err
}

// Pending is the newest version if it is not in force yet, 0 otherwise. It may wait for ever for a node that lives but cannot
// confirm it; a publish that names it as its base takes its place.
func (b *Book) Pending(ctx context.Context) (int, error) {
	n, err := b.effective(ctx)
	if err != nil {
		return 0, err
	}
	newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
	if errors.Is(err, store.ErrNotFound) || err == nil && newest.N <= n {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the newest rules: %w", err)
	}
	return newest.N, nil
}

// publish adds a version to the store. One that waits is never in force after that: nodes look at the newest alone.
func (b *Book) publish(ctx context.Context, set *rules.Set, d Document, by string) (Version, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return Version{}, fmt.Errorf("encoding rules: %w", err)
	}
	newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Version{}, fmt.Errorf("reading the newest rules: %w", err)
	}
	v := store.VersionedDoc{N: newest.N + 1, Digest: set.Digest(), Body: body, At: b.o.Now().UnixMilli(), By: by}
	if err := store.PublishKnown(ctx, b.o.Versions, b.o.Tenant, Doc, newest.N, v); err != nil {
		return Version{}, fmt.Errorf("publishing rules version %d: %w", v.N, err)
	}
	b.mu.Lock()
	b.keep(v.N, set, d)
	b.mu.Unlock()
	b.o.Log.Info("rules published", "tenant", b.o.Tenant.Name(), "version", v.N, "digest", v.Digest, "rules", set.Len(), "by", by)
	return b.describe(v, d, set.Len()), nil
}

func (b *Book) describe(v store.VersionedDoc, d Document, n int) Version {
	out := Version{N: v.N, Digest: v.Digest, At: time.UnixMilli(v.At).UTC(), By: v.By, Why: d.Why, Of: d.Of, From: d.From, Rules: n}
	if out.By == "" {
		out.By = "system"
	}
	return out
}

// point makes a version the one in force, unless it is already. Another node may have been quicker with the same.
func (b *Book) point(ctx context.Context, v store.VersionedDoc) error {
	cur, err := b.o.Versions.Current(ctx, b.o.Tenant, EffectiveDoc)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading which rules are in force: %w", err)
	}
	var at pointer
	if err == nil {
		if err := json.Unmarshal(cur.Body, &at); err != nil {
			return fmt.Errorf("decoding which rules are in force: %w", err)
		}
		if at.N >= v.N {
			return nil
		}
	}
	body, err := json.Marshal(pointer{v.N})
	if err != nil {
		return fmt.Errorf("encoding which rules are in force: %w", err)
	}
	err = store.PublishKnown(ctx, b.o.Versions, b.o.Tenant, EffectiveDoc, cur.N, store.VersionedDoc{
		N: cur.N + 1, Digest: v.Digest, Body: body, By: v.By, At: b.o.Now().UnixMilli(),
	})
	if errors.Is(err, store.ErrStale) {
		return nil // whoever was quicker followed the same confirmations; the next look sees it
	}
	if err != nil {
		return fmt.Errorf("making rules version %d effective: %w", v.N, err)
	}
	return nil
}

// Sources returns the files of a version.
func (b *Book) Sources(ctx context.Context, n int) (Version, []rules.Source, error) {
	doc, err := b.o.Versions.Version(ctx, b.o.Tenant, Doc, n)
	if err != nil {
		return Version{}, nil, err
	}
	d, err := decode(doc.Body)
	if err != nil {
		return Version{}, nil, fmt.Errorf("decoding rules version %d: %w", n, err)
	}
	return b.describe(doc, d, 0), d.Sources, nil
}

// Versions lists versions, the newest first, at most limit, older than before (0: from the newest on).
func (b *Book) Versions(ctx context.Context, before, limit int) ([]Version, error) {
	if before == 0 {
		newest, err := b.o.Versions.Current(ctx, b.o.Tenant, Doc)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		before = newest.N + 1
	}
	var list []Version
	for n := before - 1; n > 0 && len(list) < limit; n-- {
		v, _, err := b.Sources(ctx, n)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// Diff says what differs from version a to version b; 0 is no rules.
func (b *Book) Diff(ctx context.Context, from, to int) ([]rules.Change, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, err := b.load(ctx, from)
	if err != nil {
		return nil, err
	}
	is, err := b.load(ctx, to)
	if err != nil {
		return nil, err
	}
	return rules.Diff(was.full, is.full), nil
}
