// Package resource keeps what a tenant consists of in the store: one document per tenant, a version for each set that was
// in force.
//
// A set holds every resource with where it comes from: a file of the node, or the API. What a file has can be changed there
// only; the rest is the API's. A resource that is taken out of its file, or removed over the API, is archived and not
// forgotten: conversations go on to name their queue, their channel and their agent.
package resource

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"turnout/gateway/config"
	"turnout/gateway/store"
)

// Doc is the name of the document in the store.
const Doc = "config"

// Set is what a tenant consists of.
type Set struct {
	Resources []config.Resource `json:"resources"`
	Archived  []Archived        `json:"archived,omitempty"`
}

// Archived is a resource that is no longer in force.
type Archived struct {
	config.Resource
	// Since is the first version without it.
	Since int `json:"since"`
}

// Version is a set as it was published.
type Version struct {
	N      int // 0: none yet
	Digest string
	At     int64
	By     string
	Set    Set
}

// Current returns the newest version of a tenant's set; with N 0 when there is none.
func Current(ctx context.Context, v store.Versions, t store.Tenant) (Version, error) {
	doc, err := v.Current(ctx, t, Doc)
	return read(doc, err)
}

// At returns version n, or store.ErrNotFound.
func At(ctx context.Context, v store.Versions, t store.Tenant, n int) (Version, error) {
	doc, err := v.Version(ctx, t, Doc, n)
	if errors.Is(err, store.ErrNotFound) {
		return Version{}, err
	}
	return read(doc, err)
}

func read(doc store.VersionedDoc, err error) (Version, error) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Version{}, nil
	case err != nil:
		return Version{}, fmt.Errorf("reading the configuration of a tenant: %w", err)
	}
	out := Version{N: doc.N, Digest: doc.Digest, At: doc.At, By: doc.By}
	if err := json.Unmarshal(doc.Body, &out.Set); err != nil {
		return Version{}, fmt.Errorf("decoding version %d of a configuration: %w", doc.N, err)
	}
	return out, nil
}

// Stored returns the resources that no file has.
func (s Set) Stored(tenant string) []config.Stored {
	var out []config.Stored
	for _, r := range s.Resources {
		if r.File == "" {
			out = append(out, config.Stored{Tenant: tenant, Resource: r})
		}
	}
	return out
}

// Find returns a resource that is in force.
func (s Set) Find(kind, name string) (config.Resource, bool) {
	i := slices.IndexFunc(s.Resources, func(r config.Resource) bool { return r.Kind == kind && r.Name == name })
	if i < 0 {
		return config.Resource{}, false
	}
	return s.Resources[i], true
}

// FileError says that a file has the resource that was to be changed.
type FileError struct {
	Kind, Name, File string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("the %s %q stands in %s", e.Kind, e.Name, e.File)
}

// Put adds or replaces a resource of the API. The error is a *FileError when a file has it. s is not changed.
func (s Set) Put(r config.Resource) (Set, error) {
	if old, ok := s.Find(r.Kind, r.Name); ok && old.File != "" {
		return s, &FileError{r.Kind, r.Name, old.File}
	}
	r.File = ""
	out := s.without(r.Kind, r.Name)
	out.Resources = append(out.Resources, r)
	out.sort()
	return out, nil
}

// Remove takes out a resource of the API. Errors: store.ErrNotFound, a *FileError. s is not changed.
func (s Set) Remove(kind, name string) (Set, error) {
	old, ok := s.Find(kind, name)
	switch {
	case !ok:
		return s, store.ErrNotFound
	case old.File != "":
		return s, &FileError{kind, name, old.File}
	}
	return s.without(kind, name), nil
}

func (s Set) without(kind, name string) Set {
	out := s
	out.Resources = slices.DeleteFunc(slices.Clone(s.Resources), func(r config.Resource) bool { return r.Kind == kind && r.Name == name })
	return out
}

func (s *Set) sort() {
	slices.SortFunc(s.Resources, func(a, b config.Resource) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
}

// Follow returns the set of the given resources after s, as version n: what s had and they have not is archived, and what
// comes back is archived no more.
func (s Set) Follow(resources []config.Resource, n int) Set {
	next := Set{Resources: resources}
	gone := func(kind, name string) bool {
		_, there := next.Find(kind, name)
		return !there
	}
	for _, a := range s.Archived {
		if gone(a.Kind, a.Name) {
			next.Archived = append(next.Archived, a)
		}
	}
	for _, r := range s.Resources {
		if gone(r.Kind, r.Name) {
			next.Archived = append(next.Archived, Archived{Resource: r, Since: n})
		}
	}
	slices.SortFunc(next.Archived, func(a, b Archived) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return next
}

// Publish makes resources the tenant's set after cur, unless they are what cur is already, and returns what is in force
// then. digest is that of the resources. store.ErrStale: somebody else has published in between. On another error the set may
// be in the store: it has the number after cur's, digest, by and now.
func Publish(ctx context.Context, v store.Versions, t store.Tenant, cur Version, digest string, resources []config.Resource, by string, now int64) (Version, error) {
	next := Version{N: cur.N + 1, Digest: digest, At: now, By: by, Set: cur.Set.Follow(resources, cur.N+1)}
	if cur.N > 0 && cur.Digest == digest && slices.EqualFunc(cur.Set.Resources, resources, func(a, b config.Resource) bool {
		return a.Kind == b.Kind && a.Name == b.Name && a.File == b.File
	}) {
		return cur, nil
	}
	return write(ctx, v, t, cur, next)
}

// Restore makes an earlier set, archive and all, the tenant's set after cur, as if nothing had been in between. Errors are
// those of Publish.
func Restore(ctx context.Context, v store.Versions, t store.Tenant, cur Version, set Set, digest string, now int64) (Version, error) {
	return write(ctx, v, t, cur, Version{N: cur.N + 1, Digest: digest, At: now, Set: set})
}

func write(ctx context.Context, v store.Versions, t store.Tenant, cur, next Version) (Version, error) {
	body, err := json.Marshal(next.Set)
	if err != nil {
		return cur, fmt.Errorf("encoding the configuration of a tenant: %w", err)
	}
	doc := store.VersionedDoc{Digest: next.Digest, Body: body, At: next.At, By: next.By}
	if err := store.PublishKnown(ctx, v, t, Doc, cur.N, doc); err != nil {
		return cur, fmt.Errorf("publishing version %d of the configuration of tenant %s: %w", next.N, t.Name(), err)
	}
	return next, nil
}

// Diff says what of two sets differs, as "kind/name", sorted.
type Diff struct {
	Added   []string `json:"added,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// Compare returns what is different in b.
func Compare(a, b Set) (d Diff) {
	for _, r := range b.Resources {
		switch old, ok := a.Find(r.Kind, r.Name); {
		case !ok:
			d.Added = append(d.Added, r.Kind+"/"+r.Name)
		case string(old.Spec) != string(r.Spec) || old.File != r.File:
			d.Changed = append(d.Changed, r.Kind+"/"+r.Name)
		}
	}
	for _, r := range a.Resources {
		if _, ok := b.Find(r.Kind, r.Name); !ok {
			d.Removed = append(d.Removed, r.Kind+"/"+r.Name)
		}
	}
	return d
}

// Applied says what came into force by one change of the configuration.
type Applied struct {
	Tenants []AppliedTenant `json:"tenants"`
	// Restart names settings of the node that have changed in its file and take effect with the next start.
	Restart []string `json:"restart,omitempty"`
}

// AppliedTenant is the version of a tenant's configuration that is in force, and what is different in it.
type AppliedTenant struct {
	Tenant  string `json:"tenant"`
	Version int    `json:"version"`
	Diff
}
