package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"turnout/gateway/store"
	"turnout/rules"
)

// RulesDoc is the name under which a store keeps the versions of a tenant's rules.
const RulesDoc = "rules"

// Book is a Rulebook on a store's versions. Sets that were loaded stay loaded.
type Book struct {
	versions store.Versions
	tenant   store.Tenant

	mu      sync.RWMutex
	sets    map[int]*rules.Set
	current int
}

// PublishRules makes sources the tenant's current rules: a new version if their digest differs from the newest one's.
func PublishRules(ctx context.Context, v store.Versions, t store.Tenant, sources []rules.Source, now int64) (*Book, error) {
	set, err := rules.Load(sources)
	if err != nil {
		return nil, err
	}
	b := &Book{versions: v, tenant: t, sets: map[int]*rules.Set{0: rules.Empty()}}
	cur, err := v.Current(ctx, t, RulesDoc)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("reading the current rules: %w", err)
	}
	if cur.N == 0 || cur.Digest != set.Digest() {
		body, err := json.Marshal(sources)
		if err != nil {
			return nil, fmt.Errorf("encoding rules: %w", err)
		}
		next := store.VersionedDoc{N: cur.N + 1, Digest: set.Digest(), Body: body, At: now}
		if err := v.Publish(ctx, t, RulesDoc, cur.N, next); err != nil {
			return nil, fmt.Errorf("publishing rules version %d: %w", next.N, err)
		}
		cur = next
	}
	b.current, b.sets[cur.N] = cur.N, set
	return b, nil
}

// Current returns the rules that judge now, and their version.
func (b *Book) Current() (*rules.Set, int) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.sets[b.current], b.current
}

// Version returns the rules of version n; 0 is the empty set.
func (b *Book) Version(ctx context.Context, n int) (*rules.Set, error) {
	b.mu.RLock()
	set := b.sets[n]
	b.mu.RUnlock()
	if set != nil {
		return set, nil
	}
	doc, err := b.versions.Version(ctx, b.tenant, RulesDoc, n)
	if err != nil {
		return nil, fmt.Errorf("reading rules version %d: %w", n, err)
	}
	var sources []rules.Source
	if err := json.Unmarshal(doc.Body, &sources); err != nil {
		return nil, fmt.Errorf("decoding rules version %d: %w", n, err)
	}
	if set, err = rules.Load(sources); err != nil {
		return nil, fmt.Errorf("compiling rules version %d: %w", n, err)
	}
	b.mu.Lock()
	b.sets[n] = set
	b.mu.Unlock()
	return set, nil
}
