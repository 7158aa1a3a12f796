package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
)

// Reload reads the files again and puts what they say into force, all of it or nothing: on an error the running
// configuration goes on, and the store has it (see halfway.go). Conversations and turns under way are not disturbed; streams of a channel that has changed end,
// and their clients come back by themselves. by is who asked for it. Errors are those of config.Load and New.
func (g *Gateway) Reload(ctx context.Context, by string) (resource.Applied, error) {
	return g.changeConfig(ctx, by, func(stored []config.Stored) (*config.Config, error) { return g.running.cfg.Again(stored) }, nil)
}

// Change changes what a tenant has over the API: change gets the tenant's set and returns another one, or an error, which
// Change returns. A set without any resource of the API removes the tenant if no file has it. Errors are those of Reload;
// store.ErrStale when another node has published in between.
func (g *Gateway) Change(ctx context.Context, t store.Tenant, by string, change func(resource.Set) (resource.Set, error)) (resource.Applied, error) {
	edit := func(sets map[string]resource.Version) error {
		v := sets[t.Name()]
		next, err := change(v.Set)
		v.Set.Resources = next.Resources
		sets[t.Name()] = v
		return err
	}
	return g.changeConfig(ctx, by, func(stored []config.Stored) (*config.Config, error) { return g.running.cfg.With(stored) }, edit)
}

// Set returns the newest version of a tenant's set.
func (g *Gateway) Set(ctx context.Context, t store.Tenant) (resource.Version, error) {
	return resource.Current(ctx, g.store, t)
}

// changeConfig makes the next configuration of what is stored and puts it into force.
func (g *Gateway) changeConfig(
	ctx context.Context, by string, read func([]config.Stored) (*config.Config, error), edit func(map[string]resource.Version) error,
) (resource.Applied, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	if g.stopped {
		return resource.Applied{}, fmt.Errorf("changing the configuration: the node is stopping: %w", store.ErrUnavailable)
	}
	if err := g.takeBack(ctx); err != nil {
		return resource.Applied{}, fmt.Errorf("a change before this one failed halfway: %w", err)
	}
	sets, err := setsOf(ctx, g.store)
	if err != nil {
		return resource.Applied{}, err
	}
	edited := sets
	if edit != nil {
		edited = maps.Clone(sets)
		if err := edit(edited); err != nil {
			return resource.Applied{}, err
		}
	}
	cfg, err := read(storedOf(edited))
	if err != nil {
		return resource.Applied{}, err
	}
	old := g.running
	next, err := g.assemble(ctx, cfg, sets, old)
	if err != nil {
		return resource.Applied{}, err
	}
	swap, err := g.server.Replace(next.accounts, next.routes())
	if err != nil {
		g.closeParts(next, old)
		return resource.Applied{}, fmt.Errorf("mounting the channels: %w", err)
	}
	done := newHalfway()
	applied, err := g.publish(ctx, next, by, done)
	if err != nil {
		g.closeParts(next, old)
		return resource.Applied{}, g.failed(ctx, done, err)
	}
	g.rules.keep(next.cfg.Tenants)
	g.pipeline.Replace(next.list)
	g.pipeline.Bound(cfg.Limits.BotCalls)
	g.outbox.Replace(next.push)
	g.outbox.Bound(cfg.Limits.Sends)
	g.people.Store(next.accounts)
	g.profiles.Store(next.lookups())
	g.windows.Store(next.windows())
	g.policies.set(next.cfg)
	swap()
	g.running = next
	g.retire(old, next)
	applied.Restart = changedSettings(g.cfg.Settings, cfg.Settings)
	for _, t := range applied.Tenants {
		g.log.Info("configuration in force", "tenant", t.Tenant, "version", t.Version, "by", by,
			"added", len(t.Added), "changed", len(t.Changed), "removed", len(t.Removed))
	}
	if len(applied.Restart) > 0 {
		g.log.Warn("settings have changed that take effect with the next start", "settings", strings.Join(applied.Restart, ", "))
	}
	return applied, nil
}

func storedOf(sets map[string]resource.Version) (out []config.Stored) {
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		out = append(out, sets[name].Set.Stored(name)...)
	}
	return out
}

// publish makes an assembly's sets and rules the newest versions in the store. Tenants that are gone get a version with
// nothing in it. On an error done has what may have been written.
func (g *Gateway) publish(ctx context.Context, a *assembly, by string, done *halfway) (out resource.Applied, err error) {
	now := g.o.Now().UnixMilli()
	sets := maps.Clone(a.sets)
	put := func(name, digest string, resources []config.Resource) error {
		handle, err := store.NewTenant(name)
		if err != nil {
			return err
		}
		before := a.sets[name]
		after, err := resource.Publish(ctx, g.store, handle, before, digest, resources, by, now)
		if err != nil {
			done.sets[name] = rewritten{before, resource.Version{N: before.N + 1, Digest: digest, At: now, By: by}}
			return err
		}
		if after.N != before.N {
			done.sets[name] = rewritten{before, after}
		}
		sets[name] = after
		out.Tenants = append(out.Tenants, resource.AppliedTenant{Tenant: name, Version: after.N, Diff: resource.Compare(before.Set, after.Set)})
		return nil
	}
	for _, t := range a.cfg.Tenants {
		if err := put(t.Name, t.Digest, t.Resources); err != nil {
			return out, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.sets)) {
		if a.tenants[name] == nil && len(a.sets[name].Set.Resources) > 0 {
			if err := put(name, "", nil); err != nil {
				return out, err
			}
		}
	}
	a.sets = sets
	// Last, because rules are in force with this: what can still fail here is only the store.
	for _, t := range a.cfg.Tenants {
		tenant := a.tenants[t.Name]
		before := 0
		if book, ok := g.rules.Book(tenant.Handle); ok {
			_, before = book.Current()
		}
		done.rules[t.Name] = rejudged{before, !t.RulesPublished}
		if tenant.Rules, err = g.rules.configure(ctx, tenant.Handle, t); err != nil {
			return out, fmt.Errorf("bringing the rules of tenant %s into force: %w", t.Name, err)
		}
	}
	slices.SortFunc(out.Tenants, func(a, b resource.AppliedTenant) int { return strings.Compare(a.Tenant, b.Tenant) })
	return out, nil
}

// retire closes what next does not have any more: channels that customers are on at once, bots, profile lookups and what
// sends when whatever still asks them has an answer.
func (g *Gateway) retire(old, next *assembly) {
	if err := closeAll(old.pulling(next)); err != nil {
		g.log.Error("closing channels that are no longer in force", "err", err)
	}
	grace := time.Minute
	for _, p := range old.bots {
		grace = max(grace, turnsOfGrace*p.bot.Deadline)
	}
	for _, c := range slices.Concat(old.botsWithout(next), old.profilesWithout(next), old.pushing(next)) {
		g.retired[c] = time.AfterFunc(grace, func() {
			g.changing.Lock()
			defer g.changing.Unlock()
			g.bury(c)
		})
	}
}

// turnsOfGrace is for how many whole calls a bot stays open that is no longer in force: a turn that began with it may
// repeat its call, and come to it as an alternate.
const turnsOfGrace = 4

// bury closes what was retired, once. The caller holds changing.
func (g *Gateway) bury(c io.Closer) {
	timer, there := g.retired[c]
	if !there {
		return
	}
	timer.Stop()
	delete(g.retired, c)
	if err := c.Close(); err != nil {
		g.log.Error("closing what is no longer in force", "err", err)
	}
}

// changedSettings names what differs between the settings in force and those of the file.
func changedSettings(running, file config.Settings) (out []string) {
	running.Limits, file.Limits = running.Limits.Fixed(), file.Limits.Fixed() // the rest is in force by now
	a, b := reflect.ValueOf(running), reflect.ValueOf(file)
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if name := f.Tag.Get("yaml"); f.IsExported() && name != "resources" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			out = append(out, name)
		}
	}
	return out
}

// archivedChannel is a channel that is no longer in force.
type archivedChannel struct {
	key, bot     string
	adapter      string
	reopenWithin time.Duration
}

// archivedChannels returns the channels that conversations may still be on.
func archivedChannels(tenant string, list []resource.Archived) (out []archivedChannel) {
	for _, a := range list {
		if a.Kind != "channel" {
			continue
		}
		var spec struct{ Key, Bot, Adapter string }
		if err := json.Unmarshal(a.Spec, &spec); err != nil || spec.Key == "" {
			spec.Key = tenant + "." + a.Name
		}
		out = append(out, archivedChannel{key: spec.Key, bot: spec.Bot, adapter: spec.Adapter, reopenWithin: 24 * time.Hour})
	}
	return out
}

// archivedQueues names the queues that conversations may still wait in.
func archivedQueues(list []resource.Archived) (out []string) {
	for _, a := range list {
		if a.Kind == "queue" {
			out = append(out, a.Name)
		}
	}
	return out
}
