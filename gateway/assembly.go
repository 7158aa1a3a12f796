package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"turnout/adapters"
	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/fair"
	"turnout/gateway/outbox"
	"turnout/gateway/pipeline"
	"turnout/gateway/resource"
	"turnout/gateway/store"
	"turnout/gateway/vault"
)

// assembly is everything that is built of a configuration and may be replaced by what is built of the next one. What is
// alike in both is the same part in both, with all that it counts and holds open.
type assembly struct {
	cfg      *config.Config
	sets     map[string]resource.Version // by tenant: what was in force before, and after publish what is
	archived map[string][]resource.Archived
	tenants  map[string]*pipeline.Tenant
	bots     map[partKey]*botPart
	channels map[partKey]*channelPart
	profiles map[partKey]*profilePart
	// hooks are the endpoints of connections, for the channels that are their members.
	hooks    []adapters.Route
	list     []*pipeline.Channel
	push     []outbox.Channel
	accounts *api.Accounts
}

// partKey is a tenant and the name of its bot, or the key of its channel.
type partKey struct{ tenant, name string }

// instance says what an adapter was built from: if nothing of it has changed, nor has the adapter.
type instance struct {
	print   [sha256.Size]byte
	secrets map[adapters.SecretRef]adapters.Secret
}

type botPart struct {
	instance
	adapter adapters.Bot
	bot     *pipeline.Bot
}

type channelPart struct {
	instance
	adapter adapters.Channel
	sender  adapters.Sender // of a push channel
	routes  []adapters.Route
}

// assemble builds what cfg says, and takes from old what is alike. On an error nothing is left open that old does not
// have. Errors in an adapter's section are config.Faults. Nothing is in force yet: see apply.
func (g *Gateway) assemble(ctx context.Context, cfg *config.Config, sets map[string]resource.Version, old *assembly) (_ *assembly, err error) {
	a := &assembly{
		cfg: cfg, sets: sets, tenants: map[string]*pipeline.Tenant{},
		bots: map[partKey]*botPart{}, channels: map[partKey]*channelPart{}, profiles: map[partKey]*profilePart{}, archived: map[string][]resource.Archived{},
	}
	defer func() {
		if err != nil {
			g.closeParts(a, old)
		}
	}()
	secrets := map[string]func(adapters.SecretRef) (adapters.Secret, error){}
	for _, t := range cfg.Tenants {
		if secrets[t.Name], err = g.secretsOf(ctx, t.Name); err != nil {
			return nil, err
		}
		if err := g.rules.check(t); err != nil {
			return nil, fmt.Errorf("checking the rules of tenant %s: %w", t.Name, err)
		}
		a.archived[t.Name] = sets[t.Name].Set.Follow(t.Resources, sets[t.Name].N+1).Archived
		a.tenants[t.Name] = tenantOf(t, g.cfg.Limits, cfg.Limits.Shares[t.Name])
		bots, err := g.botsOf(a, t, old, secrets[t.Name])
		if err != nil {
			return nil, err
		}
		if err := g.profileOf(a, t, old, secrets[t.Name]); err != nil {
			return nil, err
		}
		if err := g.channelsOf(a, t, old, bots, secrets[t.Name]); err != nil {
			return nil, err
		}
	}
	if a.hooks, err = connections(cfg, g.o.Registry, func(name string) adapters.Deps { return g.depsOf("", name, g.o.Secrets) }, a.members()); err != nil {
		return nil, err
	}
	if err := g.orphaned(a); err != nil {
		return nil, err
	}
	if a.accounts, err = accounts(cfg, a.archived, func(tenant string) secretFunc { return secrets[tenant] }); err != nil {
		return nil, err
	}
	return a, nil
}

type secretFunc = func(adapters.SecretRef) (adapters.Secret, error)

// secretsOf resolves references of a tenant: sealed ones from the store, as they are now.
func (g *Gateway) secretsOf(ctx context.Context, tenant string) (secretFunc, error) {
	handle, err := store.NewTenant(tenant)
	if err != nil {
		return nil, err
	}
	return tenantSecrets(ctx, g.vault, handle, g.o.Secrets)
}

func tenantSecrets(ctx context.Context, v *vault.Vault, t store.Tenant, others secretFunc) (secretFunc, error) {
	sealed, err := v.Read(ctx, t)
	if err != nil {
		return nil, err
	}
	return func(ref adapters.SecretRef) (adapters.Secret, error) {
		if name, ok := config.Sealed(ref); ok {
			return sealed.Get(name)
		}
		return others(ref)
	}, nil
}

// secretsAt is secret for what stands at a place of the configuration. What was made over the API gets sealed secrets only:
// with the node's own files and variables an admin of a tenant could have the node send its keys away.
func secretsAt(at config.Pos, secret secretFunc) secretFunc {
	if !at.Stored() {
		return secret
	}
	return func(ref adapters.SecretRef) (adapters.Secret, error) {
		if _, ok := config.Sealed(ref); !ok {
			return adapters.Secret{}, errNotSealed
		}
		return secret(ref)
	}
}

var errNotSealed = errors.New(`a resource that was made over the API refers to sealed secrets only ("sealed:name"); files and variables are the node's own`)

// tenantOf returns what turns need to know of a tenant, but for its rules.
func tenantOf(t *config.Tenant, l config.Limits, share config.Share) *pipeline.Tenant {
	handle, err := store.NewTenant(t.Name)
	if err != nil {
		panic("a tenant that the configuration let through: " + err.Error())
	}
	out := &pipeline.Tenant{
		Handle: handle, Queue: t.DefaultQueue, Queues: map[string]bool{}, BareRequests: t.BareRequests,
		IdleNew: t.IdleNew, CaptureOver: t.BotLadder.CaptureOver, Limits: tenantLimits(l),
		Share: fair.Share{Weight: share.Weight, Most: share.BotCalls},
	}
	for _, q := range t.Queues {
		out.Queues[q.Name] = true
	}
	return out
}

// botsOf builds a tenant's bots and ties each to its alternate.
func (g *Gateway) botsOf(a *assembly, t *config.Tenant, old *assembly, secret secretFunc) (map[string]*pipeline.Bot, error) {
	fresh := map[string]bool{} // those that the pipeline does not know yet
	for _, b := range t.Bots {
		key := partKey{t.Name, b.Name}
		secret := secretsAt(b.At, secret)
		before := part(old, func(o *assembly) *botPart { return o.bots[key] })
		p := &botPart{instance: instanceOf(b.Adapter, b.Config, t.Name, b.Name)}
		if before != nil && before.same(p.print, secret) {
			p.adapter, p.secrets = before.adapter, before.secrets
		} else {
			var err error
			d := g.depsOf(t.Name, b.Name, p.recording(secret))
			if p.adapter, err = g.o.Registry.BuildBot(b.Adapter, b.Config, d); err != nil {
				return nil, b.Config.Locate(err)
			}
		}
		p.bot = &pipeline.Bot{
			Name: b.Name, Bot: p.adapter, Deadline: b.Deadline, Concurrency: b.Concurrency,
			Breaker: pipeline.BreakerSettings{Failures: uint(b.Breaker.Failures), Window: b.Breaker.Window, OpenFor: b.Breaker.OpenFor},
			Budget:  pipeline.Budget(b.Budget),
		}
		if before != nil && before.adapter == p.adapter && before.bot.SameSettings(p.bot) && alternateOf(before.bot) == b.Alternate {
			p.bot = before.bot
		} else {
			fresh[b.Name] = true
		}
		a.bots[key] = p
	}
	// A bot whose alternate is another one now is another one, too: what runs may still follow the old one.
	for changed := true; changed; {
		changed = false
		for _, b := range t.Bots {
			if !fresh[b.Name] && fresh[b.Alternate] {
				p := a.bots[partKey{t.Name, b.Name}]
				p.bot, changed, fresh[b.Name] = p.bot.Anew(), true, true
			}
		}
	}
	bots := map[string]*pipeline.Bot{}
	for _, b := range t.Bots {
		bots[b.Name] = a.bots[partKey{t.Name, b.Name}].bot
	}
	for _, b := range t.Bots {
		if fresh[b.Name] {
			bots[b.Name].Alternate = bots[b.Alternate]
		}
	}
	return bots, nil
}

func alternateOf(b *pipeline.Bot) string {
	if b.Alternate == nil {
		return ""
	}
	return b.Alternate.Name
}

// channelsOf builds a tenant's channels upon the pipeline. An archived channel has no adapter, so nobody reaches it; its
// conversations come to their end.
func (g *Gateway) channelsOf(a *assembly, t *config.Tenant, old *assembly, bots map[string]*pipeline.Bot, secret secretFunc) error {
	for _, c := range t.Channels {
		key := partKey{t.Name, c.Key}
		secret := secretsAt(c.At, secret)
		before := part(old, func(o *assembly) *channelPart { return o.channels[key] })
		p := &channelPart{instance: instanceOf(c.Adapter, c.Config, t.Name, c.Key)}
		pc := &pipeline.Channel{Key: c.Key, Tenant: a.tenants[t.Name], Bot: bots[c.Bot], Bots: bots, ByLanguage: map[string]*pipeline.Bot{},
			ReopenWithin: c.ReopenWithin, Push: g.o.Registry.Pushes(c.Adapter), BotCalls: c.BotCalls}
		a.served(t, c, pc)
		if c.Sends > 0 && !pc.Push {
			return config.Faults{{Pos: c.At, Message: "sends bounds what is sent to a provider, and customers of this channel fetch what is said; remove the line"}}
		}
		for lang, name := range c.BotByLanguage {
			pc.ByLanguage[lang] = bots[name]
		}
		if before != nil && before.same(p.print, secret) {
			p = before
		} else {
			edge := g.pipeline.Attach(pc)
			d := g.depsOf(t.Name, c.Key, p.recording(secret))
			d.Inbox, d.Timeline, d.Blobs = edge, edge, edge.Files(blobs{g.store.blobs})
			if pc.Push {
				d.Deliveries = g.reports.Channel(pc.Tenant.Handle, c.Key)
			}
			var err error
			if p.adapter, err = g.o.Registry.BuildChannel(c.Adapter, c.Config, d); err != nil {
				return c.Config.Locate(err)
			}
			sender, sends := p.adapter.(adapters.Sender)
			if sends != pc.Push {
				return errors.Join(fmt.Errorf("adapter %s: whether it sends is not what its entry in the registry says", c.Adapter), p.adapter.Close())
			}
			p.sender = sender
			for _, r := range p.adapter.Routes() {
				r.MaxBody = min(r.MaxBody, largestBody(g.cfg.Limits))
				r.Pattern = strings.Replace(r.Path, c.Key, "{channel}", 1)
				p.routes = append(p.routes, r)
			}
		}
		if pc.Push {
			a.push = append(a.push, outbox.Channel{Key: c.Key, Tenant: pc.Tenant.Handle, Sender: p.sender, Sends: c.Sends, Share: sendShare(a.cfg, t.Name)})
		}
		a.channels[key] = p
		a.list = append(a.list, pc)
	}
	for _, c := range archivedChannels(t.Name, a.archived[t.Name]) {
		if slices.ContainsFunc(a.list, func(p *pipeline.Channel) bool { return p.Key == c.key }) {
			continue
		}
		bot := bots[c.bot]
		if bot == nil {
			bot = bots[t.Bot]
		}
		push := g.o.Registry.Pushes(c.adapter)
		if push { // what is said over it waits for it to come back
			a.push = append(a.push, outbox.Channel{Key: c.key, Tenant: a.tenants[t.Name].Handle, Sender: outbox.Removed{}})
		}
		a.list = append(a.list, &pipeline.Channel{Key: c.key, Tenant: a.tenants[t.Name], Bot: bot, Bots: bots, ReopenWithin: c.reopenWithin, Push: push})
	}
	return nil
}

// orphaned adds the push channels of tenants that were removed whole: what waits there raises an alarm, and becomes a dead
// letter in time, as what waits for one channel that was removed. Nothing else of such a tenant is served.
func (g *Gateway) orphaned(a *assembly) error {
	for _, name := range slices.Sorted(maps.Keys(a.sets)) {
		if a.tenants[name] != nil {
			continue
		}
		handle, err := store.NewTenant(name)
		if err != nil {
			return err
		}
		set := a.sets[name]
		for _, c := range archivedChannels(name, set.Set.Follow(nil, set.N+1).Archived) {
			if g.o.Registry.Pushes(c.adapter) {
				a.push = append(a.push, outbox.Channel{Key: c.key, Tenant: handle, Sender: outbox.Removed{}})
			}
		}
	}
	return nil
}

// sendShare is what a tenant gets of the node's sends.
func sendShare(c *config.Config, tenant string) fair.Share {
	s := c.Limits.Shares[tenant]
	return fair.Share{Weight: s.Weight, Most: s.Sends}
}

// part returns a part of an assembly that may not be there.
func part[T any](a *assembly, get func(*assembly) *T) *T {
	if a == nil {
		return nil
	}
	return get(a)
}

func instanceOf(adapter string, section config.Section, tenant, key string) instance {
	return instance{
		print:   sha256.Sum256([]byte(strconv.Quote(adapter) + strconv.Quote(tenant) + strconv.Quote(key) + string(section.JSON()))),
		secrets: map[adapters.SecretRef]adapters.Secret{},
	}
}

// same reports whether an adapter of this print, whose secrets are as they are now, would be the one that there is.
func (i *instance) same(print [sha256.Size]byte, secret secretFunc) bool {
	if i.print != print {
		return false
	}
	for ref, was := range i.secrets {
		if now, err := secret(ref); err != nil || now != was {
			return false
		}
	}
	return true
}

// recording is secret, and remembers what was asked for.
func (i *instance) recording(secret secretFunc) secretFunc {
	return func(ref adapters.SecretRef) (adapters.Secret, error) {
		s, err := secret(ref)
		if err == nil {
			i.secrets[ref] = s
		}
		return s, err
	}
}

// depsOf is what one adapter instance gets.
func (g *Gateway) depsOf(tenant, key string, secret secretFunc) adapters.Deps {
	d := g.deps
	d.Tenant, d.Key, d.Secret = tenant, key, secret
	d.Derive = func(purpose string) []byte { return derive(g.root, tenant, key, purpose) }
	d.Log = g.log.With("component", "adapter", "instance", key)
	return d
}

// routes are those of all channels, in the order of their keys.
func (a *assembly) routes() []adapters.Route {
	keys := slices.SortedFunc(maps.Keys(a.channels), func(x, y partKey) int {
		return slices.Compare([]string{x.tenant, x.name}, []string{y.tenant, y.name})
	})
	var out []adapters.Route
	for _, k := range keys {
		out = append(out, a.channels[k].routes...)
	}
	return append(out, a.hooks...)
}

// closeParts closes the parts of a that keep does not have.
func (g *Gateway) closeParts(a, keep *assembly) {
	if err := errors.Join(closeAll(a.channelsWithout(keep)), closeAll(a.botsWithout(keep)), closeAll(a.profilesWithout(keep))); err != nil {
		g.log.Error("closing what is not to be in force", "err", err)
	}
}

// channelsWithout returns the channels of a that next does not have.
func (a *assembly) channelsWithout(next *assembly) (out []io.Closer) {
	return append(a.pulling(next), a.pushing(next)...)
}

// pulling and pushing are channelsWithout for one kind of channels.
func (a *assembly) pulling(next *assembly) []io.Closer { return a.kindWithout(next, false) }
func (a *assembly) pushing(next *assembly) []io.Closer { return a.kindWithout(next, true) }

func (a *assembly) kindWithout(next *assembly, push bool) (out []io.Closer) {
	for key, p := range a.channels {
		if p.adapter == nil || (p.sender != nil) != push {
			continue
		}
		if now := part(next, func(n *assembly) *channelPart { return n.channels[key] }); now == nil || now.adapter != p.adapter {
			out = append(out, p.adapter)
		}
	}
	return out
}

// botsWithout returns the bots of a that next does not have.
func (a *assembly) botsWithout(next *assembly) (out []io.Closer) {
	for key, p := range a.bots {
		if now := part(next, func(n *assembly) *botPart { return n.bots[key] }); p.adapter != nil && (now == nil || now.adapter != p.adapter) {
			out = append(out, p.adapter)
		}
	}
	return out
}
