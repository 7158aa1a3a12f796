// Package vault keeps secrets of tenants in the store, sealed under the tenant's key and so under the root key. A
// configuration refers to one as "sealed:NAME". Values go in and are used; no function of the API gives one out.
package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"turnout/adapters"
	"turnout/gateway/store"
)

// Doc is the name of the document in the store. Each version holds all secrets of its tenant.
const Doc = "secrets"

// MaxValue is the longest value, in bytes.
const MaxValue = 64 << 10

// Secret is what may be known of a secret.
type Secret struct {
	Name string `json:"name"`
	// Version counts the values that it had.
	Version int    `json:"version"`
	At      int64  `json:"at"` // milliseconds since 1970
	By      string `json:"by"`
}

type sealed struct {
	Secret
	Value string `json:"value"`
}

// Vault keeps secrets. It is safe for concurrent use.
type Vault struct {
	store store.Versions
	key   []byte
}

// New returns a vault on a store. key makes the digests of versions, so that a digest gives away no secret that could be
// guessed; 32 bytes, the same after a restart and on every node.
func New(s store.Versions, key []byte) *Vault { return &Vault{store: s, key: key} }

// Values are the secrets of a tenant at one version.
type Values struct {
	tenant string
	byName map[string]sealed
}

// Read returns the current values of a tenant.
func (v *Vault) Read(ctx context.Context, t store.Tenant) (Values, error) {
	_, byName, err := v.read(ctx, t)
	return Values{tenant: t.Name(), byName: byName}, err
}

func (v *Vault) read(ctx context.Context, t store.Tenant) (int, map[string]sealed, error) {
	doc, err := v.store.Current(ctx, t, Doc)
	byName := map[string]sealed{}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, byName, nil
	case err != nil:
		return 0, nil, fmt.Errorf("reading sealed secrets: %w", err)
	}
	if json.Unmarshal(doc.Body, &byName) != nil {
		return 0, nil, errors.New("decoding sealed secrets: the document is damaged") // its own error might hold a value
	}
	return doc.N, byName, nil
}

// Get returns the value of a secret.
func (v Values) Get(name string) (adapters.Secret, error) {
	s, ok := v.byName[name]
	if !ok {
		return adapters.Secret{}, fmt.Errorf(`tenant %s has no sealed secret %q; put one with "turnout admin secrets set %s"`, v.tenant, name, name)
	}
	return adapters.NewSecret(s.Value), nil
}

// List returns what may be known, sorted by name.
func (v Values) List() []Secret {
	out := make([]Secret, 0, len(v.byName))
	for _, s := range v.byName {
		out = append(out, s.Secret)
	}
	slices.SortFunc(out, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Put gives a secret a value, its first or another one, and returns what may be known of it then.
func (v *Vault) Put(ctx context.Context, t store.Tenant, name string, value adapters.Secret, by string, now int64) (Secret, error) {
	var out Secret
	err := v.change(ctx, t, by, now, func(byName map[string]sealed) error {
		out = Secret{Name: name, Version: byName[name].Version + 1, At: now, By: by}
		byName[name] = sealed{Secret: out, Value: value.Reveal()}
		return nil
	})
	return out, err
}

// Remove takes a secret out, or returns store.ErrNotFound. The versions before still hold it, sealed.
func (v *Vault) Remove(ctx context.Context, t store.Tenant, name, by string, now int64) error {
	return v.change(ctx, t, by, now, func(byName map[string]sealed) error {
		if _, ok := byName[name]; !ok {
			return store.ErrNotFound
		}
		delete(byName, name)
		return nil
	})
}

// change publishes the next version. Who comes too late reads again.
func (v *Vault) change(ctx context.Context, t store.Tenant, by string, now int64, do func(map[string]sealed) error) error {
	for {
		n, byName, err := v.read(ctx, t)
		if err != nil {
			return err
		}
		byName = maps.Clone(byName)
		if err := do(byName); err != nil {
			return err
		}
		body, err := json.Marshal(byName)
		if err != nil {
			return fmt.Errorf("encoding sealed secrets: %w", err)
		}
		mac := hmac.New(sha256.New, v.key)
		mac.Write(body)
		err = store.PublishKnown(ctx, v.store, t, Doc, n, store.VersionedDoc{Digest: hex.EncodeToString(mac.Sum(nil)), Body: body, At: now, By: by})
		switch {
		case errors.Is(err, store.ErrStale) && ctx.Err() == nil:
		case err != nil:
			return fmt.Errorf("sealing a secret: %w", err)
		default:
			return nil
		}
	}
}
