package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
	"turnout/gateway/vault"
)

// followEvery is how often a node that shares its store looks whether others have changed the configuration.
const followEvery = 3 * time.Second

// follow puts into force what is changed over the API of other nodes, until ctx ends. What stands in files is each node's
// own affair: nodes whose files differ must not take turns in publishing them.
func (g *Gateway) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var tried [sha256.Size]byte // what could not be put into force is not tried again until it changes
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		digest, err := g.stored(ctx)
		if err == nil && digest != g.seen() && digest != tried {
			tried = digest
			if _, err = g.changeConfig(ctx, "", func(stored []config.Stored) (*config.Config, error) { return g.running.cfg.With(stored) }, nil); err == nil {
				g.see(digest)
			}
		}
		if err != nil && ctx.Err() == nil {
			g.log.Error("following a change of the configuration", "err", err)
		}
	}
}

// seen is the digest of what the node has in force of the store, as far as it knows.
func (g *Gateway) seen() [sha256.Size]byte {
	g.changing.Lock()
	defer g.changing.Unlock()
	return g.followed
}

func (g *Gateway) see(digest [sha256.Size]byte) {
	g.changing.Lock()
	defer g.changing.Unlock()
	g.followed = digest
}

// stored is a digest of everything that the API has made: the resources without a file, and which version the sealed
// secrets have.
func (g *Gateway) stored(ctx context.Context) (digest [sha256.Size]byte, err error) {
	sets, err := setsOf(ctx, g.store)
	if err != nil {
		return digest, err
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		own := slices.DeleteFunc(slices.Clone(sets[name].Set.Resources), func(r config.Resource) bool { return r.File != "" })
		if err := json.NewEncoder(sum).Encode(struct {
			Tenant string
			Own    []config.Resource
		}{name, own}); err != nil {
			return digest, fmt.Errorf("encoding the configuration of a tenant: %w", err)
		}
		t, err := store.NewTenant(name)
		if err != nil {
			return digest, err
		}
		secrets, err := g.store.Current(ctx, t, vault.Doc)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return digest, err
		}
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(secrets.N)))
	}
	return [sha256.Size]byte(sum.Sum(nil)), nil
}

// publishFirst is publish at the start of a node. Nodes that start at once publish the same; who comes second finds it there.
func (g *Gateway) publishFirst(ctx context.Context) (out resource.Applied, err error) {
	for range 8 {
		if out, err = g.publish(ctx, g.running, "", newHalfway()); !g.store.shared || !errors.Is(err, store.ErrStale) {
			return out, err
		}
		if g.running.sets, err = setsOf(ctx, g.store); err != nil {
			return out, err
		}
	}
	return out, err
}
